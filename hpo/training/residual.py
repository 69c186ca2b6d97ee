"""How the layers of a network hang together: its residual branches and its output head.

Both are read off the modules' own `forward` by torch.fx, one module at a time with those below it as black boxes, so
a user's own network needs no edit. A forward that cannot be traced (control flow on tensors) is taken to give what the
layer registered last in it gives. A network for which that is wrong says itself what is right:

    class Net(nn.Module):
        residual_layers = ["blocks.*.out"]   # names of the last layer or norm of each branch, with shell wildcards
        output_head = "classifier"           # the name of the layer that gives the scores
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node, Tracer

from hpo.errors import UserError
from hpo.training.anatomy import FILLED, Layer, layers_of


@dataclass(frozen=True)
class Branch:
    """What is added to a skip connection: y = x + branch(x), or y = shortcut(x) + branch(x).

    output: name of the module whose output is added.  end: the last layer or norm of the branch.
    layers: all layers with weights on it, in the order of `net.named_modules()`.
    """

    output: str
    end: Layer
    layers: tuple[Layer, ...]


def branches_of(net: nn.Module) -> tuple[Branch, ...]:
    """The residual branches of `net`, in the order in which they are registered; () where there are none.

    Raises UserError for a `residual_layers` that names no layer.
    """
    layers = {layer.name: layer for layer in layers_of(net)}
    told = getattr(net, "residual_layers", None)
    if told is not None:
        return tuple(Branch(layer.name, layer, (layer,)) for layer in _named(layers, told, "residual_layers"))
    found = []
    for name, module in net.named_modules():
        for way, on_branch in _additions(module):
            ends = ((path, _end(net, _join(name, path), layers)) for path in way)
            output, end = next(((path, end) for path, end in ends if end is not None), (None, None))
            tops = [_join(name, path) for path in on_branch]
            inside = tuple(layer for layer in layers.values() if layer.kind in FILLED and _is_below(layer.name, tops))
            if output is not None and end is not None and inside:
                found.append(Branch(_join(name, output), end, inside))
    return tuple(found)


def head_of(net: nn.Module) -> Layer | None:
    """The layer that gives the scores of `net`: the last one on the way to its output; None: it has no layer.

    Raises UserError for an `output_head` that names no layer.
    """
    layers = {layer.name: layer for layer in layers_of(net, shared=True) if layer.kind in FILLED}
    told = getattr(net, "output_head", None)
    if told is not None:
        return _named(layers, [told], "output_head")[0]
    return _end(net, "", layers) or next(reversed(layers.values()), None)


def _named(layers: Mapping[str, Layer], patterns: Sequence[str], attribute: str) -> list[Layer]:
    found = []
    for pattern in patterns:
        matching = [layer for name, layer in layers.items() if fnmatchcase(name, pattern)]
        if not matching:
            raise UserError(
                f"model: its {attribute} has {pattern!r}, which names no layer (it has: {', '.join(layers)})"
            )
        found += matching
    return found


def _join(name: str, path: str) -> str:
    return f"{name}.{path}".strip(".")


def _is_below(name: str, tops: Sequence[str]) -> bool:
    return any(not top or name == top or name.startswith(f"{top}.") for top in tops)


def _end(net: nn.Module, name: str, layers: Mapping[str, Layer]) -> Layer | None:
    """The layer whose output the module `name` gives; None where it gives what it got, as a gate or an activation."""
    below = [layer for other, layer in layers.items() if _is_below(other, [name])]
    if len(below) < 2:
        return below[0] if below else None
    way = _way_through(net.get_submodule(name))
    if way is None:
        return ([layer for layer in below if layer.kind in FILLED] or below)[-1]
    return next((end for path in way if (end := _end(net, _join(name, path), layers)) is not None), None)


def _way_through(module: nn.Module) -> list[str] | None:
    """Names of the children on the straight way from the output of `module` backwards; None if it cannot be traced."""
    if isinstance(module, nn.Sequential):
        return [name for name, _ in module.named_children()][::-1]
    graph = _graph(module)
    return None if graph is None else list(_way_back(graph.output_node()))


def _additions(module: nn.Module) -> Iterator[tuple[list[str], list[str]]]:
    """Each residual addition in one forward: the modules straight back from its branch, and all modules on it."""
    if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):  # too clever for torch.fx
        yield from (([name], [name]) for name, _ in module.named_children() if name.endswith("attn"))
        yield ["linear2"], ["linear1", "linear2"]
        return
    graph = _graph(module)
    for node in graph.nodes if graph is not None else ():
        if _adds(node) and (found := _branch(*node.args[:2])) is not None:
            branch, own = found
            yield list(_way_back(branch)), _calls(own)


def _adds(node: Node) -> bool:
    if node.op == "call_function":
        adds = node.target in (operator.add, operator.iadd, torch.add)
    else:
        adds = node.op == "call_method" and node.target in ("add", "add_")
    return adds and sum(isinstance(value, Node) for value in node.args[:2]) == 2


def _branch(first: Any, second: Any) -> tuple[Node, set[Node]] | None:
    """Which of two summands is the branch, and what is on it; None: the sum is no residual one.

    It is the one that was made from the other; or the output of a module to which an argument of the forward is added;
    or, where both were made from one input, the one with more modules, as the other is a projected shortcut.
    """
    before = {node: _ancestors(node) for node in (first, second)}
    own = {first: before[first] - before[second], second: before[second] - before[first]}
    for branch, skip in ((first, second), (second, first)):
        if skip in before[branch] or (skip.op == "placeholder" and _gives_a_modules_output(branch)):
            return branch, own[branch]
    shared = any(node.op in ("placeholder", "call_module") for node in before[first] & before[second])
    counts = {node: len(_calls(nodes)) for node, nodes in own.items()}
    if not shared or counts[first] == counts[second]:
        return None
    branch = max(counts, key=counts.__getitem__)
    return branch, own[branch]


def _gives_a_modules_output(node: Node) -> bool:
    """Whether only reshaping and the like lies between a module and `node`; scores of attention are no output."""
    while node.op != "call_module":
        inputs = [other for other in node.all_input_nodes if other.op != "get_attr"]
        if len(inputs) != 1:
            return False
        node = inputs[0]
    return True


def _ancestors(node: Node) -> set[Node]:
    """All nodes that `node` was made from, and itself."""
    found, waiting = {node}, [node]
    while waiting:
        fresh = [other for other in waiting.pop().all_input_nodes if other not in found]
        found.update(fresh)
        waiting += fresh
    return found


def _calls(nodes: set[Node]) -> list[str]:
    return [_called(node) for node in nodes if node.op == "call_module"]


def _called(node: Node) -> str:
    return str(node.target).removeprefix(f"{_ROOT}.")


def _way_back(node: Node) -> Iterator[str]:
    """The modules called on the straight way that ends in `node`, last first: its first input, that one's first ..."""
    current: Node | None = node
    while current is not None:
        if current.op == "call_module":
            yield _called(current)
        inputs = [other for other in current.all_input_nodes if other.op != "get_attr"]
        current = inputs[0] if inputs else None


