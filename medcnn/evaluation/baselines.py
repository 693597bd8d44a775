"""The trivial figures to hold accuracy and its kin against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.counts import positive_index
from medcnn.evaluation.metrics import ratio
from medcnn.evaluation.sums import Key
from medcnn.types import LabelSchema


@dataclass(frozen=True, slots=True)
class Baseline:
    """A trivial figure and what it is; ``value`` is ``None`` where there is none."""

    value: float | None
    label: str


def baselines(states: NDArray[Any], schema: LabelSchema) -> dict[Key, Baseline]:
    """Baselines by the key of the figure that they stand beside.

    Args:
        states: ``(N, C)``: 1, 0, NaN missing.
        schema: The classes.
    """
    names = schema.names
    known = np.isfinite(states)
    positives = (states == 1).sum(0)
    share = ratio(positives, known.sum(0))
    out: dict[Key, Baseline] = {}
    if not len(states):
        return out
    # With two exclusive classes the all-negative accuracy is the majority one, seen from one side.
    for i, name in enumerate(names):
        if np.isfinite(share[i]) and (not schema.binary or i == positive_index(schema)):
            p = float(share[i])
            out[("average_precision", name, None)] = Baseline(p, "share of positive cases")
            out[("brier", name, None)] = Baseline(p * (1 - p), "always the share of positive cases")
            out[("auroc", name, None)] = Baseline(0.5, "chance")
            if not schema.binary:
                out[("accuracy", name, None)] = Baseline(1 - p, "all negative")
    if schema.multilabel:
        whole = known.all(1)
        out[("hamming_accuracy", None, None)] = Baseline(float(1 - positives.sum() / known.sum()), "all negative")
        if whole.any():
            none = float((states[whole] == 0).all(1).mean())
            out[("exact_match", None, None)] = Baseline(none, "all negative")
        return out
    largest = int(positives.argmax())
    majority = Baseline(float(positives[largest] / positives.sum()), f"always {names[largest]}")
    out[("accuracy", None, None)] = majority
    with_reference = int((positives > 0).sum())
    out[("balanced_accuracy", None, None)] = Baseline(1 / with_reference, f"always {names[largest]}")
    out[("kappa", None, None)] = Baseline(0.0, "chance")
    shares = positives / positives.sum()
    if not schema.binary:
        spread = float(1 - (shares**2).sum())
        out[("brier", None, None)] = Baseline(spread, "always the shares of the classes")
    seen = shares[shares > 0]
    out[("log_loss", None, None)] = Baseline(float(-(seen * np.log(seen)).sum()), "always the shares of the classes")
    return out
