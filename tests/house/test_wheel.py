"""What is shipped."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_both_packages_and_nothing_else(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
        metadata = next(file.read(name).decode() for name in held if name.endswith(".dist-info/METADATA"))
    assert {"hpo/__init__.py", "hpo/py.typed", "search_spaces/__init__.py", "search_spaces/py.typed"} <= held
    assert "hpo/report/page.css" in held
    source = {str(p.relative_to(ROOT)) for f in ("hpo", "search_spaces") for p in (ROOT / f).rglob("*.py")}
    assert source <= held
    assert {name.split("/")[0].split("-")[0] for name in held} == {"hpo", "search_spaces"}
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert "Requires-Python: >=3.11" in metadata
    makes_the_own_tables(wheel, tmp_path)


def makes_the_own_tables(wheel, folder):
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "installed")
    program = f"""
from hpo.storage import migrations
from hpo.storage.place import read_url
assert migrations.__file__.startswith({str(folder)!r}), migrations.__file__
print(migrations.upgrade(read_url("sqlite:///{folder}/new.db")))
"""
    environment = {**os.environ, "PYTHONPATH": str(folder / "installed")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.stdout == "0002\n", done.stderr
