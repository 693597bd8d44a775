"""What the audit costs, and which copies it finds.

- The audit without near-duplicates, from files to its page. The goal for MedNIST (53,059 images of 64x64): under 60 s
  on 2 cores, and all 354 surplus copies in 273 sets (271 AbdomenCT, 82 HeadCT, 1 CXR).
- The search for near-duplicates among the same images. The goal: under 2 minutes on 2 cores.
- With --copies N: copies of N of the images are made in every way of the list below and added to them; which share of
  each kind is found, and how many pairs of different images of two classes are called near-duplicates.

The wall clock is what the goals are about, on a machine that does nothing else; CPU seconds (of all processes, user
and system) do not depend on what runs beside.

Run: python tests/benchmarks/bench_audit.py NAME|FOLDER [--copies N] [--images N] [--only exact|near|copies]
(NAME of the catalog, with MEDCNN_DATA set, or a folder of images)
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from medcnn.data.audit import Audit
from medcnn.data.audit_near import other_label
from medcnn.data.images import read_case
from medcnn.data.near_duplicates import describe, distinct, match
from medcnn.data.near_verify import Pictures
from medcnn.data.thumbnails import Thumbnails, middle_slice, read_thumbnails, thumbnail
from medcnn.progress import Silent
from medcnn.types import Dataset, Image
from medcnn.workflow.audit import run_audit
from medcnn.workflow.audit_source import Source, find_source

Picture = NDArray[np.generic]
CORES = 2
GOAL_EXACT_S, GOAL_NEAR_S = 60.0, 120.0


@dataclass
class Cost:
    """Seconds of the wall clock and of all processors."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def cost() -> Iterator[Cost]:
    """What a block takes, with the processes that it starts and ends."""
    found = Cost()
    wall, cpu = time.perf_counter(), _cpu()
    yield found
    found.wall, found.cpu = time.perf_counter() - wall, _cpu() - cpu


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def grey(picture: Picture) -> NDArray[np.float32]:
    """Values as 0 to 255."""
    values = picture.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return (values - low) * np.float32(255 / max(high - low, 1e-6))


def jpeg(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Pillow.fromarray(grey(picture).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file))


def resized(picture: Picture, x: float, y: float) -> Picture:
    size = (max(8, round(picture.shape[1] * y)), max(8, round(picture.shape[0] * x)))
    return np.asarray(Pillow.fromarray(grey(picture).astype(np.uint8)).resize(size, Pillow.Resampling.BICUBIC))


def cropped(picture: Picture, low: float, high: float) -> Picture:
    """Without a share of both axes at their beginning and end."""
    cut = tuple(slice(round(n * low), n - round(n * high)) for n in picture.shape)
    return picture[cut]


def windowed(picture: Picture, low: float, high: float) -> Picture:
    """Between two percentiles of what is not background."""
    values = grey(picture)
    shown = values[values > values.min()]
    bottom, top = np.percentile(shown, [low, high]) if shown.size else (0.0, 255.0)
    return (np.clip((values - bottom) / max(float(top - bottom), 1e-6), 0, 1) * 255).astype(np.uint8)


def noisy(picture: Picture, level: float) -> Picture:
    noise = np.random.default_rng(0).normal(0, level, picture.shape)
    return np.clip(grey(picture) + noise, 0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "turned by 90 degrees": lambda p: np.rot90(p),
    "turned by 180 degrees": lambda p: np.rot90(p, 2),
    "turned by 270 degrees": lambda p: np.rot90(p, 3),
    "flipped left to right": lambda p: p[::-1],
    "flipped top to bottom": lambda p: p[:, ::-1],
    "transposed": lambda p: p.T,
    "transposed the other way": lambda p: np.rot90(p, 2).T,
    "half the size": lambda p: resized(p, 0.5, 0.5),
    "0.75 of the size": lambda p: resized(p, 0.75, 0.75),
    "twice the size": lambda p: resized(p, 2, 2),
    "squeezed to 0.8 along one axis": lambda p: resized(p, 1, 0.8),
    "JPEG, quality 75": lambda p: jpeg(p, 75),
    "JPEG, quality 30": lambda p: jpeg(p, 30),
    "gamma 0.6": lambda p: (255 * (grey(p) / 255) ** 0.6).astype(np.uint8),
    "gamma 1.7": lambda p: (255 * (grey(p) / 255) ** 1.7).astype(np.uint8),
    "half the contrast, brighter": lambda p: (100 + grey(p) / 2).astype(np.uint8),
    "window without the outer 5 %": lambda p: windowed(p, 5, 95),
    "window without the outer 15 %": lambda p: windowed(p, 15, 85),
    "16 bit": lambda p: grey(p).astype(np.uint16) * np.uint16(16),
    "noise of 3 grey levels": lambda p: noisy(p, 3),
    "cropped by 3 % on each side": lambda p: cropped(p, 0.03, 0.03),
    "cropped by 6 % on each side": lambda p: cropped(p, 0.06, 0.06),
    "cropped by 6 % on one side": lambda p: cropped(p, 0.06, 0),
    "turned, 0.75 of the size, JPEG 50": lambda p: jpeg(resized(np.rot90(p), 0.75, 0.75), 50),
    "flipped, gamma 1.4, cropped by 3 %": lambda p: cropped(255 * (grey(p[::-1]) / 255) ** 1.4, 0.03, 0.03),
    "turned by 5 degrees (not looked for)": lambda p: np.asarray(
        Pillow.fromarray(grey(p).astype(np.uint8)).rotate(5, Pillow.Resampling.BILINEAR)
    ),
    "inverted (not looked for)": lambda p: 255 - grey(p),
}


