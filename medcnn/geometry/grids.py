"""Resampling of an image's grid, with the matrix that says where each voxel went.

Voxel i is centred at index i and covers [i - 0.5, i + 0.5] in index space; resizing keeps the outer
edges of the image where they are (as ``align_corners=False`` does).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError
from medcnn.geometry.affines import axis_order, parse_codes, tilt_of


@dataclass(frozen=True, slots=True)
class Grid:
    """An array on its way to the network.

    Attributes:
        array: ``(C, *spatial)``.
        matrix: ``(D+1, D+1)``, voxel indices of the original to those of ``array``.
        original_shape: Spatial shape of the original.
        spacing: mm of the present axes, ``None`` where unknown.
        affine: 4x4 of the present grid to RAS+ mm; ``None`` where unknown.
    """

    array: NDArray[Any]
    matrix: NDArray[np.float64]
    original_shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    affine: NDArray[np.float64] | None

    @classmethod
    def of(cls, array: NDArray[Any], affine: Any, spacing: Sequence[float] | None) -> Grid:
        """The original grid of an image ``(C, *spatial)``."""
        dims = array.ndim - 1
        known = tuple(float(s) for s in spacing[:dims]) if spacing is not None else None
        matrix = np.eye(dims + 1)
        return cls(array, matrix, array.shape[1:], known, None if affine is None else np.asarray(affine, np.float64))

    def with_array(self, array: NDArray[Any]) -> Grid:
        """The same grid with other values."""
        return replace(self, array=array)


def reorient(grid: Grid, codes: str) -> Grid:
    """Permute and flip axes to the orientation named by ``codes`` (RAS, LPS, ...).

    Raises:
        ImageError: If the image has no world frame.
    """
    dims = grid.array.ndim - 1
    if grid.affine is None or dims != 3:
        raise ImageError(
            "the image has no world frame, so it cannot be oriented",
            todo="leave input.orientation out, or use files that carry their geometry",
        )
    have, want = axis_order(grid.affine), parse_codes(codes)
    # For each new axis: the old axis along the same world axis, and whether it runs the other way.
    source = [next(v for v, (w, _) in enumerate(have) if w == world) for world, _ in want]
    array = grid.array.transpose(0, *(v + 1 for v in source))
    step = np.zeros((4, 4))
    step[3, 3] = 1
    for target, (v, (_, sign)) in enumerate(zip(source, want, strict=True)):
        if have[v][1] == sign:
            step[target, v] = 1
        else:
            array = np.flip(array, target + 1)
            step[target, v], step[target, 3] = -1, grid.array.shape[v + 1] - 1
    spacing = None if grid.spacing is None else tuple(grid.spacing[v] for v in source)
    affine = grid.affine @ np.linalg.inv(step)
    moved = np.ascontiguousarray(array)
    return replace(grid, array=moved, matrix=step @ grid.matrix, spacing=spacing, affine=affine)


def resample_to_spacing(grid: Grid, spacing: Sequence[float]) -> Grid:
    """Resample to a spacing in mm; the size follows from the extent.

    Raises:
        ImageError: If the image has no spacing, or not as many axes.
    """
    dims = grid.array.ndim - 1
    if grid.spacing is None or len(grid.spacing) != dims:
        raise ImageError(
            "the image has no spacing, so it cannot be resampled to one",
            todo="leave input.spacing out, or use files that carry their geometry",
        )
    if len(spacing) != dims:
        raise ImageError(f"input.spacing has {len(spacing)} entries for {dims} axes")
    shape = tuple(max(1, round(n * s / t)) for n, s, t in zip(grid.array.shape[1:], grid.spacing, spacing, strict=True))
    return replace(resize(grid, shape), spacing=tuple(float(s) for s in spacing))


def fit_to_size(grid: Grid, size: Sequence[int], fit: Literal["resize", "pad", "crop"]) -> Grid:
    """Bring a grid to its final size: each axis by itself, keeping the aspect, or without resizing."""
    shape = grid.array.shape[1:]
    if tuple(size) == shape:
        return grid
    if fit == "resize":
        return resize(grid, size)
    if fit == "pad":
        factor = min(t / s for t, s in zip(size, shape, strict=True))
        grid = resize(grid, [max(1, min(t, round(s * factor))) for t, s in zip(size, shape, strict=True)])
    return centre(grid, size)


def centre(grid: Grid, size: Sequence[int]) -> Grid:
    """Crop or pad around the centre; padding takes the image's smallest value."""
    array = grid.array
    shift = np.eye(array.ndim)
    for axis, (have, want) in enumerate(zip(array.shape[1:], size, strict=True)):
        start = (have - want) // 2 if have > want else 0
        array = np.take(array, range(start, start + min(have, want)), axis=axis + 1)
        before = (want - have) // 2 if want > have else 0
        if want > have:
            width = [(0, 0)] * array.ndim
            width[axis + 1] = (before, want - have - before)
            array = np.pad(array, width, constant_values=grid.array.min())
        shift[axis, -1] = before - start
    return replace(grid, array=array, matrix=shift @ grid.matrix, affine=_moved(grid.affine, shift))


