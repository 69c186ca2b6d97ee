"""References to a user's code: found without executing it, loaded with its neighbours, loaded anew once edited."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.errors import UserError
from hpo.loader import Reference, digest, find, find_file, load, run_file, split

# a file that leaves a trace when it is imported
TRACE = "open(__file__ + '.ran', 'w').close()\n"


@pytest.fixture(autouse=True)
def _imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules and path entries of one test are gone in the next."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", ["train.py", ":train", "train.py:", "train.py:1st", "train.py:a.b", "", 5, None])
def test_what_is_no_reference(text: object) -> None:
    with pytest.raises(UserError, match=r"^train: .* must be a file or module, a colon and a name, as in my_code\.py:"):
        split(text, "train")


def test_a_windows_like_colon_is_part_of_the_file() -> None:
    assert split("C:/x/train.py:train", "train") == ("C:/x/train.py", "train")


NAMES = {
    "def name(): ...": True,
    "async def name(): ...": True,
    "class name: ...": True,
    "name = 1": True,
    "name: int = 1": True,
    "other, (name, _) = 1, (2, 3)": True,
    "import name": True,
    "import other as name": True,
    "from other import name": True,
    "from other import one as name": True,
    "if True:\n    name = 1": True,
    "try:\n    import name\nexcept ImportError:\n    name = None": True,
    "with open('x') as f:\n    name = 1": True,
    "for i in range(3):\n    name = i": True,
    "match 1:\n    case 1:\n        name = 1": True,
    "from other import *": True,
    "def __getattr__(key): ...": True,
    "def other():\n    name = 1": False,
    "class other:\n    name = 1": False,
    "import name.deeper as other": False,
    "name": False,
    "": False,
}


@pytest.mark.parametrize("source", NAMES)
def test_names_are_found_without_executing(source: str, tmp_path: Path) -> None:
    file = write(tmp_path, "code.py", TRACE + source)
    if NAMES[source]:
        assert find("code.py:name", tmp_path, "train") == Reference(str(file), "name", digest(file))
    else:
        with pytest.raises(UserError, match=r"^train: unknown name in code\.py: 'name'"):
            find("code.py:name", tmp_path, "train")
    assert [path.name for path in tmp_path.iterdir()] == ["code.py"]


def test_an_unknown_name_comes_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "code.py", "def train(): ...\ndef other(): ...\n")
    with pytest.raises(UserError) as caught:
        find("code.py:trainn", tmp_path, "train")
    assert str(caught.value) == (
        "train: unknown name in code.py: 'trainn'; did you mean 'train'? (allowed: other, train)"
    )


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def train(:\n", r"line 1 is not valid Python: invalid syntax$"),
        ("x = 1\n  y = 2\n", r"line 2 is not valid Python: unexpected indent$"),
        ("x = '\x00'\n", r"is not valid Python: source code string cannot contain null bytes$"),
    ],
)
def test_what_is_no_python(source: str, sentence: str, tmp_path: Path) -> None:
    write(tmp_path, "code.py", source)
    for look in (lambda: find("code.py:train", tmp_path, "train"), lambda: find_file("code.py", tmp_path, "train")):
        with pytest.raises(UserError, match=sentence):
            look()


def test_a_file_may_state_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_bytes("# coding: latin-1\nname = 'café'\n".encode("latin-1"))
    assert load(find("code.py:name", tmp_path, "train"), "train") == "café"


@pytest.mark.parametrize("name", ["mine", "pack.inner", "pack.sub"])
def test_modules_beside_the_sweep_are_found_and_loaded(name: str, tmp_path: Path) -> None:
    code = TRACE + "from helper import VALUE\ndef make():\n    return VALUE\n"
    write(tmp_path, "helper.py", "VALUE = 7\n")
    write(tmp_path, "mine.py", code)
    write(tmp_path, "pack/__init__.py", "")
    write(tmp_path, "pack/inner.py", code)
    write(tmp_path, "pack/sub/__init__.py", code)
    found = find(f"{name}:make", tmp_path, "task")
    assert (found.source, found.is_file) == (name, False)
    assert found.digest is not None
    assert not list(tmp_path.rglob("*.ran"))
    assert load(found, "task", tmp_path)() == 7
    assert list(tmp_path.rglob("*.ran"))


def test_installed_modules_are_found_without_importing_them() -> None:
    before = set(sys.modules)
    for name in ("wsgiref.simple_server", "antigravity"):
        find(f"{name}:{'make_server' if 'wsgi' in name else 'webbrowser'}", Path("/"), "task")
    assert set(sys.modules) - before <= {"wsgiref"}, "nothing but the package above is imported"
    with pytest.raises(UserError, match=r"did you mean 'make_server'\?"):
        find("wsgiref.simple_server:make_servr", Path("/"), "task")
    assert find("math:sqrt", Path("/"), "task") == Reference("math", "sqrt"), "compiled: nothing to look into"


@pytest.mark.parametrize("name", ["nowhere", "nowhere.deeper", "code.txt", "wsgiref.nothing", "math.x"])
def test_a_module_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^task: no module '{name}' in {tmp_path} or on the Python path$"):
        find(f"{name}:make", tmp_path, "task")


@pytest.mark.parametrize("name", ["a/b", "a-b", "a..b", "1a"])
def test_what_is_neither_file_nor_module(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is neither a \.py file nor an importable module$"):
        find(f"{name}:make", tmp_path, "task")


@pytest.mark.parametrize("text", ["words.txt", 5, None, ["code.py"]])
def test_a_plugin_is_one_python_file(text: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^plugins: .* must be a \.py file$"):
        find_file(text, tmp_path, "plugins")


def test_neighbours_of_a_file_can_be_imported(tmp_path: Path) -> None:
    write(tmp_path, "deep/neighbour_of_code.py", "VALUE = 11\n")
    write(tmp_path, "deep/code.py", "from neighbour_of_code import VALUE\n")
    assert load(find("deep/code.py:VALUE", tmp_path, "task"), "task", tmp_path) == 11


def test_a_file_is_loaded_once_and_anew_when_it_was_edited(tmp_path: Path) -> None:
    file = write(tmp_path, "code.py", "class Thing: ...\nVALUE = 1\n")
    first = load(find("code.py:Thing", tmp_path, "task"), "task")
    assert load(find("code.py:Thing", tmp_path, "task"), "task") is first
    run_file(file, "plugins")
    assert load(find("code.py:Thing", tmp_path, "task"), "task") is first
    before = digest(file)
    file.write_text("class Thing: ...\nVALUE = 2\n")
    assert digest(file) != before
    assert load(find("code.py:VALUE", tmp_path, "task"), "task") == 2
    assert load(find("code.py:Thing", tmp_path, "task"), "task") is not first


def test_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path, f"{folder}/code.py", f"VALUE = {folder!r}\n")
    assert [load(find(f"{one}/code.py:VALUE", tmp_path, "task"), "task") for one in "ab"] == ["a", "b"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit()", "SystemExit"),
        ("raise ValueError('two\\n  lines')", "ValueError: two lines"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_code_that_cannot_be_imported(source: str, words: str, tmp_path: Path) -> None:
    file = write(tmp_path, "code.py", f"def train(): ...\n{source}\n")
    before = set(sys.modules)
    reference = find("code.py:train", tmp_path, "train")
    for look, what in (
        (lambda: load(reference, "train"), f"{file}:train"),
        (lambda: run_file(file, "train"), str(file)),
    ):
        with pytest.raises(UserError) as caught:
            look()
        assert str(caught.value) == f"train: importing {what} failed: {words}"
    left = [name for name in set(sys.modules) - before if name.startswith("hpo_user_code_")]
    assert not left, "a half-made module stays nowhere"


def test_our_own_errors_pass_through(tmp_path: Path) -> None:
    write(tmp_path, "code.py", "from hpo.errors import UserError\ndef f(): ...\nraise UserError('mine', hint='yes')\n")
    with pytest.raises(UserError, match=r"^mine$") as caught:
        load(find("code.py:f", tmp_path, "train"), "train")
    assert caught.value.hint == "yes"


def test_a_star_import_is_looked_into_when_it_is_loaded(tmp_path: Path) -> None:
    write(tmp_path, "code.py", "from math import *\n")
    assert load(find("code.py:sqrt", tmp_path, "task"), "task")(4) == 2
    with pytest.raises(UserError, match="AttributeError"):
        load(find("code.py:nothing", tmp_path, "task"), "task")
