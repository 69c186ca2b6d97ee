"""Every schedule against its suite and torch, and what is its own."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from torch.optim import lr_scheduler as torch_schedules

from hpo.errors import UserError
from hpo.schema import check
from hpo.testing.schedules import TOLERANCE, Reference, ScheduleSuite, torch_factors
from hpo.training import TrainingConfig, lr_curve, paths
from hpo.training.schedules import Schedule, schedules


def behind_warmup(rest: Any) -> Reference:
    """torch's own warmup, joined with `rest(optimizer, steps)`."""

    def build(optimizer: Any, warmup: int, steps: int) -> Any:
        after = rest(optimizer, steps - warmup)
        if not warmup:
            return after
        rise = torch_schedules.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        return torch_schedules.SequentialLR(optimizer, [rise, after], milestones=[warmup])

    return build


EXAMPLES: dict[str, tuple[dict[str, Any], Reference]] = {
    "constant": ({}, behind_warmup(lambda o, n: torch_schedules.ConstantLR(o, factor=1.0))),
    "cosine": ({"floor": 0.1}, behind_warmup(lambda o, n: torch_schedules.CosineAnnealingLR(o, n, eta_min=0.1))),
    "linear": (
        {"floor": 0.2},
        behind_warmup(lambda o, n: torch_schedules.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=n)),
    ),
    "exponential": ({"final": 0.05}, behind_warmup(lambda o, n: torch_schedules.ExponentialLR(o, 0.05 ** (1 / n)))),
    # torch's milestones are the first whole steps at or after a third and two thirds of the way
    "step": (
        {"drops": 2, "gamma": 0.3},
        behind_warmup(lambda o, n: torch_schedules.MultiStepLR(o, [-(-n // 3), -(-2 * n // 3)], gamma=0.3)),
    ),
    "one_cycle": (
        {"start_divisor": 10.0, "final_divisor": 100.0},
        lambda o, warmup, n: torch_schedules.OneCycleLR(
            o, max_lr=1.0, total_steps=n, pct_start=warmup / n, div_factor=10.0, final_div_factor=100.0
        ),
    ),
}

# an entry without a line above is tested with its defaults, and against no equivalent of torch's
PLAIN: tuple[dict[str, Any], Reference | None] = ({}, None)
OWN_SUITES = {"one_cycle"}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
class TestSchedules(ScheduleSuite):
    @pytest.fixture(params=[name for name in schedules if name not in OWN_SUITES])
    def schedule(self, request: pytest.FixtureRequest) -> Schedule:
        return schedules.parse({"name": request.param, **EXAMPLES.get(request.param, PLAIN)[0]})

    @pytest.fixture
    def reference(self, schedule: Schedule) -> Reference | None:
        return EXAMPLES.get(schedule.name, PLAIN)[1]


class TestOneCycle(ScheduleSuite):
    torch_cases = ((2, 90), (30, 300), (299, 300))  # torch's needs a rise of at least two steps

    @pytest.fixture
    def schedule(self) -> Schedule:
        return schedules.parse({"name": "one_cycle", **EXAMPLES["one_cycle"][0]})

    @pytest.fixture
    def reference(self) -> Reference:
        return EXAMPLES["one_cycle"][1]


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
