"""Whole sweeps, ours with packs and without beside Ray Tune and Optuna: start-up included, in seconds.

    python scripts/bench/packs.py                                       # 60 trials of 20 epochs of the digits MLP
    python scripts/bench/packs.py --trials 512 --peers b --repeats 3    # beside Ray Tune with reuse_actors=True alone
    python scripts/bench/packs.py --workload mlp cnn transformer --plot packs.html
    python scripts/bench/packs.py --no-pruning                          # every trial trains to its end

The peers, as their documentations teach them: (a) Ray Tune with its OptunaSearch and ASHA, (b) the same with
reuse_actors=True, (c) plain Optuna, TPE and Hyperband on SQLite, a process in each slot. Ours: `hpo launch` on SQLite,
(d) with `pack: off` and (e) with `pack: auto`, with the pruning rule of the peer it stands beside: successive halving
(Ray's ASHA), or Hyperband (Optuna's). All have the same network, data, space, slots and epochs; sides alternate, and
medians are printed. CPU seconds and memory are those of each side's own processes (see process_tree.py).
`time to b` is from the start of the command to the end of the first trial that is as good as the best of (b) in the
same round. On a machine with a GPU the slots share it. With --runs FILE each run is also added to that file, and what
lies there counts: a long measurement may be taken in pieces.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
import torch
from ends import climb, trial_ends
from packs_shown import Run, chart, table
from plain import WORKLOADS
from process_tree import Cost, measured

HERE = Path(__file__).resolve().parent
SWEEP = HERE.parent / "sweeps" / "digits.yaml"
RULES = {
    "ASHA": "{name: successive_halving, min_resource: 1, reduction_factor: 3}",
    "Hyperband": "{name: hyperband, min_resource: 2, reduction_factor: 3}",
    "no pruning": "none",
}
PEERS = {"a": ("a ray tune", "ASHA"), "b": ("b ray tune, reuse", "ASHA"), "c": ("c optuna", "Hyperband")}
OURS = {"off": "d hpo, pack off", "auto": "e hpo, pack auto"}


@dataclass(frozen=True)
class Sweep:
    """What is asked of every side. gpus: of each slot; cold: nothing that was compiled earlier is found."""

    workload: str
    trials: int
    epochs: int
    prunes: bool
    slots: int
    gpus: float
    cold: bool


Side = Callable[[Sweep, int], tuple[Cost, dict[str, Any]]]
"""(sweep, seed) -> what it took, and epochs_trained, best, trials, climb."""


def peer(*command: str) -> Side:
    """A script beside this one and its options; timed from outside like ours."""

    def run(sweep: Sweep, seed: int) -> tuple[Cost, dict[str, Any]]:
        asked = {**vars(sweep), "seed": seed}
        keys = ("workload", "trials", "epochs", "slots", "gpus", "seed")
        options = [word for key in keys for word in (f"--{key}", str(asked[key]))]
        options += [] if sweep.prunes else ["--no-pruning"]
        cost = measured([sys.executable, str(HERE / command[0]), *command[1:], *options])
        found: dict[str, Any] = json.loads(cost.output.strip().splitlines()[-1])
        return cost, found

    return run


def ours(pack: str, rule: str) -> Side:
    """`hpo launch` in an empty folder."""

    def run(sweep: Sweep, seed: int) -> tuple[Cost, dict[str, Any]]:
        with tempfile.TemporaryDirectory(prefix="hpo-bench-") as folder:
            url = f"sqlite:///{folder}/hpo.db"
            keys = [f"pruner={RULES[rule]}", f"seed={seed}", f"pack={pack}", f"base.epochs={sweep.epochs}"]
            keys += [f"trial.gpus={sweep.gpus}", f"concurrency={sweep.slots}", *WORKLOADS[sweep.workload].ours]
            # nobody's time ends: the peers have no limit
            keys += [f"budget={{trials: {sweep.trials}}}"]
            command = [sys.executable, "-m", "hpo", "launch", str(SWEEP), *keys]
            env = {**os.environ, **({"HPO_CACHE": folder} if sweep.cold else {})}
            cost = measured([*command, "--name", "bench", "--quiet", "--storage", url], Path(folder), env)
            study = optuna.load_study(study_name="bench", storage=url)
            done = study.get_trials(deepcopy=False)
            epochs = sum(len(trial.intermediate_values) for trial in done)
            found = {"epochs_trained": epochs, "best": round(study.best_value, 4), "trials": len(done)}
            return cost, {**found, "climb": climb(trial_ends(done))}

    return run


def sides(peers: list[str], packs: list[str], prunes: bool) -> dict[str, tuple[Side, str]]:
    """By name: each side, and its pruning rule. Ours once for each rule of the peers."""
    commands = {"a": ("peers.py", "sweep", "--fresh"), "b": ("peers.py", "sweep"), "c": ("plain_optuna.py",)}
    rules = {key: PEERS[key][1] if prunes else "no pruning" for key in peers}
    found = {PEERS[key][0]: (peer(*commands[key]), rules[key]) for key in peers}
    for rule in dict.fromkeys(rules.values()) or ["ASHA" if prunes else "no pruning"]:
        for pack in packs:
            found[f"{OURS[pack]}, {rule}" if prunes else OURS[pack]] = (ours(pack, rule), rule)
    return found


def run_once(name: str, side: Side, rule: str, sweep: Sweep, seed: int) -> Run:
    """One run of one side, as it is kept."""
    cost, found = side(sweep, seed)
    if found["trials"] != sweep.trials:
        print(f"{name}: {found['trials']} trials instead of {sweep.trials}", file=sys.stderr)
    return {
        **vars(sweep),
        "side": name,
        "rule": rule,
        "seed": seed,
        "seconds": round(cost.seconds, 3),
        "cpu_seconds": round(cost.cpu_seconds, 2),
        "peak_bytes": cost.peak_bytes,
        "epochs_trained": found["epochs_trained"],
        "steps": found["epochs_trained"] * WORKLOADS[sweep.workload].steps,
        "best": found["best"],
        "climb": [[round(moment - cost.began, 3), value] for moment, value in found["climb"]],
    }


def same(run: Run, sweep: Sweep) -> bool:
    """Whether a run that was kept is of this sweep."""
    return all(run[key] == value for key, value in vars(sweep).items())


def main() -> None:
    """Alternate the sides of each workload and size, and print a table for each."""
    given = options()
    runs: list[Run] = []
    if given.runs and given.runs.exists():
        runs = [json.loads(line) for line in given.runs.read_text().splitlines()]
    where = torch.cuda.get_device_name() if given.gpus else f"{os.cpu_count()} cores"
    print(f"Python {platform.python_version()}, {', '.join(f'{x} {version(x)}' for x in ('torch', 'ray', 'optuna'))}")
    print(f"{where}, {given.slots} slots, {given.gpus:g} GPUs each")
    for workload, trials in ((w, t) for w in given.workload for t in given.trials):
        sweep = Sweep(workload, trials, given.epochs, given.pruning, given.slots, given.gpus, given.cold)
        kept = {(run["side"], run["seed"]) for run in runs if same(run, sweep)}
        for seed in range(given.repeats):
            for name, (side, rule) in sides(given.peers, given.ours, sweep.prunes).items():
                if (name, seed) in kept:
                    continue
                runs.append(run_once(name, side, rule, sweep, seed))
                print(json.dumps({k: v for k, v in runs[-1].items() if k != "climb"}), file=sys.stderr, flush=True)
                if given.runs:
                    with given.runs.open("a") as file:
                        file.write(json.dumps(runs[-1]) + "\n")
        print(f"\n{table([run for run in runs if same(run, sweep)])}", flush=True)
    if given.plot:
        given.plot.write_text(chart(runs), encoding="utf-8")


def options() -> argparse.Namespace:
    """What the command line says."""
    slots = os.cpu_count() or 1
    share = min(1.0, torch.cuda.device_count() / slots)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", nargs="+", choices=list(WORKLOADS), default=["mlp"])
    parser.add_argument("--trials", nargs="+", type=int, default=[60], metavar="N", help="one table for each")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--ours", nargs="*", choices=list(OURS), default=list(OURS), help="pack: off, auto")
    parser.add_argument("--no-pruning", dest="pruning", action="store_false")
    parser.add_argument("--slots", type=int, default=slots, help="trials or packs at a time; the number of cores")
    parser.add_argument("--gpus", type=float, default=share, help="of each slot; 0 trains on the CPU")
    parser.add_argument("--cold", action="store_true", help="without the steps that earlier sweeps have compiled")
    parser.add_argument("--runs", type=Path, metavar="FILE", help="where runs are kept, a line of JSON each")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="bars of the seconds, as one HTML file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
