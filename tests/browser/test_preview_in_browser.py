"""The preview of learning rates in a real browser, without a network.

Needs Chromium: apt-get install -y chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from hpo.report.schedule_preview import write_preview
from search_spaces.mlp import SPACE


@pytest.mark.slow
def test_all_curves_are_drawn_with_their_switch(tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "this test needs Chromium: apt-get install -y chromium"
    page = write_preview("mlp", SPACE, {}, tmp_path / "curves.html")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=20000"]
    done = subprocess.run(
        [*command, *offline, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert len(re.findall(r'class="trace scatter', done.stdout)) == 51
    assert set(re.findall(r"updatemenu-item-text[^>]*>([^<]+)<", done.stdout)) >= {"log", "linear"}
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
