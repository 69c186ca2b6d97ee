"""Train an exported configuration again: the recorded number first, then the test split, then the weights for your use.

python scripts/train_best.py best.yaml --weights best.safetensors
"""

import argparse

import hpo


def main() -> None:
    """Reproduce, test, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--weights", default=None, help="a safetensors file to write")
    arguments = parser.parse_args()

    result = hpo.train(arguments.export, weights=arguments.weights)
    print(result.text())
    result.check()  # raises when the number was not reproduced
    if result.net is not None:
        print(f"{sum(weights.numel() for weights in result.net.parameters())} weights in {type(result.net).__name__}")


if __name__ == "__main__":
    main()
