"""Every schedule against its suite and torch, and what is its own."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim import lr_scheduler as torch_schedules

from hpo.errors import UserError
from hpo.schema import check
from hpo.testing.schedules import TOLERANCE, Reference, ScheduleSuite, torch_factors
from hpo.training import TrainingConfig, lr_curve, paths
from hpo.training.schedules import Schedule, schedules


def behind_warmup(rest: Any) -> Reference:
    """torch's own warmup, joined with `rest(optimizer, steps, warmup)`."""

    def build(optimizer: Any, warmup: int, steps: int) -> Any:
        after = rest(optimizer, steps - warmup, warmup)
        if not warmup:
            return after
        rise = torch_schedules.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        return torch_schedules.SequentialLR(optimizer, [rise, after], milestones=[warmup])

    return build


def wsd(optimizer: Any, warmup: int, steps: int) -> Any:
    """torch's warmup, constant rate, and fall in the last fifth of what is after the warmup."""
    falling = round(0.2 * (steps - warmup))
    phases = [
        (warmup, lambda: torch_schedules.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)),
        (steps - warmup - falling, lambda: torch_schedules.ConstantLR(optimizer, factor=1.0)),
        (falling, lambda: torch_schedules.LinearLR(optimizer, 1.0, 0.0, total_iters=falling)),
    ]
    lasting = [(length, make()) for length, make in phases if length]
    ends = list(np.cumsum([length for length, _ in lasting]))[:-1]
    return torch_schedules.SequentialLR(optimizer, [scheduler for _, scheduler in lasting], ends)


def power_law(optimizer: Any, steps: int, warmup: int) -> Any:
    return torch_schedules.LambdaLR(optimizer, lambda t: ((warmup + 1) / (warmup + 1 + t)) ** 0.5)


