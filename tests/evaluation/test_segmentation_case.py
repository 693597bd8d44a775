"""One case's measures against ``surface-distance``, MONAI and values worked by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medcnn.evaluation.segmentation_case import LabelMeasures, measure_case, validation_scores_masks


@pytest.fixture(scope="module")
def oracle() -> Iterator[Any]:
    """The package ``surface-distance``, whose release still uses names that numpy and scipy have dropped."""
    patch = pytest.MonkeyPatch()
    for name in ("filters", "morphology"):
        patch.setattr(scipy.ndimage, name, scipy.ndimage, raising=False)
    patch.setattr(np, "Inf", np.inf, raising=False)
    yield pytest.importorskip("surface_distance")
    patch.undo()


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return np.asarray(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2)


def block(shape: tuple[int, ...], *corners: int) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    half = len(corners) // 2
    mask[tuple(slice(a, b) for a, b in zip(corners[:half], corners[half:], strict=True))] = 1
    return mask


def blob(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    smooth = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    return np.asarray(smooth > np.quantile(smooth, 0.8), np.uint8)


def shapes(name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of masks by name."""
    if name == "random 2D":
        return blob(rng, (19, 23)), blob(rng, (19, 23))
    if name == "random 3D":
        return blob(rng, (13, 12, 10)), blob(rng, (13, 12, 10))
    if name == "one voxel against a ball":
        return block((9, 9, 9), 4, 4, 4, 5, 5, 5), ball((9, 9, 9), (4, 4, 4), 3).astype(np.uint8)
    if name == "two single voxels":
        return block((9, 5, 5), 1, 2, 2, 2, 3, 3), block((9, 5, 5), 5, 2, 2, 6, 3, 3)
    if name == "one pixel":
        return block((7, 8), 2, 3, 3, 4), block((7, 8), 2, 4, 3, 5)
    # At the image's edge, and a plate of one voxel's thickness.
    return block((8, 8, 6), 0, 0, 0, 8, 8, 1), block((8, 8, 6), 0, 0, 0, 8, 7, 2)


NAMES = ("random 2D", "random 3D", "one voxel against a ball", "two single voxels", "one pixel", "plates at the edge")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 3.1)])
def test_distances_equal_the_reference_package(oracle: Any, name: str, spacing: tuple[float, ...]) -> None:
    reference, prediction = shapes(name, np.random.default_rng(1))
    size = spacing[: reference.ndim]
    (found,) = measure_case(reference, prediction, 1, size, tolerance=1.25)
    theirs = oracle.compute_surface_distances(reference == 1, prediction == 1, size)
    assert found.hd95 == pytest.approx(oracle.compute_robust_hausdorff(theirs, 95), rel=1e-6)
    assert found.nsd == pytest.approx(oracle.compute_surface_dice_at_tolerance(theirs, 1.25), rel=1e-3)
    ways = (("gt_to_pred", "gt"), ("pred_to_gt", "pred"))
    total = sum((theirs[f"distances_{way}"] * theirs[f"surfel_areas_{of}"]).sum() for way, of in ways)
    area = theirs["surfel_areas_gt"].sum() + theirs["surfel_areas_pred"].sum()
    # Their tables of areas are rounded to four digits.
    assert found.assd == pytest.approx(total / area, rel=1e-3)


def test_surface_dice_equals_that_of_monai_with_subvoxels() -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_surface_dice

    def one_hot(mask: np.ndarray) -> Any:
        return torch.from_numpy(np.stack([mask == 0, mask == 1])[None].astype(np.float32))

    for name in ("random 3D", "one voxel against a ball", "plates at the edge"):
        reference, prediction = shapes(name, np.random.default_rng(2))
        spacing = (0.8, 1.5, 2.0)
        (found,) = measure_case(reference, prediction, 1, spacing, tolerance=1.2)
        theirs = compute_surface_dice(
            one_hot(prediction), one_hot(reference), [1.2], spacing=spacing, use_subvoxels=True
        )
        assert found.nsd == pytest.approx(float(theirs[0, 0]), rel=1e-3), name


