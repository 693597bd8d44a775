"""A table at one unit, image or patient, with its figures and what they are called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.baselines import Baseline
from medcnn.evaluation.calibration import Binning
from medcnn.evaluation.counts import positive_index
from medcnn.evaluation.inputs import ClassificationTable
from medcnn.evaluation.intervals import effective_number
from medcnn.evaluation.judging import Judge, Judged
from medcnn.evaluation.rankings import ClassRanking
from medcnn.evaluation.resampling import Resampler
from medcnn.evaluation.results import Figure
from medcnn.evaluation.sums import CaseSums, Key, proportions
from medcnn.types import LabelSchema

Array = NDArray[np.float64]

LABELS = {
    "f1": "F1",
    "sensitivity": "Sensitivity",
    "precision": "Precision",
    "accuracy": "Accuracy",
    "specificity": "Specificity",
    "npv": "Negative predictive value",
    "balanced_accuracy": "Balanced accuracy",
    "mcc": "Matthews correlation",
    "kappa": "Cohen's kappa",
    "exact_match": "Accuracy, exact match",
    "hamming_accuracy": "Accuracy over labels (Hamming)",
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "brier": "Brier score",
    "ece": "Calibration error",
    "log_loss": "Log loss",
}
UNDEFINED = {
    "f1": "undefined: the class occurs neither in the reference nor among the decisions",
    "sensitivity": "undefined: no positive case",
    "precision": "undefined: nothing is called positive",
    "specificity": "undefined: no negative case",
    "npv": "undefined: nothing is called negative",
    "balanced_accuracy": "undefined: positive or negative cases are missing",
    "mcc": "undefined: reference or decisions have one value only",
    "kappa": "undefined: agreement by chance is complete",
    "auroc": "undefined: positive or negative cases are missing",
    "average_precision": "undefined: positive or negative cases are missing",
}
# Whose cases a share rests on; other figures rest on all that are known.
_RESTS_ON = {
    "sensitivity": ("tp", "fn"),
    "specificity": ("tn", "fp"),
    "precision": ("tp", "fp"),
    "npv": ("tn", "fn"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How figures are computed, the same for all units.

    Attributes:
        part: Name of the evaluated part.
        patients_known: Whether patients are known.
        resamples: B.
        level: Nominal coverage of intervals.
        seed: Of the resampling.
        fixed_class_sizes: The design fixed the class sizes: resample within classes.
        bins: Bins of the calibration error.
        binning: How they are laid.
    """

    part: str
    patients_known: bool
    resamples: int
    level: float
    seed: int
    fixed_class_sizes: bool = False
    bins: int = 15
    binning: Binning = "mass"


