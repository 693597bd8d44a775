"""Which of two pictures is a crop of the other, and where: shift and scale along each axis by least squares.

The method of Lucas and Kanade (IJCAI 1981), with brightness and contrast as further unknowns: one linear step for
every pair tells the few that are worth more steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.near_hash import Floats, halved

MOST_SHIFT, MOST_SCALE = 3.5, 0.18
"""In px of 32 and as a share: beyond it no crop is looked for."""

_RESIDUAL, _GAIN = 0.06, 0.7
_STEPS = 3
_RIDGE = 1e-3


def align(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_], Floats]:
    """Pairs that a shift and a scale make alike.

    Args:
        a: ``(P, S, S)`` smoothed.
        b: ``(P, S, S)`` smoothed.

    Returns:
        ``rows (R,)`` of the pairs; ``swap (R,)`` where ``a`` is the crop and ``b`` the larger one; ``moves (R, 4)``
        shift and scale along both axes: where the crop's pixels lie in the larger one, in px and as a share,
        from the centre.
    """
    # The first look, at most of the pairs, is made at half the size.
    unmoved, left, moves = _solve(halved(a), halved(b))
    moves[:, :2] *= 2
    small = (np.abs(moves[:, :2]).max(1) < MOST_SHIFT) & (np.abs(moves[:, 2:]).max(1) < MOST_SCALE)
    rows = np.flatnonzero((left < _RESIDUAL) & (left < _GAIN * unmoved) & small)
    one, two, moves = a[rows].astype(np.float32), b[rows].astype(np.float32), moves[rows]
    # A picture is sampled inside itself alone: the larger one is moved onto the crop.
    swap = moves[:, 2:].sum(1) > 0
    moves[swap] = _inverse(moves[swap])
    source, goal = np.where(swap[:, None, None], two, one), np.where(swap[:, None, None], one, two)
    for _ in range(_STEPS):
        _, _, more = _solve(_sample(source, moves), goal)
        more = np.clip(more, -1, 1)
        scale = moves[:, 2:] + more[:, 2:] + moves[:, 2:] * more[:, 2:]
        moves = np.concatenate([moves[:, :2] + more[:, :2] * (1 + moves[:, 2:]), scale], 1)
        moves[:, :2] = np.clip(moves[:, :2], -MOST_SHIFT, MOST_SHIFT)
        moves[:, 2:] = np.clip(moves[:, 2:], -MOST_SCALE, MOST_SCALE)
    return rows, swap, moves


def sampled(pictures: NDArray[Any], moves: Floats) -> Floats:
    """Pictures ``(R, T, T)`` moved; ``moves`` are in px of 32, whatever the pictures' own size."""
    scaled = moves.copy()
    scaled[:, :2] *= pictures.shape[1] / 32
    return _sample(pictures.astype(np.float32), scaled)


def _inverse(moves: Floats) -> Floats:
    scale = 1 / (1 + moves[:, 2:])
    return np.concatenate([-moves[:, :2] * scale, scale - 1], 1)


def _solve(a: Floats, b: Floats) -> tuple[Floats, Floats, Floats]:
    """Share of the variance of ``b`` left without and with a move of ``a``, and the move ``(P, 4)``."""
    if not len(a):
        return np.empty(0, np.float32), np.empty(0, np.float32), np.empty((0, 4), np.float32)
    n, side, _ = a.shape
    place = np.arange(side, dtype=np.float32) - (side - 1) / 2
    slope0, slope1 = np.gradient(a, axis=(1, 2))
    # In units of the half side the scale's columns are as large as the shift's.
    unit = side / 2
    columns = [a, slope0, slope1, slope0 * (place[:, None] / unit), slope1 * (place / unit)]
    design = np.stack([c.reshape(n, -1) for c in columns], 1)
    design -= design.mean(2, keepdims=True)
    goal = b.reshape(n, -1) - b.mean((1, 2))[:, None]
    total = np.maximum((goal * goal).sum(1), 1e-3)
    gram = design @ design.swapaxes(1, 2)
    gram += np.eye(5, dtype=np.float32) * (_RIDGE * np.trace(gram, axis1=1, axis2=2)[:, None, None] / 5 + 1e-3)
    right = np.einsum("pkm,pm->pk", design, goal)
    found = np.linalg.solve(gram.astype(np.float64), right[..., None])[..., 0].astype(np.float32)
    left = 1 - (2 * (found * right).sum(1) - np.einsum("pk,pkl,pl->p", found, gram, found)) / total
    unmoved = 1 - right[:, 0] ** 2 / np.maximum(gram[:, 0, 0], 1e-3) / total
    contrast = np.where(np.abs(found[:, :1]) < 0.05, 0.05, found[:, :1])
    moves = found[:, 1:] / contrast
    moves[:, 2:] /= unit
    return np.asarray(unmoved, np.float32), np.asarray(left, np.float32), np.asarray(moves, np.float32)


def _sample(pictures: Floats, moves: Floats) -> Floats:
    """Linear interpolation of ``(R, S, S)`` at ``x + shift + scale (x - centre)``; the border goes on outside."""
    side = pictures.shape[1]
    place = np.arange(side, dtype=np.float32)
    at = place + moves[:, :2, None] + moves[:, 2:, None] * (place - (side - 1) / 2)
    at = np.clip(at, 0, side - 1)
    low = np.minimum(at.astype(np.int64), side - 2)
    share = (at - low).astype(np.float32)
    # Shift and scale along the axes alone: one axis after the other.
    rows = np.take_along_axis(pictures, low[:, 0, :, None], 1)
    below = np.take_along_axis(pictures, low[:, 0, :, None] + 1, 1)
    rows += (below - rows) * share[:, 0, :, None]
    found = np.take_along_axis(rows, low[:, 1, None, :], 2)
    beside = np.take_along_axis(rows, low[:, 1, None, :] + 1, 2)
    moved: Floats = found + (beside - found) * share[:, 1, None, :]
    return moved
