"""Files that are whole or absent: written to a temporary name beside the target, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from medcnn.errors import MedcnnError, RunError


def explain(error: OSError, path: Path | str) -> MedcnnError:
    """The user's error for an operating system's one: full disk, no permission, read-only, missing folder."""
    todo = {
        errno.ENOSPC: "free some space, or choose another folder; medcnn run goes on with --resume",
        errno.EDQUOT: "your quota is used up: free some space, or choose another folder",
        errno.EACCES: "choose a folder that you may write to, or ask for the permission",
        errno.EPERM: "choose a folder that you may write to, or ask for the permission",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOENT: "check that the folder exists",
        errno.EISDIR: "it is a folder: give the name of a file",
        errno.EEXIST: "a part of the path is a file, not a folder: choose another path",
        errno.ENOTDIR: "a part of the path is a file, not a folder: choose another path",
    }.get(error.errno or 0, "")
    return RunError(f"cannot write: {error.strerror or error}", where=str(path), todo=todo)


@contextmanager
def open_atomic(path: Path | str, mode: str = "w", *, private: bool = False) -> Iterator[IO[Any]]:
    """A file that takes its name only when the block ends without an error.

    Args:
        path: The final name; its folder is made where it is missing.
        mode: ``w`` (UTF-8 text, newlines as written) or ``wb``.
        private: Give the file mode 600.

    Raises:
        RunError: If the operating system refuses, saying why and what to do.
    """
    path = Path(path)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        options: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        with os.fdopen(handle, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not private:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        raise explain(error, path) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def write_text(path: Path | str, text: str, *, private: bool = False) -> None:
    """Write a text file, whole or not at all."""
    with open_atomic(path, "w", private=private) as file:
        file.write(text)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a binary file, whole or not at all."""
    with open_atomic(path, "wb") as file:
        file.write(data)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON, indented, refusing NaN and infinity (undefined is ``null``)."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON; raises :class:`~medcnn.errors.RunError` where the file is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError("the file is missing", where=str(path), todo="run the step that writes it first") from error
    except (OSError, ValueError) as error:
        todo = "restore it from a copy, or run again in another folder"
        raise RunError(f"the file cannot be read: {error}", where=str(path), todo=todo) from error


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
