"""Time of an evaluation of boxes: 600 images, 2,000 resamples, all figures; the goal is under 10 s.

Run: python tests/benchmarks/bench_detection_evaluation.py [images] [boxes an image] [resamples]
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import numpy as np

from medcnn.evaluation.detection import DetectionTable, choose_detection_thresholds, evaluate_detection
from medcnn.types import Boxes, BoxesPrediction, LabelClass, LabelSchema

GOAL_S = 10.0
SIZE = 512


def make(images: int, boxes: int, classes: int, dims: int, folds: int) -> tuple[DetectionTable, LabelSchema]:
    """Predictions of a fair detector, a third of the images without objects, with three attributes."""
    rng = np.random.default_rng(0)
    predictions, references = [], []
    for _ in range(images):
        count = 0 if rng.random() < 1 / 3 else int(rng.integers(1, 5))
        low = rng.uniform(0, 0.8 * SIZE, (count, dims))
        wanted = np.concatenate([low, low + rng.uniform(10, 90, low.shape)], 1)
        labels = rng.integers(0, classes, count)
        hit = rng.random(count) < 0.9
        near = wanted[hit] + rng.normal(0, 4, (int(hit.sum()), 2 * dims))
        far = rng.uniform(0, 0.8 * SIZE, (max(0, boxes - len(near)), dims))
        scores = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 6, len(far))]).astype(np.float32)
        named = np.concatenate([labels[hit], rng.integers(0, classes, len(far))]).astype(np.int64)
        corners = np.concatenate([near, np.concatenate([far, far + rng.uniform(10, 90, far.shape)], 1)])
        order = np.argsort(-scores, kind="stable")
        predictions.append(
            BoxesPrediction(
                corners[order].astype(np.float32), named[order], scores[order], (SIZE,) * dims, (0.5,) * dims
            )
        )
        references.append(Boxes(wanted.astype(np.float32), labels.astype(np.int64)))
    facts: dict[str, Any] = {
        "sex": ["F" if i % 2 else "M" for i in range(images)],
        "age": [int(a) for a in rng.integers(1, 99, images)],
        "site": [f"site {i % 4}" for i in range(images)],
    }
    owner = np.arange(images) // 2
    table = DetectionTable.of(
        [f"case {i}" for i in range(images)], predictions, references, clusters=owner, patients=owner,
        attributes=facts, fold=owner % folds,
    )  # fmt: skip
    return table, LabelSchema(tuple(LabelClass(i, f"class {i}") for i in range(classes)))


def main() -> int:
    """Print one line a kind of table; exit 1 above the goal."""
    given = [int(v) for v in sys.argv[1:4]]
    images, boxes, resamples = [*given, *(600, 100, 2000)[len(given) :]]
    slowest = 0.0
    for classes, dims, folds in ((1, 2, 1), (1, 3, 1), (3, 2, 4)):
        table, schema = make(images, boxes, classes, dims, folds)
        thresholds = [choose_detection_thresholds(table.take(table.fold == f), schema, {}) for f in range(folds)]
        start, used = time.perf_counter(), time.process_time()
        made = evaluate_detection(
            table, schema, title="", part="test", patients_known=True, gallery=12, seed=0, baseline=None,
            thresholds=thresholds, resamples=resamples,
        )  # fmt: skip
        wall, cpu = time.perf_counter() - start, time.process_time() - used
        slowest = max(slowest, wall)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        what = f"{images} images in {dims}D, {boxes} boxes each, {classes} classes, {folds} folds"
        print(f"{what}: {wall:.1f} s wall, {cpu:.1f} s CPU, {len(made.figures)} figures, peak {memory:.0f} MiB")
    print(f"goal {GOAL_S:.0f} s: {'reached' if slowest < GOAL_S else 'missed'}")
    return int(slowest >= GOAL_S)


if __name__ == "__main__":
    sys.exit(main())
