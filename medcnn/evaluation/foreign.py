"""Predictions and labels that some other program wrote, as an evaluation takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.evaluation.inputs import ClassificationTable, RegressionTable
from medcnn.evaluation.tables import (
    CASE_COLUMNS,
    Sheet,
    case_ids,
    find_column,
    number,
    probability_columns,
    read_probabilities,
    read_sheet,
)
from medcnn.registry import suggest
from medcnn.types import Attribute, LabelClass, LabelSchema

LABEL_COLUMNS = ("label", "target", "reference", "truth", "class", "y_true")
DECISION_COLUMNS = ("prediction", "predicted", "decision", "y_pred")
_OWN = {
    "patient": ("patient", "patient_id", "subject", "subject_id"),
    "cluster": ("cluster",),
    "fold": ("fold",),
}
_PREFIXES = ("p_", "prob_", "probability_")
_MISSING = ("", "na", "nan", "none", "null", "-1", "-1.0")


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """A foreign table with what was learned from it.

    Attributes:
        table: Predictions beside references.
        schema: The classes.
        patients_known: Whether a column names patients.
        notes: What was taken for what.
    """

    table: ClassificationTable
    schema: LabelSchema
    patients_known: bool
    notes: tuple[str, ...]


def read_classification(
    predictions: Path,
    references: Path | None = None,
    *,
    classes: tuple[str, ...] = (),
    positive: str | None = None,
    multilabel: bool = False,
) -> Foreign:
    """Read predictions, with the references in the same table or in one of their own.

    Predictions: a column ``case`` (or id, image), probabilities ``p_<class>`` (or ``prob_<class>``, or the class's
    name), a column ``prediction`` with the class, or both: the decisions are then those of the column. References:
    a column ``label`` (or target) with the class, classes joined by ``|`` for several labels, those that are not
    known in a column ``unknown``; or a column ``label_<class>`` each with 1, 0 or blank. ``patient``, ``cluster``
    and ``fold`` are used where they are there; other columns of the references become attributes.

    Args:
        predictions: CSV file.
        references: CSV file; ``None`` where the labels stand beside the predictions.
        classes: The classes, in order; absent: as found in the columns and labels.
        positive: The class that a binary problem is about; absent: the second one.
        multilabel: A case may have several labels.

    Raises:
        DataError: Saying in which row what is wrong, and what to do.
    """
    sheet = read_sheet(Path(predictions))
    labels = sheet if references is None else read_sheet(Path(references))
    order = _matched(case_ids(sheet), sheet, case_ids(labels), labels)
    schema = _schema(sheet, labels, classes, positive, multilabel)
    states = _references(labels, schema)[order]
    columns = probability_columns(_without_labels(sheet, references is None), schema)
    notes = [f"References: {labels.path.name}. Predictions: {sheet.path.name}."]
    decisions: NDArray[np.bool_] | None = None
    if columns is None:
        decisions = _decisions(sheet, schema)
        p = np.full(states.shape, np.nan, np.float32)
        notes.append("There are decisions alone: no rank figures, no calibration.")
    else:
        p = read_probabilities(sheet, schema, columns)
        decisions = _given_decisions(sheet, schema, notes)
    facts = _facts(labels, order, schema, {*columns.values()} if columns and references is None else set())
    known = facts.patients is not None
    table = ClassificationTable(
        tuple(case_ids(sheet)), p, states, facts.clusters, facts.patients, facts.attributes, facts.fold, decisions
    )
    return Foreign(table, schema, known, tuple(notes))


def read_regression(predictions: Path, references: Path | None = None) -> tuple[RegressionTable, bool]:
    """Read predicted values (``value`` or ``prediction``) and references (``label``, ``target``, ``reference``).

    Arguments and errors as in :func:`read_classification`.

    Returns:
        The table, and whether patients are known.
    """
    sheet = read_sheet(Path(predictions))
    labels = sheet if references is None else read_sheet(Path(references))
    order = _matched(case_ids(sheet), sheet, case_ids(labels), labels)
    predicted = find_column(sheet, ("prediction", "predicted", "value", "y_pred"))
    reference = find_column(labels, LABEL_COLUMNS if references is None else (*LABEL_COLUMNS, "value"))
    for column, where, what in ((predicted, sheet, "prediction"), (reference, labels, "label")):
        if column is None:
            raise DataError(
                f"no column holds the {what}; the columns are {', '.join(where.columns)}",
                where=str(where.path),
                todo=f"name it {what}",
            )
    assert predicted is not None
    assert reference is not None
    values = np.array([number(labels, i, reference, blank=True) for i in range(len(labels.rows))])[order]
    facts = _facts(labels, order, None, {predicted, reference})
    table = RegressionTable(
        tuple(case_ids(sheet)), np.array([number(sheet, i, predicted) for i in range(len(sheet.rows))]), values,
        facts.clusters, facts.patients, facts.attributes, facts.fold,
    )  # fmt: skip
    return table, facts.patients is not None


def _matched(cases: list[str], sheet: Sheet, labelled: list[str], labels: Sheet) -> NDArray[np.intp]:
    """For each prediction the row of its reference."""
    place = {c: i for i, c in enumerate(labelled)}
    for i, case in enumerate(cases):
        if case not in place:
            raise DataError(
                f"the case {case!r} has no reference",
                where=sheet.at(i),
                todo=f"add it to {labels.path}, blank where it is not known; {suggest(case, labelled[:500])}",
            )
    absent = sorted(set(labelled) - set(cases))
    if absent:
        raise DataError(
            f"{len(absent):,} cases have a reference but no prediction, the first is {absent[0]!r}",
            where=str(labels.path),
            todo="predict them too, or take them out of the references: figures over some of the cases mislead",
        )
    return np.array([place[c] for c in cases], np.intp)


def _schema(
    sheet: Sheet, labels: Sheet, classes: tuple[str, ...], positive: str | None, multilabel: bool
) -> LabelSchema:
    names = list(classes)
    single = find_column(labels, LABEL_COLUMNS)
    if not names:
        columns = [c for c in sheet.columns for p in _PREFIXES if c.startswith(p)]
        names = [next(c.removeprefix(p) for p in _PREFIXES if c.startswith(p)) for c in columns]
    if single is not None:
        texts = {t for r in labels.rows for t in _split(r[single], multilabel)}
        names += [] if classes or len(names) > 1 else sorted(texts - set(names))
    elif not names:
        names = [c.removeprefix("label_") for c in labels.columns if c.startswith("label_")]
    if len(names) < (1 if multilabel else 2):
        raise DataError(
            f"the classes cannot be told from the columns ({', '.join(sheet.columns)}) and labels",
            where=str(sheet.path),
            todo="name the classes, or name the columns p_<class> and the label's column label",
        )
    if positive is not None and positive not in names:
        raise DataError(f"there is no class {positive!r}", todo=suggest(positive, names))
    found = tuple(LabelClass(i, n) for i, n in enumerate(names))
    binary = len(found) == 2 and not multilabel
    return LabelSchema(found, multilabel, positive if positive is not None or not binary else names[1])


def _split(text: str, multilabel: bool) -> list[str]:
    if text.lower() in _MISSING:
        return []
    return [t.strip() for t in text.split("|") if t.strip() and t.strip() != "none"] if multilabel else [text]


def _references(labels: Sheet, schema: LabelSchema) -> NDArray[np.float64]:
    """``(N, C)`` states of the rows of a table of references."""
    single = find_column(labels, LABEL_COLUMNS)
    out = np.full((len(labels.rows), len(schema.names)), np.nan)
    unknown = find_column(labels, ("unknown",)) if schema.multilabel else None
    columns = {n: find_column(labels, (f"label_{n}", f"target_{n}")) for n in schema.names}
    if single is None and any(c is None for c in columns.values()):
        raise DataError(
            f"no column holds the label; the columns are {', '.join(labels.columns)}",
            where=str(labels.path),
            todo="name it label, or give a column label_<class> with 1, 0 or blank for each class",
        )
    for i, row in enumerate(labels.rows):
        if single is not None:
            out[i] = _named(labels, i, row[single], schema)
            if unknown is not None:
                out[i, [schema.index(n) for n in _split(row[unknown], True) if n in schema.names]] = np.nan
        else:
            out[i] = [_state(labels, i, c) for c in columns.values() if c is not None]
    return out


def _named(sheet: Sheet, row: int, text: str, schema: LabelSchema) -> NDArray[np.float64]:
    """States from the names of the classes present; NaN where the cell is blank."""
    out = np.full(len(schema.names), np.nan)
    if text.lower() in _MISSING and text not in schema.names and not (schema.multilabel and text.lower() == "none"):
        return out
    out[:] = 0
    for name in _split(text, schema.multilabel):
        if name not in schema.names:
            raise DataError(
                f"the label {name!r} is not one of the classes",
                where=sheet.at(row),
                todo=suggest(name, schema.names),
            )
        out[schema.index(name)] = 1
    return out


def _state(sheet: Sheet, row: int, column: str) -> float:
    text = sheet.rows[row][column]
    if text.lower() in _MISSING:
        return math.nan
    value = number(sheet, row, column)
    if value not in (0, 1):
        raise DataError(
            f"{text!r} in the column {column!r} is no state of a label",
            where=sheet.at(row),
            todo="1 is present, 0 absent, blank or -1 missing or uncertain",
        )
    return value


def _decisions(sheet: Sheet, schema: LabelSchema) -> NDArray[np.bool_]:
    column = find_column(sheet, DECISION_COLUMNS)
    if column is None:
        raise DataError(
            f"no column holds a probability or a decision; the columns are {', '.join(sheet.columns)}",
            where=str(sheet.path),
            todo=f"add {', '.join(f'p_{n}' for n in schema.names)}, or a column prediction with the class",
        )
    states = []
    for i, row in enumerate(sheet.rows):
        named = _named(sheet, i, row[column], schema)
        if np.isnan(named).any():
            if not schema.multilabel:
                raise DataError("the prediction is blank", where=sheet.at(i), todo="give each case a prediction")
            named[:] = 0
        states.append(named == 1)
    return np.array(states)


def _given_decisions(sheet: Sheet, schema: LabelSchema, notes: list[str]) -> NDArray[np.bool_] | None:
    """Decisions that stand beside probabilities, where all of them are classes; adds what was done to the notes."""
    column = find_column(sheet, DECISION_COLUMNS)
    if column is None:
        return None
    names = {*schema.names, "none"} if schema.multilabel else {*schema.names}
    cells = [row[column] for row in sheet.rows]
    named = [set(c.split("|")) if schema.multilabel else {c} for c in cells]
    if not all(n <= names for n in named):
        notes.append(f"The column {column} does not name classes: probabilities decide.")
        return None
    notes.append(f"Decisions are those of the column {column}.")
    return _decisions(sheet, schema)


def _without_labels(sheet: Sheet, joined: bool) -> Sheet:
    """The table without its columns of references, which a class's name must not find."""
    if not joined:
        return sheet
    kept = tuple(c for c in sheet.columns if not c.startswith(("label_", "target_")))
    return Sheet(sheet.path, kept, sheet.rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Facts:
    clusters: NDArray[np.str_]
    patients: NDArray[np.str_] | None
    attributes: dict[str, list[Attribute]]
    fold: NDArray[np.int64]


def _facts(labels: Sheet, order: NDArray[np.intp], schema: LabelSchema | None, taken: set[str]) -> _Facts:
    """Patients, clusters, folds and attributes of the references, in the order of the predictions."""
    found = {k: find_column(labels, names) for k, names in _OWN.items()}
    case = find_column(labels, CASE_COLUMNS)
    ids = [labels.rows[i][case] for i in order] if case else []
    patients = None
    if found["patient"] is not None:
        # A blank patient never means the same patient: such a case stands for itself.
        cells = [labels.rows[i][found["patient"]] for i in order]
        patients = np.array([p or c for p, c in zip(cells, ids, strict=True)], np.str_)
    default = ids if patients is None else patients.tolist()
    clusters = default
    if found["cluster"] is not None:
        clusters = [labels.rows[i][found["cluster"]] or d for i, d in zip(order, default, strict=True)]
    fold = np.zeros(len(order), np.int64)
    if found["fold"] is not None:
        fold = np.array([int(number(labels, i, found["fold"])) for i in order.tolist()])
        fold = np.unique(fold, return_inverse=True)[1].astype(np.int64)
    names = schema.names if schema is not None else ()
    used = {*taken, case, *found.values(), *(f"{p}{n}" for n in names for p in (*_PREFIXES, "label_", "target_", ""))}
    # What medcnn's own tables of cases say of the result is no attribute of a case.
    used |= {find_column(labels, LABEL_COLUMNS), find_column(labels, DECISION_COLUMNS), "correct", "error", "unknown"}
    attributes: dict[str, list[Attribute]] = {
        c: [labels.rows[i][c] or None for i in order] for c in labels.columns if c not in used
    }
    return _Facts(np.array(clusters, np.str_), patients, attributes, fold)
