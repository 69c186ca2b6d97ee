"""Where the time of slots goes in the quickstart's sweep: waiting for a suggestion, for decisions, or training.

    python scripts/bench/slot_time.py                     # 60 trials, the quickstart
    python scripts/bench/slot_time.py --trials 512 sampler.n_startup_trials=16

A slot asks for its next trial in the call that tells the last one's end, so that wait holds its commit too; the calls
between bring a report and the pruner's decision. Shares are of the time between a slot's setup and its end, all slots
together. What asking ahead could save is at most the first of them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hpo
from hpo.search.messages import Answer, News
from hpo.tuning import tune_loop
from hpo.tuning.slot import Slot

SWEEP = Path(__file__).resolve().parents[1] / "sweeps" / "digits.yaml"
FOLDER = "HPO_BENCH_FOLDER"


class Timed(Slot):
    """A slot that notes how long its calls of the coordinator take."""

    def setup(self, config: dict[str, Any]) -> None:
        """As a slot's; the clock runs from its end on."""
        self._began = 0.0
        self._spent = {"suggestion": 0.0, "decisions": 0.0}
        self._calls = {"suggestion": 0, "decisions": 0}
        super().setup(config)
        self._began = time.monotonic()

    def _exchange(self, news: Sequence[News], free: int, holds: Sequence[int]) -> Answer:
        began = time.monotonic()
        answer = super()._exchange(news, free, holds)
        what = "suggestion" if free else "decisions"
        self._spent[what] += time.monotonic() - began
        self._calls[what] += 1
        return answer

    def step(self) -> dict[str, Any]:
        """As a slot's; what was noted so far is left in a file."""
        result = super().step()
        noted = {"seconds": time.monotonic() - self._began, "spent": self._spent, "calls": self._calls}
        (Path(os.environ[FOLDER]) / f"{self._slot}.json").write_text(json.dumps(noted))
        return result


def main() -> None:
    """Run the sweep and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("overrides", nargs="*", help="keys of the sweep to set")
    arguments = parser.parse_args()
    tune_loop.Slot = Timed  # type: ignore[misc]
    sweep = hpo.Sweep.from_file(SWEEP, [*arguments.overrides, ("budget.trials", arguments.trials)])
    with tempfile.TemporaryDirectory(prefix="hpo-bench-") as folder:
        (noted := Path(folder) / "noted").mkdir()
        os.environ[FOLDER] = str(noted)  # before Ray starts: its workers have it then
        hpo.launch(sweep, storage=f"sqlite:///{folder}/hpo.db", show=lambda _: None, say=lambda _: None)
        found = [json.loads(path.read_text()) for path in sorted(noted.iterdir())]
    seconds = sum(one["seconds"] for one in found)
    print(f"{arguments.trials} trials, {len(found)} slots, {seconds:.1f} s of slots")
    print("| what | calls | ms a call | share of slot time |\n| --- | --- | --- | --- |")
    rest = seconds
    for what in ("suggestion", "decisions"):
        spent, calls = (sum(one[key][what] for one in found) for key in ("spent", "calls"))
        rest -= spent
        print(f"| waiting for a {what.rstrip('s')} | {calls} | {1e3 * spent / calls:.1f} | {spent / seconds:.1%} |")
    print(f"| training and the rest | | | {rest / seconds:.1%} |")


if __name__ == "__main__":
    main()
