"""Curves and distributions as small SVG drawings; their legends are HTML, which wraps where a drawing cannot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.results import CurvePanel, DistributionPanel, Series
from medcnn.report.document import ChartBlock, LegendEntry
from medcnn.report.svg import clean

# Okabe and Ito's palette, told apart with any colour vision; its yellow is too light for white paper.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d", "#8c6d1f")
DASHES = ("", "5 2", "1 1.6", "6 1.6 1 1.6")
_INK = "#3b4652"
_GRID = "#e3e8ec"
_SIZE = (3.9, 3.1)
_SQUARE = (3.7, 3.6)
_MOST_POINTS = 1200
_MOST_VERTICES = 300
_MOST_BANDS = 4
_MOST_PANES = 24
_OVERLAID = 3
_SHORT_NAME = 14
_NEAR_TOP = 0.97
_WHOLE = 0.9
_FEW_DECADES = 1000


@dataclass(frozen=True, slots=True)
class Pen:
    """How a series is drawn."""

    color: str
    dash: str = ""


def pen(position: int) -> Pen:
    """The pen of the i-th series: colours first, then dashes."""
    return Pen(PALETTE[position % len(PALETTE)], DASHES[position // len(PALETTE) % len(DASHES)])


def draw_curves(panel: CurvePanel, pens: Sequence[Pen] | None = None) -> ChartBlock:
    """The drawing of a curve panel, with bands where there are few lines, and its marked points numbered."""
    pens = pens or [pen(i) for i in range(len(panel.series))]
    unit_square = panel.x_range is not None and panel.x_range == panel.y_range
    figure, axes = _axes(_SQUARE if unit_square else _SIZE)
    notes: list[str] = []
    if panel.x_log:
        _log_axis(axes, panel)
    if panel.diagonal:
        axes.axline((0, 0), slope=1, color="#8a949e", linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    banded = _banded(panel)
    if not banded:
        apart = "each line has a drawing of its own with its band" if _apart(panel) else "they are in metrics.json"
        notes.append(f"Bands of so many lines would hide each other: {apart}.")
    for series, style in zip(panel.series, pens, strict=True):
        (_points if panel.points and not _level(series) else _line)(axes, panel, series, style, banded, notes)
    if unit_square and not panel.points:
        _enlarge_corner(axes, panel, pens)
    legend = _legend(axes, panel, pens)
    _limits(axes, panel)
    if not panel.x_log and all(v is None or float(v).is_integer() for s in panel.series for v in s.x):
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    return _block(figure, panel.id, panel.title, legend, " ".join([panel.caption, *notes]).strip())


def draw_bands(panel: CurvePanel) -> ChartBlock | None:
    """A small drawing a line, with its band and the other lines in grey; where :func:`draw_curves` leaves bands out."""
    if _banded(panel) or not _apart(panel):
        return None
    rows = -(-len(panel.series) // 3)
    figure, grid = _axes((_SQUARE[0], 0.35 + 1.45 * rows), rows, 3)
    for axes in grid.flat[len(panel.series) :]:
        axes.remove()
    for i, (axes, own) in enumerate(zip(grid.flat, panel.series, strict=False)):
        for other in panel.series:
            if other is not own:
                x, y, *_ = _columns(panel, other)
                at = thin(x, [y], 60)
                axes.plot(x[at], y[at], color="#c9d1d8", linewidth=0.6, zorder=1)
        _line(axes, panel, own, pen(i), True, [])
        _limits(axes, panel)
        axes.set_title(own.name if len(own.name) <= 16 else f"{own.name[:15]}…", fontsize=7.5, color=_INK, pad=3)
        axes.tick_params(labelsize=6.5)
        axes.locator_params(nbins=3)
    figure.supxlabel(panel.x_label, fontsize=8, color=_INK)
    figure.supylabel(panel.y_label, fontsize=8, color=_INK)
    return _block(figure, f"{panel.id}-bands", f"{panel.title} of each class with its band", [], panel.caption)


def _banded(panel: CurvePanel) -> bool:
    return len([s for s in panel.series if s.low is not None and s.high is not None]) <= _MOST_BANDS


def _apart(panel: CurvePanel) -> bool:
    return len(panel.series) <= _MOST_PANES and not panel.points and not panel.x_log


def draw_distribution(panel: DistributionPanel) -> ChartBlock:
    """Histograms as shares of each group, or box and points where the panel has no bins."""
    groups = [(name, _finite(values)) for name, values in panel.groups.items()]
    legend = [
        LegendEntry(f"{name} (n = {(panel.counts or {}).get(name, len(values)):,})", pen(i).color, shape="box")
        for i, (name, values) in enumerate(groups)
    ]
    notes: list[str] = []
    if panel.bins is None:
        figure = _boxes(panel, groups)
        notes.append("Box: quartiles and median; line: 5th to 95th percentile.")
    else:
        edges = np.asarray(panel.bins, float)
        figure = _histograms(panel, groups, edges)
        outside = sum(int(((v < edges[0]) | (v > edges[-1])).sum()) for _, v in groups)
        if outside:
            notes.append(f"{outside:,} values lie outside the drawing.")
    missing = sum(len(v) for v in panel.groups.values()) - sum(len(v) for _, v in groups)
    if missing:
        notes.append(f"{missing:,} values are undefined.")
    return _block(figure, panel.id, panel.title, legend, " ".join([panel.caption, *notes]).strip())


def thin(x: NDArray[np.float64], ys: Sequence[NDArray[np.float64]], most: int = _MOST_VERTICES) -> NDArray[np.intp]:
    """Positions of the vertices that keep the shape of the lines ``(x, y)`` for all ``ys``.

    Douglas and Peucker's rule (Cartographica 10, 1973) in coordinates scaled to [0, 1], with a tolerance that
    grows from 0.001 until at most about ``most`` vertices of each line stay.
    """
    tolerance = 0.001
    while True:
        keep = np.zeros(len(x), bool)
        for y in ys:
            keep |= _douglas_peucker(_unit(x), _unit(y), tolerance)
        if keep.sum() <= most * len(ys):
            return np.flatnonzero(keep)
        tolerance *= 2


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low = float(values.min()) if len(values) else 0.0
    span = float(values.max()) - low if len(values) else 0.0
    scaled: NDArray[np.float64] = (values - low) / (span or 1.0)
    return scaled


def _douglas_peucker(x: NDArray[np.float64], y: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    keep = np.zeros(len(x), bool)
    if not len(x):
        return keep
    keep[[0, -1]] = True
    stack = [(0, len(x) - 1)]
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        dx, dy = x[last] - x[first], y[last] - y[first]
        px, py = x[first + 1 : last] - x[first], y[first + 1 : last] - y[first]
        length = float(np.hypot(dx, dy))
        distance = np.abs(dx * py - dy * px) / length if length else np.hypot(px, py)
        farthest = int(np.argmax(distance))
        if distance[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            stack += [(first, middle), (middle, last)]
    return keep


def _finite(values: Sequence[Any]) -> NDArray[np.float64]:
    array = np.array([np.nan if v is None else v for v in values], float)
    finite: NDArray[np.float64] = array[np.isfinite(array)]
    return finite


def _columns(panel: CurvePanel, series: Series) -> list[NDArray[np.float64]]:
    """x, y and, where there is a band, low and high, at the positions where x and y can be drawn."""
    given = [series.x, series.y]
    if series.low is not None and series.high is not None:
        given += [series.low, series.high]
    columns = [np.array([np.nan if v is None else v for v in values], float) for values in given]
    usable = np.isfinite(columns[0]) & np.isfinite(columns[1])
    if panel.x_log:
        usable &= columns[0] > 0
    return [c[usable] for c in columns]


def _line(axes: Any, panel: CurvePanel, series: Series, style: Pen, banded: bool, notes: list[str]) -> None:
    x, y, *band = _columns(panel, series)
    whole = [np.where(np.isfinite(b), b, y) for b in band]
    at = thin(np.log(x) if panel.x_log else x, [y, *whole])
    marker = "o" if len(x) <= 20 else ""
    axes.plot(x[at], y[at], color=style.color, linewidth=1.5, linestyle=_dash(style), marker=marker, markersize=2.6)
    if whole and banded:
        axes.fill_between(x[at], whole[0][at], whole[1][at], color=style.color, alpha=0.16, linewidth=0)


def _points(axes: Any, panel: CurvePanel, series: Series, style: Pen, banded: bool, notes: list[str]) -> None:
    x, y, *band = _columns(panel, series)
    if len(x) > _MOST_POINTS:
        notes.append(f"{_MOST_POINTS:,} of {len(x):,} points are drawn, evenly chosen in their order.")
    at = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
    if band:
        ends = [np.clip(d[at], 0, None) for d in (y - band[0], band[1] - y)]
        axes.errorbar(x[at], y[at], yerr=np.nan_to_num(ends), fmt="none", ecolor=style.color, elinewidth=0.8)
    few = len(at) <= 50
    axes.plot(
        x[at], y[at], linestyle="", marker="o", color=style.color, alpha=0.9 if few else 0.4,
        markersize=3.6 if few else 2.4, markeredgewidth=0,
    )  # fmt: skip


def _legend(axes: Any, panel: CurvePanel, pens: Sequence[Pen]) -> list[LegendEntry]:
    # Where each line has one mark, the colour tells which; several on one line are told apart by numbers.
    numbered = any(len(s.marks) > 1 for s in panel.series)
    texts = {text for s in panel.series for _, _, text in s.marks}
    common = texts.pop() if len(texts) == 1 and not numbered and len(panel.series) > 1 else None
    legend, marked = [], 0
    for series, style in zip(panel.series, pens, strict=True):
        shape: Literal["point", "line"] = "point" if panel.points and not _level(series) else "line"
        legend.append(LegendEntry(series.name, style.color, style.dash, shape))
        for x, y, text in series.marks:
            marked += 1
            axes.plot([x], [y], marker="D", markersize=5, color=style.color, markeredgecolor="white", zorder=5)
            if numbered:
                axes.annotate(str(marked), (x, y), xytext=(5, -9), textcoords="offset points", color=_INK)
            if common is None:
                legend.append(LegendEntry(f"{marked}: {text}" if numbered else text, style.color, shape="mark"))
    if common is not None:
        legend.append(LegendEntry(common, _INK, shape="mark"))
    if panel.diagonal:
        legend.append(LegendEntry("reference: x = y", "#8a949e", "3 2"))
    return legend


def _log_axis(axes: Any, panel: CurvePanel) -> None:
    """Ticks at powers of ten; over few of them at powers of two, those below 1 as fractions."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    if panel.x_range is not None and panel.x_range[1] < _FEW_DECADES * panel.x_range[0]:
        axes.xaxis.set_major_locator(LogLocator(base=2))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))


