"""Files that may be compressed with gzip, told by their content, never by their name."""

from __future__ import annotations

import gzip
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError

_CHUNK = 4 * 2**20


class PlainFile:
    """A file read as if it were not compressed; ``raw_size`` is its size where that is known without reading it."""

    def __init__(self, stream: BinaryIO, raw_size: int | None) -> None:
        self._stream = stream
        self.raw_size = raw_size

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes."""
        return self._stream.read(count)

    def seek(self, place: int) -> None:
        """Go to a place in the uncompressed content."""
        self._stream.seek(place)


@contextmanager
def open_plain(path: str) -> Iterator[PlainFile]:
    """Open a file, through gzip where its first bytes say so."""
    with open(path, "rb") as file:
        start = file.read(2)
        file.seek(0)
        if start != b"\x1f\x8b":
            yield PlainFile(file, os.fstat(file.fileno()).st_size)
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield PlainFile(cast(BinaryIO, unpacked), None)


def read_up_to(file: PlainFile, count: int, path: str) -> bytes:
    """The next bytes, fewer where the file ends.

    Raises:
        ImageError: If what is compressed is broken.
    """
    try:
        return file.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(f"the file is truncated or broken: {error}", where=path, todo="copy the file anew") from error


def read_into(file: PlainFile, target: NDArray[np.uint8]) -> None:
    """Fill an array in pieces, so that a file that ends early costs what it holds, not what it promised.

    Raises:
        EOFError: If the file ends before.
    """
    done = 0
    while done < target.size:
        block = file.read(min(_CHUNK, target.size - done))
        if not block:
            raise EOFError(f"{done} bytes instead of {target.size}")
        target[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)


@contextmanager
def quiet_logging(name: str) -> Iterator[None]:
    """Without a library's log messages: what matters of them becomes an error with a path."""
    logger: Any = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
