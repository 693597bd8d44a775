"""Which predicted boxes of a table hit which references, under one rule, as lists over all images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.detection_curves import Candidates
from medcnn.evaluation.detection_table import DetectionTable
from medcnn.geometry.boxes import box_iou, intersections, volumes
from medcnn.geometry.matching import Duplicates, HitRule, match_boxes
from medcnn.types import Boxes, BoxesPrediction

Array = NDArray[np.float64]
Per = Literal["image", "patient", "study"]
# COCO's thresholds, 0.5 to 0.95.
COCO_IOUS = tuple(float(v) for v in np.round(np.arange(0.5, 1.0, 0.05), 2))


@dataclass(frozen=True, slots=True)
class Hits:
    """When a predicted box hits a reference.

    Attributes:
        rule: ``iou``, or ``centre`` (the middle of the box lies in the reference).
        least: Least intersection over union, for ``iou``.
        duplicates: What a second hit of a reference is.
        most: The boxes with the highest scores that are kept of an image; where classes are matched apart, of a class.
    """

    rule: HitRule = "iou"
    least: float = 0.1
    duplicates: Duplicates = "false_positive"
    most: int = 100


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The references of a table as one list.

    Attributes:
        image: ``(M,)`` position of the image.
        label: ``(M,)`` position of the class; -1 for an ignored region of no class, or of any.
        counted: ``(M,)`` False for regions that count neither as found nor as missed.
        start: ``(N,)`` place of an image's first reference in the list.
    """

    image: NDArray[np.intp]
    label: NDArray[np.int64]
    counted: NDArray[np.bool_]
    start: NDArray[np.intp]

    @classmethod
    def of(cls, references: Sequence[Boxes]) -> Objects:
        """The list of ``(N,)`` references."""
        sizes = np.array([len(b.corners) for b in references], np.intp)
        labels = [np.asarray(b.labels, np.int64) for b in references]
        counted = [~crowds(b) for b in references]
        return cls(
            np.repeat(np.arange(len(sizes)), sizes),
            np.concatenate([np.zeros(0, np.int64), *labels]),
            np.concatenate([np.zeros(0, bool), *counted]),
            np.cumsum(sizes) - sizes,
        )

    def counts(self, among: NDArray[np.bool_] | None = None) -> Array:
        """How many references of each image count, ``(N,)``; of those in ``among`` alone where it is given."""
        chosen = self.counted if among is None else self.counted & among
        return np.bincount(self.image[chosen], minlength=len(self.start)).astype(np.float64)