def _power(value: float) -> str:
    """``1/8``, ``0.1``, ``4``."""
    inverse = 1 / value
    whole = inverse.is_integer() and int(inverse).bit_count() == 1
    return f"1/{inverse:.0f}" if value < 1 and whole else f"{value:g}"


def _level(series: Series) -> bool:
    """Whether a series among points is a horizontal line, such as a limit."""
    return len(series.y) > 1 and series.y[0] is not None and all(y == series.y[0] for y in series.y)


def _enlarge_corner(axes: Any, panel: CurvePanel, pens: Sequence[Pen]) -> None:
    """An inset where all lines run so close to the top that nothing can be told apart."""
    lines = [_columns(panel, s)[:2] for s in panel.series]
    if not lines or any(len(x) < 2 or np.ptp(x) < _WHOLE or _area(x, y) < _NEAR_TOP * np.ptp(x) for x, y in lines):
        return
    at_left = np.median([_place_of_deficit(x, y) for x, y in lines]) < 0.5
    inset = axes.inset_axes((0.36, 0.14, 0.58, 0.58))
    for (x, y), style in zip(lines, pens, strict=True):
        at = thin(x, [y])
        inset.plot(x[at], y[at], color=style.color, linewidth=1.3, linestyle=_dash(style))
    inset.set_xlim(*((-0.002, 0.1) if at_left else (0.9, 1.002)))
    inset.set_ylim(0.9, 1.003)
    inset.tick_params(labelsize=7)
    inset.locator_params(nbins=3)
    inset.set_title("corner, enlarged", fontsize=7.5, color=_INK, pad=3)


