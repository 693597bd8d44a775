"""Whether a mask lies in its image's grid, in words where it does not, and how it is brought there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError
from medcnn.geometry.affines import axis_codes, largest_shift, lps_to_ras
from medcnn.geometry.resample import IGNORE, Axis, sample_labels
from medcnn.types import Image

# Shares of a voxel: how far two grids may lie apart and still be one, and a lattice be one of the other's axes.
TOLERANCE = 0.25
_LATTICE = 1e-3


@dataclass(frozen=True, slots=True)
class Place:
    """A grid: its size in voxels, and where it lies.

    Attributes:
        shape: ``(X, Y[, Z])``.
        affine: 4x4 to RAS mm; ``None`` where unknown.
        spacing: mm along the axes; ``None`` where unknown.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    spacing: tuple[float, ...] | None

    @classmethod
    def of(cls, image: Image) -> Place:
        """The grid of an image ``(C, X, Y[, Z])``."""
        affine = None if image.affine is None else np.asarray(image.affine, np.float64)
        return cls(tuple(image.array.shape[1:]), affine, image.spacing)

    def words(self) -> str:
        """``35x51x35 voxels of 1x1x1 mm, axes RAS, first voxel at (1, 1, 1) mm``."""
        text = "x".join(map(str, self.shape)) + (" voxels" if len(self.shape) > 2 else " pixels")
        if self.spacing is not None:
            text += " of " + "x".join(f"{s:.4g}" for s in self.spacing[: len(self.shape)]) + " mm"
        if self.affine is None:
            return text + ", no position"
        first = ", ".join(f"{v:.5g}" for v in self.affine[:3, 3] + 0.0)
        return f"{text}, axes {axis_codes(self.affine)[: len(self.shape)]}, first voxel at ({first}) mm"


def difference(mask: Place, image: Place) -> str:
    """What tells the grid of a mask from that of its image, in words; empty where they are one.

    Where one of the two has no world frame, size and spacing alone are compared.
    """
    if len(mask.shape) != len(image.shape):
        return f"it has {len(mask.shape)} axes, the image {len(image.shape)}"
    if mask.affine is None or image.affine is None:
        return _sizes(mask, image) or _spacings(mask, image)
    shape, spacing = image.shape, image.spacing or (1.0,)
    shift = largest_shift(mask.affine, image.affine, shape)
    if mask.shape == image.shape and shift <= TOLERANCE * min(spacing[: len(shape)]):
        return ""
    turned = _turned(mask, image)
    if turned:
        return turned
    return _sizes(mask, image) or _mirrored(mask, image) or _spacings(mask, image) or _beside(mask, image, shift)


def _sizes(mask: Place, image: Place) -> str:
    if mask.shape == image.shape:
        return ""
    text = f"it has {'x'.join(map(str, mask.shape))}, the image {'x'.join(map(str, image.shape))}"
    if sorted(mask.shape) == sorted(image.shape):
        return f"{text}: its axes stand in another order"
    return text


def _spacings(mask: Place, image: Place) -> str:
    if mask.spacing is None or image.spacing is None:
        return ""
    pairs = list(zip(mask.spacing, image.spacing, strict=False))
    if all(abs(a - b) * n <= TOLERANCE * min(a, b) for (a, b), n in zip(pairs, image.shape, strict=False)):
        return ""
    return (
        f"its voxels measure {'x'.join(f'{a:.4g}' for a, _ in pairs)} mm, "
        f"those of the image {'x'.join(f'{b:.4g}' for _, b in pairs)} mm"
    )


def _mirrored(mask: Place, image: Place) -> str:
    """Whether the mask would lie right with x and y of the other sign."""
    assert mask.affine is not None
    assert image.affine is not None
    near = TOLERANCE * min((image.spacing or (1.0,))[: len(image.shape)])
    if largest_shift(lps_to_ras(mask.affine), image.affine, image.shape) > near:
        return ""
    return "x and y of its place have the other sign (one of the two was written as LPS and read as RAS)"


def _beside(mask: Place, image: Place, shift: float) -> str:
    assert mask.affine is not None
    assert image.affine is not None
    codes = [axis_codes(place.affine)[: len(place.shape)] for place in (mask, image) if place.affine is not None]
    run = f"its axes run {codes[0]}, those of the image {codes[1]}, and " if codes[0] != codes[1] else ""
    return f"{run}it lies up to {shift:.3g} mm beside the image"


def _turned(mask: Place, image: Place) -> str:
    """In words, which axes are exchanged and flipped where the two are one lattice in another order."""
    assert mask.affine is not None
    assert image.affine is not None
    dims = len(image.shape)
    if sorted(mask.shape) != sorted(image.shape):
        return ""
    spacing = (image.spacing or (1.0,))[:dims]
    for order in permutations(range(dims)):
        if tuple(mask.shape[k] for k in order) != image.shape:
            continue
        for flips in product((False, True), repeat=dims):
            if order == tuple(range(dims)) and not any(flips):
                continue
            moved = _reordered(mask.affine, mask.shape, order, flips)
            if largest_shift(moved, image.affine, image.shape) <= TOLERANCE * min(spacing):
                return _turn_words(order, flips)
    return ""


def _reordered(
    affine: NDArray[np.float64], shape: Sequence[int], order: Sequence[int], flips: Sequence[bool]
) -> NDArray[np.float64]:
    """The affine of a grid whose axis k is axis ``order[k]`` of another one, flipped or not."""
    dims = len(shape)
    step = np.eye(4)
    step[:dims, :dims] = 0
    for k, source in enumerate(order):
        step[source, k] = -1 if flips[k] else 1
        step[source, 3] = shape[source] - 1 if flips[k] else 0
    return np.asarray(affine @ step, np.float64)


