"""The evaluation of a classification: binary, multinomial or multilabel, by image and by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.evaluation import panels as tables
from medcnn.evaluation.calibration import Binning
from medcnn.evaluation.comparison import side_by_side
from medcnn.evaluation.compute import evaluate_unit
from medcnn.evaluation.counts import case_rows, decide_table
from medcnn.evaluation.curves import rank_curves, reliability_panels, score_panel
from medcnn.evaluation.galleries import galleries
from medcnn.evaluation.inputs import ClassificationTable
from medcnn.evaluation.patients import PatientRule, PatientTable, by_patient
from medcnn.evaluation.remarks import check_settings, notes, patient_remarks, warnings
from medcnn.evaluation.results import CaseTable, Evaluation, Panel, TablePanel
from medcnn.evaluation.sources import Sources, ThresholdSources, choosing_warnings
from medcnn.evaluation.subgroups import Subgroup, find_subgroups
from medcnn.evaluation.thresholds import Choice, Rule, check_rule, thresholded, values
from medcnn.evaluation.unit import Settings, Unit
from medcnn.types import LabelSchema

__all__ = ["ClassificationTable", "Sources", "case_rows", "check_options", "evaluate_classification", "side_by_side"]


def evaluate_classification(
    table: ClassificationTable, schema: LabelSchema, validation: Sources, *,
    title: str, part: str, patients_known: bool, gallery: int, seed: int,
    threshold: Rule = "auto", threshold_value: float | None = None,
    resamples: int = 2000, level: float = 0.95, fixed_class_sizes: bool = False,
    patient_rule: PatientRule = "mean", top_k: int = 3,
    units: tuple[Literal["image", "patient"], ...] = ("image", "patient"),
    subgroups: tuple[str, ...] | Literal["all"] = "all",
    calibration_bins: int = 15, calibration_binning: Binning = "mass",
) -> Evaluation:  # fmt: skip
    """Figures with intervals, and what a report draws of them; docs/metrics.md has all definitions.

    Args:
        table: Predictions beside references; several folds are pooled.
        schema: The classes.
        validation: One entry a fold, or none: its validation part (may be empty), or its stored thresholds.
        title: What is evaluated.
        part: Name of the evaluated part; ``test`` of several folds becomes ``out-of-fold``.
        patients_known: Whether patients are known, so that intervals may say so.
        gallery: Pictures in a gallery; 0 for none.
        seed: Fixes resamples and random pictures.
        threshold: Rule on validation: argmax (most probable class), youden (highest sensitivity + specificity),
            sensitivity (at least threshold_value), f1 (highest F1) or fixed (threshold_value). auto: argmax for
            three and more exclusive classes, f1 otherwise.
        threshold_value: The sensitivity to reach (0.95 where absent) or the fixed threshold (0.5 where absent).
        resamples: Resamples of the bootstrap.
        level: Nominal coverage of intervals, between 0 and 1.
        fixed_class_sizes: The design fixed how many cases each class has: resample within classes.
        patient_rule: A patient's probability from its images': mean, max, top_k (mean of the highest ones) or
            noisy_or (1 - product of 1 - p).
        top_k: How many images count under top_k.
        units: By image, by patient, or both. By patient needs known patients with several images.
        subgroups: Attributes whose values get figures of their own, or all of them.
        calibration_bins: Bins of the calibration error and the reliability diagram.
        calibration_binning: mass (about equally many cases a bin) or width (equal steps of probability).

    Raises:
        DataError: If no case has a reference, or an option does not fit the labels or the folds.
    """
    sources = ThresholdSources(validation, schema, threshold, threshold_value, patient_rule, top_k)
    settings = Settings(
        part, patients_known, resamples, level, seed, fixed_class_sizes, calibration_bins, calibration_binning
    )
    return _evaluate(table, sources, settings, _Wanted(title, gallery, units, subgroups))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is shown of the figures."""

    title: str
    gallery: int
    units: tuple[Literal["image", "patient"], ...]
    subgroups: tuple[str, ...] | Literal["all"]


def _evaluate(table: ClassificationTable, sources: ThresholdSources, settings: Settings, wanted: _Wanted) -> Evaluation:
    """Compute and gather everything; raises :class:`DataError` on no reference or options that do not fit."""
    schema = sources.schema
    rule = check_rule(schema, sources.rule, sources.value)
    check_settings(settings.resamples, settings.level, settings.bins, sources.top_k, wanted.units)
    labelled = _labelled(table, schema)
    folds = len(np.unique(labelled.fold))
    if folds > 1 and settings.part == "test":
        settings = replace(settings, part="out-of-fold")
    sources.check(int(table.fold.max()) + 1)
    choices = sources.by_image(int(table.fold.max()) + 1) if table.decisions is None else []
    images = evaluate_unit(labelled, decide_table(labelled, schema, _stored(choices)), schema, settings, "image")
    patients = _patients(table, sources, settings, choices) if "patient" in wanted.units else _Patients()
    shown = [images] if "image" in wanted.units or patients.unit is None else []
    shown += [patients.unit] if patients.unit is not None else []
    main = shown[0]
    groups, group_notes = find_subgroups(main.table.attributes, wanted.subgroups)
    drawn = [*_tables(shown, choices, patients), missing_panel(table, schema)]
    drawn += _pictures(main, patients.choices if main.unit == "patient" else choices, groups)
    # The pixels belong to images, also where patients stand first.
    drawn += galleries(images, wanted.gallery, settings.seed)
    figures = [f for unit in shown for f in unit.figures()]
    return Evaluation(
        task="classification",
        title=wanted.title,
        figures=figures,
        headline=[(*key, main.unit) for key in tables.headline_keys(main)],
        panels=[p for p in drawn if p is not None],
        warnings=warnings(main, folds, choosing_warnings(choices), patients.warnings, figures),
        notes=[
            *notes(main, None if table.decisions is not None else rule, choices, table, patients.notes),
            *group_notes,
        ],
        details=_details(shown, table, choices, patients, rule),
        cases=CaseTable(*case_rows(table, schema, _stored(choices))),
    )


def check_options(schema: LabelSchema, options: Mapping[str, Any]) -> None:
    """Refuse options of a recipe's ``evaluation`` section that do not fit the labels, before training.

    Raises:
        DataError: Saying which and why.
    """
    check_rule(schema, options.get("threshold", "auto"), options.get("threshold_value"))
    check_settings(
        options.get("resamples", 2000),
        options.get("level", 0.95),
        options.get("calibration_bins", 15),
        options.get("top_k", 3),
        options.get("units", ("image", "patient")),
    )


def _labelled(table: ClassificationTable, schema: LabelSchema) -> ClassificationTable:
    """The cases with a reference: a known class, or one known label at least."""
    known = np.isfinite(table.states)
    keep = np.asarray(known.any(1) if schema.multilabel else known.all(1))
    if not keep.any():
        raise DataError(
            "no case of the evaluated part has a label",
            todo="check the labels and how cases and predictions are joined",
        )
    return table.take(keep)


@dataclass(frozen=True, slots=True)
class _Patients:
    """The evaluation by patient, or why there is none."""

    unit: Unit | None = None
    grouped: PatientTable | None = None
    choices: Sequence[Sequence[Choice]] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()