def _area(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def _place_of_deficit(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Mean x of what is missing to y = 1."""
    deficit = _area(x, 1 - y)
    return _area(x, (1 - y) * x) / deficit if deficit > 0 else 0.0


def _limits(axes: Any, panel: CurvePanel) -> None:
    for limits, setter in ((panel.x_range, axes.set_xlim), (panel.y_range, axes.set_ylim)):
        if limits is not None:
            low, high = limits
            margin = 0 if panel.x_log and setter == axes.set_xlim else 0.015 * (high - low)
            setter(low - margin, high + margin)


def _dash(style: Pen) -> Any:
    return (0, tuple(float(v) for v in style.dash.split())) if style.dash else "solid"


def _axes(size: tuple[float, float], rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Names of classes and series come from tables: a dollar sign in them is no formula.
    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=columns > 1, squeeze=False)
    for a in grid.flat:
        a.spines[["top", "right"]].set_visible(False)
        a.set_axisbelow(True)
    if columns > 1:
        return figure, grid
    return figure, grid[0, 0] if rows == 1 else grid[:, 0]


_STYLE: Any = {
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.edgecolor": "#9aa4ae",
    "axes.linewidth": 0.7,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": "#9aa4ae",
    "ytick.color": "#9aa4ae",
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "medcnn",
}


def _histograms(
    panel: DistributionPanel, groups: Sequence[tuple[str, NDArray[np.float64]]], edges: NDArray[np.float64]
) -> Any:
    overlaid = len(groups) <= _OVERLAID
    rows = 1 if overlaid else len(groups)
    figure, axes = _axes(_SIZE if overlaid else (_SIZE[0], 0.9 + 0.55 * rows), rows)
    for i, (_, values) in enumerate(groups):
        a = axes if rows == 1 else axes[i]
        counts, _ = np.histogram(values, edges)
        share = 100 * counts / max(1, len(values))
        a.stairs(share, edges, color=pen(i).color, fill=True, alpha=0.18 if overlaid else 0.45)
        a.stairs(share, edges, color=pen(i).color, linewidth=1.2)
        if not overlaid:
            a.tick_params(axis="y", labelsize=7)
            a.locator_params(axis="y", nbins=2)
    (axes if rows == 1 else axes[-1]).set_xlabel(panel.x_label)
    if overlaid:
        axes.set_ylabel("share of the group (%)")
    else:
        figure.supylabel("share of the group (%)", fontsize=8.5, color=_INK)
    return figure


def _boxes(panel: DistributionPanel, groups: Sequence[tuple[str, NDArray[np.float64]]]) -> Any:
    figure, axes = _axes((_SIZE[0], max(1.6, 0.8 + 0.42 * len(groups))))
    # Fixed offsets in the order of the values: the same file gives the same drawing.
    for i, (_, values) in enumerate(groups):
        shown = values[np.unique(np.linspace(0, len(values) - 1, min(len(values), 400)).round().astype(int))]
        offsets = (np.arange(len(shown)) * 0.618034) % 1 * 0.5 - 0.25
        axes.plot(shown, i + offsets, linestyle="", marker="o", markersize=2, alpha=0.35, color=pen(i).color,
                  markeredgewidth=0)  # fmt: skip
        if len(values):
            low, first, median, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
            axes.plot([low, high], [i, i], color=_INK, linewidth=0.8)
            axes.broken_barh([(first, third - first)], (i - 0.3, 0.6), facecolor="none", edgecolor=_INK, linewidth=0.9)
            axes.plot([median, median], [i - 0.3, i + 0.3], color=pen(i).color, linewidth=2.2)
    short = all(len(name) <= _SHORT_NAME for name, _ in groups)
    axes.set_yticks(range(len(groups)), [name if short else "" for name, _ in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(panel.x_label)
    return figure


def _block(figure: Any, name: str, title: str, legend: Sequence[LegendEntry], caption: str) -> ChartBlock:
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True)
    return ChartBlock(title, clean(buffer.getvalue(), f"{name}-", title), legend, caption)
