"""Predictions on disk as CSV: a row a case, a column an output."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.evaluation.inputs import ClassificationTable, RegressionTable
from medcnn.files import open_atomic
from medcnn.types import Case

TableT = TypeVar("TableT", ClassificationTable, RegressionTable)


def write_columns(
    path: Path, cases: Sequence[str], columns: Sequence[str], rows: Sequence[NDArray[np.float32] | Sequence[Any]]
) -> Path:
    """Write ``case`` and the columns; floats with the nine digits that give a float32 back exactly."""
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", *columns])
        for case, row in zip(cases, rows, strict=True):
            writer.writerow([case, *(format(float(v), ".9g") for v in row)])
    return path


def read_columns(path: Path, cases: Mapping[str, Any]) -> tuple[tuple[str, ...], list[str], NDArray[np.float64]]:
    """Case ids, names of the columns and their values ``(N, columns)``.

    Raises:
        DataError: If the file is missing or broken, names a case twice, or one that the run does not have.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
        ids = tuple(row[0] for row in rows)
        values = np.array([[float(v) for v in row[1:]] for row in rows], np.float64)
        if len({len(header), *(len(row) for row in rows)}) != 1:
            raise ValueError("its lines have different numbers of columns")
    except FileNotFoundError as error:
        raise DataError("the predictions are missing", where=str(path), todo="train or predict first") from error
    except (ValueError, IndexError) as error:
        raise DataError(f"the predictions cannot be read: {error}", where=str(path), todo="predict again") from error
    unknown = [i for i in ids if i not in cases]
    if unknown or len(set(ids)) < len(ids):
        what = (
            f"{len(unknown)} cases are not of this run, the first is {unknown[0]}" if unknown else "cases stand twice"
        )
        raise DataError(what, where=str(path), todo="predict again with the model of this run")
    return ids, header[1:], values.reshape(len(ids), len(header) - 1)


def describe_cases(cases: Sequence[Case]) -> dict[str, Any]:
    """What tables hold of the cases beside predictions: clusters, patients and attributes."""
    names = sorted({name for case in cases for name in case.attributes})
    known = all(case.patient for case in cases)
    return {
        "clusters": np.array([case.cluster or case.patient or case.id for case in cases]),
        "patients": np.array([case.patient for case in cases]) if known and cases else None,
        "attributes": {name: [case.attributes.get(name) for case in cases] for name in names},
    }


def stack(tables: Sequence[TableT]) -> TableT:
    """The tables of several folds as one."""
    if len(tables) == 1:
        return tables[0]
    joined: dict[str, Any] = {}
    for field in fields(tables[0]):
        parts = [getattr(t, field.name) for t in tables]
        if field.name == "attributes":
            names = {name for part in parts for name in part}
            joined["attributes"] = {
                name: [v for t, part in zip(tables, parts, strict=True) for v in part.get(name, [None] * len(t))]
                for name in sorted(names)
            }
        elif field.name == "cases":
            joined["cases"] = tuple(case for part in parts for case in part)
        else:
            joined[field.name] = None if any(p is None for p in parts) else np.concatenate(parts)
    return replace(tables[0], **joined)
