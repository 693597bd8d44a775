"""Non-maximum suppression of 10,000 boxes in 3D against MONAI's: the time of both, and whether they keep the same.

Sparse: boxes all over a volume, most of which are kept. Clustered: four boxes or so around each place, about a quarter
of which are kept. The goal is 20 times MONAI's speed.

Run: python tests/benchmarks/bench_nms.py
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from monai.data.box_utils import non_max_suppression
from numpy.typing import NDArray

from medcnn.geometry.nms import keep_best

COUNT, SIZE, THRESHOLD, GOAL = 10_000, 400.0, 0.2, 20.0


def draw(clustered: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes of 6 to 24 voxels with distinct scores."""
    rng = np.random.default_rng(0)
    count = COUNT // 4 if clustered else COUNT
    places = rng.uniform(0, SIZE, (count, 3))[rng.integers(0, count, COUNT)] if clustered else None
    middle = rng.uniform(0, SIZE, (COUNT, 3)) if places is None else places + rng.normal(0, 0.7, (COUNT, 3))
    half = rng.uniform(6, 24, (COUNT, 1)) * rng.uniform(0.9, 1.1, (COUNT, 3)) / 2
    if places is not None:
        half = np.full((COUNT, 3), 7.0) * rng.uniform(0.9, 1.1, (COUNT, 3))
    boxes = np.concatenate([middle - half, middle + half], 1).astype(np.float32)
    return boxes, rng.permutation(COUNT).astype(np.float32) / COUNT


def seconds(work: Callable[[], object], times: int) -> float:
    """The median of some runs, in CPU seconds."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def main() -> int:
    """A line a case; exit 1 under the goal or where the kept boxes differ."""
    torch.set_num_threads(1)
    failed = False
    for name, clustered in (("sparse", False), ("clustered", True)):
        boxes, scores = draw(clustered)
        ours = keep_best(boxes, scores, THRESHOLD)
        tensors = torch.from_numpy(boxes), torch.from_numpy(scores)
        theirs = non_max_suppression(*tensors, THRESHOLD)
        a = seconds(lambda: keep_best(boxes, scores, THRESHOLD), 7)  # noqa: B023 - called at once
        b = seconds(lambda: non_max_suppression(*tensors, THRESHOLD), 3)  # noqa: B023 - called at once
        same = ours.tolist() == theirs.tolist()
        print(f"{name}: {len(ours)} of {COUNT} kept, the same: {same}; {a:.3f} s, MONAI {b:.2f} s: {b / a:.0f} times")
        failed |= not same or b / a < GOAL
    print("goal missed" if failed else f"goal ({GOAL:g} times) reached")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
