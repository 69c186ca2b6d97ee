"""Registries: one decorated class in one file is an entry, known to validation, `hpo list`, help, docs and suites.

    schedules: Registry[Schedule] = Registry("schedule", "hpo.training.schedules")

    @schedules("cosine")
    class Cosine(Schedule):
        \"\"\"Half a cosine ...\"\"\"
        floor: float = Field(0.0, ge=0, le=1, description="lowest factor")

Entries own their fields (frozen pydantic). Facts that callers may ask are class variables of the entry's base class.
A registry's modules are imported when its entries are first asked for, so a new file is found with no further edit.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError, model_serializer
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from hpo.errors import UserError, unknown, unknown_text
from hpo.schema import Frozen, mistake, mistake_at, sentence_of_our_own, shown


class Entry(Frozen):
    """Base of all entries: its fields are what a user may set, its docstring's first line is its summary."""

    registered_as: ClassVar[str]

    @property
    def name(self) -> str:
        """The name it was registered under."""
        return self.registered_as

    @model_serializer(mode="wrap")
    def _with_name(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {"name": self.registered_as, **handler(self)}

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]


class _Mistake(Exception):
    """What is wrong with an entry as written, and at which keys below it."""

    def __init__(self, loc: tuple[str, ...], text: str) -> None:
        super().__init__(text)
        self.loc, self.text = loc, text


E = TypeVar("E", bound=Entry)
C = TypeVar("C", bound=Entry)


class Registry(Generic[E]):
    """Entries of one kind by name. Use an instance as decorator, and inside Annotated[...] as a pydantic type.

    noun: what one entry is called in error sentences. package: the folder whose modules register the entries.
    """

    def __init__(self, noun: str, package: str) -> None:
        self.noun = noun
        self.package = package
        self._entries: dict[str, type[E]] = {}
        self._discovered = False

    def __call__(self, name: str) -> Callable[[type[C]], type[C]]:
        """Register the decorated class under `name`.

        Raises ValueError for a name that is taken by another class, TypeError for a missing docstring or a field
        without a description.
        """

        def add(cls: type[C]) -> type[C]:
            # our own entries first, so that a plugin finds their names taken and not they its own
            taken = (self._entries if cls.__module__.startswith(f"{self.package}.") else self.entries).get(name)
            # the same class of the same file, loaded again or edited since, is no clash
            if taken is not None and (taken.__qualname__, _home(taken)) != (cls.__qualname__, _home(cls)):
                raise ValueError(f"{self.noun} {name!r} is registered twice, in {_home(taken)} and in {_home(cls)}")
            if not cls.__dict__.get("__doc__"):
                raise TypeError(f"{self.noun} {name!r} needs a docstring: its first line is shown by `hpo list`")
            bare = [field for field, info in cls.model_fields.items() if not info.description]
            if bare:
                raise TypeError(f"{self.noun} {name!r}: fields without a description: {', '.join(bare)}")
            cls.registered_as = name
            self._entries[name] = cls  # type: ignore[assignment]
            return cls

        return add

    @property
    def entries(self) -> Mapping[str, type[E]]:
        """All entries by name, in alphabetical order; imports the registry's folder at first use."""
        if not self._discovered:
            self._discovered = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
        return dict(sorted(self._entries.items()))

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def remove(self, name: str) -> None:
        """Forget an entry; for tests and notebooks that register temporary ones."""
        self._entries.pop(name, None)

    def get(self, name: object, key: str = "") -> type[E]:
        """The entry called `name`; UserError with the nearest name (and `key` in front) when there is none."""
        entries = self.entries
        if not isinstance(name, str) or name not in entries:
            raise unknown(key, self.noun, name, entries)
        return entries[name]

    def parse(self, raw: object) -> E:
        """`"cosine"` or `{"name": "cosine", ...}` as a frozen entry. Raises ValueError with one sentence."""
        try:
            return self._entry(raw)
        except _Mistake as found:
            raise sentence_of_our_own(": ".join([*filter(None, [".".join(found.loc)]), found.text])) from None

    def check(self, raw: object, key: str) -> E:
        """Like `parse`, for what stands at `key`: a mistake raises UserError that begins with its dotted key."""
        try:
            return self._entry(raw)
        except _Mistake as found:
            raise UserError(f"{'.'.join([key, *found.loc])}: {found.text}") from None

    def _entry(self, raw: object) -> E:
        if isinstance(raw, Entry):
            return raw  # type: ignore[return-value]
        if isinstance(raw, str):
            raw = {"name": raw}
        if not isinstance(raw, Mapping):
            raise _Mistake((), f"must be a {self.noun}'s name or a mapping with one, found {shown(raw)}")
        keys = dict(raw)
        name = keys.pop("name", None)
        entries = self.entries
        if name is None:
            raise _Mistake((), f"a {self.noun} needs a name (allowed: {', '.join(entries)})")
        if not isinstance(name, str) or name not in entries:
            raise _Mistake((), unknown_text(self.noun, name, entries))
        try:
            return entries[name].model_validate(keys)
        except ValidationError as error:
            loc, text = mistake(error, entries[name])
            raise _Mistake(loc, re.sub("^unknown key (?=')", f"unknown key of {self.noun} {name!r}: ", text)) from None

    def _validate(self, raw: object) -> E:
        """`parse` for pydantic, to which a ValidationError also says where below this field the mistake is."""
        try:
            return self._entry(raw)
        except _Mistake as found:
            raise mistake_at(self.noun, found.text, *found.loc, found=raw) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda entry: entry.model_dump()),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> JsonSchemaValue:
        def one(name: str, entry: type[E]) -> dict[str, Any]:
            own = entry.model_json_schema()
            return {
                "type": "object",
                "description": entry.summary(),
                "properties": {"name": {"const": name}, **own.get("properties", {})},
                "required": ["name", *own.get("required", [])],
                "additionalProperties": False,
            }

        listed = [one(name, entry) for name, entry in self.entries.items()]
        return {"anyOf": [{"enum": list(self.entries)}, *listed]}

    def describe(self) -> list[dict[str, Any]]:
        """`[{name, summary, fields}]` for `hpo list`; a field has its type, default, bounds and description."""
        return [
            {"name": name, "summary": entry.summary(), "fields": _fields(entry)} for name, entry in self.entries.items()
        ]


def _home(entry: type) -> str:
    """The file that a class was defined in, or its module where there is none."""
    return getattr(sys.modules.get(entry.__module__), "__file__", None) or entry.__module__


_FACTS = ("type", "enum", "default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "description")


def _fields(entry: type[Entry]) -> list[dict[str, Any]]:
    schema = entry.model_json_schema()
    required = set(schema.get("required", []))
    return [
        {"name": name, "required": name in required, **_facts(info)}
        for name, info in schema.get("properties", {}).items()
    ]


def _facts(info: dict[str, Any]) -> dict[str, Any]:
    """What a field's JSON Schema says, flat: the options of a union are a list of types, words beside them an enum."""
    options = info.get("anyOf", [info])
    types = [option["type"] for option in options if "type" in option and "const" not in option]
    words = [option["const"] for option in options if "const" in option]
    merged = {fact: value for option in options for fact, value in option.items()} | info
    if types:
        merged["type"] = types[0] if len(types) == 1 else types
    if words:
        merged["enum"] = words
    return {fact: merged[fact] for fact in _FACTS if fact in merged}
