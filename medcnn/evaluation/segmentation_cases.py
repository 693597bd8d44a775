"""Single cases of a segmentation: drawings of their distribution, the worst of them by name, and their table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.results import (
    CurvePanel,
    DistributionPanel,
    GalleryItem,
    GalleryPanel,
    Panel,
    Series,
    TablePanel,
)
from medcnn.evaluation.segmentation_figures import Segments
from medcnn.evaluation.segmentation_table import MEASURES, WHOLE, SegmentationTable

MAX_POINTS = 2000
_DRAWN_LABELS = 8
_WORST = 10
_LABELS_IN_A_LINE = 4


def distributions(segments: Segments) -> list[Panel]:
    """Dice and HD95 of the cases, label by label."""
    length = segments.units.length
    found: list[Panel] = []
    for name, title, axis in (
        ("dice", "Dice of the cases", "Dice"),
        ("hd95", "HD95 of the cases", f"HD95 [{length}]"),
    ):
        values = segments.cases(name)
        groups, counts = {}, {}
        for place, label in enumerate(segments.schema.names):
            finite = np.sort(values[np.isfinite(values[:, place]), place])
            groups[label], counts[label] = _plain(_thinned(finite)), len(finite)
        infinite = int(np.isinf(values).sum())
        caption = f"{infinite:,} infinite values are not drawn." if infinite else ""
        if any(groups.values()):
            found.append(DistributionPanel(f"{name}-cases", title, axis, groups, caption=caption, counts=counts))
    return found


def agreement_panels(segments: Segments) -> list[Panel]:
    """Difference of the volumes against their mean (Bland & Altman), a drawing a label."""
    unit = segments.units.volume
    panels: list[Panel] = []
    names = segments.schema.names
    for place, label in enumerate(names[:_DRAWN_LABELS]):
        gap = segments.cases("volume_difference")[:, place]
        rows = np.flatnonzero(~np.isnan(gap))
        if not len(rows):
            continue
        reference = segments.table.measures["reference_volume"][rows, place] / segments.units.divisor
        mean, gap = reference + gap[rows] / 2, gap[rows]
        shown = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_POINTS)).round().astype(int))
        series = [Series("cases", _plain(mean[shown]), _plain(gap[shown]))]
        steps = np.linspace(float(mean.min()), float(mean.max()), 60)
        lines = {"volume_loa_high": "upper limit", "volume_difference": "mean", "volume_loa_low": "lower limit"}
        for name, word in lines.items():
            level = segments.value((name, label, None, "image")).point
            if np.isfinite(level):
                # A line drawn of points, because the panel draws points.
                series.append(Series(word, _plain(steps), [float(f"{level:.6g}")] * len(steps)))
        caption = "Lines: mean of the differences, and 1.96 standard deviations to both sides."
        if place == _DRAWN_LABELS - 1 and len(names) > _DRAWN_LABELS:
            caption += f" The other {len(names) - _DRAWN_LABELS} labels are not drawn."
        title = f"Volumes of {label}" if len(names) > 1 else "Volumes"
        panels.append(
            CurvePanel(
                f"volumes-{place}", f"{title}: difference against mean", f"Mean of both [{unit}]",
                f"Predicted - reference [{unit}]", series, caption, points=True,
            )
        )  # fmt: skip
    return panels


def ranking(segments: Segments) -> NDArray[np.intp]:
    """The cases from worst to best: by mean Dice over the labels, then by the largest distance; undefined left out."""
    dice, far = segments.cases("dice"), segments.cases("hd95")
    defined = ~np.isnan(dice)
    rows = np.flatnonzero(defined.any(1))
    mean = np.nansum(dice[rows], axis=1) / defined[rows].sum(1)
    largest = np.nan_to_num(far[rows], nan=-1.0, posinf=np.inf).max(1)
    return rows[np.lexsort((rows, -largest, mean))]


def worst_table(segments: Segments) -> TablePanel | None:
    """The worst cases by name, with what is known of the label that is worst in each."""
    rows: list[list[Any]] = []
    dice, far = segments.cases("dice"), segments.cases("hd95")
    names, m = segments.schema.names, segments.table.measures
    for row in ranking(segments)[:_WORST].tolist():
        place = int(np.nanargmin(dice[row]))
        volumes = [float(m[k][row, place]) / segments.units.divisor for k in ("reference_volume", "predicted_volume")]
        mean = float(np.nanmean(dice[row]))
        distance = far[row, place]
        cells: list[Any] = [segments.table.cases[row], mean]
        cells += [names[place], float(dice[row, place])] if len(names) > 1 else []
        # JSON knows no infinity.
        cells += ["∞" if np.isinf(distance) else None if np.isnan(distance) else float(distance), *volumes]
        rows.append(cells)
    if not rows:
        return None
    unit = segments.units.volume
    header = ["Case", "Dice", *(["Worst label", "its Dice"] if len(names) > 1 else []), segments.label("hd95")]
    header += [f"Reference [{unit}]", f"Predicted [{unit}]"]
    return TablePanel("worst-cases", f"The {len(rows)} worst cases", header, rows, "By mean Dice.", "cases")


def galleries(segments: Segments, size: int) -> list[Panel]:
    """Worst, median and best cases with contours; ``size`` worst ones, and a third of that of each other kind.

    Of few cases a third at most is called worst.
    """
    order = ranking(segments)
    if not size or not len(order):
        return []
    few, size = max(1, size // 3), min(size, max(1, len(order) // 3))
    middle = max(0, (len(order) - few) // 2)
    chosen = [
        ("worst", "Worst cases", order[:size]),
        ("median", "Median cases", order[middle : middle + few]),
        ("best", "Best cases", order[::-1][:few]),
    ]
    contours = {c.name: c.color for c in segments.schema.classes}
    words = "Contours: reference solid, prediction dashed, in the slices in which they differ most."
    seen: set[int] = set()
    panels: list[Panel] = []
    for name, title, rows in chosen:
        items = [_item(segments, row) for row in rows.tolist() if row not in seen]
        seen |= set(rows.tolist())
        if items:
            panels.append(GalleryPanel(name, title, items, f"By mean Dice. {words}", contours=contours))
    return panels


def _item(segments: Segments, row: int) -> GalleryItem:
    dice, far, names = segments.cases("dice")[row], segments.cases("hd95")[row], segments.schema.names
    known = [i for i in np.argsort(dice, kind="stable").tolist() if not np.isnan(dice[i])]
    shown = known[:_LABELS_IN_A_LINE]
    texts = [f"{names[i]} {dice[i]:.3f}" if len(names) > 1 else f"{dice[i]:.3f}" for i in shown]
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    largest = float(np.max(far[known])) if known else float("nan")
    distance = "∞" if np.isinf(largest) else f"{largest:.3g} {segments.units.length}"
    return GalleryItem(segments.table.cases[row], f"Dice {', '.join(texts)}{more}; HD95 {distance}")


def case_rows(table: SegmentationTable, names: tuple[str, ...]) -> tuple[list[str], list[list[Any]]]:
    """A row a case and label for ``evaluation/cases.csv``: ids and all measures; undefined is blank."""
    columns = ["case", "patient", "cluster", "fold", "label", *MEASURES, "unit", "dims"]
    rows: list[list[Any]] = []
    for i, case in enumerate(table.cases):
        patient = "" if table.patients is None else str(table.patients[i])
        for place, label in enumerate(names):
            cells = [_cell(float(table.measures[k][i, place]), k in WHOLE) for k in MEASURES]
            rows.append(
                [case, patient, str(table.clusters[i]), int(table.fold[i]), label, *cells, str(table.unit[i]),
                 int(table.dims[i])]
            )  # fmt: skip
    return columns, rows


def _cell(value: float, whole: bool) -> Any:
    if np.isnan(value):
        return ""
    return int(value) if whole else float(f"{value:.9g}")


def _plain(values: Any) -> list[float]:
    return [float(f"{v:.6g}") for v in values]


def _thinned(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most :data:`MAX_POINTS` quantiles of the values."""
    if len(ordered) <= MAX_POINTS:
        return ordered
    return np.asarray(ordered[np.linspace(0, len(ordered) - 1, MAX_POINTS).round().astype(int)])
