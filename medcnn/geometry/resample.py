"""From an image's grid to the network's in one interpolation, whatever spacing and size are asked for.

Voxel i is centred at index i and covers [i - 0.5, i + 0.5] in index space, as everywhere in :mod:`medcnn.geometry`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError
from medcnn.geometry.grids import Grid

Fit = Literal["resize", "pad", "crop", "patches"]
# The label of voxels that are not annotated; it is never a class.
IGNORE = 255
# Voxels of the result that are made at a time, so that probabilities of a large volume never lie there twice.
SLAB = 2**22
# A spacing that differs by less than this from the wanted one, in voxels over the whole axis, is the wanted one.
DRIFT = 0.05


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the new grid.

    Attributes:
        size: Voxels.
        start: Index in the old grid of the centre of voxel 0.
        step: Old voxels from one new voxel to the next.
        first: First voxel whose centre lies in the image; those before it are padding.
        stop: One after the last such voxel.
    """

    size: int
    start: float
    step: float
    first: int
    stop: int

    @property
    def whole(self) -> bool:
        """Whether voxels of the old grid are taken as they are."""
        return self.step == 1 and self.start == round(self.start)


def to_size(grid: Grid, size: Sequence[int], fit: Fit, spacing: Sequence[float] | None = None) -> Grid:
    """Bring a grid to its final size, with a single interpolation.

    Args:
        grid: The original.
        size: The wanted spatial shape.
        fit: ``resize``: the outer edges of the image become those of the new grid, so that a spacing makes no
            difference. ``pad``: as large as possible with the aspect kept (in mm where ``spacing`` is given, else
            in voxels), centred, the rest padded. ``crop``: the centre, at ``spacing`` exactly where it is given.
            ``patches``: the whole image at that spacing, padded where it is smaller than ``size``.
        spacing: mm of the new axes for ``crop`` and ``patches``; their ratio is kept by ``pad``.

    Returns:
        The new grid; where the new voxels are larger the old ones are averaged (a triangle of twice the new
        voxel's width), else interpolated linearly. Padding takes the smallest value of each channel.

    Raises:
        ImageError: If a spacing is asked for and the image has none, or not for as many axes.
    """
    axes = plan_axes(grid, size, fit, spacing)
    return grid if axes is None else sample(grid, axes)


def plan_axes(grid: Grid, size: Sequence[int], fit: Fit, spacing: Sequence[float] | None = None) -> list[Axis] | None:
    """The axes that :func:`to_size` brings a grid to; ``None`` where it stays as it is.

    Raises:
        ImageError: As :func:`to_size`.
    """
    shape = grid.array.shape[1:]
    if spacing is None and tuple(size) == shape:
        return None
    ratios = _ratios(grid, spacing)
    if fit == "resize":
        return [_inside(n, m, m) for n, m in zip(shape, size, strict=True)]
    if fit == "pad":
        extents = [n / r for n, r in zip(shape, ratios, strict=True)]
        factor = min(m / e for m, e in zip(size, extents, strict=True))
        inner = [max(1, min(m, round(e * factor))) for m, e in zip(size, extents, strict=True)]
        return [_inside(n, k, m) for n, k, m in zip(shape, inner, size, strict=True)]
    if fit == "patches":
        # A voxel of the new grid for every part of one of the old: nothing of the image is left outside.
        size = [max(m, math.ceil(n / r - DRIFT)) for n, m, r in zip(shape, size, ratios, strict=True)]
    return [_centred(n, m, r) for n, m, r in zip(shape, size, ratios, strict=True)]


