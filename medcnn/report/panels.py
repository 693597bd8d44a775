"""Panels of an evaluation as blocks of the report: kinds of panels, never tasks."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import MedcnnError
from medcnn.evaluation.results import (
    CurvePanel,
    DistributionPanel,
    Figure,
    GalleryPanel,
    Interval,
    MatrixPanel,
    Panel,
    TablePanel,
)
from medcnn.report.charts import draw_bands, draw_curves, draw_distribution
from medcnn.report.document import (
    Block,
    Card,
    Cell,
    ChartBlock,
    ChartsBlock,
    GalleryBlock,
    LegendEntry,
    MatrixBlock,
    MatrixCell,
    Picture,
    TableBlock,
)
from medcnn.report.formatting import (
    INFINITE,
    UNDEFINED,
    between,
    counted,
    counted_plainly,
    counted_units,
    figure_name,
    level,
    number,
    percent,
    plain,
    plural,
)
from medcnn.report.overlays import contour_colours
from medcnn.report.privacy import Shown, mask, names_age, pool_ages

Pictures = Callable[[str], NDArray[np.uint8] | None]

_IDENTIFIES = re.compile(r"^(?:case|patient|cluster|file|path|study|series)(?: id)?$", re.IGNORECASE)
_CONTOURS_SIZE = 4
_LIGHT, _DARK = (255, 255, 255), (11, 79, 138)


class Footnotes:
    """Notes below a table, each text once, marked with letters: a, b, ..., z, aa, ..."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def mark(self, text: str) -> str:
        """The letter of a note; empty for an empty text."""
        if not text:
            return ""
        if text not in self._marks:
            place, letters = len(self._marks), ""
            while place >= 0:
                letters = chr(ord("a") + place % 26) + letters
                place = place // 26 - 1
            self._marks[text] = letters
        return self._marks[text]

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Letters with their texts."""
        return [(mark, text) for text, mark in self._marks.items()]


def cards(figures: Sequence[Figure], shown: Shown) -> list[Card]:
    """Headline figures with their n, intervals and methods."""
    clusters = clusters_of(figures)
    return [_card(f, shown, clusters) for f in figures]


def _card(figure: Figure, shown: Shown, clusters: str) -> Card:
    interval = figure.interval
    baseline = ""
    if figure.baseline is not None:
        baseline = f"{figure.baseline_label or 'baseline'}: {number(figure.baseline)}"
    note = shown.text(figure.note)
    if figure.value is None and not note:
        note = "not defined"
    return Card(
        label=figure_name(replace(figure, target=None, unit="image")),
        context=" · ".join(t for t in (figure.target, _unit(figure), figure.part) if t),
        value=number(figure.value),
        interval=between(interval.low, interval.high) if interval else "",
        level=(interval.method if _says_range(interval) else level(interval)) if interval else "",
        count=f"n = {counted(figure, clusters)}",
        method=interval.method if interval and not _says_range(interval) else "",
        note=note,
        baseline=baseline,
    )


def _unit(figure: Figure) -> str:
    return "" if figure.unit == "image" else f"by {figure.unit}"


def to_blocks(
    panels: Sequence[Panel], prefix: str, shown: Shown, pictures: Pictures | None, size: int = 160
) -> list[Block]:
    """Blocks for the panels of one section; charts that follow each other stand side by side.

    Args:
        panels: The panels, in order.
        prefix: Unique in the page, for the ids inside drawings.
        shown: What identifiers become.
        pictures: Pixels of a case by its id, ``(Y, X)`` or ``(Y, X, 3)``; ``None`` leaves the places empty.
        size: Longest side of a gallery's picture in px.
    """
    blocks: list[Block] = []
    charts: list[ChartBlock] = []
    for i, panel in enumerate(panels):
        if isinstance(panel, CurvePanel):
            curves = _shown_curves(replace(panel, id=f"{prefix}-{i}"), shown)
            bands = draw_bands(curves)
            charts += [draw_curves(curves), *([bands] if bands else [])]
            continue
        if isinstance(panel, DistributionPanel):
            charts.append(draw_distribution(replace(panel, id=f"{prefix}-{i}", caption=shown.text(panel.caption))))
            continue
        if charts:
            blocks.append(ChartsBlock(charts))
            charts = []
        if isinstance(panel, TablePanel):
            blocks.append(table(panel, shown))
        elif isinstance(panel, MatrixPanel):
            blocks.append(matrix(panel))
        else:
            blocks.append(gallery(panel, shown, pictures, size))
    if charts:
        blocks.append(ChartsBlock(charts))
    return blocks


def _shown_curves(panel: CurvePanel, shown: Shown) -> CurvePanel:
    series = [replace(s, marks=[(x, y, shown.text(text)) for x, y, text in s.marks]) for s in panel.series]
    return replace(panel, series=series, caption=shown.text(panel.caption))


def table(panel: TablePanel, shown: Shown) -> TableBlock:
    """A table with figures as ``value, interval, n``; what is undefined is an en dash with a footnote.

    Where all figures rest on the same n, it stands once below; where those of each row do, in a column of its
    own. What the intervals of the table have in common, such as their method, stands once below.
    """
    notes = Footnotes()
    figures = [[v for v in row if isinstance(v, Figure)] for row in panel.rows]
    clusters = clusters_of([f for fs in figures for f in fs])
    counts = [{counted(f, clusters) for f in fs} for fs in figures]
    every = {count for found in counts for count in found}
    whole = len(every) == 1 and sum(len(fs) for fs in figures) > 1
    by_row = not whole and any(counts) and all(len(c) <= 1 for c in counts) and any(len(fs) > 1 for fs in figures)
    if any(c.strip().lower() == "baseline" for c in panel.columns):
        panel = replace(panel, rows=[[_without_baseline(v) for v in row] for row in panel.rows])
        figures = [[_without_baseline(f) for f in fs] for fs in figures]
    shared = whole or by_row
    usual = _Usual([f for fs in figures for f in fs], shared, clusters)
    if whole:
        usual.lines.append(f"All figures: n = {every.pop()}.")
    rows = []
    for values, count in zip(panel.rows, counts, strict=True):
        about_age = bool(values) and isinstance(values[0], str) and names_age(values[0])
        cells = [
            _figure_cell(v, notes, shown, usual, shared)
            if isinstance(v, Figure)
            else _plain_cell(v, panel.columns[j] if j < len(panel.columns) else "", about_age, notes, shown)
            for j, v in enumerate(values)
        ]
        if by_row:
            first, *more = next(iter(count), "").split(" · ")
            cells.insert(1, Cell(first.replace(" ", "\u00a0"), tuple(more), numeric=True))
        rows.append(cells)
    columns = list(panel.columns)
    if by_row:
        columns.insert(1, "Basis" if "n" in columns else "n")
        _leave_out_cases(panel, columns, rows)
    return TableBlock(panel.title, columns, rows, _sentences([shown.text(panel.caption), *usual.lines]), notes.notes)


def _leave_out_cases(panel: TablePanel, columns: list[str], rows: Sequence[list[Cell]]) -> None:
    """Take the number of cases away where it is the n that stands beside it."""
    if "Cases" not in panel.columns:
        return
    place = panel.columns.index("Cases")
    known = [(row[place], {f.n for f in row if isinstance(f, Figure)}) for row in panel.rows]
    if all(not found or found == {cases} for cases, found in known):
        del columns[place + 1]
        for cells in rows:
            del cells[place + 1]


def clusters_of(figures: Sequence[Figure]) -> str:
    """What the clusters of some figures are: those without an interval do not say so themselves."""
    found = Counter(f.interval.resampled for f in figures if f.interval)
    return max(found, key=found.__getitem__, default="cluster")


def _without_baseline(value: Any) -> Any:
    return replace(value, baseline=None) if isinstance(value, Figure) else value


class _Usual:
    """What most figures of a table have in common: said once below it, so that only the others need a mark."""

    def __init__(self, figures: Sequence[Figure], shared: bool, clusters: str) -> None:
        self.clusters = clusters
        self.caution = _common_caution(figures)
        methods = Counter(self.named(f) for f in figures if f.interval)
        baselines = Counter(f.baseline_label for f in figures if f.baseline is not None and f.baseline_label)
        self.method = max(methods, key=methods.__getitem__, default="")
        self.baseline = max(baselines, key=baselines.__getitem__, default="")
        self.lines = []
        if self.method:
            self.lines.append(f"{self.method}{', where no mark says otherwise' if len(methods) > 1 else ''}.")
        if self.baseline:
            marked = ", where no mark says otherwise" if len(baselines) > 1 else ""
            self.lines.append(f"Baseline: {self.baseline}{marked}.")
        if self.caution:
            self.lines.append(f"All intervals: {self.caution}.")
        units = {tuple(counted_units(f, clusters)) for f in figures}
        # Where all count the same things their names stand once below, not in each cell.
        self.units = len(units) == 1 and not shared
        if self.units:
            self.lines.append(f"Counted by n: {' · '.join(units.pop())}.")

    def named(self, figure: Figure) -> str:
        """The method without the caution that all intervals carry."""
        return _method(figure).removesuffix(f"; {self.caution}") if self.caution else _method(figure)


def _common_caution(figures: Sequence[Figure]) -> str:
    """What stands behind the semicolon of all methods; empty where they differ."""
    found = {f.interval.method.partition("; ")[2] for f in figures if f.interval}
    return found.pop() if len(found) == 1 else ""


def _method(figure: Figure) -> str:
    interval = figure.interval
    if interval is None:
        return ""
    return interval.method if _says_range(interval) else f"{level(interval)}: {interval.method}"


def _says_range(interval: Interval) -> bool:
    return interval.level is None and interval.method.lower().startswith("range")


def _sentences(texts: Sequence[str]) -> str:
    return " ".join(t[0].upper() + t[1:] for t in texts if t)


def _figure_cell(figure: Figure, notes: Footnotes, shown: Shown, usual: _Usual, shared: bool) -> Cell:
    subs, marks = [], []
    note = shown.text(figure.note)
    if figure.value is None and not note:
        note = "not defined"
    if figure.interval:
        ends = between(figure.interval.low, figure.interval.high)
        # Nobody shall read a range over few clusters as an interval.
        subs.append(f"{level(figure.interval)} {ends}" if figure.interval.level is None else ends)
        if usual.named(figure) != usual.method:
            marks.append(notes.mark(f"{usual.named(figure)}."))
    if not shared:
        number_ = counted_plainly if usual.units else counted
        subs.append(f"n = {number_(figure, usual.clusters)}")
    if figure.baseline is not None:
        subs.append(f"baseline {number(figure.baseline)}")
        if figure.baseline_label != usual.baseline:
            marks.append(notes.mark(f"Baseline: {figure.baseline_label}." if figure.baseline_label else ""))
    marks.append(notes.mark(note))
    return Cell(number(figure.value), tuple(subs), " ".join(m for m in marks if m), note, numeric=True)


def _plain_cell(value: Any, column: str, about_age: bool, notes: Footnotes, shown: Shown) -> Cell:
    if value is None or value != value:
        return Cell(UNDEFINED, marks=notes.mark("not defined"), tip="not defined", numeric=True)
    if isinstance(value, (int, float)):
        text = pool_ages(f"{value:g}") if names_age(column) else number(value)
        return Cell(text, numeric=not isinstance(value, bool))
    text = str(value) if isinstance(value, str) else plain(value)
    if _IDENTIFIES.match(column.strip()):
        return Cell(shown.identifier(text) if text else "")
    if about_age or names_age(column):
        return Cell(pool_ages(mask(text)))
    return Cell(shown.text(text), numeric=text == INFINITE)


def matrix(panel: MatrixPanel) -> MatrixBlock:
    """Counts with their share of the row, shaded by it."""
    cells, totals = [], []
    for i, row in enumerate(panel.counts):
        total = sum(row)
        totals.append(f"{total:,}")
        cells.append([_matrix_cell(c, total, panel.rows[i] == panel.columns[j]) for j, c in enumerate(row)])
    return MatrixBlock(
        panel.title,
        panel.row_label,
        panel.column_label,
        panel.rows,
        panel.columns,
        cells,
        totals,
        panel.caption,
    )


def _matrix_cell(count: int, total: int, diagonal: bool) -> MatrixCell:
    share = count / total if total else 0.0
    # The square root lifts rare confusions out of the white.
    strength = share**0.5 if count else 0.0
    rgb = [round(a + (b - a) * strength) for a, b in zip(_LIGHT, _DARK, strict=True)]
    return MatrixCell(
        text=f"{count:,}",
        share=percent(count, total),
        background=f"#{rgb[0]:02x}{rgb[1]:02x}{rgb[2]:02x}",
        color="#ffffff" if strength > 0.55 else "#1c2530",
        diagonal=diagonal,
    )


def gallery(panel: GalleryPanel, shown: Shown, pictures: Pictures | None, size: int) -> GalleryBlock:
    """Pictures of the cases, small, each with its pseudonym and a line of text."""
    items = []
    absent = 0
    # Contours need room: three planes of a volume stand side by side.
    most = _CONTOURS_SIZE * size if panel.contours else size
    for item in panel.items:
        source = _source(item.case, pictures, most)
        absent += not source
        items.append(Picture(shown.case(item.case), shown.text(item.text), item.status, source))
    caption = shown.text(panel.caption)
    if items and pictures is None:
        caption = f"{caption} There are no pictures of these cases here.".strip()
    elif absent:
        caption = f"{caption} {plural(absent, 'picture is', 'pictures are')} not at hand.".strip()
    colours = contour_colours({shown.text(name): colour for name, colour in panel.contours.items()})
    legend = [LegendEntry(name, colour, shape="box") for name, colour in colours.items()]
    return GalleryBlock(panel.title, items, caption, legend, wide=bool(panel.contours))


def _source(case: str, pictures: Pictures | None, size: int) -> str:
    if pictures is None:
        return ""
    try:
        pixels = pictures(case)
    except MedcnnError:
        # One image that cannot be read any more leaves its place empty; the caption counts it.
        return ""
    return "" if pixels is None else encode_picture(pixels, size)


def encode_picture(pixels: NDArray[np.uint8], size: int = 160) -> str:
    """A picture as a data URI: PNG, at most ``size`` px on its longest side.

    Args:
        pixels: ``(Y, X)`` or ``(Y, X, 3)`` uint8.
        size: Longest side in px.

    Raises:
        TypeError: If the array is not uint8 of that shape.
    """
    from PIL import Image

    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise TypeError(f"a picture is uint8 of shape (Y, X) or (Y, X, 3), not {pixels.dtype} of {pixels.shape}")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