def exact(source: Source) -> Audit:
    """The audit without near-duplicates, files written, and what it cost."""
    with TemporaryDirectory() as folder, cost() as spent:
        result = run_audit(source, Path(folder), Silent(), near=False)
    table = result.tables["identical"]
    print(f"audit without near-duplicates, {result.cases:,} cases: {spent.wall:.1f} s, {spent.cpu:.1f} CPU seconds")
    print(f"  goal for 53,059 images: under {GOAL_EXACT_S:.0f} s on {CORES} cores")
    print(f"  {table['surplus']} surplus copies in {table['sets']} sets: {table['surplus_by_class']}")
    return result


def near(seen: Thumbnails) -> None:
    """The search for near-duplicates, from thumbnails to groups."""
    digests = [f.digest for f in seen.facts]
    with cost() as spent:
        rows = distinct(digests)
        found = describe([f.case for f in seen.facts], digests, match(seen.pixels[rows], threads=CORES))
    sizes = np.unique(list(found.groups.values()), return_counts=True)[1]
    print(f"near-duplicates, {len(rows):,} different images: {spent.wall:.1f} s, {spent.cpu:.1f} CPU seconds")
    print(
        f"  goal for 53,059 images: under {GOAL_NEAR_S:.0f} s on {CORES} cores ({CORES * GOAL_NEAR_S:.0f} CPU seconds)"
    )
    print(
        f"  {len(found.pairs):,} pairs; {len(found.groups):,} cases in {len(sizes):,} groups, "
        f"the largest of {max(sizes, default=0)}; chains would join up to {max(found.components, default=0)}"
    )


def copies(dataset: Dataset, seen: Thumbnails, count: int) -> None:
    """How many made copies of each kind are found among all images, and what they are mistaken for."""
    fit = [c for c, plain in zip(seen.cases, Pictures(seen.pixels).plain, strict=True) if not plain]
    chosen = [fit[i] for i in np.random.default_rng(0).permutation(len(fit))[:count]]
    names, pixels = [f.case for f in seen.facts], [np.asarray(seen.pixels)]
    for case in chosen:
        image = read_case(case)
        picture = middle_slice(image)[0]
        made = [thumbnail(Image(np.ascontiguousarray(make(picture))[np.newaxis])) for make in COPIES.values()]
        pixels.append(np.stack(made))
        names += [f"{case.id}|{kind}" for kind in COPIES]
    found = describe(names, names, match(np.concatenate(pixels), threads=CORES))
    pairs = {(p.first, p.second) for p in found.pairs}
    by_id = {c.id: c for c in dataset.cases}
    wrong = sum(other_label(by_id[a.split("|")[0]], by_id[b.split("|")[0]]) for a, b in pairs)
    print(f"copies of {len(chosen)} images among {len(seen.cases):,}:")
    for kind in COPIES:
        hits = sum((c.id, f"{c.id}|{kind}") in pairs for c in chosen)
        print(f"  {kind:40} {100 * hits / max(len(chosen), 1):5.1f} %")
    print(f"  pairs of images with different labels: {wrong} of {len(pairs):,}")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("source")
    parser.add_argument("--copies", type=int, default=0, metavar="N")
    parser.add_argument("--images", type=int, default=0, metavar="N", help="an even sample of so many")
    parser.add_argument("--only", choices=("exact", "near", "copies"))
    asked = parser.parse_args()
    source = find_source(asked.source, None, None, Silent())
    if asked.images:
        step = max(1, len(source.dataset.cases) // asked.images)
        source = replace(source, dataset=replace(source.dataset, cases=source.dataset.cases[::step]))
    if asked.only in (None, "exact"):
        exact(source)
    if asked.only == "exact":
        return
    seen = read_thumbnails(source.dataset.cases, workers=CORES, progress=Silent())
    if asked.only in (None, "near"):
        near(seen)
    if asked.copies and asked.only in (None, "copies"):
        copies(source.dataset, seen, asked.copies)


if __name__ == "__main__":
    main()
