"""Every stack in a folder of DICOM, found by headers alone: which ones a rule picks, and what names a person."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medcnn.data.dicom_sources import list_files, relative
from medcnn.data.grouping import dummy_ids, natural_key, printable
from medcnn.data.header_rows import Entry
from medcnn.data.images.dicom_classes import IMAGE
from medcnn.data.images.stack_rule import StackRule
from medcnn.data.images.stacks import Stack, stacks_of
from medcnn.data.series_index import SeriesIndex, Unit
from medcnn.data.stack_choice import choose
from medcnn.errors import DataError
from medcnn.files import open_atomic
from medcnn.progress import Progress
from medcnn.recipe.document import parse_value
from medcnn.report.series_sheet import Mark, SheetFacts, SheetStack, write_series_sheet
from medcnn.types import Case, ImageRef

# Objects whose pixels often show a name although their header does not say so.
_MAY_SHOW_NAMES = ("secondary capture", "dose report", "video")
_SCREENS = ("US", "SC", "OT")


@dataclass(frozen=True, slots=True)
class Listed:
    """A stack of a folder.

    Attributes:
        number: From 1, in the order of the paths.
        patient: Number of its patient, from 1.
        study: Number of its study, from 1.
        ids: PatientID, StudyInstanceUID and SeriesInstanceUID.
        modality: DICOM's code.
        plane: The nearest plane; empty without a place.
        matrix: As ``512x512``; empty without pixels.
        slices: Number of slices; 0 without pixels.
        spacing: As ``0.7x0.7x3``, mm; empty where there is none.
        kind: ``image``, ``localizer``, ...
        derived: Whether the pixels were computed from other images.
        description: SeriesDescription.
        differing: What tells it from others of its series.
        body_part: BodyPartExamined.
        problem: Why it is no volume.
        copies: Files left out as copies of an instance.
        mark: What the rule makes of it.
        identifying: Keywords of elements that name, date or show a person, with the number of its files.
        silent: Whether no file says if an annotation is burned in.
        path: Its first file by name, as it counts from the folder.
        files: Number of its files.
        middle: What reads its middle slice; ``None`` without pixels.
    """

    number: int
    patient: int
    study: int
    ids: tuple[str, str, str]
    modality: str
    plane: str
    matrix: str
    slices: int
    spacing: str
    kind: str
    derived: bool
    description: str
    differing: str
    body_part: str
    problem: str
    copies: int
    mark: Mark
    identifying: Mapping[str, int]
    silent: bool
    path: str
    files: int
    middle: ImageRef | None


@dataclass(frozen=True, slots=True)
class SeriesList:
    """What a folder of DICOM holds.

    Attributes:
        stacks: Every stack, objects without pixels included.
        files: Number of DICOM files.
        identifying: Number of files by the element that names, dates or shows a person.
        silent: Number of files with pixels that do not say whether an annotation is burned in.
        left_aside: What is no DICOM file, with its number by reason.
        unread: Broken files and folders that cannot be listed, with their number by reason.
        rule: The rule; ``None`` where there is none.
        one_per: What it picks one stack of.
    """

    stacks: tuple[Listed, ...]
    files: int
    identifying: Mapping[str, int]
    silent: int
    left_aside: Mapping[str, int]
    unread: Mapping[str, int]
    rule: StackRule | None
    one_per: Unit

    def marked(self, mark: Mark) -> int:
        """Number of stacks with a mark."""
        return sum(s.mark == mark for s in self.stacks)


def rule_of(pairs: Sequence[str]) -> StackRule | None:
    """A rule from ``key=value`` as a user writes it; ``None`` for none.

    Raises:
        DataError: If a pair has no ``=``, a name is unknown, or a value has the wrong type.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        name = name.strip()
        if not (sign and name):
            raise DataError(f"{pair!r} is not KEY=VALUE", where="--rule", todo="write e.g. --rule modality=MR")
        if name in found:
            raise DataError(f"{name} is given twice", where="--rule")
        # A description such as 5 or "t1: post" is text, whatever YAML would make of it.
        plain = text if name in ("description", "image_type", "kind", "modality") and text != "null" else None
        try:
            found[name] = parse_value(text) if plain is None else plain
        except ValueError as error:
            raise DataError(f"{text!r} is no value: {error}", where=f"--rule {name}") from error
    return StackRule.of(found) if found else None


