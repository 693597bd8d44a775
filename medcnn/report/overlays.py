"""Contours of reference and prediction on an image: one picture in 2D, three planes side by side in 3D."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.geometry.affines import axis_order
from medcnn.geometry.resample import IGNORE
from medcnn.geometry.surface import occupied
from medcnn.types import Image, LabelSchema

# Bright enough for the dark of an image, and told apart with any colour vision (after Okabe and Ito).
PALETTE = ("#56b4e9", "#ff9f1c", "#1fd6a3", "#f4e04d", "#ff6b4a", "#e59acb", "#c9c9ff", "#ffffff")
_WINDOW_PERCENTILES = (1.0, 99.0)
# The share of a file's window that the values must fill for it to be used.
_LEAST_SHOWN = 0.2
# How much around the masks is shown: a share of their extent, at least so many voxels.
_MARGIN, _LEAST_MARGIN = 0.6, 12
_DOTS = 100
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
SOLID, DASHED = "solid", (0, (2.2, 1.4))


@dataclass(frozen=True, slots=True, eq=False)
class _Plane:
    """One slice: the image ``(Y, X)`` or ``(Y, X, 3)``, masks ``(L, Y, X)``, and mm (or px) of a row and a column."""

    image: NDArray[Any]
    reference: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    steps: tuple[float, float]

    @property
    def size(self) -> tuple[float, float]:
        """Height and width as they are shown."""
        return self.image.shape[0] * self.steps[0], self.image.shape[1] * self.steps[1]


def contour_colours(labels: Mapping[str, str | None]) -> dict[str, str]:
    """The colour of each label's contours: its own where it is given as ``#rrggbb``, else one of :data:`PALETTE`."""
    return {
        name: own if own is not None and _HEX.fullmatch(own) else PALETTE[i % len(PALETTE)]
        for i, (name, own) in enumerate(labels.items())
    }


def schema_colours(schema: LabelSchema) -> list[str]:
    """The colours of a schema's labels, in order."""
    return list(contour_colours({c.name: c.color for c in schema.classes}).values())


def draw_overlay(
    image: Image,
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    colours: Sequence[str],
    *,
    overlapping: bool = False,
    window: tuple[float | None, float | None] = (None, None),
    side: int = 220,
) -> NDArray[np.uint8]:
    """Draw the contours of both masks, the reference's solid and the prediction's dashed.

    The slices are those in which the masks differ most, cut to the surroundings of both. A volume with a world
    frame is shown as radiologists are used to: the patient's right on the left, anterior or superior on top.

    Args:
        image: The image; of several channels the first is shown, three of 8 bits in colour.
        reference: ``(X, Y[, Z])`` positions, or ``(L, X, Y[, Z])`` of 0 and 1 where labels overlap; 255 is not drawn.
        prediction: As the reference.
        colours: Of each label, ``#rrggbb``.
        overlapping: Whether labels overlap.
        window: Lower and upper end of the grey scale; where absent the file's own window if it fits the values, else
            the whole range of 8 bits, else percentiles of what is shown.
        side: Longest side of a plane in px.

    Returns:
        ``(Y, X, 3)``.
    """
    planes = _planes(image, reference, prediction, len(colours), overlapping)
    low, high = grey_scale(image, [p.image for p in planes], window)
    planes = [replace(p, image=shaded(p.image, low, high)) for p in planes]
    return arranged([p.size for p in planes], side, lambda axes, i: _fill(axes, planes[i], colours))


def _planes(
    image: Image, reference: NDArray[np.uint8], prediction: NDArray[np.uint8], labels: int, overlapping: bool
) -> list[_Plane]:
    array, spacing = shown_pixels(image), image.spacing
    dims = array.ndim - 1
    steps = list(spacing[:dims]) if spacing is not None and len(spacing) >= dims else [1.0] * dims
    stack = [array, *((m if overlapping else m[np.newaxis]) for m in (reference, prediction))]
    if dims == 3 and image.affine is not None:
        stack, steps = _turned(stack, steps, image.affine)
    known = stack[1] != IGNORE
    either = (known & (stack[1] > 0)).any(0) | (stack[2] > 0).any(0)
    box = _surroundings(either)
    stack = [a[(slice(None), *box)] for a in stack]
    # Where the masks differ counts first, and where they agree tells among equal slices.
    weight = either[box].astype(np.float32) * 1e-6 + (known[(slice(None), *box)] & (stack[1] != stack[2])).any(0)
    if dims == 2:
        return [_plane([a.transpose(0, 2, 1) for a in stack], (steps[1], steps[0]), labels, overlapping)]
    found = []
    for axis in (2, 1, 0):
        others = tuple(a for a in range(3) if a != axis)
        place = int(weight.sum(axis=others).argmax()) if weight.any() else weight.shape[axis] // 2
        cut = [np.take(a, place, axis=axis + 1).transpose(0, 2, 1) for a in stack]
        # Above is superior in the planes along the third axis, which grows upwards.
        cut = [a[:, ::-1] for a in cut] if axis != 2 else cut
        found.append(_plane(cut, (steps[others[1]], steps[others[0]]), labels, overlapping))
    return found


