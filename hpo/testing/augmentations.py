"""What every augmentation must do, as a class of tests to inherit.

class TestMine(AugmentationSuite):
    @pytest.fixture
    def augmenter(self) -> Augmenter:
        return augmentations.get("mine")(probability=0.5)
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hpo.errors import UserError
from hpo.testing.strengths import CPU, StrengthSuite
from hpo.training.augmentation import Augmentation
from hpo.training.augmentations import Augmenter, augmentations
from hpo.training.randomness import Draws, Number
from hpo.training.slots import Now


def images(channels: int = 3, height: int = 6, width: int = 9, count: int = 16) -> Tensor:
    """Random images (count, channels, height, width)."""
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def moment(augmenter: Augmenter, strength: Number | None = None, step: int = 3) -> Now:
    """A step of a training, in which a schedule may have moved the strength."""
    values = {} if strength is None else {f"augmentation.{augmenter.name}": strength}
    return Now(step, 10, values, Draws(7, step, CPU))


class AugmentationSuite(StrengthSuite):
    """Tests of one augmentation; a subclass gives it, with a strength that matters, as `augmenter`."""

    registry = augmentations
    section = Augmentation

    @pytest.fixture
    def augmenter(self) -> Augmenter:
        """The entry under test."""
        raise NotImplementedError

    @pytest.fixture
    def strength(self, augmenter: Augmenter) -> Augmenter:
        """The same, for the tests of any entry with a strength."""
        return augmenter

    @pytest.mark.parametrize("channels", [1, 3])
    def test_gives_other_images_of_the_same_shape(self, augmenter: Augmenter, channels: int) -> None:
        x_BCHW = images(channels)
        found = augmenter.augmented(x_BCHW, moment(augmenter))
        assert (found.shape, found.dtype) == (x_BCHW.shape, x_BCHW.dtype)
        assert not torch.equal(found, x_BCHW)
        assert torch.equal(x_BCHW, images(channels)), "it may not write into its input"

    def test_changes_an_image_the_same_way_whatever_its_neighbours_are(self, augmenter: Augmenter) -> None:
        x_BCHW, now = images(), moment(augmenter)
        others = 1 - x_BCHW
        others[5] = x_BCHW[5]
        assert torch.equal(augmenter.augmented(x_BCHW, now)[5], augmenter.augmented(others, now)[5])

    def test_changes_images_anew_in_each_step(self, augmenter: Augmenter) -> None:
        first, second = (augmenter.augmented(images(), moment(augmenter, step=step)) for step in (1, 2))
        assert not torch.equal(first, second)

    def test_a_schedule_that_ends_at_0_ends_with_the_images_themselves(self, augmenter: Augmenter) -> None:
        for nothing in (0.0, torch.tensor(0.0, dtype=torch.float64)):
            found = augmenter.augmented(images(), moment(augmenter, nothing))
            torch.testing.assert_close(found, images(), rtol=0, atol=1e-5)

    def test_a_tensor_is_a_strength_like_a_number(self, augmenter: Augmenter) -> None:
        number = torch.tensor(augmenter.strength, dtype=torch.float64)
        found = augmenter.augmented(images(), moment(augmenter, number))
        torch.testing.assert_close(found, augmenter.augmented(images(), moment(augmenter)), rtol=0, atol=1e-5)

    def test_what_is_no_image_is_refused(self, augmenter: Augmenter) -> None:
        for x_B, found in ((torch.rand(4, 9), r"floats \(9,\)"), (torch.ones(4, 1, 2, 2).long(), "integers")):
            with pytest.raises(UserError, match=rf"^augmentation\.{augmenter.name}: needs images, .*{found}"):
                augmenter.needs_images(x_B)