def resize(grid: Grid, size: Sequence[int]) -> Grid:
    """Resize each axis, averaging where it shrinks and interpolating linearly where it grows."""
    array = grid.array.astype(np.float32, copy=False)
    shape = grid.array.shape[1:]
    step = np.eye(array.ndim)
    for axis, (have, want) in enumerate(zip(shape, size, strict=True)):
        if have == want:
            continue
        weights = _weights(have, int(want))
        array = np.moveaxis(np.tensordot(weights, array, axes=(1, axis + 1)), 0, axis + 1)
        scale = want / have
        step[axis, axis] = scale
        step[axis, -1] = 0.5 * scale - 0.5
    spacing = None
    if grid.spacing is not None:
        spacing = tuple(s * have / want for s, have, want in zip(grid.spacing, shape, size, strict=True))
    contiguous = np.ascontiguousarray(array, np.float32)
    return replace(grid, array=contiguous, matrix=step @ grid.matrix, spacing=spacing, affine=_moved(grid.affine, step))


def _weights(have: int, want: int) -> NDArray[np.float32]:
    """``(want, have)`` triangle filter, widened by the factor of shrinking, rows summing to 1."""
    scale = have / want
    support = max(scale, 1.0)
    centres = (np.arange(want) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(have)[None] - centres[:, None]) / support
    weights = np.clip(1 - distance, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _moved(affine: NDArray[np.float64] | None, step: NDArray[np.float64]) -> NDArray[np.float64] | None:
    if affine is None or step.shape != (4, 4):
        return None
    return np.asarray(affine @ np.linalg.inv(step), np.float64)


def straighten(array: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Resample a sheared stack of slices (gantry tilt) to a grid with right angles.

    Each slice keeps its plane and is moved inside it, by linear interpolation; the grid grows so that nothing is cut
    off. New places take the smallest value.

    Args:
        array: ``(C, X, Y, Z)`` with the slices along the last axis.
        affine: 4x4, sheared.

    Returns:
        The resampled array in its type (integers rounded), and the affine of its grid.
    """
    steps = tilt_of(affine)
    count = array.shape[3]
    low = [min(0, math.floor(s * (count - 1))) for s in steps]
    high = [max(0, math.ceil(s * (count - 1))) for s in steps]
    size = [n + h - b for n, b, h in zip(array.shape[1:3], low, high, strict=True)]
    fill = array.min()
    result = np.full((array.shape[0], *size, count), fill, array.dtype)
    for k in range(count):
        moved = array[..., k].astype(np.float32)
        for axis, (step, first, want) in enumerate(zip(steps, low, size, strict=True)):
            moved = _shifted(moved, axis + 1, k * step - first, want, float(fill))
        result[..., k] = np.rint(moved) if array.dtype.kind in "ui" else moved
    straight = np.array(affine, dtype=np.float64)
    straight[:3, 2] -= straight[:3, 0] * steps[0] + straight[:3, 1] * steps[1]
    straight[:3, 3] += straight[:3, 0] * low[0] + straight[:3, 1] * low[1]
    return result, straight


def _shifted(values: NDArray[np.float32], axis: int, shift: float, size: int, fill: float) -> NDArray[np.float32]:
    """Values moved along an axis by a number of voxels that need not be whole, in an axis of another size."""
    have = values.shape[axis]
    source = np.arange(size) - shift
    below = np.floor(source).astype(int)
    weight = (source - below).astype(np.float32)
    padded = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in range(values.ndim)], constant_values=fill)
    first = np.take(padded, np.clip(below + 1, 0, have + 1), axis)
    second = np.take(padded, np.clip(below + 2, 0, have + 1), axis)
    shape = [1] * values.ndim
    shape[axis] = size
    weights = weight.reshape(shape)
    return np.asarray(first * (1 - weights) + second * weights, np.float32)
