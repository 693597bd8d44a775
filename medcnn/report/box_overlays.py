"""Boxes of reference and prediction on an image: one picture in 2D, slices through findings side by side in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.geometry.boxes import box_iou, centres, volumes
from medcnn.report.overlays import (
    DASHED,
    SOLID,
    anatomical_axes,
    arranged,
    grey_scale,
    shaded,
    show,
    shown_pixels,
)
from medcnn.types import Boxes, BoxesPrediction, Image

Corners = NDArray[np.float64]
# Slices of a volume side by side.
_MOST_SLICES = 3
_LINE, _TEXT = 1.4, 7.0
_SHOWN_WIDTH = 480
# At this overlap a box counts as drawn around an object, when slices are chosen.
_MEETS = 0.1
_IGNORED = "#9aa4ae"


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Boxes in the axes that are shown: corners ``(N, 2*D)``, a colour each, and a text each."""

    corners: Corners
    colours: Sequence[str]
    texts: Sequence[str]
    style: Any


def draw_boxes(
    image: Image,
    reference: Boxes | None,
    prediction: BoxesPrediction,
    colours: Sequence[str],
    *,
    names: Sequence[str] = (),
    window: tuple[float | None, float | None] = (None, None),
    side: int = 320,
) -> NDArray[np.uint8]:
    """Draw the boxes of both, the reference's solid and the prediction's dashed, with its score.

    Of a volume up to three slices are shown: through the middle of the largest object that is missed, of the surest
    false positive and of the surest hit, as far as there are such. A volume with a world frame is shown as radiologists
    are used to: the patient's right on the left, anterior on top.

    Args:
        image: The image; of several channels the first is shown, three of 8 bits in colour.
        reference: The reference; ``None`` where there is none. Ignored regions are grey.
        prediction: The boxes to be drawn, in order of falling score.
        colours: Of each class, ``#rrggbb``.
        names: Of each class, to stand before the score; absent: the score stands alone.
        window: Lower and upper end of the grey scale; where absent as
            :func:`~medcnn.report.overlays.draw_overlay` says.
        side: Longest side of a slice in px.

    Returns:
        ``(Y, X, 3)``.
    """
    array, spacing = shown_pixels(image), image.spacing
    dims = array.ndim - 1
    steps = list(spacing[:dims]) if spacing is not None and len(spacing) >= dims else [1.0] * dims
    wanted = reference or Boxes(np.zeros((0, 2 * dims), np.float32), np.zeros(0, np.int64))
    places = (_surest(prediction) if reference is None else _slices(wanted, prediction)) if dims == 3 else []
    groups = [_reference(wanted, dims, colours), _prediction(prediction, dims, colours, names)]
    if dims == 3 and image.affine is not None:
        source, flips = anatomical_axes(image.affine)
        shape = [array.shape[1 + v] for v in source]
        groups = [_turned(group, source, flips, shape) for group in groups]
        places = [n - p if flips[2] else p for p, n in ((p[source[2]], shape[2]) for p in places)]
        array = np.flip(array.transpose(0, *(v + 1 for v in source)), tuple(v + 1 for v in range(3) if flips[v]))
        steps = [steps[v] for v in source]
    else:
        places = [p[2] for p in places]
    if dims == 2:
        pictures, cuts = [_upright(array)], [groups]
    else:
        depth = array.shape[3]
        chosen = sorted({min(max(int(p), 0), depth - 1) for p in places}) or [depth // 2]
        pictures = [_upright(array[..., k]) for k in chosen]
        cuts = [[_cut(group, k) for group in groups] for k in chosen]
    low, high = grey_scale(image, pictures, window)

    sizes = [(picture.shape[0] * steps[1], picture.shape[1] * steps[0]) for picture in pictures]
    # Several slices are shrunk to the width of one picture: scores must be read then too.
    wide = side * sum(size[1] for size in sizes) / max(max(size) for size in sizes)

    def fill(axes: Any, i: int) -> None:
        show(axes, shaded(pictures[i], low, high))
        for group in cuts[i]:
            _outline(axes, group, pictures[i].shape, _TEXT * max(1.0, wide / _SHOWN_WIDTH))

    return arranged(sizes, side, fill)


def _upright(array: NDArray[Any]) -> NDArray[Any]:
    """``(Y, X)`` or ``(Y, X, 3)`` of ``(C, X, Y)``."""
    return array[0].T if len(array) == 1 else array.transpose(2, 1, 0)


def _reference(boxes: Boxes, dims: int, colours: Sequence[str]) -> _Drawn:
    crowd = np.zeros(len(boxes.corners), bool) if boxes.crowd is None else boxes.crowd
    own = [_IGNORED if many else colours[int(k)] for k, many in zip(boxes.labels, crowd, strict=True)]
    return _Drawn(boxes.corners.reshape(-1, 2 * dims).astype(np.float64), own, [""] * len(own), SOLID)


def _prediction(boxes: BoxesPrediction, dims: int, colours: Sequence[str], names: Sequence[str]) -> _Drawn:
    own = [colours[int(k)] for k in boxes.labels]
    before = [f"{names[int(k)]} " if names else "" for k in boxes.labels]
    texts = [f"{name}{float(score):.2f}" for name, score in zip(before, boxes.scores, strict=True)]
    return _Drawn(boxes.corners.reshape(-1, 2 * dims).astype(np.float64), own, texts, DASHED)


def _slices(reference: Boxes, prediction: BoxesPrediction) -> list[NDArray[np.float64]]:
    """Middles of what is worth a slice of its own."""
    counted = np.ones(len(reference.corners), bool) if reference.crowd is None else ~reference.crowd
    wanted = reference.corners[counted]
    meets = box_iou(prediction.corners, wanted) >= _MEETS if len(wanted) and len(prediction.corners) else None
    hit = np.zeros(len(prediction.corners), bool) if meets is None else meets.any(1)
    found = np.zeros(len(wanted), bool) if meets is None else meets.any(0)
    missed = wanted[~found]
    groups = [
        missed[np.argsort(-volumes(missed), kind="stable")],
        prediction.corners[~hit],
        prediction.corners[hit],
    ]
    return [centres(group[:1])[0] for group in groups if len(group)][:_MOST_SLICES]


def _surest(prediction: BoxesPrediction) -> list[NDArray[np.float64]]:
    """Middles of the boxes with the highest scores."""
    return list(centres(prediction.corners[:_MOST_SLICES]))


def _turned(group: _Drawn, source: Sequence[int], flips: Sequence[bool], shape: Sequence[int]) -> _Drawn:
    """The boxes in turned axes, of which each is of so many voxels."""
    low, high = group.corners[:, list(source)], group.corners[:, [3 + v for v in source]]
    turned = np.array(flips, bool)
    size = np.array(shape, np.float64)
    first, second = np.where(turned, size - high, low), np.where(turned, size - low, high)
    return _Drawn(np.concatenate([first, second], axis=1), group.colours, group.texts, group.style)


def _cut(group: _Drawn, place: int) -> _Drawn:
    """The boxes that a slice meets, in its plane."""
    rows = np.flatnonzero((group.corners[:, 2] < place + 1) & (group.corners[:, 5] > place)).tolist()
    return _Drawn(
        group.corners[rows][:, [0, 1, 3, 4]], [group.colours[i] for i in rows], [group.texts[i] for i in rows],
        group.style,
    )  # fmt: skip


def _outline(axes: Any, group: _Drawn, shape: Sequence[int], size: float) -> None:
    from matplotlib.patches import Rectangle

    # The surest last, so that it lies on top.
    for (x1, y1, x2, y2), colour, text in reversed(list(zip(group.corners, group.colours, group.texts, strict=True))):
        place = (x1 - 0.5, y1 - 0.5)
        axes.add_patch(
            Rectangle(place, x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=_LINE, linestyle=group.style)
        )
        if text:
            # Above the box, or inside it at the upper edge of the image.
            above = y1 > 0.06 * shape[0]
            axes.text(
                min(max(place[0], 0), 0.92 * shape[1]), place[1], text, color=colour, fontsize=size,
                va="bottom" if above else "top", ha="left", clip_on=True,
                bbox={"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip
