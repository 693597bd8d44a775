"""The header of a DICOM file as plain values that pickle: what lists, stacks and labels need, without pixels."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medcnn.data.images import dicom_tags as tags
from medcnn.data.images.dicom_classes import kind_of
from medcnn.data.images.dicom_file import Source, group, items, numbers, open_file, quiet, text, value_of, whole
from medcnn.data.images.dicom_format import frame_count
from medcnn.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_SPACING_TAGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame: where it lies and what tells it from others; lengths in mm, directions and positions in LPS.

    Attributes:
        path: The file.
        frame: Which frame of the file.
        orientation: ImageOrientationPatient, six numbers.
        position: ImagePositionPatient, three numbers.
        spacing: Between rows, then between columns.
        spacing_source: The tag that ``spacing`` comes from; empty where there is none.
        thickness: SpacingBetweenSlices, else SliceThickness.
        firm: Values of :data:`~medcnn.data.images.dicom_tags.FIRM`, which always tell stacks apart.
        loose: Values of :data:`~medcnn.data.images.dicom_tags.LOOSE`, which do where slices share a place.
    """

    path: str
    frame: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    spacing_source: str
    thickness: float | None
    firm: tuple[str, ...]
    loose: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What a DICOM file says of itself. Patient, UIDs, dates and descriptions stay in local files.

    Attributes:
        path: The file.
        state: Size, time of change (ns) and number of the file when it was read.
        kind: ``image``, ``localizer``, ``secondary capture``, ``dose report``, ``segmentation``, ...
        shape: Rows and columns; zeros where the object has no pixels.
        samples: 1, or 3 for colour.
        frames: Number of frames; 0 where the object has no pixels.
        syntax: Transfer syntax UID.
        personal: Keywords of elements that name or date a person and are not empty.
        burned_in: BurnedInAnnotation as it stands there.
        extra: The further elements that were asked for, by keyword, as text.
        slices: One entry a frame.
    """

    path: str
    state: tuple[int, int, int]
    kind: str
    sop_class: str
    sop: str
    series: str
    study: str
    patient: str
    frame_of_reference: str
    modality: str
    image_type: tuple[str, ...]
    shape: tuple[int, int]
    samples: int
    frames: int
    photometric: str
    bits: int
    syntax: str
    series_number: int | None
    instance: int | None
    description: str
    protocol: str
    study_description: str
    study_date: str
    body_part: str
    view: str
    laterality: str
    personal: tuple[str, ...]
    burned_in: str
    extra: tuple[tuple[str, str], ...]
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that is no readable DICOM object, and why."""

    path: str
    reason: str
    todo: str = ""


def scan_file(path: str, extra: Sequence[str] = ()) -> Header | Refusal:
    """Read the header of one file, never its pixels; made for many thousands of files in worker processes.

    Args:
        path: Any file.
        extra: Keywords of further elements to keep as text.

    Returns:
        The header, or the reason why there is none.
    """
    from medcnn.data.images.sniff import KINDS, sniff

    try:
        if (kind := sniff(path)) != "dicom":
            return Refusal(path, f"not DICOM: {KINDS[kind]}")
        with quiet():
            return header_of(open_file(path), extra)
    except ImageError as error:
        return Refusal(path, error.what, error.todo)
    except Exception as error:
        # One strange header among thousands must not end the scan.
        return Refusal(path, f"the header cannot be read: {type(error).__name__}: {error}".splitlines()[0])


