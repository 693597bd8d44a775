"""How numbers are written: three decimals for shares, en dash for what is undefined."""

from __future__ import annotations

import math
import re
from typing import Any

from medcnn.evaluation.results import Figure, Interval, Number

UNDEFINED = "–"
INFINITE = "∞"
_UNITS = {"image": ("image", "images"), "patient": ("patient", "patients"), "object": ("object", "objects")}
_CLUSTERS = {"patient": ("patient", "patients"), "image": ("image", "images")}


def number(value: Number) -> str:
    """A figure's value: ``0.997``, ``12.34``, ``123.4``, ``5,895``; an en dash where it is undefined."""
    return _number(value, 0)


def _number(value: Number, more: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if math.isinf(value):
        return INFINITE if value > 0 else f"−{INFINITE}"
    size = abs(value)
    decimals = more + (3 if size < 10 else 2 if size < 100 else 1)
    text = f"{value:,.{decimals}f}"
    if not float(text.replace(",", "")):
        text = text.lstrip("-")
    return text.replace("-", "−")


def between(low: float, high: float) -> str:
    """Two ends with an en dash, or with "to" where a minus would make that hard to read.

    Where both would read alike they get up to three more decimals, so that no interval seems to have zero width.
    """
    joint = " to " if low < 0 or high < 0 else "–"
    for more in range(4):
        ends = _number(float(low), more), _number(float(high), more)
        if ends[0] != ends[1]:
            return joint.join(ends)
    return joint.join((number(float(low)), number(float(high))))


def level(interval: Interval) -> str:
    """``95 % interval``, or what else the two ends are."""
    if interval.level is None:
        return "range"
    return f"{interval.level * 100:g} % interval"


def plural(count: int, one: str, many: str) -> str:
    """``1 case``, ``5,895 cases``."""
    return f"{count:,} {one if count == 1 else many}"


def counted(figure: Figure, clusters: str = "cluster") -> str:
    """What a figure rests on: ``512 images · 41 patients``.

    Args:
        figure: The figure.
        clusters: What its clusters are where it has no interval that says so.
    """
    one, many = _UNITS.get(figure.unit, (figure.unit, f"{figure.unit}s"))
    text = plural(figure.n, one, many)
    if figure.clusters is None:
        return text
    resampled = _resampled(figure, clusters)
    if resampled == figure.unit and figure.clusters == figure.n:
        return text
    one, many = _CLUSTERS.get(resampled, ("cluster", "clusters"))
    return f"{text} · {plural(figure.clusters, one, many)}"


def counted_plainly(figure: Figure, clusters: str = "cluster") -> str:
    """As :func:`counted` without the names of what is counted: ``512 · 41``."""
    return " · ".join(re.findall(r"[\d,]+", counted(figure, clusters)))


def counted_units(figure: Figure, clusters: str = "cluster") -> list[str]:
    """The names that :func:`counted_plainly` leaves out, in the plural."""
    many = _UNITS.get(figure.unit, (figure.unit, f"{figure.unit}s"))[1]
    resampled = _resampled(figure, clusters)
    if figure.clusters is None or (resampled == figure.unit and figure.clusters == figure.n):
        return [many]
    return [many, _CLUSTERS.get(resampled, ("cluster", "clusters"))[1]]


def _resampled(figure: Figure, clusters: str) -> str:
    if figure.interval:
        return figure.interval.resampled
    # As many clusters as cases, and nothing that names them: the cases themselves.
    return figure.unit if clusters == "cluster" and figure.clusters == figure.n else clusters


def percent(part: float, whole: float) -> str:
    """``12.3 %``; an en dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else UNDEFINED


def plain(value: Any) -> str:
    """Any plain value in one line, for tables of settings."""
    if value is None:
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # No thousands separator: a seed or a size is not a count.
        return str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(v) for v in value) or UNDEFINED
    if isinstance(value, dict):
        return ", ".join(f"{k}: {plain(v)}" for k, v in value.items()) or UNDEFINED
    return str(value)


def as_number(text: str) -> float | None:
    """A finite number from a table's text; ``None`` for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def figure_name(figure: Figure) -> str:
    """The label with average, class and unit, as far as the label does not say them already."""
    name = figure.label
    if figure.average and not _says(name, figure.average):
        name = f"{name}, {figure.average}"
    if figure.target and not _says(name, figure.target):
        name = f"{name}, {figure.target}"
    if figure.unit != "image" and not _says(name, figure.unit):
        name = f"{name}, by {figure.unit}"
    return name


def _says(name: str, word: str) -> bool:
    """Whether a name holds a word as a whole: the class ``1`` is not said by F1."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", name, re.IGNORECASE) is not None
