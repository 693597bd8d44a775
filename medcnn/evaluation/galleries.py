"""Cases worth a look: confident errors, random right ones, the least certain ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.counts import called_text, positive_index, reference_text
from medcnn.evaluation.results import GalleryItem, GalleryPanel
from medcnn.evaluation.unit import Unit

Array = NDArray[np.float64]


def galleries(unit: Unit, size: int, seed: int) -> list[GalleryPanel]:
    """Up to three galleries of ``size`` cases each; empty ones are left out."""
    if not size or not len(unit.table):
        return []
    rng = np.random.default_rng(seed)
    known = np.isfinite(unit.table.states)
    wrong = ((unit.decided != (unit.table.states == 1)) & known).any(1)
    panels = []
    if unit.table.ranked:
        certainty = _certainty(unit)
        surest = _first(-_error_size(unit), wrong, size)
        panels.append(_panel(unit, "errors", "Most confident errors", surest, _errors_words(unit, wrong, len(surest))))
        least = _first(certainty, np.ones(len(wrong), bool), size)
        words = f"{_certainty_words(unit)} {_number_words(unit)}"
        panels.append(_panel(unit, "uncertain", "Least certain cases", least, words))
    else:
        drawn = _drawn(wrong, size, rng)
        panels.append(_panel(unit, "errors", "Random errors", drawn, f"{int(wrong.sum()):,} errors in all."))
    right = _drawn(~wrong & known.any(1), size, rng)
    count = int((~wrong & known.any(1)).sum())
    words = f"{len(right):,} of the {count:,} right cases, drawn at random. {_number_words(unit)}".strip()
    panels.append(_panel(unit, "right", "Random right cases", right, words))
    return [p for p in panels if p.items]


def _first(values: Array, among: NDArray[np.bool_], size: int) -> NDArray[np.intp]:
    """Positions of the smallest values; equal ones by position, so that the choice is stable."""
    rows = np.flatnonzero(among)
    return rows[np.argsort(values[rows], kind="stable")[:size]]


def _drawn(among: NDArray[np.bool_], size: int, rng: np.random.Generator) -> NDArray[np.intp]:
    rows = np.flatnonzero(among)
    return np.sort(rng.choice(rows, min(size, len(rows)), replace=False)) if len(rows) else rows


def _error_size(unit: Unit) -> Array:
    """How far the probabilities are from the reference, for the worst class of the case."""
    p, states = unit.table.probabilities.astype(np.float64), unit.table.states
    if unit.schema.multilabel:
        missed = (unit.decided != (states == 1)) & np.isfinite(states)
        return np.asarray(np.where(missed, np.abs(p - np.nan_to_num(states)), 0.0).max(1))
    # The probability of what was decided: the surer, the worse.
    return np.asarray(np.where(unit.decided, p, 0.0).max(1))


def _certainty(unit: Unit) -> Array:
    p = unit.table.probabilities.astype(np.float64)
    if unit.schema.multilabel:
        return np.asarray(np.abs(p - 0.5).min(1))
    if unit.schema.binary:
        return np.asarray(np.abs(p[:, positive_index(unit.schema)] - 0.5))
    ordered = np.sort(p, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def _errors_words(unit: Unit, wrong: NDArray[np.bool_], shown: int) -> str:
    """What the gallery of errors shows, and how many there are."""
    count = int(wrong.sum())
    which = "The only error." if count == 1 else f"All {count:,} errors." if shown == count else ""
    which = which or f"The {shown:,} of {count:,} errors whose probabilities are farthest from the reference."
    return f"{which} {_number_words(unit)}"


def _number_words(unit: Unit) -> str:
    """What the number behind a decision is."""
    if not unit.table.ranked:
        return ""
    if unit.schema.multilabel:
        return "In brackets: probabilities of the classes that are present or called."
    if unit.schema.binary:
        return f"In brackets: probability of {unit.schema.names[positive_index(unit.schema)]}."
    return "In brackets: probability of the decision."


def _certainty_words(unit: Unit) -> str:
    if unit.schema.multilabel or unit.schema.binary:
        return "Smallest distance of the probability from 0.5."
    return "Smallest distance between the two highest probabilities."


def _panel(unit: Unit, name: str, title: str, rows: NDArray[np.intp], caption: str) -> GalleryPanel:
    return GalleryPanel(name, title, [_item(unit, int(i)) for i in rows], caption)


def _item(unit: Unit, row: int) -> GalleryItem:
    states, decided = unit.table.states[row], unit.decided[row]
    known = np.isfinite(states)
    right = bool((decided[known] == (states[known] == 1)).all())
    text = f"reference {reference_text(states, unit.schema)}, decision {called_text(decided, unit.schema)}"
    text += _scores(unit, row, states)
    return GalleryItem(unit.table.cases[row], text, "right" if right else "wrong")


def _scores(unit: Unit, row: int, states: NDArray[Any]) -> str:
    if not unit.table.ranked:
        return ""
    p, schema = unit.table.probabilities[row], unit.schema
    if schema.binary:
        i = positive_index(schema)
        return f" ({p[i]:.3f})"
    if schema.multilabel:
        shown = [i for i in range(len(p)) if unit.decided[row][i] or states[i] == 1][:4]
        text = ", ".join(f"{schema.names[i]} {p[i]:.2f}" for i in shown)
        return f" ({text})" if text else ""
    i = int(np.flatnonzero(unit.decided[row])[0]) if unit.decided[row].any() else int(p.argmax())
    return f" ({p[i]:.3f})"