def list_series(
    root: Path, rule: StackRule | None, one_per: Unit, progress: Progress, *, workers: int | None = None
) -> SeriesList:
    """Every stack below a folder, in an archive, or named by a DICOMDIR.

    Args:
        root: The folder, archive or DICOMDIR.
        rule: Which stacks are meant.
        one_per: What the rule picks one stack of.
        progress: Advanced by one a header that is read.
        workers: Processes that read headers; ``None``: one a core.

    Raises:
        DataError: If the folder is not there, or holds no DICOM file.
    """
    listing = list_files(root, progress)
    found: list[Listed] = []
    identifying: Counter[str] = Counter()
    left, unread = Counter[str](), Counter[str]()
    silent = 0
    with SeriesIndex(listing, workers=workers, progress=progress) as index:
        files = index.kinds().total()
        for entries in index.groups(one_per):
            identifying.update(keyword for entry in entries for keyword in entry.identifying)
            silent += sum(e.header.frames > 0 and not _says_burned_in(e) for e in entries)
            found += _listed(entries, rule, one_per, listing.base)
        reasons = [(e.aside, e.reason) for e in listing.passed_over] + [(u.aside, u.reason) for u in index.unread()]
        for aside, reason in reasons:
            (left if aside else unread)[printable(reason)] += 1
    progress.finish()
    if not files:
        first = "".join(f"; {count:,}: {reason}" for reason, count in (unread + left).most_common(3))
        raise DataError(f"no DICOM file was found{first}", where=str(root))
    return SeriesList(tuple(_numbered(found)), files, identifying, silent, left, unread, rule, one_per)


def _listed(entries: Sequence[Entry], rule: StackRule | None, one_per: Unit, base: Path) -> Iterator[Listed]:
    stacks = stacks_of(entry.header for entry in entries)
    marks: dict[int, Mark] = {id(s): "problem" for s in stacks if s.problem}
    if rule is not None:
        choice = choose(stacks, rule, single=one_per != "series")
        left = {id(stack) for stack, _ in choice.left}
        picked = {id(stack) for stack in choice.picked}
        for stack in stacks:
            if id(stack) in picked:
                marks[id(stack)] = "picked"
            elif id(stack) not in left and not stack.problem:
                marks[id(stack)] = "several"
    by_path = {entry.header.path: entry for entry in entries}
    for stack in stacks:
        yield _one(stack, [by_path[h.path] for h in stack.headers], marks.get(id(stack), ""), base)


