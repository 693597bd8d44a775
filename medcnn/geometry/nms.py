"""Non-maximum suppression and weighted clustering of boxes, in 2D and 3D, without a loop over boxes.

Of 10,000 boxes only those that can overlap enough are compared. An intersection over union of t needs volumes whose
ratio is t at least, and along each axis middles that are no further apart than (1 - t) / (1 + t) of the longer side. So
boxes are sorted into classes of volume, and a k-d tree finds the near ones in and between neighbouring classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from medcnn.geometry.boxes import Corners, centres, paired_iou, sides, volumes

Pairs = NDArray[np.int64]
# Below this ratio of volumes classes would be so wide that they prune nothing: one class holds all.
_LEAST_RATIO = 0.05


class Clusters(NamedTuple):
    """Boxes that were merged: ``(K, 2*D)`` corners, ``(K,)`` scores, labels and numbers of members."""

    corners: Corners
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]


def overlapping_pairs(corners: Corners, threshold: float) -> tuple[Pairs, NDArray[np.float64]]:
    """All pairs of boxes whose intersection over union is above a threshold.

    Args:
        corners: ``(N, 2*D)``.
        threshold: 0 to 1.

    Returns:
        ``(P, 2)`` positions, the smaller first, and ``(P,)`` their intersections over union.
    """
    solid = np.flatnonzero(volumes(corners) > 0)
    kinds = np.zeros(len(solid), np.int64)
    if _LEAST_RATIO <= threshold < 1:
        kinds = np.floor(np.log(volumes(corners)[solid]) / -np.log(threshold)).astype(np.int64)
    found = [np.zeros((0, 2), np.int64)]
    groups = {int(k): solid[kinds == k] for k in np.unique(kinds)}
    for kind, members in groups.items():
        found.append(_near(corners, members, None, threshold))
        if kind + 1 in groups:
            found.append(_near(corners, members, groups[kind + 1], threshold))
    pairs = np.sort(np.concatenate(found), 1)
    overlap = paired_iou(corners[pairs[:, 0]], corners[pairs[:, 1]])
    chosen = overlap > threshold
    return pairs[chosen], overlap[chosen]


def _near(corners: Corners, first: Pairs, second: Pairs | None, threshold: float) -> Pairs:
    """Pairs within one class of volume, or between two, whose middles are near enough along each axis."""
    involved = first if second is None else np.concatenate([first, second])
    reach = sides(corners[involved]).max(0) * (1 - threshold) / (1 + threshold)
    scaled = centres(corners) / np.maximum(reach, 1e-9)
    tree = cKDTree(scaled[first])
    radius = 1 + 1e-6
    if second is None:
        inner: Pairs = tree.query_pairs(radius, p=np.inf, output_type="ndarray").astype(np.int64)
        return first[inner].reshape(-1, 2)
    other = cKDTree(scaled[second])
    near = tree.sparse_distance_matrix(other, radius, p=np.inf, output_type="ndarray")
    return np.stack([first[near["i"]], second[near["j"]]], 1)


def keep_best(
    corners: Corners, scores: ArrayLike, threshold: float, *, labels: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression.

    A box is kept unless one with a higher score that is kept overlaps it by more than the threshold; of equal scores
    the first goes first, as in torchvision.

    Args:
        corners: ``(N, 2*D)``.
        scores: ``(N,)``.
        threshold: Intersection over union above which the lower score goes.
        labels: ``(N,)``; boxes of different labels do not suppress each other. Absent: all do.

    Returns:
        Positions of the kept boxes, by falling score.
    """
    order, pairs, _ = _ranked_pairs(corners, scores, threshold, labels)
    kept = _settle(len(order), pairs)
    return order[kept]


def _ranked_pairs(
    corners: Corners, scores: ArrayLike, threshold: float, labels: ArrayLike | None
) -> tuple[NDArray[np.int64], Pairs, NDArray[np.float64]]:
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable").astype(np.int64)
    ranked = np.asarray(corners, np.float32)[order]
    pairs, overlap = overlapping_pairs(ranked, threshold)
    if labels is not None:
        kinds = np.asarray(labels)[order]
        same = kinds[pairs[:, 0]] == kinds[pairs[:, 1]]
        pairs, overlap = pairs[same], overlap[same]
    return order, pairs, overlap


