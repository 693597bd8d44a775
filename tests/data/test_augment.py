"""Augmentation: a function of seed, epoch and case, and geometry that goes where the matrix says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medcnn.data.augment import AffineDraw, Augmenter, _grid, _rotations, _transform
from medcnn.data.batch import LABELS, Batch
from medcnn.data.deform import _spline, control_points, displacement, lowered
from medcnn.data.randomness import uniforms
from medcnn.recipe.schema import AugmentSection
from medcnn.tasks.segmentation import SegmentationTask
from medcnn.types import LabelClass, LabelSchema

KINDS = (
    "rotate",
    "zoom",
    "shift",
    "brightness",
    "contrast",
    "gamma",
    "noise",
    "blur",
    "low_resolution",
    "elastic",
    "erase",
    "mixup",
)
OFF = dict.fromkeys(KINDS, 0.0)
EVERYTHING = {
    **OFF,
    "rotate": 20,
    "zoom": 0.2,
    "shift": 0.1,
    "brightness": 0.2,
    "contrast": 0.2,
    "gamma": 0.3,
    "noise": 0.1,
    "blur": 1.5,
    "low_resolution": 0.5,
    "elastic": 0.2,
    "erase": 0.2,
}


def section(**options: float) -> AugmentSection:
    return AugmentSection(**{**OFF, "probability": 1.0, **options})


def batch_of(index: list[int], shape: tuple[int, ...] = (2, 9, 12)) -> Batch:
    images = [torch.rand(shape, generator=torch.Generator().manual_seed(i + 5)) for i in index]
    return Batch(torch.stack(images), {"class": torch.tensor(index)}, torch.tensor(index))


@pytest.mark.parametrize("shape", [(2, 9, 12), (1, 6, 7, 8)])
@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_a_case_does_not_depend_on_its_batch(shape: tuple[int, ...], probability: float) -> None:
    augmenter = Augmenter(AugmentSection(**{**EVERYTHING, "probability": probability}), (0, 1), seed=4)
    whole = augmenter(batch_of([0, 1, 2, 3, 4, 5], shape), epoch=2).image
    turned = augmenter(batch_of([5, 2, 0], shape), epoch=2).image
    for place, case in enumerate([5, 2, 0]):
        torch.testing.assert_close(turned[place], whole[case], rtol=1e-5, atol=1e-6)
        alone = augmenter(batch_of([case], shape), epoch=2).image[0]
        torch.testing.assert_close(alone, whole[case], rtol=1e-5, atol=1e-6)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    one, other = Augmenter(section(noise=0.1), (), seed=1), Augmenter(section(noise=0.1), (), seed=2)
    batch = batch_of([0, 1])
    assert torch.equal(one(batch, epoch=0).image, one(batch, epoch=0).image)
    assert not torch.equal(one(batch, epoch=0).image, one(batch, epoch=1).image)
    assert not torch.equal(one(batch, epoch=0).image, other(batch, epoch=0).image)


def test_no_global_generator_is_touched_nor_the_given_batch() -> None:
    batch = batch_of([0, 1, 2])
    image, state, numpy_state = batch.image.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    Augmenter(AugmentSection(**{**EVERYTHING, "mixup": 0.4}), (0, 1), seed=0)(batch, epoch=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert torch.equal(batch.image, image)
    assert set(batch.targets) == {"class"}


def test_null_is_the_identity() -> None:
    batch = batch_of([0, 1])
    assert Augmenter(None, (0, 1), seed=0)(batch, epoch=0) is batch


@pytest.mark.parametrize("shape", [(2, 9, 12), (1, 6, 7, 8)])
def test_what_is_not_chosen_is_left_to_the_bit(shape: tuple[int, ...]) -> None:
    index = list(range(12))
    batch = batch_of(index, shape)
    batch.image -= 0.5
    options = AugmentSection(**{**EVERYTHING, "probability": 0.4, "blur": 0.0})
    found = Augmenter(options, (0, 1), seed=1)(batch, epoch=0).image
    chosen = uniforms(1, 0, np.array(index), 1)[:, 0] < 0.4
    assert 0 < chosen.sum() < len(index)
    for i in index:
        assert torch.equal(found[i], batch.image[i]) != chosen[i]


@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1)])
def test_only_symmetric_axes_are_mirrored(axes: tuple[int, ...]) -> None:
    batch = batch_of(list(range(24)))
    found = Augmenter(section(), axes, seed=0)(batch, epoch=0).image
    mirrored = [a for a in ((), (0,), (1,), (0, 1)) if set(a) <= set(axes)]
    seen = set()
    for before, after in zip(batch.image, found, strict=True):
        fitting = [a for a in mirrored if torch.allclose(after, before.flip([x + 1 for x in a]), atol=1e-5)]
        assert len(fitting) == 1
        seen.add(fitting[0])
    assert seen == set(mirrored)


def test_a_mirror_image_of_a_volume_is_along_the_axis_named() -> None:
    batch = batch_of(list(range(8)), (1, 4, 5, 6))
    found = Augmenter(section(), (0,), seed=0)(batch, epoch=0).image
    kinds = set()
    for before, after in zip(batch.image, found, strict=True):
        flipped = torch.allclose(after, before.flip([1]), atol=1e-5)
        assert flipped or torch.equal(after, before)
        kinds.add(flipped)
    assert kinds == {True, False}


@pytest.mark.parametrize(("shape", "dot"), [((41, 61), (28, 20)), ((21, 25, 31), (13, 16, 20))])
def test_a_dot_goes_where_the_matrix_says(shape: tuple[int, ...], dot: tuple[int, ...]) -> None:
    dims = len(shape)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    blob = np.exp(-0.5 * ((places - np.array(dot)) ** 2).sum(-1) / 1.5**2).astype(np.float32)
    index = list(range(6))
    batch = Batch(torch.from_numpy(blob).expand(6, 1, *shape).clone(), {}, torch.tensor(index))
    augmenter = Augmenter(section(rotate=30, zoom=0.1, shift=0.05), (0,), seed=3)
    theta = augmenter.draw(np.array(index), 0, dims).theta.astype(np.float64)
    found = augmenter(batch, epoch=0).image[:, 0].numpy()
    # The matrix leads from output to input around the centre, last axis first.
    lengths = np.array(shape[::-1])
    centre = (lengths - 1) / 2
    for image, matrix in zip(found, theta, strict=True):
        target = np.array(dot[::-1]) - centre
        expected = np.linalg.solve(matrix[:, :dims], target - matrix[:, dims] * lengths / 2) + centre
        mass = [float((image * places[..., a]).sum() / image.sum()) for a in range(dims)][::-1]
        np.testing.assert_allclose(mass, expected, atol=0.1)


def test_a_quarter_turn_of_a_plane() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 4, 2] = 1
    theta = np.zeros((1, 2, 3), np.float32)
    theta[:, :, :2] = _rotations(np.array([[math.pi / 2]]), 2)
    found = _transform(image, AffineDraw(theta, False))[0, 0]
    # Output (y, x) takes from input x' = -y, y' = x around the centre: row 2 of the input is column 0 or 4.
    assert found[2, 4] == pytest.approx(1, abs=1e-5)
    assert float(found.sum()) == pytest.approx(1, abs=1e-4)


def test_mixup_says_whom_it_mixed() -> None:
    batch = batch_of([0, 1, 2])
    found = Augmenter(section(mixup=0.4), (), seed=0)(batch, epoch=0)
    partner, weight = found.targets["mix_index"], found.targets["mix_weight"]
    assert ((weight >= 0.5) & (weight <= 1)).all()
    shaped = weight.view(-1, 1, 1, 1)
    torch.testing.assert_close(found.image, batch.image * shaped + batch.image[partner] * (1 - shaped))
    assert (partner != torch.arange(3)).all()


def test_erasing_covers_at_most_its_share() -> None:
    batch = batch_of(list(range(10)), (1, 20, 20))
    found = Augmenter(section(erase=0.25), (), seed=0)(batch, epoch=0).image
    shares = (found != batch.image).float().mean((1, 2, 3))
    assert (shares <= 0.35).all()
    assert shares.max() > 0.05


def test_draws_are_even() -> None:
    drawn = uniforms(7, 1, np.arange(4000), 6)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=0.02)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(6), atol=0.06)


def standardised(index: list[int]) -> Batch:
    """Cases of mean 0 in one channel and of mean -3 in the other, with negative values in both."""
    batch = batch_of(index)
    image = batch.image - batch.image.mean((2, 3), keepdim=True)
    batch.image = image / image.std((2, 3), keepdim=True) - torch.tensor([0.0, 3.0])[:, None, None]
    return batch


def test_contrast_keeps_the_mean_of_each_case_and_channel() -> None:
    batch = standardised(list(range(8)))
    found = Augmenter(section(contrast=0.5), (), seed=0)(batch, epoch=0).image
    torch.testing.assert_close(found.mean((2, 3)), batch.image.mean((2, 3)), atol=1e-5, rtol=0)
    gain = found.std((2, 3)) / batch.image.std((2, 3))
    torch.testing.assert_close(gain[:, 0], gain[:, 1])
    assert gain.min() < 0.8
    assert gain.max() > 1.2
    assert ((gain >= 0.5) & (gain <= 1.5)).all()


def test_brightness_moves_the_mean_alone() -> None:
    batch = standardised(list(range(8)))
    moved = Augmenter(section(brightness=0.4), (), seed=0)(batch, epoch=0).image - batch.image
    assert float(moved.std((2, 3)).max()) < 1e-6
    assert 0.1 < float(moved.abs().max()) <= 0.4


def test_gamma_keeps_range_and_order_of_each_case() -> None:
    batch = standardised(list(range(8)))
    batch.image[3, 0] = -2.0
    found = Augmenter(section(gamma=0.5), (), seed=0)(batch, epoch=0).image
    for before, after in zip(batch.image.flatten(0, 1).flatten(1), found.flatten(0, 1).flatten(1), strict=True):
        torch.testing.assert_close((after.amin(), after.amax()), (before.amin(), before.amax()))
        assert (after[before.argsort()].diff() >= -1e-6).all()
    assert torch.equal(found[3, 0], batch.image[3, 0])
    # The middle of the range becomes a power of a half, with the exponent within its limits.
    low, high = batch.image.amin((2, 3), keepdim=True), batch.image.amax((2, 3), keepdim=True)
    share, changed = (batch.image - low) / (high - low), (found - low) / (high - low)
    inside = (share > 0.2) & (share < 0.8)
    power = (changed.log() / share.log())[inside]
    assert 1 / 1.5 - 1e-3 <= power.min() < 0.9
    assert 1.1 < power.max() <= 1.5 + 1e-3


def test_noise_is_normal_and_another_one_for_each_case_and_epoch() -> None:
    batch = Batch(torch.zeros(64, 1, 32, 32), {}, torch.arange(64))
    augmenter = Augmenter(section(noise=1.0), (), seed=0)
    strength = torch.from_numpy(uniforms(0, 0, np.arange(64), 5)[:, 4])
    noise = augmenter(batch, epoch=0).image[:, 0].flatten(1) / strength[:, None]
    assert abs(float(noise.mean())) < 0.02
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    assert float((noise.abs() > 1.96).float().mean()) == pytest.approx(0.05, abs=0.01)
    between = torch.corrcoef(torch.cat([noise, augmenter(batch, epoch=1).image[:, 0].flatten(1)]))
    assert float((between - torch.eye(128)).abs().max()) < 0.25


@pytest.mark.parametrize("shape", [(5, 7), (4, 5, 6)])
def test_the_grid_is_torch_s(shape: tuple[int, ...]) -> None:
    theta = torch.randn(3, len(shape), len(shape) + 1, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.affine_grid(theta, [3, 1, *shape], align_corners=False)
    torch.testing.assert_close(_grid(theta, shape), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [5, 17, 40])
def test_splines_sum_to_one_and_reproduce_a_straight_line(length: int) -> None:
    weights = _spline(length)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    # A uniform cubic spline over points on a line is that line: the k-th point lies at (k - 1) / 4 of the axis.
    np.testing.assert_allclose(weights @ ((np.arange(7) - 1) / 4), (np.arange(length) + 0.5) / length, atol=1e-6)


@pytest.mark.parametrize("shape", [(21, 30), (14, 17, 20)])
def test_an_elastic_deformation_is_smooth_bounded_and_does_not_fold(shape: tuple[int, ...]) -> None:
    dims = len(shape)
    points = control_points(3, 1, np.arange(6), dims, 0.39)
    field = displacement(torch.from_numpy(points), shape).numpy()
    assert field.shape == (6, *shape, dims)
    assert 0 < np.abs(field).max() <= 0.39 * 2 / 4
    lengths = np.array(shape[::-1])
    for case in field * lengths / 2:  # in px, last axis first
        grown = np.stack([np.stack(np.gradient(case[..., d]), -1)[..., ::-1] for d in range(dims)], -2)
        assert (np.linalg.det(grown + np.eye(dims)) > 0).all()


def test_control_points_all_moved_alike_shift_the_image() -> None:
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    bend = np.zeros((1, 2, 7, 7), np.float32)
    bend[:, 1] = 2 * 2 / 16  # two px along the first spatial axis, which stands last
    moved = _transform(image, AffineDraw(np.eye(2, 3, dtype=np.float32)[None], False, bend))
    torch.testing.assert_close(moved[..., :-2, :], image[..., 2:, :], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 24, 20), (1, 12, 14, 10)])
def test_labels_bend_with_their_image(shape: tuple[int, ...]) -> None:
    image = torch.zeros(3, *shape)
    image[(slice(None), slice(None), *[slice(3, -3)] * (len(shape) - 1))] = 1
    batch = Batch(image, {LABELS: image.to(torch.uint8)}, torch.arange(3))
    found = Augmenter(section(elastic=0.3, rotate=10), (0,), seed=2)(batch, epoch=0)
    assert (found.image != image).any()
    labels = found.targets[LABELS]
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) <= {0, 1}
    # Nearest and linear agree wherever the image is not on the edge between the two.
    sure = (found.image < 0.01) | (found.image > 0.99)
    assert torch.equal(labels[sure].float(), found.image.round()[sure])


def test_elastic_leaves_inactive_cases_to_the_bit() -> None:
    options = {**OFF, "probability": 0.5, "elastic": 0.3, "low_resolution": 0.5}
    batch = batch_of(list(range(12)))
    found = Augmenter(AugmentSection(**options), (), seed=5)(batch, epoch=0).image
    same = [torch.equal(a, b) for a, b in zip(found, batch.image, strict=True)]
    assert 2 < sum(same) < 10


def test_lost_resolution_is_that_of_means_over_blocks() -> None:
    image = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 4, 8)
    down = lowered(image, np.array([0.5], np.float32))[0, 0, 0]
    # Means of pairs 0.5, 2.5, 4.5, 6.5, a quarter and three quarters of the way between them.
    torch.testing.assert_close(down, torch.tensor([0.5, 1, 2, 3, 4, 5, 6, 6.5]))
    constant = torch.full((2, 1, 9, 7, 5), 3.25)
    torch.testing.assert_close(lowered(constant, np.array([0.9, 0.3], np.float32)), constant)
    noise = torch.rand(1, 1, 12, 12)
    assert torch.equal(lowered(noise, np.zeros(1, np.float32)), noise)
    assert lowered(noise, np.array([0.7], np.float32)).std() < 0.7 * noise.std()


def test_a_mirrored_label_map_swaps_its_pairs() -> None:
    labels = torch.zeros(8, 1, 6, 4, dtype=torch.uint8)
    labels[:, :, 0], labels[:, :, 5] = 1, 2
    labels[:, :, 3] = 255
    batch = Batch(labels.float(), {LABELS: labels}, torch.arange(8))
    names = ("left", "right", "middle")
    schema = LabelSchema(tuple(LabelClass(k, name) for k, name in enumerate(names, 1)))
    task = SegmentationTask(schema, pairs=[("left", "right")])
    found = Augmenter(section(), (0,), seed=0, swap=task.mirrored_labels)(batch, epoch=0)
    mirrored = (found.image[:, 0, 0, 0] != 1).tolist()
    assert True in mirrored
    assert False in mirrored
    # The left side of the picture is called left, mirrored or not.
    assert (found.targets[LABELS][:, 0, 0] == 1).all()
    assert (found.targets[LABELS][:, 0, 5] == 2).all()
    assert ((found.targets[LABELS] == 255).sum((1, 2, 3)) == 4).all()


def test_overlapping_pairs_swap_their_channels() -> None:
    schema = LabelSchema((LabelClass(1, "left"), LabelClass(2, "right")), multilabel=True)
    task = SegmentationTask(schema, pairs=[("left", "right")])
    labels = torch.stack([torch.zeros(2, 2, dtype=torch.uint8), torch.ones(2, 2, dtype=torch.uint8)])[None].repeat(
        2, 1, 1, 1
    )
    found = task.mirrored_labels(labels, torch.tensor([True, False]))
    assert found[0, 0].all()
    assert not found[0, 1].any()
    assert torch.equal(found[1], labels[1])
