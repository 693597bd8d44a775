"""The preprocessed cache: every image is read once, in parallel, into one memory-mapped array.

``<folder>/<key>/`` holds ``images.bin`` (rows one after the other) and ``index.json``. The key is a digest
of the input bytes and of the preprocessing; a folder with its final name is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.facts import ImageFacts
from medcnn.data.inputs_digest import InputDigests
from medcnn.data.preprocess import Preprocessor
from medcnn.errors import ImageError, MedcnnError, RunError
from medcnn.files import explain
from medcnn.progress import Progress
from medcnn.recipe.schema import InputSection
from medcnn.types import Case, Exclusion

FORMAT = 1
CHUNK = 256
SPARE = 64 * 2**20


def default_cache_folder() -> Path:
    """``$MEDCNN_CACHE``, else ``~/.cache/medcnn/cache``."""
    place = os.environ.get("MEDCNN_CACHE")
    return Path(place).expanduser() if place else Path.home() / ".cache" / "medcnn" / "cache"


@dataclass(frozen=True, eq=False)
class Cache:
    """Preprocessed images on disk.

    Attributes:
        path: Folder of this cache.
        cases: The readable cases, in the order of the rows.
        facts: What was learned of each, in the same order.
        exclusions: Cases that could not be read or preprocessed.
        shape: ``(C, *spatial)`` of a row.
        dtype: ``uint8`` or ``float32``.
    """

    path: Path
    cases: tuple[Case, ...]
    facts: tuple[ImageFacts, ...]
    exclusions: tuple[Exclusion, ...]
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        shape = (len(self.cases), *self.shape)
        images: NDArray[Any] = (
            np.memmap(self.path / "images.bin", self.dtype, "r", shape=shape)
            if self.cases
            else np.zeros(shape, self.dtype)
        )
        object.__setattr__(self, "_images", images)

    def __getstate__(self) -> dict[str, Any]:
        # Other processes map the file themselves; pickling the map would copy every image.
        return {k: v for k, v in self.__dict__.items() if k != "_images"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Cache:
        return self

    @property
    def key(self) -> str:
        """Digest of the input bytes and of the preprocessing."""
        return self.path.name

    @property
    def images(self) -> NDArray[Any]:
        """``(N, C, *spatial)``, memory-mapped, read-only."""
        found: NDArray[Any] = self.__dict__["_images"]
        return found

    @property
    def scale(self) -> float:
        """What turns stored values into the network's: 1/255 for uint8, else 1."""
        return 1 / 255 if self.dtype == "uint8" else 1.0

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """``(B, C, *spatial)`` in the order of ``rows``; the file is read in its own order."""
        order = np.argsort(rows, kind="stable")
        taken = np.empty((len(rows), *self.shape), self.dtype)
        taken[order] = self.images[rows[order]]
        return taken

    @classmethod
    def open(cls, path: Path, cases: Sequence[Case]) -> Cache | None:
        """The cache in a folder; ``None`` where it is absent or of another format.

        Args:
            path: Folder of the cache.
            cases: The cases in use; rows of others stay, under their ids alone.
        """
        try:
            index = json.loads((path / "index.json").read_text(encoding="utf-8"))
            size = (path / "images.bin").stat().st_size
            if index["format"] != FORMAT:
                return None
            facts = [ImageFacts(**_tuples(entry)) for entry in index["facts"]]
            row_bytes = int(np.prod(index["shape"])) * np.dtype(index["dtype"]).itemsize
            if size != row_bytes * len(facts):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        by_id = {case.id: case for case in cases}
        return cls(
            path,
            tuple(by_id.get(f.case) or Case(f.case, ()) for f in facts),
            tuple(facts),
            tuple(Exclusion(**entry) for entry in index["exclusions"]),
            tuple(index["shape"]),
            index["dtype"],
        )


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    spacing = entry["spacing"]
    return {**entry, "shape": tuple(entry["shape"]), "spacing": None if spacing is None else tuple(spacing)}


def estimate(cases: Sequence[Case], section: InputSection) -> tuple[int, int]:
    """Upper bounds of the cache's bytes on disk and of the bytes in memory while it is made."""
    row = section.channels * int(np.prod(section.size)) * 4
    return row * len(cases), row * CHUNK * 4 + len(cases) * 1024