_ROOT = "inner"


class _Traced(nn.Module):
    """Calls the forward of a module with as many arguments as it needs; the rest keep their defaults."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class _None(_Traced):
    def forward(self) -> Any:
        return self.inner.forward()


class _One(_Traced):
    def forward(self, a: Any) -> Any:
        return self.inner.forward(a)


class _Two(_Traced):
    def forward(self, a: Any, b: Any) -> Any:
        return self.inner.forward(a, b)


class _Three(_Traced):
    def forward(self, a: Any, b: Any, c: Any) -> Any:
        return self.inner.forward(a, b, c)


class _Tracer(Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return True


def _graph(module: nn.Module) -> Graph | None:
    """The forward of one module with its children as black boxes; None where it cannot be traced."""
    if type(module).__module__.startswith("torch.nn.") or not module._modules:
        return None
    needed = [p for p in inspect.signature(module.forward).parameters.values() if p.kind <= p.POSITIONAL_OR_KEYWORD]
    count = sum(p.default is p.empty for p in needed) or min(len(needed), 1)
    try:
        # a copy, so that what a forward keeps on its module (a counter, a last output) stays with the copy
        return _Tracer().trace((_None, _One, _Two, _Three)[count](copy.copy(module)))
    except Exception:  # whatever a user's forward does with a stand-in for a tensor
        return None
