"""Values in order, and the percentile of them as NumPy has it."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.search.pruning.ordered import Ordered, percentile

VALUES = st.lists(st.floats(allow_nan=False) | st.sampled_from([0.1, 0.3, math.inf, -math.inf]), min_size=1)
PERCENTS = st.floats(0, 100) | st.sampled_from([0.0, 25.0, 50.0, 100.0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's about infinities
@given(VALUES, PERCENTS)
def test_a_percentile_is_numpys_to_the_last_bit(values: list[float], percent: float) -> None:
    expected = float(np.nanpercentile(np.array(values), percent))
    assert repr(percentile(sorted(values), percent) + 0.0) == repr(expected + 0.0)


@pytest.mark.parametrize("at_once", [1, 50])
def test_values_stay_in_order_while_they_come_and_go(at_once: int) -> None:
    rng = random.Random(0)
    held: list[float] = [0.5]
    ordered: Any = Ordered(held)
    for _ in range(40):
        for _ in range(at_once):
            held.append(rng.choice([0.1, 0.2, rng.random()]))
            ordered.add(held[-1])
        ordered.remove(held.pop(rng.randrange(len(held))))
        assert ordered.values == sorted(held)
        assert ordered.values[bisect_left(ordered.values, held[0])] == held[0]
