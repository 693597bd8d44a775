"""CPU seconds and memory to measure one abdominal case: 512x512x300 with a liver and its tumours.

The goal is 15 s on 2 cores and 3 GB. A prediction full of noise, whose surface elements are millions and lie far
from the reference's, is measured beside it: the work must stay bounded there too.

Run: python tests/benchmarks/bench_surface.py
"""

from __future__ import annotations

import resource
import sys
import time
from multiprocessing import get_context

import numpy as np

from medcnn.evaluation.segmentation_case import measure_case

SHAPE, SPACING = (512, 512, 300), (0.75, 0.75, 1.0)
GOAL_S, GOAL_GB = 15.0, 3.0


def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """True inside."""
    grid = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    return np.asarray(sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1)


def make(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A liver of 1.6 l with twelve tumours, and a prediction that is off by some voxels, with a share of noise."""
    rng = np.random.default_rng(0)
    reference, prediction = np.zeros((2, *SHAPE), np.uint8)
    liver = (180.0, 230.0, 150.0)
    reference[ellipsoid(liver, (104, 88, 76))] = 1
    prediction[ellipsoid((183, 232, 151), (103, 90, 76))] = 1
    for number in range(12):
        centre = tuple(c + rng.uniform(-45, 45) for c in liver)
        radius = rng.uniform(4, 20)
        reference[ellipsoid(centre, (radius,) * 3)] = 2
        if number % 4:
            prediction[ellipsoid(tuple(c + 1.5 for c in centre), (radius + 0.7,) * 3)] = 2
    if noise:
        prediction[rng.random(SHAPE, dtype=np.float32) < noise] = 1
    return reference, prediction


def measure(noise: float) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak GB of a process that holds the two masks."""
    reference, prediction = make(noise)
    wall, used = time.perf_counter(), time.process_time()
    measure_case(reference, prediction, 2, SPACING)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return time.process_time() - used, time.perf_counter() - wall, peak


def main() -> int:
    """Print a line a case; exit 1 above the goal."""
    failed = False
    for name, noise, bound in (("liver and tumours", 0.0, True), ("1 % of noise", 0.01, False)):
        with get_context("spawn").Pool(1) as pool:
            cpu, wall, peak = pool.apply(measure, (noise,))
        missed = bound and (cpu > GOAL_S or peak > GOAL_GB)
        failed |= missed
        goal = f" (goal {GOAL_S:g} s, {GOAL_GB:g} GB)" if bound else ""
        print(f"{name}: {cpu:.1f} s of CPU, {wall:.1f} s, {peak:.2f} GB{goal}{' MISSED' if missed else ''}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
