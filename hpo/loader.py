"""A user's own code by reference: `path/to/file.py:name` or `package.module:name`.

Paths hang on the folder of the sweep file. `find` only reads (nothing is executed); `load` imports.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from hpo.errors import UserError, unknown


@dataclass(frozen=True)
class Reference:
    """One object in a user's code. `source` is an absolute .py path or a dotted module; `digest` is of its file."""

    source: str
    attribute: str
    digest: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether the source is a path rather than an importable module."""
        return self.source.endswith(".py")

    def __str__(self) -> str:
        return f"{self.source}:{self.attribute}"


def digest(path: str | Path) -> str:
    """Short content digest of a code file: what tells two versions of it apart."""
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()


def split(text: object, key: str) -> tuple[str, str]:
    """`"my_train.py:train"` as source and attribute; UserError naming `key` when it is not of that form."""
    source, colon, attribute = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if not colon or not source or not attribute.isidentifier():
        raise UserError(f"{key}: {text!r} must be a file or module, a colon and a name, as in my_code.py:name")
    return source, attribute


def find(text: object, folder: Path, key: str) -> Reference:
    """The reference `text` made absolute and checked without executing anything.

    Raises UserError when the file or module is not there, cannot be parsed, or does not define the name.
    """
    source, attribute = split(text, key)
    path = _file_of(source, folder, key)
    names = _defined(path, key) if path is not None else None
    if names is not None and attribute not in names and not names & {"*", "__getattr__"}:
        raise unknown(key, f"name in {source}:", attribute, names)
    absolute = str(path) if source.endswith(".py") else source
    return Reference(absolute, attribute, digest(path) if path is not None else None)


def find_file(text: object, folder: Path, key: str) -> Reference:
    """A whole file of user code (a plugin), checked without executing it."""
    if not isinstance(text, str) or not text.endswith(".py"):
        raise UserError(f"{key}: {text!r} must be a .py file")
    path = _file_of(text, folder, key)
    assert path is not None
    _defined(path, key)
    return Reference(str(path), "", digest(path))


def _file_of(source: str, folder: Path, key: str) -> Path | None:
    if source.endswith(".py"):
        path = (folder / source).resolve()
        if not path.is_file():
            raise UserError(f"{key}: no file {source!r} in {folder}")
        return path
    if "/" in source or not all(part.isidentifier() for part in source.split(".")):
        raise UserError(f"{key}: {source!r} is neither a .py file nor an importable module")
    local = folder.joinpath(*source.split("."))
    for candidate in (local.with_suffix(".py"), local / "__init__.py"):
        if candidate.is_file():
            return candidate.resolve()
    spec = _installed(source)
    if spec is None:
        raise UserError(f"{key}: no module {source!r} in {folder} or on the Python path")
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _installed(source: str) -> ModuleSpec | None:
    """Where Python would import a module from; unlike importlib's own look-up it executes no package on the way."""
    top, *below = source.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for part in below:
        top = f"{top}.{part}"
        inside = spec.submodule_search_locations if spec is not None else None
        spec = PathFinder.find_spec(top, inside) if inside else None
    return spec


def _defined(path: Path, key: str) -> set[str]:
    """Names bound at the top level of a file; "*" among them when it star-imports."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{key}: {path}{line} is not valid Python: {getattr(error, 'msg', error)}") from None
    names: set[str] = set()
    for node in tree.body:
        for inner in ast.walk(node) if isinstance(node, _BLOCKS) else [node]:
            names |= _bound(inner)
    return names


_BLOCKS = (ast.If, ast.Try, ast.With, ast.For, ast.While, ast.Match)


def _bound(node: ast.AST) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return set()


def here(reference: Reference, folder: Path) -> Reference:
    """The reference as this process finds it: on a node without the file, in the copy of `folder` that Ray brought.

    Ray unpacks that copy and makes it the working directory.
    """
    if not reference.is_file or Path(reference.source).is_file():
        return reference
    copy = Path.cwd() / os.path.relpath(reference.source, folder)
    return replace(reference, source=str(copy)) if copy.is_file() else reference


def load(reference: Reference, key: str, folder: Path | None = None) -> Any:
    """Import the referenced object, with its file's folder (or `folder`) importable.

    Raises UserError with the exception's own words when the code cannot be imported.
    """
    home = Path(reference.source).parent if reference.is_file else folder
    if home is not None and str(home) not in sys.path:
        sys.path.insert(0, str(home))
    try:
        module = _from_file(Path(reference.source)) if reference.is_file else importlib.import_module(reference.source)
        return getattr(module, reference.attribute)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed(key, reference, error) from error


def run_file(path: Path, key: str) -> None:
    """Import a file for what it registers (a plugin); importing the same content again does nothing."""
    try:
        _from_file(path)
    except (Exception, SystemExit) as error:
        raise _failed(key, path, error) from error


def _failed(key: str, what: object, error: BaseException) -> UserError:
    words = " ".join(str(error).split())
    return UserError(f"{key}: importing {what} failed: {type(error).__name__}" + (f": {words}" if words else ""))


def _from_file(path: Path) -> Any:
    """The file as a module. Its name holds path and content, so an edited file is loaded anew."""
    tag = hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest() + digest(path)
    name = f"hpo_user_{path.stem}_{tag}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
