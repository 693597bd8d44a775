"""Archives unpacked without leaving their folder: tar (plain, gzip, bzip2, xz) and zip.

An archive is refused as a whole, before or while it is unpacked, where an entry has an absolute path or ``..`` in it,
is a link or a device, or where it would become far larger than an archive of images can be.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from medcnn.errors import DataError, MedcnnError
from medcnn.files import explain
from medcnn.progress import Progress, Silent

# Label maps shrink by a factor of hundreds, whole data sets do not; below a GB nothing is harmed.
MAX_RATIO = 100
HARMLESS_BYTES = 10**9
MAX_ENTRIES = 5_000_000
SPARE_BYTES = 64 * 2**20
_BLOCK = 2**20
# A header that is longer is made to fill the memory.
_MAX_READ = 2**25
_TODO = "do not unpack it by other means either, unless you trust where it comes from"
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, ValueError)


@dataclass(frozen=True, slots=True)
class Limits:
    """What unpacking may take.

    Attributes:
        bytes: Most bytes of all files together.
        entries: Most entries.
        reason: What ``bytes`` comes from, in words.
    """

    bytes: int
    entries: int
    reason: str

    @classmethod
    def of(cls, archive: Path, folder: Path) -> Limits:
        """The limits for an archive: its own size times 100, and the free space of the disk."""
        free = shutil.disk_usage(folder).free - SPARE_BYTES
        bomb = max(HARMLESS_BYTES, MAX_RATIO * archive.stat().st_size)
        if free < bomb:
            return cls(max(free, 0), MAX_ENTRIES, f"{max(free, 0) / 10**6:,.0f} MB are free")
        return cls(bomb, MAX_ENTRIES, f"more than {MAX_RATIO} times the archive's own size: it looks like a bomb")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out: how many files, and their bytes."""

    files: int
    bytes: int


def archive_kind(path: Path) -> str | None:
    """``zip``, ``tar``, or ``None`` where the content is neither; an ``.npz`` is a file, not an archive.

    Raises:
        DataError: If the file cannot be read.
    """
    if path.suffix.lower() == ".npz":
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(512)
        if head.startswith((b"PK\3\4", b"PK\5\6")):
            return "zip"
        compressed = head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))
        # A volume may be compressed alone (.nii.gz): its name says that it is no tar.
        if compressed:
            return None if path.name.lower().endswith((".nii.gz", ".img.gz", ".hdr.gz")) else "tar"
        return "tar" if head[257:262] == b"ustar" or (len(head) == 512 and _checks(head)) else None
    except OSError as error:
        raise DataError(f"the archive cannot be read: {error.strerror}", where=str(path)) from error


