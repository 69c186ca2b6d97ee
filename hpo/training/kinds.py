"""What each parameter of a network is for: which of them weight decay leaves alone, and which a name or kind means."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from hpo.errors import UserError, nearest
from hpo.training.anatomy import kind_of

if TYPE_CHECKING:
    from torch import nn

KINDS = ("bias", "embedding", "head", "norm")


def parameter_kinds(net: nn.Module, *, head: bool = True) -> dict[str, frozenset[str]]:
    """The `KINDS` of every parameter by its name in `net.named_parameters()`; most weights have none.

    head: whether to look for the layer that gives the scores (`hpo.training.residual`), which traces the model's
    forward. A parameter that two layers share has the kinds of both. Raises what `head_of` raises.
    """
    last = _head(net) if head else None
    kinds: dict[int, set[str]] = {}
    for path, module in net.named_modules():
        kind = kind_of(module)
        for name, parameter in module.named_parameters(recurse=False):
            found = kinds.setdefault(id(parameter), set())
            found |= {"bias"} if "bias" in name else set()
            found |= {kind} if kind in ("embedding", "norm") else set()
            found |= {"head"} if path == last else set()
    return {name: frozenset(kinds[id(parameter)]) for name, parameter in net.named_parameters()}


def _head(net: nn.Module) -> str | None:
    from hpo.training.residual import head_of

    found = head_of(net)
    return found.name if found is not None else None


def undecayed(net: nn.Module) -> frozenset[str]:
    """Names of the parameters that weight decay customarily leaves alone.

    Those of norm layers, biases, all other vectors and scalars, and what the model's own `no_weight_decay()` names, as
    timm's models do.
    """
    own = getattr(net, "no_weight_decay", None)
    named = frozenset(own()) if callable(own) else frozenset()
    kinds = parameter_kinds(net, head=False)
    few = {name for name, parameter in net.named_parameters() if parameter.dim() < 2 or kinds[name] & {"bias", "norm"}}
    return frozenset(few) | (named & kinds.keys())


def factors(net: nn.Module, multipliers: Mapping[str, float], key: str) -> dict[str, float]:
    """For every parameter the product of the multipliers that mean it.

    A multiplier's name is a parameter's, a module's, or a pattern of either (`blocks.*.attn`); where none is called so
    it is one of `KINDS`. Raises UserError, beginning with `key`, for a name that means no parameter.
    """
    found = {name: 1.0 for name, _ in net.named_parameters()}
    for pattern, factor in multipliers.items():
        meant = [name for name in found if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
        if not meant and pattern in KINDS:
            meant = [name for name, kinds in parameter_kinds(net).items() if pattern in kinds]
        if not meant:
            raise _nothing(key, pattern, net)
        for name in meant:
            found[name] *= factor
    return found


def _nothing(key: str, pattern: str, net: nn.Module) -> UserError:
    """The sentence for a name that means nothing; it lists the outermost names and the kinds that there are."""
    kinds = parameter_kinds(net)
    there = sorted(set().union(*kinds.values()))
    modules = [name for name, module in net.named_modules() if name and any(True for _ in module.parameters())]
    near = nearest(pattern, [*modules, *kinds, *there])
    outer = dict.fromkeys(name.split(".")[0] for name in kinds)
    question = f"; did you mean {near!r}?" if near else ";"
    return UserError(
        f"{key}.{pattern}: means no parameter of the model{question} (allowed: {', '.join([*outer, *there])})"
    )
