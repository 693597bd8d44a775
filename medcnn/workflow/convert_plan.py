"""What a conversion is to do, from headers alone: which stacks, and what is said of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medcnn.data.dicom_sources import Listing, relative
from medcnn.data.grouping import dummy_ids, printable
from medcnn.data.header_rows import Entry
from medcnn.data.images.dicom_classes import IMAGE
from medcnn.data.images.stack_rule import ANY, StackRule, pick
from medcnn.data.images.stacks import Stack, stacks_of
from medcnn.data.series_index import SeriesIndex, Unit
from medcnn.data.stack_choice import NOT_ASKED
from medcnn.errors import DataError, ImageError
from medcnn.types import Exclusion
from medcnn.workflow.convert_names import stem_of
from medcnn.workflow.convert_table import Row, row_of

_NO_PIXELS = "image without pixels"
_LOST = "the object says that it is an image, but it holds no pixels (a truncated file?)"
_BURNED = (
    "it says that text is burned into its pixels (BurnedInAnnotation), which may name the patient; --allow-burned-in "
    "takes it all the same"
)
# Pictures of a screen: what they show often names the patient, whatever the header says.
_SCREENS = ("US", "SC", "OT", "XA", "RF", "ES", "XC")


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """What is wanted of a conversion.

    Attributes:
        rule: Which stacks; ``None``: every image.
        one_per: Of what a rule with ``prefer`` picks one stack.
        straighten: Resample stacks of a tilted gantry to right angles.
        pseudonymise: Write nothing that tells who the patient is.
        private: Folder of the key and the map; by default beside ``out``.
        allow_burned_in: Convert images too that say that text is burned into them, though pseudonyms are wanted.
        overwrite: Replace files that are there; with ``resume`` those that this conversion would not write so.
        resume: Keep files that are there as this conversion would write them.
        stop: End at the first stack that cannot be converted.
    """

    rule: StackRule | None = None
    one_per: Unit = "series"
    straighten: bool = False
    pseudonymise: bool = False
    private: Path | None = None
    allow_burned_in: bool = False
    overwrite: bool = False
    resume: bool = False
    stop: bool = False


@dataclass(frozen=True, slots=True)
class Sorted:
    """What is to be done with the stacks of a series, a study or a patient; reasons beside the others."""

    wanted: tuple[Stack, ...]
    left: tuple[tuple[Stack, str], ...] = ()
    failed: tuple[tuple[Stack, str], ...] = ()


def sort_out(stacks: Sequence[Stack], options: ConvertOptions) -> Sorted:
    """Which stacks a rule means, and why the others are left aside or cannot be converted.

    All that fit are wanted, unless the rule prefers one.
    """
    rule = options.rule or ANY
    # An image that lost its pixels was meant as one.
    lost = replace(rule, kind=_NO_PIXELS, least_slices=0)
    failed = [(s, _LOST) for s in stacks if rule.kind in (None, IMAGE) and lost.matches(s)]
    fitting = [s for s in stacks if rule.matches(s)]
    # By identity: stacks hold arrays, which have no one answer to whether they are equal.
    known = {id(s) for s in fitting} | {id(s) for s, _ in failed}
    left = [(s, NOT_ASKED if rule.kind in (None, s.kind) else s.kind) for s in stacks if id(s) not in known]
    if rule.prefer is not None and len(fitting) > 1:
        try:
            picked = pick(fitting, rule)
        except ImageError as error:
            return Sorted((), tuple(left), (*failed, *((s, error.what) for s in fitting)))
        left += [(s, NOT_ASKED) for s in fitting if s is not picked]
        fitting = [picked]
    wanted = []
    for stack in fitting:
        burned = any(h.burned_in.upper() == "YES" for h in stack.headers)
        refused = burned and options.pseudonymise and not options.allow_burned_in
        if reason := stack.problem or (_BURNED if refused else ""):
            failed.append((stack, reason))
        else:
            wanted.append(stack)
    return Sorted(tuple(wanted), tuple(left), tuple(failed))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stack that will be converted, by what its name is made of.

    Attributes:
        patient: PatientID.
        study: What stands for the study: its UID, or that of the series, or the file.
        date: StudyDate.
        stem: Name of its file without its end.
    """

    patient: str
    study: str
    date: str
    stem: str


