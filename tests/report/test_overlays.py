"""Contours of masks on images: where they lie, how the image is turned, cut and shaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medcnn.evaluation.results import GalleryItem, GalleryPanel
from medcnn.report.overlays import PALETTE, contour_colours, draw_overlay, schema_colours
from medcnn.report.panels import gallery
from medcnn.report.privacy import Shown
from medcnn.report.pseudonyms import Pseudonyms
from medcnn.types import Image, LabelClass, LabelSchema

GREEN, RED = "#00ff00", "#ff0000"


def coloured(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where the picture is clearly of a colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.asarray(np.abs(picture.astype(int) - wanted).sum(-1) < 150)


def volume(shape: tuple[int, ...] = (40, 50, 30)) -> tuple[np.ndarray, np.ndarray]:
    """A RAS volume whose brightness grows to the right, anterior and up, and a box to the right, anterior and up."""
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    mask = np.zeros(shape, np.uint8)
    mask[26:34, 34:44, 18:26] = 1
    return np.asarray(100 * (x + y + z), np.float32)[None], mask


def test_contours_lie_where_the_mask_ends() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 25:45] = 1
    drawn = draw_overlay(Image(np.zeros((1, 60, 60), np.uint8)), mask, np.zeros_like(mask), [GREEN], side=300)
    rows, columns = np.nonzero(coloured(drawn, GREEN))
    # Cut to the mask and a margin of 12: columns 8 to 52, rows 13 to 57; 300 px for 44 voxels.
    assert drawn.shape == (300, 300, 3)
    scale = 300 / 44
    assert (columns.min(), columns.max()) == pytest.approx((12 * scale, 32 * scale), abs=scale)
    assert (rows.min(), rows.max()) == pytest.approx((12 * scale, 32 * scale), abs=scale)


def test_the_prediction_is_dashed_and_labels_have_their_colours() -> None:
    image = Image(np.zeros((1, 60, 60), np.uint8))
    first, none = np.zeros((2, 60, 60), np.uint8)
    first[20:40, 20:40] = 1
    solid = coloured(draw_overlay(image, first, none, [GREEN]), GREEN).sum()
    dashed = coloured(draw_overlay(image, none, first, [GREEN]), GREEN).sum()
    assert 0.35 * solid < dashed < 0.85 * solid
    second = first * 2
    drawn = draw_overlay(image, first, second, [GREEN, RED])
    assert coloured(drawn, RED).any()
    assert coloured(drawn, GREEN).any()
    both = draw_overlay(image, np.stack([first, first]), np.stack([none, none]), [GREEN, RED], overlapping=True)
    assert coloured(both, RED).any()


def test_what_is_not_annotated_is_not_drawn() -> None:
    image = Image(np.zeros((1, 60, 60), np.uint8))
    ignored = np.full((60, 60), 255, np.uint8)
    drawn = draw_overlay(image, ignored, np.zeros_like(ignored), [GREEN])
    assert not drawn.any()


def test_a_volume_shows_three_planes_as_radiologists_see_them() -> None:
    array, mask = volume()
    drawn = draw_overlay(Image(array, np.eye(4), (1.0, 1.0, 1.0)), mask, mask, [GREEN], side=200)
    assert drawn.shape[1] > 2 * drawn.shape[0]
    black = np.flatnonzero((drawn == 0).all((0, 2)))
    axial, coronal, sagittal = (
        part[part.any((1, 2))].astype(float)[..., 0]
        for part in np.split(drawn, [black[len(black) // 4], black[3 * len(black) // 4]], axis=1)
    )
    # The patient's right is on the left, superior is above, and in the last plane anterior is on the left.
    for plane in (axial, coronal, sagittal):
        rows, columns = plane.mean(1), plane[:, plane.any(0)].mean(0)
        assert columns[:15].mean() > columns[-15:].mean() + 5
        assert rows[:15].mean() > rows[-15:].mean() + 5


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flip", [(), (0,), (1, 2)])
def test_how_a_volume_is_stored_does_not_matter(order: tuple[int, ...], flip: tuple[int, ...]) -> None:
    array, mask = volume()
    spacing = (1.0, 1.2, 2.0)
    affine = np.diag([*spacing, 1.0])
    expected = draw_overlay(Image(array, affine, spacing), mask, np.roll(mask, 1, 0), [GREEN])
    step = np.eye(4)
    stored = [np.flip(a, flip) for a in (array[0], mask, np.roll(mask, 1, 0))]
    for axis in flip:
        step[axis, axis], step[axis, 3] = -1, mask.shape[axis] - 1
    moved = affine @ step
    turned = moved[:, [*order, 3]]
    other = Image(stored[0].transpose(order)[None], turned, tuple(spacing[a] for a in order))
    drawn = draw_overlay(other, stored[1].transpose(order), stored[2].transpose(order), [GREEN])
    np.testing.assert_array_equal(drawn, expected)


def test_voxels_are_shown_as_long_as_they_are() -> None:
    mask = np.zeros((40, 40, 10), np.uint8)
    mask[10:30, 10:30, 4:6] = 1
    drawn = draw_overlay(Image(np.zeros((1, 40, 40, 10), np.uint8), np.eye(4), (1.0, 1.0, 5.0)), mask, mask, [GREEN])
    rows, columns = np.nonzero(coloured(drawn, GREEN))
    middle = columns > drawn.shape[1] * 0.7
    # The last plane: 20 mm from front to back, 10 mm high.
    ratio = np.ptp(columns[middle]) / np.ptp(rows[middle])
    assert ratio == pytest.approx(2.0, rel=0.15)


def test_the_slice_is_the_one_in_which_the_masks_differ_most() -> None:
    reference, prediction = np.zeros((2, 40, 40, 12), np.uint8)
    reference[5:35, 5:35, 3] = prediction[5:35, 5:35, 3] = 1
    reference[18:22, 18:22, 9] = 1
    array = np.zeros((1, 40, 40, 12), np.uint8)
    array[..., 9] = 255
    drawn = draw_overlay(Image(array), reference, prediction, [GREEN])
    assert drawn[: drawn.shape[0] // 2, : drawn.shape[1] // 4, 0].mean() > 200


@pytest.mark.parametrize(
    ("array", "header", "window", "expected"),
    [
        (np.full((1, 30, 30), 50, np.int16), {}, (0.0, 100.0), 127),
        (np.full((1, 30, 30), 50, np.int16), {"window": (50, 200)}, (None, None), 127),
        (np.full((1, 30, 30), 90, np.uint8), {}, (None, None), 90),
        (np.full((1, 30, 30), np.nan, np.float32), {}, (None, None), 0),
        (np.full((3, 30, 30), 60, np.uint8), {}, (0.0, 1.0), 60),
    ],
)
def test_grey_follows_the_window(array: Any, header: dict[str, Any], window: Any, expected: int) -> None:
    none = np.zeros((30, 30), np.uint8)
    drawn = draw_overlay(Image(array, header=header), none, none, [GREEN], window=window)
    assert np.unique(drawn).tolist() == pytest.approx([expected], abs=1)


def test_percentiles_of_what_is_shown_window_the_rest() -> None:
    array = np.zeros((1, 200, 200), np.float32)
    array[0, :60] = 1e6
    array[0, 120:160, 120:160] = np.linspace(0, 1, 40)[:, None]
    mask = np.zeros((200, 200), np.uint8)
    mask[130:150, 130:150] = 1
    drawn = draw_overlay(Image(array), mask, mask, [GREEN])
    assert len(np.unique(drawn[..., 0])) > 50


def test_colours_are_checked() -> None:
    schema = LabelSchema((LabelClass(1, "a", "#123456"), LabelClass(2, "b"), LabelClass(3, "c", 'red" onload="x')))
    assert schema_colours(schema) == ["#123456", PALETTE[1], PALETTE[2]]
    assert contour_colours({"a": None}) == {"a": PALETTE[0]}


def test_a_gallery_with_contours_has_a_legend_and_larger_pictures(tmp_path: Any) -> None:
    shown = Shown(Pseudonyms(tmp_path))
    picture = np.zeros((300, 900, 3), np.uint8)
    items = [GalleryItem("one", "Dice 0.5")]
    wide = gallery(GalleryPanel("g", "G", items, contours={"liver": "#00ff00"}), shown, lambda _: picture, 160)
    plain = gallery(GalleryPanel("g", "G", items), shown, lambda _: picture, 160)
    assert [(e.label, e.color) for e in wide.legend] == [("liver", "#00ff00")]
    assert (wide.wide, plain.wide, list(plain.legend)) == (True, False, [])
    assert len(wide.pictures[0].source) > len(plain.pictures[0].source)


def test_a_window_of_the_file_that_does_not_fit_its_values_is_not_used() -> None:
    # Values from 0 to 100 under a window of 0 to 1000 would all be black.
    array = np.linspace(0, 100, 400, dtype=np.float32).reshape(1, 20, 20)
    none = np.zeros((20, 20), np.uint8)
    for window, brightest in (((500.0, 1000.0), 255), ((50.0, 400.0), 160)):
        drawn = draw_overlay(Image(array, header={"window": window}), none, none, [GREEN])
        assert int(drawn.max()) == pytest.approx(brightest, abs=4)
