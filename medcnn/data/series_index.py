"""An index of the DICOM headers below a folder, kept in the user's cache so that a second look is instant.

A file is read again where its size, its time of change or its number differs from what the index remembers. The index
is a database of SQLite and JSON, its owner's alone; it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from medcnn.data.dicom_sources import Listing, relative
from medcnn.data.grouping import dummy_ids
from medcnn.data.header_pool import scan_files
from medcnn.data.header_rows import DRAWN, Entry, Row, stamp, unpack
from medcnn.data.inputs_digest import SETTLED_NS
from medcnn.data.places import default_cache_folder
from medcnn.errors import DataError, ImageError
from medcnn.progress import Progress, Silent

Unit = Literal["series", "study", "patient"]

FORMAT = 1
# Elements that lists and attributes ask for; more are read on request, which makes the index anew.
KEPT = (
    "PatientSex", "PatientAge", "PatientBirthDate", "Manufacturer", "ManufacturerModelName", "MagneticFieldStrength",
    "InstitutionName", "BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName", "StudyDate",
    "SeriesDate", "Modality", "SliceThickness", "ConvolutionKernel", "ContrastBolusAgent", "PatientPosition",
    "ViewPosition", "Laterality", "ImageLaterality",
)  # fmt: skip
_SOURCES = ("header_rows.py", "images/dicom_*.py", "images/sniff.py", "images/privacy.py")
_COMMIT_EVERY = 2048
_WAIT_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS files (
  name BLOB PRIMARY KEY, size INTEGER, changed INTEGER, number INTEGER, patient TEXT, study TEXT, series TEXT,
  kind TEXT, content TEXT, reason TEXT, todo TEXT, aside INTEGER);
CREATE INDEX IF NOT EXISTS by_series ON files (patient, study, series, name);
"""
_OURS = """
CREATE TEMP TABLE seen (name BLOB PRIMARY KEY, size INTEGER, changed INTEGER, number INTEGER);
CREATE TEMP TABLE todo (name BLOB PRIMARY KEY);
"""
_CHANGED = """
INSERT INTO todo SELECT seen.name FROM seen LEFT JOIN files USING (name)
WHERE files.name IS NULL OR files.size != seen.size OR files.changed != seen.changed OR files.number != seen.number
"""
_PUT = "INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
_ORDERED = """
SELECT files.name, files.patient, files.study, files.series, files.content FROM files JOIN seen USING (name)
WHERE files.content != '' ORDER BY files.patient, files.study, files.series, files.name
"""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file without a header.

    Attributes:
        path: Where it is.
        reason: Why there is none.
        todo: What can be done about it.
        aside: Whether it is not DICOM at all, rather than a broken file.
    """

    path: str
    reason: str
    todo: str
    aside: bool


class SeriesIndex:
    """The headers of the files of a listing; a context that closes its database.

    Args:
        listing: The files. Where they are all that there is below its folder, others are forgotten.
        extra: Keywords of elements to keep beside :data:`KEPT`.
        workers: Processes that read headers; ``None``: one a core.
        progress: Advanced by one a header that is read.
        folder: Where indexes lie; by default in the user's cache.
    """

    def __init__(
        self,
        listing: Listing,
        *,
        extra: Sequence[str] = (),
        workers: int | None = None,
        progress: Progress | None = None,
        folder: Path | None = None,
    ) -> None:
        self._base = str(listing.base)
        self._workers = cores() if workers is None else workers
        self._progress = progress or Silent()
        self._extra = tuple(dict.fromkeys((*KEPT, *extra)))
        self.read = 0
        """Headers that had to be read now."""
        self._place = index_path(listing.base, folder)
        self._database = self._opened_somewhere(listing)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the database back."""
        self._database.close()

    def groups(self, unit: Unit = "series") -> Iterator[list[Entry]]:
        """The DICOM objects of each series, study or patient, each sorted by series and name; memory stays flat.

        A blank or dummy patient id stands for nobody: such a patient is divided by study, as a file without a series
        or a study stands for itself.
        """
        nobody = self._dummies() if unit == "patient" else frozenset()

        def key(row: Any) -> tuple[Any, ...]:
            name, patient, study, series, _ = row
            if unit == "patient" and patient and patient not in nobody:
                return ("patient", patient)
            if unit != "series" and study:
                return ("study", patient, study)
            return ("series", patient, study, series) if series else ("file", name)

        for _, rows in groupby(self._rows(_ORDERED), key):
            yield [self._entry(name, content) for name, _, _, _, content in rows]

    def entries(self, paths: Iterable[str]) -> list[Entry | Unread]:
        """What the index holds of single files of its listing, in their order."""
        found: list[Entry | Unread] = []
        query = "SELECT content, reason, todo, aside FROM files WHERE name = ?"
        for path in paths:
            content, reason, todo, aside = next(self._rows(query, (self._name(path),)))
            found.append(self._entry(self._name(path), content) if content else Unread(path, reason, todo, bool(aside)))
        return found

    def drawn(self) -> Iterator[Entry]:
        """Segmentations and structure sets, with what they were drawn on."""
        marks = ",".join("?" * len(DRAWN))
        query = f"SELECT name, content FROM files JOIN seen USING (name) WHERE kind IN ({marks}) ORDER BY name"
        for name, content in self._rows(query, DRAWN):
            yield self._entry(name, content)

    def unread(self) -> Iterator[Unread]:
        """Files without a header, by name."""
        query = "SELECT name, reason, todo, aside FROM files JOIN seen USING (name) WHERE content = '' ORDER BY name"
        for name, reason, todo, aside in self._rows(query):
            yield Unread(self._path(name), reason, todo, bool(aside))

    def kinds(self) -> Counter[str]:
        """Number of files by kind of object; those without a header do not count."""
        query = "SELECT kind, count(*) FROM files JOIN seen USING (name) WHERE content != '' GROUP BY kind"
        return Counter(dict(self._rows(query)))

    def _opened_somewhere(self, listing: Listing) -> sqlite3.Connection:
        """On disk where that can be; an index that is damaged is made anew."""
        for _ in range(2):
            try:
                return self._opened(self._place, listing)
            except sqlite3.OperationalError:
                # Locked for long, a full disk, a drive without locks: the headers are read all the same.
                break
            except sqlite3.DatabaseError:
                with contextlib.suppress(OSError):
                    self._place.unlink()
        return self._opened(None, listing)

    def _opened(self, place: Path | None, listing: Listing) -> sqlite3.Connection:
        database = _connect(place, self._extra)
        try:
            self._extra = tuple(json.loads(_about(database)["extra"]))
            database.executescript(_OURS)
            gone = self._see(database, listing.files)
            if listing.whole:
                database.execute("DELETE FROM files WHERE name NOT IN (SELECT name FROM seen)")
            database.execute(_CHANGED)
            self._scan(database, gone)
        except BaseException:
            database.close()
            raise
        return database

    def _see(self, database: sqlite3.Connection, files: Iterable[str]) -> list[Row]:
        """Note the state of each file; returns those that are gone or no files."""
        gone: list[Row] = []

        def rows() -> Iterator[tuple[bytes, int, int, int]]:
            for path in files:
                name = self._name(path)
                try:
                    yield (name, *stamp(path))
                except ImageError as error:
                    gone.append(Row(name, 0, 0, 0, reason=error.what, todo=error.todo))
                    yield (name, 0, 0, 0)

        database.executemany("INSERT OR REPLACE INTO seen VALUES (?,?,?,?)", rows())
        return gone

    def _scan(self, database: sqlite3.Connection, gone: list[Row]) -> None:
        database.executemany(_PUT, gone)
        database.executemany("DELETE FROM todo WHERE name = ?", [(row.name,) for row in gone])
        database.commit()
        (total,) = database.execute("SELECT count(*) FROM todo").fetchone()
        if not total:
            return
        self._progress.start("reading headers", total, "files")
        names = (name for (name,) in database.execute("SELECT name FROM todo ORDER BY name"))
        files = ((self._path(name), name) for name in names)
        since = 0
        for rows in scan_files(files, self._extra, self._workers, total):
            now = time.time_ns()
            database.executemany(_PUT, [self._to_remember(row, now) for row in rows])
            self.read += len(rows)
            since += len(rows)
            if since >= _COMMIT_EVERY:
                database.commit()
                since = 0
            self._progress.advance(len(rows))
        database.commit()
        self._progress.finish()

    def _to_remember(self, row: Row, now: int) -> Row:
        """A row whose file may change unseen, or could not be opened, has a size that no file has."""
        passing = not row.content and not os.access(self._path(row.name), os.R_OK)
        settled = now - row.changed > SETTLED_NS
        return row if settled and not passing else row._replace(size=-1)

    def _entry(self, name: bytes, content: str) -> Entry:
        try:
            return unpack(content, self._path(name))
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged() from error

    def _dummies(self) -> frozenset[str]:
        found = self._rows("SELECT DISTINCT patient FROM files JOIN seen USING (name)")
        return dummy_ids(patient for (patient,) in found)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        try:
            yield from self._database.execute(query, values)
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._damaged() from error

    def _damaged(self) -> DataError:
        return DataError("the index of headers is damaged", where=str(self._place), todo="delete it, and run again")

    def _name(self, path: str) -> bytes:
        return os.fsencode(relative(path, self._base))

    def _path(self, name: bytes) -> str:
        return os.path.normpath(os.path.join(self._base, os.fsdecode(name)))


