"""Closed contours to voxels: a voxel belongs to what encloses its centre an odd number of times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fill(contours: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill the contours of one slice by the even-odd rule.

    A contour inside another cuts a hole (XOR), and so does the inner part of a keyhole, whose two sides of the channel
    cancel each other exactly. A centre on an edge belongs to one side alone, so that contours that share an edge share
    no voxel.

    Args:
        contours: ``(N, 2)`` points each in voxels, centres at whole numbers; closed by themselves.
        shape: ``(X, Y)``.

    Returns:
        ``(X, Y)``.
    """
    result = np.zeros(shape, bool)
    crossings = [_crossings(np.asarray(points, np.float64), shape) for points in contours]
    columns, rows = (np.concatenate([c[k] for c in crossings] or [np.zeros(0, np.int64)]) for k in range(2))
    if not columns.size:
        return result
    # In the box that holds them all: a large slice costs no more than what is drawn on it.
    left, right, low, high = columns.min(), columns.max(), rows.min(), rows.max()
    width, height = int(right - left), int(high - low + 1)
    # A crossing turns inside to outside for all voxels further along x.
    places = (columns - left) * height + rows - low
    turns = np.bincount(places, minlength=(width + 1) * height).reshape(width + 1, height)[:-1]
    result[left:right, low : high + 1] = turns.cumsum(0) % 2 == 1
    return result


def _crossings(points: NDArray[np.float64], shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the edges of a contour cross the lines of voxel centres: first voxel beyond the edge, and row."""
    width, height = shape
    following = np.roll(points, -1, 0)
    # Each edge from its lower to its upper end, so that an edge that is run both ways gives the same crossings.
    swap = (points[:, 1] > following[:, 1]) | ((points[:, 1] == following[:, 1]) & (points[:, 0] > following[:, 0]))
    low = np.where(swap[:, None], following, points)
    high = np.where(swap[:, None], points, following)
    first = np.clip(np.ceil(low[:, 1]), 0, height).astype(np.int64)
    stop = np.clip(np.ceil(high[:, 1]), 0, height).astype(np.int64)
    count = np.maximum(stop - first, 0)
    edge = np.repeat(np.arange(len(points)), count)
    if not edge.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    row = first[edge] + np.arange(edge.size) - np.repeat(np.cumsum(count) - count, count)
    slope = (high[edge, 0] - low[edge, 0]) / (high[edge, 1] - low[edge, 1])
    place = low[edge, 0] + (row - low[edge, 1]) * slope
    return np.clip(np.ceil(place), 0, width).astype(np.int64), row