def _settle(count: int, pairs: Pairs) -> NDArray[np.bool_]:
    """Which of the boxes, ranked by score, are kept: all that nothing better suppresses, round by round.

    In each round a box of which all better neighbours are decided and none kept is kept, and what a kept box overlaps
    goes. The rounds are as many as the longest chain of doubts, not as the boxes.
    """
    kept = np.zeros(count, bool)
    gone = np.zeros(count, bool)
    while True:
        waits = np.zeros(count, bool)
        waits[pairs[:, 1]] = True
        fresh = ~waits & ~kept & ~gone
        kept |= fresh
        if not len(pairs):
            return kept
        gone[pairs[kept[pairs[:, 0]], 1]] = True
        pairs = pairs[~kept[pairs[:, 0]] & ~gone[pairs[:, 0]] & ~gone[pairs[:, 1]]]


def merge_boxes(
    corners: Corners,
    scores: ArrayLike,
    labels: ArrayLike,
    threshold: float,
    *,
    views: ArrayLike | int = 1,
) -> Clusters:
    """Weighted clustering of boxes that several tiles, mirror images or networks predicted for one object.

    A box belongs to the best kept box of its label that it overlaps by more than the threshold. With weights w, the
    overlap with that best box times its own area, a cluster has the corners Σ s w c / Σ s w and the score
    Σ s w / (Σ w + missing · mean w), where missing is the number of views that saw the place and gave no box
    (weighted box clustering, Jaeger et al. 2018, arXiv:1811.08661).

    Args:
        corners: ``(N, 2*D)``.
        scores: ``(N,)`` in [0, 1].
        labels: ``(N,)``.
        threshold: Intersection over union above which boxes are one.
        views: How many predictions looked at each box's place: ``(N,)``, or one number for all.

    Returns:
        The clusters, by falling score.
    """
    boxes = np.asarray(corners, np.float32)
    if not len(boxes):
        none = np.zeros(0, np.int64)
        return Clusters(boxes.reshape(0, boxes.shape[1]), np.zeros(0, np.float32), none, none)
    order, pairs, overlap = _ranked_pairs(boxes, scores, threshold, labels)
    kept = _settle(len(order), pairs)
    by_best = kept[pairs[:, 0]] & ~kept[pairs[:, 1]]
    first, weight = _best_of(len(order), pairs[by_best], overlap[by_best])
    seeds = np.flatnonzero(kept)
    cluster = np.searchsorted(seeds, first)
    score = np.asarray(scores, np.float64)[order]
    weight *= np.maximum(volumes(boxes[order]), 1e-12)
    count = np.bincount(cluster, minlength=len(seeds))
    total, scored = np.bincount(cluster, weight, len(seeds)), np.bincount(cluster, weight * score, len(seeds))
    looked = np.broadcast_to(np.asarray(views), len(order))[order][seeds]
    missing = np.maximum(looked - count, 0)
    share = np.maximum(weight * score, 1e-300)
    means = [np.bincount(cluster, share * column, len(seeds)) for column in boxes[order].T.astype(np.float64)]
    merged = np.stack(means, 1) / np.bincount(cluster, share, len(seeds))[:, None]
    points = (scored / (total + missing * total / count)).astype(np.float32)
    ranking = np.argsort(-points, kind="stable")
    kinds = np.asarray(labels, np.int64)[order][seeds]
    return Clusters(
        merged[ranking].astype(np.float32), points[ranking], kinds[ranking], count[ranking].astype(np.int64)
    )


def _best_of(count: int, pairs: Pairs, overlap: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each ranked box the kept one that it belongs to (itself where it is kept), and their overlap."""
    first, weight = np.arange(count), np.ones(count)
    # Written from the worst to the best, so that the best stays.
    back = np.argsort(-pairs[:, 0], kind="stable")
    first[pairs[back, 1]] = pairs[back, 0]
    weight[pairs[back, 1]] = overlap[back]
    return first, weight
