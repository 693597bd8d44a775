"""What commands print at their end: tables and sentences, from plain values."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Columns of a note between a figure and its count.
_WIDEST = 60
_SHOWN = 12


def out() -> Console:
    """Standard output; text is shown as it is, markup in names and paths included."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False, soft_wrap=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table; the columns in ``right`` are aligned to the right.

    Where output is no terminal the columns are as wide as they need to be.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    console = out()
    if not console.is_terminal:
        _plain_table(headings, rows, right)
        return
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, heading in enumerate(headings):
        drawn.add_column(heading, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn, soft_wrap=False)


def _plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    lines = [[" ".join(cell.split()) for cell in row] for row in (headings, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    for line in lines:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        print("  ".join(cells).rstrip())


def facts(rows: Sequence[tuple[str, Any]]) -> None:
    """Print names and values below each other; what is unknown (``None``) is a dash."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        lines = str("–" if value in (None, "") else value).splitlines()
        for i, line in enumerate(lines):
            print(f"{name if i == 0 else '':<{width}}  {line}")


def figures(evaluation: Mapping[str, Any]) -> None:
    """Print the headline figures of an evaluation (``metrics.json``) with n and intervals, and its warnings."""
    for line in figure_lines(evaluation):
        print(line)


def figure_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """The headline figures, a line each, then the warnings."""
    from medcnn.evaluation.results import Figure, Interval
    from medcnn.report.formatting import between, counted, figure_name, level, number

    found = {_key(f): f for f in evaluation["figures"]}
    wanted = [found[tuple(key)] for key in evaluation["headline"] if tuple(key) in found]
    rows = []
    for plain in wanted or evaluation["figures"][:_SHOWN]:
        interval = Interval(**plain["interval"]) if plain.get("interval") else None
        figure = Figure(**{**plain, "interval": interval})
        span = f"({level(interval)} {between(interval.low, interval.high)})" if interval else _shortened(figure.note)
        rows.append((figure_name(figure), number(figure.value), span, counted(figure)))
    name_width = max((len(r[0]) for r in rows), default=0)
    span_width = max((len(r[2]) for r in rows), default=0)
    lines = [f"  {a:<{name_width}}  {b:>6}  {c:<{span_width}}  {d}".rstrip() for a, b, c, d in rows]
    return [*lines, *(f"  caution: {text}" for text in evaluation.get("warnings", ()))]


def _shortened(note: str) -> str:
    """A note's first part; the report has the whole."""
    if len(note) <= _WIDEST:
        return note
    first = note[:_WIDEST].rpartition(";")[0] or note[:_WIDEST].rpartition(" ")[0] or note[:_WIDEST]
    return f"{first}; see the report"


def _key(figure: Mapping[str, Any]) -> tuple[Any, ...]:
    return figure["id"], figure.get("target"), figure.get("average"), figure.get("unit")


def run_summary(folder: Path) -> None:
    """Print what a finished run found: its figures, what was not used, and where the report is."""
    from medcnn.files import read_json

    metrics = folder / "evaluation" / "metrics.json"
    print()
    if metrics.is_file():
        evaluation = read_json(metrics)
        print(evaluation["title"])
        figures(evaluation)
    unused = unused_sentence(folder)
    if unused:
        print(f"  {unused}")
    place = folder / "report.html"
    print(f"report: {place}" if place.is_file() else f"run folder: {folder}")


def unused_sentence(folder: Path) -> str:
    """``3 of 5,000 images were not used, 7 files were set aside: see exclusions.csv``; empty where all were used."""
    exclusions = _rows(folder / "exclusions.csv")
    aside = sum(row.get("aside") == "1" for row in exclusions)
    unused, used = len(exclusions) - aside, len(_rows(folder / "cases.csv"))
    said = []
    if unused:
        said.append(f"{unused:,} of {unused + used:,} images {'was' if unused == 1 else 'were'} not used")
    if aside:
        said.append(f"{aside:,} {'file or stack was' if aside == 1 else 'files or stacks were'} set aside")
    return f"{', '.join(said)}: see {folder / 'exclusions.csv'}" if said else ""


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    # The paths of a long series are one field.
    before = csv.field_size_limit(2**31 - 1)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    finally:
        csv.field_size_limit(before)