def sample(grid: Grid, axes: Sequence[Axis]) -> Grid:
    """The image on new axes; voxels are copied in their own type where all axes are whole."""
    array = grid.array
    # What shrinks most comes first, so that the later axes have less to do; the order is a function of the shapes.
    for axis in sorted(range(len(axes)), key=lambda k: axes[k].size / array.shape[k + 1]):
        array = _along(array, axis + 1, axes[axis])
    if any(a.first > 0 or a.stop < a.size for a in axes):
        padded = np.empty((array.shape[0], *(a.size for a in axes)), array.dtype)
        padded[:] = grid.array.reshape(len(array), -1).min(1).reshape(-1, *(1,) * len(axes))
        padded[(slice(None), *(slice(a.first, a.stop) for a in axes))] = array
        array = padded
    matrix = np.eye(len(axes) + 1)
    for k, axis_ in enumerate(axes):
        matrix[k, k], matrix[k, -1] = 1 / axis_.step, -axis_.start / axis_.step
    spacing = None
    if grid.spacing is not None:
        spacing = tuple(s * a.step for s, a in zip(grid.spacing, axes, strict=False))
    affine = None
    if grid.affine is not None and matrix.shape == (4, 4):
        affine = np.asarray(grid.affine @ np.linalg.inv(matrix), np.float64)
    return replace(grid, array=np.ascontiguousarray(array), matrix=matrix @ grid.matrix, spacing=spacing, affine=affine)


def sample_labels(labels: NDArray[np.uint8], axes: Sequence[Axis] | None, *, overlapping: bool) -> NDArray[np.uint8]:
    """A label map on new axes: each label's share of a new voxel by linear weights, then the largest share.

    Args:
        labels: ``(1, *spatial)`` of positions, or ``(L, *spatial)`` of 0 and 1 where labels overlap; 255 is ignored.
        axes: As of :func:`plan_axes`; ``None`` leaves the map as it is.
        overlapping: Each channel is a label of its own, present from a share of a half on.

    Returns:
        The same on the new axes; padding is background.
    """
    if axes is None:
        return labels
    if all(axis.whole for axis in axes):
        inner = labels
        for k, axis in enumerate(axes):
            inner = _along(inner, k + 1, axis)
    elif overlapping:
        inner = np.concatenate([_largest_share(channel[None], axes) for channel in labels])
    else:
        inner = _largest_share(labels, axes)
    result = np.zeros((len(labels), *(a.size for a in axes)), np.uint8)
    result[(slice(None), *(slice(a.first, a.stop) for a in axes))] = inner
    return result


def _largest_share(labels: NDArray[np.uint8], axes: Sequence[Axis]) -> NDArray[np.uint8]:
    best: NDArray[np.float32] | None = None
    result: NDArray[np.uint8] | None = None
    for value in np.unique(labels):
        share = np.asarray(labels == value, np.float32)
        for k, axis in enumerate(axes):
            share = _along(share, k + 1, axis)
        if best is None or result is None:
            best, result = np.array(share), np.full(share.shape, value, np.uint8)
            continue
        # A tie goes to the label, as a share of a half is present.
        wins = share >= best
        best[wins], result[wins] = share[wins], value
    assert result is not None
    return result


def to_original(
    values: NDArray[np.float32], matrix: NDArray[np.float64], shape: Sequence[int]
) -> Iterator[tuple[slice, NDArray[np.float32], tuple[slice, ...]]]:
    """Values of the network's grid at the voxels of the original, in slabs along the original's last axis.

    Args:
        values: ``(K, *spatial)`` in the network's grid.
        matrix: ``(D+1, D+1)``, voxel indices of the original to those of ``values``: axes permuted, mirrored,
            scaled and moved, as :class:`~medcnn.geometry.grids.Grid` holds it.
        shape: Spatial shape of the original.

    Yields:
        The slab's places along the last axis; its values ``(K, *inside)``, interpolated linearly, averaged where
        the original's voxels are the larger ones; and where ``inside`` lies in the slab, along each axis: the rest of
        it is outside of what the network saw.
    """
    dims = len(shape)
    linear = matrix[:dims, :dims]
    source = [int(np.argmax(np.abs(linear[:, v]))) for v in range(dims)]
    turned = values.transpose(0, *(k + 1 for k in source))
    axes = []
    for v, k in enumerate(source):
        have, step, start = values.shape[k + 1], float(linear[k, v]), float(matrix[k, dims])
        if step < 0:
            turned = np.flip(turned, v + 1)
            step, start = -step, have - 1 - start
        axes.append(_placed(have, int(shape[v]), start, step))
    for v, axis in enumerate(axes[:-1]):
        turned = _along(turned, v + 1, axis)
    last = axes[-1]
    rows = max(1, SLAB // max(1, int(np.prod(turned.shape[:-1]))))
    weights = None if last.whole else _weights(turned.shape[-1], last)
    for begin in range(last.first, last.stop, rows):
        end = min(begin + rows, last.stop)
        if weights is None:
            at = int(last.start)
            slab = turned[..., at + begin : at + end]
        else:
            slab = turned @ weights[begin - last.first : end - last.first].T
        inside = (*(slice(a.first, a.stop) for a in axes[:-1]), slice(0, end - begin))
        yield slice(begin, end), np.asarray(slab, np.float32), inside


def _placed(have: int, size: int, start: float, step: float) -> Axis:
    """An axis whose voxel 0 is centred at ``start`` of one of ``have`` voxels."""
    if abs(step - 1) * size < 1e-6 and abs(start - round(start)) < 1e-6:
        step, start = 1.0, float(round(start))
    places = start + step * np.arange(size)
    inside = np.flatnonzero((places >= -0.5 - 1e-9) & (places <= have - 0.5 + 1e-9))
    first, stop = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)
    return Axis(size, start, step, first, stop)


