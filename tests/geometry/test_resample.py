"""One interpolation from the image to the network's grid: where voxels go, and what they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.errors import ImageError
from medcnn.geometry.grids import Grid
from medcnn.geometry.resample import to_size

RANDOM = np.random.default_rng(0)


def ramp(shape: tuple[int, ...]) -> np.ndarray:
    """A plane: linear interpolation and a symmetric mean give its own values everywhere but at the edges."""
    places = np.meshgrid(*[np.arange(n, dtype=np.float64) for n in shape], indexing="ij")
    return np.asarray(sum((k + 2) * p for k, p in enumerate(places)))[None] + 100


def check_ramp(grid: Grid, new: Grid, margin: int) -> None:
    """Each new voxel holds what the plane has at the place that the matrix gives it."""
    inverse = np.linalg.inv(new.matrix)
    shape = new.array.shape[1:]
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, len(shape))
    source = (index @ inverse[:-1, :-1].T) + inverse[:-1, -1]
    have = np.array(grid.array.shape[1:])
    inner = ((source >= margin) & (source <= have - 1 - margin)).all(1)
    assert inner.sum() >= 8
    slopes = np.arange(len(shape)) + 2.0
    # Growing is exact. A triangle wider than a voxel is sampled at few places, as Pillow and torch do too: its mean
    # may lie a tenth of a voxel beside its centre, where an error of alignment would be half a voxel.
    wrong = 0.1 * float(slopes[np.diag(inverse)[:-1] > 1].sum())
    np.testing.assert_allclose(new.array.reshape(-1)[inner], 100 + source[inner] @ slopes, rtol=1e-5, atol=wrong)
    if wrong:
        mean = (new.array.reshape(-1)[inner] - 100 - source[inner] @ slopes).mean()
        assert abs(mean) < 0.02 * slopes.sum()


@pytest.mark.parametrize("fit", ["resize", "pad", "crop"])
@pytest.mark.parametrize("spacing", [None, (1.7, 1.7, 1.7), (0.6, 0.9, 1.1), (2.0, 1.0, 3.0)])
@pytest.mark.parametrize("size", [(11, 9, 10), (31, 28, 26), (20, 18, 16)])
def test_a_ramp_stays_the_ramp(fit: str, spacing: tuple[float, ...] | None, size: tuple[int, ...]) -> None:
    own = (1.0, 1.5, 2.0)
    grid = Grid.of(ramp((20, 18, 16)), np.diag([*own, 1]), own)
    new = to_size(grid, size, fit, spacing)  # type: ignore[arg-type]
    assert new.array.shape == (1, *size)
    check_ramp(grid, new, margin=3)
    assert new.affine is not None
    np.testing.assert_allclose(new.affine @ new.matrix, grid.affine, atol=1e-9)
    np.testing.assert_allclose(new.spacing, np.linalg.norm(new.affine[:3, :3], axis=0))
    if fit == "crop" and spacing is not None:
        np.testing.assert_allclose(new.spacing, spacing)
    if fit == "resize" or (fit == "crop" and spacing is not None):
        # The middle of the image is the middle of the new grid.
        middle = new.matrix @ [9.5, 8.5, 7.5, 1]
        np.testing.assert_allclose(middle[:3], (np.array(size) - 1) / 2, atol=1e-9)


def test_growing_is_simpleitks_linear() -> None:
    import SimpleITK

    own, wanted, size = (1.0, 1.5, 2.0), (0.7, 0.7, 0.9), (16, 18, 20)
    grid = Grid.of(RANDOM.random((1, 12, 10, 14)).astype(np.float32), np.diag([*own, 1]), own)
    new = to_size(grid, size, "crop", wanted)
    image = SimpleITK.GetImageFromArray(grid.array[0].transpose(2, 1, 0))
    image.SetSpacing(own)
    assert new.affine is not None
    origin = new.affine[:3, 3].tolist()
    found = SimpleITK.Resample(
        image, size, SimpleITK.Transform(), SimpleITK.sitkLinear, origin, wanted, np.eye(3).ravel().tolist(), -1.0
    )
    expected = SimpleITK.GetArrayFromImage(found).transpose(2, 1, 0)
    # ITK knows nothing beyond the outer centres; up to the outer edge ours goes on with the nearest voxel.
    known = expected != -1
    assert known.sum() > 1000
    np.testing.assert_allclose(new.array[0][known], expected[known], atol=1e-5)


def test_growing_is_scipys_zoom() -> None:
    from scipy.ndimage import zoom

    array = RANDOM.random((9, 7)).astype(np.float32)
    found = to_size(Grid.of(array[None], None, None), (27, 21), "resize").array[0]
    np.testing.assert_allclose(found, zoom(array, 3, order=1, mode="nearest", grid_mode=True), atol=1e-5)


def test_shrinking_is_pillows_and_no_alias() -> None:
    from PIL import Image

    array = RANDOM.random((30, 40)).astype(np.float32)
    found = to_size(Grid.of(array[None], None, None), (12, 10), "resize").array[0]
    expected = np.asarray(Image.fromarray(array.T).resize((12, 10), Image.Resampling.BILINEAR)).T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Stripes finer than the new voxels become grey, not new stripes.
    stripes = np.tile([0.0, 1.0], 32)[None, :, None]
    grey = to_size(Grid.of(stripes, None, None), (21, 1), "resize").array
    assert np.abs(grey - 0.5).max() < 0.12


def test_a_crop_without_a_spacing_copies() -> None:
    array = RANDOM.integers(0, 4000, (2, 9, 6)).astype(np.uint16)
    new = to_size(Grid.of(array, None, None), (4, 9), "crop")
    assert new.array.dtype == np.uint16
    np.testing.assert_array_equal(new.array[:, :, 1:7], array[:, 2:6])


def test_a_spacing_that_is_the_images_own_copies() -> None:
    array = RANDOM.integers(0, 4000, (1, 9, 6, 5)).astype(np.uint16)
    grid = Grid.of(array, np.eye(4), (0.99999, 1.0, 1.00001))
    np.testing.assert_array_equal(to_size(grid, (6, 6, 5), "crop", (1.0, 1.0, 1.0)).array, array[:, 1:7])


def test_padding_takes_each_channels_own_smallest_value() -> None:
    array = np.stack([RANDOM.random((4, 4)) + 5, RANDOM.random((4, 4)) - 9])
    new = to_size(Grid.of(array, None, None), (6, 4), "crop").array
    np.testing.assert_array_equal(new[:, 0, 0], [array[0].min(), array[1].min()])


def test_pad_keeps_the_aspect_in_mm() -> None:
    # 40 x 20 voxels of 1 x 2 mm are a square.
    grid = Grid.of(np.ones((1, 40, 20)), None, (1.0, 2.0))
    assert to_size(grid, (20, 20), "pad", (1.0, 1.0)).spacing == (2.0, 2.0)
    assert to_size(grid, (20, 20), "pad").spacing == (2.0, 4.0)


@pytest.mark.parametrize("thick", [1.0, 7.0, 100.0])
def test_an_image_thinner_than_a_voxel_is_seen(thick: float) -> None:
    grid = Grid.of(np.full((1, 8, 8, 1), 5.0) * np.arange(1, 3)[:, None, None, None], np.eye(4), (1.0, 1.0, 1.0))
    for size in (3, 4):
        assert (to_size(grid, (8, 8, size), "crop", (1.0, 1.0, thick)).array.max((1, 2, 3)) == [5, 10]).all()


def test_what_cannot_be_done_is_named() -> None:
    grid = Grid.of(np.ones((1, 4, 4)), None, None)
    with pytest.raises(ImageError, match="no spacing"):
        to_size(grid, (4, 4), "crop", (1.0, 1.0))
    with pytest.raises(ImageError, match="3 entries for 2 axes"):
        to_size(Grid.of(np.ones((1, 4, 4)), None, (1.0, 1.0)), (4, 4), "crop", (1.0, 1.0, 1.0))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=4, max_size=4),
    st.sampled_from(["resize", "pad", "crop"]),
    st.none() | st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)),
)
def test_any_shapes(numbers: list[int], fit: str, spacing: tuple[float, float] | None) -> None:
    array = RANDOM.random((1, *numbers[:2])).astype(np.float32)
    new = to_size(Grid.of(array, None, (1.0, 1.0)), numbers[2:], fit, spacing)  # type: ignore[arg-type]
    assert new.array.shape == (1, *numbers[2:])
    assert array.min() - 1e-6 <= new.array.min() <= new.array.max() <= array.max() + 1e-6
    flat = to_size(Grid.of(np.ones_like(array), None, (1.0, 1.0)), numbers[2:], fit, spacing)  # type: ignore[arg-type]
    np.testing.assert_allclose(flat.array, 1, rtol=1e-6)
