"""What a user names for prediction - files, folders, tables - as cases."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from medcnn.data.adapters.image_index import ref_of
from medcnn.data.images import sniff
from medcnn.data.images.stack_rule import StackRule
from medcnn.errors import DataError, ImageError
from medcnn.inference.series_inputs import Found, series_cases
from medcnn.progress import Progress, Silent
from medcnn.types import Case, Exclusion, ImageRef

TABLES = {".csv", ".tsv"}
IGNORED = {".csv", ".tsv", ".txt", ".json", ".md", ".html", ".xml", ".yaml", ".yml", ".log", ".zip", ".gz.part"}
IMAGE_COLUMNS = ("image", "path", "file", "filename")


def find_inputs(
    paths: Sequence[str | Path],
    *,
    volumes: bool,
    rule: StackRule | None = None,
    progress: Progress | None = None,
) -> Found:
    """Cases for files, folders and tables.

    Args:
        paths: Image files; folders, searched through; CSV tables with a column ``image``
            (or ``path``, ``file``), whose relative paths count from the table's folder.
        volumes: Take the DICOM files of one series as one volume instead of one image each, whatever folders hold
            them; tables name the folder of a volume.
        rule: Which stacks of a series are meant.
        progress: Advanced by one a header that is read.

    Returns:
        The cases, what of DICOM forms no volume, and what is passed over: no image by its name or its kind.

    Raises:
        DataError: If a path does not exist, a table has no column of images, or nothing is found.
    """
    cases: dict[str, Case] = {}
    skipped: list[Exclusion] = []
    slices: dict[str, None] = {}
    for given in paths:
        path = Path(given)
        if not path.exists():
            raise DataError("there is no such file or folder", where=str(path))
        for name, files in _expand(path, skipped):
            if volumes and path.suffix.lower() not in TABLES and _is_dicom(files[0]):
                slices.setdefault(files[0])
            else:
                cases.setdefault(name, Case(name, (ImageRef(files),)))
    found = series_cases(list(slices), rule, progress or Silent()) if slices else Found((), (), ())
    if not (cases or found.cases or found.unusable):
        raise _nothing(paths, found.passed_over)
    return Found((*cases.values(), *found.cases), found.unusable, (*skipped, *found.passed_over))


def _nothing(paths: Sequence[str | Path], passed_over: Sequence[Exclusion]) -> DataError:
    why = f": {passed_over[0].path} is {passed_over[0].reason}" if passed_over else ""
    return DataError(f"no image was found{why}", where=", ".join(str(p) for p in paths))


def _expand(path: Path, skipped: list[Exclusion]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if path.is_dir():
        for folder in sorted({p.parent for p in path.rglob("*") if p.is_file()}):
            files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
            images = [p for p in files if p.suffix.lower() not in IGNORED and p.name != "DICOMDIR"]
            skipped.extend(Exclusion(str(p), "not an image by its name", str(p)) for p in files if p not in images)
            together = [ref_of(str(p)).paths for p in images]
            # What a MetaImage header names as its data is a part of that image, not another one.
            data = {other for paths in together for other in paths[1:]}
            yield from ((paths[0], paths) for paths in together if paths[0] not in data)
    elif path.suffix.lower() in TABLES:
        yield from _rows(path)
    else:
        yield str(path), ref_of(str(path)).paths


def _is_dicom(path: str) -> bool:
    try:
        return sniff(path) == "dicom"
    except ImageError:
        # What is wrong with it is said where it is read.
        return False


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
            inside = place.is_dir()
            files = (
                tuple(str(p) for p in sorted(place.iterdir()) if p.is_file()) if inside else ref_of(str(place)).paths
            )
            yield row.get("case") or value, files
