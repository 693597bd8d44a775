"""One page for several runs: each one's main figures and the way to its report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import medcnn
from medcnn.files import write_text
from medcnn.report.document import Card
from medcnn.report.findings import headline
from medcnn.report.html import render
from medcnn.report.panels import cards
from medcnn.report.privacy import Shown, mask
from medcnn.report.pseudonyms import Pseudonyms
from medcnn.report.runfiles import read_evaluation


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of the index."""

    name: str
    title: str
    link: str
    cards: Sequence[Card]
    warnings: int


def write_index(reports: Sequence[tuple[str, Path]], out: Path) -> Path:
    """Write an index page for the runs of a suite.

    Args:
        reports: Name of each run with its ``report.html`` (or its folder), in the order of the page.
        out: The page's file, or a folder that receives ``index.html``.

    Returns:
        The path of the page.

    Raises:
        RunError: If an evaluation is broken or the page cannot be written.
    """
    page = Path(out)
    if page.suffix.lower() not in (".html", ".htm"):
        page = page / "index.html"
    entries = [_entry(name, Path(place), page.parent) for name, place in reports]
    write_text(page, render("index.html.j2", entries=entries, version=medcnn.__version__))
    return page


def _entry(name: str, place: Path, beside: Path) -> Entry:
    report = place / "report.html" if place.is_dir() else place
    try:
        link = quote(Path(os.path.relpath(report.resolve(), beside.resolve())).as_posix())
    except ValueError:
        # On Windows there is no relative way to another drive.
        link = ""
    metrics = report.parent / "evaluation" / "metrics.json"
    if not metrics.is_file():
        return Entry(name, "", link, [], 0)
    evaluation = read_evaluation(metrics)
    shown = Shown(Pseudonyms(report.parent))
    return Entry(name, mask(evaluation.title), link, cards(headline(evaluation), shown), len(evaluation.warnings))
