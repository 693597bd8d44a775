"""Decisions from probabilities, and Counts and confusion matrices from decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.inputs import ClassificationTable
from medcnn.types import Counts, IntArray, LabelSchema, Unit


def positive_index(schema: LabelSchema) -> int:
    """The class that a binary problem is about: ``positive``, else the second one."""
    return schema.index(schema.positive) if schema.positive is not None else 1


def decide(probabilities: NDArray[Any], schema: LabelSchema, thresholds: Mapping[str, float]) -> NDArray[np.bool_]:
    """What is called present, ``(N, C)`` bool: at or above the threshold.

    Args:
        probabilities: ``(N, C)``.
        schema: The classes.
        thresholds: By class: the positive class of a binary problem, each class for several labels (0.5 where
            one is absent). Without any, exclusive classes are decided by the highest probability.
    """
    p = np.asarray(probabilities)
    if schema.multilabel:
        return np.asarray(p >= np.array([thresholds.get(n, 0.5) for n in schema.names]))
    called = np.zeros(p.shape, bool)
    if schema.binary:
        positive = positive_index(schema)
        name = schema.names[positive]
        if name in thresholds:
            called[:, positive] = p[:, positive].astype(np.float64) >= thresholds[name]
            called[:, 1 - positive] = ~called[:, positive]
            return called
    if len(p):
        called[np.arange(len(p)), p.argmax(1)] = True
    return called


def decide_table(
    table: ClassificationTable, schema: LabelSchema, thresholds: Sequence[Mapping[str, float]]
) -> NDArray[np.bool_]:
    """The decisions of a table, each row at its own fold's thresholds (fold f at ``thresholds[f]``)."""
    if table.decisions is not None:
        return table.decisions
    called = np.zeros(table.states.shape, bool)
    for fold in np.unique(table.fold):
        rows = table.fold == fold
        chosen = thresholds[fold] if fold < len(thresholds) else {}
        called[rows] = decide(table.probabilities[rows], schema, chosen)
    return called


def count(states: NDArray[Any], decided: NDArray[np.bool_], classes: Sequence[str], unit: Unit = "image") -> Counts:
    """Counts per case and class; a missing state (NaN) counts nowhere.

    Args:
        states: ``(N, C)``: 1 present, 0 absent, NaN missing.
        decided: ``(N, C)`` what was called present.
        classes: Names of the columns.
        unit: What a row is.
    """
    true, false = states == 1, states == 0
    called = np.asarray(decided, bool)
    tp, fp, fn, tn = (
        (a & b).astype(np.float64) for a, b in ((true, called), (false, called), (true, ~called), (false, ~called))
    )
    return Counts(tp, fp, fn, tn, unit, tuple(classes))


def confusion(states: NDArray[Any], decided: NDArray[np.bool_]) -> IntArray:
    """``(C, C)`` cases by reference (rows) and decision (columns), for exclusive classes; missing ones left out."""
    known = np.isfinite(states).all(1)
    true, called = (states[known] == 1).astype(np.int64), decided[known].astype(np.int64)
    return np.asarray(true.T @ called)


def case_rows(
    table: ClassificationTable, schema: LabelSchema, thresholds: Sequence[Mapping[str, float]]
) -> tuple[list[str], list[list[Any]]]:
    """A row a case for ``evaluation/cases.csv``: ids, reference, decision, whether it is right, probabilities.

    Returns:
        The columns and the rows. ``correct`` is blank where the reference is missing; with several labels it
        means that every known one is right, and ``unknown`` names those that are not known.
    """
    decided = decide_table(table, schema, thresholds)
    columns = ["case", "patient", "cluster", "fold", "reference", "predicted", "correct"]
    columns += ["unknown"] if schema.multilabel else []
    columns += [f"p_{n}" for n in schema.names] if table.ranked else []
    rows: list[list[Any]] = []
    for i, case in enumerate(table.cases):
        known = np.isfinite(table.states[i])
        right = bool((decided[i][known] == (table.states[i][known] == 1)).all())
        patient = "" if table.patients is None else str(table.patients[i])
        row: list[Any] = [case, patient, str(table.clusters[i]), int(table.fold[i])]
        row += [reference_text(table.states[i], schema), called_text(decided[i], schema)]
        row.append(int(right) if known.any() else "")
        row += ["|".join(n for n, k in zip(schema.names, known, strict=True) if not k)] if schema.multilabel else []
        row += [float(f"{p:.9g}") for p in table.probabilities[i]] if table.ranked else []
        rows.append(row)
    return columns, rows


def reference_text(states: NDArray[Any], schema: LabelSchema) -> str:
    """The reference of a case in words: its class, or its classes joined by ``|``; empty where missing."""
    if np.isnan(states).all():
        return ""
    return "|".join(n for n, s in zip(schema.names, states, strict=True) if s == 1) or "none"


def called_text(decided: NDArray[np.bool_], schema: LabelSchema) -> str:
    """The decision of a case in words, as :func:`reference_text`."""
    return "|".join(n for n, d in zip(schema.names, decided, strict=True) if d) or "none"
