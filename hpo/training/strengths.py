"""What the sections `regularization` and `augmentation` share: entries that one number turns on, 0 is off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import ValidationError

from hpo.errors import unknown_text
from hpo.registry import Entry, Registry
from hpo.schema import mistake, mistake_at
from hpo.training.section import Section
from hpo.training.slots import Now, Slots

if TYPE_CHECKING:
    from hpo.training.randomness import Number


class Strength(Entry):
    """An entry whose `main` field is what `<section>.<entry>: number` sets; 0 is off.

    One whose main field is 0 must train exactly as one that is absent.

    A main field with `json_schema_extra=OVER_TIME` may be moved by a schedule (and differ between the members of a
    pack): slots then read `self.at(now)`, which may be a tensor, in place of the field.
    Facts: `section` is the key it stands under; `packable` says that its mathematics can run as a member of a pack,
    `reason` why not.
    """

    section: ClassVar[str]
    main: ClassVar[str]
    packable: ClassVar[bool] = True
    reason: ClassVar[str] = ""

    @property
    def strength(self) -> float:
        """The main field's value."""
        return float(getattr(self, self.main))

    def at(self, now: Now) -> Number:
        """The main field's value in this step."""
        return now.values.get(f"{self.section}.{self.registered_as}", self.strength)

    def fill(self, slots: Slots) -> Slots:
        """`slots` with its own part added; called only while `strength` is above 0."""
        return slots


S = TypeVar("S", bound=Strength)


class Strengths(Section[S]):
    """Entries of one registry by name. `{dropout: 0.3}` and `{dropout: {rate: 0.3}}` are the same.

    The canonical form names the main field by the entry alone; other fields stand below it:
    `{gradient_clipping: {max_norm: 1.0, norm: 1.0}}`, in dotted paths `regularization.gradient_clipping` and
    `regularization.gradient_clipping.norm`.
    """

    registry: ClassVar[Registry[Any]]

    @classmethod
    def read(cls, raw: Mapping[Any, Any]) -> Iterator[tuple[str, S]]:
        """See Section."""
        return ((str(name), cls._entry(str(name), value)) for name, value in raw.items() if value is not None)

    @staticmethod
    def plain(entry: S) -> Any:
        """See Section."""
        values = {key: value for key, value in entry.model_dump().items() if key != "name"}
        others = {key: value for key, value in values.items() if value != type(entry).model_fields[key].default}
        others.pop(entry.main, None)
        return {entry.main: values[entry.main], **others} if others else values[entry.main]

    @classmethod
    def _entry(cls, name: str, raw: object) -> S:
        entries = cls.registry.entries
        if name not in entries:
            raise mistake_at(cls.title, unknown_text("key", name, entries))
        entry = entries[name]
        if isinstance(raw, entry):
            return raw  # type: ignore[no-any-return]
        fields = dict(raw) if isinstance(raw, Mapping) else {"": raw}
        if "" in fields:  # the main field beside others, as dotted keys write it
            if entry.main in fields:
                raise mistake_at(cls.title, f"given twice, also as {name}.{entry.main}; keep one", name)
            fields[entry.main] = fields.pop("")
        if fields and entry.main not in fields:
            raise mistake_at(
                cls.title, f"has no effect without {cls.title}.{name}, which is off", name, next(iter(fields))
            )
        try:
            return entry.model_validate(fields)  # type: ignore[no-any-return]
        except ValidationError as error:
            loc, text = mistake(error, entry)
            raise mistake_at(cls.title, text, name, *(() if loc == (entry.main,) else loc)) from None

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        def one(entry: type[Strength]) -> dict[str, Any]:
            own = entry.model_json_schema()
            nested = {"type": "object", "properties": own["properties"], "additionalProperties": False}
            return {"description": entry.summary(), "anyOf": [own["properties"][entry.main], nested]}

        listed = {name: one(entry) for name, entry in cls.registry.entries.items()}
        return {"type": "object", "properties": listed, "additionalProperties": False}
