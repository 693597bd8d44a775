"""The rows of a cache on their way to the disk: one byte a value as long as all images have 8 bit, else four."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import RunError

# What is left free for the rest of the run.
SPARE = 64 * 2**20
_BLOCK = 2**22
_STEP = np.float32(1 / 255)


def free_space(folder: Path) -> int:
    """Bytes that a cache may take in a folder."""
    return shutil.disk_usage(folder).free - SPARE


def too_small(needed: int, free: int, folder: Path) -> RunError:
    """The error of a disk without enough space."""
    return RunError(
        f"the preprocessed cache needs {needed / 2**20:,.0f} MB, {max(free, 0) / 2**20:,.0f} MB are free for it",
        where=str(folder),
        todo="free some space, make input.size smaller, or name another folder with data.cache=FOLDER",
    )


class RowFile:
    """A file of rows that becomes float32 as a whole with the first row that is not uint8.

    Used as a context; at its end the bytes are on the disk.

    Args:
        path: The file to write.
        most: Bytes of all rows that may come, as float32.
    """

    def __init__(self, path: Path, *, most: int) -> None:
        self._path = path
        self._most = most
        self.dtype = "uint8"
        self._file = open(path, "w+b")  # noqa: SIM115  (closed by __exit__)

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            try:
                self._file.close()
            except OSError:
                # What could not be written is still in the buffer; the first error says why.
                if kind is None:
                    raise

    def write(self, array: NDArray[Any]) -> None:
        """Append one row; raises ``OSError`` where the disk is full, ``RunError`` where it will be."""
        if array.dtype != np.uint8 and self.dtype == "uint8":
            self._widen()
        if array.dtype == np.uint8 and self.dtype == "float32":
            array = array.astype(np.float32) * _STEP
        self._file.write(np.ascontiguousarray(array).data)

    def _widen(self) -> None:
        """Turn the rows written so far into float32, in place from the last to the first."""
        size = self._file.tell()
        free = free_space(self._path.parent)
        if size and free + size < self._most:
            raise too_small(self._most, free + size, self._path.parent.parent)
        for start in reversed(range(0, size, _BLOCK)):
            self._file.seek(start)
            block = np.frombuffer(self._file.read(min(_BLOCK, size - start)), np.uint8)
            self._file.seek(4 * start)
            self._file.write((block.astype(np.float32) * _STEP).data)
        self._file.seek(4 * size)
        self.dtype = "float32"
