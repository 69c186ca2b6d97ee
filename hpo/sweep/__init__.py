"""The sweep spec: what a user writes, in YAML or in Python, checked before anything starts.

It says what to work on and how; it starts nothing, writes nothing, and runs no user code but plugins and spaces.
"""

from hpo.sweep.spec import Budget, Failures, ObjectiveSpec, Sweep, TrialOptions

__all__ = ["Budget", "Failures", "ObjectiveSpec", "Sweep", "TrialOptions"]
