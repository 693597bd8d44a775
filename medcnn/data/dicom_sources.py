"""What a user calls a folder of DICOM - a folder however deep, an archive, a DICOMDIR, a file - as a list of files.

Nothing is opened here but the DICOMDIR and the archive. What is passed over is listed with its reason.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medcnn.data.archives import archive_kind, unpack
from medcnn.data.grouping import printable
from medcnn.data.places import default_cache_folder
from medcnn.errors import DataError
from medcnn.files import digest, explain
from medcnn.progress import Progress, Silent
from medcnn.types import Exclusion

DICOMDIR = "DICOMDIR"
# What systems leave in folders; hidden files are no part of a dataset either.
_NO_DATA = ("__MACOSX", "System Volume Information", "$RECYCLE.BIN")


@dataclass(frozen=True, slots=True)
class Listing:
    """Files to look at.

    Attributes:
        base: The folder that names count from.
        files: Absolute paths.
        passed_over: Folders that cannot be listed, links that lead nowhere or back, names that are no text.
        whole: Whether these are all files below the folder: not for a single file, or those that a DICOMDIR names.
    """

    base: Path
    files: tuple[str, ...]
    passed_over: tuple[Exclusion, ...] = ()
    whole: bool = False


def list_files(root: Path, progress: Progress | None = None) -> Listing:
    """The files of a folder and all below it, of an archive, or those that a DICOMDIR names.

    Links to folders are followed once all folders are read, each folder once; so a link to its own parent ends.
    Hidden files and folders are left out.

    Args:
        root: A folder, a zip or tar archive (unpacked into the cache of the user), a DICOMDIR, or a DICOM file.
        progress: Advanced by one a folder.

    Raises:
        DataError: If there is none, it cannot be listed, or it is none of these.
    """
    progress = progress or Silent()
    root = Path(os.path.abspath(root.expanduser()))
    if root.is_file():
        if root.name.upper() == DICOMDIR:
            return _of_dicomdir(root)
        if archive_kind(root) is None:
            return Listing(root.parent, (str(root),))
        root = _unpacked(root, progress)
    if not root.is_dir():
        todo = "name a folder, an archive or a DICOMDIR (in a recipe: data.root)"
        raise DataError("the folder of DICOM is not there", where=str(root), todo=todo)
    try:
        os.scandir(root).close()
    except OSError as error:
        raise DataError(f"the folder cannot be listed: {error.strerror}", where=str(root)) from error
    progress.start("listing files", None, "folders")
    walk = _Walk(str(root), progress)
    return Listing(root, tuple(walk.files()), tuple(walk.passed_over), whole=True)


def relative(path: str, base: Path | str) -> str:
    """A path as it counts from a folder, with ``/`` on every system."""
    return os.path.relpath(path, base).replace(os.sep, "/")


class _Walk:
    """Visits every folder once."""

    def __init__(self, base: str, progress: Progress) -> None:
        self._base, self._progress = base, progress
        self._seen: set[tuple[int, int] | str] = set()
        self._links: list[str] = []
        self.passed_over: list[Exclusion] = []

    def files(self) -> Iterator[str]:
        """All files, sorted within each folder; what links lead to comes last."""
        yield from self._below(self._base)
        # Only now, so that a folder is listed under its own name wherever it has one.
        while self._links:
            link = self._links.pop(0)
            if _identity(link) in self._seen:
                self._pass(link, "a link to a folder that is read already", aside=True)
            else:
                yield from self._below(link)

    def _below(self, top: str) -> Iterator[str]:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            identity = _identity(folder)
            if identity in self._seen:
                continue
            self._seen.add(identity)
            try:
                with os.scandir(folder) as found:
                    entries = sorted(found, key=lambda e: e.name)
            except OSError as error:
                self._pass(folder, f"the folder cannot be listed: {error.strerror}")
                continue
            self._progress.advance(1)
            below: list[str] = []
            for entry in entries:
                if (kind := self._kind(entry)) == "folder":
                    below.append(entry.path)
                elif kind == "file":
                    yield entry.path
            waiting += reversed(below)

    def _kind(self, entry: os.DirEntry[str]) -> str:
        """``file``, ``folder``, or empty for what is kept for later or passed over."""
        if entry.name.startswith(".") or entry.name in _NO_DATA or entry.name.upper() == DICOMDIR:
            return ""
        if not _is_text(entry.name):
            self._pass(entry.path, "the name is not UTF-8 text")
            return ""
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            reason = "a link that leads nowhere" if entry.is_symlink() else f"cannot be opened: {error.strerror}"
            self._pass(entry.path, reason)
            return ""
        if stat.S_ISDIR(mode):
            if entry.is_symlink():
                self._links.append(entry.path)
                return ""
            return "folder"
        if not stat.S_ISREG(mode):
            self._pass(entry.path, "no regular file (a pipe, socket or device)", aside=True)
            return ""
        return "file"

    def _pass(self, path: str, reason: str, *, aside: bool = False) -> None:
        self.passed_over.append(Exclusion(printable(relative(path, self._base)), reason, printable(path), aside))


def _identity(folder: str) -> tuple[int, int] | str:
    """What is the same for two names of one folder; some file systems number nothing."""
    try:
        found = os.stat(folder)
    except OSError:
        return os.path.realpath(folder)
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(folder)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _of_dicomdir(path: Path) -> Listing:
    """The files that a DICOMDIR names, below its own folder and nowhere else."""
    files: dict[str, None] = {}
    missing: list[Exclusion] = []
    for parts in _file_ids(path):
        shown = "/".join(parts)
        if not all(part and part not in (".", "..") and not set(part) & {"/", "\\", "\0"} for part in parts):
            missing.append(Exclusion(printable(shown), "the DICOMDIR names a file outside of its folder", str(path)))
        elif (found := _resolve(path.parent, parts)) is None:
            missing.append(Exclusion(printable(shown), "the DICOMDIR names a file that is not there", str(path)))
        else:
            files[found] = None
    return Listing(path.parent, tuple(files), tuple(missing))


def _file_ids(path: Path) -> list[list[str]]:
    """The names of the files in a DICOMDIR, each in its parts."""
    import pydicom

    from medcnn.data.images.dicom_file import items, quiet, value_of

    with quiet():
        try:
            records = items(pydicom.dcmread(path, force=True), "DirectoryRecordSequence")
            found = [value_of(record, "ReferencedFileID") for record in records]
        except Exception as error:
            raise DataError(f"the DICOMDIR cannot be read: {error}", where=str(path), todo="give its folder") from error
    ids = [[one] if isinstance(one, str) else [str(part) for part in one] for one in found if one]
    if not ids:
        raise DataError("the DICOMDIR names no file", where=str(path), todo="give its folder instead")
    return ids


def _resolve(folder: Path, parts: list[str]) -> str | None:
    """A file by its name, in whatever case a disc was copied."""
    place = str(folder)
    for part in parts:
        exact = os.path.join(place, part)
        if not os.path.lexists(exact):
            try:
                names = os.listdir(place)
            except OSError:
                return None
            exact = next((os.path.join(place, n) for n in names if n.casefold() == part.casefold()), "")
        if not exact:
            return None
        place = exact
    return place if os.path.isfile(place) else None


def _unpacked(archive: Path, progress: Progress) -> Path:
    """The contents of an archive in the user's cache, unpacked once as long as it does not change."""
    cache = default_cache_folder()
    try:
        state = archive.stat()
        key = digest(
            f"{os.path.realpath(archive)} {state.st_size} {state.st_mtime_ns}".encode("utf-8", "surrogateescape")
        )
        target = cache / "unpacked" / key[:32]
        if target.is_dir():
            return target
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        # Beside the caches, where what a killed run leaves is removed after a day.
        temporary = Path(tempfile.mkdtemp(prefix=".unpacked.", dir=cache))
        try:
            progress.start(f"unpacking {printable(archive.name)}", None, "files")
            unpack(archive, temporary, progress=progress)
            os.rename(temporary, target)
        except OSError:
            # Another process was first.
            if not target.is_dir():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise explain(error, cache) from error
    return target