def _plane(cut: Sequence[NDArray[Any]], steps: tuple[float, float], labels: int, overlapping: bool) -> _Plane:
    picture = cut[0][0] if len(cut[0]) == 1 else np.moveaxis(cut[0], 0, -1)
    if overlapping:
        return _Plane(picture, cut[1] == 1, cut[2] == 1, steps)
    values = np.arange(1, labels + 1, dtype=np.uint8).reshape(-1, 1, 1)
    return _Plane(picture, cut[1] == values, cut[2] == values, steps)


def shown_pixels(image: Image) -> NDArray[Any]:
    """``(1, X, Y[, Z])``, or ``(3, X, Y)`` in colour."""
    array = image.array
    colour = array.ndim == 3 and array.shape[0] == 3 and array.dtype == np.uint8
    return array if colour else array[:1]


def anatomical_axes(affine: Any) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Which axes of a volume run to the patient's left, to posterior and to superior, as near as the grid allows.

    Returns:
        The axis of the volume that becomes each of the three, and whether it is turned round.
    """
    order = axis_order(affine)
    source = tuple(next(v for v, (world, _) in enumerate(order) if world == w) for w in range(3))
    return source, tuple((order[source[v]][1] > 0) == (v < 2) for v in range(3))


def _turned(
    stack: Sequence[NDArray[Any]], steps: Sequence[float], affine: Any
) -> tuple[list[NDArray[Any]], list[float]]:
    source, turned = anatomical_axes(affine)
    flips = tuple(v + 1 for v in range(3) if turned[v])
    return [np.flip(a.transpose(0, *(v + 1 for v in source)), flips) for a in stack], [steps[v] for v in source]


def _surroundings(either: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The box around the masks with a margin; the whole image where there are none."""
    box = occupied(either)
    if box is None:
        return (slice(None),) * either.ndim
    longest = max(s.stop - s.start for s in box)
    margin = max(_LEAST_MARGIN, math.ceil(_MARGIN * longest))
    return tuple(
        slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(box, either.shape, strict=True)
    )


def grey_scale(
    image: Image, pictures: Sequence[NDArray[Any]], given: tuple[float | None, float | None]
) -> tuple[float, float]:
    """Lower and upper end of the grey scale.

    Args:
        image: The image, with its type and its file's own window.
        pictures: What is shown of it.
        given: The ends as wanted; where absent as :func:`draw_overlay` says.
    """
    low, high = given
    if low is not None and high is not None:
        return low, high
    if image.array.dtype == np.uint8 and "window" not in image.header:
        return 0.0, 255.0
    values = np.concatenate([p.ravel() for p in pictures]).astype(np.float64)
    values = values[np.isfinite(values)]
    first, last = (float(v) for v in np.percentile(values, _WINDOW_PERCENTILES)) if len(values) else (0.0, 1.0)
    stored = image.header.get("window")
    if stored is not None:
        centre, width = (float(v) for v in stored)
        shown = min(last, centre + width / 2) - max(first, centre - width / 2)
        # A window that was kept when the values were changed would show one grey.
        if first == last or shown >= _LEAST_SHOWN * width:
            return centre - width / 2, centre + width / 2
    return first, max(last, first + 1e-6)


def shaded(picture: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """A picture ``(Y, X)`` as 8-bit grey; one in colour as it is."""
    if picture.ndim == 3:
        return picture
    scaled = (np.nan_to_num(picture.astype(np.float64), nan=low, posinf=high, neginf=low) - low) / (high - low)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def arranged(sizes: Sequence[tuple[float, float]], side: int, fill: Callable[[Any, int], None]) -> NDArray[np.uint8]:
    """Pictures side by side, in one scale.

    Args:
        sizes: Height and width of each, in one unit.
        side: Longest side of the largest in px.
        fill: Draws the i-th one on its axes.

    Returns:
        ``(Y, X, 3)``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scale = side / max(max(size) for size in sizes)
    widths = [max(size[1] * scale, 1.0) for size in sizes]
    height = max(size[0] * scale for size in sizes)
    gap = 4.0
    total = sum(widths) + gap * (len(sizes) - 1)
    figure = Figure(figsize=(total / _DOTS, height / _DOTS), dpi=_DOTS, facecolor="black")
    canvas: Any = FigureCanvasAgg(figure)
    left = 0.0
    for i, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        own = size[0] * scale
        fill(figure.add_axes((left / total, (height - own) / 2 / height, width / total, own / height)), i)
        left += width + gap
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def show(axes: Any, picture: NDArray[np.uint8]) -> None:
    """Fill axes with a picture ``(Y, X)`` or ``(Y, X, 3)``; pixel i covers i - 0.5 to i + 0.5."""
    rows, columns = picture.shape[:2]
    axes.set_axis_off()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, aspect="auto", interpolation="bilinear")
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)


def _fill(axes: Any, plane: _Plane, colours: Sequence[str]) -> None:
    rows, columns = plane.image.shape[:2]
    show(axes, plane.image)
    # A margin of one voxel closes contours at the edge.
    x, y = np.arange(-1, columns + 1), np.arange(-1, rows + 1)
    for masks, style in ((plane.reference, SOLID), (plane.prediction, DASHED)):
        for mask, colour in zip(masks, colours, strict=True):
            if mask.any():
                padded = np.pad(mask, 1).astype(np.float32)
                axes.contour(x, y, padded, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.3)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