def index_path(base: Path, folder: Path | None = None) -> Path:
    """Where the index of a folder lies."""
    place = os.path.realpath(base)
    name = hashlib.blake2b(os.fsencode(place), digest_size=16).hexdigest()
    return (folder or default_cache_folder() / "headers") / f"{name}.sqlite"


def _connect(place: Path | None, extra: Sequence[str]) -> sqlite3.Connection:
    """A database with our tables, emptied where it was made by another version; in memory without a place."""
    private = place is not None and _make_private(place)
    database = sqlite3.connect(str(place) if private else ":memory:", timeout=_WAIT_S)
    try:
        database.executescript(_TABLES)
        about = _about(database)
        known = json.loads(about.get("extra", "[]"))
        if about.get("version") != _version() or not set(extra) <= set(known):
            wanted = list(dict.fromkeys((*known, *extra))) if about.get("version") == _version() else list(extra)
            database.execute("DELETE FROM files")
            database.executemany(
                "INSERT OR REPLACE INTO about VALUES (?,?)", [("version", _version()), ("extra", json.dumps(wanted))]
            )
            database.commit()
    except BaseException:
        database.close()
        raise
    return database


def _make_private(place: Path) -> bool:
    """Make the file of mode 600; whether it can be written."""
    try:
        place.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        os.close(os.open(place, os.O_RDWR | os.O_CREAT, 0o600))
        os.chmod(place, 0o600)
    except OSError:
        return False
    return True


def _about(database: sqlite3.Connection) -> Mapping[str, str]:
    return dict(database.execute("SELECT key, value FROM about").fetchall())


@functools.cache
def _version() -> str:
    """Changes with the code that reads headers, and with pydicom."""
    found = hashlib.blake2b(f"{FORMAT} {version('pydicom')}".encode(), digest_size=16)
    here = Path(__file__).parent
    for pattern in _SOURCES:
        for path in sorted(here.glob(pattern)):
            found.update(path.read_bytes())
    return found.hexdigest()


def cores() -> int:
    """Cores that this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
