"""Grids: a bright dot goes where the matrix says, and the edges of the image stay where they are."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.errors import ImageError
from medcnn.geometry.grids import Grid, centre, fit_to_size, reorient, resample_to_spacing, resize


def centre_of_mass(array: np.ndarray) -> np.ndarray:
    places = np.stack(np.meshgrid(*[np.arange(n) for n in array.shape[1:]], indexing="ij"), -1)
    weights = array[0].astype(np.float64)
    return np.asarray((places * weights[..., None]).reshape(-1, array.ndim - 1).sum(0) / weights.sum())


def blob(shape: tuple[int, ...], dot: tuple[int, ...]) -> np.ndarray:
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    return np.exp(-0.5 * ((places - np.array(dot)) ** 2).sum(-1) / 1.2**2).astype(np.float32)[None]


def mapped(grid: Grid, dot: tuple[int, ...]) -> np.ndarray:
    return np.asarray((grid.matrix @ [*dot, 1])[:-1])


AFFINE = np.array([[0, 0, 3.0, 5], [-1.0, 0, 0, 7], [0, 2.0, 0, -4], [0, 0, 0, 1]])


@pytest.mark.parametrize("fit", ["resize", "pad", "crop"])
@pytest.mark.parametrize(
    ("shape", "dot", "size"),
    [
        ((20, 31), (9, 16), (33, 24)),
        ((24, 24), (11, 14), (12, 12)),
        ((20, 31), (9, 16), (15, 40)),
        ((16, 18, 14), (7, 9, 6), (20, 12, 14)),
    ],
)
def test_a_dot_goes_where_the_matrix_says(
    fit: str, shape: tuple[int, ...], dot: tuple[int, ...], size: tuple[int, ...]
) -> None:
    affine = AFFINE if len(shape) == 3 else None
    grid = fit_to_size(Grid.of(blob(shape, dot), affine, (1.0, 2.0, 3.0)), size, fit)  # type: ignore[arg-type]
    assert grid.array.shape == (1, *size)
    assert grid.original_shape == shape
    np.testing.assert_allclose(centre_of_mass(grid.array), mapped(grid, dot), atol=0.15)
    if affine is not None:
        assert grid.affine is not None
        np.testing.assert_allclose(grid.affine @ grid.matrix, affine, atol=1e-9)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "PIL"])
def test_orientation_moves_voxels_as_the_matrix_says(codes: str) -> None:
    array = np.random.default_rng(0).random((2, 4, 5, 6)).astype(np.float32)
    grid = reorient(Grid.of(array, AFFINE, (1.0, 2.0, 3.0)), codes)
    assert "".join(nibabel.aff2axcodes(grid.affine)) == codes
    assert grid.affine is not None
    np.testing.assert_allclose(grid.affine @ grid.matrix, AFFINE, atol=1e-9)
    np.testing.assert_allclose(grid.spacing, np.linalg.norm(grid.affine[:3, :3], axis=0))
    for index in ((0, 0, 0), (3, 1, 4), (2, 4, 5)):
        moved = tuple(np.rint(mapped(grid, index)).astype(int))
        np.testing.assert_array_equal(grid.array[(slice(None), *moved)], array[(slice(None), *index)])


def test_orientation_then_spacing_then_size() -> None:
    dot = (7, 9, 6)
    grid = reorient(Grid.of(blob((16, 18, 14), dot), AFFINE, (1.0, 2.0, 3.0)), "RAS")
    grid = resample_to_spacing(grid, (2.0, 1.5, 1.0))
    assert grid.array.shape == (1, 21, 11, 36)
    grid = fit_to_size(grid, (24, 10, 30), "crop")
    np.testing.assert_allclose(centre_of_mass(grid.array), mapped(grid, dot), atol=0.15)
    assert grid.affine is not None
    np.testing.assert_allclose(grid.affine @ grid.matrix, AFFINE, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(have=st.tuples(st.integers(1, 9), st.integers(1, 9)), want=st.tuples(st.integers(1, 14), st.integers(1, 14)))
def test_resizing_keeps_edges_constants_and_ranges(have: tuple[int, int], want: tuple[int, int]) -> None:
    array = np.random.default_rng(1).random((1, *have)).astype(np.float32)
    grid = resize(Grid.of(array, None, (1.0, 1.0)), want)
    for axis in (0, 1):
        for edge in (-0.5, have[axis] - 0.5):
            place = [0.0, 0.0, 1.0]
            place[axis] = edge
            expected = -0.5 if edge < 0 else want[axis] - 0.5
            assert (grid.matrix @ place)[axis] == pytest.approx(expected)
    assert grid.array.min() >= array.min() - 1e-6
    assert grid.array.max() <= array.max() + 1e-6
    flat = resize(Grid.of(np.full((1, *have), 0.7, np.float32), None, None), want).array
    np.testing.assert_allclose(flat, 0.7, rtol=1e-5)
    np.testing.assert_allclose(grid.spacing, [h / w for h, w in zip(have, want, strict=True)])


def test_resizing_agrees_with_another_implementation() -> None:
    import torch

    array = np.random.default_rng(2).random((1, 10, 16)).astype(np.float32)
    for size in ((20, 24), (5, 8), (7, 30)):
        other = torch.nn.functional.interpolate(
            torch.from_numpy(array)[None], size=size, mode="bilinear", align_corners=False, antialias=True
        )
        np.testing.assert_allclose(resize(Grid.of(array, None, None), size).array, other[0].numpy(), atol=1e-5)


def test_the_same_size_changes_nothing() -> None:
    grid = Grid.of(np.arange(12, dtype=np.uint8).reshape(1, 3, 4), None, None)
    assert fit_to_size(grid, (3, 4), "resize") is grid


def test_padding_is_even_and_takes_the_smallest_value() -> None:
    grid = centre(Grid.of(np.full((1, 2, 5), 3.0, np.float32) + np.eye(2, 5, dtype=np.float32), None, None), (5, 2))
    assert grid.array.shape == (1, 5, 2)
    assert (grid.array[0, [0, 3, 4]] == 3).all()
    np.testing.assert_array_equal(grid.matrix, [[1, 0, 1], [0, 1, -1], [0, 0, 1]])


def test_what_has_no_geometry_is_refused() -> None:
    flat = Grid.of(np.zeros((1, 3, 4)), None, None)
    with pytest.raises(ImageError, match="no world frame"):
        reorient(flat, "RAS")
    with pytest.raises(ImageError, match="no spacing"):
        resample_to_spacing(flat, (1.0, 1.0))
