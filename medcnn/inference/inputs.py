"""What a user names for prediction - files, folders, tables - as cases."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from medcnn.errors import DataError
from medcnn.types import Case, Exclusion, ImageRef

TABLES = {".csv", ".tsv"}
IGNORED = {".csv", ".tsv", ".txt", ".json", ".md", ".html", ".xml", ".yaml", ".yml", ".log", ".zip", ".gz.part"}
IMAGE_COLUMNS = ("image", "path", "file", "filename")


def find_inputs(paths: Sequence[str | Path], *, volumes: bool) -> tuple[list[Case], list[Exclusion]]:
    """Cases for files, folders and tables.

    Args:
        paths: Image files; folders, searched through; CSV tables with a column ``image``
            (or ``path``, ``file``), whose relative paths count from the table's folder.
        volumes: Take the DICOM files of one folder as one volume instead of one image each.

    Returns:
        The cases, and what is not an image by its name.

    Raises:
        DataError: If a path does not exist, a table has no column of images, or nothing is found.
    """
    cases: dict[str, Case] = {}
    skipped: list[Exclusion] = []
    for given in paths:
        path = Path(given)
        if not path.exists():
            raise DataError("there is no such file or folder", where=str(path))
        for name, files in _expand(path, volumes, skipped):
            cases.setdefault(name, Case(name, (ImageRef(files),)))
    if not cases:
        raise DataError("no image was found", where=", ".join(str(p) for p in paths))
    return list(cases.values()), skipped


def _expand(path: Path, volumes: bool, skipped: list[Exclusion]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if path.is_dir():
        for folder in sorted({p.parent for p in path.rglob("*") if p.is_file()}):
            files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
            images = [p for p in files if p.suffix.lower() not in IGNORED and p.name != "DICOMDIR"]
            skipped.extend(Exclusion(str(p), "not an image by its name", str(p)) for p in files if p not in images)
            slices = [p for p in images if _is_dicom(p)] if volumes else []
            if slices:
                yield str(folder), tuple(str(p) for p in slices)
            yield from ((str(p), (str(p),)) for p in images if p not in set(slices))
    elif path.suffix.lower() in TABLES:
        yield from _rows(path)
    else:
        yield str(path), (str(path),)


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _rows(table: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    with open(table, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if table.suffix.lower() == ".tsv" else ",")
        columns = rows.fieldnames or []
        column = next((c for c in columns if c.lower() in IMAGE_COLUMNS), None)
        if column is None:
            raise DataError(
                f"no column of images: found {', '.join(columns) or 'nothing'}",
                where=str(table),
                todo=f"name the column one of {', '.join(IMAGE_COLUMNS)}",
            )
        for row in rows:
            value = row[column] or ""
            place = Path(value) if Path(value).is_absolute() else table.parent / value
            files = tuple(str(p) for p in sorted(place.iterdir()) if p.is_file()) if place.is_dir() else (str(place),)
            yield row.get("case") or value, files