def _turn_words(order: Sequence[int], flips: Sequence[bool]) -> str:
    parts = []
    if list(order) != sorted(order):
        parts.append(f"has its axes in the order {', '.join(map(str, order))}")
    flipped = [str(k) for k, flip in enumerate(flips) if flip]
    if flipped:
        parts.append(f"is flipped along axis {' and '.join(flipped)}")
    return "it " + " and ".join(parts)


def other_grid(found: str, mask: Place, image: Place, where: str) -> ImageError:
    """The error for a mask in another grid."""
    if mask.affine is not None and image.affine is not None:
        todo = "set task.resample: true to bring it to the image's grid by its geometry, or resample it yourself"
    else:
        lacking = (
            "neither"
            if mask.affine is None and image.affine is None
            else ("the mask" if mask.affine is None else "the image")
        )
        verb = "says" if lacking != "neither" else "of the two says"
        lead = f"{lacking} {verb} where it lies" if lacking == "neither" else f"{lacking} does not say where it lies"
        todo = f"{lead}, so that it cannot be resampled: draw or export the mask in the grid of its image"
    return ImageError(
        f"the mask lies in another grid than its image: {found} (mask: {mask.words()}; image: {image.words()})",
        where=where,
        todo=todo,
    )


def to_grid(
    labels: NDArray[np.uint8], mask: Place, image: Place, *, overlapping: bool, outside: int = IGNORE
) -> NDArray[np.uint8]:
    """A label map brought to the grid of its image by the geometry of both.

    Where the axes of the two run along each other, each label's share of a voxel decides (linear weights, wider where
    voxels grow); in oblique grids linear interpolation of each label does. What lies outside
    of the mask's grid is not annotated.

    Args:
        labels: ``(X, Y[, Z])`` in the mask's grid, or ``(L, X, Y[, Z])`` where ``overlapping``.
        mask: The mask's grid.
        image: The image's grid.
        overlapping: Each channel is a label of its own.
        outside: What becomes of voxels outside of the mask's grid.
    """
    assert mask.affine is not None
    assert image.affine is not None
    channels = labels if overlapping else labels[None]
    have = (*mask.shape, 1)[:3]
    want = (*image.shape, 1)[:3]
    channels = channels.reshape(len(channels), *have)
    # From indices of the image to those of the mask.
    matrix = np.linalg.inv(mask.affine) @ image.affine
    axes = _axes(matrix, have, want)
    if axes is not None:
        result = _along_axes(channels, matrix, axes, overlapping, outside)
    else:
        result = _oblique(channels, matrix, want, outside)
    shape = image.shape
    return result.reshape(len(channels), *shape) if overlapping else result[0].reshape(shape)


def _axes(matrix: NDArray[np.float64], have: Sequence[int], want: Sequence[int]) -> list[Axis] | None:
    """The image's axes in voxels of the mask's, where each runs along one of them; ``None`` in oblique grids."""
    linear = matrix[:3, :3]
    source = [int(np.argmax(np.abs(linear[:, v]))) for v in range(3)]
    if sorted(source) != [0, 1, 2]:
        return None
    axes = []
    for v, k in enumerate(source):
        step, start = float(linear[k, v]), float(matrix[k, 3])
        beside = sum(abs(float(linear[j, v])) * want[v] for j in range(3) if j != k)
        if beside > TOLERANCE / 2:
            return None
        if step < 0:
            step, start = -step, have[k] - 1 - start
        if abs(step - 1) * want[v] < _LATTICE * 10 and abs(start - round(start)) < _LATTICE * 10:
            step, start = 1.0, float(round(start))
        places = start + step * np.arange(want[v])
        inside = np.flatnonzero((places >= -0.5 - 1e-6) & (places <= have[k] - 0.5 + 1e-6))
        first, stop = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)
        axes.append(Axis(want[v], start, step, first, stop))
    return axes


def _along_axes(
    channels: NDArray[np.uint8], matrix: NDArray[np.float64], axes: Sequence[Axis], overlapping: bool, outside: int
) -> NDArray[np.uint8]:
    source = [int(np.argmax(np.abs(matrix[:3, v]))) for v in range(3)]
    turned = channels.transpose(0, *(k + 1 for k in source))
    for v, k in enumerate(source):
        if matrix[k, v] < 0:
            turned = np.flip(turned, v + 1)
    result = np.full((len(channels), *(a.size for a in axes)), outside, np.uint8)
    inside = tuple(slice(a.first, a.stop) for a in axes)
    if all(a.stop > a.first for a in axes):
        result[(slice(None), *inside)] = sample_labels(turned, axes, overlapping=overlapping)[(slice(None), *inside)]
    return result


def _oblique(
    channels: NDArray[np.uint8], matrix: NDArray[np.float64], want: Sequence[int], outside: int
) -> NDArray[np.uint8]:
    from scipy import ndimage

    def moved(values: NDArray[Any]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = ndimage.affine_transform(
            values.astype(np.float32), matrix[:3, :3], matrix[:3, 3], tuple(want), order=1, mode="nearest"
        )
        return found

    corners = np.indices(want, dtype=np.float32, sparse=True)
    beyond = np.zeros(want, bool)
    for k in range(3):
        place = sum(matrix[k, v] * corners[v] for v in range(3)) + matrix[k, 3]
        beyond |= (place < -0.5) | (place > channels.shape[k + 1] - 0.5)
    result = np.zeros((len(channels), *want), np.uint8)
    for channel, target in zip(channels, result, strict=True):
        best = np.zeros(want, np.float32)
        for value in np.unique(channel)[::-1]:
            share = moved(channel == value)
            # A tie goes to the label rather than to the background, as a share of a half is present.
            wins = share > best
            best[wins], target[wins] = share[wins], value
        target[beyond] = outside
    return result
