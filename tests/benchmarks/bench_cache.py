"""Reading an epoch of shuffled batches: medcnn's cache against MONAI's PersistentDataset and CacheDataset.

All three are warm and give the same pixels (checked). The goal: at least 5 times PersistentDataset with 2 workers,
and not slower than CacheDataset with the better of 0 and 2 workers. The rounds are interleaved, and the median of the
rounds' ratios is what counts, so that other work on the machine weighs on all alike.

Run: python tests/benchmarks/bench_cache.py [images] [rounds] [png|jpg]
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from medcnn.data.cache import build_cache
from medcnn.data.loaders import BatchLoader
from medcnn.data.preprocess import Preprocessor
from medcnn.progress import Silent
from medcnn.recipe.schema import InputSection
from medcnn.types import Case, ImageRef

SIZE = 64
BATCH = 128
GOAL_PERSISTENT = 5.0
GOAL_CACHE = 1.0


def make_files(folder: Path, count: int, kind: str) -> list[Path]:
    """Smooth random pictures, as compressible as radiographs are."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        small = Pillow.fromarray(rng.integers(0, 256, (8, 8)).astype(np.uint8))
        path = folder / f"{i:06}.{kind}"
        small.resize((SIZE, SIZE), Pillow.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths


def ours(paths: list[Path], folder: Path) -> Callable[[], Iterable[Any]]:
    """Epochs of medcnn."""
    cases = [Case(str(i), (ImageRef((str(path),)),)) for i, path in enumerate(paths)]
    steps = Preprocessor(InputSection.model_validate({"size": (SIZE, SIZE), "intensity": {"method": "range"}}))
    cache = build_cache(cases, steps, folder, workers=2, progress=Silent())
    rows = np.arange(len(cases))
    return lambda: BatchLoader(cache, rows, {"label": rows}, BATCH, seed=0, shuffle=True)


def monais(paths: list[Path], folder: Path) -> dict[str, Callable[[], Iterable[Any]]]:
    """Epochs of MONAI's two datasets, with the transforms of its tutorials for the same pixels."""
    from monai.data import CacheDataset, DataLoader, PersistentDataset
    from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, ScaleIntensityRanged

    steps = Compose(
        [
            LoadImaged("image", image_only=True, reader="PILReader"),
            EnsureChannelFirstd("image"),
            ScaleIntensityRanged("image", 0, 255, 0.0, 1.0, clip=True),
            # Plain tensors are the faster ones for these datasets: they carry no metadata through the workers.
            EnsureTyped("image", track_meta=False, dtype=torch.float32),
        ]
    )
    items = [{"image": str(path), "label": i} for i, path in enumerate(paths)]
    persistent = PersistentDataset(items, steps, cache_dir=folder)
    held = CacheDataset(items, steps, progress=False, num_workers=1)

    def loader(dataset: Any, workers: int) -> Callable[[], Iterable[Any]]:
        made = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        return lambda: made

    return {
        "PersistentDataset, 2 workers": loader(persistent, 2),
        "CacheDataset, 0 workers": loader(held, 0),
        "CacheDataset, 2 workers": loader(held, 2),
    }


def epoch(batches: Iterable[Any]) -> tuple[float, float, int]:
    """Seconds of one epoch, the sum of its pixels, and its images."""
    total, count, start = 0.0, 0, time.perf_counter()
    for batch in batches:
        images = batch["image"] if isinstance(batch, dict) else batch.image
        count += len(images)
        # The first pixel of each image: that it is there, without the cost of a sum over all.
        total += float(images[:, 0, 0, 0].sum())
    return time.perf_counter() - start, total, count


def check_same(candidates: dict[str, Callable[[], Iterable[Any]]], wanted: int) -> None:
    """Every candidate holds the same pixels: the mean image of an epoch is equal."""
    means = []
    for make in candidates.values():
        total, count = torch.zeros(SIZE, SIZE, dtype=torch.float64), 0
        for batch in make():
            images = batch["image"] if isinstance(batch, dict) else batch.image
            index = batch["label"] if isinstance(batch, dict) else batch.targets["label"]
            # A last batch that is filled from the beginning of the order holds some images twice.
            fresh = len(images) if isinstance(batch, dict) else min(len(images), wanted - count)
            total += images[:fresh].double().sum((0, 1))
            count += fresh
            assert len(index) == len(images)
        assert count == wanted, count
        means.append(total / count)
    for mean in means[1:]:
        torch.testing.assert_close(mean, means[0], atol=1e-6, rtol=0)


def main() -> int:
    """Print JSON; exit 1 below the goal."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    kind = sys.argv[3] if len(sys.argv) > 3 else "png"
    torch.multiprocessing.set_sharing_strategy("file_system")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "files").mkdir()
        paths = make_files(folder / "files", count, kind)
        candidates = {"medcnn": ours(paths, folder / "cache"), **monais(paths, folder / "persistent")}
        # Fills MONAI's caches and starts all persistent workers.
        check_same(candidates, count)
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(rounds):
            for name, make in candidates.items():
                seconds[name].append(epoch(make())[0])
    own = seconds["medcnn"]
    persistent = [b / a for a, b in zip(own, seconds["PersistentDataset, 2 workers"], strict=True)]
    held = [
        min(b, c) / a
        for a, b, c in zip(own, seconds["CacheDataset, 0 workers"], seconds["CacheDataset, 2 workers"], strict=True)
    ]
    result = {
        "images": count, "format": kind, "batch": BATCH, "rounds": rounds, "cores": os.cpu_count(),
        "images_per_second": {n: round(count / statistics.median(s)) for n, s in seconds.items()},
        "times_persistent_dataset": round(statistics.median(persistent), 2),
        "times_cache_dataset": round(statistics.median(held), 2),
        "goals": {"times_persistent_dataset": GOAL_PERSISTENT, "times_cache_dataset": GOAL_CACHE},
    }  # fmt: skip
    reached = result["times_persistent_dataset"] >= GOAL_PERSISTENT and result["times_cache_dataset"] >= GOAL_CACHE  # type: ignore[operator]
    print(json.dumps({**result, "reached": reached}, indent=1))
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
