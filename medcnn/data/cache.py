"""The preprocessed cache: every image is read once, in parallel, into one memory-mapped array.

``<folder>/<key>/`` holds ``images.bin`` (rows one after the other) and ``index.json``. The key is a digest
of the input bytes and of all that makes pixels of them; a folder with its final name is whole.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn import __version__
from medcnn.data.facts import ImageFacts
from medcnn.data.inputs_digest import InputDigests, files_of
from medcnn.data.places import default_cache_folder as default_cache_folder
from medcnn.data.preprocess import Preprocessor
from medcnn.data.row_arrays import RowArrays, row_arrays
from medcnn.data.row_file import RowFile, free_space, too_small
from medcnn.data.rows import Unread
from medcnn.data.workers import chunk_size, read_rows
from medcnn.errors import RunError
from medcnn.files import explain
from medcnn.progress import Progress
from medcnn.recipe.schema import InputSection
from medcnn.types import Case, Exclusion

FORMAT = 3
# What a run that was killed left half written is removed after this time.
STALE_S = 24 * 3600
# Libraries that decode: another version may give other pixels.
_DECODERS = (
    "numpy",
    "pillow",
    "pydicom",
    "nibabel",
    "SimpleITK",
    "python-gdcm",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "pyjpegls",
)
_SOURCES = (
    "data/images/*.py",
    "data/labels/*.py",
    "data/preprocess.py",
    "data/rows.py",
    "geometry/affines.py",
    "geometry/grids.py",
    "geometry/resample.py",
)
SAMPLE = 8
# What a reading process takes by itself, and what a case takes as its facts, in bytes.
PROCESS_BYTES = 60 * 2**20
CASE_BYTES = 2048


@dataclass(frozen=True, eq=False)
class Cache:
    """Preprocessed images on disk, and the label maps of their masks where a task asks for them.

    Attributes:
        path: Folder of this cache.
        cases: The readable cases, in the order of the rows.
        facts: What was learned of each, in the same order.
        exclusions: Cases that could not be read or preprocessed.
        arrays: The images.
        labels: The label maps, uint8 positions; ``None`` where there are none.
        matrices: ``(N, D+1, D+1)``, voxel indices of each original image to those of its row; ``None`` where neither
            masks nor places were asked for.
        passing: Ids of exclusions whose reason may be gone the next time.
    """

    path: Path
    cases: tuple[Case, ...]
    facts: tuple[ImageFacts, ...]
    exclusions: tuple[Exclusion, ...]
    arrays: RowArrays
    labels: RowArrays | None = None
    matrices: NDArray[np.float64] | None = None
    passing: frozenset[str] = field(default=frozenset())

    def __deepcopy__(self, memo: dict[int, Any]) -> Cache:
        return self

    @property
    def key(self) -> str:
        """Digest of the input bytes and of the preprocessing."""
        return self.path.name

    @property
    def dtype(self) -> str:
        """``uint8`` or ``float32``."""
        return self.arrays.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """``(C, *spatial)`` of a row, where all have one shape."""
        assert self.arrays.shape is not None
        return self.arrays.shape

    @property
    def images(self) -> NDArray[Any]:
        """``(N, C, *spatial)``, memory-mapped, read-only."""
        return self.arrays.whole

    @property
    def scale(self) -> float:
        """What turns stored values into the network's: 1/255 for uint8, else 1."""
        return 1 / 255 if self.dtype == "uint8" else 1.0

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """``(B, C, *spatial)`` in the order of ``rows``; the file is read in its own order."""
        return self.arrays.take(rows)

    def take_labels(self, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """``(B, K, *spatial)`` label maps in the order of ``rows``; ``None`` where the cache has none."""
        return None if self.labels is None else self.labels.take(rows)

    def volume(self, row: int) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Views of one image ``(C, *spatial)`` and its label map ``(K, *spatial)``, whatever their size."""
        return self.arrays.row(row), None if self.labels is None else self.labels.row(row)

    @classmethod
    def open(cls, path: Path, cases: Sequence[Case]) -> Cache | None:
        """The cache in a folder; ``None`` where it is absent or of another format.

        Args:
            path: Folder of the cache.
            cases: The cases in use; rows of others stay, under their ids alone.
        """
        try:
            index = json.loads((path / "index.json").read_text(encoding="utf-8"))
            if index["format"] != FORMAT:
                return None
            facts = _facts_from(index["facts"])
            arrays = row_arrays(path / "images.bin", index["dtype"], index["channels"], index["shapes"], len(facts))
            labels = matrices = None
            if index["labels"]:
                labels = row_arrays(path / "labels.bin", "uint8", index["labels"], index["shapes"], len(facts))
            if index["matrices"]:
                matrices = np.array(index["matrices"], np.float64)
            if any(rows.path.stat().st_size != rows.bytes for rows in (arrays, labels) if rows is not None):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        by_id = {case.id: case for case in cases}
        return cls(
            path,
            tuple(by_id.get(f.case) or Case(f.case, ()) for f in facts),
            tuple(facts),
            tuple(_found_here(Exclusion(**entry), by_id) for entry in index["exclusions"]),
            arrays,
            labels,
            matrices,
            frozenset(index["passing"]),
        )


def _found_here(exclusion: Exclusion, cases: Mapping[str, Case]) -> Exclusion:
    """An exclusion with the path of today's file: the same bytes may have lain elsewhere when they were read."""
    case = cases.get(exclusion.case)
    files = [p for ref in files_of(case) for p in ref.paths] if case is not None else []
    if not files or exclusion.path in files:
        return exclusion
    name = os.path.basename(exclusion.path)
    return replace(exclusion, path=next((p for p in files if os.path.basename(p) == name), files[0]))


def _facts_from(columns: dict[str, list[Any]]) -> list[ImageFacts]:
    rows = zip(*(columns[f.name] for f in fields(ImageFacts)), strict=True)
    # Most images are alike in these: one object serves them all.
    seen: dict[Any, Any] = {}
    return [
        ImageFacts(
            case,
            digest,
            seen.setdefault(tuple(shape), tuple(shape)),
            seen.setdefault(dtype, dtype),
            None if spacing is None else seen.setdefault(tuple(spacing), tuple(spacing)),
            low,
            high,
        )
        for case, digest, shape, dtype, spacing, low, high in rows
    ]


def estimate(cases: Sequence[Case], section: InputSection, *, workers: int | None = None) -> tuple[int, int]:
    """Bytes on disk, and bytes in memory while the cache is made, beside one image as it is read a process.

    The disk is an upper bound, for four bytes a value; images of 8 bit take a quarter of it.
    """
    row = row_bytes(section)
    count = workers or os.cpu_count() or 1
    chunk = chunk_size(len(cases), row, count)
    # Every process holds a chunk, and so many are kept in order before they are written; each imports numpy.
    return row * len(cases), row * chunk * (3 * count + 2) + count * PROCESS_BYTES + len(cases) * CASE_BYTES


def row_bytes(section: InputSection) -> int:
    """Bytes of a row of float32, its largest form."""
    return section.channels * int(np.prod(section.size)) * 4


def build_cache(
    cases: Sequence[Case], preprocessor: Preprocessor, folder: Path, *, workers: int, progress: Progress
) -> Cache:
    """The cache for these cases: opened where it exists, made otherwise.

    Args:
        cases: What to preprocess; rows keep this order.
        preprocessor: How.
        folder: Where caches lie; it becomes its owner's alone.
        workers: Processes that read; 0 reads in this one, where a reader that crashes ends the run.
        progress: Advanced by one a case.

    Raises:
        RunError: If the disk is too small or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with InputDigests(folder) as digests:
            key, unreadable = digests.key(
                cases, steps_digest(preprocessor), kinds=preprocessor.target_kinds, threads=max(workers, 1)
            )
    except OSError as error:
        raise explain(error, folder) from error
    usable = [case for case in cases if case.id not in unreadable]
    found = Cache.open(folder / key, cases)
    if found is not None:
        if _still_unread(found, usable, preprocessor, workers, progress):
            progress.advance(len(cases))
            return found
        shutil.rmtree(folder / key, ignore_errors=True)
    check_space(usable, preprocessor, folder, workers)
    _remove_stale(folder)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{key[:16]}.", dir=folder))
    except OSError as error:
        raise explain(error, folder) from error
    try:
        progress.advance(len(unreadable))
        _write(usable, list(unreadable.values()), preprocessor, temporary, workers, progress)
        _give_name(temporary, folder / key, cases)
    except OSError as error:
        raise explain(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    made = Cache.open(folder / key, cases)
    if made is None:
        raise RunError("the cache was changed while it was written", where=str(folder / key), todo="run again")
    return made


def _give_name(temporary: Path, final: Path, cases: Sequence[Case]) -> None:
    """Let a whole cache take its name."""
    try:
        os.rename(temporary, final)
    except OSError:
        # Another process finished the same cache first: its bytes are the same. A damaged one is replaced.
        if Cache.open(final, cases) is None:
            shutil.rmtree(final, ignore_errors=True)
            os.rename(temporary, final)


def steps_digest(preprocessor: Preprocessor) -> str:
    """Digest of what makes pixels of bytes: the steps, this program's version, its readers and its decoders."""
    return hashlib.blake2b(f"{FORMAT} {code()} {preprocessor.digest()}".encode(), digest_size=16).hexdigest()


@functools.cache
def code() -> str:
    """Digest of the code that makes pixels, ours and that of the decoders."""
    found = hashlib.blake2b(__version__.encode(), digest_size=16)
    for name in _DECODERS:
        try:
            found.update(f" {name} {version(name)}".encode())
        except PackageNotFoundError:
            continue
    # Between releases the version stays while the code changes.
    package = Path(__file__).parent.parent
    for pattern in _SOURCES:
        for path in sorted(package.glob(pattern)):
            found.update(path.read_bytes())
    return found.hexdigest()


def check_space(cases: Sequence[Case], preprocessor: Preprocessor, folder: Path, workers: int) -> None:
    """Refuse what does not fit; where the room lies between one and four bytes a value, a sample tells which it is.

    Raises:
        RunError: If the disk is too small.
    """
    most = row_bytes(preprocessor.section) * len(cases)
    free = free_space(folder)
    if free >= most:
        return
    if free < most // 4:
        raise too_small(most // 4, free, folder)
    sample = cases[:: -(-len(cases) // SAMPLE)]
    rows = [row for found in read_rows(sample, preprocessor, workers=min(workers, 1)) for row in found]
    if any(not isinstance(row, Unread) and row[1].dtype != np.uint8 for row in rows):
        raise too_small(most, free, folder)


def _still_unread(
    found: Cache, cases: Sequence[Case], preprocessor: Preprocessor, workers: int, progress: Progress
) -> bool:
    """Whether what was left out for a reason that may pass is unreadable still."""
    again = [case for case in cases if case.id in found.passing]
    rows = read_rows(again, preprocessor, workers=workers, progress=progress) if again else ()
    return all(isinstance(row, Unread) for chunk in rows for row in chunk)


def _remove_stale(folder: Path) -> None:
    """Remove what runs that were killed left behind; a cache that is being written changes all the time."""
    for path in folder.glob(".*"):
        try:
            newest = max(p.stat().st_mtime for p in (path, *path.iterdir()))
        except OSError:
            continue
        if time.time() - newest > STALE_S:
            shutil.rmtree(path, ignore_errors=True)


def _write(
    cases: Sequence[Case],
    exclusions: list[Exclusion],
    preprocessor: Preprocessor,
    folder: Path,
    workers: int,
    progress: Progress,
) -> None:
    """Write rows as they come, then the index."""
    facts: list[ImageFacts] = []
    passing: list[str] = []
    section, masks = preprocessor.section, preprocessor.masks
    width = row_bytes(section)
    shapes: list[list[int]] = []
    matrices: list[list[list[float]]] = []
    with RowFile(folder / "images.bin", most=width * len(cases)) as file, ExitStack() as stack:
        labels = stack.enter_context(RowFile(folder / "labels.bin", most=0)) if masks is not None else None
        for rows in read_rows(cases, preprocessor, workers=workers, row_bytes=width, progress=progress):
            for row in rows:
                if isinstance(row, Unread):
                    exclusions.append(row.exclusion)
                    passing += [row.exclusion.case] * row.passing
                    continue
                facts.append(row[0])
                file.write(row[1])
                if not preprocessor.uniform:
                    shapes.append(list(row[1].shape[1:]))
                if row[2] is not None:
                    matrices.append(row[2].matrix.tolist())
                    if labels is not None and masks is not None:
                        labels.write(row[2].labels_or_ignored(masks.channels))
            progress.advance(len(rows))
    index = {
        "format": FORMAT,
        "channels": section.channels,
        "shapes": [list(section.size)] if preprocessor.uniform else shapes,
        "labels": 0 if masks is None else masks.channels,
        "matrices": matrices,
        "dtype": file.dtype,
        "facts": {f.name: [getattr(fact, f.name) for fact in facts] for f in fields(ImageFacts)},
        "exclusions": [asdict(e) for e in exclusions],
        "passing": passing,
    }
    with open(folder / "index.json", "w", encoding="utf-8") as target:
        target.write(json.dumps(index))
        target.flush()
        os.fsync(target.fileno())
