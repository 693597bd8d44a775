"""Anchor shapes fitted to the boxes of the training part, and what they reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
_ROUNDS = 50
_REACHES = (0.3, 0.5, 0.7)
# Boxes that are looked at; more do not change the shapes.
_MOST = 5000


def shape_iou(sizes: ArrayLike, shapes: ArrayLike) -> Array:
    """Intersection over union ``(N, K)`` of boxes ``(N, D)`` and anchors ``(K, D)`` with a common middle."""
    a, b = np.asarray(sizes, np.float64)[:, None], np.asarray(shapes, np.float64)[None]
    shared = np.minimum(a, b).prod(2)
    whole: Array = shared / (a.prod(2) + b.prod(2) - shared)
    return whole


def fit_anchors(sizes: ArrayLike, count: int, scales: Sequence[float]) -> Array:
    """Shapes that come close to given boxes at one of several scales.

    Lloyd's algorithm with 1 - IoU as the distance (Redmon & Farhadi 2017), where each shape stands at every scale: a
    box is assigned to the shape and scale that it overlaps most, and a shape moves to the geometric mean of its boxes,
    each divided by its scale. It is begun from boxes evenly spread by volume and by elongation, at each scale, and the
    best end is taken; nothing is drawn by chance.

    Args:
        sizes: ``(N, D)`` sides of the training boxes, N of 1 or more.
        count: Shapes, K.
        scales: Scale of each level of the pyramid relative to the finest, rising from 1.

    Returns:
        ``(K, D)`` shapes at the finest level, by rising volume.
    """
    boxes = np.maximum(np.asarray(sizes, np.float64), 1e-3)
    boxes = boxes[np.argsort(boxes.prod(1), kind="stable")]
    boxes = boxes[:: -(-len(boxes) // _MOST)]
    steps = np.asarray(scales, np.float64)
    by_elongation = np.argsort(boxes[:, 0] / boxes[:, -1], kind="stable")
    spread = ((np.arange(count) + 0.5) / count * len(boxes)).astype(int)
    starts = [boxes[order][spread] / step for order in (np.arange(len(boxes)), by_elongation) for step in steps]
    ends = [_settled(boxes, start, steps) for start in starts]
    best = max(ends, key=lambda end: end[1])[0]
    result: Array = best[np.argsort(best.prod(1), kind="stable")]
    return result


def _settled(boxes: Array, shapes: Array, steps: Array) -> tuple[Array, float]:
    """The shapes when they no longer gain, and the mean overlap of boxes with the best of them."""
    best, best_mean = shapes, -1.0
    for _ in range(_ROUNDS):
        overlap = shape_iou(boxes, (steps[:, None, None] * shapes[None]).reshape(-1, boxes.shape[1]))
        chosen, mean = overlap.argmax(1), float(overlap.max(1).mean())
        if mean <= best_mean + 1e-6:
            break
        best, best_mean = shapes, mean
        level, kind = np.divmod(chosen, len(shapes))
        moved = np.log(boxes / steps[level][:, None])
        shapes = np.stack(
            [np.exp(moved[kind == k].mean(0)) if (kind == k).any() else shapes[k] for k in range(len(shapes))]
        )
    return best, best_mean


def reached(sizes: ArrayLike, shapes: ArrayLike) -> dict[float, float]:
    """The share of boxes ``(N, D)`` that some anchor ``(K, D)`` overlaps by 0.3, 0.5 and 0.7 at least, if centred."""
    best = shape_iou(sizes, shapes).max(1)
    return {least: float((best >= least).mean()) for least in _REACHES}
