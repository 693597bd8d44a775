"""Predicted boxes on disk: a row a case and, beside it, a row a box, in the image's own grid."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.errors import DataError
from medcnn.files import open_atomic
from medcnn.types import BoxesPrediction, Case, LabelSchema

_AXES = ("x", "y", "z")
_Rows = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class BoxTable:
    """The predicted boxes of one part.

    Attributes:
        cases: Ids.
        predictions: One entry a case, from the highest score to the lowest.
        baseline: The same of the trivial baseline; ``None`` where there is none.
    """

    cases: tuple[str, ...]
    predictions: tuple[BoxesPrediction, ...]
    baseline: tuple[BoxesPrediction, ...] | None = None


def write_box_table(
    path: Path, cases: Sequence[str], predictions: Sequence[BoxesPrediction], schema: LabelSchema
) -> Path:
    """Write the predictions of one part: ``<part>.csv`` with a row a case, and ``<part>_boxes.csv`` with a row a box.

    Args:
        path: ``<part>.csv``: the case, how many boxes it has, size in voxels and spacing in mm of its image, blank
            where they are not known.
        cases: ``(N,)`` ids.
        predictions: ``(N,)``.
        schema: The classes of boxes.

    Returns:
        The path.

    Raises:
        RunError: If writing fails.
    """
    axes = _AXES[: _dims(predictions)]
    # The boxes first: where the table of cases is there, so are they.
    _write_boxes(_boxes_path(path), cases, predictions, schema)
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "boxes", *(f"size_{a}" for a in axes), *(f"spacing_{a}" for a in axes)])
        for case, found in zip(cases, predictions, strict=True):
            size = found.shape or [""] * len(axes)
            spacing = [""] * len(axes) if found.spacing is None else [_text(v) for v in found.spacing]
            writer.writerow([case, len(found.scores), *size, *spacing])
    return path


def write_baseline(
    path: Path, cases: Sequence[str], predictions: Sequence[BoxesPrediction], schema: LabelSchema
) -> Path:
    """Write what the trivial baseline predicts beside the table of a part, as ``<part>_baseline_boxes.csv``.

    Args:
        path: ``<part>.csv``, the table of the network's own predictions.
        cases: ``(N,)`` ids, of that table.
        predictions: ``(N,)``.
        schema: The classes of boxes.

    Returns:
        The file.

    Raises:
        RunError: If writing fails.
    """
    return _write_boxes(_baseline_path(path), cases, predictions, schema)


def read_box_table(path: Path, cases: Mapping[str, Case], schema: LabelSchema) -> BoxTable:
    """The tables that :func:`write_box_table` and :func:`write_baseline` wrote.

    Args:
        path: ``<part>.csv``.
        cases: The cases of the run, by id.
        schema: The classes of boxes.

    Raises:
        DataError: If a table is missing or broken, names a case twice or one that the run does not have, or a box is
            no box, of an unknown class, or has a score outside [0, 1].
    """
    columns, rows = _read(path)
    axes = _AXES[: 3 if "size_z" in columns else 2]
    try:
        ids = tuple(row["case"] for row in rows)
        counts = [int(row["boxes"]) for row in rows]
        frames = [(_numbers(row, "size", axes, int), _numbers(row, "spacing", axes, float)) for row in rows]
    except (KeyError, ValueError) as error:
        raise DataError("the predictions cannot be read", where=str(path), todo="predict again") from error
    unknown = [i for i in ids if i not in cases]
    if unknown or len(set(ids)) < len(ids):
        what = (
            f"{len(unknown)} cases are not of this run, the first is {unknown[0]}" if unknown else "cases stand twice"
        )
        raise DataError(what, where=str(path), todo="predict again with the model of this run")
    found = _read_boxes(_boxes_path(path), ids, frames, len(axes), schema)
    for case, count, one in zip(ids, counts, found, strict=True):
        if count != len(one.scores):
            raise DataError(
                f"{len(one.scores)} boxes of the case {case!r}, and {path.name} counts {count}",
                where=str(_boxes_path(path)),
                todo="predict again",
            )
    place = _baseline_path(path)
    return BoxTable(ids, found, _read_boxes(place, ids, frames, len(axes), schema) if place.is_file() else None)


def _boxes_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}_boxes.csv")


def _baseline_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}_baseline_boxes.csv")


def _dims(predictions: Sequence[BoxesPrediction]) -> int:
    return max((found.corners.shape[1] // 2 for found in predictions), default=2)


def _text(value: float) -> str:
    """Nine digits give a float32 back exactly."""
    return format(float(value), ".9g")


def _corner_names(dims: int) -> list[str]:
    return [f"{a}{end}" for end in (1, 2) for a in _AXES[:dims]]


def _write_boxes(path: Path, cases: Sequence[str], predictions: Sequence[BoxesPrediction], schema: LabelSchema) -> Path:
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "label", "score", *_corner_names(_dims(predictions))])
        for case, found in zip(cases, predictions, strict=True):
            for corners, label, score in zip(found.corners, found.labels, found.scores, strict=True):
                writer.writerow([case, schema.names[int(label)], _text(score), *(_text(v) for v in corners)])
    return path


def _read(path: Path) -> tuple[tuple[str, ...], _Rows]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("its lines have different numbers of columns")
    except FileNotFoundError as error:
        raise DataError("the predictions are missing", where=str(path), todo="train or predict first") from error
    except (OSError, csv.Error, ValueError) as error:
        raise DataError("the predictions cannot be read", where=str(path), todo="predict again") from error
    return tuple(reader.fieldnames or ()), rows


def _numbers(row: Mapping[str, str], stem: str, axes: Sequence[str], kind: type) -> tuple[Any, ...]:
    """The numbers of all axes; none where they are blank."""
    texts = [row[f"{stem}_{a}"] for a in axes]
    return tuple(kind(text) for text in texts) if all(texts) else ()


def _read_boxes(
    path: Path, ids: Sequence[str], frames: Sequence[tuple[Any, Any]], dims: int, schema: LabelSchema
) -> tuple[BoxesPrediction, ...]:
    names, labels = _corner_names(dims), {name: k for k, name in enumerate(schema.names)}
    found: dict[str, list[tuple[list[float], int, float]]] = {case: [] for case in ids}
    for number, row in enumerate(_read(path)[1], 1):
        where = f"{path}, row {number}"
        try:
            case, label = row["case"], row["label"]
            corners, score = [float(row[name]) for name in names], float(row["score"])
        except (KeyError, ValueError) as error:
            raise DataError("the box cannot be read", where=where, todo="predict again") from error
        if case not in found or label not in labels:
            what = f"the case {case!r}" if case not in found else f"the class {label!r}"
            raise DataError(f"{what} is not of this run", where=where, todo="predict again with the model of this run")
        if not (np.isfinite(corners).all() and 0 <= score <= 1):
            what = f"the score {score:g} is outside [0, 1]" if np.isfinite(corners).all() else "a corner is not finite"
            raise DataError(what, where=where, todo="predict again")
        found[case].append((corners, labels[label], score))
    return tuple(_prediction(found[case], *frame, dims) for case, frame in zip(ids, frames, strict=True))


def _prediction(
    boxes: Sequence[tuple[list[float], int, float]], shape: tuple[int, ...], spacing: tuple[float, ...], dims: int
) -> BoxesPrediction:
    ordered = sorted(boxes, key=lambda box: -box[2])
    return BoxesPrediction(
        np.array([corners for corners, _, _ in ordered], np.float32).reshape(-1, 2 * dims),
        np.array([label for _, label, _ in ordered], np.int64),
        np.array([score for _, _, score in ordered], np.float32),
        shape,
        spacing or None,
    )
