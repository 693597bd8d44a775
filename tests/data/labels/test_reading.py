"""Masks of files with a value a voxel: what they mean, and every way in which they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as Pillow

from medcnn.data.adapters.mask_labels import mask_schema
from medcnn.data.images import read_image
from medcnn.data.labels import read_label_map, read_mask
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef, LabelSchema, Mask

TWO = mask_schema(("liver", "tumour"))
VALUES = np.zeros((4, 5, 3), np.uint8)
VALUES[1, 2:4, 1] = 1
VALUES[2, 3, 1] = 2


def affine(spacing: tuple[float, ...] = (1, 1, 2), origin: tuple[float, ...] = (-10, 5, 3)) -> np.ndarray:
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = origin
    return matrix


def nifti(path: Path, values: Any, matrix: Any = None) -> Mask:
    values = np.asarray(values)
    made = nibabel.Nifti1Image(values, affine() if matrix is None else matrix, dtype=values.dtype)
    made.set_sform(made.affine, 1)
    made.set_qform(made.affine, 1)
    nibabel.save(made, path)
    return Mask(ImageRef((str(path),)))


def png(path: Path, values: Any, palette: bool = False) -> Mask:
    picture = Pillow.fromarray(np.asarray(values).T)
    if palette:
        picture = picture.convert("P")
        picture.putdata(np.asarray(values).T.ravel().tolist())
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(path)
    return Mask(ImageRef((str(path),)))


def image(values: Any = VALUES, matrix: Any = None) -> Image:
    matrix = affine() if matrix is None else matrix
    spacing = tuple(np.linalg.norm(matrix[:3, : np.ndim(values)], axis=0))
    return Image(np.zeros((1, *np.shape(values)), np.float32), matrix, spacing)


def flat(shape: tuple[int, int] = (3, 2)) -> Image:
    return Image(np.zeros((1, *shape), np.uint8))


def test_values_become_positions_in_the_order_of_the_schema(tmp_path: Path) -> None:
    mask = nifti(tmp_path / "m.nii.gz", np.choose(VALUES, [0, 7, 3]).astype(np.int16))
    found = read_mask(mask, mask_schema({"tumour": 3, "liver": 7}), image())
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.choose(VALUES, [0, 2, 1]))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.int64, np.uint16, np.float32, np.float64])
def test_the_type_of_the_file_does_not_matter(tmp_path: Path, kind: type) -> None:
    mask = nifti(tmp_path / "m.nii.gz", VALUES.astype(kind))
    np.testing.assert_array_equal(read_mask(mask, TWO, image()), VALUES)


def test_large_and_negative_values_are_values_too(tmp_path: Path) -> None:
    mask = nifti(tmp_path / "m.nii.gz", np.choose(VALUES, [0, 2_000_035, 14175]).astype(np.int32))
    found = read_mask(mask, mask_schema({"cortex": 2_000_035, "gyrus": 14175}), image())
    np.testing.assert_array_equal(found, VALUES)
    mask = nifti(tmp_path / "n.nii.gz", np.choose(VALUES, [0, 1, -1]).astype(np.int16))
    with pytest.raises(ImageError, match="the value -1, outside the schema"):
        read_mask(mask, TWO, image())
    # Their difference does not fit into the type that holds them.
    wide = np.choose(VALUES, [0, 100, -100]).astype(np.int8)
    mask = Mask(nifti(tmp_path / "w.nii.gz", wide).image, (("100", "liver"), ("-100", "tumour")))
    np.testing.assert_array_equal(read_mask(mask, TWO, image()), VALUES)


def test_pictures_of_0_and_255(tmp_path: Path) -> None:
    values = np.array([[0, 255], [255, 0], [0, 0]], np.uint8)
    mask = png(tmp_path / "m.png", values)
    wanted = [[0, 1], [1, 0], [0, 0]]
    assert read_mask(mask, mask_schema({"tumour": 255}), flat()).tolist() == wanted
    named = Mask(mask.image, (("255", "tumour"),))
    assert read_mask(named, mask_schema(["tumour"]), flat()).tolist() == wanted
    with pytest.raises(ImageError) as error:
        read_mask(mask, mask_schema(["tumour"]), flat())
    assert error.value.what == "the mask holds the value 255, outside the schema (1 = tumour)"
    assert "mask_labels" in error.value.todo
    assert error.value.where == str(tmp_path / "m.png")


def test_a_palette_holds_numbers_not_colours(tmp_path: Path) -> None:
    values = np.array([[0, 1], [2, 0], [1, 1]], np.uint8)
    mask = png(tmp_path / "m.png", values, palette=True)
    assert Pillow.open(tmp_path / "m.png").mode == "P"
    np.testing.assert_array_equal(read_mask(mask, TWO, flat()), values)


def test_grey_written_as_colour_is_grey_and_colour_is_refused(tmp_path: Path) -> None:
    values = np.array([[0, 1], [2, 0], [1, 1]], np.uint8)
    Pillow.fromarray(np.stack([values.T] * 3, -1)).save(tmp_path / "grey.png")
    mask = Mask(ImageRef((str(tmp_path / "grey.png"),)))
    np.testing.assert_array_equal(read_mask(mask, TWO, flat()), values)
    Pillow.fromarray(np.stack([values.T, values.T * 0, values.T], -1)).save(tmp_path / "red.png")
    with pytest.raises(ImageError, match="picture in colour"):
        read_mask(Mask(ImageRef((str(tmp_path / "red.png"),))), TWO, flat())


def test_a_jpeg_is_no_mask(tmp_path: Path) -> None:
    Pillow.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "m.jpg")
    with pytest.raises(ImageError, match="JPEG cannot hold a mask"):
        read_mask(Mask(ImageRef((str(tmp_path / "m.jpg"),))), TWO, flat())


def test_values_between_labels_and_values_that_are_none(tmp_path: Path) -> None:
    between = VALUES.astype(np.float32)
    between[0, 0, 0] = 0.5
    with pytest.raises(ImageError, match=r"1 values between labels, such as 0\.5") as error:
        read_mask(nifti(tmp_path / "a.nii.gz", between), TWO, image())
    assert "nearest" in error.value.todo
    for bad in (np.nan, np.inf):
        broken = VALUES.astype(np.float32)
        broken[0, 0, 0] = bad
        with pytest.raises(ImageError, match="not finite"):
            read_mask(nifti(tmp_path / "b.nii.gz", broken), TWO, image())
    rounded = VALUES.astype(np.float32) * np.float32(1 + 1e-6)
    np.testing.assert_array_equal(read_mask(nifti(tmp_path / "c.nii.gz", rounded), TWO, image()), VALUES)


def test_values_outside_the_schema_are_named(tmp_path: Path) -> None:
    mask = nifti(tmp_path / "m.nii.gz", VALUES + 3 * (VALUES > 0))
    with pytest.raises(ImageError, match=r"values 4, 5, outside the schema \(1 = liver, 2 = tumour\)"):
        read_mask(mask, TWO, image())


def test_labels_are_merged_left_out_and_set_aside(tmp_path: Path) -> None:
    place = nifti(tmp_path / "m.nii.gz", VALUES)
    both = Mask(place.image, (("1", "lesion"), ("2", "lesion")))
    np.testing.assert_array_equal(read_mask(both, mask_schema(["lesion"]), image()), VALUES > 0)
    one = Mask(place.image, (("1", "background"), ("2", "lesion")))
    np.testing.assert_array_equal(read_mask(one, mask_schema(["lesion"]), image()), VALUES == 2)
    unsure = Mask(place.image, (("1", "ignore"), ("2", "lesion")))
    np.testing.assert_array_equal(read_mask(unsure, mask_schema(["lesion"]), image()), np.choose(VALUES, [0, 255, 1]))


def test_overlapping_labels_are_channels(tmp_path: Path) -> None:
    schema = mask_schema(["whole", "core"], overlapping=True)
    names = (("1", "whole"), ("2", "whole"), ("2", "core"), ("3", "ignore"))
    values = VALUES.copy()
    values[0, 0, 0] = 3
    found = read_mask(Mask(nifti(tmp_path / "m.nii.gz", values).image, names), schema, image())
    assert found.shape == (2, *VALUES.shape)
    np.testing.assert_array_equal(found[0], np.choose(values, [0, 1, 1, 255]))
    np.testing.assert_array_equal(found[1], np.choose(values, [0, 0, 1, 255]))


def test_a_channel_a_label(tmp_path: Path) -> None:
    first, second = VALUES > 0, VALUES == 2
    place = nifti(tmp_path / "m.nii.gz", np.stack([first, second], -1).astype(np.uint8)).image
    channels = Mask(ImageRef(place.paths, key="channels"))
    found = read_mask(channels, mask_schema(["whole", "core"], overlapping=True), image())
    np.testing.assert_array_equal(found, [first, second])
    with pytest.raises(ImageError, match=r"'whole' and 'core' of the mask overlap in 1 voxels"):
        read_mask(channels, mask_schema(["whole", "core"]), image())
    with pytest.raises(ImageError, match="2 channels for 1 labels"):
        read_mask(channels, mask_schema(["whole"], overlapping=True), image())
    with pytest.raises(ImageError, match="three axes at most, and this one has four"):
        read_mask(Mask(place), TWO, image())


@pytest.mark.parametrize(
    ("turned", "words"),
    [
        (lambda v: v[::-1], "it is flipped along axis 0"),
        (lambda v: v[:, ::-1, ::-1], "it is flipped along axis 1 and 2"),
        (lambda v: v.transpose(2, 0, 1), "it has its axes in the order 1, 2, 0"),
        (lambda v: v.transpose(1, 0, 2)[::-1], "it has its axes in the order 1, 0, 2 and is flipped along axis 1"),
    ],
)
def test_a_turned_mask_is_named_and_on_request_turned_back(tmp_path: Path, turned: Any, words: str) -> None:
    stored = nibabel.Nifti1Image(VALUES, affine())
    # The same voxels in the same places of the world, in another order on disk.
    places = np.stack(np.meshgrid(*(range(n) for n in VALUES.shape), indexing="ij"), -1)
    moved = np.stack([turned(places[..., k]) for k in range(3)], -1)
    origin = moved[0, 0, 0]
    step = np.eye(4)
    step[:3, :3] = np.stack([moved[1, 0, 0] - origin, moved[0, 1, 0] - origin, moved[0, 0, 1] - origin], 1)
    step[:3, 3] = origin
    mask = nifti(tmp_path / "m.nii.gz", turned(VALUES), stored.affine @ step)
    with pytest.raises(ImageError) as error:
        read_mask(mask, TWO, image())
    assert error.value.what.startswith(f"the mask lies in another grid than its image: {words} (mask: ")
    assert "image: 4x5x3 voxels of 1x1x2 mm, axes RAS, first voxel at (-10, 5, 3) mm" in error.value.what
    assert "task.resample" in error.value.todo
    found = read_label_map(mask, TWO, image(), resample=True)
    np.testing.assert_array_equal(found.labels, VALUES)
    assert words in found.notes[0]


@pytest.mark.parametrize(
    ("shape", "matrix", "words"),
    [
        ((4, 5, 2), affine(), "it has 4x5x2, the image 4x5x3"),
        ((4, 5, 3), affine((1, 1, 3)), "its voxels measure 1x1x3 mm, those of the image 1x1x2 mm"),
        ((4, 5, 3), affine(origin=(-10, 5, 3.5)), "it lies up to 0.5 mm beside the image"),
        (
            (4, 5, 3),
            affine() @ np.diag([-1.0, 1, 1, 1]),
            "its axes run LAS, those of the image RAS, and it lies up to 6 mm",
        ),
        ((4, 5, 3), np.diag([-1.0, -1, 1, 1]) @ affine(), "x and y of its place have the other sign"),
    ],
)
def test_other_grids_are_said_in_words(tmp_path: Path, shape: Any, matrix: Any, words: str) -> None:
    mask = nifti(tmp_path / "m.nii.gz", np.zeros(shape, np.uint8), matrix)
    with pytest.raises(ImageError) as error:
        read_mask(mask, TWO, image())
    assert words in error.value.what


def test_rounding_in_headers_is_no_other_grid(tmp_path: Path) -> None:
    mask = nifti(tmp_path / "m.nii.gz", VALUES, affine((1, 1, 2.01), (-10.1, 5, 3)))
    np.testing.assert_array_equal(read_mask(mask, TWO, image()), VALUES)


def test_without_geometry_the_size_alone_decides(tmp_path: Path) -> None:
    mask = png(tmp_path / "m.png", np.ones((3, 2), np.uint8))
    assert read_mask(mask, TWO, flat()).all()
    with pytest.raises(ImageError, match="its axes stand in another order") as error:
        read_mask(mask, TWO, flat((2, 3)), resample=True)
    assert "neither of the two says where it lies" in error.value.todo
    with pytest.raises(ImageError, match="it has 2 axes, the image 3"):
        read_mask(mask, TWO, image())


def test_a_mask_of_half_the_resolution_is_brought_to_the_image(tmp_path: Path) -> None:
    coarse = np.zeros((4, 4, 3), np.uint8)
    coarse[1:3, 1:3] = 1
    matrix = affine((2, 2, 2), (0.5, 0.5, 0))
    fine = Image(np.zeros((1, 8, 8, 3)), affine((1, 1, 2), (0, 0, 0)), (1.0, 1.0, 2.0))
    found = read_mask(nifti(tmp_path / "m.nii.gz", coarse, matrix), TWO, fine, resample=True)
    np.testing.assert_array_equal(found, coarse.repeat(2, 0).repeat(2, 1))


def test_what_lies_outside_of_the_mask_is_not_annotated(tmp_path: Path) -> None:
    part = nifti(tmp_path / "m.nii.gz", VALUES[1:3], affine(origin=(-9, 5, 3)))
    found = read_mask(part, TWO, image(), resample=True)
    np.testing.assert_array_equal(found[1:3], VALUES[1:3])
    assert (found[[0, 3]] == 255).all()
    away = nifti(tmp_path / "n.nii.gz", VALUES, affine(origin=(50, 5, 3)))
    with pytest.raises(ImageError, match="lies beside its image"):
        read_mask(away, TWO, image(), resample=True)


def test_an_oblique_mask_of_a_ball_stays_a_ball(tmp_path: Path) -> None:
    angle = np.radians(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    grid = np.stack(np.meshgrid(*(np.arange(24),) * 3, indexing="ij"), -1)

    def ball(matrix: np.ndarray) -> np.ndarray:
        world = grid @ matrix[:3, :3].T + matrix[:3, 3]
        return (np.linalg.norm(world, axis=-1) < 7).astype(np.uint8)

    straight = affine((1, 1, 1), (-11.5,) * 3)
    matrix = turn @ straight
    mask = nifti(tmp_path / "m.nii.gz", ball(matrix), matrix)
    found = read_mask(mask, TWO, Image(np.zeros((1, 24, 24, 24)), straight, (1.0, 1.0, 1.0)), resample=True)
    wanted = ball(straight)
    known = found != 255
    assert known[wanted > 0].all()
    overlap = 2 * ((found == 1) & (wanted == 1)).sum() / ((found == 1).sum() + wanted.sum())
    assert overlap > 0.94
    assert 0 < (~known).mean() < 0.15


@settings(max_examples=40, deadline=None)
@given(
    values=arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 3), elements=st.integers(0, 3)),
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
)
def test_any_order_of_axes_comes_back(values: Any, order: list[int], flips: tuple[bool, ...]) -> None:
    from medcnn.data.labels.grid import Place, to_grid

    matrix = affine((1.5, 0.7, 3))
    index = tuple(slice(None, None, -1) if f else slice(None) for f in flips)
    step = np.zeros((4, 4))
    step[3, 3] = 1
    for new, old in enumerate(order):
        step[old, new] = -1 if flips[new] else 1
        step[old, 3] = values.shape[old] - 1 if flips[new] else 0
    moved = values.transpose(order)[index]
    mask = Place(moved.shape, matrix @ step, None)
    found = to_grid(moved, mask, Place(values.shape, matrix, None), overlapping=False)
    np.testing.assert_array_equal(found, values)


def test_the_reader_of_the_image_gives_the_same_grid(tmp_path: Path) -> None:
    mask = nifti(tmp_path / "m.nii.gz", VALUES, affine((0.9765625, 0.9765625, 2.5), (-213.7, 118.3, -1021.75)))
    np.testing.assert_array_equal(read_mask(mask, TWO, read_image(mask.image)), VALUES)


@pytest.mark.parametrize("labels", [(), ["a", "a"], {"a": 0}, {"a": 1, "b": 1}, ["background"], ["ignore"]])
def test_schemas_that_make_no_sense_are_refused(labels: Any) -> None:
    from medcnn.errors import DataError

    with pytest.raises(DataError):
        mask_schema(labels)


def test_a_broken_file_says_that_it_is_the_mask(tmp_path: Path) -> None:
    (tmp_path / "m.nii.gz").write_bytes(b"nothing")
    schema: LabelSchema = TWO
    with pytest.raises(ImageError, match="the mask cannot be read: not an image") as error:
        read_mask(Mask(ImageRef((str(tmp_path / "m.nii.gz"),))), schema, image())
    assert error.value.where == str(tmp_path / "m.nii.gz")
