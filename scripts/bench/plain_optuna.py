"""The other side of the benchmarks: plain Optuna, TPE and Hyperband on SQLite, as its documentation teaches it.

    python scripts/bench/plain_optuna.py --trials 60

Processes share the study, as its tutorial on parallel optimization has it. Prints one line of JSON; what a sweep
trains is in plain.py. Neither hpo nor Ray is imported, so that neither is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from typing import Any

import optuna
from asked import Asked, add_options, asked_for, summary
from ends import trial_ends
from plain import Training


def sweep(asked: Asked) -> dict[str, Any]:
    """A study on SQLite and a process for each slot.

    Raises SystemExit when a process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/optuna.db"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        optuna.create_study(study_name="plain", storage=url, direction="maximize")
        command = [sys.executable, __file__, "--storage", url]
        workers = []
        for i in range(asked.slots):
            own = replace(asked, seed=asked.seed + 1000 * i)
            workers.append(subprocess.Popen([*command, "--work", json.dumps(asdict(own))]))
        if any(worker.wait() for worker in workers):
            raise SystemExit("a process of plain Optuna failed")
        study = optuna.load_study(study_name="plain", storage=url)
        done = study.get_trials(deepcopy=False)
        return summary(
            sum(len(trial.intermediate_values) for trial in done), study.best_value, len(done), trial_ends(done)
        )


def work(asked: Asked, url: str) -> None:
    """Trials of the shared study until it has enough of them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.HyperbandPruner(2, asked.epochs, 3) if asked.prunes else optuna.pruners.NopPruner()
    sampler = optuna.samplers.TPESampler(seed=asked.seed)
    study = optuna.load_study(study_name="plain", storage=url, sampler=sampler, pruner=pruner)
    training = Training(asked.workload, asked.epochs, "cuda" if asked.gpus else "cpu")

    def objective(trial: optuna.Trial) -> float:
        training.workload.space(trial)
        training.begin(trial.params)
        value = 0.0
        for epoch in range(1, asked.epochs + 1):
            value = training.epoch()
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    enough = optuna.study.MaxTrialsCallback(asked.trials, states=None)
    study.optimize(objective, callbacks=[enough])


def main() -> None:
    """Run a sweep and print its JSON, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--storage", help="of a process that trains")
    parser.add_argument("--work", help="of a process that trains: what is asked for, as JSON")
    given = parser.parse_args()
    if given.work:
        work(Asked(**json.loads(given.work)), given.storage)
    else:
        print(json.dumps(sweep(asked_for(given))))


if __name__ == "__main__":
    main()
