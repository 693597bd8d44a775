"""Digests of input files, remembered by path, size and time of change, so that unchanged files are read once."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from medcnn.files import write_text
from medcnn.types import Boxes, Case, Exclusion, ImageRef, Mask, Target

MEMO = "inputs.json"
# A file that changed less than this before it was read may change again within the clock's step, unseen.
SETTLED_NS = 2 * 10**9
BATCH = 64

Stamp = tuple[int, int, int]


class InputDigests:
    """A memo of digests beside the caches; used as a context, it is saved where it grew.

    Args:
        folder: Where the memo lies.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / MEMO
        self._memo: dict[str, list[Any]] = {}
        self._grown = False

    def __enter__(self) -> InputDigests:
        try:
            memo = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            memo = {}
        self._memo = memo if isinstance(memo, dict) else {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._grown and kind is None:
            write_text(self._path, json.dumps(self._memo), private=True)

    def of(self, path: str) -> str:
        """Digest of a file's bytes; raises ``OSError`` or ``ValueError`` where it cannot be read."""
        place = os.path.abspath(path)
        stamp = _stamp(place)
        known = self._memo.get(place)
        # A memo of another make is no reason to stop.
        if isinstance(known, list) and len(known) == 4 and tuple(known[:3]) == stamp:
            return str(known[3])
        started = time.time_ns()
        with open(place, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        if _stamp(place) == stamp and started - max(stamp[1:]) > SETTLED_NS:
            self._memo[place] = [*stamp, found]
            self._grown = True
        return found

    def of_all(self, paths: Iterable[str], threads: int) -> dict[str, str | Exception]:
        """Digest of each file, or the error that stands in its way.

        Threads serve large files (the digest is computed outside of Python's lock) and slow drives.
        """
        unique = list(dict.fromkeys(paths))
        batches = [unique[i : i + BATCH] for i in range(0, len(unique), BATCH)]
        if threads <= 1 or len(batches) < 2:
            return {path: self._try(path) for path in unique}
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(lambda batch: [self._try(path) for path in batch], batches)
            return dict(zip(unique, (digest for batch in found for digest in batch), strict=True))

    def _try(self, path: str) -> str | Exception:
        try:
            return self.of(path)
        except (OSError, ValueError) as error:
            return error

    def key(
        self, cases: Sequence[Case], steps: str, *, kinds: tuple[type[Target], ...] = (), threads: int = 1
    ) -> tuple[str, dict[str, Exclusion]]:
        """The key of a cache for these cases and steps, and the cases whose files cannot be opened.

        Args:
            cases: The cases.
            steps: Digest of what is done with them.
            kinds: Targets on which the cached arrays depend too.
            threads: For reading files.
        """
        masks = Mask in kinds
        refs = {case.id: files_of(case) if masks else case.images for case in cases}
        files = {path: _with_pair(path) for case in cases for ref in refs[case.id] for path in ref.paths}
        digests = self.of_all((file for both in files.values() for file in both), threads)
        total = hashlib.blake2b(steps.encode(), digest_size=20)
        unreadable: dict[str, Exclusion] = {}
        for case in cases:
            parts = [case.id]
            mask = case.target(Mask) if masks else None
            if mask is not None and mask.names:
                parts.append(repr(mask.names))
            boxes = case.target(Boxes) if Boxes in kinds else None
            if boxes is not None:
                parts.append(hashlib.blake2b(boxes.corners.tobytes(), digest_size=16).hexdigest())
            for ref in refs[case.id]:
                parts += [ref.reader, str(ref.key), str(ref.index)]
                for file in (file for path in ref.paths for file in files[path]):
                    found = digests[file]
                    if isinstance(found, Exception):
                        reason = getattr(found, "strerror", None) or str(found)
                        unreadable[case.id] = Exclusion(case.id, f"cannot be read: {reason}", file)
                        found = "unreadable"
                    parts.append(found)
            total.update(("\t".join(parts) + "\n").encode("utf-8", "surrogatepass"))
        return total.hexdigest(), unreadable


def files_of(case: Case) -> tuple[ImageRef, ...]:
    """The images of a case and its masks."""
    mask = case.target(Mask)
    return (*case.images, *((mask.image, *mask.readers) if mask is not None else ()))


def _stamp(place: str) -> Stamp:
    status = os.stat(place)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(0, "this is a folder, not a file", place)
    if not stat.S_ISREG(status.st_mode):
        # A pipe would be waited for without end.
        raise OSError(0, "this is no regular file", place)
    # The time of the last change of the inode too: copying tools set back the time of modification.
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _with_pair(path: str) -> list[str]:
    """The file, and the other half of one that is one of a pair (``.hdr`` and ``.img``)."""
    stem, suffix = os.path.splitext(path.removesuffix(".gz"))
    other = {".hdr": ".img", ".img": ".hdr"}.get(suffix.lower())
    if other is None:
        return [path]
    return [path, *(p for p in (stem + other, f"{stem}{other}.gz") if os.path.exists(p))]