def _ratios(grid: Grid, spacing: Sequence[float] | None) -> list[float]:
    """New voxel's width in old voxels, an entry an axis."""
    dims = grid.array.ndim - 1
    if spacing is None:
        return [1.0] * dims
    if grid.spacing is None or len(grid.spacing) != dims:
        raise ImageError(
            "the image has no spacing, so it cannot be resampled to one",
            todo="leave input.spacing out, or use files that carry their geometry",
        )
    if len(spacing) != dims:
        raise ImageError(f"input.spacing has {len(spacing)} entries for {dims} axes")
    ratios = [float(t) / s for t, s in zip(spacing, grid.spacing, strict=True)]
    return [1.0 if abs(r - 1) * n < DRIFT else r for r, n in zip(ratios, grid.array.shape[1:], strict=True)]


def _inside(have: int, inner: int, size: int) -> Axis:
    """The whole axis on ``inner`` voxels, edge to edge, in the middle of ``size``."""
    before = (size - inner) // 2
    step = have / inner
    return Axis(size, 0.5 * step - 0.5 - step * before, step, before, before + inner)


def _centred(have: int, size: int, step: float) -> Axis:
    """Voxels of ``step`` around the centre; those at the image's own spacing fall onto its voxels."""
    start = (have - 1) / 2 - step * (size - 1) / 2
    if step == 1:
        start = float((have - size) // 2 if have > size else -((size - have) // 2))
    places = start + step * np.arange(size)
    # A voxel whose centre lies on the image's outer edge, up to rounding, is inside.
    inside = np.flatnonzero((places >= -0.5 - 1e-9) & (places <= have - 0.5 + 1e-9))
    if not inside.size:
        # The image is thinner than a voxel and lies between two centres: the nearest shows it.
        inside = np.array([int(np.argmin(np.abs(places - (have - 1) / 2)))])
    return Axis(size, start, step, int(inside[0]), int(inside[-1]) + 1)


def _along(array: NDArray[Any], axis: int, plan: Axis) -> NDArray[Any]:
    have = array.shape[axis]
    if plan.whole:
        begin = int(plan.start) + plan.first
        if begin == 0 and plan.stop - plan.first == have:
            return array
        where: list[slice] = [slice(None)] * array.ndim
        where[axis] = slice(begin, begin + plan.stop - plan.first)
        return array[tuple(where)]
    moved = np.tensordot(_weights(have, plan), array.astype(np.float32, copy=False), axes=(1, axis))
    return np.moveaxis(moved, 0, axis)


def _weights(have: int, plan: Axis) -> NDArray[np.float32]:
    """``(stop - first, have)`` triangle filter, widened by the factor of shrinking, rows summing to 1."""
    centres = plan.start + plan.step * np.arange(plan.first, plan.stop)
    # At the edge the nearest voxel goes on; outside of it there is nothing to weigh.
    centres = np.clip(centres, -0.5, have - 0.5)
    distance = np.abs(np.arange(have)[None] - centres[:, None]) / max(plan.step, 1.0)
    weights = np.clip(1 - distance, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
