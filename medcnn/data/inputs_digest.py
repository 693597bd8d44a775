"""Digests of input files, remembered by path, size and time of change, so that unchanged files are read once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from medcnn.files import write_text
from medcnn.types import Case, Exclusion

MEMO = "inputs.json"


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
        """Digest of a file's bytes; raises ``OSError`` where it cannot be read."""
        place = os.path.abspath(path)
        status = os.stat(place)
        # The time of the last change of the inode too: copying tools set back the time of modification.
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self._memo.get(place)
        if known is not None and known[:-1] == stamp:
            return str(known[-1])
        with open(place, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        self._memo[place] = [*stamp, found]
        self._grown = True
        return found

    def key(self, cases: Sequence[Case], steps: str) -> tuple[str, dict[str, Exclusion]]:
        """The key of a cache for these cases and steps, and the cases whose files cannot be opened."""
        total = hashlib.blake2b(steps.encode(), digest_size=20)
        unreadable: dict[str, Exclusion] = {}
        seen: dict[str, str] = {}
        for case in cases:
            parts = [case.id]
            for ref in case.images:
                parts += [ref.reader, str(ref.key), str(ref.index)]
                for path in _with_pairs(ref.paths):
                    try:
                        if path not in seen:
                            seen[path] = self.of(path)
                        parts.append(seen[path])
                    except OSError as error:
                        unreadable[case.id] = Exclusion(case.id, f"cannot be read: {error.strerror}", path)
                        parts.append("unreadable")
            total.update(("\t".join(parts) + "\n").encode())
        return total.hexdigest(), unreadable


def _with_pairs(paths: Sequence[str]) -> list[str]:
    """The files, and the other half of each that is one of a pair (``.hdr`` and ``.img``)."""
    found: list[str] = []
    for path in paths:
        found.append(path)
        stem, suffix = os.path.splitext(path.removesuffix(".gz"))
        other = {".hdr": ".img", ".img": ".hdr"}.get(suffix.lower())
        if other is not None:
            found += [p for p in (stem + other, f"{stem}{other}.gz") if os.path.exists(p)]
    return found
