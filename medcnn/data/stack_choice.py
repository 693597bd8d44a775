"""Which stacks of DICOM become images: the recipe's rule, applied to what headers say before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medcnn.data.dicom_sources import Listing
from medcnn.data.images.dicom_classes import NO_PIXELS
from medcnn.data.images.sniff import RASTER_SUFFIXES, sniff
from medcnn.data.images.stack_rule import ANY, StackRule, pick
from medcnn.data.images.stacks import Stack, stacks_of
from medcnn.data.series_index import SeriesIndex, Unread
from medcnn.errors import ImageError
from medcnn.progress import Progress
from medcnn.types import Case, Dataset, Exclusion, ImageRef

CUT_SHORT = "a file of the series holds no pixels (a truncated file?)"
NOT_ASKED = "not a stack that the rule asks for"
_NO_DICOM = (*RASTER_SUFFIXES, ".npz", ".nii", ".gz", ".nrrd", ".mha", ".mnc")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a rule makes of stacks that belong together.

    Attributes:
        picked: The one that is meant, or single images (radiographs) that are each an image of their own.
        left: All others that are no fault, each with what it is.
        failed: Why none could be picked, and where; ``None`` where one could, or none is asked for.
    """

    picked: tuple[Stack, ...]
    left: tuple[tuple[Stack, str], ...]
    failed: ImageError | None = None


def choose(stacks: Sequence[Stack], rule: StackRule | None, *, single: bool = False, where: str = "") -> Choice:
    """Apply a rule to the stacks of a series, a study or a patient.

    Args:
        stacks: All that there are.
        rule: ``None`` asks for images, of which there may be one alone.
        single: Whether exactly one is wanted, so that of several radiographs one must be picked too.
        where: How messages call the whole.
    """
    wanted = rule or ANY
    fitting = [s for s in stacks if wanted.matches(s)]
    if not fitting:
        return Choice((), _left(stacks, wanted))
    if not single and wanted.prefer is None and all(s.flat for s in fitting):
        picked = fitting
    else:
        try:
            picked = [pick(stacks, wanted, where)]
        except ImageError as error:
            return Choice((), _left([s for s in stacks if s not in fitting], wanted), error)
    left = _left([s for s in stacks if s not in picked], wanted)
    failed = next((fault for s in picked if (fault := _fault(s, stacks, where)) is not None), None)
    return Choice(tuple(s for s in picked if _fault(s, stacks, where) is None), left, failed)


def _fault(stack: Stack, stacks: Sequence[Stack], where: str) -> ImageError | None:
    """What is wrong with a stack: it is no volume, or a file of its series was cut short, perhaps one of its slices."""
    if stack.problem:
        return ImageError(stack.problem, where=stack.where or where, todo=stack.todo)
    series = stack.header.series
    cut = next((s for s in stacks if s.kind == NO_PIXELS and s.header.series == series and not stack.flat), None)
    if cut is None or not series:
        return None
    return ImageError(CUT_SHORT, where=cut.header.path, todo="copy the file anew, or remove it")


def _left(stacks: Iterable[Stack], rule: StackRule) -> tuple[tuple[Stack, str], ...]:
    return tuple((s, s.kind if rule.kind is not None and s.kind != rule.kind else NOT_ASKED) for s in stacks)


def rule_of(values: Mapping[str, Any] | None) -> StackRule | None:
    """The rule of a recipe's plain values, as a model file holds them too.

    Raises:
        DataError: If a name is unknown or a value has the wrong type.
    """
    return None if values is None else StackRule.of(values)


def with_stacks(dataset: Dataset, rule: StackRule, base: Path, progress: Progress) -> Dataset:
    """A dataset whose DICOM images are the stacks that a rule picks; cases without one become exclusions."""
    cases, exclusions = choose_stacks(dataset.cases, rule, base, progress)
    return replace(dataset, cases=tuple(cases), exclusions=(*dataset.exclusions, *exclusions))


def choose_stacks(
    cases: Sequence[Case], rule: StackRule, base: Path, progress: Progress
) -> tuple[list[Case], list[Exclusion]]:
    """For each image of DICOM files the stack that a rule picks; other images stay as they are.

    Args:
        cases: Cases that name files of DICOM: one, or those of a folder.
        rule: The recipe's.
        base: Folder of the data, below whose name the headers are remembered.
        progress: Advanced by one a header that is read.

    Returns:
        The cases with exact files, and those for which the rule picks none or several.
    """
    open_refs = {ref for case in cases for ref in case.images if _undecided(ref)}
    files = dict.fromkeys(path for ref in open_refs for path in ref.paths)
    if not files:
        return list(cases), []
    kept: list[Case] = []
    exclusions: list[Exclusion] = []
    with SeriesIndex(Listing(base, tuple(files)), progress=progress) as index:
        for case in cases:
            try:
                images = tuple(_decide(ref, rule, index) if ref in open_refs else ref for ref in case.images)
            except ImageError as error:
                exclusions.append(Exclusion(case.id, error.what, error.where or case.images[0].paths[0]))
            else:
                kept.append(replace(case, images=images))
    return kept, exclusions


def _undecided(ref: ImageRef) -> bool:
    """Whether a reference is DICOM that does not say which stack is meant."""
    if not ref.paths or ref.index is not None or ref.key is not None or ref.reader not in ("auto", "dicom"):
        return False
    if ref.reader == "dicom":
        return True
    try:
        return not ref.paths[0].lower().endswith(_NO_DICOM) and sniff(ref.paths[0]) == "dicom"
    except ImageError:
        # What is wrong with it the reading of its pixels says.
        return False


def _decide(ref: ImageRef, rule: StackRule, index: SeriesIndex) -> ImageRef:
    entries = index.entries(ref.paths)
    unread = next((e for e in entries if isinstance(e, Unread)), None)
    if unread is not None:
        raise ImageError(unread.reason, where=unread.path, todo=unread.todo)
    headers = [e.header for e in entries if not isinstance(e, Unread)]
    cut = next((h for h in headers if h.kind == NO_PIXELS), None)
    if cut is not None:
        raise ImageError(CUT_SHORT, where=cut.path, todo="copy the file anew, or remove it")
    stacks = stacks_of(headers)
    where = ref.paths[0] if len(ref.paths) == 1 else str(Path(ref.paths[0]).parent)
    stack = pick(stacks, rule, where)
    if stack.problem:
        raise ImageError(stack.problem, where=stack.where or where, todo=stack.todo)
    return stack.ref()
