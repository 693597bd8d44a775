"""From which probability on a class is called present: chosen on the validation part, never on the test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.evaluation.counts import positive_index
from medcnn.evaluation.inputs import ClassificationTable
from medcnn.evaluation.metrics import f1
from medcnn.evaluation.ranking import cumulated, rank
from medcnn.types import LabelSchema

Rule = Literal["auto", "argmax", "youden", "sensitivity", "f1", "fixed"]
DEFAULT_SENSITIVITY = 0.95
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    """The threshold of one class, with what it gave where it was chosen.

    Attributes:
        name: The class.
        value: Called present from this probability on.
        rule: How it was chosen, in words.
        aimed: The sensitivity that the rule aimed at; ``None`` for other rules.
        sensitivity: Reached on validation; ``None`` without positive cases, or without validation.
        specificity: Reached on validation, likewise.
        positives: Positive cases of the validation part.
        negatives: Negative cases of it.
        note: A caution; empty as a rule.
    """

    name: str
    value: float
    rule: str
    aimed: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    positives: int = 0
    negatives: int = 0
    note: str = ""

    def with_note(self, note: str) -> Choice:
        """The same choice with a caution."""
        return replace(self, note=note)


def check_rule(schema: LabelSchema, rule: Rule, value: float | None) -> Rule:
    """The rule in force, ``auto`` resolved; call it before training, so that a mistake costs nothing.

    ``auto`` is the highest probability for three and more exclusive classes and the highest F1 on validation
    otherwise.

    Raises:
        DataError: If the rule does not fit the labels, or its value is out of range.
    """
    several = not schema.multilabel and not schema.binary
    if rule == "auto":
        return "argmax" if several else "f1"
    if several and rule != "argmax":
        raise DataError(
            f"the rule {rule!r} sets one threshold a class, which {len(schema.classes)} exclusive classes do not have",
            where="evaluation.threshold",
            todo="use argmax (the default for exclusive classes), or several labels a case",
        )
    if schema.multilabel and rule == "argmax":
        raise DataError(
            "argmax chooses one class a case, but a case may have several labels",
            where="evaluation.threshold",
            todo="use f1 (the default), youden, sensitivity or fixed",
        )
    if value is not None and not 0 < value <= 1:
        raise DataError(f"{value:g} is not a share above 0 and up to 1", where="evaluation.threshold_value")
    return rule


def thresholded(schema: LabelSchema) -> tuple[str, ...]:
    """The classes that have a threshold: the positive one of two exclusive classes, all of several labels."""
    if schema.multilabel:
        return schema.names
    return (schema.names[positive_index(schema)],) if schema.binary else ()


def choose_thresholds(
    table: ClassificationTable | None,
    schema: LabelSchema,
    *,
    threshold: Rule = "auto",
    threshold_value: float | None = None,
) -> tuple[Choice, ...]:
    """Choose the thresholds of one network on its validation part.

    Args:
        table: The validation part; ``None`` where there is none.
        schema: The classes.
        threshold: The rule; see :func:`check_rule` for ``auto``.
        threshold_value: The sensitivity to reach (0.95 where absent), or the fixed threshold (0.5 where absent).

    Returns:
        One entry for each class that has a threshold; none where the highest probability decides.

    Raises:
        DataError: If the rule does not fit, or needs a validation part that is not there.
    """
    rule = check_rule(schema, threshold, threshold_value)
    if rule == "argmax" and not schema.binary:
        return ()
    if table is None and threshold != "auto" and rule not in ("fixed", "argmax"):
        raise DataError(
            f"the rule {rule!r} needs predictions of a validation part, and there are none",
            where="evaluation.threshold",
            todo="give them, or use threshold: fixed with a threshold_value",
        )
    out = []
    for name in thresholded(schema):
        place = schema.index(name)
        if table is None or not table.ranked:
            fixed = threshold_value if rule == "fixed" and threshold_value is not None else DEFAULT_THRESHOLD
            words = "fixed" if rule == "fixed" else "fixed, for want of a validation part"
            out.append(Choice(name, fixed, words))
            continue
        known = np.isfinite(table.states[:, place])
        out.append(
            choose(name, table.probabilities[known, place], table.states[known, place] == 1, rule, threshold_value)
        )
    return tuple(out)


def choose(name: str, scores: NDArray[Any], positive: NDArray[Any], rule: Rule, value: float | None = None) -> Choice:
    """Choose the threshold of one class.

    Candidates lie midway between neighbouring scores. Among equally good ones the one next to 0.5 is taken.

    Args:
        name: The class.
        scores: ``(N,)`` its probabilities on validation.
        positive: ``(N,)``.
        rule: ``argmax`` (0.5), ``fixed``, ``youden``, ``sensitivity`` or ``f1``.
        value: The sensitivity to reach, or the fixed threshold.
    """
    y = np.asarray(positive, bool)
    ups, downs = int(y.sum()), int((~y).sum())
    if rule in ("fixed", "argmax"):
        fixed = value if rule == "fixed" and value is not None else DEFAULT_THRESHOLD
        return _reached(name, fixed, "fixed" if rule == "fixed" else "the higher probability", None, scores, y)
    if not ups or not downs:
        kind = "positive" if not ups else "negative"
        note = f"no {kind} case of {name} in the validation part: {DEFAULT_THRESHOLD} instead of the rule {rule}"
        return _reached(name, DEFAULT_THRESHOLD, "fixed, for want of cases", None, scores, y, note)
    ranking = rank(scores, y)
    tp, fp = (c[:, 0] for c in cumulated(ranking, np.ones((len(y), 1))))
    candidates = midway(ranking.values)
    if rule == "sensitivity":
        aimed = DEFAULT_SENSITIVITY if value is None else value
        # The first of the falling candidates that reaches it keeps the specificity highest.
        at = int(np.flatnonzero(tp >= aimed * ups - 1e-9)[0])
        return _reached(name, float(candidates[at]), f"sensitivity {aimed:g} on validation", aimed, scores, y)
    goal = tp / ups - fp / downs if rule == "youden" else f1(tp, fp, ups - tp)
    best = np.flatnonzero(goal >= goal.max() - 1e-12)
    at = int(best[np.abs(candidates[best] - 0.5).argmin()])
    words = (
        "highest sensitivity + specificity on validation (Youden)" if rule == "youden" else "highest F1 on validation"
    )
    return _reached(name, float(candidates[at]), words, None, scores, y)


def midway(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Midway between each of the falling scores and the next; the last one and 0.

    Rounded to float32, in which scores are, so that a comparison in either precision decides alike.
    """
    below = np.append(scores[1:], 0.0)
    middle = ((scores + below) / 2).astype(np.float32).astype(np.float64)
    return np.where((middle > below) & (middle <= scores), middle, scores)


def _reached(
    name: str, value: float, rule: str, aimed: float | None, scores: NDArray[Any], y: NDArray[np.bool_], note: str = ""
) -> Choice:
    called = np.asarray(scores, np.float64) >= value
    ups, downs = int(y.sum()), int((~y).sum())
    sensitivity = float((called & y).sum() / ups) if ups else None
    specificity = float((~called & ~y).sum() / downs) if downs else None
    return Choice(name, value, rule, aimed, sensitivity, specificity, ups, downs, note)


def values(choices: Sequence[Choice]) -> dict[str, float]:
    """Thresholds by class, as they are stored with a network; empty where the highest probability decides."""
    return {c.name: c.value for c in choices}
