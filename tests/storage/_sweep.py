"""A process that works on a study until it is killed: what it prints has been committed. Run by test_kill.py."""

from __future__ import annotations

import sys
import time

import optuna

from hpo.storage import open_storage

STEPS = 20
DISTRIBUTIONS = {
    "optimizer.lr": optuna.distributions.FloatDistribution(1e-6, 1.0, log=True),
    "width": optuna.distributions.IntDistribution(1, 64),
}


def main(url: str, budget: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with open_storage(url) as storage:
        study = optuna.load_study(study_name="s", storage=storage.optuna)
        adopted = [t for t in study.get_trials(deepcopy=False) if t.state == optuna.trial.TrialState.RUNNING]
        while True:
            with storage.batch():
                if adopted:
                    trial = optuna.trial.Trial(study, adopted.pop(0)._trial_id)
                    for name, distribution in DISTRIBUTIONS.items():
                        trial._suggest(name, distribution)  # only what the dead process did not commit is drawn
                elif len(study.get_trials(deepcopy=False)) < budget:
                    trial = study.ask(DISTRIBUTIONS)
                else:
                    break
            print("asked", trial.number, repr(trial.params["optimizer.lr"]), flush=True)
            for step in range(STEPS):
                trial.report(trial.params["width"] / (1 + step), step)
                time.sleep(0.0005)
            with storage.batch():
                study.tell(trial, float(trial.number))
            print("told", trial.number, flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
