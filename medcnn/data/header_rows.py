"""One DICOM file as a row of the index: its header as JSON, who it says the patient is, and what it was drawn on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from medcnn.data.grouping import printable
from medcnn.data.images.dicom_file import items, open_file, quiet, text
from medcnn.data.images.dicom_header import Header, Slice, header_of
from medcnn.data.images.limits import file_state
from medcnn.data.images.privacy import identifying_headers
from medcnn.data.images.sniff import KINDS, sniff
from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

# Kinds whose objects are drawn on images, so that the index keeps on which.
DRAWN: Final = ("segmentation", "structure set")

_HEADER = tuple(f.name for f in fields(Header) if f.name not in ("path", "extra", "slices"))
_SLICE = tuple(f.name for f in fields(Slice) if f.name != "path")
# Where segmentations and structure sets say what they belong to (PS3.3, C.8.20 and C.8.8.5).
_NESTED: Final = (
    "ReferencedSeriesSequence", "ReferencedInstanceSequence", "SourceImageSequence", "DerivationImageSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ReferencedFrameOfReferenceSequence",
    "RTReferencedStudySequence", "RTReferencedSeriesSequence", "ContourImageSequence", "StructureSetROISequence",
)  # fmt: skip


# Those whose items are references to images.
_IMAGES: Final = ("ReferencedInstanceSequence", "SourceImageSequence", "ContourImageSequence")
# Long lists, which are looked at only where the short ones name no image.
_CONTOURS: Final = ("ROIContourSequence", "ContourSequence", "ContourImageSequence")


class Row(NamedTuple):
    """A file as the index keeps it.

    Attributes:
        name: The path, encoded for the file system.
        size: Bytes.
        changed: Time of the last change in ns.
        number: Of the file (inode).
        patient: PatientID.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        kind: ``image``, ``localizer``, ...; empty for what is no DICOM object.
        content: The header as JSON; empty where there is none.
        reason: Why there is none.
        todo: What can be done about it.
        aside: 1 where the file is not DICOM at all, rather than a broken one.
    """

    name: bytes
    size: int
    changed: int
    number: int
    patient: str = ""
    study: str = ""
    series: str = ""
    kind: str = ""
    content: str = ""
    reason: str = ""
    todo: str = ""
    aside: int = 0


@dataclass(frozen=True, slots=True)
class References:
    """What a segmentation or structure set was drawn on.

    Attributes:
        series: SeriesInstanceUIDs.
        instances: SOPInstanceUIDs.
        frames: FrameOfReferenceUIDs.
    """

    series: tuple[str, ...]
    instances: tuple[str, ...]
    frames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A DICOM file of the index.

    Attributes:
        header: Its header; ``extra`` holds the further elements that the index was asked for.
        identifying: Keywords of elements that name, date or show a person.
        references: What it was drawn on; ``None`` for what is neither segmentation nor structure set.
    """

    header: Header
    identifying: tuple[str, ...]
    references: References | None


def stamp(path: str) -> tuple[int, int, int]:
    """Size, time of change and number of a file, as a database holds them.

    Raises:
        ImageError: If it is missing or no regular file.
    """
    size, changed, number = file_state(path)
    return size, changed, number & (2**63 - 1)


def scan_row(path: str, name: bytes, extra: Sequence[str] = ()) -> Row:
    """Read the header of one file, never its pixels.

    Args:
        path: Where it is.
        name: What the index calls it.
        extra: Keywords of further elements to keep.
    """
    place = (0, 0, 0)
    try:
        place = stamp(path)
        try:
            kind = sniff(path)
        except ImageError as error:
            return Row(name, *place, reason=error.what, todo=error.todo, aside=int("not an image" in error.what))
        if kind != "dicom":
            return Row(name, *place, reason=f"not DICOM: {KINDS[kind]}", aside=1)
        with quiet():
            return _read(path, name, extra)
    except ImageError as error:
        return Row(name, *place, reason=error.what, todo=error.todo)
    except Exception as error:
        # One strange header among thousands must not end the scan.
        reason = f"the header cannot be read: {type(error).__name__}: {error}".splitlines()[0]
        return Row(name, *place, reason=printable(reason))


def _read(path: str, name: bytes, extra: Sequence[str]) -> Row:
    source = open_file(path)
    header = header_of(source, extra)
    references = references_of(source.dataset) if header.kind in DRAWN else None
    content = pack(Entry(header, identifying_headers(source.dataset), references))
    size, changed, number = source.state
    return Row(
        name,
        size,
        changed,
        number & (2**63 - 1),
        printable(header.patient),
        printable(header.study),
        printable(header.series),
        header.kind,
        content,
    )


def references_of(dataset: Dataset) -> References:
    """The series, instances and frames of reference that a segmentation or structure set names."""
    series: dict[str, None] = {}
    instances: dict[str, None] = {}
    frames: dict[str, None] = {}
    for inside, one in _nested(dataset, _NESTED):
        for found, key in (
            (series, "SeriesInstanceUID" if inside else ""),
            (instances, "ReferencedSOPInstanceUID" if inside in _IMAGES else ""),
            (frames, "FrameOfReferenceUID"),
            (frames, "ReferencedFrameOfReferenceUID"),
        ):
            if key and (uid := text(one, key)):
                found[uid] = None
    if not instances:
        contours = (text(o, "ReferencedSOPInstanceUID") for i, o in _nested(dataset, _CONTOURS) if i in _IMAGES)
        instances = dict.fromkeys(uid for uid in contours if uid)
    return References(tuple(series), tuple(instances), tuple(frames))


def _nested(dataset: Dataset, keys: Sequence[str], inside: str = "", depth: int = 0) -> Iterator[tuple[str, Dataset]]:
    """A data set and the items of these sequences, each with the sequence that it stands in."""
    yield inside, dataset
    if depth < 8:
        for key in keys:
            for item in items(dataset, key):
                yield from _nested(item, keys, key, depth + 1)


def pack(entry: Entry) -> str:
    """An entry as JSON, without its path."""
    header, drawn = entry.header, entry.references
    return json.dumps(
        {
            "header": [getattr(header, name) for name in _HEADER],
            "extra": dict(header.extra),
            "slices": [[getattr(one, name) for name in _SLICE] for one in header.slices],
            "identifying": entry.identifying,
            "references": None if drawn is None else [drawn.series, drawn.instances, drawn.frames],
        },
        separators=(",", ":"),
    )


def unpack(content: str, path: str) -> Entry:
    """The entry of a file from its JSON.

    Raises:
        ValueError, KeyError or TypeError: If the JSON is of another make.
    """
    found = json.loads(content)
    slices = tuple(
        Slice(path=path, **dict(zip(_SLICE, map(_plain, values), strict=True))) for values in found["slices"]
    )
    header = Header(
        path=path,
        extra=tuple((key, value) for key, value in found["extra"].items()),
        slices=slices,
        **dict(zip(_HEADER, map(_plain, found["header"]), strict=True)),
    )
    drawn = found["references"]
    references = None if drawn is None else References(*(tuple(part) for part in drawn))
    return Entry(header, tuple(found["identifying"]), references)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