def _patients(
    table: ClassificationTable, sources: ThresholdSources, settings: Settings, images: list[tuple[Choice, ...]]
) -> _Patients:
    """Gather patients and evaluate them, at thresholds chosen by patient on validation."""
    schema = sources.schema
    if not settings.patients_known or table.patients is None:
        return _Patients(notes=["No figures by patient: patients are unknown."])
    if not table.ranked:
        return _Patients(notes=["No figures by patient: there are decisions alone, no probabilities to join."])
    if len(np.unique(table.patients)) == len(table):
        return _Patients(notes=["Each patient has one image: figures by image are figures by patient."])
    grouped = by_patient(table, schema, sources.patient_rule, sources.top_k)
    remarks = patient_remarks(grouped, schema)
    if not len(grouped.table):
        return _Patients(notes=["No figures by patient: none has a reference."], warnings=remarks)
    folds = int(table.fold.max()) + 1
    own = sources.by_patient(folds)
    # Given decisions are of images: patients need thresholds of their own.
    choices = own if own is not None else images or sources.by_image(folds)
    words = [f"A patient's probability: {grouped.words}."]
    if schema.binary or schema.multilabel:
        words.append("A patient's reference is positive where that of any image is.")
    if thresholded(schema) and own is None:
        words.append(f"Patients are decided at {'the thresholds of images' if images else '0.5, for want of others'}.")
    decided = decide_table(grouped.table, schema, _stored(choices))
    unit = evaluate_unit(grouped.table, decided, schema, settings, "patient")
    return _Patients(unit, grouped, choices, words, remarks)


def _stored(choices: Sequence[Sequence[Choice]]) -> list[dict[str, float]]:
    return [values(c) for c in choices]


def _tables(shown: Sequence[Unit], choices: Sequence[Sequence[Choice]], patients: _Patients) -> list[Panel | None]:
    """The tables of each unit, after the two units side by side."""
    out: list[Panel | None] = []
    if len(shown) == 2 and patients.grouped is not None:
        out.append(tables.units_table(shown[0], shown[1], patients.grouped.words))
    for unit in shown:
        out += _unit_panels(unit, patients.choices if unit.unit == "patient" else choices)
    return out


def _unit_panels(unit: Unit, choices: Sequence[Sequence[Choice]]) -> list[Panel | None]:
    return [
        *tables.class_tables(unit),
        tables.averages_table(unit) if len(unit.schema.names) > 1 else None,
        tables.overall_table(unit),
        tables.matrix_panel(unit),
        tables.thresholds_table(choices, unit),
    ]


def _pictures(unit: Unit, choices: Sequence[Sequence[Choice]], groups: Sequence[Subgroup]) -> list[Panel | None]:
    """Curves with the tables that belong to them, subgroups, and folds."""
    out: list[Panel | None] = []
    if unit.table.ranked:
        diagram = reliability_panels(unit)
        # Drawings first, so that they stand side by side.
        out += [*rank_curves(unit, choices), *diagram[:1], score_panel(unit), *diagram[1:]]
    out += tables.subgroup_panels(unit, groups)
    return [*out, tables.folds_table(unit)] if unit.columns.folds > 1 else out


def missing_panel(table: ClassificationTable, schema: LabelSchema) -> TablePanel | None:
    """Known and missing labels; ``None`` where none is missing."""
    missing: NDArray[Any] = np.isnan(table.states).sum(0)
    if not missing.any():
        return None
    total = len(table)
    if not schema.multilabel:
        rows = [["without a label: predicted, not evaluated", int(missing[0]), total]]
        return TablePanel("missing", "Missing labels", ["Cases", "Number", "Of"], rows)
    rows = [[n, total - int(m), int(m), total] for n, m in zip(schema.names, missing, strict=True)]
    caption = "A missing or uncertain label counts neither for nor against."
    return TablePanel("missing", "Missing labels", ["Class", "Known", "Missing", "Cases"], rows, caption)


def _details(
    shown: Sequence[Unit],
    table: ClassificationTable,
    choices: Sequence[Sequence[Choice]],
    patients: _Patients,
    rule: Rule,
) -> dict[str, Any]:
    grouped, unit = patients.grouped, shown[0]
    return {
        "cases": len(table),
        "labelled": int(np.isfinite(table.states).any(1).sum()),
        "clusters": unit.resampler.count,
        "resampled": unit.resampler.resampled,
        "folds": unit.columns.folds,
        "threshold_rule": rule,
        "thresholds": _stored(choices),
        "patient_thresholds": _stored(patients.choices),
        "contradictory_patients": len(grouped.contradictory) if grouped is not None else 0,
        "design_effects": [row for u in shown for row in u.design_effects()],
    }
