"""A pack held against solo trainings of the same configs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from hpo.tasks import Task
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, train_task
from hpo.training.packed import Member, Pack


def train_pack(pack: Pack) -> None:
    """Train until the last member has ended."""
    while pack.members:
        pack.epoch()
        for member in list(pack.members):
            if member.diverged is not None or not member.deliver():
                member.network()
                pack.leave(member)


def packed(configs: Sequence[TrainingConfig], task: Task) -> list[Member]:
    """Members of one pack, trained to their end, their last weights in their runs' networks."""
    pack = Pack(task, configs[0], "cpu")
    members = [pack.admit(config, Answers().trial(number=number)) for number, config in enumerate(configs)]
    train_pack(pack)
    return members


def assert_equal_to_solo(configs: Sequence[TrainingConfig], task: Task, tolerance: float = 1e-4) -> None:
    """Every metric of every epoch as in solo trainings, and every weight and buffer at the end.

    tolerance: relative to the larger of a value's size and 1. Metrics that count examples may differ by one of them.
    """
    for member, config in zip(packed(configs, task), configs, strict=True):
        solo = train_task(config, task, Answers().trial(), "cpu")
        assert len(member.history.reports) == len(solo.history)
        for found, expected in zip(member.history.reports, solo.history, strict=True):
            _assert_near(found, expected.metrics, tolerance)
        for name, value in solo.net.state_dict().items():
            own = member.run.slots.average.shadow.state_dict()[name]
            torch.testing.assert_close(own, value, rtol=tolerance, atol=tolerance)


def _assert_near(found: Mapping[str, float], expected: Mapping[str, float], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert math.isclose(found[name], value, rel_tol=tolerance, abs_tol=tolerance), f"{name}: {found[name]}, {value}"