def test_counts_volumes_and_overlap_by_hand() -> None:
    reference, prediction = block((6, 5, 4), 0, 0, 0, 3, 2, 2), block((6, 5, 4), 1, 0, 0, 4, 2, 2)
    (m,) = measure_case(reference, prediction, 1, (2.0, 1.0, 0.5))
    assert (m.tp, m.fp, m.fn, m.tn) == (8, 4, 4, 120 - 16)
    assert (m.reference_volume, m.predicted_volume) == (12.0, 12.0)
    assert (m.dice, m.iou) == (2 / 3, 0.5)
    # The faces at both ends are 2 mm apart, and the sides lie on each other.
    assert m.hd95 == pytest.approx(2.0)
    assert (m.unit, m.dims, m.annotated) == ("mm", 3, True)


def test_lesions_are_matched_one_to_one_and_connected_by_corners() -> None:
    reference, prediction = np.zeros((2, 20, 20), np.uint8)
    reference[1:4, 1:4] = reference[4:6, 4:6] = 1  # one lesion: the two touch by a corner
    reference[10:12, 1:3] = reference[10:12, 4:6] = 1  # two lesions under one prediction
    reference[16, 16] = 1  # missed
    prediction[1:6, 1:6] = prediction[10:12, 1:6] = 1
    prediction[1:3, 15:17] = 1  # invented
    (m,) = measure_case(reference, prediction, 1, None)
    assert (m.lesion_tp, m.lesion_fp, m.lesion_fn) == (2, 1, 2)
    # 13 of 25 pixels, and 4 of 10: at 0.5 the second pair no longer counts.
    (m,) = measure_case(reference, prediction, 1, None, match_iou=0.5)
    assert (m.lesion_tp, m.lesion_fp, m.lesion_fn) == (1, 2, 3)


def test_empty_masks() -> None:
    none, some = np.zeros((6, 6, 6), np.uint8), block((6, 6, 6), 1, 1, 1, 3, 3, 3)
    (both,) = measure_case(none, none, 1, (1, 1, 1))
    assert (both.dice, both.iou, both.hd95, both.assd, both.nsd) == (None,) * 5
    assert (both.tn, both.reference_empty, both.prediction_empty, both.annotated) == (216, True, True, True)
    for reference, prediction in ((none, some), (some, none)):
        (m,) = measure_case(reference, prediction, 1, (1, 1, 1))
        assert (m.dice, m.iou, m.nsd) == (0.0, 0.0, 0.0)
        assert m.hd95 == m.assd == math.inf
        assert (m.reference_empty, m.prediction_empty) == (reference is none, prediction is none)
        assert m.lesion_tp == 0
        assert m.lesion_fp + m.lesion_fn == 1


def test_labels_apart_and_without_spacing() -> None:
    reference = np.zeros((10, 9), np.uint8)
    reference[1:4, 1:4], reference[5:8, 5:8] = 1, 3
    prediction = reference.copy()
    prediction[prediction == 3] = 2
    first, second, third = measure_case(reference, prediction, 3, None)
    assert (first.dice, first.hd95, first.unit, first.reference_volume) == (1.0, 0.0, "px", 9.0)
    assert (second.fp, second.dice, third.fn, third.dice) == (9, 0.0, 9, 0.0)
    # A spacing that is given for more axes than the image has is cut, one for fewer is none.
    assert measure_case(reference, prediction, 1, (0.5, 0.5, 5.0))[0].reference_volume == 2.25
    assert measure_case(reference, prediction, 1, (0.5,))[0].unit == "px"


def test_voxels_that_are_not_annotated_count_nowhere() -> None:
    reference, prediction = block((8, 8, 4), 0, 0, 0, 4, 4, 2), block((8, 8, 4), 0, 0, 0, 4, 4, 4)
    reference[:, :, 2:] = 255
    (m,) = measure_case(reference, prediction, 1, (1, 1, 1))
    assert (m.tp, m.fp, m.fn, m.tn) == (32, 0, 0, 8 * 8 * 2 - 32)
    assert (m.dice, m.hd95) == (1.0, 0.0)
    (m,) = measure_case(np.full((8, 8, 4), 255, np.uint8), prediction, 1, (1, 1, 1))
    assert (m.annotated, m.dice, m.tn, m.lesion_fp) == (False, None, 0, 0)


def test_overlapping_labels_have_a_channel_each() -> None:
    whole, core = ball((12, 12, 12), (6, 6, 6), 5), ball((12, 12, 12), (6, 6, 6), 2)
    reference = np.stack([whole, core, np.full_like(core, 0)]).astype(np.uint8)
    reference[2] = 255
    first, second, third = measure_case(reference, reference * (reference != 255), 3, (1, 1, 1), overlapping=True)
    assert (first.tp, second.tp) == (whole.sum(), core.sum())
    assert first.dice == second.dice == 1.0
    assert not third.annotated


