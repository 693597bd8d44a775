"""The sentences of an evaluation: what a reviewer must see, and the definitions in force."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medcnn.errors import DataError
from medcnn.evaluation.counts import positive_index
from medcnn.evaluation.inputs import ClassificationTable
from medcnn.evaluation.patients import PatientTable
from medcnn.evaluation.resampling import MIN_CLUSTERS, Resampler
from medcnn.evaluation.results import Figure
from medcnn.evaluation.thresholds import Choice, Rule
from medcnn.evaluation.unit import Unit
from medcnn.types import LabelSchema


def check_settings(resamples: int, level: float, bins: int, top_k: int, units: Sequence[str]) -> None:
    """Refuse numbers out of range.

    Raises:
        DataError: Naming the key of the recipe's ``evaluation`` section.
    """
    problems = [
        (resamples < 100, "resamples", f"{resamples} resamples give no interval", "use 100 at least, 2000 as a rule"),
        (not 0 < level < 1, "level", f"{level:g} is no level of an interval", "use a share such as 0.95"),
        (bins < 2, "calibration_bins", f"{bins} bins show no calibration", "use 2 at least"),
        (top_k < 1, "top_k", f"the {top_k} highest images of a patient are none", "use 1 at least"),
        (not units, "units", "no unit is named", "use image, patient or both"),
    ]
    for wrong, key, what, todo in problems:
        if wrong:
            raise DataError(what, where=f"evaluation.{key}", todo=todo)


def interval_warnings(resampler: Resampler, folds: int, figures: Sequence[Figure]) -> list[str]:
    """What bears on all intervals."""
    out = []
    if resampler.caution:
        what = "images" if resampler.resampled == "image" else f"{resampler.count:,} clusters"
        out.append(
            f"Patients are unknown: intervals resample {what}, and are too narrow if "
            f"{'patients repeat' if resampler.resampled == 'image' else 'patients span clusters'}."
        )
    if resampler.count < MIN_CLUSTERS and not resampler.single:
        out.append(
            f"There are {resampler.count} {resampler.noun}, fewer than {MIN_CLUSTERS}: in place of intervals stands "
            "the range of the figure over them."
        )
    elif resampler.count < MIN_CLUSTERS:
        out.append(f"There are fewer than {MIN_CLUSTERS} {resampler.noun}: figures without a formula have no interval.")
    if folds > 1:
        out.append(
            f"Figures pool {folds} networks, each on the cases that it did not see: intervals are conditional on these "
            f"{folds} trained networks and leave out how training itself varies."
        )
    withheld = [f for f in figures if f.interval is None and "withheld" in f.note]
    if withheld:
        out.append(f"{len(withheld)} intervals are withheld; the figures' notes say why.")
    return out


def warnings(
    unit: Unit, folds: int, choosing: Sequence[str], patients: Sequence[str], figures: Sequence[Figure]
) -> list[str]:
    """What a reviewer must see before the figures."""
    out = interval_warnings(unit.resampler, folds, figures)
    absent = [n for n, s in zip(unit.schema.names, unit.support, strict=True) if s == 0]
    if absent:
        out.append(f"No case of {', '.join(absent)} in the reference: averages leave out what has none.")
    few = [n for n, s in zip(unit.schema.names, unit.support, strict=True) if 0 < s < 5]
    if few:
        out.append(f"Fewer than 5 cases of {', '.join(few)} in the reference: figures of these classes say little.")
    if not unit.table.ranked:
        out.append(
            "There are decisions alone, no probabilities: AUROC, average precision and calibration are left out."
        )
    return [*out, *choosing, *patients]


def patient_remarks(grouped: PatientTable, schema: LabelSchema) -> list[str]:
    """Patients who could not be evaluated."""
    out = []
    if grouped.contradictory:
        count = len(grouped.contradictory)
        out.append(f"{count:,} patients have images of different classes and are left out of the figures by patient.")
    if grouped.missing:
        out.append(f"{len(grouped.missing):,} patients have no reference and are left out of the figures by patient.")
    return out


def notes(
    unit: Unit,
    rule: Rule | None,
    choices: Sequence[Sequence[Choice]],
    table: ClassificationTable,
    patients: Sequence[str],
) -> list[str]:
    """Definitions and rules in force; no rule where decisions were given."""
    schema = unit.schema
    out = ["Definitions, undefined cases and interval methods: docs/metrics.md."]
    if schema.binary:
        positive = schema.names[positive_index(schema)]
        chosen = "" if schema.positive is not None else " (the second class, as none is named)"
        out.append(f"F1, sensitivity, precision, AUROC and calibration are about {positive}{chosen}.")
    elif schema.multilabel:
        out.append(
            "Accuracy is two figures: exact match (all labels of a case right) and Hamming (share of right labels)."
        )
    else:
        out.append("Macro-averaged sensitivity is balanced accuracy; micro-averaged figures are equal to accuracy.")
    if rule is None:
        out.append("Decisions were given with the predictions; no threshold was applied.")
    elif rule == "argmax" and not any(choices):
        out.append("The decision is the most probable class; there is no threshold.")
    words = dict.fromkeys(c.rule for chosen in choices for c in chosen)
    if words:
        out.append(f"Thresholds: {'; '.join(words)}.")
    r = unit.resampler
    if r.kind == "bootstrap":
        drawn = f"{r.weights.shape[1]:,} times {r.count:,} {r.noun}"
        out.append(f"The bootstrap draws {drawn} with replacement{', ' + r.strata if r.strata else ''}.")
    kind = "quantiles of the probabilities" if unit.settings.binning == "mass" else "equal steps of probability"
    if unit.table.ranked:
        out.append(f"Calibration error: {unit.settings.bins} bins at {kind}; biased upwards in small samples.")
    if unit.settings.fixed_class_sizes and "class" not in unit.resampler.strata and not schema.multilabel:
        out.append("Clusters hold several classes: resamples could not keep the class sizes that the design fixed.")
    missing = int(np.isnan(table.states).any(1).sum())
    if missing:
        out.append(f"{missing:,} of {len(table):,} cases have a missing or uncertain label, which counts nowhere.")
    return [*out, *patients]
