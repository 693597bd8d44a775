"""The cohort's tables: series and images as CSV, lesion boxes as COCO, and what describes the whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcnn.data.phantom import VERSION
from medcnn.data.phantom.body import ORGANS
from medcnn.data.phantom.design import BODY_PARTS
from medcnn.data.phantom.jobs import Rows

SERIES_COLUMNS = (
    "series", "patient", "study", "kind", "modality", "body_part", "filed", "beyond", "scanner", "sex", "age",
    "patient_lesions", "lesions", "images", "rows", "columns", "spacing", "spacing_z", "view", "tilt", "contrast",
    "inverted", "dose", "arms", "body_part_in_header", "date", "study_uid", "series_uid", "path", "organ_mask",
    "lesion_mask",
)  # fmt: skip
IMAGE_COLUMNS = ("image", "series", "index", "file", "body_width_mm", "lesions", "lesion_pixels")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows under the names of their columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")


def write_tables(folder: Path, found: Sequence[Rows], parameters: dict[str, Any]) -> None:
    """Write ``series.csv``, ``images.csv``, ``lesions.coco.json`` and, last, ``phantom.json``."""
    series = [row for rows in found for row in rows["series"]]
    images = [row for rows in found for row in rows["images"]]
    lesions = [row for rows in found for row in rows["lesions"]]
    write_csv(folder / "series.csv", SERIES_COLUMNS, series)
    write_csv(folder / "images.csv", IMAGE_COLUMNS, images)
    coco = _coco(series, images, lesions)
    (folder / "lesions.coco.json").write_text(
        json.dumps(coco, indent=None, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    patients = {row["patient"]: row["patient_lesions"] for row in series}
    facts = {
        "version": VERSION,
        "parameters": parameters,
        "labels": {
            "body_part": {str(k): name for k, name in enumerate(BODY_PARTS)},
            "organs": {str(k): name for k, name in enumerate(ORGANS)},
            "lesions": {"0": "background", "1": "lesion"},
        },
        "counts": {
            "patients": len(patients),
            "patients without lesions": sum(1 for flag in patients.values() if not flag),
            "series": len(series),
            "images": len(images),
            "lesions": len(lesions),
        },
    }
    (folder / "phantom.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _coco(
    series: Sequence[dict[str, Any]], images: Sequence[dict[str, Any]], lesions: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """COCO over single images; ``lesions`` adds the boxes in whole series, which COCO does not know."""
    shape = {row["series"]: (row["columns"], row["rows"]) for row in series}
    ids = {(row["series"], row["index"]): k for k, row in enumerate(images, start=1)}
    listed = [
        {
            "id": ids[row["series"], row["index"]],
            "file_name": row["file"],
            "width": shape[row["series"]][0],
            "height": shape[row["series"]][1],
            "image": row["image"],
            "series": row["series"],
            "index": row["index"],
        }
        for row in images
    ]
    boxes: list[dict[str, Any]] = []
    for lesion in lesions:
        for piece in lesion["slices"]:
            x1, y1, x2, y2 = piece["box"]
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": ids[lesion["series"], piece["index"]],
                    "category_id": 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": piece["area"],
                    "iscrowd": 0,
                    "lesion": lesion["lesion"],
                    "kind": lesion["kind"],
                    "visibility": lesion["visibility"],
                }
            )
    whole = [{k: v for k, v in lesion.items() if k != "slices"} for lesion in lesions]
    info = {"description": "Lesions of the generated cohort; corners at pixel edges: pixel i covers [i, i+1)."}
    return {
        "info": info,
        "images": listed,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "lesion"}],
        "lesions": whole,
    }
