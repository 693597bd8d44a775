"""Thumbnails: small pictures that copies of an image share, however a file stores them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from medcnn.data.thumbnails import middle_slice, read_thumbnails, thumbnail
from medcnn.errors import ImageError
from medcnn.types import Case, Image, ImageRef


def volume() -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1000, 1000, (10, 8, 6)).astype(np.int16)


def stored(array: NDArray[np.int16], order: tuple[int, ...], flips: tuple[bool, ...]) -> Image:
    """A volume of 1 x 1 x 3 mm in LPI order, stored with its axes in another order and direction."""
    affine = np.diag([-1.0, -1.0, -3.0, 1.0])
    affine[:3, 3] = [50, 60, 70]
    step = np.zeros((4, 4))
    step[3, 3] = 1
    for axis, source in enumerate(order):
        step[source, axis] = -1 if flips[axis] else 1
        step[source, 3] = array.shape[source] - 1 if flips[axis] else 0
    axes = tuple(axis for axis, flip in enumerate(flips) if flip)
    return Image(np.flip(array.transpose(order), axes)[np.newaxis], affine @ step)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_volume_gives_the_same_slice_however_its_axes_are_stored(order: tuple[int, ...]) -> None:
    array = volume()
    for flips in itertools.product([False, True], repeat=3):
        assert np.array_equal(middle_slice(stored(array, order, flips))[0], array[:, :, 3])


def test_the_slice_lies_across_the_longest_spacing() -> None:
    sagittal = Image(volume()[np.newaxis], np.diag([-4.0, -1.0, -1.0, 1.0]))
    assert np.array_equal(middle_slice(sagittal)[0], volume()[5])
    equal = Image(volume()[np.newaxis], np.diag([-1.0, -1.0, -1.0, 1.0]))
    assert np.array_equal(middle_slice(equal)[0], volume()[:, :, 3])


def test_without_a_world_frame_the_last_axis_is_cut() -> None:
    assert np.array_equal(middle_slice(Image(volume()[np.newaxis]))[0], volume()[:, :, 3])
    flat = volume()[np.newaxis, :, :, 0]
    assert middle_slice(Image(flat)) is flat


def test_grey_values_fill_the_range_and_what_is_not_finite_does_not_matter() -> None:
    ramp = np.linspace(-1000, 3000, 64 * 64).reshape(1, 64, 64).astype(np.float32)
    ramp[0, 0, :3] = [np.nan, np.inf, -np.inf]
    found = thumbnail(Image(ramp))
    assert (found.shape, found.dtype, found.min(), found.max()) == ((64, 64), np.uint8, 0, 255)
    assert np.abs(found.astype(float) - np.linspace(0, 255, 64 * 64).reshape(64, 64))[1:].max() < 3
    assert thumbnail(Image(np.full((1, 5, 7), np.nan, np.float32))).max() == 0
    dark = np.random.default_rng(0).integers(100, 130, (1, 64, 64)).astype(np.uint8)
    assert np.ptp(thumbnail(Image(dark))) == 255
    with pytest.raises(ImageError, match="no pixels"):
        thumbnail(Image(np.empty((1, 0, 4), np.uint8)))


def test_what_cannot_be_read_is_an_exclusion(tmp_path: Path) -> None:
    for name in ("a", "c"):
        Pillow.fromarray(np.full((9, 5), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    cases = [Case(name, (ImageRef((str(tmp_path / f"{name}.png"),)),)) for name in "abc"]
    seen = read_thumbnails(cases, workers=0)
    assert [c.id for c in seen.cases] == [f.case for f in seen.facts] == ["a", "c"]
    assert [p[0, 0] for p in seen.pixels] == [ord("a"), ord("c")]
    assert seen.pixels.shape == (2, 64, 64)
    assert [e.case for e in seen.exclusions] == ["b"]
    assert read_thumbnails([], workers=0).pixels.shape == (0, 64, 64)
