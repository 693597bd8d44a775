"""A dataset of the catalog fetched, checked and unpacked into the folder where it is looked for."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from medcnn.data.archives import Unpacked, archive_kind, top_folder, unpack
from medcnn.data.catalog import CatalogEntry, find_entry
from medcnn.data.dataset import data_root, load_dataset
from medcnn.data.download import digest_of, download, mismatch
from medcnn.errors import DataError, MedcnnError
from medcnn.files import explain, read_json, write_json
from medcnn.progress import Progress, Silent
from medcnn.recipe.schema import DataSection

MARK = ".medcnn.json"
DOWNLOADS = ".downloads"


@dataclass(frozen=True, slots=True)
class Got:
    """Where a dataset is.

    Attributes:
        folder: Its folder.
        cases: How many cases its adapter finds there.
        fresh: Whether it was put there now.
    """

    folder: Path
    cases: int
    fresh: bool


def get_dataset(
    name: str,
    *,
    archive: Path | str | None = None,
    root: Path | str | None = None,
    catalog: Path | str | None = None,
    any_checksum: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Got:
    """Fetch a dataset of the catalog; one that is there and whole is left alone.

    Args:
        name: A name of the catalog.
        archive: A file that the user has, instead of a download.
        root: Folder of the data; by default the one where the dataset is looked for.
        catalog: A catalog of one's own, searched first.
        any_checksum: Take a file that is given though it is not the published one.
        progress: Receives the display.
        **options: Passed on to :func:`~medcnn.data.download.download`.

    Raises:
        DataError: If there is nothing to fetch, the server or the archive fails, or something else lies there.
    """
    entry = find_entry(name, catalog)
    folder = Path(root).expanduser() if root is not None else data_root() / entry.folder
    section = DataSection(dataset=name, root=str(folder), catalog=str(catalog) if catalog else None)
    progress = progress or Silent()
    given = Path(archive).expanduser() if archive is not None else None
    file = _file_name(entry, given)
    there = _already(folder, file, entry, section)
    if there is not None:
        progress.say(there[1])
        return Got(folder, there[0], fresh=False)
    if given is not None:
        _check_given(given, entry, any_checksum, progress)
    else:
        given = _fetch(name, entry, folder, progress, options)
    try:
        _require_new(folder, file, given)
        if archive_kind(given) is None:
            _place_file(given, folder / file, keep=archive is not None)
        else:
            _place_archive(given, folder, entry, section, progress, published=not any_checksum)
    except OSError as error:
        raise explain(error, error.filename or folder) from error
    cases = _count(section)
    if archive is None:
        _remove_download(given)
    return Got(folder, cases, fresh=True)


def _remove_download(file: Path) -> None:
    """Remove what is unpacked, and its folder where no other download lies there."""
    file.unlink(missing_ok=True)
    if not any(file.parent.iterdir()):
        file.parent.rmdir()


def _file_name(entry: CatalogEntry, given: Path | None) -> str:
    """The file's name below the dataset's folder, where it is no archive."""
    wanted = entry.adapter.options.get("file")
    if entry.source:
        published = unquote(Path(urlsplit(entry.source).path).name)
        if published:
            return str(wanted) if wanted and Path(published).suffix == Path(str(wanted)).suffix else published
    return given.name if given is not None else "download"


def _already(folder: Path, file: str, entry: CatalogEntry, section: DataSection) -> tuple[int, str] | None:
    """Cases and a sentence where the dataset is there; ``None`` where there is nothing.

    Raises:
        DataError: If there is something that is not the dataset, or not whole.
    """
    todo = "move it away or choose another folder with --root, then get it again; nothing was changed"
    if folder.is_symlink() and not folder.exists():
        raise DataError("the folder of the dataset is a link that leads nowhere", where=str(folder), todo=todo)
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise DataError("the place of the dataset is taken by a file", where=str(folder), todo=todo)
    try:
        names = set(os.listdir(folder))
    except OSError as error:
        raise DataError(f"the folder of the dataset cannot be read: {error.strerror}", where=str(folder)) from error
    if file in names and archive_kind(folder / file) is None:
        why = mismatch(folder / file, entry.size, entry.checksum)
        if why:
            raise DataError(
                f"the file is there but is not the published one: {why}", where=str(folder / file), todo=todo
            )
        return _count(section), f"{folder / file} is there already and is the published file"
    # A folder that several datasets share holds files of the others.
    if not names or (entry.adapter.options.get("file") == file and MARK not in names):
        return None
    why = _unlike_mark(folder) if MARK in names else ""
    if why:
        raise DataError(f"the dataset is there but is not whole: {why}", where=str(folder), todo=todo)
    try:
        cases = _count(section)
    except MedcnnError as error:
        raise DataError(
            f"the folder is there but does not hold this dataset: {error}", where=str(folder), todo=todo
        ) from error
    how = _how_whole(folder) if MARK in names else "not unpacked by this command; its files were not checked"
    return cases, f"{folder} is there already ({how})"


def _how_whole(folder: Path) -> str:
    checked = read_json(folder / MARK).get("checked", True)
    return "whole" if checked else "whole; its archive was not checked against a published checksum"


def _count(section: DataSection) -> int:
    return len(load_dataset(section).cases)


def _size(folder: Path) -> Unpacked:
    """Files below a folder and their bytes, the mark left out."""
    files = total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            if name == MARK and Path(place) == folder:
                continue
            files += 1
            total += os.lstat(os.path.join(place, name)).st_size
    return Unpacked(files, total)


def _unlike_mark(folder: Path) -> str:
    """What differs from what was unpacked; empty where nothing does."""
    try:
        mark = read_json(folder / MARK)
        wanted = Unpacked(int(mark["files"]), int(mark["bytes"]))
    except (MedcnnError, KeyError, TypeError, ValueError):
        return f"{MARK}, which says what was unpacked, is broken"
    found = _size(folder)
    if found.files != wanted.files:
        return f"{found.files:,} files are there, {wanted.files:,} were unpacked"
    if found.bytes != wanted.bytes:
        return f"its files have {found.bytes:,} bytes, {wanted.bytes:,} were unpacked"
    return ""


def _check_given(given: Path, entry: CatalogEntry, any_checksum: bool, progress: Progress) -> None:
    if not given.is_file():
        what = "this is a folder, not an archive" if given.is_dir() else "there is no such file"
        raise DataError(what, where=str(given), todo="give the archive as published" if given.is_dir() else "")
    if not any_checksum:
        why = mismatch(given, entry.size, entry.checksum, progress)
        if why:
            raise DataError(
                f"this is not the published file: {why}",
                where=str(given),
                todo="copy or download it anew; if you know that it is another edition, add --any-checksum",
            )
    if any_checksum or entry.checksum is None:
        _say_unchecked(given, progress)


def _say_unchecked(path: Path, progress: Progress) -> None:
    progress.say(f"caution: {path.name} was not checked against a published checksum; its sha256 is {digest_of(path)}")


def _fetch(name: str, entry: CatalogEntry, folder: Path, progress: Progress, options: dict[str, Any]) -> Path:
    if entry.source is None:
        generated = entry.adapter.name == "phantom"
        raise DataError(
            f"there is nothing to download for {name!r}: the catalog names no source",
            todo="it is generated on first use" if generated else "give the archive that you have with --from FILE",
        )
    if entry.terms is not None:
        raise DataError(
            f"the dataset {name!r} cannot be downloaded by a program: {entry.terms}",
            where=entry.source,
            todo=f"then: medcnn data get {name} --from FILE",
        )
    target = folder.parent / DOWNLOADS / (unquote(Path(urlsplit(entry.source).path).name) or "download")
    done = download(entry.source, target, size=entry.size, checksum=entry.checksum, progress=progress, **options)
    if entry.checksum is None:
        _say_unchecked(done, progress)
    return done


def _require_new(folder: Path, file: str, given: Path) -> None:
    if archive_kind(given) is None:
        if given.stat().st_size == 0:
            raise DataError("the file is empty", where=str(given), todo="copy or download it anew")
        if (folder / file).exists():
            raise DataError("the file is there already", where=str(folder / file))


def _place_file(given: Path, goal: Path, *, keep: bool) -> None:
    goal.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{goal.name}.", suffix=".part", dir=goal.parent)
    os.close(handle)
    try:
        if keep:
            shutil.copyfile(given, temporary)
        else:
            os.replace(given, temporary)
        os.replace(temporary, goal)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _place_archive(
    given: Path, folder: Path, entry: CatalogEntry, section: DataSection, progress: Progress, *, published: bool
) -> None:
    """Unpack beside the goal, see that it is the dataset, and give it its name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".unpacking", dir=folder.parent))
    try:
        progress.start(f"unpacking {given.name}", None, "files")
        unpack(given, temporary, progress=progress)
        progress.finish()
        inner = _fitting(temporary, section, given)
        count = _size(inner)
        write_json(
            inner / MARK,
            {
                "dataset": section.dataset,
                "source": entry.source,
                "sha256": digest_of(given),
                "checked": published and entry.checksum is not None,
                "files": count.files,
                "bytes": count.bytes,
            },
        )
        if folder.is_dir():
            folder.rmdir()
        os.chmod(inner, 0o755 & ~_umask())
        os.rename(inner, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fitting(temporary: Path, section: DataSection, given: Path) -> Path:
    """The folder of what was unpacked that the dataset's adapter can read: all of it, or its one folder."""
    errors = []
    for place in dict.fromkeys((top_folder(temporary), temporary)):
        try:
            load_dataset(section.model_copy(update={"root": str(place)}))
            return place
        except MedcnnError as error:
            where = Path(error.where).name if error.where else ""
            errors.append(f"{where}: {error.what}" if where and where != place.name else error.what)
    raise DataError(
        f"the archive does not hold the dataset {section.dataset!r}: {errors[0]}; nothing was kept",
        where=str(given),
        todo="give the archive of this dataset, as published",
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
