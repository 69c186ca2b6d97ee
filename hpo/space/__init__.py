"""Search spaces: what may be searched, as a tree of frozen domains that knows how to ask a trial for its values.

Domains, the tree and its YAML form live here; what a path means (its type in TrainingConfig, whether it exists) does
not, and neither optuna nor torch is imported: a trial is anything with Optuna's three `suggest_` methods.
"""

from hpo.space.checks import Scalar
from hpo.space.domains import Branches, Choice, Domain, Float, Int, Parameter, Suggester
from hpo.space.ties import Tie
from hpo.space.tree import Space

__all__ = ["Branches", "Choice", "Domain", "Float", "Int", "Parameter", "Scalar", "Space", "Suggester", "Tie"]
