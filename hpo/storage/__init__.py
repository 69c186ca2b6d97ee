"""The study's storage: engines by URL, and Optuna's own tables written in batches while memory answers every read.

The only room that imports sqlalchemy; no row, session or connection leaves it, and it decides nothing about trials.
"""

from hpo.storage.place import resolve
from hpo.storage.study_storage import StudyStorage, open_storage

__all__ = ["StudyStorage", "open_storage", "resolve"]
