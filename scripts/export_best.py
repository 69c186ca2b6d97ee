"""Write the best configuration of a study to a file, and its learning-rate curve to the screen.

python scripts/export_best.py digits-from-python -o best.yaml
"""

import argparse

import hpo


def main() -> None:
    """Export, then look at what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("-o", "--output", default="best.yaml")
    parser.add_argument("--storage", default=None)
    arguments = parser.parse_args()

    exported = hpo.export_best(arguments.study, arguments.output, storage=arguments.storage)
    print(f"trial {exported.trial} of {exported.study}: {exported.shown_value} -> {arguments.output}")
    for path, value in exported.params.items():
        print(f"  {path} = {value}")
    curve = hpo.lr_curve(exported.config, steps=10)
    print("learning rate over the run:", " ".join(f"{rate:.2g}" for rate in curve))


if __name__ == "__main__":
    main()
