"""Surface distances against the package that defines them, MONAI and values worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medcnn.geometry.surface import occupied, surface_distances
from medcnn.geometry.surface_elements import element_sizes

SPACINGS_3D = [(1.0, 1.0, 1.0), (1.0, 2.0, 3.0), (0.7, 0.5, 2.2), (3.0, 1.3, 0.4)]


@pytest.fixture(scope="module")
def oracle() -> Iterator[Any]:
    """The package ``surface-distance``, whose release still uses names that numpy and scipy have dropped."""
    patch = pytest.MonkeyPatch()
    for name in ("filters", "morphology"):
        patch.setattr(scipy.ndimage, name, scipy.ndimage, raising=False)
    patch.setattr(np, "Inf", np.inf, raising=False)
    yield pytest.importorskip("surface_distance")
    patch.undo()


def blob(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    smooth = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    return smooth > np.quantile(smooth, 0.8)


@pytest.mark.parametrize("spacing", SPACINGS_3D)
def test_every_pattern_of_eight_voxels_has_the_area_of_the_reference_package(oracle: Any, spacing: Any) -> None:
    theirs = oracle.lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    # Both count bit 7 for the first voxel in one and for the last in the other.
    mirrored = [sum((code >> (7 - bit) & 1) << bit for bit in range(8)) for code in range(256)]
    np.testing.assert_allclose(element_sizes(spacing)[mirrored], theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_every_pattern_of_four_pixels_has_the_length_of_the_reference_package(oracle: Any, spacing: Any) -> None:
    theirs = oracle.lookup_tables.create_table_neighbour_code_to_contour_length(spacing)
    mirrored = [sum((code >> (3 - bit) & 1) << bit for bit in range(4)) for code in range(16)]
    np.testing.assert_allclose(element_sizes(spacing)[mirrored], theirs)


@pytest.mark.parametrize("shape", [(14, 17), (12, 11, 9)])
@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_the_reference_package_on_random_shapes(oracle: Any, shape: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = blob(rng, shape), blob(rng, shape)
    spacing = tuple(rng.uniform(0.4, 3.0, len(shape)))
    theirs = oracle.compute_surface_distances(a, b, spacing)
    ours = surface_distances(a, b, spacing)
    assert ours.hausdorff(95) == pytest.approx(oracle.compute_robust_hausdorff(theirs, 95), rel=1e-6)
    assert ours.hausdorff() == pytest.approx(oracle.compute_robust_hausdorff(theirs, 100), rel=1e-6)
    assert ours.dice(1.0) == pytest.approx(oracle.compute_surface_dice_at_tolerance(theirs, 1.0), abs=1e-4)
    sums = [
        (theirs[f"distances_{way}"] * theirs[f"surfel_areas_{of}"]).sum()
        for way, of in (("gt_to_pred", "gt"), ("pred_to_gt", "pred"))
    ]
    area = theirs["surfel_areas_gt"].sum() + theirs["surfel_areas_pred"].sum()
    assert ours.average() == pytest.approx(sum(sums) / area, rel=1e-3)


@pytest.mark.parametrize("shape", [(40, 31), (23, 30, 19)])
def test_a_map_of_distances_and_a_tree_say_the_same(shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    # Noise: thick crowds of elements, and far ones.
    a, b = blob(rng, shape), blob(rng, shape) & (rng.random(shape) < 0.7)
    b[0] = rng.random(shape[1:]) < 0.9
    spacing = tuple(rng.uniform(0.4, 3.0, len(shape)))
    found = []
    monkeypatch.setattr("medcnn.geometry.surface._FEW_QUERIES", 0)
    for voxels in (0, 10**9):
        monkeypatch.setattr("medcnn.geometry.surface._VOXELS_A_QUERY", voxels)
        found.append(surface_distances(a, b, spacing))
    tree, mapped = found
    np.testing.assert_allclose(mapped.reference, tree.reference, rtol=1e-5)
    np.testing.assert_allclose(mapped.predicted, tree.predicted, rtol=1e-5)
    assert mapped.average() == pytest.approx(tree.average(), rel=1e-5)


def test_rounding_does_not_decide_at_the_tolerance() -> None:
    a, b = np.zeros((2, 12, 3), bool)
    a[2, 1] = b[6, 1] = True
    # 3 and 5 corners apart: 0.3 mm in tenths of a mm is 0.30000000000000004 in binary.
    assert surface_distances(a, b, (0.1, 0.1)).dice(0.3) == surface_distances(a, b, (1.0, 1.0)).dice(3.0) == 0.5


def test_surface_dice_equals_that_of_monai_with_subvoxels() -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_surface_dice

    rng = np.random.default_rng(3)
    a, b = blob(rng, (12, 13, 10)), blob(rng, (12, 13, 10))
    spacing = (0.8, 1.5, 2.0)

    def one_hot(mask: np.ndarray) -> Any:
        return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))

    theirs = compute_surface_dice(one_hot(b), one_hot(a), [1.2], spacing=spacing, use_subvoxels=True)
    assert surface_distances(a, b, spacing).dice(1.2) == pytest.approx(float(theirs[0, 0]), abs=1e-4)


def test_two_single_voxels_are_as_far_apart_as_their_places() -> None:
    a, b = np.zeros((2, 9, 5, 5), bool)
    a[1, 2, 2] = b[5, 2, 2] = True
    found = surface_distances(a, b, (2.0, 1.0, 1.0))
    # The corners of the voxels that face each other are 3 voxels apart, the far ones 4.
    assert found.hausdorff() == pytest.approx(8.0)
    # Each of the eight corners of a voxel carries a triangle; half of them are at 6 mm and half at 8 mm.
    assert found.average() == pytest.approx(7.0)
    assert found.dice(6.0) == pytest.approx(0.5)
    assert found.dice(5.9) == 0.0


def test_a_mask_on_the_edge_of_the_image_has_a_surface_there() -> None:
    mask = np.ones((3, 3), bool)
    found = surface_distances(mask, mask, (1.0, 1.0))
    # Four corners cut off by diagonals of half a pixel, and two pixels of straight contour on each side.
    assert found.reference_area.sum() == pytest.approx(4 * np.sqrt(0.5) + 8)


def test_empty_masks_are_undefined_or_infinite() -> None:
    none, some = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    both = surface_distances(none, none, (1, 1))
    assert (both.hausdorff(95), both.average(), both.dice(1)) == (None, None, None)
    for one in (surface_distances(none, some, (1, 1)), surface_distances(some, none, (1, 1))):
        assert one.hausdorff(95) == one.average() == np.inf
        assert one.dice(100) == 0.0


masks = arrays.arrays(bool, st.tuples(st.integers(2, 5), st.integers(2, 5), st.integers(2, 5)))


@settings(max_examples=40, deadline=None)
@given(masks, st.data())
def test_distances_are_symmetric_scale_with_the_spacing_and_ignore_where_the_masks_lie(a: Any, data: Any) -> None:
    b = data.draw(arrays.arrays(bool, a.shape))
    here = surface_distances(a, b, (1.0, 2.0, 0.5))
    swapped = surface_distances(b, a, (1.0, 2.0, 0.5))
    assert here.hausdorff(95) == pytest.approx(swapped.hausdorff(95))
    larger = surface_distances(a, b, (3.0, 6.0, 1.5))
    if here.average() is not None and np.isfinite(here.average() or 0):
        assert larger.average() == pytest.approx(3 * (here.average() or 0))
    moved = surface_distances(np.pad(a, ((4, 0), (1, 3), (0, 2))), np.pad(b, ((4, 0), (1, 3), (0, 2))), (1.0, 2.0, 0.5))
    assert moved.average() == (here.average() if here.average() is None else pytest.approx(here.average()))


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="spacing of 2 axes"):
        surface_distances(np.zeros((2, 2), bool), np.zeros((2, 3), bool), (1, 1))


def test_the_box_around_a_mask() -> None:
    mask = np.zeros((5, 6), bool)
    mask[1, 2] = mask[3, 4] = True
    assert occupied(mask) == (slice(1, 4), slice(2, 5))
    assert occupied(np.zeros((5, 6), bool)) is None


def test_a_percentage_met_exactly_does_not_depend_on_the_unit() -> None:
    """Of this reference 95 % of the area lie exactly within one distance: rounding decides nothing."""
    reference = np.zeros((2, 3, 3), bool)
    reference[0] = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    predicted = np.zeros_like(reference)
    predicted[0, 0, 0] = True
    spacing = np.array([1.0, 2.5, 0.6])
    near = surface_distances(reference, predicted, tuple(spacing)).hausdorff(95)
    assert near is not None
    for unit in (0.1, 3.0, 10.0, 1000.0):
        found = surface_distances(reference, predicted, tuple(unit * spacing)).hausdorff(95)
        assert found == pytest.approx(unit * near)