def crowds(boxes: Boxes) -> NDArray[np.bool_]:
    """``(M,)`` True for regions that count neither way."""
    return np.zeros(len(boxes.corners), bool) if boxes.crowd is None else np.asarray(boxes.crowd, bool)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The kept predictions of all images under one rule.

    Attributes:
        image: ``(K,)`` position of the image, rising.
        place: ``(K,)`` position among the image's predictions.
        label: ``(K,)`` position of the class.
        score: ``(K,)``.
        hit: ``(K,)`` place of the reference in :class:`Objects`; -1 where none is hit.
        ignored: ``(K,)`` True where a prediction counts neither way.
    """

    image: NDArray[np.intp]
    place: NDArray[np.intp]
    label: NDArray[np.int64]
    score: Array
    hit: NDArray[np.int64]
    ignored: NDArray[np.bool_]

    def candidates(
        self, references: Array, label: int | None = None, left_out: NDArray[np.bool_] | None = None
    ) -> Candidates:
        """What curves are computed from.

        Args:
            references: ``(N,)`` reference boxes of each image that count.
            label: Predictions of this class alone; ``None``: of all.
            left_out: ``(K,)`` further predictions that count neither way.
        """
        kept = ~self.ignored if left_out is None else ~self.ignored & ~left_out
        if label is not None:
            kept = kept & (self.label == label)
        return Candidates.of(self.score[kept], self.image[kept], self.hit[kept] >= 0, references)


class Matcher:
    """Matches one table under several rules; what the rules share is computed once.

    Attributes:
        table: The images.
        objects: Their references.
    """

    def __init__(self, table: DetectionTable) -> None:
        self.table = table
        self.objects = Objects.of(table.references)
        self._overlap = [_best_overlap(p, r) for p, r in zip(table.predictions, table.references, strict=True)]

    def match(self, rule: Hits, *, aware: bool, lowest: Array | None = None) -> Matches:
        """Match all images.

        Args:
            rule: When a box hits.
            aware: A box hits references of its own class alone.
            lowest: ``(N, C)`` the lowest score that counts, by image and class; absent: all scores do.
        """
        columns: list[tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.bool_]]] = []
        for row, (found, wanted) in enumerate(zip(self.table.predictions, self.table.references, strict=True)):
            kept = _kept(found, rule.most, aware)
            if lowest is not None and len(kept):
                kept = kept[found.scores[kept].astype(np.float64) >= lowest[row, found.labels[kept]]]
            columns.append((kept, *self._matched(row, found, wanted, kept, rule, aware)))
        sizes = [len(kept) for kept, _, _ in columns]
        predictions = self.table.predictions
        chosen = [kept for kept, _, _ in columns]
        return Matches(
            np.repeat(np.arange(len(sizes)), sizes),
            _chain(chosen, np.intp),
            _chain([p.labels[kept] for p, kept in zip(predictions, chosen, strict=True)], np.int64),
            _chain([p.scores[kept] for p, kept in zip(predictions, chosen, strict=True)], np.float64),
            _chain([hit for _, hit, _ in columns], np.int64),
            _chain([ignored for _, _, ignored in columns], np.bool_),
        )

    def _matched(
        self, row: int, found: BoxesPrediction, wanted: Boxes, kept: NDArray[np.intp], rule: Hits, aware: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        hit, ignored = np.full(len(kept), -1, np.int64), np.zeros(len(kept), bool)
        # What overlaps no reference by enough hits none: most boxes of most images.
        near = np.arange(len(kept)) if rule.rule == "centre" else np.flatnonzero(self._overlap[row][kept] >= rule.least)
        if not len(near) or not len(wanted.corners):
            return hit, ignored
        chosen = kept[near]
        if aware:
            wanted = _of_every_class(wanted, np.unique(found.labels))
        outcome = match_boxes(
            found.corners[chosen], found.scores[chosen], wanted.corners, rule=rule.rule, threshold=rule.least,
            predicted_labels=found.labels[chosen] if aware else None,
            reference_labels=wanted.labels if aware else None, crowd=crowds(wanted), duplicates=rule.duplicates,
        )  # fmt: skip
        hit[near] = np.where(outcome.hit >= 0, outcome.hit + self.objects.start[row], -1)
        ignored[near] = outcome.ignored
        return hit, ignored


def _of_every_class(boxes: Boxes, labels: NDArray[np.int64]) -> Boxes:
    """With ignored regions of no class once for each of some classes, behind the others."""
    many = crowds(boxes)
    rows = np.flatnonzero(many & (boxes.labels < 0))
    if not len(rows):
        return boxes
    return Boxes(
        np.concatenate([boxes.corners, np.repeat(boxes.corners[rows], len(labels), axis=0)]),
        np.concatenate([boxes.labels, np.tile(labels, len(rows))]),
        np.concatenate([many, np.ones(len(rows) * len(labels), bool)]),
    )


def _best_overlap(found: BoxesPrediction, wanted: Boxes) -> Array:
    """``(K,)`` the largest overlap of each prediction with a reference, as matching measures it."""
    if not len(wanted.corners) or not len(found.corners):
        return np.zeros(len(found.corners))
    overlap, many = box_iou(found.corners, wanted.corners), crowds(wanted)
    if many.any():
        inside = intersections(found.corners, wanted.corners) / np.maximum(volumes(found.corners), 1e-12)[:, None]
        overlap = np.where(many[None], inside, overlap)
    return np.asarray(overlap.max(1))


def _kept(found: BoxesPrediction, most: int, aware: bool) -> NDArray[np.intp]:
    """Positions of the boxes that are kept, by falling score."""
    count = len(found.scores)
    if count <= most:
        return np.arange(count)
    if not aware:
        return np.arange(most)
    seen: dict[int, int] = {}
    kept = []
    for place, label in enumerate(found.labels.tolist()):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= most:
            kept.append(place)
    return np.array(kept, np.intp)


def _chain(parts: Sequence[NDArray[Any]], kind: type[Any]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *parts]).astype(kind)


def unit_shares(table: DetectionTable, per: Per) -> Array | None:
    """What each image adds to the number that false positives are divided by, ``(N,)``.

    1 where they are counted per image, 1 over the images of its patient or study otherwise; ``None`` where these are
    not known.
    """
    if per == "image":
        return np.ones(len(table))
    names = table.patients if per == "patient" else table.studies
    if names is None:
        return None
    codes = np.unique(names, return_inverse=True)[1].reshape(-1)
    return np.asarray(1 / np.bincount(codes)[codes], np.float64)


def lowest_scores(
    fold: NDArray[np.int64], names: Sequence[str], thresholds: Sequence[Mapping[str, float]], fallback: float
) -> Array:
    """``(N, C)`` the lowest score of each class at which a box is called a finding, by the fold of the image.

    Args:
        fold: ``(N,)``.
        names: ``(C,)`` of the classes.
        thresholds: By fold; one that is missing, or lacks a class, leaves it to ``fallback``.
        fallback: The threshold where none was chosen.
    """
    table = [[chosen.get(name, fallback) for name in names] for chosen in thresholds]
    table += [[fallback] * len(names)] * (int(fold.max(initial=0)) + 1 - len(table))
    return np.asarray(np.array(table, np.float64)[fold])
