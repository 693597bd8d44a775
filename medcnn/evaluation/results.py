"""What an evaluation says, in kinds that a report can draw without knowing the task.

``metrics.json`` is :class:`Evaluation` as JSON. Undefined is ``null``, with a note that says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

SCHEMA_VERSION = 1
Number = float | int | None


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval with the method that made it.

    Attributes:
        low: Lower end.
        high: Upper end.
        level: Nominal coverage, 0.95 say; ``None`` for a plain range over clusters.
        method: Named beside the interval, e.g. ``bootstrap over patients, 2,000 resamples``.
        resampled: What was resampled: ``patient``, ``cluster`` or ``image``.
    """

    low: float
    high: float
    level: float | None
    method: str
    resampled: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its n.

    Attributes:
        id: Stable name, e.g. ``f1``, ``sensitivity``, ``auroc``.
        label: As a person reads it, e.g. ``F1``.
        value: ``None`` where undefined.
        n: Number of cases (or patients, objects) it rests on.
        unit: ``image``, ``patient``, ``object`` or ``voxel``.
        target: The class it is about; ``None`` for a figure over all.
        average: ``macro``, ``micro``, ``weighted``; ``None`` for a figure of one class or without averaging.
        part: ``test``, ``validation`` or ``out-of-fold``; for an external set its name.
        interval: ``None`` where withheld or undefined; ``note`` says why.
        clusters: Number of clusters behind ``n``.
        note: Why undefined or withheld, or a caution.
        baseline: The trivial figure to hold it against (majority class, all-negative), if any.
        baseline_label: What the baseline is.
    """

    id: str
    label: str
    value: Number
    n: int
    unit: str = "image"
    target: str | None = None
    average: str | None = None
    part: str = "test"
    interval: Interval | None = None
    clusters: int | None = None
    note: str = ""
    baseline: Number = None
    baseline_label: str = ""


@dataclass(frozen=True, slots=True)
class TablePanel:
    """A table. ``rows`` hold text or numbers or :class:`Figure`; ``None`` is undefined (an en dash)."""

    id: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    section: str = "figures"
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a curve: ``x`` and ``y`` of equal length, with an optional band and marked points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    marks: Sequence[tuple[float, float, str]] = ()


@dataclass(frozen=True, slots=True)
class CurvePanel:
    """Lines over one pair of axes (ROC, precision-recall, reliability, FROC, learning curves, agreement).

    Attributes:
        diagonal: Draw y = x as the reference.
        points: Draw points instead of lines.
        x_range: Limits of the axis; ``None`` leaves them to the data.
        y_range: As ``x_range``.
        x_log: Logarithmic x axis.
    """

    id: str
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    caption: str = ""
    diagonal: bool = False
    points: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_log: bool = False
    section: str = "curves"
    kind: Literal["curve"] = "curve"


@dataclass(frozen=True, slots=True)
class MatrixPanel:
    """Counts by reference (rows) and prediction (columns)."""

    id: str
    title: str
    row_label: str
    column_label: str
    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]
    caption: str = ""
    section: str = "figures"
    kind: Literal["matrix"] = "matrix"


@dataclass(frozen=True, slots=True)
class DistributionPanel:
    """Values by group, drawn as histogram (``bins`` given) or as box and points.

    Attributes:
        groups: Values by name of the group; of many values some of their quantiles.
        counts: How many values each group has in truth; ``None`` where all of them are in ``groups``.
    """

    id: str
    title: str
    x_label: str
    groups: Mapping[str, Sequence[float]]
    bins: Sequence[float] | None = None
    caption: str = ""
    section: str = "curves"
    counts: Mapping[str, int] | None = None
    kind: Literal["distribution"] = "distribution"


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """One picture of a gallery: the case, and a line below it. The report finds the pixels by the case's id."""

    case: str
    text: str
    status: Literal["right", "wrong", "neutral"] = "neutral"


@dataclass(frozen=True, slots=True)
class GalleryPanel:
    """Cases worth a look, such as the most confident errors.

    Attributes:
        contours: Labels whose contours the pictures show, each with its colour (``None``: the report's choice); empty
            where they show images alone.
    """

    id: str
    title: str
    items: Sequence[GalleryItem]
    caption: str = ""
    section: str = "cases"
    contours: Mapping[str, str | None] = field(default_factory=dict)
    kind: Literal["gallery"] = "gallery"


@dataclass(frozen=True, slots=True)
class CaseTable:
    """A row a case, as ``evaluation/cases.csv`` has it; blank is unknown."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


Panel = TablePanel | CurvePanel | MatrixPanel | DistributionPanel | GalleryPanel


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The whole of ``metrics.json``.

    Attributes:
        task: Name of the task.
        title: What was evaluated.
        figures: Every figure, in the order of a reader's interest.
        headline: ``(id, target, average, unit)`` of the figures that stand first.
        panels: What the report draws, in order.
        warnings: Sentences a reviewer must see (patients unknown, few clusters, withheld intervals).
        notes: Definitions and rules in force (positive class, threshold and how it was chosen, patient rule).
        details: Anything else a program may want (thresholds by class, cluster counts).
        cases: The table of cases, which stands in a file of its own and not in ``metrics.json``.
    """

    task: str
    title: str
    figures: Sequence[Figure]
    headline: Sequence[tuple[str, str | None, str | None, str]]
    panels: Sequence[Panel]
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    cases: CaseTable | None = field(default=None, repr=False, compare=False)

    def find(
        self, figure: str, target: str | None = None, average: str | None = None, unit: str | None = None
    ) -> Figure:
        """The one figure with these keys (``unit`` may be left out); raises ``KeyError`` where there is none."""
        for f in self.figures:
            if (f.id, f.target, f.average) == (figure, target, average) and unit in (None, f.unit):
                return f
        raise KeyError((figure, target, average, unit))

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists, ready for ``json.dumps``; without the table of cases."""
        plain = asdict(replace(self, cases=None))
        del plain["cases"]
        return plain