def restarts(optimizer: Any, steps: int, warmup: int) -> Any:
    return torch_schedules.CosineAnnealingWarmRestarts(optimizer, steps // 7, T_mult=2, eta_min=0.1)


EXAMPLES: dict[str, tuple[dict[str, Any], Reference]] = {
    "constant": ({}, behind_warmup(lambda o, n, w: torch_schedules.ConstantLR(o, factor=1.0))),
    "cosine": ({"floor": 0.1}, behind_warmup(lambda o, n, w: torch_schedules.CosineAnnealingLR(o, n, eta_min=0.1))),
    "linear": (
        {"floor": 0.2},
        behind_warmup(lambda o, n, w: torch_schedules.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=n)),
    ),
    "polynomial": ({"power": 3}, behind_warmup(lambda o, n, w: torch_schedules.PolynomialLR(o, n, power=3))),
    "exponential": ({"final": 0.05}, behind_warmup(lambda o, n, w: torch_schedules.ExponentialLR(o, 0.05 ** (1 / n)))),
    # torch's milestones are the first whole steps at or after a third and two thirds of the way
    "step": (
        {"drops": 2, "gamma": 0.3},
        behind_warmup(lambda o, n, w: torch_schedules.MultiStepLR(o, [-(-n // 3), -(-2 * n // 3)], gamma=0.3)),
    ),
    "multistep": (
        {"milestones": [0.2, 0.5, 0.9], "gamma": 0.2},
        behind_warmup(
            lambda o, n, w: torch_schedules.MultiStepLR(o, [-(-n // 5), -(-n // 2), -(-9 * n // 10)], gamma=0.2)
        ),
    ),
    "inverse_sqrt": ({}, behind_warmup(power_law)),
    "wsd": ({}, wsd),
    "cosine_restarts": ({"length_factor": 2.0, "floor": 0.1}, behind_warmup(restarts)),
    "cyclic": (
        {"start": 0.2},
        lambda o, warmup, n: torch_schedules.CyclicLR(o, 0.2, 1.0, step_size_up=n / 8, cycle_momentum=False),
    ),
    "inverse_cycle": ({}, lambda o, warmup, n: Momentum(o, torch_schedules.OneCycleLR(o, max_lr=1.0, total_steps=n))),
    "one_cycle": (
        {"start_divisor": 10.0, "final_divisor": 100.0},
        lambda o, warmup, n: torch_schedules.OneCycleLR(
            o, max_lr=1.0, total_steps=n, pct_start=warmup / n, div_factor=10.0, final_div_factor=100.0
        ),
    ),
}
CASES: dict[str, tuple[tuple[int, int], ...]] = {
    "cosine_restarts": ((0, 7), (0, 7 * 40), (30, 30 + 7 * 9)),  # cycles of whole steps, which is all that torch knows
    "cyclic": ((0, 8), (0, 800)),  # torch's has no warmup
    "inverse_cycle": ((0, 90), (0, 301)),
    "one_cycle": ((2, 90), (30, 300), (299, 300)),  # torch's needs a rise of at least two steps
}
"""(warmup, steps) that torch's scheduler can be asked for, where not all of the suite's."""


class Momentum:
    """torch's scheduler, with the momentum that it gives to an optimizer, in units of the highest, as the rate."""

    def __init__(self, optimizer: Any, scheduler: Any) -> None:
        self.optimizer, self.scheduler = optimizer, scheduler
        self._show()

    def _show(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["momentum"] / 0.95

    def step(self) -> None:
        self.scheduler.step()
        self._show()


# an entry without a line above is tested with its defaults, and against no equivalent of torch's
PLAIN: tuple[dict[str, Any], Reference | None] = ({}, None)


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
class TestSchedules(ScheduleSuite):
    @pytest.fixture(params=list(schedules))
    def schedule(self, request: pytest.FixtureRequest) -> Schedule:
        return schedules.parse({"name": request.param, **EXAMPLES.get(request.param, PLAIN)[0]})

    @pytest.fixture
    def reference(self, schedule: Schedule) -> Reference | None:
        return EXAMPLES.get(schedule.name, PLAIN)[1]

    @pytest.fixture
    def torch_cases(self, schedule: Schedule) -> tuple[tuple[int, int], ...]:
        return CASES.get(schedule.name, self.all_cases)


def test_one_cycle_lets_its_rise_end_between_two_steps_as_torch_does() -> None:
    def reference(optimizer: Any, _: int, steps: int) -> Any:
        return torch_schedules.OneCycleLR(optimizer, max_lr=1.0, total_steps=steps)

    ours_T = schedules.parse("one_cycle").factors(101)
    np.testing.assert_allclose(ours_T, torch_factors(reference, 0, 101), rtol=0, atol=TOLERANCE)


def test_one_cycle_takes_warmup_steps_in_place_of_its_own_fraction() -> None:
    by_steps = schedules.parse({"name": "one_cycle", "warmup_steps": 30})
    by_fraction = schedules.parse({"name": "one_cycle", "warmup_fraction": 0.1})
    assert np.array_equal(by_steps.factors(300), by_fraction.factors(300))
    assert schedules.parse(by_steps.model_dump()) == by_steps


def test_one_cycle_along_straight_lines_is_torchs() -> None:
    def reference(optimizer: Any, _: int, steps: int) -> Any:
        return torch_schedules.OneCycleLR(optimizer, max_lr=1.0, total_steps=steps, anneal_strategy="linear")

    straight = schedules.parse({"name": "one_cycle", "warmup_shape": "linear", "fall": "linear"})
    np.testing.assert_allclose(straight.factors(200), torch_factors(reference, 0, 200), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_cyclic_in_every_mode_is_torchs(mode: str) -> None:
    def reference(optimizer: Any, _: int, steps: int) -> Any:
        up, gamma = steps / 4 * 0.3, 0.05 ** (1 / steps)
        down = steps / 4 - up
        return torch_schedules.CyclicLR(optimizer, 0.2, 1.0, up, down, mode=mode, gamma=gamma, cycle_momentum=False)

    ours = schedules.parse({"name": "cyclic", "mode": mode, "rise": 0.3, "start": 0.2, "final": 0.05})
    np.testing.assert_allclose(ours.factors(400), torch_factors(reference, 0, 400), rtol=0, atol=TOLERANCE)


def test_cycles_behind_a_warmup_start_at_their_peak() -> None:
    factors_T = schedules.parse({"name": "cyclic", "warmup_steps": 10, "cycles": 2, "start": 0.2}).factors(110)
    assert factors_T[10] == 1
    assert factors_T[35] == pytest.approx(0.2)
    assert factors_T[60] == pytest.approx(1)


@pytest.mark.parametrize("decay", ["linear", "cosine", "1-sqrt"])
def test_wsd_falls_along_its_curve(decay: str) -> None:
    wanted = {
        "linear": lambda p: 1 - p,
        "cosine": lambda p: (1 + np.cos(np.pi * p)) / 2,
        "1-sqrt": lambda p: 1 - p**0.5,
    }
    factors_T = schedules.parse({"name": "wsd", "decay": decay, "decay_steps": 40, "warmup_steps": 10}).factors(150)
    assert (factors_T[10:111] == 1).all()
    np.testing.assert_allclose(factors_T[110:], wanted[decay](np.arange(40) / 40), atol=TOLERANCE)


def test_restarts_get_lower_by_the_peak_factor() -> None:
    factors_T = schedules.parse({"name": "cosine_restarts", "cycles": 3, "peak_factor": 0.5}).factors(300)
    assert factors_T[[0, 100, 200]] == pytest.approx([1, 0.5, 0.25])
    assert (np.diff(factors_T)[np.arange(299) % 100 != 99] < 0).all()


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.floats(-5, 5).map(lambda value: round(value, 1)), min_size=1, max_size=60),
    mode=st.sampled_from(["min", "max"]),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 0.05, 0.5]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
)
def test_reduce_on_plateau_is_torchs(values: list[float], mode: str, **options: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch_schedules.ReduceLROnPlateau(optimizer, mode, 0.3, min_lr=0.01, eps=0, **options)
    ours = schedules.parse({"name": "reduce_on_plateau", "gamma": 0.3, "floor": 0.01, **options})
    for i, value in enumerate(values, 1):
        theirs.step(value)
        found = ours.after_reports(values[:i], minimize=mode == "min")
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], rel=TOLERANCE)


def test_warmup_fraction_is_a_share_of_all_steps() -> None:
    fraction = schedules.parse({"name": "cosine", "warmup_fraction": 0.1})
    steps = schedules.parse({"name": "cosine", "warmup_steps": 34})
    assert np.array_equal(fraction.factors(340), steps.factors(340))


def test_two_warmups_are_refused() -> None:
    with pytest.raises(ValidationError, match="set one of the two"):
        schedules.get("linear").model_validate({"warmup_fraction": 0.1, "warmup_steps": 3})


def test_lr_curve_is_the_rate_times_the_table() -> None:
    curve_T = lr_curve({"optimizer.lr": 0.3, "schedule": {"name": "cosine", "floor": 0.5}, "model": {"any": 1}}, 10)
    assert curve_T.dtype == np.float64
    assert np.array_equal(curve_T, 0.3 * schedules.parse({"name": "cosine", "floor": 0.5}).factors(10))
    config = check(TrainingConfig, {"schedule.name": "linear"})
    assert np.array_equal(lr_curve(config, 7), lr_curve({"schedule": "linear"}, 7))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"name": "multistep", "milestone_steps": [30, 90]},
            r"^schedule\.milestone_steps: 90 lies outside the 90 steps",
        ),
        ({"name": "wsd", "decay_steps": 91}, r"^schedule\.decay_steps: 91 is more than the 90 steps after the warmup"),
    ],
)
def test_a_moment_outside_the_run_is_an_error_that_names_its_key(fields: dict[str, Any], sentence: str) -> None:
    schedule = schedules.parse({**fields, "warmup_steps": 10})
    assert len(schedule.factors(102)) == 102
    with pytest.raises(UserError, match=sentence):
        schedule.factors(100)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "multistep", "milestones": [0.5, 0.4]}, r"milestones: should grow, found \[0\.5, 0\.4\]"),
        ({"name": "multistep", "milestones": [0.5, 1.0]}, r"milestones: each should be between 0 and 1, found"),
        ({"name": "multistep", "milestone_steps": [0, 3]}, r"milestone_steps: each should be above 0, found"),
        ({"name": "wsd", "decay_steps": 3, "decay_fraction": 0.1}, r"decay_steps: 3 beside decay_fraction 0\.1"),
    ],
)
def test_moments_that_cannot_be_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        schedules.parse(fields)


