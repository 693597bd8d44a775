"""What the audit says of labels, patients and attributes."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from medcnn.data.finding import Finding, Severity, examples
from medcnn.data.grouping import dummy_ids, listing, plural, printable
from medcnn.types import Boxes, Case, ClassLabel, Dataset, LabelSchema, Mask, Value

LARGE_PATIENT = 0.1
RARE, IMBALANCE = 10, 10.0
_PRIVATE = re.compile(r"date|birth|uid|name|(^|_)id$|(^|_)time$", re.IGNORECASE)
_AGE = re.compile(r"(^|_)age($|_)|patientage", re.IGNORECASE)
_OLDEST = 89
_SHOWN_VALUES = 20


def label_tables(dataset: Dataset) -> tuple[dict[str, Any], list[Finding]]:
    """Targets present, class balance, the range of a continuous label, and labels that are missing."""
    cases = dataset.cases
    targets = {
        "class": sum(c.target(ClassLabel) is not None for c in cases),
        "value": sum(c.target(Value) is not None for c in cases),
        "mask": sum(c.target(Mask) is not None for c in cases),
        "boxes": sum(c.target(Boxes) is not None for c in cases),
    }
    tables: dict[str, Any] = {"targets": targets}
    findings: list[Finding] = []
    schema = dataset.labels.get("class")
    if schema is not None:
        tables["classes"] = _class_table(cases, schema)
        findings += _class_findings(tables["classes"], schema)
    if targets["value"]:
        tables["value"] = _value_table(cases)
    missing = [c.id for c in cases if _unlabelled(c)]
    tables["unlabelled"] = len(missing)
    if missing and len(missing) == len(cases):
        findings.append(Finding("labels-missing", "info", "no case has a label", len(missing)))
    elif missing:
        text = plural(len(missing), "case has", "cases have") + " no label, left out of the loss and the counts"
        findings.append(Finding("labels-missing", "caution", text, len(missing), examples(missing)))
    return tables, findings


def _unlabelled(case: Case) -> bool:
    label, value = case.target(ClassLabel), case.target(Value)
    known = [label is not None and not label.missing, value is not None and value.value is not None]
    return not any([*known, case.target(Mask) is not None, case.target(Boxes) is not None])


def _class_table(cases: Sequence[Case], schema: LabelSchema) -> list[dict[str, Any]]:
    """A row a class; ``share`` is of the cases whose state is known, undefined where none is."""
    states: list[Counter[int | None]] = [Counter() for _ in schema.classes]
    patients: list[set[str]] = [set() for _ in schema.classes]
    for case in cases:
        label = case.target(ClassLabel)
        for i in range(len(schema.classes)):
            state = None if label is None else label.states[i]
            states[i][state] += 1
            if state == 1 and case.patient is not None:
                patients[i].add(case.patient)
    rows = []
    for name, count, ids in zip(schema.names, states, patients, strict=True):
        known = count[0] + count[1]
        rows.append(
            {
                "class": name,
                "present": count[1],
                "absent": count[0],
                "missing": count[None],
                "share": count[1] / known if known else None,
                "patients": len(ids) or None,
            }
        )
    return rows


def _class_findings(rows: Sequence[dict[str, Any]], schema: LabelSchema) -> list[Finding]:
    found = []
    empty = [r["class"] for r in rows if not r["present"]]
    if empty:
        text = f"{plural(len(empty), 'class has', 'classes have')} no case: {listing(empty)}"
        found.append(Finding("class-empty", "caution", text, len(empty)))
    rare = [f"{r['class']} ({r['present']})" for r in rows if 0 < r["present"] < RARE]
    if rare:
        text = f"{plural(len(rare), 'class has', 'classes have')} fewer than {RARE} cases: {', '.join(rare[:10])}"
        found.append(Finding("class-rare", "caution", text, len(rare)))
    present = sorted((r["present"], r["class"]) for r in rows if r["present"])
    if not schema.multilabel and len(present) > 1 and present[-1][0] >= IMBALANCE * present[0][0]:
        ratio = present[-1][0] // present[0][0]
        text = f"{ratio:,} times as many cases in {present[-1][1]!r} as in {present[0][1]!r}: accuracy alone flatters"
        found.append(Finding("class-imbalance", "info", text, ratio))
    return found


def _value_table(cases: Sequence[Case]) -> dict[str, Any]:
    values = [v.value for c in cases if (v := c.target(Value)) is not None and v.value is not None]
    finite = np.array([v for v in values if math.isfinite(v)], dtype=np.float64)
    if not len(finite):
        return {"n": 0, "low": None, "median": None, "high": None, "mean": None, "std": None}
    return {
        "n": len(finite),
        "low": float(finite.min()),
        "median": float(np.median(finite)),
        "high": float(finite.max()),
        "mean": float(finite.mean()),
        "std": float(finite.std(ddof=1)) if len(finite) > 1 else None,
    }


def patient_tables(dataset: Dataset) -> tuple[dict[str, Any], list[Finding]]:
    """How many patients there are, and ids that say nothing, hold too much or contradict themselves."""
    cases = dataset.cases
    empty = dummy_ids(c.patient for c in cases)
    by_patient: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.patient is not None and case.patient not in empty:
            by_patient[case.patient.strip()].append(case)
    sizes = [len(members) for members in by_patient.values()]
    blank = [c for c in cases if c.patient is not None and not c.patient.strip()]
    dummy = [c for c in cases if c.patient is not None and c.patient.strip() and c.patient in empty]
    table = {
        "known": dataset.patients_known,
        "patients": len(by_patient),
        "cases_with_id": sum(sizes),
        "cases_without_id": sum(c.patient is None for c in cases) + len(blank),
        "cases_with_dummy_id": len(dummy),
        "cases_per_patient": {"median": float(np.median(sizes)), "most": max(sizes)} if sizes else None,
        "groups": len({c.group for c in cases if c.group is not None}),
        "clusters": len({c.cluster for c in cases if c.cluster is not None}),
    }
    return table, _patient_findings(dataset, by_patient, blank, dummy)


def _patient_findings(
    dataset: Dataset, by_patient: dict[str, list[Case]], blank: Sequence[Case], dummy: Sequence[Case]
) -> list[Finding]:
    found = []
    total = len(dataset.cases)
    if not dataset.patients_known:
        # A tree of DICOM knows some of them; where nobody is known there is nothing to point at.
        unknown = [c.id for c in dataset.cases if c.patient is None] or [c.id for c in dataset.cases]
        some = f"{len(unknown):,} of {total:,}" if len(unknown) < total else f"{total:,}"
        text = f"the patients of {some} cases are not known: intervals are too narrow if patients repeat"
        shown = examples(unknown) if len(unknown) < total else ()
        found.append(Finding("patients-unknown", "caution", text, len(unknown), shown))
    if blank:
        text = plural(len(blank), "case has", "cases have") + " a blank patient id, which joins none"
        found.append(Finding("patient-blank", "caution", text, len(blank), examples(c.id for c in blank)))
    if dummy:
        ids = listing(sorted({c.patient or "" for c in dummy}), 5)
        text = f"{plural(len(dummy), 'case has', 'cases have')} a patient id that says nothing ({ids}) and joins none"
        found.append(Finding("patient-dummy", "caution", text, len(dummy), examples(c.id for c in dummy)))
    return [*found, *_large_patients(list(by_patient.values()), total)]


def _large_patients(by_patient: Sequence[Sequence[Case]], total: int) -> list[Finding]:
    """Ids over 10 % of the cases: suspicious if alone, or far above the average; else there are few patients."""
    large = [m for m in by_patient if len(m) > LARGE_PATIENT * total]
    odd = [m for m in large if len(by_patient) == 1 or len(m) > 2 * sum(map(len, by_patient)) / len(by_patient)]
    named = odd or large
    if not named or total < 2:
        return []
    share = f"{100 * max(map(len, named)) / total:.0f} %"
    text = (
        f"{plural(len(named), 'patient id holds', 'patient ids hold')} over {100 * LARGE_PATIENT:.0f} % of the cases "
    )
    text += f"(up to {share}): " + ("an id for many?" if odd else f"there are {len(by_patient)} patients only")
    severity: Severity = "caution" if odd else "info"
    return [Finding("patient-large", severity, text, len(named), examples(m[0].id for m in named))]


def attribute_tables(dataset: Dataset) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Each attribute with how many cases have it and what values it takes.

    Values of attributes that look like dates, names or ids are counted and not shown; ages above 89 are pooled.
    """
    total = len(dataset.cases)
    held: dict[str, list[str | float | int]] = defaultdict(list)
    for case in dataset.cases:
        for name, value in case.attributes.items():
            if value is not None and value == value and str(value).strip():
                held[name].append(value)
            else:
                held.setdefault(name, [])
    rows = [
        {
            "attribute": printable(name),
            "available": len(values),
            "missing": total - len(values),
            "distinct": len(set(values)),
            **_value_facts(name, values),
        }
        for name, values in sorted(held.items())
    ]
    sparse = [f"{row['attribute']} ({row['available']:,})" for row in rows if row["available"] < total]
    if not sparse:
        return rows, []
    text = (
        f"{plural(len(sparse), 'attribute', 'attributes')} not known for all {total:,} cases: {', '.join(sparse[:10])}"
    )
    return rows, [Finding("attributes-missing", "info", text, len(sparse))]


def _value_facts(name: str, values: Sequence[str | float | int]) -> dict[str, Any]:
    if not values or _PRIVATE.search(name):
        return {}
    numbers = np.array([v for v in values if isinstance(v, int | float)], dtype=np.float64)
    if len(numbers) == len(values):
        numbers = numbers[np.isfinite(numbers)]
        if _AGE.search(name):
            numbers = np.minimum(numbers, _OLDEST + 1)
        if len(np.unique(numbers)) > _SHOWN_VALUES or _AGE.search(name):
            if not len(numbers):
                return {}
            return {"low": float(numbers.min()), "median": float(np.median(numbers)), "high": float(numbers.max())}
    counter = Counter(str(v) for v in values)
    if len(counter) > _SHOWN_VALUES or _AGE.search(name):
        return {}
    return {"values": [{"value": printable(v), "cases": n} for v, n in sorted(counter.items(), key=lambda kv: -kv[1])]}