@dataclass(slots=True)
class Unit:
    """A table at one unit with its figures.

    Attributes:
        table: Cases with a reference, decided.
        decided: ``(N, C)``.
        schema: The classes.
        settings: How.
        unit: ``image`` or ``patient``.
        resampler: The draws.
        columns: What is summed.
        judge: Makes the intervals.
        point: Figures by key.
        samples: ``(B,)`` by key.
        chosen: Classes that the averages of a figure take.
        judged: Intervals by key.
        rankings: By class; empty without probabilities.
        base: Baselines by key.
        whole: These are all cases, not a subgroup or a fold: what holds everywhere is noted here alone.
    """

    table: ClassificationTable
    decided: NDArray[np.bool_]
    schema: LabelSchema
    settings: Settings
    unit: str
    resampler: Resampler
    columns: CaseSums
    judge: Judge
    point: dict[Key, float] = field(default_factory=dict)
    samples: dict[Key, Array] = field(default_factory=dict)
    chosen: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    judged: dict[Key, Judged] = field(default_factory=dict)
    rankings: dict[str, ClassRanking] = field(default_factory=dict)
    base: dict[Key, Baseline] = field(default_factory=dict)
    whole: bool = True

    @property
    def support(self) -> Array:
        """``(C,)`` cases of each class in the reference."""
        return np.asarray((self.table.states == 1).sum(0), np.float64)

    @property
    def known(self) -> Array:
        """``(C,)`` cases whose state is known."""
        return np.asarray(np.isfinite(self.table.states).sum(0), np.float64)

    def figure(self, name: str, target: str | None = None, average: str | None = None) -> Figure:
        """One figure with its n, interval and notes."""
        key = (name, target, average)
        value, judged = self.point[key], self.judged.get(key, Judged())
        finite = bool(np.isfinite(value))
        notes = [judged.note, self.judge.outside(value, judged)] if finite else [UNDEFINED.get(name, "undefined")]
        notes += [self._average_note(name)] if average in ("macro", "weighted") else []
        if target in self.rankings and name in ("auroc", "average_precision"):
            notes.append(self.rankings[target].note)
        notes += _said_once(key, self.schema) if self.whole else []
        n, clusters = self._number(key)
        base = self.base.get(key, Baseline(None, ""))
        return Figure(
            name, _label(key, self.schema), float(value) if finite else None, n, self.unit, target, average,
            self.settings.part, judged.interval if finite else None, clusters,
            "; ".join(t for t in notes if t), base.value, base.label,
        )  # fmt: skip

    def figures(self) -> list[Figure]:
        """All of them: over all classes, averages, then by class."""
        order = list(LABELS)
        keys = sorted(self.point, key=lambda k: (k[1] is not None, self._place(k[1]), order.index(k[0])))
        return [self.figure(*k) for k in keys]

    def design_effects(self) -> list[dict[str, Any]]:
        """What the shares rest on where clusters hold several cases: n, effective n and design effect of each."""
        if self.resampler.single:
            return []
        rows = []
        for (name, target, average), share in proportions(self.columns).items():
            gathered = self.resampler.gather(np.stack([share.hits, share.totals], axis=1))
            found = effective_number(*gathered.T)
            if found.n and found.clusters < found.n:
                row = {"id": name, "target": target, "average": average, "unit": self.unit, "n": int(found.n)}
                numbers = {"effective_n": found.effective, "design_effect": found.design_effect}
                rows.append({**row, **{k: round(v, 3) for k, v in numbers.items()}, "clusters": found.clusters})
        return rows

    def _place(self, target: str | None) -> int:
        if target is None:
            return 0
        place = self.schema.index(target)
        # The class that a binary problem is about comes first.
        return (place - positive_index(self.schema)) % 2 if self.schema.binary else place

    def _average_note(self, name: str) -> str:
        used = self.chosen.get(name)
        total = len(self.schema.names)
        if used is None or used.sum() == total:
            return ""
        left_out = [n for n, u in zip(self.schema.names, used, strict=True) if not u]
        text = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        return f"over {int(used.sum())} of {total} classes (without {text}: no reference, or undefined)"

    def _number(self, key: Key) -> tuple[int, int]:
        name, target, _average = key
        known = np.isfinite(self.table.states)
        if target is None:
            rows = known.all(1) if name == "exact_match" else known.any(1)
        else:
            place = self.schema.index(target)
            counted = [self.columns.column(k)[:, place] for k in _RESTS_ON.get(name, ("tp", "fp", "fn", "tn"))]
            rows = np.sum(counted, axis=0) > 0
        return int(rows.sum()), len(np.unique(self.resampler.codes[rows]))


def _label(key: Key, schema: LabelSchema) -> str:
    name, target, average = key
    if key == ("sensitivity", None, "macro") and not schema.multilabel:
        return "Sensitivity, macro (= balanced accuracy)"
    if average:
        return f"{LABELS[name]}, {average}"
    if name == "ece" and target is None:
        return "Calibration error of the decision"
    return LABELS[name]


def _said_once(key: Key, schema: LabelSchema) -> list[str]:
    if schema.multilabel:
        return []
    remarks: dict[Key, list[str]] = {
        ("accuracy", None, None): ["micro-averaged F1, sensitivity and precision are equal to it"],
        ("sensitivity", None, "weighted"): ["equal to accuracy"],
    }
    return remarks.get(key, [])