@pytest.mark.parametrize(
    ("config", "steps", "sentence"),
    [
        ({"schedule.warmup_steps": 10}, 10, r"schedule\.warmup_steps: 10 makes 10 .* the 10 steps"),
        ({"schedule": "cosin"}, 10, r"schedule: unknown schedule 'cosin'; did you mean 'cosine'\?"),
        ({"shedule": "cosine"}, 10, r"unknown key 'shedule'; did you mean 'schedule'\?"),
        ({}, 0, "steps: must be at least 1, found 0"),
        (3, 10, "config: must be a TrainingConfig or a mapping, found int"),
    ],
)
def test_lr_curve_says_what_is_wrong(config: Any, steps: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        lr_curve(config, steps)


def test_a_schedule_in_one_new_file_is_known_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root_of_time.py").write_text(
        textwrap.dedent('''
            import numpy as np
            from pydantic import Field
            from hpo.training.schedules import Schedule, schedules

            @schedules("inverse_root")
            class InverseRoot(Schedule):
                """Falls like one over the square root of time."""
                sharpness: float = Field(9.0, gt=0, description="how fast it falls")
                def factor(self, progress_T):
                    return 1 / np.sqrt(1 + self.sharpness * progress_T)
        ''')
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = list(schedules)
    try:
        __import__("root_of_time")
        assert "inverse_root" in [row["name"] for row in schedules.describe()]
        assert set(schedules) == {*before, "inverse_root"}, "the suites are parametrized from this list"
        assert "inverse_root" in (paths()["schedule.name"].choices or ())
        assert paths()["schedule.sharpness"].entries == ("inverse_root",)
        config = check(TrainingConfig, {"schedule": {"name": "inverse_root", "sharpness": 3, "warmup_steps": 2}})
        assert check(TrainingConfig, config.model_dump()) == config
        assert lr_curve(config, 20)[-1] == pytest.approx(1e-3 / np.sqrt(1 + 3 * 17 / 18))
        assert "inverse_root" in str(TrainingConfig.model_json_schema())
    finally:
        schedules.remove("inverse_root")
        sys.modules.pop("root_of_time", None)
    with pytest.raises(UserError, match="unknown schedule 'inverse_root'"):
        check(TrainingConfig, {"schedule": "inverse_root"})
