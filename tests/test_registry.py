"""Registries: what an entry must bring, how it is found and parsed, what is told of it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from hpo.errors import UserError
from hpo.registry import Entry, Registry
from hpo.schema import Frozen, check

BASE = "from hpo.registry import Entry, Registry\nshapes = Registry('shape', 'tried_shapes')\n"
CIRCLE = (
    "from pydantic import Field\nfrom tried_shapes import shapes\nfrom hpo.registry import Entry\n"
    "@shapes('circle')\nclass Circle(Entry):\n    '''Round.\n\n    More.'''\n"
    "    radius: float = Field(1.0, gt=0, description='half its width')\n"
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A registry's folder with one entry in it."""
    folder = tmp_path / "tried_shapes"
    folder.mkdir()
    (folder / "__init__.py").write_text(BASE)
    (folder / "circle.py").write_text(CIRCLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("tried_shapes")]:
        del sys.modules[name]


@pytest.fixture
def shapes(package: Path) -> Registry[Any]:
    registry: Registry[Any] = importlib.import_module("tried_shapes").shapes

    @registry("star")
    class Star(Entry):
        """Pointed."""

        points: int = Field(ge=3, description="how many")
        style: Literal["thin", "fat"] = Field("fat", description="of the points")
        inner: float | None = Field(None, ge=0, description="null: none")
        size: int | Literal["auto"] = Field("auto", description="auto: fits")

        @model_validator(mode="after")
        def _not_too_many(self) -> Star:
            if self.points > 99:
                raise ValueError("has too many points")
            return self

    return registry


def test_a_file_in_the_folder_is_all_it_takes(package: Path) -> None:
    (package / "square.py").write_text(CIRCLE.replace("circle", "square").replace("Circle", "Square"))
    found = importlib.import_module("tried_shapes").shapes
    assert "tried_shapes.circle" not in sys.modules, "nothing is imported before an entry is asked for"
    assert list(found) == ["circle", "square"]


def test_entries_are_parsed_from_names_mappings_and_themselves(shapes: Registry[Any]) -> None:
    circle = shapes.parse("circle")
    assert circle == shapes.parse({"name": "circle"}) == shapes.parse({"name": "circle", "radius": 1.0})
    assert shapes.parse(circle) is circle
    assert circle.model_dump() == {"name": "circle", "radius": 1.0}
    assert (circle.name, circle.summary()) == ("circle", "Round.")
    with pytest.raises(ValidationError):
        circle.radius = 2.0


MISTAKES = [
    ("circl", "", "unknown shape 'circl'; did you mean 'circle'? (allowed: circle, star)"),
    ({"radius": 1}, "", "a shape needs a name (allowed: circle, star)"),
    ({"name": 5}, "", "unknown shape 5; (allowed: circle, star)"),
    (["circle"], "", "must be a shape's name or a mapping with one, found ['circle']"),
    (None, "", "must be a shape's name or a mapping with one, found None"),
    (
        {"name": "star", "point": 5},
        "",
        "unknown key of shape 'star': 'point'; did you mean 'points'? (allowed: inner, ",
    ),
    ({"name": "star"}, ".points", "missing; it is required"),
    ({"name": "star", "points": 2}, ".points", "should be greater than or equal to 3, found 2"),
    ({"name": "star", "points": "5"}, ".points", "should be a valid integer, found '5'"),
    (
        {"name": "star", "points": 5, "style": "fta"},
        ".style",
        "should be 'thin' or 'fat', found 'fta'; did you mean 'f",
    ),
    ({"name": "star", "points": 100}, "", "has too many points"),
]


@pytest.mark.parametrize(("raw", "below", "text"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_whole_key(raw: Any, below: str, text: str, shapes: Registry[Any]) -> None:
    class Drawing(Frozen):
        shape: Annotated[Entry, shapes]

    class Page(Frozen):
        drawing: Drawing

    with pytest.raises(UserError) as caught:
        check(Page, {"drawing": {"shape": raw}})
    assert str(caught.value).startswith(f"drawing.shape{below}: {text}")
    with pytest.raises(UserError) as caught:
        shapes.check(raw, "shape")
    assert str(caught.value).startswith(f"shape{below}: {text}")
    with pytest.raises(ValueError) as plain:  # noqa: PT011 (the text is compared below)
        shapes.parse(raw)
    assert str(plain.value).startswith(f"{below[1:]}: {text}" if below else text)


def test_a_model_with_an_entry_survives_being_written_down(shapes: Registry[Any]) -> None:
    class Drawing(Frozen):
        shape: Annotated[Entry, shapes] = Field("circle", validate_default=True)

    drawing = check(Drawing, {"shape": {"name": "star", "points": 5}})
    assert drawing.model_dump()["shape"] == {"name": "star", "points": 5, "style": "fat", "inner": None, "size": "auto"}
    assert Drawing.model_validate_json(drawing.model_dump_json()) == drawing
    assert check(Drawing, drawing.model_dump(mode="json")) == drawing
    assert Drawing().shape.name == "circle"


def test_get_names_the_nearest(shapes: Registry[Any]) -> None:
    assert shapes.get("circle").registered_as == "circle"
    with pytest.raises(
        UserError, match=r"^here: unknown shape 'starr'; did you mean 'star'\? \(allowed: circle, star\)$"
    ):
        shapes.get("starr", "here")


def test_an_entry_needs_a_docstring_and_described_fields(shapes: Registry[Any]) -> None:
    class Bare(Entry):
        pass

    class Undescribed(Entry):
        """Has them."""

        one: int = 1
        two: int = Field(1, description="")

    with pytest.raises(TypeError, match="shape 'bare' needs a docstring"):
        shapes("bare")(Bare)
    with pytest.raises(TypeError, match="shape 'undescribed': fields without a description: one, two"):
        shapes("undescribed")(Undescribed)
    assert set(shapes) == {"circle", "star"}


def test_a_name_belongs_to_one_class(shapes: Registry[Any]) -> None:
    with pytest.raises(
        ValueError, match=r"^shape 'circle' is registered twice, in .*circle\.py and in .*test_registry\.py$"
    ):

        @shapes("circle")
        class Mine(Entry):
            """Another."""

    shapes.remove("star")

    @shapes("star")
    class Other(Entry):
        """Another."""

    assert shapes.get("star") is Other


def test_what_is_told_of_entries(shapes: Registry[Any]) -> None:
    circle, star = shapes.describe()
    assert circle == {
        "name": "circle",
        "summary": "Round.",
        "fields": [
            {
                "name": "radius",
                "required": False,
                "type": "number",
                "default": 1.0,
                "exclusiveMinimum": 0,
                "description": "half its width",
            }
        ],
    }
    fields = {field.pop("name"): field for field in star["fields"]}
    assert fields["points"] == {"required": True, "type": "integer", "minimum": 3, "description": "how many"}
    assert fields["style"]["enum"] == ["thin", "fat"]
    assert (fields["inner"]["type"], fields["inner"]["minimum"]) == (["number", "null"], 0)
    assert (fields["size"]["type"], fields["size"]["enum"]) == ("integer", ["auto"])
