"""The same figures on two datasets, side by side."""

from __future__ import annotations

from typing import Any

from medcnn.evaluation.results import Evaluation, Figure, TablePanel


def side_by_side(internal: Evaluation, external: Evaluation) -> TablePanel:
    """The headline figures, then all figures over all classes, of two evaluations of one network.

    Args:
        internal: On the network's own data.
        external: On another dataset. A figure that it lacks is left empty.
    """
    keys = [(k[0], k[1], k[2], k[3]) for k in internal.headline]
    keys += [
        (f.id, f.target, f.average, f.unit)
        for f in internal.figures
        if f.target is None and (f.id, f.target, f.average, f.unit) not in keys
    ]
    rows: list[list[Any]] = []
    for name, target, average, unit in keys:
        first = _find(internal, name, target, average, unit)
        second = _find(external, name, target, average, unit)
        if first is None:
            continue
        gap = None
        if second is not None and first.value is not None and second.value is not None:
            gap = float(second.value) - float(first.value)
        label = f"{first.label}, {target}" if target else first.label
        rows.append([f"{label}, by {unit}" if unit != "image" else label, first, second, gap])
    header = ["Figure", f"Internal ({_part(internal)})", f"External ({_part(external)})", "Difference"]
    caption = "Network and thresholds are the same. The difference has no interval: cases and class shares differ."
    return TablePanel("comparison", "Internal and external figures", header, rows, caption)


def _find(evaluation: Evaluation, name: str, target: str | None, average: str | None, unit: str) -> Figure | None:
    try:
        return evaluation.find(name, target, average, unit)
    except KeyError:
        return None


def _part(evaluation: Evaluation) -> str:
    return evaluation.figures[0].part if evaluation.figures else ""
