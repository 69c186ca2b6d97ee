"""What every registry entry must do, whatever its kind; the other suites inherit it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from hpo.registry import Entry, Registry


def example(registry: Registry[Any], name: str, **fields: Any) -> Any:
    """The entry `name` with its defaults; what it requires takes the first of the examples that its field gives."""
    required = {key: info for key, info in registry.get(name).model_fields.items() if info.is_required()}
    given = {key: info.examples[0] for key, info in required.items() if info.examples}
    return registry.parse({"name": name, **given, **fields})


class EntrySuite:
    """Tests of any entry; a suite of a kind says how its own fixture is the `entry` of `registry`."""

    registry: Registry[Any]

    @pytest.fixture
    def entry(self) -> Entry:
        """The entry under test."""
        raise NotImplementedError

    def test_survives_being_written_down(self, entry: Entry) -> None:
        assert self.registry.parse(json.loads(entry.model_dump_json())) == entry

    def test_is_listed_with_a_summary_and_described_fields(self, entry: Entry) -> None:
        listed = {row["name"]: row for row in self.registry.describe()}
        assert listed[entry.name]["summary"].strip()
        assert {field["name"] for field in listed[entry.name]["fields"]} == set(type(entry).model_fields)
        assert all(field["description"] for field in listed[entry.name]["fields"])

    def test_is_immutable(self, entry: Entry) -> None:
        for field in type(entry).model_fields:
            with pytest.raises(ValidationError):
                setattr(entry, field, getattr(entry, field))

    def test_refuses_what_its_bounds_forbid(self, entry: Entry) -> None:
        for field, schema in type(entry).model_json_schema().get("properties", {}).items():
            beyond = [schema[low] - 1 for low in ("minimum", "exclusiveMinimum") if low in schema]
            beyond += [schema[high] + 1 for high in ("maximum", "exclusiveMaximum") if high in schema]
            for value in beyond:
                with pytest.raises(ValueError, match=field):
                    self.registry.parse({**entry.model_dump(), field: value})
