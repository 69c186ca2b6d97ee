"""YAML as its 1.2 core schema reads it: `1e-4` is a number, `on` and `no` are words, `012` is twelve.

PyYAML does the syntax; the meaning of a plain scalar, repeated keys, aliases and tags are decided here. Nothing in a
file can build an object or run code: only mappings, lists, strings, numbers, booleans and null come out.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from hpo.errors import UserError

MOST_VALUES = 100_000
"""How many values one file may hold once its aliases are written out; more is taken for an attack."""

_TAG = "tag:yaml.org,2002:"
_CORE = (
    ("null", re.compile(r"(?:null|Null|NULL|~|)\Z")),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")),
    ("int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")),
    (
        "float",
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
    ),
)


def _core_tag(text: str) -> str:
    """The core schema's tag of a plain scalar."""
    return next((_TAG + kind for kind, pattern in _CORE if pattern.match(text)), _TAG + "str")


class _Loader(Reader, Scanner, Parser, Composer):
    """PyYAML up to the node graph, with the core schema in place of its YAML 1.1 resolver."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return _core_tag(value) if implicit[0] else _TAG + "str"
        return _TAG + ("seq" if kind is SequenceNode else "map")

    # the resolver's bookkeeping of paths, which the composer calls and nothing here needs
    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Nothing to follow."""

    def ascend_resolver(self) -> None:
        """Nothing to follow."""


def load(text: str, where: str) -> dict[Any, Any]:
    """The mapping that `text` holds.

    where: the file's name, put in front of every error sentence. Keys are scalars, most often strings; numbers,
    booleans and null keep their type. `.nan` and `.inf` are floats here: who must not have them refuses them.
    Raises UserError naming file and line for: broken syntax, more than one document, a top level that is no mapping, a
    repeated key, a merge key (`<<`), a tag outside the core schema, a number out of range, aliases that contain
    themselves or expand to more than MOST_VALUES values.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise UserError(f"{where}: the file is empty; it must hold a mapping, key: value")
        if not isinstance(node, MappingNode):
            what = "a list" if isinstance(node, SequenceNode) else f"a single value, {str(node.value)[:40]!r}"
            raise UserError(f"{where}, {_line(node)}: must hold a mapping, key: value, at the top, found {what}")
        mapping = _Builder(where).build(node)
        assert isinstance(mapping, dict)
        return mapping
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{where}, line {line}: {error.reason}, found character {_code(error.character)}") from None
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{where}, {_marked(error)}") from None
    except RecursionError:
        raise UserError(f"{where}: nested too deeply") from None


def dump(data: Any) -> str:
    """`data` in block style, keys in their own order; `load` gives the same values back, types and all.

    Strings that a YAML 1.1 reader would take for something else are quoted too. Tuples become lists.
    Raises TypeError for anything but mappings, lists, strings, numbers, booleans and None.
    """
    try:
        return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)
    except yaml.representer.RepresenterError as error:
        raise TypeError(f"YAML cannot hold {error.args[-1]!r}") from None


class _Builder:
    """Turns the node graph into plain values, counting them, so that aliases cannot blow up."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._values = 0
        self._open: set[int] = set()

    def build(self, node: Node) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:
            raise self._error(node, f"holds more than {MOST_VALUES} values once its aliases are written out")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            raise self._error(node, "an alias contains itself")
        self._open.add(id(node))
        value = self._mapping(node) if isinstance(node, MappingNode) else self._sequence(node)
        self._open.discard(id(node))
        return value

    def _sequence(self, node: Node) -> list[Any]:
        if node.tag != _TAG + "seq":
            raise self._foreign_tag(node)
        return [self.build(item) for item in node.value]

    def _mapping(self, node: MappingNode) -> dict[Any, Any]:
        if node.tag != _TAG + "map":
            raise self._foreign_tag(node)
        built: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise self._error(key_node, "a key must be a word or a number, found a list or mapping")
            if key_node.value == "<<" and key_node.style is None:
                raise self._error(key_node, "merge keys (<<) are not part of YAML 1.2; write the keys out")
            key = self.build(key_node)
            if key in built:
                raise self._error(key_node, f"{key_node.value}: this key stands here twice; keep one")
            built[key] = self.build(value_node)
        return built

    def _scalar(self, node: ScalarNode) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind == "str":
            return text
        patterns = dict(_CORE)
        if kind not in patterns:
            raise self._foreign_tag(node)
        # an explicit tag (`!!float 1`) may say more than the text does; an int is a float, nothing else is anything
        if not patterns[kind].match(text) and not (kind == "float" and patterns["int"].match(text)):
            raise self._error(node, f"{text!r} is not a value of type {kind}")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        return self._int(node) if kind == "int" else self._float(node)

    def _int(self, node: ScalarNode) -> int:
        text = node.value
        try:
            return int(text[2:], {"0o": 8, "0x": 16}[text[:2]]) if text[:2] in {"0o", "0x"} else int(text, 10)
        except ValueError:  # Python refuses to read thousands of digits
            raise self._error(node, f"the number {text[:20]}... is too long") from None

    def _float(self, node: ScalarNode) -> float:
        text = node.value.lower()
        if "inf" in text or "nan" in text:
            return float(text.replace(".", "", 1))
        value = float(text)
        if math.isinf(value):
            raise self._error(node, f"the number {node.value[:20]} is too large; write .inf for infinity")
        return value

    def _foreign_tag(self, node: Node) -> UserError:
        tag = node.tag.replace(_TAG, "!!")
        return self._error(node, f"the tag {tag} is not allowed; only plain values, lists and mappings are")

    def _error(self, node: Node, text: str) -> UserError:
        return UserError(f"{self._where}, {_line(node)}: {text}")


def _line(node: Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _marked(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}: " if mark else ""
    text = ", ".join(part for part in [error.context, error.problem] if part)
    if "expected a single document" in text:
        text = "a second document (---) begins; keep one"
    return f"{line}{text}"


def _code(character: Any) -> str:
    return f"U+{character if isinstance(character, int) else ord(character):04X}"


class _Dumper(yaml.SafeDumper):
    """Quotes what either schema would misread, writes floats so that both read floats, never writes aliases."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0] and _core_tag(value) != _TAG + "str":
            return _core_tag(value)
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (PyYAML's signature)
        return True


def _float_node(dumper: yaml.SafeDumper, value: float) -> ScalarNode:
    if math.isnan(value):
        text = ".nan"
    elif math.isinf(value):
        text = ".inf" if value > 0 else "-.inf"
    else:
        text = float.__repr__(value)
        if "." not in text:  # 1e-05 is text to a YAML 1.1 reader, 1.0e-05 a number to both
            text = text.replace("e", ".0e", 1)
    return dumper.represent_scalar(_TAG + "float", text)


def _str_node(dumper: yaml.SafeDumper, value: str) -> ScalarNode:
    # PyYAML folds at these as at line ends unless they are escaped
    return dumper.represent_scalar(_TAG + "str", value, style='"' if _BREAKS & set(value) else None)


_BREAKS = set("\r\x85\u2028\u2029")
_Dumper.add_representer(float, _float_node)
_Dumper.add_representer(str, _str_node)
_Dumper.add_multi_representer(Enum, lambda dumper, item: dumper.represent_data(item.value))