@pytest.mark.parametrize(
    ("reference", "prediction", "more"),
    [
        (np.zeros((3, 3)), np.zeros((3, 4)), {}),
        (np.zeros(3), np.zeros(3), {}),
        (np.zeros((2, 3, 3)), np.zeros((2, 3, 3)), {"overlapping": True}),
    ],
)
def test_what_does_not_fit_is_refused(reference: Any, prediction: Any, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="for 3 labels"):
        measure_case(reference.astype(np.uint8), prediction.astype(np.uint8), 3, None, **more)


masks = arrays.arrays(
    np.uint8, st.tuples(st.integers(2, 5), st.integers(2, 5), st.integers(2, 4)), elements=st.integers(0, 2)
)


def plain(m: LabelMeasures) -> list[float]:
    values = [m.tp, m.fp, m.fn, m.tn, m.dice, m.iou, m.hd95, m.assd, m.nsd, m.lesion_tp, m.lesion_fp, m.lesion_fn]
    return [-1.0 if v is None else float(v) for v in values]


@settings(max_examples=20, deadline=None)
@given(masks, st.data())
def test_axes_margins_and_the_unit_of_length_do_not_matter(reference: Any, data: Any) -> None:
    prediction = data.draw(arrays.arrays(np.uint8, reference.shape, elements=st.integers(0, 2)))
    spacing = (1.0, 2.5, 0.6)
    here = measure_case(reference, prediction, 2, spacing, tolerance=0.9)
    turned = measure_case(
        reference.transpose(2, 0, 1), prediction.transpose(2, 0, 1), 2, (0.6, 1.0, 2.5), tolerance=0.9
    )
    wide = measure_case(
        np.pad(reference, ((3, 0), (0, 2), (1, 1))), np.pad(prediction, ((3, 0), (0, 2), (1, 1))), 2, spacing,
        tolerance=0.9,
    )  # fmt: skip
    large = measure_case(reference, prediction, 2, tuple(10 * s for s in spacing), tolerance=9.0)
    for a, b, c, d in zip(here, turned, wide, large, strict=True):
        assert plain(b) == pytest.approx(plain(a))
        margin = plain(c)
        margin[3] = plain(a)[3]  # more background, and nothing else
        assert margin == pytest.approx(plain(a))
        assert d.nsd == (None if a.nsd is None else pytest.approx(a.nsd))
        assert d.hd95 == (None if a.hd95 is None else pytest.approx(10 * a.hd95))
        assert d.reference_volume == pytest.approx(1000 * a.reference_volume)


@settings(max_examples=15, deadline=None)
@given(masks, st.data())
def test_reference_and_prediction_may_change_places(reference: Any, data: Any) -> None:
    prediction = data.draw(arrays.arrays(np.uint8, reference.shape, elements=st.integers(0, 2)))
    for a, b in zip(
        measure_case(reference, prediction, 2, (1, 2, 3)),
        measure_case(prediction, reference, 2, (1, 2, 3)),
        strict=True,
    ):
        assert (a.fp, a.fn, a.lesion_fp, a.lesion_fn) == (b.fn, b.fp, b.lesion_fn, b.lesion_fp)
        assert [-1 if v is None else v for v in (a.dice, a.hd95, a.assd, a.nsd)] == pytest.approx(
            [-1 if v is None else v for v in (b.dice, b.hd95, b.assd, b.nsd)]
        )


def test_validation_scores_average_over_cases_with_the_label_and_then_over_labels() -> None:
    counts = np.array([[[8, 2, 2], [1, 0, 1]], [[5, 0, 0], [0, 9, 0]], [[0, 0, 4], [0, 0, 0]]])
    found = validation_scores_masks(counts, ("a", "b"))
    # Label a: 16/20, 1 and 0; label b: 2/3 in the one case that has it.
    assert found["dice_a"] == pytest.approx((0.8 + 1 + 0) / 3)
    assert found["dice_b"] == pytest.approx(2 / 3)
    assert found["dice"] == pytest.approx((0.6 + 2 / 3) / 2)
    assert set(validation_scores_masks(counts)) == {"dice"}
    assert math.isnan(validation_scores_masks(np.zeros((2, 1, 3)))["dice"])
    assert math.isnan(validation_scores_masks(np.zeros((0, 1, 3)), ("a",))["dice"])
