"""The images that a DICOM segmentation or report refers to: headers, made complete where the standard allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medcnn.data.images.dicom import open_stack
from medcnn.data.images.dicom_file import items, quiet, text, whole
from medcnn.data.images.stacks import Stack
from medcnn.errors import ImageError
from medcnn.types import ImageRef

# Type 2 of the patient and general study modules (PS3.3 C.7.1.1, C.7.2.1): present, but possibly empty.
TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
# Of an integer string (IS).
_LARGEST_NUMBER = 2**31 - 1
_SEXES = ("M", "F", "O", "")


@dataclass(frozen=True, slots=True)
class Purpose:
    """What is made of the headers, for messages.

    Attributes:
        name: With its article.
        without: How it is left out.
    """

    name: str
    without: str

    @property
    def todo(self) -> str:
        """What can be done where the headers do not allow it."""
        return f"export the series anew, or write none ({self.without})"


SEGMENTATION = Purpose("a DICOM segmentation", "--seg none")
REPORT = Purpose("a DICOM report", "--no-sr")


@dataclass(frozen=True, slots=True)
class Sources:
    """Headers of the images of one stack, in the order of its slices.

    Attributes:
        datasets: One a slice, or one multi-frame header that holds the frames of the stack alone, in its order.
        frames: Numbers (from 1) of those frames in their file; empty for single-frame images.
        placed: Whether they lie in space.
        emptied: Type 2 elements that the source lacks, or holds an invalid value of, which are therefore empty.
        notes: What else was made complete, as sentences.
    """

    datasets: tuple[Any, ...]
    frames: tuple[int, ...]
    placed: bool
    emptied: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, ref: ImageRef, purpose: Purpose = SEGMENTATION) -> Sources:
        """The headers behind an image of DICOM.

        Args:
            ref: The image.
            purpose: What is made of them.

        Raises:
            ImageError: If a file cannot be read, lacks a UID, or does not say where a slice lies.
        """
        stack, files = open_stack(ref)
        with quiet():
            datasets = [files[path].dataset for path in stack.paths]
            for dataset, path in zip(datasets, stack.paths, strict=True):
                _require_uids(dataset, path, purpose)
            placed = _require_places(stack, datasets, purpose)
            emptied = sorted({key for one in datasets for key in _complete(one)}, key=TYPE_2.index)
            notes = [_thickness(stack, datasets)] if placed else []
            frames: tuple[int, ...] = ()
            if placed and items(datasets[0], "PerFrameFunctionalGroupsSequence"):
                _keep_frames(datasets[0], stack)
                frames = tuple(one.frame + 1 for one in stack.slices)
            elif placed:
                _align(datasets)
        return cls(tuple(datasets), frames, placed, tuple(emptied), tuple(note for note in notes if note))

    def next_series(self, offset: int) -> int:
        """The number of a series that is made of this one: ``offset`` more, as far as there are numbers."""
        number = whole(self.datasets[0], "SeriesNumber") or 0
        return number + offset if 0 <= number <= _LARGEST_NUMBER - offset else offset

    def said(self) -> tuple[str, ...]:
        """What of the source was made complete, as sentences."""
        emptied = [f"the source lacks {', '.join(self.emptied)}: written empty"] if self.emptied else []
        return (*emptied, *self.notes)


def _require_uids(dataset: Any, path: str, purpose: Purpose) -> None:
    lacking = [key for key in _UIDS if not text(dataset, key)]
    if lacking:
        raise ImageError(
            f"{purpose.name} cannot refer to an image without {' and '.join(lacking)}", where=path, todo=purpose.todo
        )


def _require_places(stack: Stack, datasets: Sequence[Any], purpose: Purpose) -> bool:
    """Whether the images lie in space; a radiograph need not, slices must."""
    path = stack.paths[0]
    if stack.affine is None:
        if not stack.flat:
            what = f"{purpose.name} needs the position, orientation and spacing of its image"
            raise ImageError(what, where=path, todo=purpose.todo)
        for dataset in datasets:
            for key in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"):
                if key in dataset:
                    del dataset[key]
        return False
    frames = {text(dataset, "FrameOfReferenceUID") for dataset in datasets}
    if "" in frames:
        what = f"{purpose.name} cannot lie on an image without FrameOfReferenceUID"
        raise ImageError(what, where=path, todo=purpose.todo)
    if len(frames) > 1:
        raise ImageError("the slices name different frames of reference", where=path, todo=purpose.todo)
    return True


def _complete(dataset: Any) -> list[str]:
    """Write type 2 elements that are absent or invalid as empty; returns which."""
    found = [key for key in TYPE_2 if not _valid(dataset, key)]
    for key in found:
        setattr(dataset, key, None)
    return found


def _valid(dataset: Any, key: str) -> bool:
    from pydicom.valuerep import DA, TM

    try:
        value = dataset[key].value
        if key.endswith("Date"):
            DA(value)
        elif key.endswith("Time"):
            TM(value)
        return key != "PatientSex" or (value or "") in _SEXES
    except Exception:
        # Absent, several values, or none that can be decoded.
        return False


def _thickness(stack: Stack, datasets: Sequence[Any]) -> str:
    """Complete SliceThickness, which a volume must have, from the distance between slices."""
    if stack.header.frames > 1 or all(text(dataset, "SliceThickness") for dataset in datasets):
        return ""
    distance = None if stack.spacing is None or len(stack.spacing) < 3 else float(stack.spacing[2])
    for dataset in datasets:
        dataset.SliceThickness = distance
    return "" if distance is None else "SliceThickness is missing: the distance between slices stands for it"


def _align(datasets: Sequence[Any]) -> None:
    """Slices of one stack have one orientation and spacing, up to the rounding of their headers."""
    for key in ("ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        for dataset in datasets[1:]:
            setattr(dataset, key, getattr(datasets[0], key))


def _keep_frames(dataset: Any, stack: Stack) -> None:
    """Reduce a multi-frame header to the frames of a stack, in its order, with orientation and spacing shared."""
    from pydicom.dataset import Dataset

    first = stack.slices[0]
    assert first.orientation is not None
    assert first.spacing is not None
    own = items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = next(iter(items(dataset, "SharedFunctionalGroupsSequence")), None) or Dataset()
    turn, measures = Dataset(), Dataset()
    turn.ImageOrientationPatient = list(first.orientation)
    measures.PixelSpacing = list(first.spacing)
    distance = None if stack.affine is None else float(np.linalg.norm(stack.affine[:3, 2]))
    measures.SliceThickness = first.thickness or distance
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [measures]
    frames = []
    for one in stack.slices:
        item = own[one.frame] if one.frame < len(own) else Dataset()
        place = Dataset()
        place.ImagePositionPatient = list(one.position or ())
        item.PlanePositionSequence = [place]
        frames.append(item)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(frames)
