"""Made-up boxes of a chosen skill, and the same in COCO's words."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from medcnn.evaluation.detection import DetectionTable
from medcnn.types import Boxes, BoxesPrediction, LabelClass, LabelSchema

ONE = LabelSchema((LabelClass(0, "nodule", "#00aa00"),))
TWO = LabelSchema((LabelClass(0, "nodule"), LabelClass(1, "mass")))
SIZE = 200


def boxes(*rows: tuple[float, ...], labels: list[int] | None = None, crowd: list[bool] | None = None) -> Boxes:
    corners = np.array(rows, np.float32).reshape(len(rows), -1 if rows else 4)
    return Boxes(corners, np.array(labels or [0] * len(rows), np.int64), None if crowd is None else np.array(crowd))


def found(*rows: tuple[float, ...], labels: list[int] | None = None, **facts: Any) -> BoxesPrediction:
    """Boxes with the score last, in a square image of 200 px with a spacing of 0.5 mm."""
    table = np.array(rows, np.float32).reshape(len(rows), -1 if rows else 5)
    facts = {"shape": (SIZE, SIZE), "spacing": (0.5, 0.5), **facts}
    return BoxesPrediction(table[:, :-1], np.array(labels or [0] * len(rows), np.int64), table[:, -1], **facts)


def random_table(
    images: int = 40, classes: int = 1, *, seed: int = 0, negatives: float = 0.3, false: int = 4, crowd: float = 0.0,
    dims: int = 2, **facts: Any,
) -> DetectionTable:  # fmt: skip
    """Images with up to three objects, of which most are found, and some false positives with low scores."""
    rng = np.random.default_rng(seed)
    predictions, references = [], []
    for _ in range(images):
        count = 0 if rng.random() < negatives else int(rng.integers(1, 4))
        low = rng.uniform(0, 0.7 * SIZE, (count, dims))
        reference = np.concatenate([low, low + rng.uniform(10, 50, (count, dims))], 1).astype(np.float32)
        labels = rng.integers(0, classes, count)
        hit = rng.random(count) < 0.8
        near = reference[hit] + rng.normal(0, 2.5, (int(hit.sum()), 2 * dims))
        second = reference[hit & (rng.random(count) < 0.3)]
        far = rng.uniform(0, 0.7 * SIZE, (int(rng.integers(0, 2 * false + 1)), dims))
        others = np.concatenate([second, np.concatenate([far, far + rng.uniform(10, 50, far.shape)], 1)])
        scores = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(2, 5, len(others))]).astype(np.float32)
        same = np.where(rng.random(len(near)) < 0.85, labels[hit], rng.integers(0, classes, len(near)))
        named = np.concatenate([same, rng.integers(0, classes, len(others))])
        corners = np.concatenate([near, others]).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        predictions.append(
            BoxesPrediction(corners[order], named[order].astype(np.int64), scores[order], (SIZE,) * dims, (0.5,) * dims)
        )
        flags = rng.random(count) < crowd if crowd else None
        references.append(Boxes(reference, labels.astype(np.int64), flags))
    return DetectionTable.of([f"case {i:03d}" for i in range(images)], predictions, references, **facts)


def coco_precision(table: DetectionTable, classes: int, *, agnostic: bool = False, most: int = 100) -> Any:
    """pycocotools' average precision ``(10 overlaps, classes)``; NaN without references."""

    def xywh(b: Any) -> list[float]:
        return [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])]

    truth, notes = COCO(), []
    for image, wanted in enumerate(table.references):
        many = np.zeros(len(wanted.corners), bool) if wanted.crowd is None else wanted.crowd
        for corners, label, crowd in zip(wanted.corners, wanted.labels, many, strict=True):
            notes.append(
                {"id": len(notes) + 1, "image_id": image, "category_id": int(label), "bbox": xywh(corners),
                 "area": float((corners[2:] - corners[:2]).prod()), "iscrowd": int(crowd)}
            )  # fmt: skip
    truth.dataset = {
        "images": [{"id": i} for i in range(len(table))],
        "categories": [{"id": c} for c in range(classes)],
        "annotations": notes,
    }
    truth.createIndex()
    results = [
        {"image_id": image, "category_id": int(label), "bbox": xywh(corners), "score": float(score)}
        for image, made in enumerate(table.predictions)
        for corners, label, score in zip(made.corners, made.labels, made.scores, strict=True)
    ]
    judge = COCOeval(truth, truth.loadRes(results), "bbox")
    judge.params.useCats = int(not agnostic)
    judge.params.maxDets = [most]
    judge.evaluate()
    judge.accumulate()
    precision = np.asarray(judge.eval["precision"])[:, :, :, 0, -1].mean(1)
    return np.where(precision < 0, np.nan, precision)