def header_of(source: Source, extra: Sequence[str] = ()) -> Header:
    """The plain values of an opened file.

    Raises:
        ImageError: If what it says of its frames cannot be true.
    """
    dataset, path = source.dataset, source.path
    image_type = _image_type(dataset)
    pixels = bool(source.pixel_key)
    frames = frame_count(source) if pixels else 0
    description = text(dataset, "SeriesDescription")
    sop_class = text_of_uid(dataset, "SOPClassUID") or _meta_class(dataset)
    return Header(
        path=path,
        state=source.state,
        kind=kind_of(sop_class, image_type, description, pixels=pixels),
        sop_class=sop_class,
        sop=text_of_uid(dataset, "SOPInstanceUID"),
        series=text_of_uid(dataset, "SeriesInstanceUID"),
        study=text_of_uid(dataset, "StudyInstanceUID"),
        patient=text(dataset, "PatientID"),
        frame_of_reference=text_of_uid(dataset, "FrameOfReferenceUID"),
        modality=text(dataset, "Modality"),
        image_type=image_type,
        shape=((whole(dataset, "Rows") or 0), (whole(dataset, "Columns") or 0)) if pixels else (0, 0),
        samples=whole(dataset, "SamplesPerPixel") or 1,
        frames=frames,
        photometric=text(dataset, "PhotometricInterpretation").upper(),
        bits=whole(dataset, "BitsStored") or 0,
        syntax=source.syntax,
        series_number=whole(dataset, "SeriesNumber"),
        instance=whole(dataset, "InstanceNumber"),
        description=description,
        protocol=text(dataset, "ProtocolName"),
        study_description=text(dataset, "StudyDescription"),
        study_date=text(dataset, "StudyDate"),
        body_part=text(dataset, "BodyPartExamined"),
        view=text(dataset, "ViewPosition"),
        laterality=text(dataset, "ImageLaterality") or text(dataset, "Laterality"),
        personal=tuple(key for key in tags.PERSONAL if text(dataset, key)),
        burned_in=text(dataset, "BurnedInAnnotation"),
        extra=tuple((key, text(dataset, key)) for key in extra),
        slices=slices_of(dataset, path, frames),
    )


def text_of_uid(dataset: Dataset, key: str) -> str:
    """A UID as text: ``str`` of pydicom's type is the UID, never its name."""
    return text(dataset, key).strip("\0 ")


def _meta_class(dataset: Dataset) -> str:
    return text_of_uid(dataset.file_meta, "MediaStorageSOPClassUID")


def _image_type(dataset: Dataset) -> tuple[str, ...]:
    try:
        value = value_of(dataset, "ImageType")
        parts = [value] if isinstance(value, str) else list(value or ())
    except Exception:
        return ()
    return tuple(str(part).strip().upper() for part in parts)


def slices_of(dataset: Dataset, path: str, frames: int) -> tuple[Slice, ...]:
    """The geometry of all frames, from functional groups where there are any."""
    found = [describe_slice(dataset, path, frame) for frame in range(frames)]
    if frames < 2 or items(dataset, "PerFrameFunctionalGroupsSequence"):
        return tuple(found)
    # One position for the whole file says nothing of its frames, which may be views or moments.
    placeless = tuple(replace(one, position=None) for one in found)
    offsets = numbers(dataset, "GridFrameOffsetVector", frames)
    if offsets is None or found[0].position is None or found[0].orientation is None:
        return placeless
    from medcnn.geometry.affines import slice_normal

    with contextlib.suppress(ValueError):
        normal, start = slice_normal(found[0].orientation), found[0].position
        # From the first plane along the normal, or z itself in axial planes (PS3.3 C.8.8.3.2): the same differences.
        places = [tuple(float(s + (o - offsets[0]) * n) for s, n in zip(start, normal, strict=True)) for o in offsets]
        return tuple(replace(one, position=place) for one, place in zip(found, places, strict=True))
    return placeless


def describe_slice(dataset: Dataset, path: str, frame: int = 0) -> Slice:
    """The geometry of one frame and what tells it from others."""
    measures = group(dataset, frame, "PixelMeasuresSequence")
    plane = group(dataset, frame, "PlanePositionSequence")
    turn = group(dataset, frame, "PlaneOrientationSequence")
    spacing, source = None, ""
    for tag in _SPACING_TAGS:
        found = numbers(measures, tag, 2)
        if found is not None and min(found) > 0:
            spacing, source = found, tag
            break
    thickness = numbers(measures, "SpacingBetweenSlices", 1) or numbers(measures, "SliceThickness", 1)
    several = len(items(dataset, "PerFrameFunctionalGroupsSequence")) > 0
    return Slice(
        path=path,
        frame=frame,
        orientation=numbers(turn, "ImageOrientationPatient", 6),
        position=numbers(plane, "ImagePositionPatient", 3),
        spacing=spacing,
        spacing_source=source,
        thickness=abs(thickness[0]) if thickness and thickness[0] else None,
        firm=_firm(dataset, frame, several),
        loose=_loose(dataset, frame, several),
    )


