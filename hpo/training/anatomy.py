"""What a network is made of: its layers with their weights in one layout, whatever module holds them.

A layer is known by its module's class, so a user's own network needs no edit; how layers hang together is in
`residual.py`. Modules of no kind listed here, and parametrized ones, are not layers and are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from hpo.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

Kind = Literal["linear", "conv", "recurrent", "embedding", "norm"]
FILLED: frozenset[Kind] = frozenset({"linear", "conv", "recurrent"})
"""Kinds of layer whose weights map inputs to outputs."""


@dataclass(frozen=True)
class Weight:
    """One matrix or kernel that maps inputs to outputs.

    name: unique in its network, and the same however its modules are ordered.  parameter: what it is (a part) of.
    shape: (out, in / groups, *kernel).  view: the parameter in its module's layout -> a view of this weight, which
    has `shape` once it is reshaped.
    """

    name: str
    parameter: str
    shape: tuple[int, ...]
    groups: int
    view: Callable[[Tensor], Tensor]

    def of(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """This weight in `shape`, taken from all parameters by name."""
        return self.view(parameters[self.parameter]).reshape(self.shape)

    def store(self, parameters: Mapping[str, Tensor], values: Tensor) -> None:
        """Copy `values`, of `shape`, into its parameter."""
        view = self.view(parameters[self.parameter])
        view.copy_(values.reshape(view.shape))


@dataclass(frozen=True)
class Layer:
    """A module with weights of its own. Parameters are named as in `net.named_parameters()`.

    weights: of a linear, convolution or recurrent layer.  scale: the weight of an embedding or norm layer.
    """

    name: str
    kind: Kind
    module: nn.Module
    weights: tuple[Weight, ...] = ()
    biases: tuple[str, ...] = ()
    scale: str | None = None


def layers_of(net: nn.Module, *, shared: bool = False) -> tuple[Layer, ...]:
    """The layers of `net` in the order of `net.named_modules()`.

    A parameter that several layers share belongs to the first of them. shared: to each of them, by names that
    `net.named_parameters()` then does not have.
    """
    seen: set[int] = set()
    found = []
    for name, module in net.named_modules():
        kind = kind_of(module)
        own = {key: p for key, p in module.named_parameters(recurse=False) if shared or id(p) not in seen}
        if kind is None or not own:
            continue
        seen.update(map(id, own.values()))
        layer = _layer(name, kind, module, own)
        if layer.weights or layer.biases or layer.scale:
            found.append(layer)
    return tuple(found)


def kind_of(module: nn.Module) -> Kind | None:
    """What kind of layer `module` is; None: of none."""
    nn = torch.nn
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    kinds: tuple[tuple[Kind, tuple[type[nn.Module], ...]], ...] = (
        ("linear", (nn.Linear, nn.MultiheadAttention)),
        ("conv", conv),
        ("recurrent", (nn.RNNBase, nn.RNNCellBase)),
        ("embedding", (nn.Embedding, nn.EmbeddingBag)),
        ("norm", (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)),
    )
    for kind, classes in kinds:
        if isinstance(module, classes):
            return kind
    if _is_transposed_linear(module):
        return "linear"
    weight = module._parameters.get("weight")
    return "norm" if "Norm" in type(module).__name__ and weight is not None and weight.dim() == 1 else None


def _is_transposed_linear(module: nn.Module) -> bool:
    """Whether it is Hugging Face's Conv1D, whose weight is (in, out); known by its name, as few have it installed."""
    return any(
        f"{kind.__module__}.{kind.__name__}" == "transformers.pytorch_utils.Conv1D" for kind in type(module).__mro__
    )


def _layer(name: str, kind: Kind, module: nn.Module, own: Mapping[str, nn.Parameter]) -> Layer:
    def full(key: str) -> str:
        return f"{name}.{key}".lstrip(".")

    if kind in ("embedding", "norm"):
        scale = full("weight") if "weight" in own else None
        return Layer(name, kind, module, (), (full("bias"),) if "bias" in own else (), scale)
    weights = tuple(
        weight for key, p in own.items() if "weight" in key for weight in _weights(full(key), module, key, p)
    )
    # a parametrized layer keeps its weight elsewhere, and its bias is left as its weight is
    biases = (
        tuple(full(key) for key in own if key in _BIASES or key.startswith(("bias_ih", "bias_hh"))) if weights else ()
    )
    return Layer(name, kind, module, weights, biases)


_BIASES = ("bias", "in_proj_bias")


def _weights(name: str, module: nn.Module, key: str, p: nn.Parameter) -> Iterator[Weight]:
    """The weights that one parameter holds: several where it is a stack of equal parts."""
    nn = torch.nn
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        groups = module.groups
        inputs, outputs, *kernel = p.shape
        shape = (groups * outputs, inputs // groups, *kernel)
        yield Weight(name, name, shape, groups, partial(_transposed_groups, groups=groups))
    elif _is_transposed_linear(module):
        yield Weight(name, name, (p.shape[1], p.shape[0]), 1, _transposed)
    else:
        parts = _parts(module, key)
        shape = (p.shape[0] // parts, *p.shape[1:])
        for index in range(parts):
            own = f"{name}[{index}]" if parts > 1 else name
            yield Weight(own, name, shape, getattr(module, "groups", 1), partial(_part, parts=parts, index=index))


def _parts(module: nn.Module, key: str) -> int:
    """How many matrices are stacked in one parameter: query, key and value, or the gates of a recurrent layer."""
    nn = torch.nn
    if isinstance(module, nn.MultiheadAttention):
        return 3 if key == "in_proj_weight" else 1
    if isinstance(module, nn.RNNBase | nn.RNNCellBase) and not key.startswith("weight_hr"):
        return 4 if isinstance(module, nn.LSTM | nn.LSTMCell) else 3 if isinstance(module, nn.GRU | nn.GRUCell) else 1
    return 1


def _part(tensor: Tensor, parts: int, index: int) -> Tensor:
    return tensor.chunk(parts)[index] if parts > 1 else tensor


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.T


def _transposed_groups(tensor: Tensor, groups: int) -> Tensor:
    """(in, out / groups, *kernel) -> (groups, out / groups, in / groups, *kernel)."""
    return tensor.view(groups, -1, *tensor.shape[1:]).transpose(1, 2)