@dataclass(slots=True)
class Plan:
    """What the headers say.

    Attributes:
        wanted: The stacks that will be converted, in the order of :meth:`stacks`.
        rows: Of those that will not.
        failed: Of these the faults.
        left: Of these the others, by reason.
        identifying: Number of files by the element that names, dates or shows a person.
        screens: Stacks wanted that show a screen and do not say whether text is burned in.
        recognizable: Stacks wanted that say that features of the person can be recognized.
    """

    wanted: list[Wanted] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    failed: list[Exclusion] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    identifying: Counter[str] = field(default_factory=Counter)
    screens: int = 0
    recognizable: int = 0


class Planner:
    """Goes over the headers; memory holds a group at a time.

    Args:
        index: The headers.
        listing: What they are of.
        options: What is wanted.
    """

    def __init__(self, index: SeriesIndex, listing: Listing, options: ConvertOptions) -> None:
        self._index, self._listing, self._options = index, listing, options
        self.plan = Plan()

    def read(self) -> None:
        """Fill the plan.

        Raises:
            DataError: If there is no DICOM, or, where the options say so, if a stack cannot be converted.
        """
        plan = self.plan
        for path, reason, aside in self._without_header():
            if aside:
                plan.left[reason.partition(":")[0]] += 1
            else:
                plan.rows.append(Row(source=path, files="1", reason=reason))
                self.fail(path, reason)
        if not self._index.kinds().total():
            reasons = Counter(e.reason for e in plan.failed) + plan.left
            first = "".join(f"; {count:,}: {reason}" for reason, count in reasons.most_common(3))
            raise DataError(f"no DICOM file was found{first}", where=str(self._listing.base))
        for entries in self._index.groups(self._options.one_per):
            self._add(entries)

    def stacks(self) -> Iterator[Stack]:
        """The stacks to convert, one after the other."""
        for entries in self._index.groups(self._options.one_per):
            yield from self._sort(entries).wanted

    def nobody(self) -> frozenset[str]:
        """Patient ids that say nothing."""
        return dummy_ids({w.patient for w in self.plan.wanted})

    def refuse(self, stack: Stack, reason: str, where: str = "") -> None:
        """Note a stack that cannot be converted."""
        place = where or stack.where or min(stack.paths)
        self.plan.rows.append(row_of(stack, reason=reason))
        self.fail(place, reason)

    def fail(self, path: str, reason: str) -> None:
        """Note a fault; raise where the first is to end the conversion."""
        if self._options.stop:
            raise DataError(reason, where=path, todo="mend it, or leave out --on-error stop")
        self.plan.failed.append(Exclusion(printable(relative(path, self._listing.base)), reason, path))

    def _without_header(self) -> Iterator[tuple[str, str, bool]]:
        for one in self._listing.passed_over:
            yield printable(one.path or one.case), printable(one.reason), one.aside
        for unread in self._index.unread():
            yield printable(unread.path), printable(unread.reason), unread.aside

    def _sort(self, entries: Sequence[Entry]) -> Sorted:
        return sort_out(stacks_of(entry.header for entry in entries), self._options)

    def _add(self, entries: Sequence[Entry]) -> None:
        plan, found = self.plan, self._sort(entries)
        plan.identifying.update(keyword for entry in entries for keyword in entry.identifying)
        shown = {e.header.path for e in entries if "RecognizableVisualFeatures" in e.identifying}
        for stack, reason in found.failed:
            self.refuse(stack, reason)
        for stack, reason in found.left:
            plan.left[reason] += 1
            plan.rows.append(row_of(stack, reason=reason))
        for stack in found.wanted:
            header = stack.header
            study = header.study or header.series or header.path
            stem = stem_of(stack, private=self._options.pseudonymise)
            plan.wanted.append(Wanted(header.patient, study, header.study_date, stem))
            silent = all(h.burned_in.upper() not in ("YES", "NO") for h in stack.headers)
            plan.screens += silent and (stack.kind != IMAGE or header.modality in _SCREENS)
            plan.recognizable += not shown.isdisjoint(h.path for h in stack.headers)
