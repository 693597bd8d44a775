"""What a header may ask for: sizes are checked before anything of that size is allocated."""

from __future__ import annotations

import os
import stat
from math import prod

from medcnn.errors import ImageError

# The largest array that one image may fill. A header is a few bytes that anyone can write.
MAX_BYTES = 8 * 2**30
# Above this size the file itself must be large enough to hold what its header claims.
_CHECKED_FROM = 128 * 2**20
# The most that a byte of a file can stand for: deflate reaches 1032, no other codec here comes near on real images.
_MOST_PER_BYTE = 1100


def check_size(shape: tuple[int, ...], itemsize: int, file_bytes: int, path: str) -> int:
    """Bytes of an array that a header announces.

    Args:
        shape: As the header has it.
        itemsize: Bytes of one value.
        file_bytes: Size of the (compressed) data; what it cannot possibly hold is refused.
        path: The file, for the message.

    Returns:
        Number of bytes.

    Raises:
        ImageError: If a size is not positive, or the array would be absurdly large.
    """
    words = "x".join(map(str, shape))
    if not shape or min(shape) < 1:
        raise ImageError(f"the header announces an image of {words or 'no'} pixels", where=path)
    wanted = prod(shape) * itemsize
    if wanted > MAX_BYTES or (wanted > _CHECKED_FROM and wanted > _MOST_PER_BYTE * file_bytes):
        raise ImageError(
            f"the header announces {words} values ({wanted / 2**30:.1f} GiB), which a file of {file_bytes} bytes "
            "cannot hold or nobody could use: the header is damaged, or the file is a decompression bomb",
            where=path,
            todo="copy the file anew, or remove it",
        )
    return wanted


def file_state(path: str) -> tuple[int, int, int]:
    """Size, time of the last change and number of a file: equal as long as nobody touches it.

    Raises:
        ImageError: If it is missing or is no regular file; reading a pipe would wait for ever.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise ImageError("the file does not exist", where=path) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"the file cannot be opened: {reason}", where=path) from error
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(
            "this is a folder, not an image", where=path, todo="name the files, or use a table row for the series"
        )
    _require_regular(found.st_mode, path)
    return found.st_size, found.st_mtime_ns, found.st_ino


def state_or_none(path: str) -> tuple[int, int, int] | None:
    """Size, time of the last change and number of a file; ``None`` where there is none to look at.

    Raises:
        ImageError: If it is a pipe, socket or device.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISDIR(found.st_mode):
        _require_regular(found.st_mode, path)
    return found.st_size, found.st_mtime_ns, found.st_ino


def _require_regular(mode: int, path: str) -> None:
    if not stat.S_ISREG(mode):
        raise ImageError("this is no regular file (a pipe, socket or device)", where=path)
