"""From the network's grid back to the image's own: where a voxel came from, there its value goes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medcnn.geometry import resample
from medcnn.geometry.grids import Grid, reorient
from medcnn.geometry.resample import IGNORE, Fit, plan_axes, sample, sample_labels, to_original

AFFINE = np.array([[0, 0, -2.0, 9], [0, 1.5, 0, 4], [-1.0, 0, 0, 3], [0, 0, 0, 1]])
SPACING = (1.0, 1.5, 2.0)


def restored(values: NDArray[np.float32], matrix: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """All slabs together; what was not seen is NaN."""
    whole = np.full((len(values), *shape), np.nan, np.float32)
    for places, slab, inside in to_original(values, matrix, shape):
        whole[(..., *inside[:-1], places)] = slab
    return whole


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    codes=st.sampled_from(["RAS", "LPS", "SRA", "IAR"]),
    margin=st.integers(0, 4),
)
def test_a_turned_and_padded_image_comes_back_to_the_bit(shape: tuple[int, int, int], codes: str, margin: int) -> None:
    array = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    grid = reorient(Grid.of(array, AFFINE, SPACING), codes)
    size = [n + margin for n in grid.array.shape[1:]]
    axes = plan_axes(grid, size, "patches")
    moved = grid if axes is None else sample(grid, axes)
    np.testing.assert_array_equal(restored(moved.array, moved.matrix, shape), array)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 12)] * 2),
    size=st.tuples(*[st.integers(3, 12)] * 2),
    fit=st.sampled_from(["resize", "pad", "crop", "patches"]),
)
def test_a_linear_image_comes_back_where_both_grids_see_it(
    shape: tuple[int, int], size: tuple[int, int], fit: Fit
) -> None:
    x, y = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij")
    array = (3 * x - 2 * y)[None]
    grid = Grid.of(array, None, (1.0, 1.5))
    axes = plan_axes(grid, size, fit, (1.3, 1.1) if fit in ("pad", "patches") else None)
    moved = grid if axes is None else sample(grid, axes)
    found = restored(moved.array, moved.matrix, shape)
    inner = (0, *[slice(n // 2, n // 2 + 1) for n in shape])
    if fit != "crop":
        # Nothing of the image is outside of such a grid.
        assert not np.isnan(found).any()
    steps = [abs(moved.matrix[k, k]) for k in range(2)]
    # Averages of voxels that lie unevenly bend a plane by a tenth of a voxel at most: a slope of 3 by 0.3.
    if min(shape) >= 7 and all(0.7 < s < 1.5 for s in steps) and not np.isnan(found[inner]).any():
        np.testing.assert_allclose(found[inner], array[inner], atol=0.3)


def test_values_between_voxels_are_those_of_linear_interpolation() -> None:
    values = np.random.default_rng(1).normal(size=(1, 5, 6)).astype(np.float32)
    # The original has three times as many voxels along x and is moved by half a voxel along y.
    matrix = np.array([[1 / 3, 0, -1 / 3], [0, 1.0, 0.5], [0, 0, 1]])
    shape = (15, 5)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    source = np.einsum("ij,jxy->ixy", matrix[:2, :2], places) + matrix[:2, 2][:, None, None]
    expected = map_coordinates(values[0], source, order=1, mode="nearest")
    np.testing.assert_allclose(restored(values, matrix, shape)[0], expected, atol=1e-5)


def test_slabs_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(size=(3, 4, 5, 11)).astype(np.float32)
    matrix = np.diag([0.5, 0.5, 0.8, 1.0])
    whole = restored(values, matrix, (8, 10, 13))
    monkeypatch.setattr(resample, "SLAB", 1)
    assert len(list(to_original(values, matrix, (8, 10, 13)))) == 13
    np.testing.assert_allclose(restored(values, matrix, (8, 10, 13)), whole, atol=1e-6)


def test_what_a_crop_left_out_is_not_made_up() -> None:
    grid = Grid.of(np.arange(10, dtype=np.float32)[None, :, None], None, None)
    axes = plan_axes(grid, (4, 1), "crop")
    assert axes is not None
    moved = sample(grid, axes)
    np.testing.assert_array_equal(
        restored(moved.array, moved.matrix, (10, 1))[0, :, 0], [*[np.nan] * 3, 3, 4, 5, 6, *[np.nan] * 3]
    )


def test_a_label_takes_a_voxel_by_its_share() -> None:
    labels = np.array([[[0, 0, 1, 1, 2, 2, 2, 0, IGNORE, IGNORE]]], np.uint8)
    axes = plan_axes(Grid.of(labels, None, None), (1, 5), "resize")
    found = sample_labels(labels, axes, overlapping=False)
    np.testing.assert_array_equal(found, [[[0, 1, 2, 2, IGNORE]]])


def test_overlapping_labels_are_resampled_apart() -> None:
    labels = np.array([[[1, 1, 0, 0]], [[1, 1, 1, 1]]], np.uint8)
    axes = plan_axes(Grid.of(labels, None, None), (1, 2), "resize")
    np.testing.assert_array_equal(sample_labels(labels, axes, overlapping=True), [[[1, 0]], [[1, 1]]])
