"""A table of boxes, matched: per image what figures sum over, and the ordered lists that curves follow from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.detection_curves import Candidates
from medcnn.evaluation.detection_matches import COCO_IOUS, Hits, Matcher, Matches, Objects, Per, unit_shares
from medcnn.evaluation.detection_table import DetectionTable
from medcnn.types import Counts, LabelSchema

Array = NDArray[np.float64]
# The least intersection over union, and the class; None: whatever the class.
Curve = tuple[float, str | None]
LOOSE_IOU, USUAL_IOU = 0.1, 0.5
IOUS = (LOOSE_IOU, *COCO_IOUS)
_POSITION = "position"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a table is judged, the same for the network and for the baseline.

    Attributes:
        hits: The hit rule of everything but average precision.
        per: What false positives are counted per.
        level: Nominal coverage of intervals.
        operating_point: How thresholds were chosen, in words.
        fallback: The threshold of a class for which none was chosen.
    """

    hits: Hits
    per: Per = "image"
    level: float = 0.95
    operating_point: str = ""
    fallback: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Images, or patients, by whether there is any finding.

    Attributes:
        positive: ``(N,)`` 1 where there is an object, 0 where there is none, NaN where there are ignored regions alone.
        score: ``(N,)`` the highest score of a box; 0 without one.
        called: ``(N,)`` True where a box is called a finding.
        placed: ``(N,)`` True where such a box hits an object.
        fold: ``(N,)``.
    """

    positive: Array
    score: Array
    called: NDArray[np.bool_]
    placed: NDArray[np.bool_]
    fold: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> Findings:
        """Some of them, by position."""
        return Findings(*(getattr(self, name)[rows] for name in self.__slots__))

    def grouped(self, codes: NDArray[np.intp]) -> Findings:
        """Those of patients: anything that one of the images has.

        Args:
            codes: ``(N,)`` the patient of each image, from 0.
        """
        count = int(codes.max(initial=-1)) + 1
        known, any_known = np.zeros(count), np.zeros(count, bool)
        np.maximum.at(known, codes, np.nan_to_num(self.positive))
        np.logical_or.at(any_known, codes, np.isnan(self.positive))
        score = np.zeros(count)
        np.maximum.at(score, codes, self.score)
        called, placed = np.zeros(count, bool), np.zeros(count, bool)
        np.logical_or.at(called, codes, self.called)
        np.logical_or.at(placed, codes, self.placed)
        fold = np.zeros(count, np.int64)
        fold[codes] = self.fold
        return Findings(np.where((known == 0) & any_known, np.nan, known), score, called, placed, fold)

    @property
    def counts(self) -> Counts:
        """Of any finding or none; what is not known counts nowhere."""
        true, false = self.positive == 1, self.positive == 0
        pairs = ((true, self.called), (false, self.called), (true, ~self.called), (false, ~self.called))
        tp, fp, fn, tn = ((a & b)[:, None].astype(np.float64) for a, b in pairs)
        return Counts(tp, fp, fn, tn, "image", ("any finding",))


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What figures are computed from, a row an image.

    Attributes:
        froc: Ordered predictions under the hit rule, by class; ``None``: whatever the class.
        overlaps: Ordered predictions at each IoU of average precision, likewise.
        anywhere: Objects at the operating point whatever the class, one column.
        by_class: Objects at the operating point, a column a class.
        findings: The images by any finding or none.
        shares: ``(N,)`` what each image adds to the number that false positives are divided by.
    """

    froc: Mapping[str | None, Candidates]
    overlaps: Mapping[Curve, Candidates]
    anywhere: Counts
    by_class: Counts
    findings: Findings
    shares: Array

    def take(self, rows: NDArray[np.intp]) -> Scene:
        """Those of some images, by position."""
        return Scene(
            {k: v.take(rows) for k, v in self.froc.items()},
            {k: v.take(rows) for k, v in self.overlaps.items()},
            _rows_of(self.anywhere, rows),
            _rows_of(self.by_class, rows),
            self.findings.take(rows),
            self.shares[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """The single boxes behind a scene.

    Attributes:
        objects: The references.
        all: All predictions under the hit rule, whatever the class.
        called: Those called findings, whatever the class.
    """

    objects: Objects
    all: Matches
    called: Matches


def make_scene(table: DetectionTable, schema: LabelSchema, settings: Settings, lowest: Array) -> tuple[Scene, Matched]:
    """Match a table under every rule that its figures need.

    Args:
        table: The images.
        schema: The classes.
        settings: How they are judged.
        lowest: ``(N, C)`` the lowest score at which a box is called a finding.
    """
    matcher = Matcher(table)
    objects, hits = matcher.objects, settings.hits
    labels: list[str | None] = [None, *schema.names] if len(schema.names) > 1 else [None]
    references = {None: objects.counts()} | {
        name: objects.counts(objects.label == place) for place, name in enumerate(schema.names)
    }

    def ordered(rule: Hits) -> dict[str | None, Candidates]:
        matches = {aware: matcher.match(rule, aware=aware) for aware in {name is not None for name in labels}}
        return {
            name: matches[name is not None].candidates(references[name], None if name is None else schema.index(name))
            for name in labels
        }

    overlaps = {
        (least, name): found
        for least in IOUS
        for name, found in ordered(Hits("iou", least, "false_positive", hits.most)).items()
    }
    every = matcher.match(hits, aware=False)
    called = matcher.match(hits, aware=False, lowest=lowest)
    named = matcher.match(hits, aware=True, lowest=lowest)
    shares = unit_shares(table, settings.per)
    scene = Scene(
        ordered(hits),
        overlaps,
        _object_counts(called, objects, np.zeros_like(called.label), (_POSITION,), every_class=True),
        _object_counts(named, objects, named.label, schema.names),
        _findings(table, objects, every, called),
        np.ones(len(table)) if shares is None else shares,
    )
    return scene, Matched(objects, every, called)


def _object_counts(
    matches: Matches, objects: Objects, label: NDArray[np.int64], names: Sequence[str], *, every_class: bool = False
) -> Counts:
    """Objects of each image and class; there are no true negatives."""
    count, classes = len(objects.start), len(names)

    def table(image: NDArray[Any], column: NDArray[Any]) -> Array:
        flat = np.bincount(image * classes + column, minlength=count * classes)
        return flat.reshape(count, classes).astype(np.float64)

    hit, false = matches.hit >= 0, (matches.hit < 0) & ~matches.ignored
    own = np.zeros_like(objects.label) if every_class else objects.label
    total = table(objects.image[objects.counted], own[objects.counted])
    tp = table(matches.image[hit], label[hit])
    return Counts(tp, table(matches.image[false], label[false]), total - tp, None, "object", tuple(names))


def _findings(table: DetectionTable, objects: Objects, every: Matches, called: Matches) -> Findings:
    count = len(table)
    wanted = objects.counts() > 0
    ignored = np.bincount(objects.image[~objects.counted], minlength=count) > 0
    score = np.zeros(count)
    counted = ~every.ignored
    np.maximum.at(score, every.image[counted], every.score[counted])
    found, placed = np.zeros(count, bool), np.zeros(count, bool)
    found[called.image[~called.ignored]] = True
    placed[called.image[called.hit >= 0]] = True
    positive = np.where(wanted, 1.0, np.where(ignored, np.nan, 0.0))
    return Findings(positive, score, found, placed, table.fold)


def _rows_of(counts: Counts, rows: NDArray[np.intp]) -> Counts:
    return replace(counts, tp=counts.tp[rows], fp=counts.fp[rows], fn=counts.fn[rows])
