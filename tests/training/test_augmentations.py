"""Every augmentation against its suite, and against the same mathematics in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from hpo.errors import UserError
from hpo.schema import check
from hpo.tasks import tasks
from hpo.testing.augmentations import AugmentationSuite, images, moment
from hpo.testing.packs import assert_equal_to_solo
from hpo.testing.strengths import image_task, small_task
from hpo.testing.trials import Answers
from hpo.training import TrainingConfig, as_paths, traced, train_task, with_paths
from hpo.training.augmentations import Augmenter, augmentations
from hpo.training.augmentations.rotate import rotated
from hpo.training.shape import shape_of

EXAMPLES: dict[str, dict[str, Any]] = {
    "color_jitter": {"spread": 0.5},
    "crop": {"padding": 2},
    "erase": {"probability": 0.7, "largest": 0.3},
    "flip": {"probability": 0.5},
    "rotate": {"degrees": 40.0},
}


class TestAugmentations(AugmentationSuite):
    @pytest.fixture(params=list(augmentations))
    def augmenter(self, request: pytest.FixtureRequest) -> Augmenter:
        return augmentations.parse({"name": request.param, **EXAMPLES.get(request.param, {})})


def drawn(name: str, *shape: int, **fields: Any) -> tuple[Any, Any]:
    """What an augmentation makes of `images()`, and the random numbers that it has drawn, for NumPy."""
    augmenter = augmentations.parse({"name": name, **EXAMPLES[name], **fields})
    now = moment(augmenter)
    found = augmenter.augmented(images(), now).numpy()
    return found, augmenter.uniform(now, (16, *shape)).double().numpy()


def test_flip_mirrors_its_share_of_the_images() -> None:
    found, u_B = drawn("flip", probability=0.25)
    for image, u, x in zip(found, u_B, images().numpy(), strict=True):
        assert np.array_equal(image, x[..., ::-1] if u < 0.25 else x)
    augmenter = augmentations.parse({"name": "flip", "probability": 0.25})
    x = images(1, 1, 2, 8000)
    share = (augmenter.augmented(x, moment(augmenter)) != x).any((1, 2, 3)).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(("fill_with", "mode"), [("zero", "constant"), ("reflect", "reflect")])
@pytest.mark.parametrize("padding", [1, 4])
def test_crop_cuts_out_of_the_padded_image(fill_with: str, mode: Any, padding: int) -> None:
    found, u_B2 = drawn("crop", 2, padding=padding, fill_with=fill_with)
    corners = np.floor(u_B2 * (2 * padding + 1)).astype(int)
    for image, (top, left), x in zip(found, corners, images().numpy(), strict=True):
        padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)), mode)
        assert np.array_equal(image, padded[:, top : top + 6, left : left + 9])


def test_crop_moves_by_every_number_of_pixels_alike() -> None:
    augmenter = augmentations.parse({"name": "crop", "padding": 1})
    x = torch.zeros(9000, 1, 3, 3)
    x[:, 0, 1, 1] = 1
    counts = augmenter.augmented(x, moment(augmenter)).sum((0, 1))
    assert counts.sum() == 9000
    assert counts.numpy() == pytest.approx(1000, abs=120)


def test_rotate_is_linear_interpolation_of_a_turned_grid() -> None:
    found, u_B = drawn("rotate")
    y_HW, x_HW = np.mgrid[:6, :9] - np.array([2.5, 4.0])[:, None, None]
    for image, u, x in zip(found, u_B, images().numpy(), strict=True):
        angle = np.deg2rad((2 * u - 1) * 40)
        from_y = np.sin(angle) * x_HW + np.cos(angle) * y_HW + 2.5
        from_x = np.cos(angle) * x_HW - np.sin(angle) * y_HW + 4.0
        expected = [ndimage.map_coordinates(c, [from_y, from_x], order=1, mode="grid-constant") for c in x]
        np.testing.assert_allclose(image, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_is_rot90(quarters: int) -> None:
    x = images(height=7, width=7)
    found = rotated(x, torch.full((16,), quarters * torch.pi / 2))
    torch.testing.assert_close(found, torch.rot90(x, quarters, (2, 3)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_color_jitter_is_brightness_then_contrast_then_saturation(channels: int) -> None:
    augmenter = augmentations.parse({"name": "color_jitter", "spread": 0.5})
    now = moment(augmenter)
    x = images(channels)
    factors = 1 + 0.5 * (2 * augmenter.uniform(now, (16, 3)).double().numpy() - 1)
    weights = {1: [1.0], 3: [0.299, 0.587, 0.114]}[channels]
    for image, (b, c, s), plain in zip(augmenter.augmented(x, now).numpy(), factors, x.numpy(), strict=True):
        expected = b * plain
        expected = c * expected + (1 - c) * np.einsum("c,chw->hw", weights, expected).mean()
        if channels == 3:
            expected = s * expected + (1 - s) * np.einsum("c,chw->hw", weights, expected)
        np.testing.assert_allclose(image, expected, rtol=0, atol=1e-5)


def test_erase_writes_one_rectangle_of_the_allowed_size() -> None:
    augmenter = augmentations.parse({"name": "erase", "probability": 0.5, "largest": 0.3, "value": -1.0})
    x = images(2, 20, 20, 2000)
    found = augmenter.augmented(x, moment(augmenter))
    erased = found == -1
    assert torch.equal(torch.where(erased, x, found), x)
    assert torch.equal(erased[:, 0], erased[:, 1])
    touched = erased[:, 0].any((1, 2))
    assert touched.float().mean().item() == pytest.approx(0.5, abs=0.04)
    rows, columns = erased[touched, 0].any(2), erased[touched, 0].any(1)
    assert torch.equal(erased[touched, 0], rows[:, :, None] & columns[:, None, :]), "a rectangle, or a part of one"
    for lines in (rows, columns):
        assert (lines.diff(dim=1).sum(1) <= 2).all(), "in one piece"
    share = erased[touched, 0].float().mean((1, 2))
    assert 0.01 < share.min().item() < 0.03
    assert 0.27 < share.max().item() < 0.33
    assert share.mean().item() == pytest.approx(0.16, abs=0.01)
    assert erased[:, 0].float().mean(0).min() > 0, "every place is erased now and then"


def members(*own: dict[str, Any]) -> list[TrainingConfig]:
    kind = TrainingConfig.for_task(image_task())
    base = {"epochs": 3, "batch_size": 16, "optimizer": {"name": "sgd", "lr": 0.05}}
    return [check(kind, {**base, "seed": seed, "augmentation": fields}) for seed, fields in enumerate(own)]


def test_all_of_them_are_equal_to_solo_in_a_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "AFTER", 3)
    first = {name: fields[augmentations.entries[name].main] for name, fields in EXAMPLES.items()}
    second = {**{name: number / 2 for name, number in first.items()}, "crop": 1}
    configs = members(first, second)
    assert shape_of(configs[0]) == shape_of(configs[1])
    assert_equal_to_solo(configs, image_task())


def test_members_agree_on_which_are_on_and_on_all_but_their_strength() -> None:
    plain, off, weaker, other = members(
        {"crop": 2}, {"crop": 0}, {"crop": 1}, {"crop": {"padding": 2, "fill_with": "reflect"}}
    )
    assert shape_of(plain) == shape_of(weaker)
    assert shape_of(plain) != shape_of(other)
    assert shape_of(plain) != shape_of(off)
    assert shape_of(off) == shape_of(members({})[0])


def test_they_are_applied_pixels_first_and_erasing_last() -> None:
    config = with_paths(TrainingConfig(), {f"augmentation.{name}": 1 for name in EXAMPLES if name != "rotate"})
    config = with_paths(config, {"augmentation.rotate": 1.0})
    assert [entry.name for entry in config.augmentation.in_order()] == [
        "crop",
        "flip",
        "rotate",
        "color_jitter",
        "erase",
    ]


def test_a_schedule_moves_a_strength() -> None:
    (config,) = members({"flip": 1.0})
    plain = train_task(config, image_task(), Answers().trial(), "cpu")
    moved = with_paths(config, {"schedules.augmentation.flip": "linear"})
    assert as_paths(moved)["schedules.augmentation.flip.name"] == "linear"
    assert train_task(moved, image_task(), Answers().trial(), "cpu").history != plain.history
    with pytest.raises(UserError, match=r"^schedules\.augmentation\.crop: has no effect without augmentation\.crop"):
        with_paths(config, {"schedules.augmentation.crop": "linear"})


def test_evaluation_sees_the_images_as_they_are() -> None:
    (plain,), (changed,) = members({}), members({"color_jitter": 0.9})
    still = {"optimizer.lr": 1e-12, "optimizer.momentum": 0.0, "optimizer.weight_decay": 0.0}
    first, second = (
        train_task(with_paths(config, still), image_task(), Answers().trial(), "cpu").metrics
        for config in (plain, changed)
    )
    assert first["train_loss"] != second["train_loss"]
    assert first["val_accuracy"] == second["val_accuracy"]


def test_a_task_without_images_is_one_sentence() -> None:
    config = with_paths(TrainingConfig(), {"augmentation.flip": 0.5})
    with pytest.raises(UserError, match=r"^augmentation\.flip: needs images, .* the task's inputs are floats \(6,\)$"):
        train_task(config, small_task(), Answers().trial(), "cpu")


def test_augmented_digits_are_learned() -> None:
    task = tasks.parse("digits").make()
    own = {"model": "cnn", "optimizer.lr": 0.01, "epochs": 3, "augmentation.crop": 1, "augmentation.rotate": 10.0}
    assert train_task(with_paths(TrainingConfig(), own), task, Answers().trial()).metrics["val_accuracy"] > 0.8