def _one(stack: Stack, entries: Sequence[Entry], mark: Mark, base: Path) -> Listed:
    header = stack.header
    one = stack.slices[len(stack.slices) // 2] if stack.slices else None
    index = one.frame if one is not None and header.frames > 1 else None
    columns, rows = stack.matrix
    return Listed(
        number=0,
        patient=0,
        study=0,
        ids=(header.patient, header.study, header.series),
        modality=_clean(header.modality),
        plane=stack.plane,
        matrix=f"{columns}x{rows}" if stack.slices else "",
        slices=len(stack.slices),
        spacing="" if stack.spacing is None else "x".join(f"{s:.3g}" for s in stack.spacing),
        kind=stack.kind,
        derived=stack.derived,
        description=_clean(header.description),
        differing=_clean(stack.key),
        body_part=_clean(header.body_part),
        problem=stack.problem,
        copies=stack.copies,
        mark=mark,
        identifying=Counter(keyword for entry in entries for keyword in entry.identifying),
        silent=not any(map(_says_burned_in, entries)),
        path=printable(relative(min(stack.paths), base)),
        files=len(stack.paths),
        middle=None if one is None else ImageRef((one.path,), "dicom", index=index),
    )


def _says_burned_in(entry: Entry) -> bool:
    return entry.header.burned_in.upper() in ("YES", "NO")


def _clean(text: str) -> str:
    """A header's text without what a terminal would obey."""
    return "".join(c if c.isprintable() else "·" for c in text)


def _numbered(found: Sequence[Listed]) -> Iterator[Listed]:
    """In the order of the paths, with patients and studies numbered as they come."""
    nobody = dummy_ids(stack.ids[0] for stack in found)
    patients: dict[tuple[str, ...], int] = {}
    studies: dict[tuple[str, ...], int] = {}
    ordered = sorted(found, key=lambda s: natural_key(s.path))
    for number, stack in enumerate(ordered, 1):
        patient, study, series = stack.ids
        # Nobody's studies are patients of their own.
        single = ("study", study) if study else ("series", series) if series else ("file", stack.path)
        whose = single if patient in nobody or not patient else ("patient", patient)
        yield replace(
            stack,
            number=number,
            patient=patients.setdefault(whose, len(patients) + 1),
            study=studies.setdefault((*whose, *single), len(studies) + 1),
        )


COLUMNS = (
    "stack", "patient", "study", "modality", "plane", "matrix", "slices", "spacing_mm", "kind", "derived",
    "description", "differing", "body_part", "mark", "problem", "copies", "identifying", "burned_in_not_said",
    "files", "path", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
)  # fmt: skip


def write_list(path: Path, found: SeriesList) -> None:
    """The stacks as CSV, a row each, with ids and paths as they are: a local file, readable by its owner alone.

    Raises:
        RunError: If it cannot be written.
    """
    with open_atomic(path, private=True) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for s in found.stacks:
            row: list[Any] = [s.number, s.patient, s.study, s.modality, s.plane, s.matrix, s.slices, s.spacing, s.kind]
            row += [int(s.derived), s.description, s.differing, s.body_part, s.mark, s.problem, s.copies]
            row += [" ".join(s.identifying), int(s.silent), s.files, s.path, *s.ids]
            writer.writerow([printable(v) if isinstance(v, str) else v for v in row])


def write_sheet(
    path: Path,
    found: SeriesList,
    rule: Sequence[str],
    progress: Progress,
    *,
    workers: int,
    all_pictures: bool = False,
) -> Path:
    """The contact sheet, with the middle slice of each stack.

    Args:
        path: The HTML file.
        found: The stacks.
        rule: The rule as the user gave it.
        progress: Advanced by one a picture.
        workers: Processes that read the slices; 0 reads in this one.
        all_pictures: Show pictures too that may hold a name.

    Raises:
        RunError: If it cannot be written.
    """
    withheld = {} if all_pictures else {s.number: why for s in found.stacks if (why := _withheld(s))}
    pictures, unread = _pictures([s for s in found.stacks if s.number not in withheld], workers, progress)
    sheet = [
        _on_sheet(s, pictures.get(s.number, ""), withheld.get(s.number) or unread.get(s.number, ""))
        for s in found.stacks
    ]
    facts = SheetFacts(
        files=found.files,
        rule=None if found.rule is None else [(p.partition("=")[0], p.partition("=")[2]) for p in rule],
        one_per=found.one_per,
        identifying=Counter(found.identifying).most_common(),
        silent=found.silent,
        left_aside=Counter(found.left_aside).most_common(),
        unread=Counter(found.unread).most_common(),
    )
    return write_series_sheet(path, sheet, facts)


def _on_sheet(stack: Listed, picture: str, no_picture: str) -> SheetStack:
    return SheetStack(
        number=stack.number,
        patient=stack.patient,
        study=stack.study,
        modality=stack.modality,
        plane=stack.plane,
        matrix=stack.matrix,
        slices=stack.slices,
        spacing=f"{stack.spacing} mm" if stack.spacing else "",
        kind=stack.kind,
        description=", ".join(p for p in (stack.description, stack.differing) if p),
        problem=stack.problem,
        mark=stack.mark,
        picture=picture,
        no_picture=no_picture,
    )


def _withheld(stack: Listed) -> str:
    """Why a picture is not shown unless it is asked for; empty where it is."""
    if not stack.slices:
        return ""
    if {"BurnedInAnnotation", "RecognizableVisualFeatures"} & set(stack.identifying):
        return "not shown: it says that it shows who it is"
    screen = stack.kind in _MAY_SHOW_NAMES or (stack.kind == IMAGE and stack.modality in _SCREENS)
    return "not shown: it may hold a name" if screen and stack.silent else ""


def _pictures(stacks: Sequence[Listed], workers: int, progress: Progress) -> tuple[dict[int, str], dict[int, str]]:
    """Data URIs by the number of the stack, and why there is none."""
    from medcnn.data.rows import Unread
    from medcnn.data.slice_pictures import SIDE, SlicePictures
    from medcnn.data.workers import read_rows
    from medcnn.report.panels import encode_picture

    cases = [Case(str(s.number), (s.middle,)) for s in stacks if s.middle is not None]
    found: dict[int, str] = {}
    unread: dict[int, str] = {}
    progress.start("reading pictures", len(cases), "stacks")
    for rows in read_rows(cases, SlicePictures(), workers=workers, row_bytes=3 * SIDE**2, progress=progress):
        for row in rows:
            if isinstance(row, Unread):
                unread[int(row.exclusion.case)] = row.exclusion.reason
                continue
            pixels = row[1].transpose(2, 1, 0)
            found[int(row[0].case)] = encode_picture(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, SIDE)
        progress.advance(len(rows))
    progress.finish()
    return found, unread
