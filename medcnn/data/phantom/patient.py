"""One patient on disk: images, masks, and the rows of the cohort's tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.phantom.body import Traits
from medcnn.data.phantom.design import Patient, Series, cohort
from medcnn.data.phantom.dicom import Stamp, nifti_bytes, write_film, write_scan
from medcnn.data.phantom.film import Film, chest_film, localizer
from medcnn.data.phantom.hand import hand_film
from medcnn.data.phantom.jobs import Rows
from medcnn.data.phantom.lesions import Lesion, draw_lesions
from medcnn.data.phantom.scan import Volume, scan


@lru_cache(maxsize=2)
def _people(count: int, seed: int) -> tuple[Patient, ...]:
    return cohort(count, seed)


def work(folder: str, index: int, patients: int, seed: int, size: str) -> Rows:
    """Make one patient of a cohort."""
    return make_patient(Path(folder), _people(patients, seed)[index], seed, size)


def make_patient(folder: Path, patient: Patient, seed: int, size: str) -> Rows:
    """Write everything of one patient below ``folder``.

    Returns:
        Rows of the tables ``series``, ``images`` and ``lesions``, paths relative to ``folder``.
    """
    key = f"medcnn-phantom-1/{seed}"
    own = f"{key}/{patient.id}"
    traits = Traits.draw(own, female=patient.female, age=patient.age)
    parts = [s.part for s in patient.series if s.kind != "localizer"]
    lesions = draw_lesions(own, traits, parts) if patient.lesions else ()
    rows: Rows = {"series": [], "images": [], "lesions": []}
    for series in patient.series:
        place = (
            folder / "dicom" / patient.id / f"study{series.study}" / f"{series.number:02d}-{series.name.split('-')[1]}"
        )
        place.mkdir(parents=True)
        stamp = Stamp.of(key, patient, series)
        row = _row(patient, series, stamp, place.relative_to(folder), parts)
        made: Volume | Film
        if series.kind == "ct":
            made = scan(f"{own}/{series.name}", series, traits, lesions, size)
            files = list(write_scan(place, key, patient, traits, series, made))
            affine = made.affine()
            organs, marks = made.organs, made.lesions
            widths, row["spacing_z"], row["view"] = made.widths.tolist(), made.gap, ""
        else:
            made = _film(f"{own}/{series.name}", series, traits, lesions, size)
            files = [write_film(place, key, patient, traits, series, made)]
            affine = np.diag([made.pixel, made.pixel, 1.0, 1.0])
            organs, marks = made.organs[None], made.lesions[None]
            widths, row["spacing_z"], row["view"] = [made.width], "", made.view
        row.update(spacing=made.pixel, rows=organs.shape[1], columns=organs.shape[2], images=len(files))
        if series.kind != "localizer":
            row["organ_mask"] = _mask(folder, series.name, "organs", organs, affine)
            row["lesion_mask"] = _mask(folder, series.name, "lesions", np.minimum(marks, 1), affine)
        found = _lesion_rows(series.name, marks, made.kinds, row["lesion_mask"])
        row["lesions"] = len(found)
        rows["lesions"] += found
        rows["series"].append(row)
        rows["images"] += _image_rows(folder, series, files, widths, marks)
    return rows


def _film(key: str, series: Series, traits: Traits, lesions: Sequence[Lesion], size: str) -> Film:
    if series.kind == "localizer":
        return localizer(key, series, traits, size)
    make = chest_film if series.part == "chest" else hand_film
    return make(key, series, traits, lesions, size)


def _row(patient: Patient, series: Series, stamp: Stamp, place: Path, parts: Sequence[str]) -> dict[str, Any]:
    return {
        "series": series.name,
        "patient": patient.id,
        "study": f"{patient.id}-S{series.study}",
        "kind": series.kind,
        "modality": "CR" if series.kind == "film" else "CT",
        "body_part": series.part,
        "filed": series.title,
        "beyond": round(sum(series.beyond), 1),
        "scanner": series.scanner,
        "sex": "F" if patient.female else "M",
        "age": patient.age,
        "patient_lesions": int(patient.lesions),
        "date": stamp.day.isoformat(),
        "study_uid": stamp.study,
        "series_uid": stamp.series,
        "path": place.as_posix(),
        "tilt": series.tilt,
        "contrast": int(series.contrast > 0),
        "inverted": int(series.inverted),
        "dose": round(series.dose, 3),
        "arms": series.arms if series.kind == "ct" else "",
        "body_part_in_header": int(series.part_known),
        "organ_mask": "",
        "lesion_mask": "",
    }


def _mask(folder: Path, name: str, what: str, mask: NDArray[np.uint8], affine: NDArray[np.float64]) -> str:
    """A label map ``(columns, rows[, slices])`` beside the images; returns its relative path."""
    path = folder / "masks" / f"{name}-{what}.nii.gz"
    path.parent.mkdir(exist_ok=True)
    array = mask[0].T if len(mask) == 1 else mask.transpose(2, 1, 0)
    path.write_bytes(nifti_bytes(np.ascontiguousarray(array), affine))
    return path.relative_to(folder).as_posix()


def _extent(where: NDArray[np.bool_]) -> list[list[int]]:
    """First and last-plus-one index along each axis."""
    ends = []
    for axis in range(where.ndim):
        hit = np.flatnonzero(where.any(axis=tuple(a for a in range(where.ndim) if a != axis)))
        ends.append([int(hit[0]), int(hit[-1]) + 1])
    return ends


def _lesion_rows(name: str, marks: NDArray[np.uint8], kinds: Sequence[Lesion], mask: str) -> list[dict[str, Any]]:
    """Lesions of one series with their boxes: in 3D, and in each slice; voxel i covers [i, i+1)."""
    found = []
    for number, lesion in enumerate(kinds, start=1):
        where = marks == number
        if not where.any():
            continue
        (z1, z2), (y1, y2), (x1, x2) = _extent(where)
        slices = []
        for k in range(z1, z2):
            if where[k].any():
                (top, bottom), (left, right) = _extent(where[k])
                slices.append({"index": k, "box": [left, top, right, bottom], "area": int(where[k].sum())})
        flat = len(marks) == 1
        found.append(
            {
                "lesion": f"{name}-L{number}",
                "series": name,
                "kind": lesion.kind,
                "visibility": round(lesion.visibility, 4),
                "box": [x1, y1, x2, y2] if flat else [x1, y1, z1, x2, y2, z2],
                "voxels": int(where.sum()),
                "mask": mask,
                "slices": slices,
            }
        )
    return found


def _image_rows(
    folder: Path, series: Series, files: Sequence[Path], widths: Sequence[float], marks: NDArray[np.uint8]
) -> list[dict[str, Any]]:
    """One row an image, from the feet to the head as in the masks."""
    digits = f"{series.name}-{{:03d}}" if series.kind == "ct" else series.name
    return [
        {
            "image": digits.format(k),
            "series": series.name,
            "index": k,
            "file": path.relative_to(folder).as_posix(),
            "body_width_mm": round(width, 1) if width else "",
            "lesions": len(np.unique(plane[plane > 0])),
            "lesion_pixels": int((plane > 0).sum()),
        }
        for k, (path, width, plane) in enumerate(zip(files, widths, marks, strict=True))
    ]
