"""The audit of a dataset as one HTML page: findings, tables, and a contact sheet of random cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medcnn
from medcnn.evaluation.results import GalleryItem, GalleryPanel
from medcnn.files import write_text
from medcnn.report.document import Block, Cell, Document, Section, TableBlock
from medcnn.report.findings import audit_section
from medcnn.report.formatting import number, plural
from medcnn.report.html import render
from medcnn.report.panels import Pictures, gallery
from medcnn.report.privacy import Shown, mask
from medcnn.report.pseudonyms import FILE_NAME, Pseudonyms

_SIDE = 112
_LISTS = {"sizes": "Sizes (channels and axes)", "spacings": "Spacings in mm", "dtypes": "Stored types"}


@dataclass(frozen=True, slots=True)
class SheetCase:
    """A case of the contact sheet, with the line below its picture."""

    case: str
    text: str


def write_audit_sheet(
    path: Path,
    audit: Mapping[str, Any],
    cases: Sequence[SheetCase],
    pairs: Sequence[SheetCase],
    *,
    unlike: Sequence[SheetCase] = (),
    pictures: Pictures,
    rows: Iterable[Mapping[str, str]],
    exclusions: Iterable[Mapping[str, str]] = (),
    keep: Iterable[str] = (),
    title: str = "",
) -> Path:
    """Write the page; names of cases, patients and files become pseudonyms, whose key lies beside it (mode 600).

    Args:
        path: The HTML file.
        audit: What ``audit.json`` holds.
        cases: Random cases.
        pairs: Near-duplicates, the two of each pair one after the other.
        unlike: Identical images with different labels.
        pictures: Gives the pixels of a case, or ``None``.
        rows: ``case``, ``patient``, ``group``, ``cluster``, ``study`` and ``paths`` of all cases.
        exclusions: ``case`` and ``path`` of what was left out.
        keep: Names of classes.
        title: Of the dataset.

    Raises:
        RunError: If it cannot be written.
    """
    pseudonyms = Pseudonyms(path.parent)
    shown = Shown(pseudonyms, rows, exclusions, keep)
    sections = [audit_section(audit, shown), _tables(audit, shown), _sheet(cases, shown, pictures)]
    if unlike:
        text = "Each set one after the other; at most ten images."
        sections.append(_gallery("unlike", "Identical images with different labels", unlike, text, shown, pictures))
    if pairs:
        total = audit.get("near_duplicates", {}).get("pairs", 0)
        text = (
            f"{len(pairs) // 2} of {number(int(total))} pairs, the least alike first; of different labels if there are."
        )
        sections.append(_gallery("pairs", "Near-duplicates", pairs, text, shown, pictures))
    chips = [("Cases", number(int(audit.get("cases", 0))))]
    present = [s for s in sections if s is not None]
    document = Document(f"Audit of {mask(title)}", "", chips, present, _footer())
    html = render("report.html.j2", document=document)
    pseudonyms.save()
    write_text(path, html)
    return path


def _sheet(cases: Sequence[SheetCase], shown: Shown, pictures: Pictures) -> Section | None:
    if not cases:
        return None
    text = f"{plural(len(cases), 'case', 'cases')} drawn at random, in the order of the dataset."
    return _gallery("sheet", "Contact sheet", cases, text, shown, pictures)


def _gallery(
    name: str, title: str, cases: Sequence[SheetCase], caption: str, shown: Shown, pictures: Pictures
) -> Section:
    items = [GalleryItem(c.case, c.text, "neutral") for c in cases]
    return Section(name, title, [gallery(GalleryPanel(name, "", items, caption), shown, pictures, _SIDE)])


def _tables(audit: Mapping[str, Any], shown: Shown) -> Section | None:
    blocks: list[Block] = []
    classes = audit.get("labels", {}).get("classes", [])
    if classes:
        columns = ["Class", "Present", "Absent", "Missing", "Patients"]
        keys: tuple[str, ...] = ("present", "absent", "missing", "patients")
        lines = [[Cell(str(row["class"])), *(_count(row.get(key)) for key in keys)] for row in classes]
        blocks.append(TableBlock("Classes", columns, lines))
    images = audit.get("images", {})
    for key, title in _LISTS.items():
        values = images.get(key, {}).get("values", [])
        if values:
            rest = images[key].get("distinct", 0) - len(values)
            lines = [[Cell(_plain(row["value"])), _count(row["cases"])] for row in values]
            caption = f"{rest:,} more values are in audit.json." if rest > 0 else ""
            blocks.append(TableBlock(title, ["Value", "Cases"], lines, caption))
    ranges = images.get("intensities", [])
    if ranges:
        keys = ("images", "low", "median_low", "median_high", "high")
        columns = ["Stored as", "Images", "Lowest", "Median of lowest", "Median of highest", "Highest"]
        lines = [[Cell(str(row["dtype"])), *(_count(row.get(key)) for key in keys)] for row in ranges]
        blocks.append(TableBlock("Intensities", columns, lines))
    left_out = audit.get("exclusions", [])
    if left_out:
        lines = [[Cell(shown.text(str(row["reason"]))), _count(row["count"])] for row in left_out]
        blocks.append(TableBlock("Left out", ["Reason", "Cases or files"], lines))
    return Section("tables", "Labels and images", blocks) if blocks else None


def _count(value: Any) -> Cell:
    return Cell("–" if value is None else number(value), numeric=True)


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return " x ".join(f"{v:g}" for v in value) if isinstance(value, (list, tuple)) else str(value)


def _footer() -> list[str]:
    return [
        f"Written by medcnn {medcnn.__version__}. The page loads nothing and runs no script.",
        f"Cases, patients and files carry pseudonyms; {FILE_NAME} beside it resolves them for its owner. The pictures "
        "are the images themselves: look for burned-in names before you hand the page on.",
        "For research. Not a medical device.",
    ]
