"""Near-duplicates of a dataset: looked for once, and kept beside the cache for the next run of the same images."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from medcnn.data.facts import ImageFacts
from medcnn.data.near_duplicates import TURNS, Matches, NearDuplicates, describe, distinct, match
from medcnn.data.thumbnails import Thumbnails, read_thumbnails
from medcnn.errors import MedcnnError
from medcnn.files import open_atomic
from medcnn.progress import Progress, Silent
from medcnn.types import Case

MOST_IMAGES = 60_000
"""Up to so many different images a run looks for near-duplicates unasked: two cores need about a minute for them."""

_FEW = 256
# To be raised with every change of a thumbnail, a hash or a comparison.
_VERSION = 1
_COLUMNS = {"first": "i", "second": "i", "turn": "i", "score": "f", "plain": "b"}


def search(
    cases: Sequence[Case],
    facts: Sequence[ImageFacts],
    folder: Path,
    *,
    threads: int,
    progress: Progress | None = None,
    seen: Thumbnails | None = None,
) -> NearDuplicates:
    """Near-duplicates among cases that were read.

    Args:
        cases: In the order of the facts.
        facts: With the digests of the pixels, in the order of the cases.
        folder: Where matches of the same images may lie, and where new ones are put.
        threads: How many blocks of images are compared, and how many images read, at the same time.
        progress: Receives the display.
        seen: Thumbnails of these cases, where they were made already.
    """
    progress = progress or Silent()
    names, digests = [f.case for f in facts], [f.digest for f in facts]
    found = load(folder, digests)
    if found is not None:
        return describe(names, digests, found)
    rows = distinct(digests)
    if seen is None:
        progress.start("reading for near-duplicates", len(rows), "images")
        # They could be read before: for a few of them it is not worth to start processes once more.
        workers = threads if len(rows) > _FEW else 0
        seen = read_thumbnails([cases[row] for row in rows], workers=workers, progress=progress)
        read = {f.case: f.digest for f in seen.facts}
        pixels = seen.pixels
        if list(read.items()) != [(names[row], digests[row]) for row in rows]:
            # A file was changed or removed since it was read first: what is left is compared, and not kept.
            names = list(read)
            return describe(names, [f.digest for f in seen.facts], match(pixels, threads=threads, progress=progress))
    else:
        pixels = seen.pixels[rows] if len(rows) < len(names) else seen.pixels
    found = match(pixels, threads=threads, progress=progress)
    # Without a place to keep it the next run looks again.
    with suppress(MedcnnError):
        save(folder, digests, found)
    return describe(names, digests, found)


def load(folder: Path, digests: Sequence[str]) -> Matches | None:
    """The matches of these images in this order; ``None`` where there are none, or the file is broken."""
    try:
        with np.load(_path(folder, digests), allow_pickle=False) as file:
            columns = {name: file[name] for name in _COLUMNS}
    except Exception:
        # NumPy fails in many ways on a broken archive; it is made anew.
        return None
    count = len(distinct(digests))
    pairs = len(columns["first"])
    sizes = {name: (count if name == "plain" else pairs,) for name in _COLUMNS}
    if any(columns[name].shape != sizes[name] or columns[name].dtype.kind != k for name, k in _COLUMNS.items()):
        return None
    first, second = columns["first"], columns["second"]
    if pairs and not (first.min() >= 0 and (first < second).all() and second.max() < count):
        return None
    if not np.isin(columns["turn"], range(len(TURNS))).all():
        return None
    return Matches(first, second, columns["turn"], columns["score"], columns["plain"])


def save(folder: Path, digests: Sequence[str], found: Matches) -> None:
    """Keep the matches, without a name of a case: positions and scores alone.

    Raises:
        RunError: If the folder cannot be written to.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{name: getattr(found, name) for name in _COLUMNS})
    path = _path(folder, digests)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open_atomic(path, "wb", private=True) as file:
        file.write(buffer.getvalue())


def _path(folder: Path, digests: Sequence[str]) -> Path:
    key = hashlib.sha256(f"near-duplicates {_VERSION}".encode())
    for row in distinct(digests):
        key.update(digests[row].encode() + b"\n")
    return folder / f"near-{key.hexdigest()[:32]}.npz"
