"""Where the thresholds of an evaluation come from: each network's validation part, or what is stored with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medcnn.errors import DataError
from medcnn.evaluation.inputs import ClassificationTable
from medcnn.evaluation.patients import PatientRule, by_patient
from medcnn.evaluation.thresholds import Choice, Rule, check_rule, choose_thresholds, thresholded, values
from medcnn.types import LabelSchema

Stored = Mapping[str, float]
# One entry a fold: the table of its validation part (empty where it has none), or what is stored with its network.
Sources = Sequence[ClassificationTable] | Sequence[Stored]
# Stands before a class in stored thresholds where patients are decided, not images.
PATIENT = "patient:"
_STORED = "stored with the network"


@dataclass(slots=True)
class ThresholdSources:
    """Chooses thresholds fold by fold, or takes the stored ones.

    Attributes:
        given: One entry a fold; nothing where there is neither.
        schema: The classes.
        rule: How thresholds are chosen.
        value: The sensitivity to reach, or the fixed threshold.
        patient_rule: How a patient's probability follows from those of its images.
        top_k: For the rule of that name.
    """

    given: Sources
    schema: LabelSchema
    rule: Rule = "auto"
    value: float | None = None
    patient_rule: PatientRule = "mean"
    top_k: int = 3
    tables: list[ClassificationTable] = field(init=False)
    stored: list[Stored] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = [g for g in self.given if isinstance(g, ClassificationTable)]
        self.stored = [g for g in self.given if not isinstance(g, ClassificationTable)]

    def check(self, folds: int) -> None:
        """Refuse sources that do not cover the folds; parts that the rule does not need are then left aside.

        Raises:
            DataError: Naming how many there are.
        """
        if not self.given or len(self.given) >= folds:
            return
        fixed = check_rule(self.schema, self.rule, self.value) in ("fixed", "argmax")
        if self.stored or not fixed:
            what = "stored thresholds" if self.stored else "validation parts to choose thresholds on"
            raise DataError(
                f"{folds} folds, but {len(self.given)} {what}",
                where="evaluation.threshold",
                todo="give each fold a validation part (data.split.validation), or use threshold: fixed",
            )
        # Which fold each of them belongs to is not known.
        self.tables = []

    def by_image(self, folds: int) -> list[tuple[Choice, ...]]:
        """Thresholds of images, one entry a fold."""
        if self.stored:
            return self._taken("", folds)
        return self._choose(self.tables, folds)

    def by_patient(self, folds: int) -> list[tuple[Choice, ...]] | None:
        """Thresholds of patients; ``None`` where there is nothing to take or choose them from."""
        if self.stored:
            taken = self._taken(PATIENT, folds)
            return taken if thresholded(self.schema) and all(taken) else None
        usable = [t for t in self.tables if t.patients is not None and t.ranked]
        if not usable or len(usable) < len(self.tables):
            return None
        return self._choose([by_patient(t, self.schema, self.patient_rule, self.top_k).table for t in usable], folds)

    def _choose(self, tables: Sequence[ClassificationTable], folds: int) -> list[tuple[Choice, ...]]:
        parts: list[ClassificationTable | None] = [t if len(t) else None for t in tables] or [None] * folds
        some = any(p is not None for p in parts)
        chosen = []
        for fold, part in enumerate(parts):
            found = choose_thresholds(part, self.schema, threshold=self.rule, threshold_value=self.value)
            if some and part is None and self.rule != "fixed":
                found = tuple(
                    c.with_note(f"fold {fold} has no validation part: {c.value:g} for {c.name}") for c in found
                )
            chosen.append(found)
        return chosen

    def _taken(self, prefix: str, folds: int) -> list[tuple[Choice, ...]]:
        names = [(n, prefix + n) for n in thresholded(self.schema)]
        if len(self.stored) > folds == 1:
            # One prediction made of several networks': their thresholds are averaged as their probabilities are.
            found = {n: [float(s[key]) for s in self.stored if key in s] for n, key in names}
            words = f"mean of those stored with the {len(self.stored)} networks"
            return [tuple(Choice(n, float(np.mean(v)), words) for n, v in found.items() if v)]
        return [tuple(Choice(n, float(s[key]), _STORED) for n, key in names if key in s) for s in self.stored]


def thresholds_to_store(
    validation: ClassificationTable | None, schema: LabelSchema, options: Mapping[str, Any]
) -> dict[str, float]:
    """Thresholds of one network as they are stored with it: by class, and behind ``patient:`` those of patients.

    Args:
        validation: The validation part; ``None`` or empty where there is none.
        schema: The classes.
        options: The recipe's ``evaluation`` section.

    Raises:
        DataError: If the rule needs a validation part that is not there.
    """
    known = {"threshold": "rule", "threshold_value": "value", "patient_rule": "patient_rule", "top_k": "top_k"}
    given = {known[k]: v for k, v in options.items() if k in known and v is not None}
    sources = ThresholdSources([] if validation is None else [validation], schema, **given)
    out = values(sources.by_image(1)[0])
    owners = None if validation is None else validation.patients
    if owners is None or "patient" not in options.get("units", ("image", "patient")):
        return out
    if len(np.unique(owners)) < len(owners):
        out |= {PATIENT + name: value for name, value in values((sources.by_patient(1) or [()])[0]).items()}
    return out


def choosing_warnings(choices: Sequence[Sequence[Choice]]) -> list[str]:
    """What went wrong while choosing."""
    return list(dict.fromkeys(f"Threshold: {c.note}." for chosen in choices for c in chosen if c.note))
