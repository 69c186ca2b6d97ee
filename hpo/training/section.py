"""`Section`: what the config's sections of any number of entries, each under a key, have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic_core import core_schema

from hpo.registry import Entry
from hpo.schema import mistake_at

if TYPE_CHECKING:
    from typing import Self

E = TypeVar("E", bound=Entry)


class Section(Mapping[str, E], Generic[E]):
    """Entries by key, immutable, in alphabetical order whatever the order they were written in; a pydantic type.

    title: the section's own key.  example: how it is written, for the sentence about one that is no mapping.
    """

    title: ClassVar[str]
    example: ClassVar[str]

    def __init__(self, entries: Mapping[str, E] | None = None) -> None:
        self._entries = dict(sorted((entries or {}).items()))

    @classmethod
    @abstractmethod
    def read(cls, raw: Mapping[Any, Any]) -> Iterator[tuple[str, E]]:
        """The entries of a mapping as a user writes it. Raises the error of `mistake_at` for a mistake below it."""

    @staticmethod
    @abstractmethod
    def plain(entry: E) -> Any:
        """One entry in its canonical form, plain numbers and mappings."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """The section from any accepted form; for use as a pydantic validator."""
        if isinstance(raw, cls):
            return raw
        if not isinstance(raw, Mapping):
            raise mistake_at(cls.title, f"must be a mapping such as {cls.example}, found {raw!r}")
        return cls(dict(cls.read(raw)))

    def dump(self) -> dict[str, Any]:
        """The canonical form, plain numbers and mappings."""
        return {key: self.plain(entry) for key, entry in self._entries.items()}

    def __getitem__(self, key: str) -> E:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._entries == other._entries

    def __hash__(self) -> int:
        return hash(tuple(self._entries.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dump()})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(lambda section: section.dump())
        )
