"""A folder of DICOM as one HTML page: every stack with a picture, which ones a rule picks, what names a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import medcnn
from medcnn.files import write_text
from medcnn.report.document import (
    Block,
    Cell,
    Document,
    GalleryBlock,
    LinesBlock,
    PairsBlock,
    Picture,
    Section,
    Status,
    TableBlock,
)
from medcnn.report.html import render
from medcnn.report.privacy import mask

Mark = Literal["picked", "several", "problem", ""]
_STATUS: dict[Mark, Status] = {"picked": "right", "several": "wrong", "problem": "wrong", "": "neutral"}
WORDS: dict[Mark, str] = {"picked": "picked", "several": "one of several", "problem": "no volume", "": ""}


@dataclass(frozen=True, slots=True)
class SheetStack:
    """A stack as the page shows it: no name, id, date or path of a patient.

    Attributes:
        number: Its number in the list, from 1.
        patient: Number of its patient, from 1.
        study: Number of its study, from 1, among all.
        modality: DICOM's code.
        plane: The nearest plane; empty where it has no place.
        matrix: Columns and rows, as ``512x512``.
        slices: Number of slices; 0 for an object without pixels.
        spacing: As ``0.7x0.7x3 mm``.
        kind: ``image``, ``localizer``, ...
        description: SeriesDescription, and what tells this stack from others of its series.
        problem: Why it is no volume.
        mark: What the rule makes of it.
        picture: A data URI; empty where there is none.
        no_picture: Why there is none.
    """

    number: int
    patient: int
    study: int
    modality: str
    plane: str
    matrix: str
    slices: int
    spacing: str
    kind: str
    description: str
    problem: str
    mark: Mark
    picture: str = ""
    no_picture: str = ""


@dataclass(frozen=True, slots=True)
class SheetFacts:
    """What stands beside the stacks.

    Attributes:
        files: Number of DICOM files.
        rule: The rule as the user gave it, key and value; ``None`` where there is none.
        one_per: What the rule picks one stack of.
        identifying: Keywords of elements that name, date or show a person, with the number of files.
        silent: Number of files with pixels that do not say whether an annotation is burned in.
        left_aside: What was found and is no DICOM image, with its number.
        unread: Files that are broken or cannot be opened, with their number by reason.
    """

    files: int
    rule: Sequence[tuple[str, str]] | None
    one_per: str
    identifying: Sequence[tuple[str, int]]
    silent: int
    left_aside: Sequence[tuple[str, int]]
    unread: Sequence[tuple[str, int]]


def write_series_sheet(path: Path, stacks: Sequence[SheetStack], facts: SheetFacts) -> Path:
    """Write the page.

    Args:
        path: The HTML file.
        stacks: In the order of the list.
        facts: What stands beside them.

    Raises:
        RunError: If it cannot be written.
    """
    sections = [_rule(stacks, facts), _stacks(stacks), _table(stacks), _persons(facts), _rest(facts)]
    chips = [
        ("Patients", f"{len({s.patient for s in stacks}):,}"),
        ("Studies", f"{len({s.study for s in stacks}):,}"),
        ("Stacks", f"{len(stacks):,}"),
        ("DICOM files", f"{facts.files:,}"),
    ]
    document = Document("Series of DICOM", "", chips, [s for s in sections if s is not None], _footer())
    write_text(path, render("report.html.j2", document=document))
    return path


def _rule(stacks: Sequence[SheetStack], facts: SheetFacts) -> Section | None:
    if facts.rule is None:
        return None
    picked = [s for s in stacks if s.mark == "picked"]
    several = [s for s in stacks if s.mark == "several"]
    pairs = [*facts.rule, ("one stack of each", facts.one_per)]
    lines = [f"The rule picks {len(picked):,} of {len(stacks):,} stacks; they are marked ✓."]
    if several:
        lines.append(
            f"{len(several):,} stacks, marked ✗, fit as others of the same {facts.one_per} do: make the rule narrower."
        )
    blocks: list[Block] = [PairsBlock("The rule", pairs), LinesBlock(lines, tone="warning" if several else "plain")]
    return Section("rule", "What the rule picks", blocks)


def _stacks(stacks: Sequence[SheetStack]) -> Section:
    """The contact sheet: what has no pixels stands in the table alone."""
    shown = [s for s in stacks if s.slices]
    blocks: list[Block] = [GalleryBlock("", [_picture(s) for s in shown])] if shown else []
    if rest := len(stacks) - len(shown):
        verb = "objects have" if rest > 1 else "object has"
        blocks.append(LinesBlock([f"{rest:,} {verb} no pixels: in the table below."]))
    return Section("stacks", "Contact sheet", blocks)


def _picture(stack: SheetStack) -> Picture:
    parts = [
        " ".join(p for p in (stack.modality, stack.plane, stack.matrix) if p),
        f"{stack.slices:,} slice{'s' if stack.slices != 1 else ''}",
        stack.spacing,
        stack.kind if stack.kind != "image" else "",
        f"“{mask(stack.description)}”" if stack.description else "",
        WORDS[stack.mark],
        mask(stack.problem) if stack.problem else "",
        "" if stack.picture else stack.no_picture,
    ]
    name = f"{stack.number} · patient {stack.patient}, study {stack.study}"
    return Picture(name, ", ".join(p for p in parts if p), _STATUS[stack.mark], stack.picture)


def _table(stacks: Sequence[SheetStack]) -> Section | None:
    if not stacks:
        return None
    columns = ["Stack", "Patient", "Study", "Modality", "Plane", "Matrix", "Slices", "mm", "Kind", "Description"]
    rows = [
        [
            Cell(str(s.number)),
            Cell(str(s.patient), numeric=True),
            Cell(str(s.study), numeric=True),
            Cell(s.modality),
            Cell(s.plane),
            Cell(s.matrix),
            Cell(f"{s.slices:,}", numeric=True),
            Cell(s.spacing.removesuffix(" mm")),
            Cell(s.kind),
            Cell(mask(s.description)),
            Cell(WORDS[s.mark] or mask(s.problem)),
        ]
        for s in stacks
    ]
    return Section("table", "All stacks", [TableBlock("", [*columns, "Remark"], rows)])


def _persons(facts: SheetFacts) -> Section:
    blocks: list[Block] = []
    if facts.identifying:
        rows = [[Cell(keyword), Cell(f"{count:,}", numeric=True)] for keyword, count in facts.identifying]
        caption = f"Of {facts.files:,} DICOM files. The values are not shown here."
        blocks.append(TableBlock("", ["Element", "Files"], rows, caption))
    else:
        blocks.append(LinesBlock(["No header names a person or a birth date."]))
    if facts.silent:
        text = f"{facts.silent:,} files do not say whether an annotation is burned into their pixels."
        blocks.append(LinesBlock([text]))
    return Section("persons", "What tells who it is", blocks)


def _rest(facts: SheetFacts) -> Section | None:
    blocks: list[Block] = []
    for title, found in (("Passed over", facts.left_aside), ("Not readable", facts.unread)):
        if found:
            rows = [[Cell(mask(what)), Cell(f"{count:,}", numeric=True)] for what, count in found]
            blocks.append(TableBlock(title, ["What", "Files"], rows))
    return Section("rest", "What else lies there", blocks) if blocks else None


def _footer() -> list[str]:
    return [
        f"Written by medcnn {medcnn.__version__}. The page loads nothing and runs no script.",
        "Patients and studies are numbered as they were found; names, ids, dates and paths are not shown. Descriptions "
        "are what the headers say, and the pictures are the images themselves: look for names in both before you hand "
        "the page on.",
        "For research. Not a medical device.",
    ]
