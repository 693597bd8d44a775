"""Time of an evaluation: 5,895 cases, 6 classes, 2,000 resamples, all figures; the goal is under 10 s on 2 cores.

Run: python tests/benchmarks/bench_evaluation.py [cases] [classes] [resamples]
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import numpy as np

from medcnn.evaluation.classification import ClassificationTable, evaluate_classification
from medcnn.types import LabelClass, LabelSchema

GOAL_S = 10.0


def make(
    cases: int, classes: int, *, multilabel: bool, patients: int | None
) -> tuple[ClassificationTable, LabelSchema]:
    """Predictions of a fair classifier with three attributes."""
    rng = np.random.default_rng(0)
    states = np.eye(classes)[rng.integers(0, classes, cases)]
    if multilabel:
        states = (rng.random((cases, classes)) < 0.2).astype(float)
    logits = rng.normal(size=(cases, classes)) + 3 * states - (2 if multilabel else 0)
    odds = np.exp(logits)
    p = odds / (1 + odds) if multilabel else odds / odds.sum(1, keepdims=True)
    owner = None if patients is None else np.arange(cases) % patients
    attributes: dict[str, Any] = {
        "sex": ["F" if i % 2 else "M" for i in range(cases)],
        "age": [int(a) for a in rng.integers(1, 99, cases)],
        "site": [f"site {i % 4}" for i in range(cases)],
    }
    schema = LabelSchema(tuple(LabelClass(i, f"class {i}") for i in range(classes)), multilabel)
    clusters = np.zeros(0) if owner is None else owner
    names = tuple(f"case {i}" for i in range(cases))
    return ClassificationTable(names, p.astype(np.float32), states, clusters, owner, attributes), schema


def main() -> int:
    """Print one line a kind of labels; exit 1 above the goal."""
    given = [int(v) for v in sys.argv[1:4]]
    cases, classes, resamples = [*given, *(5895, 6, 2000)[len(given) :]]
    slowest = 0.0
    for name, multilabel, patients in (
        ("exclusive, single images", False, None),
        ("exclusive, by patient", False, cases // 5),
        ("several labels, single images", True, None),
    ):
        table, schema = make(cases, classes, multilabel=multilabel, patients=patients)
        start, used = time.perf_counter(), time.process_time()
        made = evaluate_classification(
            table, schema, (), title="", part="test", patients_known=patients is not None, gallery=12, seed=0,
            resamples=resamples,
        )  # fmt: skip
        wall, cpu = time.perf_counter() - start, time.process_time() - used
        slowest = max(slowest, wall)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name}: {wall:.1f} s wall, {cpu:.1f} s CPU, {len(made.figures)} figures, peak {memory:.0f} MiB")
    print(f"goal {GOAL_S:.0f} s: {'reached' if slowest < GOAL_S else 'missed'}")
    return int(slowest >= GOAL_S)


if __name__ == "__main__":
    sys.exit(main())
