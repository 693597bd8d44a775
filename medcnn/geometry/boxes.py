"""Boxes: corners ``(N, 2*D)`` float32, ``x1, y1[, z1], x2, y2[, z2]``, on the edges of voxels.

Voxel i covers [i, i+1), so a mask of the voxels 3 to 5 is the box 3 to 6, and a corner p lies in the world at
A (p - 0.5), where A maps voxel centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

Corners = NDArray[np.float32]


def check_boxes(corners: ArrayLike, dims: int) -> Corners:
    """The corners as ``(N, 2*dims)`` float32.

    Raises:
        ValueError: If the shape is another, or a value is not finite.
    """
    array = np.asarray(corners, np.float32)
    if array.size == 0:
        return np.zeros((0, 2 * dims), np.float32)
    if array.ndim != 2 or array.shape[1] != 2 * dims:
        raise ValueError(f"boxes in {dims}D are (N, {2 * dims}), not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("a corner of a box is not finite")
    return array


def sides(corners: Corners) -> NDArray[np.float64]:
    """Lengths ``(N, D)`` of the sides in voxels; 0 where a box is inverted."""
    dims = corners.shape[1] // 2
    wide = corners.astype(np.float64)
    return np.maximum(wide[:, dims:] - wide[:, :dims], 0)


def volumes(corners: Corners) -> NDArray[np.float64]:
    """Areas or volumes ``(N,)`` in voxels."""
    result: NDArray[np.float64] = sides(corners).prod(1)
    return result


def centres(corners: Corners) -> NDArray[np.float64]:
    """Middles ``(N, D)``."""
    dims = corners.shape[1] // 2
    wide = corners.astype(np.float64)
    return (wide[:, :dims] + wide[:, dims:]) / 2


def intersections(first: Corners, second: Corners) -> NDArray[np.float64]:
    """Shared volumes ``(N, M)`` of each box of the first with each of the second."""
    dims = first.shape[1] // 2
    result = np.ones((len(first), len(second)))
    for axis in range(dims):
        low = np.maximum(first[:, None, axis], second[None, :, axis], dtype=np.float64)
        high = np.minimum(first[:, None, axis + dims], second[None, :, axis + dims], dtype=np.float64)
        result *= np.maximum(high - low, 0)
    return result


def box_iou(first: Corners, second: Corners) -> NDArray[np.float64]:
    """Intersection over union ``(N, M)``; 0 where both boxes are empty."""
    shared = intersections(first, second)
    union = volumes(first)[:, None] + volumes(second)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def paired_iou(first: Corners, second: Corners) -> NDArray[np.float64]:
    """Intersection over union ``(N,)`` of boxes of equal position."""
    dims = first.shape[1] // 2
    a, b = first.astype(np.float64), second.astype(np.float64)
    shared = np.maximum(np.minimum(a[:, dims:], b[:, dims:]) - np.maximum(a[:, :dims], b[:, :dims]), 0).prod(1)
    union = volumes(first) + volumes(second) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def contains(corners: Corners, points: ArrayLike) -> NDArray[np.bool_]:
    """Whether points ``(M, D)`` lie in boxes ``(N, 2*D)``, as ``(N, M)``; the lower edge belongs to a box."""
    dims = corners.shape[1] // 2
    where = np.asarray(points, np.float64)[None]
    inside = (where >= corners[:, None, :dims]) & (where < corners[:, None, dims:])
    return np.asarray(inside.all(2))


def clip_boxes(corners: Corners, shape: Sequence[int]) -> Corners:
    """Cut at the edges of an image of ``shape`` (X, Y[, Z]); what lies outside becomes flat."""
    limit = np.array([*shape, *shape], np.float32)
    return np.clip(corners, 0, limit).astype(np.float32)


def cut_boxes(corners: Corners, shape: Sequence[int], *, least: float = 0.5) -> tuple[Corners, NDArray[np.bool_]]:
    """Cut at the edges of an image, and say which are kept.

    Args:
        corners: ``(N, 2*D)``.
        shape: Of the image.
        least: Share of its volume that a box has to keep.

    Returns:
        All boxes, cut, and ``(N,)`` True where one is kept.
    """
    cut = clip_boxes(corners, shape)
    whole = volumes(corners)
    kept = (volumes(cut) >= least * whole) & (volumes(cut) > 0)
    return cut, kept


def map_boxes(corners: Corners, matrix: ArrayLike) -> Corners:
    """The hull of each box under a mapping of voxel centres.

    Args:
        corners: ``(N, 2*D)``.
        matrix: ``(D+1, D+1)`` homogeneous, voxel indices (centres) of one grid to those of another, or to mm.

    Returns:
        ``(N, 2*D)`` in the edges of the other grid. Exact where axes map onto axes; else the smallest upright box
        around the corners.
    """
    moved = map_corners(corners, matrix) + 0.5
    return _hull(moved)


def boxes_to_world(corners: Corners, affine: ArrayLike) -> Corners:
    """Boxes ``(N, 6)`` in voxels to hulls in mm: world = A (p - 0.5)."""
    return _hull(map_corners(corners, affine))


def boxes_from_world(corners: Corners, affine: ArrayLike) -> Corners:
    """Boxes ``(N, 6)`` in mm, with edges along the world's axes, to hulls in voxels: p = A^-1 world + 0.5."""
    inverse = np.linalg.inv(np.asarray(affine, np.float64))
    return _hull(_through(_vertices(corners.astype(np.float64)), inverse) + 0.5)


def map_corners(corners: Corners, matrix: ArrayLike) -> NDArray[np.float64]:
    """All ``2**D`` corners ``(N, 2**D, D)`` under a mapping of voxel centres."""
    return _through(_vertices(corners.astype(np.float64)) - 0.5, np.asarray(matrix, np.float64))


def _vertices(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    dims = corners.shape[1] // 2
    picks = np.array([[axis + dims * bit for axis, bit in enumerate(bits)] for bits in product((0, 1), repeat=dims)])
    return corners[:, picks]


def _through(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    dims = points.shape[-1]
    result: NDArray[np.float64] = points @ matrix[:dims, :dims].T + matrix[:dims, -1]
    return result


def _hull(vertices: NDArray[np.float64]) -> Corners:
    return np.concatenate([vertices.min(1), vertices.max(1)], 1).astype(np.float32)