def build_cache(
    cases: Sequence[Case], preprocessor: Preprocessor, folder: Path, *, workers: int, progress: Progress
) -> Cache:
    """The cache for these cases: opened where it exists, made otherwise.

    Args:
        cases: What to preprocess; rows keep this order.
        preprocessor: How.
        folder: Where caches lie; it becomes its owner's alone.
        workers: Processes.
        progress: Advanced by one a case.

    Raises:
        RunError: If the disk is too small or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with InputDigests(folder) as digests:
            key, unreadable = digests.key(cases, preprocessor.digest())
    except OSError as error:
        raise explain(error, folder) from error
    usable = [case for case in cases if case.id not in unreadable]
    found = Cache.open(folder / key, cases)
    if found is not None:
        progress.advance(len(cases))
        return found
    needed = estimate(usable, preprocessor.section)[0] // (4 if len(usable) > 10 * CHUNK else 1)
    free = shutil.disk_usage(folder).free
    if needed + SPARE > free:
        raise RunError(
            f"the preprocessed cache needs about {needed / 2**20:,.0f} MB, {free / 2**20:,.0f} MB are free",
            where=str(folder),
            todo="free some space, make input.size smaller, or name another folder with data.cache=FOLDER",
        )
    temporary = Path(tempfile.mkdtemp(prefix=f".{key[:16]}.", dir=folder))
    try:
        _write(usable, list(unreadable.values()), preprocessor, temporary, workers, progress)
        try:
            os.rename(temporary, folder / key)
        except OSError:
            # Another process finished the same cache first: its bytes are the same. A damaged one is replaced.
            if Cache.open(folder / key, cases) is None:
                shutil.rmtree(folder / key, ignore_errors=True)
                os.rename(temporary, folder / key)
    except OSError as error:
        raise explain(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    made = Cache.open(folder / key, cases)
    if made is None:
        raise RunError("the cache was changed while it was written", where=str(folder / key), todo="run again")
    return made


Row = tuple[ImageFacts, NDArray[Any]] | Exclusion


def _write(
    cases: Sequence[Case],
    exclusions: list[Exclusion],
    preprocessor: Preprocessor,
    folder: Path,
    workers: int,
    progress: Progress,
) -> None:
    """Write rows as they come, and widen the file to float32 where a row turns out not to be uint8."""
    facts: list[ImageFacts] = []
    path, dtype = folder / "images.bin", "uint8"
    file = open(path, "wb")  # noqa: SIM115  (it is exchanged on the way)
    try:
        for rows in _rows(cases, preprocessor, workers):
            for row in rows:
                if isinstance(row, Exclusion):
                    exclusions.append(row)
                    continue
                fact, array = row
                if array.dtype != np.uint8 and dtype == "uint8":
                    file.close()
                    _widen(path)
                    file, dtype = open(path, "ab"), "float32"  # noqa: SIM115
                if array.dtype == np.uint8 and dtype == "float32":
                    array = array.astype(np.float32) * np.float32(1 / 255)
                file.write(np.ascontiguousarray(array).data)
                facts.append(fact)
            progress.advance(len(rows))
        file.flush()
        os.fsync(file.fileno())
    finally:
        file.close()
    section = preprocessor.section
    index = {
        "format": FORMAT,
        "shape": [section.channels, *section.size],
        "dtype": dtype,
        "facts": [asdict(f) for f in facts],
        "exclusions": [asdict(e) for e in exclusions],
    }
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _widen(path: Path) -> None:
    """Rewrite the uint8 rows written so far as float32."""
    wide = path.with_suffix(".wide")
    with open(path, "rb") as source, open(wide, "wb") as target:
        while block := source.read(2**22):
            target.write((np.frombuffer(block, np.uint8).astype(np.float32) * np.float32(1 / 255)).data)
    os.replace(wide, path)


def _rows(cases: Sequence[Case], preprocessor: Preprocessor, workers: int) -> Iterator[list[Row]]:
    """Rows in the order of the cases, in chunks; a few chunks ahead at most, so that memory stays flat."""
    size = min(CHUNK, max(1, len(cases) // (4 * workers) or 1))
    chunks = [cases[i : i + size] for i in range(0, len(cases), size)]
    if workers <= 1 or len(cases) < 64:
        yield from (_read_chunk(chunk, preprocessor) for chunk in chunks)
        return
    # Forking is cheap and safe before any thread of torch computes; elsewhere processes start afresh.
    method = "fork" if hasattr(os, "fork") else "spawn"
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context(method)) as pool:
            waiting: list[Future[list[Row]]] = []
            for chunk in chunks:
                waiting.append(pool.submit(_read_chunk, chunk, preprocessor))
                if len(waiting) > 2 * workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
    except BrokenExecutor as error:
        raise RunError(
            "a process that reads images was ended from outside, most often for want of memory",
            todo="use fewer worker processes",
        ) from error


def _read_chunk(cases: Sequence[Case], preprocessor: Preprocessor) -> list[Row]:
    return [read_row(case, preprocessor) for case in cases]


def read_row(case: Case, preprocessor: Preprocessor) -> Row:
    """Facts and preprocessed array of one case, or why there are none."""
    import hashlib

    from medcnn.data.images import read_case

    path = next((p for ref in case.images for p in ref.paths), "")
    try:
        image = read_case(case)
        array = np.ascontiguousarray(image.array)
        content = hashlib.blake2b(f"{array.dtype} {array.shape} ".encode(), digest_size=16)
        content.update(array.data)
        if array.dtype.kind == "f":
            finite = array[np.isfinite(array)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        else:
            low, high = float(array.min()), float(array.max())
        fact = ImageFacts(case.id, content.hexdigest(), array.shape, str(array.dtype), image.spacing, low, high)
        return fact, preprocessor.stored(image)
    except ImageError as error:
        return Exclusion(case.id, error.what, error.where or path)
    except MedcnnError:
        raise
    except (OSError, ValueError, KeyError, IndexError, MemoryError) as error:
        return Exclusion(case.id, f"cannot be read: {type(error).__name__}: {error}", path)
