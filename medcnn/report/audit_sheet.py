"""The audit of a dataset as one HTML page: findings, tables, and a contact sheet of random cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medcnn
from medcnn.evaluation.results import GalleryItem, GalleryPanel
from medcnn.files import write_text
from medcnn.report.audit_part import audit_section
from medcnn.report.document import Block, Cell, Document, Section, TableBlock
from medcnn.report.formatting import number, plural
from medcnn.report.html import render
from medcnn.report.panels import Pictures, gallery
from medcnn.report.privacy import Shown, mask
from medcnn.report.pseudonyms import FILE_NAME, Pseudonyms

_SIDE = 112
# With coloured labels a picture is four times as large.
_BOXED_SIDE = 64
_MOST_VALUES = 8
_CLASSES = {"class": "Class", "present": "Present", "absent": "Absent", "missing": "Missing", "patients": "Patients"}
_MASKS = {
    "label": "Label",
    "cases": "Cases that show it",
    "low": "Smallest share",
    "median": "Median share",
    "high": "Largest share",
}
_BOXES = {
    "label": "Label",
    "boxes": "Boxes",
    "cases": "Cases that show it",
    "low": "Smallest",
    "median": "Median",
    "high": "Largest",
}
_INTENSITIES = {
    "dtype": "Stored as",
    "images": "Images",
    "low": "Lowest",
    "median_low": "Median of lowest",
    "median_high": "Median of highest",
    "high": "Highest",
}
_LEFT_OUT = {"reason": "Reason", "count": "Cases or files"}
_ATTRIBUTES = {
    "attribute": "Attribute",
    "available": "Known",
    "missing": "Missing",
    "distinct": "Values",
    "low": "Lowest",
    "median": "Median",
    "high": "Highest",
}
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
    odd: Sequence[SheetCase] = (),
    colours: Mapping[str, str] | None = None,
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
        odd: Images whose boxes do not fit.
        colours: Of the labels of boxes that are drawn, ``#rrggbb``; ``None`` where there are none.
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
    sections = [audit_section(audit, shown), _tables(audit, shown)]
    if odd:
        text = "Boxes that the findings name, a few of each kind."
        sections.append(_gallery("odd", "Boxes to look at", odd, text, shown, pictures, colours))
    sections.append(_sheet(cases, shown, pictures, colours))
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


def _sheet(
    cases: Sequence[SheetCase], shown: Shown, pictures: Pictures, colours: Mapping[str, str] | None
) -> Section | None:
    if not cases:
        return None
    text = f"{plural(len(cases), 'case', 'cases')} drawn at random, in the order of the dataset."
    if colours:
        text += " Half of them are from the cases with boxes, as far as there are so many. A volume is shown where its "
        text += "largest box is; what counts neither as found nor as missed is grey."
    return _gallery("sheet", "Contact sheet", cases, text, shown, pictures, colours)


def _gallery(
    name: str,
    title: str,
    cases: Sequence[SheetCase],
    caption: str,
    shown: Shown,
    pictures: Pictures,
    colours: Mapping[str, str] | None = None,
) -> Section:
    items = [GalleryItem(c.case, c.text, "neutral") for c in cases]
    panel = GalleryPanel(name, "", items, caption, contours=colours or {})
    return Section(name, title, [gallery(panel, shown, pictures, _BOXED_SIDE if colours else _SIDE)])


def _tables(audit: Mapping[str, Any], shown: Shown) -> Section | None:
    images, masks, boxes = (audit.get(key, {}) for key in ("images", "masks", "boxes"))
    found = [
        _table("Classes", _CLASSES, audit.get("labels", {}).get("classes", [])),
        _table("Masks", _MASKS, masks.get("labels", []), "Shares are of the voxels of the images that show the label."),
        _table("Boxes", _BOXES, boxes.get("labels", []), "Sizes are the longest sides of boxes in px."),
        *(_values(title, images.get(key, {})) for key, title in _LISTS.items()),
        _table("Intensities", _INTENSITIES, images.get("intensities", [])),
        _table("Left out", _LEFT_OUT, [r | {"reason": shown.text(str(r["reason"]))} for r in audit["exclusions"]]),
        _table("Attributes", _ATTRIBUTES, audit.get("attributes", [])),
    ]
    blocks: list[Block] = [block for block in found if block is not None]
    return Section("tables", "Labels and images", blocks) if blocks else None


def _table(
    title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], caption: str = ""
) -> TableBlock | None:
    """Rows of ``audit.json`` under the columns that are named, the first of which is a text."""
    first, *rest = columns
    lines = [[Cell(_plain(row.get(first))), *(_count(row.get(key)) for key in rest)] for row in rows]
    return TableBlock(title, list(columns.values()), lines, caption) if lines else None


def _values(title: str, table: Mapping[str, Any]) -> TableBlock | None:
    """The most frequent values; of many of them the extent too."""
    values = table.get("values", [])[:_MOST_VALUES]
    lines = [[Cell(_plain(row["value"])), _count(row["cases"])] for row in values]
    caption = ""
    if table.get("distinct", 0) > len(values):
        caption = f"The {len(values)} most frequent of {table['distinct']:,}"
        if "low" in table:
            caption += f"; from {_plain(table['low'])} to {_plain(table['high'])}, median {_plain(table['median'])}"
        caption += "."
    return TableBlock(title, ["Value", "Cases"], lines, caption) if lines else None


def _count(value: Any) -> Cell:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
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
