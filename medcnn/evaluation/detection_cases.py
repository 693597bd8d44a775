"""Single images of a detection: galleries of false positives, misses and hits, and the table of images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.detection_figures import Detections
from medcnn.evaluation.detection_scene import Matched
from medcnn.evaluation.detection_sizes import Sizes, found_references
from medcnn.evaluation.results import GalleryItem, GalleryPanel

_IN_A_LINE = 4


def galleries(detections: Detections, matched: Matched, sizes: Sizes, size: int, seed: int) -> list[GalleryPanel]:
    """False positives by score, misses by size, and random images in which all is right.

    Args:
        detections: The images.
        matched: Their boxes.
        sizes: Of the references.
        size: Pictures of the first two; a third of that of the last.
        seed: Fixes the random ones.
    """
    if not size:
        return []
    contours = {c.name: c.color for c in detections.schema.classes}
    words = "Reference solid; prediction dashed, with its score."
    panels = []
    for name, title, rows, caption in (
        ("false-positives", "False positives", _by_score(matched), "The images with the surest ones first."),
        ("misses", "Missed objects", _by_size(matched, sizes), "The images with the largest ones first."),
    ):
        if len(rows):
            count = f"{len(rows):,} images have some. " if len(rows) > size else ""
            items = [_item(detections, matched, int(row)) for row in rows[:size]]
            panels.append(GalleryPanel(name, title, items, f"{caption} {count}{words}", contours=contours))
    right = _right(detections)
    few = max(1, size // 3)
    if len(right):
        drawn = np.sort(np.random.default_rng(seed).choice(right, min(few, len(right)), replace=False))
        items = [_item(detections, matched, int(row)) for row in drawn]
        caption = f"{len(drawn):,} of the {len(right):,} images in which all objects are found and none is invented, "
        panels.append(GalleryPanel("hits", "Hits", items, f"{caption}drawn at random. {words}", contours=contours))
    return panels


def _by_score(matched: Matched) -> NDArray[np.intp]:
    """Images with a false positive, by the highest score of one."""
    false = (matched.called.hit < 0) & ~matched.called.ignored
    order = np.argsort(-matched.called.score[false], kind="stable")
    return np.array(list(dict.fromkeys(matched.called.image[false][order].tolist())), np.intp)


def _by_size(matched: Matched, sizes: Sizes) -> NDArray[np.intp]:
    """Images with a missed object, by the size of the largest."""
    objects = matched.objects
    missed = np.flatnonzero(objects.counted & ~found_references(matched.called, len(objects.image)))
    order = np.argsort(-np.nan_to_num(sizes.references[missed], nan=-1.0), kind="stable")
    return np.array(list(dict.fromkeys(objects.image[missed][order].tolist())), np.intp)


def _right(detections: Detections) -> NDArray[np.intp]:
    """Images with objects, all found, and no false positive."""
    tp, fp, fn = detections.counts(None, None)
    return np.flatnonzero((tp > 0) & (fp == 0) & (fn == 0))


def _item(detections: Detections, matched: Matched, row: int) -> GalleryItem:
    names, tp = detections.schema.names, detections.counts(None, None)
    found, false, missed = (int(v[row]) for v in tp)
    called = matched.called
    own = np.flatnonzero((called.image == row) & ~called.ignored)
    own = own[np.argsort(-called.score[own], kind="stable")]
    texts = []
    for place in own[:_IN_A_LINE].tolist():
        word = "hit" if called.hit[place] >= 0 else "false"
        name = f"{names[called.label[place]]} " if detections.several else ""
        texts.append(f"{name}{called.score[place]:.2f} {word}")
    more = [f"{len(own) - _IN_A_LINE} more"] if len(own) > _IN_A_LINE else []
    boxes = f": {', '.join([*texts, *more])}" if texts else ""
    text = f"{found} found, {missed} missed, {false} false{boxes}"
    return GalleryItem(detections.table.cases[row], text, "wrong" if missed or false else "right")


def case_rows(detections: Detections) -> tuple[list[str], list[list[Any]]]:
    """A row an image for ``evaluation/cases.csv``.

    Ids; objects and called boxes; found, invented and missed whatever the class; highest score; whether the image is
    positive, is called so, and is so by a box that hits; then found, invented and missed of each class.
    """
    table, names, findings = detections.table, detections.schema.names, detections.scene.findings
    tp, fp, fn = detections.counts(None, None)
    columns = ["case", "patient", "cluster", "fold", "objects", "boxes", "tp", "fp", "fn", "score", "reference"]
    columns += ["predicted", "correct", "placed"]
    classes = [detections.counts(name, None) for name in names] if detections.several else []
    columns += [f"{k}_{name}" for name in names for k in ("tp", "fp", "fn")] if detections.several else []
    rows: list[list[Any]] = []
    for i, case in enumerate(table.cases):
        patient = "" if table.patients is None else str(table.patients[i])
        known, called = not np.isnan(findings.positive[i]), bool(findings.called[i])
        reference = int(findings.positive[i]) if known else ""
        row: list[Any] = [case, patient, str(table.clusters[i]), int(table.fold[i]), int(tp[i] + fn[i])]
        row += [int(tp[i] + fp[i]), int(tp[i]), int(fp[i]), int(fn[i]), float(f"{findings.score[i]:.9g}")]
        row += [reference, int(called), int(called == (reference == 1)) if known else "", int(findings.placed[i])]
        row += [int(v[i]) for counts in classes for v in counts]
        rows.append(row)
    return columns, rows