def _checks(head: bytes) -> bool:
    """Whether a block has the check sum of a tar header (old archives bear no other mark)."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def unpack(archive: Path, folder: Path, *, limits: Limits | None = None, progress: Progress | None = None) -> Unpacked:
    """Unpack an archive into a folder that is empty or new.

    Args:
        archive: A tar or zip file; what it is, its content says.
        folder: Receives the files; what was written stays there if an error ends it, for the caller to remove.
        limits: How much may come out; by default of the archive's size and the free space.
        progress: Advanced by one a file.

    Raises:
        DataError: If the archive is broken, or one of its entries is refused.
        RunError: If the disk cannot be written.
    """
    kind = archive_kind(archive)
    if kind is None:
        raise DataError("this is no tar and no zip archive", where=str(archive), todo="give the archive as published")
    progress = progress or Silent()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = _Writer(archive, folder, limits or Limits.of(archive, folder), progress)
        entries = _zip_entries(archive) if kind == "zip" else _tar_entries(archive)
        for entry in entries:
            writer.take(entry)
    except MedcnnError:
        raise
    except _BROKEN as error:
        raise _broken(archive, str(error) or type(error).__name__) from error
    except RuntimeError as error:
        raise _broken(archive, str(error)) from error
    except OSError as error:
        # Decoders of bzip2 and gzip speak so as well, without a number of the operating system.
        if error.errno is None:
            raise _broken(archive, str(error)) from error
        raise explain(error, error.filename or folder) from error
    if not writer.files:
        raise DataError("the archive holds no file", where=str(archive))
    return Unpacked(writer.files, writer.bytes)


def _broken(archive: Path, why: str) -> DataError:
    return DataError(f"the archive is broken: {why}", where=str(archive), todo="download or copy it anew")


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    folder: bool
    size: int
    source: Any = None
    refused: str = ""


class _Writer:
    """Writes entries below a folder and keeps count."""

    def __init__(self, archive: Path, folder: Path, limits: Limits, progress: Progress) -> None:
        self._archive, self._folder, self._limits, self._progress = archive, folder, limits, progress
        self._entries = self.files = self.bytes = 0

    def take(self, entry: _Entry) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise self._refuse(f"it holds more than {self._limits.entries:,} entries")
        place = self._folder.joinpath(*self._parts(entry))
        if entry.folder:
            place.mkdir(parents=True, exist_ok=True)
            return
        self._require_room(entry.size)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with entry.source() as source, open(place, "xb") as target:
                while block := source.read(_BLOCK):
                    self._require_room(len(block))
                    target.write(block)
                    self.bytes += len(block)
        except FileExistsError as error:
            raise self._refuse(f"the entry {entry.name!r} stands twice") from error
        self.files += 1
        self._progress.advance(1)

    def _parts(self, entry: _Entry) -> tuple[str, ...]:
        if entry.refused:
            raise self._refuse(f"the entry {entry.name!r} is {entry.refused}")
        name = entry.name.replace("\\", "/")
        path = PurePosixPath(name)
        if path.is_absolute() or name[1:2] == ":" or "\0" in name:
            raise self._refuse(f"the entry {entry.name!r} has an absolute path")
        if ".." in path.parts:
            raise self._refuse(f"the entry {entry.name!r} leads out of its folder")
        if not path.parts and not entry.folder:
            raise self._refuse("an entry has no name")
        return path.parts

    def _require_room(self, size: int) -> None:
        if self.bytes + size > self._limits.bytes:
            raise DataError(
                f"the archive needs more than {self._limits.bytes / 10**6:,.0f} MB, and {self._limits.reason}; "
                "nothing was kept",
                where=str(self._archive),
                todo="free some space, or choose another folder" if "free" in self._limits.reason else _TODO,
            )

    def _refuse(self, what: str) -> DataError:
        return DataError(f"the archive is refused: {what}", where=str(self._archive), todo=_TODO)


def _zip_entries(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as file:
        infos = file.infolist()
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            refused = ""
            if info.flag_bits & 1:
                refused = "encrypted"
            elif kind == stat.S_IFLNK:
                refused = "a link"
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                refused = "neither a file nor a folder"

            def source(info: zipfile.ZipInfo = info) -> IO[bytes]:
                return file.open(info)

            yield _Entry(info.filename, info.is_dir(), info.file_size, source, refused)


def _tar_entries(archive: Path) -> Iterator[_Entry]:
    with _plain(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as file:
        for member in file:
            refused = ""
            if member.issym() or member.islnk():
                refused = "a link"
            elif not (member.isfile() or member.isdir()):
                refused = "neither a file nor a folder"

            def source(member: tarfile.TarInfo = member) -> IO[bytes]:
                found = file.extractfile(member)
                assert found is not None
                return found

            stream.allow(member.size + _MAX_READ)
            yield _Entry(member.name, member.isdir(), member.size, source, refused)
            # The list of members that tarfile keeps would grow with the archive.
            file.members = []  # type: ignore[attr-defined]
            stream.allow(_MAX_READ)
        stream.require_end()


class _Stream:
    """A decompressed tar that remembers its last bytes, and gives no more than is due: tarfile keeps a header whole."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._last = b""
        self._left = _MAX_READ

    def allow(self, count: int) -> None:
        """How many bytes may be read from here on."""
        self._left = count

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes."""
        if not 0 <= size <= self._left:
            raise ValueError(f"a header of more than {_MAX_READ // 2**20} MB")
        data = self._file.read(size)
        self._left -= len(data)
        self._last = (self._last + data)[-512:]
        return data

    def require_end(self) -> None:
        """Read the rest, by which its check sum is checked, and see that the archive ends as one."""
        self.allow(HARMLESS_BYTES)
        while self.read(_BLOCK):
            pass
        if self._last.strip(b"\0"):
            raise EOFError("it ends without its end mark, so it was cut short")


@contextmanager
def _plain(archive: Path) -> Iterator[Any]:
    """The archive's bytes, decompressed."""
    with open(archive, "rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        opened: Any = raw
        if head.startswith(b"\x1f\x8b"):
            opened = gzip.GzipFile(fileobj=raw)
        elif head.startswith(b"BZh"):
            opened = bz2.BZ2File(raw)
        elif head.startswith(b"\xfd7zXZ"):
            opened = lzma.LZMAFile(raw)  # noqa: SIM115  (it holds nothing beside the open file)
        yield _Stream(opened)


def top_folder(folder: Path) -> Path:
    """The one folder that holds everything that was unpacked, else the folder itself.

    What systems add (``__MACOSX``, hidden files) does not count.
    """
    names = [n for n in os.listdir(folder) if not n.startswith(".") and n != "__MACOSX"]
    return folder / names[0] if len(names) == 1 and (folder / names[0]).is_dir() else folder
