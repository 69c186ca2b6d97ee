"""The data that scikit-learn brings, read without importing it, which takes half a second in every process."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from hpo.errors import UserError


def table(name: str, **options: Any) -> np.ndarray[Any, Any]:
    """The numbers of one file of `sklearn.datasets`, (rows, columns) as float64.

    options: of `numpy.loadtxt`. Raises UserError where this scikit-learn has no such file.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder) / "datasets" / "data" / name
        if file.exists():
            return np.loadtxt(file, **options)
    raise UserError(f"task: the installed scikit-learn has no {name} among its data; install another version")
