"""The study's storage: engines by URL, and Optuna's own tables written in batches while memory answers every read.

The only room that imports sqlalchemy; no row, session or connection leaves it, and it decides nothing about trials.
"""

from hpo.storage.own.events import EventRecord
from hpo.storage.own.exports import ExportRecord
from hpo.storage.own.leases import Lease, LeaseState
from hpo.storage.own.runs import Holder, RunFacts, RunRecord
from hpo.storage.own.speeds import PackSpeed
from hpo.storage.own.sweeps import SweepRecord
from hpo.storage.place import resolve
from hpo.storage.records import StudyRecords
from hpo.storage.refusals import Fenced, Held, StorageLost
from hpo.storage.study_storage import StudyStorage, open_storage

__all__ = [
    "EventRecord",
    "ExportRecord",
    "Fenced",
    "Held",
    "Holder",
    "Lease",
    "LeaseState",
    "PackSpeed",
    "RunFacts",
    "RunRecord",
    "StorageLost",
    "StudyRecords",
    "StudyStorage",
    "SweepRecord",
    "open_storage",
    "resolve",
]
