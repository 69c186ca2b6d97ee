"""The best configuration out of a study as a file, and that file trained again and compared.

`form.py` is what stands in it, `writing.py` takes it from a study, `training.py` trains it, `result.py` says how close
it came. Nothing here starts Ray.
"""

from hpo.export.form import Exported, digest_of, read_export
from hpo.export.result import TrainResult
from hpo.export.training import train
from hpo.export.writing import export_best

__all__ = ["Exported", "TrainResult", "digest_of", "export_best", "read_export", "train"]
