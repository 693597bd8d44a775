"""What a report holds, as plain blocks: built once, written as HTML and as Markdown.

Texts are raw here; each writer escapes them for its own format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Tone = Literal["plain", "warning"]
Status = Literal["right", "wrong", "neutral"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What stands in it.
        subs: Smaller lines below: interval, n, baseline.
        marks: Letters of the table's footnotes.
        tip: Shown on hovering, never alone: it is a footnote too.
        numeric: Aligned to the right.
        tag: A style for words that grade (``error``, ``warning``, ``info``).
    """

    text: str
    subs: tuple[str, ...] = ()
    marks: str = ""
    tip: str = ""
    numeric: bool = False
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A headline figure."""

    label: str
    context: str
    value: str
    count: str
    interval: str = ""
    level: str = ""
    method: str = ""
    note: str = ""
    baseline: str = ""


@dataclass(frozen=True, slots=True)
class CardsBlock:
    """The figures that stand first."""

    cards: Sequence[Card]
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A table; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    footnotes: Sequence[tuple[str, str]] = ()
    kind: ClassVar[str] = "table"


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """A count with its share of the row (``None`` for an empty row) and the colours that show it."""

    text: str
    share: str
    background: str
    color: str
    diagonal: bool


@dataclass(frozen=True, slots=True)
class MatrixBlock:
    """Counts by reference and prediction."""

    title: str
    row_label: str
    column_label: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[MatrixCell]]
    totals: Sequence[str]
    caption: str = ""
    kind: ClassVar[str] = "matrix"


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A line of a chart's legend."""

    label: str
    color: str
    dash: str = ""
    shape: Literal["line", "box", "point", "mark"] = "line"


@dataclass(frozen=True, slots=True)
class ChartBlock:
    """A drawing: ``svg`` is markup that has passed :func:`medcnn.report.svg.clean`."""

    title: str
    svg: str
    legend: Sequence[LegendEntry] = ()
    caption: str = ""
    wide: bool = False
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True, slots=True)
class ChartsBlock:
    """Charts that stand side by side where there is room."""

    charts: Sequence[ChartBlock]
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True, slots=True)
class Picture:
    """One case of a gallery; ``source`` is a data URI, empty where there is no picture."""

    case: str
    text: str
    status: Status
    source: str = ""


@dataclass(frozen=True, slots=True)
class GalleryBlock:
    """Cases worth a look."""

    title: str
    pictures: Sequence[Picture]
    caption: str = ""
    legend: Sequence[LegendEntry] = ()
    wide: bool = False
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True, slots=True)
class PairsBlock:
    """Names with their values."""

    title: str
    pairs: Sequence[tuple[str, str]]
    caption: str = ""
    kind: ClassVar[str] = "pairs"


@dataclass(frozen=True, slots=True)
class LinesBlock:
    """Sentences, one a line."""

    lines: Sequence[str]
    title: str = ""
    tone: Tone = "plain"
    kind: ClassVar[str] = "lines"


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Text to copy."""

    title: str
    text: str
    language: str = ""
    caption: str = ""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True, slots=True)
class FlowStep:
    """A box of the flow of cases, with what left the flow beside it."""

    title: str
    count: str
    detail: str = ""
    aside_title: str = ""
    aside: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class FlowBlock:
    """Cases from found to analysed; ``parts`` stand in one row at the end."""

    steps: Sequence[FlowStep]
    parts: Sequence[FlowStep]
    kind: ClassVar[str] = "flow"


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a stacked bar: its share in percent."""

    label: str
    percent: float
    color: str
    count: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A stacked bar with its name and its n."""

    label: str
    count: str
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class BarsBlock:
    """Stacked bars of 100 %."""

    title: str
    bars: Sequence[Bar]
    legend: Sequence[LegendEntry]
    caption: str = ""
    kind: ClassVar[str] = "bars"


Block = (
    CardsBlock
    | TableBlock
    | MatrixBlock
    | ChartsBlock
    | GalleryBlock
    | PairsBlock
    | LinesBlock
    | CodeBlock
    | FlowBlock
    | BarsBlock
)


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter of the report."""

    id: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    chips: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: Sequence[str] = field(default_factory=tuple)
