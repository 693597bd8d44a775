"""From images to patients: one probability and one reference a patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.counts import positive_index
from medcnn.evaluation.inputs import ClassificationTable
from medcnn.types import Attribute, LabelSchema

PatientRule = Literal["mean", "max", "top_k", "noisy_or"]


@dataclass(frozen=True, slots=True, eq=False)
class PatientTable:
    """Patients as rows, with what was left out.

    Attributes:
        table: A row a patient; ``cases`` are the patients' ids.
        contradictory: Patients with several classes in a problem of three and more exclusive ones.
        missing: Patients without a reference.
        words: The rule in words.
    """

    table: ClassificationTable
    contradictory: tuple[str, ...]
    missing: tuple[str, ...]
    words: str


def describe_rule(rule: PatientRule, top_k: int, schema: LabelSchema) -> str:
    """The rule in words."""
    text = {
        "mean": "mean of the images' probabilities",
        "max": "highest of the images' probabilities",
        "top_k": f"mean of the {top_k} highest of the images' probabilities",
        "noisy_or": "1 - product of (1 - probability) over the images",
    }[rule]
    if schema.multilabel:
        return f"{text}, class by class"
    if schema.binary:
        return f"{text} of {schema.names[positive_index(schema)]}"
    return text if rule == "mean" else f"{text}, class by class, then divided by the sum over the classes"


def combine(probabilities: NDArray[Any], rule: PatientRule, top_k: int, schema: LabelSchema) -> NDArray[np.float64]:
    """One row of probabilities ``(C,)`` from those of a patient's images ``(n, C)``."""
    p = np.asarray(probabilities, np.float64)
    if rule == "mean":
        out = p.mean(0)
    elif rule == "max":
        out = p.max(0)
    elif rule == "top_k":
        out = np.sort(p, axis=0)[-top_k:].mean(0)
    else:
        out = 1 - np.prod(1 - p, axis=0)
    if schema.multilabel:
        return np.asarray(out)
    if schema.binary:
        positive = positive_index(schema)
        out[1 - positive] = 1 - out[positive]
        return np.asarray(out)
    return np.asarray(out / out.sum())


def by_patient(
    table: ClassificationTable, schema: LabelSchema, rule: PatientRule = "mean", top_k: int = 3
) -> PatientTable:
    """Gather the images of each patient.

    All images of a patient give its probability, also those without a label. Its reference: with two exclusive
    classes or several labels, positive where any image is, missing where none is and one is not labelled; with
    more exclusive classes the one class of its labelled images, and a patient with several is left out.

    Args:
        table: Images, with ``patients``.
        schema: The classes.
        rule: How probabilities are joined.
        top_k: For the rule of that name.

    Raises:
        ValueError: If the table has no patients.
    """
    if table.patients is None:
        raise ValueError("the table has no patients")
    names, codes = np.unique(table.patients, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]) if len(names) else []
    p, states, first = [], [], []
    contradictory, missing, keep = [], [], []
    for name, rows in zip(names, groups, strict=True):
        reference = _reference(table.states[rows], schema)
        if reference is None:
            contradictory.append(str(name))
        elif np.isnan(reference).all():
            missing.append(str(name))
        else:
            keep.append(str(name))
            states.append(reference)
            p.append(combine(table.probabilities[rows], rule, top_k, schema))
            first.append(rows)
    width = len(schema.names)
    clusters = [_cluster(table, rows, name) for rows, name in zip(first, keep, strict=True)]
    attributes = {k: [_attribute(v, rows) for rows in first] for k, v in table.attributes.items()}
    out = ClassificationTable(
        tuple(keep),
        np.array(p, np.float32).reshape(-1, width),
        np.array(states, np.float64).reshape(-1, width),
        np.array(clusters),
        np.array(keep),
        attributes,
        np.array([table.fold[rows[0]] for rows in first], np.int64),
    )
    return PatientTable(out, tuple(contradictory), tuple(missing), describe_rule(rule, top_k, schema))


def _reference(states: NDArray[Any], schema: LabelSchema) -> NDArray[np.float64] | None:
    """``(C,)``; NaN where missing, ``None`` where the images contradict each other."""
    if schema.multilabel:
        return _any_positive(states)
    if schema.binary:
        positive = positive_index(schema)
        state = _any_positive(states[:, [positive]])[0]
        out = np.full(2, np.nan)
        out[positive], out[1 - positive] = state, 1 - state
        return out
    known = states[np.isfinite(states).all(1)]
    if not len(known):
        return np.full(states.shape[1], np.nan)
    return np.asarray(known[0]) if bool((known == known[0]).all()) else None


def _any_positive(states: NDArray[Any]) -> NDArray[np.float64]:
    unknown = np.isnan(states).any(0)
    return np.where((states == 1).any(0), 1.0, np.where(unknown, np.nan, 0.0))


def _cluster(table: ClassificationTable, rows: NDArray[Any], patient: str) -> str:
    """The cluster that holds the patient; the patient where its images lie in several."""
    found = np.unique(table.clusters[rows])
    return str(found[0]) if len(found) == 1 else patient


def _attribute(values: Any, rows: NDArray[Any]) -> Attribute:
    """The one value that all images of the patient share; otherwise unknown at this level."""
    found = {values[i] for i in rows}
    return found.pop() if len(found) == 1 else None