def _firm(dataset: Dataset, frame: int, several: bool) -> tuple[str, ...]:
    if not several:
        plain = (text(dataset, "StackID"), text(dataset, "EchoNumbers"), text(dataset, "TemporalPositionIdentifier"))
        return (*plain, _b_value(dataset), "")
    content = group(dataset, frame, "FrameContentSequence")
    segment = text(group(dataset, frame, "SegmentIdentificationSequence"), "ReferencedSegmentNumber")
    diffusion = group(dataset, frame, "MRDiffusionSequence")
    b_value = text(diffusion, "DiffusionBValue")
    return (text(content, "StackID"), "", text(content, "TemporalPositionIndex"), b_value, segment)


def _loose(dataset: Dataset, frame: int, several: bool) -> tuple[str, ...]:
    if not several:
        found = [text(dataset, key) for key in tags.LOOSE]
        found[tags.LOOSE.index("DiffusionGradientOrientation")] = _direction(dataset)
        return tuple(found)
    echo = text(group(dataset, frame, "MREchoSequence"), "EffectiveEchoTime")
    kind = text(group(dataset, frame, "MRImageFrameTypeSequence"), "FrameType")
    modifier = text(group(dataset, frame, "MRModifierSequence"), "InversionTimes")
    gradient = items(group(dataset, frame, "MRDiffusionSequence"), "DiffusionGradientDirectionSequence")
    turn = text(gradient[0], "DiffusionGradientOrientation") if gradient else ""
    timing = text(group(dataset, frame, "CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime")
    content = group(dataset, frame, "FrameContentSequence")
    number, moment = text(content, "FrameAcquisitionNumber"), text(content, "FrameAcquisitionDateTime")
    return (echo, kind, modifier, turn, "", "", timing, number, "", "", "", "", moment)


def _b_value(dataset: Dataset) -> str:
    """DiffusionBValue, or the private element that stands for it."""
    if found := text(dataset, "DiffusionBValue"):
        return found
    for creator, tag, owner in (
        (tags.SIEMENS_CREATOR, tags.SIEMENS_B, "SIEMENS MR HEADER"),
        (tags.GE_CREATOR, tags.GE_B, "GEMS_PARM_01"),
        (tags.PHILIPS_CREATOR, tags.PHILIPS_B, "Philips Imaging DD 001"),
    ):
        values = _private(dataset, creator, tag, owner)
        if values:
            # GE adds 1e9 to mark some b-values.
            return f"{float(values[0]) % 1e9:g}"
    return ""


def _direction(dataset: Dataset) -> str:
    found = text(dataset, "DiffusionGradientOrientation")
    return found or str(_private(dataset, tags.SIEMENS_CREATOR, tags.SIEMENS_DIRECTION, "SIEMENS MR HEADER") or "")


def _private(dataset: Dataset, creator: int, tag: int, owner: str) -> list[Any]:
    """Numbers of a private element, also where its VR was lost (implicit files, UN)."""
    try:
        if tag not in dataset or str(dataset[creator].value).strip() != owner:
            return []
        value = dataset[tag].value
        if isinstance(value, bytes):
            # FD where the length fits and the text does not, as Siemens and Philips write it.
            clean = value.strip(b"\0 ")
            if all(32 <= b < 127 for b in clean):
                value = clean.decode().split("\\")
            else:
                value = struct.unpack(f"<{len(value) // 4}f", value) if len(value) == 4 else ()
        return [float(v) for v in ([value] if isinstance(value, (int, float, str)) else list(value))]
    except Exception:
        return []
