"""The config section `regularization`: any number of regularizers, each by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from hpo.errors import unknown_text
from hpo.schema import mistake, mistake_at
from hpo.training.regularizers import Regularizer, regularizers
from hpo.training.section import Section

if TYPE_CHECKING:
    from hpo.training.randomness import Number
    from hpo.training.slots import Now


class Regularization(Section[Regularizer]):
    """Regularizers by name. `{dropout: 0.3}` and `{dropout: {rate: 0.3}}` are the same.

    The canonical form names the main field by the entry alone; other fields stand below it:
    `{gradient_clipping: {max_norm: 1.0, norm: 1.0}}`, in dotted paths `regularization.gradient_clipping` and
    `regularization.gradient_clipping.norm`.
    """

    title: ClassVar[str] = "regularization"
    example: ClassVar[str] = "{dropout: 0.3}"

    def smoothing(self, now: Now) -> Number:
        """The label smoothing of this step."""
        return sum((entry.smoothing(now) for entry in self.values()), start=0.0)

    @classmethod
    def read(cls, raw: Mapping[Any, Any]) -> Iterator[tuple[str, Regularizer]]:
        """See Section."""
        return ((str(name), _entry(str(name), value)) for name, value in raw.items() if value is not None)

    @staticmethod
    def plain(entry: Regularizer) -> Any:
        """See Section."""
        values = {key: value for key, value in entry.model_dump().items() if key != "name"}
        others = {key: value for key, value in values.items() if value != type(entry).model_fields[key].default}
        others.pop(entry.main, None)
        return {entry.main: values[entry.main], **others} if others else values[entry.main]

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
        raise mistake_at(Regularization.title, unknown_text("key", name, entries))
    entry = entries[name]
    if isinstance(raw, entry):
        return raw
    fields = dict(raw) if isinstance(raw, Mapping) else {"": raw}
    if "" in fields:  # the main field beside others, as dotted keys write it
        if entry.main in fields:
            raise mistake_at(Regularization.title, f"given twice, also as {name}.{entry.main}; keep one", name)
        fields[entry.main] = fields.pop("")
    if fields and entry.main not in fields:
        raise mistake_at(
            Regularization.title, f"has no effect without regularization.{name}, which is off", name, next(iter(fields))
        )
    try:
        return entry.model_validate(fields)
    except ValidationError as error:
        loc, text = mistake(error, entry)
        raise mistake_at(Regularization.title, text, name, *(() if loc == (entry.main,) else loc)) from None
