"""Masks in a tree of DICOM: segmentations and structure sets, matched to the series that they refer to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medcnn.data.adapters.mask_labels import ABSENT, BACKGROUND, IGNORED, Names, mask_schema
from medcnn.data.dicom_sources import relative
from medcnn.data.grouping import plural, printable
from medcnn.data.header_rows import Entry
from medcnn.data.images.dicom_header import Header
from medcnn.data.images.stacks import Stack
from medcnn.data.labels.drawn import Listed, list_drawn
from medcnn.data.labels.naming import Naming, NoLabelError
from medcnn.errors import DataError, ImageError
from medcnn.types import Exclusion, ImageRef, LabelSchema, Mask

Several = Literal["error", "merge", "readers", "last"]
Unlisted = Literal["ignore", "absent"]
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """What the adapter's options say of masks.

    Attributes:
        schema: The labels.
        names: What stands for each in the files.
        kind: ``segmentation`` or ``structure set`` alone; ``None`` takes both.
        several: What is done with several masks of one series.
        threshold: Share from which fractional segments are present.
    """

    schema: LabelSchema
    names: Names
    kind: str | None
    several: Several
    threshold: float

    @classmethod
    def of(
        cls,
        wanted: Mapping[str, int | str | tuple[int | str, ...]] | None,
        overlapping: bool,
        kind: Literal["segmentation", "structure set"] | None,
        several: Several,
        unlisted: Unlisted,
        threshold: float,
    ) -> MaskOptions | None:
        """From the options; ``None`` where no masks are asked for.

        Raises:
            DataError: If they make no sense.
        """
        if wanted is None:
            return None
        if not 0 < threshold <= 1:
            raise DataError(f"the threshold is {threshold:g}", where="threshold", todo="give a share of the maximum")
        pairs: list[tuple[str, str]] = []
        for name, given in wanted.items():
            sources = given if isinstance(given, tuple) else (given,)
            if not sources or not all(str(s).strip() for s in sources):
                raise DataError(f"nothing stands for the label {name!r}", where="mask_labels")
            pairs += [(str(source).strip(), name) for source in sources]
        labels = [name for name in wanted if name not in (BACKGROUND, IGNORED)]
        if unlisted == "absent":
            pairs += [(ABSENT, name) for name in labels]
        return cls(mask_schema(labels, overlapping=overlapping), tuple(pairs), kind, several, threshold)


@dataclass
class Masks:
    """The masks of a tree and the images they belong to.

    Attributes:
        options: What is wanted.
        base: Folder that names count from.
        drawn: Segmentations and structure sets by the series that they refer to.
        used: Files that became masks.
        automatic: How many labels were made by a program, by name.
        empty: How many structures have no contours, by name.
        aside: How many segments or structures no label takes, by name.
    """

    options: MaskOptions
    base: Path
    drawn: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    used: set[str] = field(default_factory=set)
    automatic: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    aside: Counter[str] = field(default_factory=Counter)
    _unplaced: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    _all: list[Entry] = field(default_factory=list)
    _series: set[str] = field(default_factory=set)

    @property
    def files(self) -> set[str]:
        """All files of masks, used or not."""
        return {entry.header.path for entry in self._all}

    def add(self, entries: Iterable[Entry]) -> None:
        """Take up segmentations and structure sets of the wanted kind."""
        for entry in entries:
            if self.options.kind not in (None, entry.header.kind) or entry.references is None:
                continue
            self._all.append(entry)
            for series in entry.references.series:
                self.drawn[series].append(entry)
            if not entry.references.series:
                for instance in entry.references.instances:
                    self._unplaced[instance].append(entry)

    def place(self, headers: Iterable[Header]) -> None:
        """See the images of a series; masks that name images and no series are matched by them."""
        for header in headers:
            self._series.add(header.series)
            for entry in self._unplaced.get(header.sop, ()):
                if entry not in self.drawn[header.series]:
                    self.drawn[header.series].append(entry)

    def of(self, stack: Stack) -> Mask | Exclusion | None:
        """The mask of an image; ``None`` where nobody drew one."""
        header = stack.header
        found = [e for e in self.drawn.get(header.series, ()) if _about(e, stack)]
        entries = sorted(found, key=lambda e: (_number(e), e.header.path))
        if not entries:
            return None
        # What is drawn on an image is no exclusion of its own, whatever becomes of it.
        self.used |= {e.header.path for e in entries}
        fitting: list[tuple[Entry, Listed]] = []
        nothing = ""
        for entry in entries:
            listed = self._listed(entry, header)
            if isinstance(listed, Listed):
                fitting.append((entry, listed))
            elif isinstance(listed, NoLabelError):
                nothing = listed.what
            else:
                return Exclusion("", listed.what, listed.where or entry.header.path)
        if not fitting:
            return Exclusion("", nothing, entries[0].header.path)
        if len(fitting) > 1 and self.options.several == "error":
            names = ", ".join(relative(e.header.path, self.base) for e, _ in fitting[:4])
            more = f" and {len(fitting) - 4} more" if len(fitting) > 4 else ""
            reason = f"{len(fitting)} masks are drawn on it: {names}{more}; say which by the option several_masks"
            return Exclusion("", printable(reason), fitting[0][0].header.path)
        return self._made(fitting)

    def _listed(self, entry: Entry, header: Header) -> Listed | ImageError:
        """What a file lists, if it is for this image and has one of the labels."""
        path, references = entry.header.path, entry.references
        frame = header.frame_of_reference
        if references is not None and frame and references.frames and frame not in references.frames:
            return ImageError("the mask was drawn in another frame of reference than that of the image", where=path)
        try:
            found = list_drawn(path)
            Naming.of(found.named, self.options.schema, self.options.names, path, found.noun)
        except ImageError as error:
            return error
        return found

    def _made(self, fitting: Sequence[tuple[Entry, Listed]]) -> Mask:
        chosen = fitting[-1:] if self.options.several == "last" else fitting
        for entry, found in chosen:
            path = entry.header.path
            naming = Naming.of(found.named, self.options.schema, self.options.names, path, found.noun)
            self.automatic.update(
                n.label for n in found.named if n.algorithm == "AUTOMATIC" and n.number in naming.positions
            )
            self.aside.update(naming.aside)
            self.empty.update(found.empty)
        paths = [entry.header.path for entry, _ in chosen]
        key = None if self.options.threshold == 0.5 else f"threshold={self.options.threshold:g}"
        if self.options.several == "merge":
            return Mask(ImageRef(tuple(paths), "dicom", key), self.options.names)
        refs = [ImageRef((path,), "dicom", key) for path in paths]
        return Mask(refs[0], self.options.names, tuple(refs[1:]))

    def exclusions(self) -> Iterator[Exclusion]:
        """Masks whose image is not in the tree; after all images were asked for."""
        for entry in self._all:
            if entry.header.path not in self.used:
                name, path = printable(relative(entry.header.path, self.base)), entry.header.path
                referred = entry.references.series if entry.references is not None else ()
                if self._series & set(referred):
                    yield Exclusion(name, f"{entry.header.kind} of a series that is no case", path, aside=True)
                else:
                    yield Exclusion(name, f"the series that this {entry.header.kind} refers to is not there", path)

    def require_some(self, cases: int, masks: int, reasons: Sequence[Exclusion], root: Path) -> None:
        """Raises where no image got a mask, with what is there instead.

        Raises:
            DataError: If so.
        """
        if masks or not cases:
            return
        if not self._all:
            kind = self.options.kind or "segmentation or structure set"
            raise DataError(
                f"there is no {kind} in the folder",
                where=str(root),
                todo="leave out mask_labels, or name another folder",
            )
        if reasons:
            raise DataError(
                f"no image has a mask that can be used; the first: {reasons[0].reason}",
                where=reasons[0].path,
                todo="say in mask_labels what the labels are called in the files; * stands for any letters",
            )
        raise DataError(
            f"{plural(len(self._all), 'mask refers', 'masks refer')} to series that are not in the folder",
            where=self._all[0].header.path,
            todo="put the images that they were drawn on beside them",
        )

    def remarks(self) -> Iterator[str]:
        """What a user should know of the masks."""
        for counter, text in (
            (self.automatic, "of the labels were made by a program (AUTOMATIC)"),
            (self.empty, "structures have no contours, as if they were not listed"),
            (self.aside, "segments or structures are left aside"),
        ):
            if counter:
                listed = ", ".join(f"{printable(n)} ({c:,})" for n, c in counter.most_common(_SHOWN))
                more = f" and {len(counter) - _SHOWN:,} more" if len(counter) > _SHOWN else ""
                yield f"{sum(counter.values()):,} {text}: {listed}{more}"


def _about(entry: Entry, stack: Stack) -> bool:
    """Whether a mask of a series is of this image: of single images (radiographs) it names the one that it is of."""
    references = entry.references
    if references is None or not references.instances or not stack.flat:
        return True
    return any(h.sop in references.instances for h in stack.headers)


def _number(entry: Entry) -> tuple[str, int, int]:
    """By which masks of one series are sorted: date, series, instance."""
    header = entry.header
    return (dict(header.extra).get("SeriesDate", ""), header.series_number or 0, header.instance or 0)
