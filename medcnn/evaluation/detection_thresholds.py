"""From which score on a box is called a finding: chosen on the validation part, never on the test part."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medcnn.evaluation.detection_curves import Candidates
from medcnn.evaluation.detection_matches import Hits, Matcher, Per, unit_shares
from medcnn.evaluation.detection_table import DetectionTable
from medcnn.evaluation.metrics import f1
from medcnn.evaluation.thresholds import midway
from medcnn.types import LabelSchema

OperatingPoint = Literal["f1", "rate"]
DEFAULT_THRESHOLD = 0.5


def choose_thresholds(
    table: DetectionTable,
    schema: LabelSchema,
    hits: Hits,
    operating_point: OperatingPoint = "f1",
    *,
    rate: float = 1.0,
    per: Per = "image",
) -> dict[str, float]:
    """The lowest score of each class at which a box is called a finding.

    Candidates lie midway between neighbouring scores; among equally good ones the one next to 0.5 is taken.

    Args:
        table: Predictions beside references of the validation part.
        schema: The classes.
        hits: When a box hits.
        operating_point: ``f1``: of each class the highest F1 of its objects. ``rate``: one threshold for all classes,
            the lowest one at which they make no more than ``rate`` false positives together.
        rate: False positives an image, or whatever they are counted per.
        per: What they are counted per; images where patients or studies are not known.

    Returns:
        By class. A class of which nothing is found on validation is not among them.
    """
    if not len(table):
        return {}
    matcher = Matcher(table)
    if operating_point == "rate":
        found = matcher.match(hits, aware=False).candidates(matcher.objects.counts())
        shares = unit_shares(table, per)
        value = _at_rate(found, rate * float(len(table) if shares is None else shares.sum()))
        return {} if value is None else dict.fromkeys(schema.names, value)
    matches, chosen = matcher.match(hits, aware=True), {}
    for place, name in enumerate(schema.names):
        references = matcher.objects.counts(matcher.objects.label == place)
        value = _highest_f1(matches.candidates(references, place))
        if value is not None:
            chosen[name] = value
    return chosen


def _highest_f1(found: Candidates) -> float | None:
    ends = found.ends
    true, false = (v[:, 0] for v in found.cumulated(np.ones((len(found.references), 1)), ends))
    goal = np.nan_to_num(f1(true, false, found.references.sum() - true))
    if not len(ends) or goal.max() <= 0:
        return None
    values = midway(found.scores[ends])
    best = np.flatnonzero(goal >= goal.max() - 1e-12)
    return float(values[best[np.abs(values[best] - DEFAULT_THRESHOLD).argmin()]])


def _at_rate(found: Candidates, most: float) -> float | None:
    """The lowest threshold at which there are no more than ``most`` false positives in all."""
    ends = found.ends
    if not len(ends):
        return None
    _, false = found.cumulated(np.ones((len(found.references), 1)), ends)
    allowed = np.flatnonzero(false[:, 0] <= most + 1e-9)
    if not len(allowed):
        return float((found.scores[0] + 1) / 2)
    return float(midway(found.scores[ends])[allowed[-1]])
