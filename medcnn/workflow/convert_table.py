"""``conversion.csv``: what lies in a folder of converted images, what it came from, and what was not converted."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from medcnn.data.grouping import printable
from medcnn.data.images.stacks import Stack
from medcnn.errors import RunError
from medcnn.files import open_atomic

FILE_NAME = "conversion.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """A stack.

    Attributes:
        file: The image, as it counts from the folder, with ``/``; empty where there is none.
        patient: PatientID, or the pseudonym.
        study: StudyInstanceUID, or the pseudonym.
        series: SeriesInstanceUID.
        series_number: SeriesNumber.
        modality: DICOM's code.
        plane: The nearest plane.
        matrix: As ``512x512``.
        slices: Number of slices.
        spacing: As ``0.7x0.7x3``, mm.
        description: SeriesDescription.
        differing: What tells it from others of its series.
        source: A file that it came from.
        files: Number of these.
        reason: Why it was not converted.
    """

    file: str = ""
    patient: str = ""
    study: str = ""
    series: str = ""
    series_number: str = ""
    modality: str = ""
    plane: str = ""
    matrix: str = ""
    slices: str = ""
    spacing: str = ""
    description: str = ""
    differing: str = ""
    source: str = ""
    files: str = ""
    reason: str = ""

    def public(self, patient: str, study: str, modality: str) -> Row:
        """The row with nothing of the patient in it but pseudonyms."""
        kept = {"file", "plane", "matrix", "slices", "spacing"}
        empty = {f.name: "" for f in fields(self) if f.name not in kept}
        return replace(self, **{**empty, "patient": patient, "study": study, "modality": modality})


def row_of(stack: Stack, *, file: str = "", reason: str = "") -> Row:
    """The row of a stack, with everything that its header says."""
    header = stack.header
    columns, rows = stack.matrix
    return Row(
        file=file,
        patient=header.patient,
        study=header.study,
        series=header.series,
        series_number="" if header.series_number is None else str(header.series_number),
        modality=header.modality,
        plane=stack.plane,
        matrix=f"{columns}x{rows}" if stack.slices else "",
        slices=str(len(stack.slices)),
        spacing="" if stack.spacing is None else "x".join(f"{s:.4g}" for s in stack.spacing),
        description=header.description,
        differing=stack.key,
        source=stack.where or min(stack.paths),
        files=str(len(stack.paths)),
        reason=reason,
    )


def write_table(folder: Path, rows: Sequence[Row], files_in: Path, *, private: bool = False) -> Path:
    """Write the table; rows of earlier conversions stay as long as their file does.

    Args:
        folder: Where the table lies.
        rows: Of this conversion.
        files_in: The folder of the images.
        private: Give the table mode 600.

    Raises:
        RunError: If it cannot be written.
    """
    new = {row.file for row in rows if row.file}
    path = folder / FILE_NAME
    kept = [r for r in _read(path) if r["file"] and r["file"] not in new and (files_in / r["file"]).is_file()]
    with open_atomic(path, private=private) as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
        writer.writerows({name: printable(value) for name, value in asdict(row).items()} for row in rows)
    return path


def _read(path: Path) -> list[Mapping[str, str]]:
    """The rows of a table that is there; of one that was changed beyond reading none."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found: list[Mapping[str, str]] = [{**row} for row in csv.DictReader(file) if row.get("file")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"the table of an earlier conversion cannot be read: {error}", where=str(path)) from error
    return found
