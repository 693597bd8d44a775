"""Boxes on images: where they lie, how they are drawn, and which slices of a volume are shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medcnn.report.box_overlays import draw_boxes
from medcnn.types import Boxes, BoxesPrediction, Image

GREEN, RED = "#00ff00", "#ff0000"


def coloured(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where the picture is clearly of a colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.asarray(np.abs(picture.astype(int) - wanted).sum(-1) < 150)


def boxes(*rows: tuple[float, ...], dims: int = 2, **facts: Any) -> Boxes:
    corners = np.array(rows, np.float32).reshape(-1, 2 * dims)
    return Boxes(corners, np.zeros(len(rows), np.int64), **facts)


def found(*rows: tuple[float, ...], dims: int = 2, labels: list[int] | None = None) -> BoxesPrediction:
    table = np.array(rows, np.float32).reshape(-1, 2 * dims + 1)
    return BoxesPrediction(table[:, :-1], np.array(labels or [0] * len(rows), np.int64), table[:, -1])


def dark(*shape: int, **facts: Any) -> Image:
    return Image(np.zeros((1, *shape), np.uint8), **facts)


def test_boxes_lie_on_the_edges_of_pixels() -> None:
    """A box of the columns 20 to 39 and the rows 50 to 59 of an image of 100 x 80, drawn at 4 px a pixel."""
    drawn = draw_boxes(dark(100, 80), boxes((20, 50, 40, 60)), found(), [GREEN], side=400)
    assert drawn.shape == (320, 400, 3)
    rows, columns = np.nonzero(coloured(drawn, GREEN))
    assert (columns.min(), columns.max()) == pytest.approx((80, 160), abs=3)
    assert (rows.min(), rows.max()) == pytest.approx((200, 240), abs=3)


def test_predictions_are_dashed_and_carry_their_score() -> None:
    image = dark(100, 100)
    solid = coloured(draw_boxes(image, boxes((20, 50, 80, 90)), found(), [GREEN]), GREEN)
    dashed = coloured(draw_boxes(image, None, found((20, 50, 80, 90, 0.9)), [GREEN]), GREEN)
    lower = slice(int(0.55 * 320), None)
    assert 0.3 * solid[lower].sum() < dashed[lower].sum() < 0.85 * solid[lower].sum()
    # The score stands above the box, where a reference has nothing.
    above = slice(int(0.40 * 320), int(0.485 * 320))
    assert dashed[above].any()
    assert not solid[above].any()


def test_classes_have_their_colours_and_ignored_regions_are_grey() -> None:
    drawn = draw_boxes(dark(60, 60), boxes((5, 5, 25, 25)), found((30, 30, 50, 50, 0.5), labels=[1]), [GREEN, RED])
    assert coloured(drawn, GREEN).any()
    assert coloured(drawn, RED).any()
    ignored = draw_boxes(dark(60, 60), boxes((5, 5, 25, 25), crowd=np.array([True])), found(), [GREEN, RED])
    assert not coloured(ignored, GREEN).any()
    assert ignored.any()


def test_an_image_without_boxes_is_shown_as_it_is() -> None:
    assert not draw_boxes(dark(40, 30), None, found(), [GREEN]).any()
    assert not draw_boxes(dark(40, 30, 10), None, found(dims=3), [GREEN]).any()


def test_a_volume_shows_slices_through_what_is_missed_invented_and_found() -> None:
    """Each slice has its own grey; the boxes lie in slices 5, 15 and 25."""
    levels = np.broadcast_to(np.arange(30) * 8, (40, 50, 30)).astype(np.uint8)
    missed, hit = (2, 2, 4, 12, 12, 7), (20, 20, 24, 32, 32, 27)
    invented = (5, 30, 14, 15, 40, 17)
    drawn = draw_boxes(
        Image(levels[None]), boxes(missed, hit, dims=3), found((*invented, 0.9), (*hit, 0.8), dims=3), [GREEN], side=200
    )
    assert drawn.shape[:2] == (200, 488)
    shown = [int(np.median(drawn[:, x, 0])) for x in (150, 320, 480)]
    assert shown == [5 * 8, 15 * 8, 25 * 8]
    # One finding: one slice.
    one = draw_boxes(Image(levels[None]), boxes(hit, dims=3), found((*hit, 0.8), dims=3), [GREEN], side=200)
    assert one.shape[:2] == (200, 160)


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -1, 1, 1]), np.diag([-1.0, 1, -1, 1])])
def test_boxes_follow_the_turning_of_a_volume(affine: np.ndarray) -> None:
    """The bright block lies inside its box, however the volume is stored."""
    array = np.zeros((40, 30, 20), np.float32)
    array[4:14, 18:26, 3:9] = 100
    drawn = draw_boxes(
        Image(array[None], affine, (1.0, 1.0, 1.0)), boxes((4, 18, 3, 14, 26, 9), dims=3), found(dims=3), [GREEN],
        side=400, window=(0, 100),
    )  # fmt: skip
    bright = (drawn > 200).all(-1)
    box_rows, box_columns = np.nonzero(coloured(drawn, GREEN))
    rows, columns = np.nonzero(bright)
    assert bright.any()
    assert (rows.min(), rows.max()) == pytest.approx((box_rows.min(), box_rows.max()), abs=10)
    assert (columns.min(), columns.max()) == pytest.approx((box_columns.min(), box_columns.max()), abs=10)
