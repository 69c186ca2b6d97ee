"""The config section `regularization`: any number of regularizers, each by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, core_schema

from hpo.errors import unknown_text
from hpo.schema import mistake
from hpo.training.regularizers import Regularizer, regularizers

if TYPE_CHECKING:
    from hpo.training.randomness import Number
    from hpo.training.slots import Now


class Regularization(Mapping[str, Regularizer]):
    """Regularizers by name, immutable. `{dropout: 0.3}` and `{dropout: {rate: 0.3}}` are the same.

    The canonical form names the main field by the entry alone; other fields stand below it:
    `{gradient_clipping: {max_norm: 1.0, norm: 1.0}}`, in dotted paths `regularization.gradient_clipping` and
    `regularization.gradient_clipping.norm`.
    """

    def __init__(self, entries: Mapping[str, Regularizer] | None = None) -> None:
        self._entries = dict(sorted((entries or {}).items()))

    def __getitem__(self, name: str) -> Regularizer:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regularization) and self._entries == other._entries

    def __hash__(self) -> int:
        return hash(tuple(self._entries.items()))

    def __repr__(self) -> str:
        return f"Regularization({self.dump()})"

    def smoothing(self, now: Now) -> Number:
        """The label smoothing of this step."""
        return sum((entry.smoothing(now) for entry in self.values()), start=0.0)

    @classmethod
    def parse(cls, raw: object) -> Regularization:
        """The section from any accepted form; for use as a pydantic validator."""
        if isinstance(raw, Regularization):
            return raw
        if not isinstance(raw, Mapping):
            raise _mistake(f"must be a mapping such as {{dropout: 0.3}}, found {raw!r}")
        return cls({str(name): _entry(str(name), value) for name, value in raw.items() if value is not None})

    def dump(self) -> dict[str, Any]:
        """The canonical nested form, plain numbers and mappings."""
        return {name: _plain(entry) for name, entry in self._entries.items()}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(lambda section: section.dump())
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        def one(entry: type[Regularizer]) -> dict[str, Any]:
            own = entry.model_json_schema()
            nested = {"type": "object", "properties": own["properties"], "additionalProperties": False}
            return {"description": entry.summary(), "anyOf": [own["properties"][entry.main], nested]}

        listed = {name: one(entry) for name, entry in regularizers.entries.items()}
        return {"type": "object", "properties": listed, "additionalProperties": False}


def _entry(name: str, raw: object) -> Regularizer:
    entries = regularizers.entries
    if name not in entries:
        raise _mistake(unknown_text("key", name, entries))
    entry = entries[name]
    if isinstance(raw, entry):
        return raw
    fields = dict(raw) if isinstance(raw, Mapping) else {"": raw}
    if "" in fields:  # the main field beside others, as dotted keys write it
        if entry.main in fields:
            raise _mistake(f"given twice, also as {name}.{entry.main}; keep one", name)
        fields[entry.main] = fields.pop("")
    if fields and entry.main not in fields:
        raise _mistake(f"has no effect without regularization.{name}, which is off", name, next(iter(fields)))
    try:
        return entry.model_validate(fields)
    except ValidationError as error:
        loc, text = mistake(error, entry)
        raise _mistake(text, name, *(() if loc == (entry.main,) else loc)) from None


def _plain(entry: Regularizer) -> Any:
    values = {key: value for key, value in entry.model_dump().items() if key != "name"}
    others = {key: value for key, value in values.items() if value != type(entry).model_fields[key].default}
    others.pop(entry.main, None)
    return {entry.main: values[entry.main], **others} if others else values[entry.main]


def _mistake(text: str, *loc: str) -> ValidationError:
    """A validation error at `loc` below this section."""
    error = PydanticCustomError("invalid_entry", "{text}", {"text": text})
    return ValidationError.from_exception_data("regularization", [{"type": error, "loc": loc, "input": None}])
