"""DICOM files of any number of studies and series as cases: one a volume."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medcnn.data.dicom_sources import Listing
from medcnn.data.images.dicom_classes import NO_PIXELS
from medcnn.data.images.stack_rule import StackRule
from medcnn.data.images.stacks import Stack, stacks_of
from medcnn.data.mask_files import told_apart
from medcnn.data.series_index import SeriesIndex
from medcnn.data.stack_choice import CUT_SHORT, NOT_ASKED, choose
from medcnn.progress import Progress
from medcnn.types import Case, Exclusion, ImageRef


@dataclass(frozen=True, slots=True)
class Found:
    """What DICOM files are.

    Attributes:
        cases: One a volume, in the order of their first files.
        unusable: Series of which no volume can be made and files that cannot be read, each with the reason.
        passed_over: Objects that are no images, localizers, and what the rule does not ask for.
    """

    cases: tuple[Case, ...]
    unusable: tuple[Exclusion, ...]
    passed_over: tuple[Exclusion, ...]


@dataclass(frozen=True, slots=True)
class _Series:
    """A series, or one of its stacks, with what is to become of it; no reference where there is a reason."""

    files: tuple[str, ...]
    number: int | None
    ref: ImageRef | None
    reason: str = ""
    where: str = ""


def series_cases(files: Sequence[str], rule: StackRule | None, progress: Progress) -> Found:
    """Group files by series and find the volume of each, from headers alone.

    A case is called after its file, after its folder where that holds nothing else, and else after the folder and
    the number of the series.

    Args:
        files: DICOM files.
        rule: Which stacks are meant; ``None`` for the only image of each series.
        progress: Advanced by one a header that is read.
    """
    paths = [os.path.abspath(path) for path in files]
    given = dict(zip(paths, files, strict=True))
    base = os.path.commonpath([os.path.dirname(path) for path in paths])
    series: list[_Series] = []
    unusable: list[Exclusion] = []
    passed: list[Exclusion] = []
    with SeriesIndex(Listing(Path(base), tuple(paths)), progress=progress) as index:
        for entries in index.groups("series"):
            stacks = stacks_of(entry.header for entry in entries)
            chosen = choose(stacks, rule, where=given[entries[0].header.path])
            series += [_picked(stack, given) for stack in chosen.picked]
            if chosen.failed is not None:
                names = tuple(given[entry.header.path] for entry in entries)
                fault = chosen.failed
                reason = "; ".join(part for part in (fault.what, fault.todo) if part)
                series.append(_Series(names, stacks[0].header.series_number, None, reason, fault.where or names[0]))
            for stack, reason in chosen.left:
                left = _left(stack, reason, given)
                (passed if left.aside else unusable).append(left)
        for unread in index.unread():
            path = given.get(unread.path, unread.path)
            target = passed if unread.aside else unusable
            target.append(Exclusion(path, unread.reason, path, aside=unread.aside))
    series.sort(key=lambda one: one.files[0])
    cases: list[Case] = []
    for one, name in zip(series, _names(series, list(given.values())), strict=True):
        if one.ref is not None:
            cases.append(Case(name, (one.ref,)))
        else:
            unusable.append(Exclusion(name, one.reason, one.where))
    return Found(tuple(cases), tuple(unusable), tuple(passed))


def _picked(stack: Stack, given: dict[str, str]) -> _Series:
    ref = stack.ref()
    files = tuple(given[path] for path in ref.paths)
    return _Series(tuple(sorted(files)), stack.header.series_number, ImageRef(files, ref.reader, ref.key))


def _left(stack: Stack, reason: str, given: dict[str, str]) -> Exclusion:
    path = given[stack.paths[0]]
    if reason == NO_PIXELS:
        return Exclusion(path, CUT_SHORT, path)
    why = reason if reason == NOT_ASKED else f"{reason}: no image to predict"
    return Exclusion(path, why, path, aside=True)


def _names(series: Sequence[_Series], files: Sequence[str]) -> list[str]:
    """A name for each series: its file, its folder, or its folder and number."""
    in_folder = Counter(os.path.dirname(path) for path in files)
    parts = Counter(path for one in series for path in one.files)
    found = []
    for one in series:
        folders = {os.path.dirname(path) for path in one.files}
        folder = folders.pop() if len(folders) == 1 else os.path.commonpath([os.path.abspath(f) for f in folders])
        # Several stacks of one file are told apart by their number.
        alone = all(parts[path] == 1 for path in one.files)
        if alone and len(one.files) == 1:
            found.append(one.files[0])
        elif alone and not folders and in_folder[folder] == len(one.files):
            found.append(folder or ".")
        else:
            number = "" if one.number is None else f"-{one.number}"
            found.append(os.path.join(folder, f"series{number}"))
    return told_apart(found)
