"""Launch a sweep from Python: the same keys as in a sweep file. Copy this and make it yours.

python scripts/launch_sweep.py                 # 20 trials into ./hpo.db
python scripts/launch_sweep.py --trials 40     # goes on: the budget is the study's total
"""

import argparse

import hpo


def main() -> None:
    """Search learning rate, schedule and dropout of a small network on real digits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--storage", default=None, help="database URL; ./hpo.db by default")
    arguments = parser.parse_args()

    sweep = hpo.Sweep(
        name="digits-from-python",
        task="digits",
        space={
            "optimizer.lr": hpo.Float(1e-4, 1.0, log=True),
            "regularization.dropout": hpo.Float(0.0, 0.6),
            # each choice may bring parameters of its own
            "schedule.name": hpo.Choice({"constant": {}, "cosine": {"schedule.warmup_fraction": hpo.Float(0.0, 0.1)}}),
        },
        objective={"metric": "val_accuracy", "direction": "maximize"},
        budget={"trials": arguments.trials},
        pruner={"name": "hyperband", "min_resource": 2, "reduction_factor": 3},
        concurrency=2,
        base={"epochs": 10, "batch_size": 32, "model": {"name": "mlp", "width": 64}},
    )
    study = hpo.launch(sweep, storage=arguments.storage)

    # an ordinary optuna.Study
    print(f"best: trial {study.best_trial.number}, val_accuracy {study.best_value:.4f}")
    print(study.trials_dataframe(attrs=("number", "value", "state")).tail())


if __name__ == "__main__":
    main()
