"""Names of what is kept in the study besides Optuna's own fields; reports, exports and dashboards read them."""

from __future__ import annotations

# study.user_attrs
SWEEP = "hpo:sweep"  # the canonical spec as JSON text; no storage, no secret
IDENTITY = "hpo:id"  # a UUID: SQLite gives a deleted study's row id away again
RESOURCE = "hpo:resource"  # int: what the pruner took for `auto`, so that it has the same rungs after a restart

# trial.user_attrs
SEED = "seed"  # int: what the trial trains with, at every attempt
ATTEMPT = "attempt"  # int: how many times it was started
REASON = "reason"  # str: why it is FAIL or PRUNED, or was put back
CHECKPOINT = "checkpoint"  # str: where its last checkpoint lies, if it is kept
LOG = "log"  # str: the file with its prints, warnings and traceback
METRICS = "metrics"  # {name: last value}: everything reported besides the objective
BEST_STEP = "best_step"  # int: the step of its value where the objective is taken at its best
BY_CLASS = "by_class"  # dict: confusion matrix and ROC curves on the validation split, if it was the best when it ended
DEATHS = "deaths"  # int: deaths of its own process since its last checkpoint
RETRIES = "retries"  # int: how often it was tried again after its code raised
PACKED = "packed"  # bool: some of it was trained in a pack, whose numbers are a solo run's to a tolerance only
DEFAULT = "default"  # bool: the first trial of a study, of the recommended values
WORKERS = "workers"  # int: the most processes that trained it together, whose numbers are one's to a tolerance only
ALONE = "alone"  # bool: it trains in no pack any more, since packs with it died or hung
