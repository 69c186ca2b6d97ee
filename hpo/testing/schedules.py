"""What every schedule must do, as a class of tests to inherit.

class TestMine(ScheduleSuite):
    @pytest.fixture
    def schedule(self) -> Schedule:
        return schedules.parse("mine")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.errors import UserError
from hpo.testing.entries import EntrySuite
from hpo.training.schedules import Array, Schedule, schedules

TOLERANCE = 1e-12
"""Relative to the highest rate, in float64; torch's schedulers multiply from step to step and add up roundings."""

Reference = Callable[[Any, int, int], Any]
"""(torch optimizer, warmup steps, all steps) -> a torch scheduler."""

_quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def torch_factors(reference: Reference, warmup: int, steps: int) -> Array:
    """The factors that torch's scheduler gives the updates 0 ... steps-1."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = reference(optimizer, warmup, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(seen, dtype=np.float64)


class ScheduleSuite(EntrySuite):
    """Tests of one schedule entry; a subclass gives it as the fixture `schedule`, and torch's where there is one."""

    registry = schedules
    all_cases = ((0, 1), (0, 2), (0, 300), (1, 90), (30, 300), (299, 300))

    @pytest.fixture
    def schedule(self) -> Schedule:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def entry(self, schedule: Schedule) -> Schedule:
        """The same, for the tests of any entry."""
        return schedule

    @pytest.fixture
    def reference(self) -> Reference | None:
        """torch's scheduler for the same curve; None where torch has none."""
        return None

    @pytest.fixture
    def torch_cases(self) -> tuple[tuple[int, int], ...]:
        """(warmup steps, all steps) that torch's scheduler is asked for."""
        return self.all_cases

    @_quick
    @given(steps=st.integers(1, 3000))
    def test_is_a_table_of_factors_in_range(self, schedule: Schedule, steps: int) -> None:
        factors_T = schedule.factors(steps)
        assert factors_T.shape == (steps,)
        assert factors_T.dtype == np.float64
        assert np.isfinite(factors_T).all()
        assert (factors_T >= 0).all()
        assert (factors_T <= 1).all()
        assert factors_T[0] > 0, "the first step must move"
        assert np.array_equal(factors_T, schedule.factors(steps))

    @_quick
    @given(warmup=st.integers(1, 200), rest=st.integers(1, 500))
    def test_warmup_rises_to_the_full_rate(self, schedule: Schedule, warmup: int, rest: int) -> None:
        warm = with_warmup(schedule, warmup)
        factors_T = warm.factors(warmup + rest)
        assert (np.diff(factors_T[:warmup]) > 0).all()
        assert factors_T[0] > 0
        assert factors_T.max() == pytest.approx(1, abs=1e-12), "the full rate is reached"
        assert factors_T.argmax() in (warmup - 1, warmup)

    @_quick
    @given(warmup=st.integers(2, 200), rest=st.integers(1, 500))
    def test_an_exponential_warmup_rises_by_equal_ratios(self, schedule: Schedule, warmup: int, rest: int) -> None:
        warm = with_warmup(schedule, warmup, warmup_shape="exponential")
        ratio_W = np.diff(np.log(warm.factors(warmup + rest)[:warmup]))
        np.testing.assert_allclose(ratio_W, ratio_W[0], rtol=1e-9)
        straight = with_warmup(schedule, warmup, warmup_shape="linear")
        ends = [one.factors(warmup + rest)[[0, -1]] for one in (warm, straight)]
        np.testing.assert_allclose(ends[0], ends[1], rtol=1e-12)

    def test_a_warmup_without_a_step_after_it_is_an_error(self, schedule: Schedule) -> None:
        with pytest.raises(UserError, match=r"schedule\.warmup_steps: 50 .* 50 steps"):
            with_warmup(schedule, 50).factors(50)
        with pytest.raises(UserError, match=r"schedule\.warmup_fraction: 0\.999 .* 50 steps"):
            with_warmup(schedule, 0, 0.999).factors(50)
        with pytest.raises(UserError, match=r"^schedules\.optimizer\.weight_decay\.warmup_steps: 50 .* 50 steps"):
            with_warmup(schedule, 50).factors(50, "schedules.optimizer.weight_decay")

    def test_agrees_with_torch_step_by_step(
        self, schedule: Schedule, reference: Reference | None, torch_cases: tuple[tuple[int, int], ...]
    ) -> None:
        if reference is None:
            return
        for warmup, steps in torch_cases:
            ours_T = with_warmup(schedule, warmup).factors(steps)
            np.testing.assert_allclose(ours_T, torch_factors(reference, warmup, steps), rtol=0, atol=TOLERANCE)


def with_warmup(schedule: Schedule, steps: int, fraction: float = 0.0, **changes: Any) -> Schedule:
    """The same schedule with another warmup."""
    raw = {**schedule.model_dump(), "warmup_fraction": fraction, "warmup_steps": steps, **changes}
    return schedules.parse(raw)
