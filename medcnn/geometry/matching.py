"""Which predicted box hits which reference box: greedy by score, each reference once at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcnn.geometry.boxes import Corners, box_iou, centres, contains, intersections, volumes

HitRule = Literal["iou", "centre"]
Duplicates = Literal["false_positive", "ignored"]


@dataclass(frozen=True, slots=True, eq=False)
class BoxMatches:
    """The outcome for the predictions of one image.

    Attributes:
        hit: ``(N,)`` position of the reference that a prediction hits; -1 where it hits none.
        ignored: ``(N,)`` True where a prediction counts neither way: in an ignored region, or a second hit where those
            are left out.
        duplicate: ``(N,)`` True where a prediction would hit a reference that a better one took.
        found: ``(M,)`` score of the prediction that hits a reference; NaN where it is missed.
    """

    hit: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]
    found: NDArray[np.float64]


def match_boxes(
    predicted: Corners,
    scores: ArrayLike,
    reference: Corners,
    *,
    rule: HitRule = "iou",
    threshold: float = 0.5,
    predicted_labels: ArrayLike | None = None,
    reference_labels: ArrayLike | None = None,
    ignore: ArrayLike | None = None,
    crowd: ArrayLike | None = None,
    duplicates: Duplicates = "false_positive",
) -> BoxMatches:
    """Match predictions to references by falling score.

    Each prediction takes, of the references that are free and that it hits, the one it overlaps most; where none is
    free it may fall to an ignored region, and counts neither way. This is the order of COCO's evaluation.

    Args:
        predicted: ``(N, 2*D)``.
        scores: ``(N,)``; of equal scores the first goes first.
        reference: ``(M, 2*D)``.
        rule: ``iou``: the intersection over union is ``threshold`` or more. ``centre``: the middle of the prediction
            lies in the reference; the reference whose middle is nearest is taken.
        threshold: For ``iou``.
        predicted_labels: ``(N,)``, and
        reference_labels: ``(M,)``: only equal labels match; absent: all do.
        ignore: ``(M,)`` True for regions that count neither as found nor as missed.
        crowd: ``(M,)`` True for regions of many objects: ignored, taken any number of times, and overlap is measured
            as the share of the prediction inside.
        duplicates: What a second hit of a reference is.
    """
    left_out = np.zeros(len(reference), bool) if ignore is None else np.array(ignore, bool)
    many = np.zeros(len(reference), bool) if crowd is None else np.array(crowd, bool)
    left_out = left_out | many
    closeness = _closeness(predicted, reference, rule, threshold, many)
    if predicted_labels is not None and reference_labels is not None:
        other = np.asarray(predicted_labels)[:, None] != np.asarray(reference_labels)[None]
        closeness = np.where(other, -np.inf, closeness)
    return _assigned(closeness, np.asarray(scores, np.float64), left_out, many, duplicates)


def _assigned(
    closeness: NDArray[np.float64],
    scores: NDArray[np.float64],
    left_out: NDArray[np.bool_],
    many: NDArray[np.bool_],
    duplicates: Duplicates,
) -> BoxMatches:
    count, references = closeness.shape
    hit = np.full(count, -1, np.int64)
    ignored, duplicate = np.zeros(count, bool), np.zeros(count, bool)
    found = np.full(references, np.nan)
    free = np.ones(references, bool)
    # A prediction that hits nothing has nothing to settle.
    hopeful = np.flatnonzero(np.isfinite(closeness).any(1)) if references else np.zeros(0, np.int64)
    for place in hopeful[np.argsort(-scores[hopeful], kind="stable")]:
        target = _taken(closeness[place], free, left_out)
        if target is None:
            duplicate[place] = True
            ignored[place] = duplicates == "ignored"
            continue
        ignored[place] = left_out[target]
        if not left_out[target]:
            hit[place], found[target] = target, scores[place]
        free[target] = many[target]
    return BoxMatches(hit, ignored, duplicate, found)


def _closeness(
    predicted: Corners, reference: Corners, rule: HitRule, threshold: float, many: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """``(N, M)``, larger is closer; minus infinity where a prediction does not hit."""
    if rule == "centre":
        middle = centres(predicted)
        inside = contains(reference, middle).T
        distance = np.linalg.norm(middle[:, None] - centres(reference)[None], axis=2)
        return np.where(inside, -distance, -np.inf)
    overlap = box_iou(predicted, reference)
    if many.any():
        area = np.maximum(volumes(predicted), 1e-12)[:, None]
        overlap = np.where(many[None], intersections(predicted, reference) / area, overlap)
    return np.where(overlap >= threshold, overlap, -np.inf)


def _taken(closeness: NDArray[np.float64], free: NDArray[np.bool_], left_out: NDArray[np.bool_]) -> int | None:
    """The closest free reference, counted ones before ignored ones; ``None`` where all that are hit are taken."""
    for among in (free & ~left_out, free & left_out):
        open_ = np.where(among, closeness, -np.inf)
        best = int(open_.argmax())
        if np.isfinite(open_[best]):
            return best
    return None
