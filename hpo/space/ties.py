"""A parameter tied to others by a small expression: numbers, dotted paths, arithmetic, a few functions. No `eval`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo.errors import UserError, nearest
from hpo.space.checks import DomainError

LONGEST = 500
"""Characters of an expression; so long, the parser cannot be driven too deep either."""

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,  # of floats, so that no power of whole numbers fills the memory
}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "log": math.log,
    "exp": math.exp,
}
_ONE_ARGUMENT = ("sqrt", "log", "exp")
_ALLOWED = f"numbers, paths, + - * / ** and {', '.join(_FUNCTIONS)}"


@dataclass(frozen=True)
class Tie:
    """An expression over other parameters' paths, as in `0.1 * optimizer.lr`.

    whole: its value must be a whole number. Raises DomainError for anything but numbers, paths, arithmetic, functions.
    """

    text: str
    whole: bool = field(default=False, compare=False)
    _tree: ast.expr = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.text, bool) or not isinstance(self.text, str):
            raise DomainError("Tie", f'must be an expression such as "0.1 * optimizer.lr", found {self.text!r}')
        if len(self.text) > LONGEST:
            raise DomainError("Tie", f"must have at most {LONGEST} characters, found {len(self.text)}")
        try:
            tree = ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise DomainError("Tie", f"{self.text!r} is no expression ({_ALLOWED})") from None
        if not list(_paths(tree)):
            raise DomainError("Tie", f"{self.text!r} names no other parameter; fixed values belong in base:")
        object.__setattr__(self, "_tree", tree)

    @property
    def paths(self) -> list[str]:
        """The paths it rests on, each once."""
        return list(dict.fromkeys(_paths(self._tree)))

    def value(self, settings: Mapping[str, Any]) -> float:
        """Its value where the paths have these. Raises UserError, without a key, where there is none."""
        try:
            found = _value(self._tree, settings)
            finite = math.isfinite(found)
        except ZeroDivisionError:
            raise UserError(f"{self.text!r} divides by zero{self._with(settings)}") from None
        except (ValueError, OverflowError):
            raise UserError(f"{self.text!r} has no value{self._with(settings)}") from None
        if not finite:
            raise UserError(f"{self.text!r} has no finite value{self._with(settings)}")
        if self.whole and found != int(found):
            raise UserError(f"{self.text!r} must be a whole number, found {found!r}{self._with(settings)}")
        return int(found) if self.whole else found

    def renamed(self, name_of: Callable[[str], str]) -> Tie:
        """The same with its paths called by `name_of`."""
        if all(name_of(path) == path for path in self.paths):
            return self
        tree = ast.parse(self.text.strip(), mode="eval")
        return Tie(ast.unparse(_Renamed(name_of).visit(tree)), self.whole)

    def _with(self, settings: Mapping[str, Any]) -> str:
        return " with " + ", ".join(f"{path} = {settings[path]!r}" for path in self.paths)


class _Renamed(ast.NodeTransformer):
    def __init__(self, name_of: Callable[[str], str]) -> None:
        self._name_of = name_of

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.parse(self._name_of(_path(node)), mode="eval").body

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.args = [self.visit(argument) for argument in node.args]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.parse(self._name_of(node.id), mode="eval").body


def _path(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_path(node.value)}.{node.attr}"
    if isinstance(node, ast.Name):
        return node.id
    raise DomainError("Tie", f"{ast.unparse(node)!r} is not allowed in an expression ({_ALLOWED})")


def _paths(node: ast.expr) -> Iterator[str]:
    """The paths of an expression; DomainError for a part that is not allowed in one."""
    if isinstance(node, ast.Attribute | ast.Name):
        yield _path(node)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        yield from _paths(node.left)
        yield from _paths(node.right)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        yield from _paths(node.operand)
    elif isinstance(node, ast.Call):
        yield from _arguments(node)
    elif not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
        raise DomainError("Tie", f"{ast.unparse(node)!r} is not allowed in an expression ({_ALLOWED})")


def _arguments(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name not in _FUNCTIONS:
        near = nearest(name, _FUNCTIONS)
        question = f"; did you mean {near!r}?" if near else ";"
        raise DomainError("Tie", f"unknown function {name!r}{question} (allowed: {', '.join(_FUNCTIONS)})")
    most = 1 if name in _ONE_ARGUMENT else None
    if node.keywords or not node.args or (len(node.args) != 1 if most else len(node.args) < 2):
        raise DomainError("Tie", f"{ast.unparse(node)!r}: {name} takes {'one number' if most else 'two or more'}")
    for argument in node.args:
        yield from _paths(argument)


def _value(node: ast.expr, settings: Mapping[str, Any]) -> Any:
    """Of an expression that `_paths` has walked."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, settings), _value(node.right, settings))
    if isinstance(node, ast.UnaryOp):
        return _SIGNS[type(node.op)](_value(node.operand, settings))
    if isinstance(node, ast.Call):
        return _FUNCTIONS[ast.unparse(node.func)](*(_value(argument, settings) for argument in node.args))
    return settings[_path(node)]
