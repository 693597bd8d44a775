"""A tree of DICOM as hospitals hand it over: series found by their headers, labels from an element or a table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medcnn.data.adapters.dicom_tree_labels import ElementLabels, Key, TableOptions, TableRows
from medcnn.data.adapters.dicom_tree_masks import MaskOptions, Masks, Several, Unlisted
from medcnn.data.adapters.dicom_tree_values import HEADER, Found, attributes_of, checked_keyword, name_of
from medcnn.data.adapters.table import case_of, targets_of
from medcnn.data.adapters.table_labels import Columns
from medcnn.data.dicom_sources import Listing, list_files, relative
from medcnn.data.grouping import dummy_ids, natural_key, plural, printable
from medcnn.data.images.dicom_classes import NO_PIXELS
from medcnn.data.images.stack_rule import StackRule
from medcnn.data.images.stacks import Stack, stacks_of
from medcnn.data.series_index import SeriesIndex, Unit
from medcnn.data.stack_choice import Choice, choose
from medcnn.errors import DataError
from medcnn.progress import Progress, Silent
from medcnn.types import Case, Dataset, Exclusion, ImageRef, Target

UNNAMED = "the table has no row about it"


def dicom_tree(
    root: Path,
    *,
    label: str | None = None,
    classes: Mapping[str, str | int | tuple[str, ...]] | tuple[str, ...] | None = None,
    positive: str | None = None,
    rest: str | None = None,
    missing: tuple[str, ...] = (),
    file: str | None = None,
    by: Key = "SeriesInstanceUID",
    column: str | None = None,
    labels: tuple[str, ...] = (),
    separator: str | None = None,
    value: str | None = None,
    unit: str = "",
    group: str | None = None,
    cluster: str | None = None,
    part: str | None = None,
    attributes: tuple[str, ...] | None = None,
    header: Mapping[str, str] | None = None,
    one_per: Unit = "series",
    slices: int | None = None,
    mask_labels: Mapping[str, int | str | tuple[int | str, ...]] | None = None,
    overlapping: bool = False,
    mask_kind: Literal["segmentation", "structure set"] | None = None,
    several_masks: Several = "error",
    unlisted: Unlisted = "ignore",
    threshold: float = 0.5,
    workers: int | None = None,
    stack: StackRule | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Cases from a folder of DICOM, however deep, a zip or tar archive of one, or a DICOMDIR.

    Headers alone are read, and remembered in the user's cache. Each series gives the one stack that ``data.stack``
    means, and each of its radiographs; patients and studies are those of the headers.

    Args:
        root: The folder, the archive, or the DICOMDIR.
        label: Keyword of the element that holds the class, such as ``BodyPartExamined``; with ``file`` a column of it,
            or else an element.
        classes: Names in order; or names with the value, or values, that stand for each, as in
            ``{head: [HEAD, BRAIN], chest: CHEST}``; absent: the values found, sorted.
        positive: The class that a binary problem is about. With ``rest``, the value of it.
        rest: Name for all other values of an element together: makes the problem binary, 1 is ``positive``.
        missing: More values that mean a missing label, beside blank, unknown and the like.
        file: A table, ``.csv``, ``.tsv`` or ``.parquet``, below ``root``; images that it does not name are left aside.
        by: What its rows are about.
        column: Its column that holds this; absent: the one that is called as ``by`` says.
        labels: Columns of 0 and 1, one a class, for several labels a case.
        separator: Splits the column ``label`` into several labels, such as ``|``.
        value: Column of a continuous label.
        unit: Its unit.
        group: Column of what may not be divided between parts.
        cluster: Column of what intervals resample.
        part: Column of the part: training, validation or test.
        attributes: Columns to keep as attributes; absent: all that have no other use.
        header: Names of attributes with the element that holds each; absent: sex, age, scanner, site and modality.
        one_per: What gives one image: each series, each study or each patient.
        slices: Make cases of so many slices of each stack, at even distances; absent: a stack is one volume.
        mask_labels: Take masks from the segmentations and structure sets that refer to a series: labels with what
            stands for each in them, a name with ``*`` for any letters, a number or a code, as in
            ``{liver: Liver*, tumour: [GTV*, SCT:108369006]}``; ``background`` and ``ignore`` take what is no label.
        overlapping: A voxel may have several labels (a channel each).
        mask_kind: Take segmentations or structure sets alone; absent: both.
        several_masks: What several masks of one series are: ``error`` names them, ``merge`` adds them up, ``readers``
            are several persons' (one reference is made of them), ``last`` is the newest by date and number.
        unlisted: A label that a mask does not list is not annotated (``ignore``), or ``absent``.
        threshold: Share of the maximum from which a segment of fractions is present.
        workers: Processes that read headers; absent: one a core.
        stack: The recipe's rule for stacks.
        progress: Advanced by one a header that is read.

    Raises:
        DataError: If there is no DICOM, the table does not fit, or a value is no class.
    """
    progress = progress or Silent()
    if slices is not None and slices < 1:
        raise DataError(f"slices must be at least 1, not {slices}", where="data.adapter.slices")
    listing = list_files(root, progress)
    table = None
    if file is not None:
        place = (root if root.is_dir() else root.parent) / file
        asked = Columns((), label, labels, value, (), None, group, cluster, part, None, None, attributes or ())
        options = TableOptions(classes, separator, positive, missing, attributes is not None)
        table = TableRows.read(place, by, column, asked, options)
    element = None if label is None or (table is not None and table.columns.label) else checked_keyword(label, "label")
    shown = {n: checked_keyword(k, f"header.{n}") for n, k in (HEADER if header is None else header).items()}
    extra = [*shown.values(), *([element] if element else [])]
    drawn = MaskOptions.of(mask_labels, overlapping, mask_kind, several_masks, unlisted, threshold)
    masks = None if drawn is None else Masks(drawn, listing.base)
    found, exclusions = _find(listing, extra, workers, progress, _Wanted(stack, one_per, slices, element, masks))
    _require_images(found, exclusions, root)
    reader = ElementLabels.of(element, found, classes, positive, rest, missing, str(root)) if element else None
    maker = _Maker(table, reader, shown, dummy_ids(f.patient for f in found))
    cases = sorted((case for one in found for case in maker.cases(one)), key=lambda c: natural_key(c.id))
    if table is not None:
        table.require_some(found)
        exclusions += table.exclusions()
    notes = tuple(masks.remarks()) if masks is not None else ()
    for line in (*maker.remarks(found, label), *notes):
        progress.say(line)
    schema = reader.schema if reader is not None else table.reader.schema if table and table.reader else None
    return Dataset(
        root.stem if root.is_file() else root.name,
        tuple(cases),
        ({} if schema is None else {"class": schema}) | ({} if drawn is None else {"mask": drawn.schema}),
        (*listing.passed_over, *exclusions, *maker.left),
        patients_known=bool(cases) and all(c.patient is not None for c in cases),
        facts={
            "unit": unit,
            "modality": ", ".join(sorted({f.modality for f in found} - {""})) or None,
            **({"notes": notes} if notes else {}),
        },
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What becomes a case."""

    rule: StackRule | None
    one_per: Unit
    slices: int | None
    element: str | None
    masks: Masks | None = None


def _find(
    listing: Listing, extra: Sequence[str], workers: int | None, progress: Progress, wanted: _Wanted
) -> tuple[list[Found], list[Exclusion]]:
    """The stacks that are picked, and all else that lies there."""
    found: list[Found] = []
    exclusions: list[Exclusion] = []
    unusable: list[Exclusion] = []
    base = listing.base
    with SeriesIndex(listing, extra=extra, workers=workers, progress=progress) as index:
        if wanted.masks is not None:
            wanted.masks.add(index.drawn())
        for entries in index.groups(wanted.one_per):
            if wanted.masks is not None:
                wanted.masks.place(entry.header for entry in entries)
            stacks = stacks_of(entry.header for entry in entries)
            place = os.path.dirname(entries[0].header.path)
            choice = choose(stacks, wanted.rule, single=wanted.one_per != "series", where=place)
            for stack in choice.picked:
                one = Found.of(stack, base, wanted.slices, wanted.element, extra)
                mask = None if wanted.masks is None else wanted.masks.of(stack)
                if isinstance(mask, Exclusion):
                    unusable.append(replace(mask, case=one.id))
                else:
                    found.append(replace(one, mask=mask))
            exclusions += _excluded(choice, stacks, base)
        exclusions += [
            Exclusion(printable(relative(u.path, base)), u.reason, printable(u.path), u.aside) for u in index.unread()
        ]
    if wanted.masks is not None:
        masks, drawn = wanted.masks, wanted.masks.files
        masks.require_some(len(found) + len(unusable), sum(f.mask is not None for f in found), unusable, base)
        exclusions = [e for e in exclusions if e.path not in drawn] + [*unusable, *masks.exclusions()]
    return found, exclusions


def _excluded(choice: Choice, stacks: Sequence[Stack], base: Path) -> Iterator[Exclusion]:
    left = [stack for stack, _ in choice.left]
    for stack, reason in choice.left:
        # What says that it is an image and holds no pixels was cut short: that is a fault.
        yield Exclusion(name_of(stack, base), reason, stack.paths[0], aside=reason != NO_PIXELS)
    if choice.failed is not None:
        meant = next(s for s in stacks if s not in left and s not in choice.picked)
        yield Exclusion(name_of(meant, base), choice.failed.what, choice.failed.where or meant.paths[0])


def _require_images(found: Sequence[Found], exclusions: Sequence[Exclusion], root: Path) -> None:
    if found or any(not e.aside for e in exclusions):
        return
    reasons = Counter(e.reason.split(":")[0] for e in exclusions).most_common(3)
    raise DataError(
        "no image of DICOM was found" + "".join(f"; {count:,}: {reason}" for reason, count in reasons),
        where=str(root),
        todo="name the folder that holds the images; medcnn data series FOLDER lists what is in it",
    )


class _Maker:
    """Makes cases of stacks."""

    def __init__(
        self,
        table: TableRows | None,
        reader: ElementLabels | None,
        header: Mapping[str, str],
        nobody: frozenset[str],
    ) -> None:
        self._table, self._reader, self._header, self._nobody = table, reader, header, nobody
        self.left: list[Exclusion] = []

    def cases(self, found: Found) -> Iterator[Case]:
        """The case of a stack, or those of its slices; none where the table does not name it."""
        case = self._whole(found)
        if case is None:
            self.left.append(Exclusion(found.id, UNNAMED, found.ref.paths[0], aside=True))
        elif found.single:
            yield from (replace(case, id=name, images=(ref,)) for name, ref in found.single)
        else:
            yield case

    def _whole(self, found: Found) -> Case | None:
        targets: tuple[Target, ...] = () if self._reader is None else (self._reader.read(found),)
        if found.mask is not None:
            targets = (*targets, found.mask)
        images: tuple[ImageRef, ...] = (found.ref,)
        case = Case(found.id, images, targets)
        if self._table is not None:
            row = self._table.row_of(found)
            if row is None:
                return None
            line, cells = row
            table = self._table
            theirs = tuple(targets_of(cells, line, table.columns, table.reader, table.path))
            case = case_of(found.id, images, (*targets, *theirs), cells, table.columns, f"{table.path}:{line}")
        patient = None if found.patient in self._nobody else found.patient.strip() or None
        # Where nobody knows the patient, images of one study are at least of one person.
        cluster = case.cluster or (found.study or None if patient is None else None)
        attributes = {**attributes_of(found, self._header), **case.attributes}
        return replace(case, patient=patient, study=found.study or None, cluster=cluster, attributes=attributes)

    def remarks(self, found: Sequence[Found], label: str | None) -> Iterator[str]:
        """What a user should know of the patients and the labels."""
        nobody = sum(f.patient in self._nobody for f in found)
        if nobody:
            text = plural(nobody, "image has", "images have")
            yield f"{text} a patient id that says nothing: whose they are is unknown"
        if self._reader is None:
            return
        reader = self._reader
        blank = sum(not f.values for f in found)
        several = sum(len(f.values) > 1 for f in found)
        silent = sum(reader.read(f).missing for f in found) - blank - several
        texts = [
            f"{count:,} {text}"
            for count, text in ((blank, "blank"), (silent, "that say nothing"), (several, "that differ within a stack"))
            if count
        ]
        if texts:
            yield f"{label} of {len(found):,} images: {', '.join(texts)}; these have no label"
