"""The README's own examples: its files written down and its commands executed as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
RUNS = dict(re.findall(r"^```bash run=(\S+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))


def run_block(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The commands of block `name` in `folder`, with the README's files there and nothing configured."""
    for file, text in FILES.items():
        (folder / file).write_text(text, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "HPO_STORAGE"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return subprocess.run(
        ["bash", "-eu", "-c", RUNS[name]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
