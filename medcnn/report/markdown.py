"""The report as Markdown: tables and texts; drawings and pictures are in the HTML file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from medcnn.report.document import (
    BarsBlock,
    CardsBlock,
    Cell,
    ChartsBlock,
    CodeBlock,
    Document,
    FlowBlock,
    GalleryBlock,
    LinesBlock,
    MatrixBlock,
    PairsBlock,
    TableBlock,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|!~$])")
_SYMBOL = {"right": "✓", "wrong": "✗", "neutral": "•"}


def escape(text: str) -> str:
    """A text in one line that Markdown and the HTML inside it leave as it is."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _SPECIAL.sub(r"\\\1", text)
    return re.sub(r"^(\s*)([-+]|\d+[.)])(\s)", r"\1\\\2\3", text)


def to_markdown(document: Document) -> str:
    """The whole document."""
    lines = [f"# {escape(document.title)}", ""]
    if document.subtitle:
        lines += [escape(document.subtitle), ""]
    lines += [f"- {escape(name)}: {escape(value)}" for name, value in document.chips]
    for section in document.sections:
        lines += ["", f"## {escape(section.title)}", ""]
        if section.lead:
            lines += [escape(section.lead), ""]
        for block in section.blocks:
            lines += [*_WRITERS[block.kind](block), ""]
    lines += ["", "---", "", *(f"{escape(line)}  " for line in document.footer)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _titled(title: str, lines: Sequence[str], caption: str = "") -> list[str]:
    head = [f"### {escape(title)}", ""] if title else []
    return [*head, *lines, *(["", escape(caption)] if caption else [])]


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose cells are escaped already."""
    head = [f"| {' | '.join(escape(c) or ' ' for c in columns)} |", f"|{' --- |' * len(columns)}"]
    return head + [f"| {' | '.join(c or ' ' for c in row)} |" for row in rows]


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.marks:
        text += f" ({escape(cell.marks)})"
    return "<br>".join([text, *map(escape, cell.subs)])


def _cards(block: CardsBlock) -> list[str]:
    rows = []
    for card in block.cards:
        name = ", ".join(t for t in (card.label, card.context) if t)
        texts = (
            name,
            card.value,
            f"{card.interval} {card.level}".strip(),
            card.count,
            card.method,
            card.baseline,
            card.note,
        )
        rows.append([escape(t) for t in texts])
    return _rows(["Figure", "Value", "Interval", "n", "Method", "Baseline", "Note"], rows)


def _table(block: TableBlock) -> list[str]:
    lines = _rows(block.columns, [[_cell(c) for c in row] for row in block.rows])
    if block.footnotes:
        lines += ["", *(f"({escape(mark)}) {escape(text)}  " for mark, text in block.footnotes)]
    return _titled(block.title, lines, block.caption)


def _matrix(block: MatrixBlock) -> list[str]:
    columns = [f"{block.row_label} \\ {block.column_label}", *block.columns, "Total"]
    rows = [
        [escape(name), *(f"{c.text} ({c.share})" for c in cells), total]
        for name, cells, total in zip(block.rows, block.cells, block.totals, strict=True)
    ]
    return _titled(block.title, _rows(columns, rows), block.caption)


def _charts(block: ChartsBlock) -> list[str]:
    lines: list[str] = []
    for chart in block.charts:
        names = "; ".join(escape(entry.label) for entry in chart.legend)
        lines += [*_titled(chart.title, [f"(Drawing in report.html.) {names}".strip()], chart.caption), ""]
    return lines


def _gallery(block: GalleryBlock) -> list[str]:
    lines = [f"- {_SYMBOL[p.status]} {escape(p.case)}: {escape(p.text)}" for p in block.pictures]
    return _titled(block.title, lines, block.caption)


def _pairs(block: PairsBlock) -> list[str]:
    return _titled(block.title, _rows(["", ""], [[escape(k), escape(v)] for k, v in block.pairs]), block.caption)


def _lines(block: LinesBlock) -> list[str]:
    return _titled(block.title, [f"- {escape(line)}" for line in block.lines])


def _code(block: CodeBlock) -> list[str]:
    longest = max((len(m) for m in re.findall(r"`+", block.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return _titled(block.title, [f"{fence}{block.language}", block.text.rstrip("\n"), fence], block.caption)


def _flow(block: FlowBlock) -> list[str]:
    lines = []
    for step in (*block.steps, *block.parts):
        detail = f" ({step.detail})" if step.detail else ""
        lines.append(f"- {escape(step.title)}: {escape(step.count + detail)}")
        if step.aside_title:
            lines.append(f"  - {escape(step.aside_title)}")
            lines += [f"    - {escape(reason)}: {escape(count)}" for reason, count in step.aside]
    return lines


def _bars(block: BarsBlock) -> list[str]:
    rows = [
        [escape(bar.label), escape(bar.count), "; ".join(f"{escape(s.label)} {s.percent:.1f} %" for s in bar.segments)]
        for bar in block.bars
    ]
    return _titled(block.title, _rows(["", "n", "Shares"], rows), block.caption)


_WRITERS: dict[str, Callable[[Any], list[str]]] = {
    "cards": _cards,
    "table": _table,
    "matrix": _matrix,
    "charts": _charts,
    "gallery": _gallery,
    "pairs": _pairs,
    "lines": _lines,
    "code": _code,
    "flow": _flow,
    "bars": _bars,
}
