"""Predicted masks of DICOM images as DICOM segmentations (PS3.3 A.51) that refer to the source series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from numpy.typing import NDArray

from medcnn import __version__
from medcnn.data.images import sniff
from medcnn.data.images.dicom_file import items, quiet, reason, whole
from medcnn.data.mask_files import file_stem
from medcnn.errors import ImageError, RunError
from medcnn.files import digest, open_atomic
from medcnn.inference.seg_segments import segments_of
from medcnn.inference.seg_source import SEGMENTATION, Sources
from medcnn.tasks.base import Beside, Drawn
from medcnn.types import ImageRef, LabelSchema

if TYPE_CHECKING:
    from highdicom.seg import Segmentation

SegKind = Literal["binary", "fractional", "labelmap"]
KINDS: tuple[str, ...] = get_args(SegKind)
FOLDER = "dicom_seg"
# What a byte holds; read_segmentation takes what is present from half of it on.
_MOST = 255
# The series of a segmentation is numbered after that of its source.
_SERIES_OFFSET = 1000


def check_seg_kind(kind: str, schema: LabelSchema | None) -> None:
    """Refuse a kind that does not exist or cannot hold the labels.

    Raises:
        RunError: With what to choose instead.
    """
    if kind not in (*KINDS, "none"):
        raise RunError(
            f"{kind!r} is no kind of DICOM segmentation", where="--seg", todo=f"choose from {', '.join(KINDS)} and none"
        )
    if kind == "labelmap" and schema is not None and schema.multilabel:
        raise RunError(
            "a label map holds one label a voxel, and those of this model may overlap",
            where="--seg",
            todo="choose binary or fractional",
        )


@dataclass(frozen=True, slots=True)
class SegWriter:
    """Writes ``dicom_seg/<case>.dcm`` beside the mask of an image that is DICOM; of others nothing.

    Attributes:
        kind: How the voxels are stored: a bit for each segment, a probability of each, or one number a voxel.
        device: What stands for the device's serial number, such as a digest of the model; at most 64 characters.
    """

    kind: SegKind = "binary"
    device: str = ""

    def __call__(self, folder: Path, drawn: Drawn) -> Beside:
        """Write the segmentation of one case.

        Raises:
            ImageError: If the source lacks what a segmentation must name.
        """
        ref = drawn.case.images[0]
        if not is_dicom(ref):
            return Beside()
        name = f"{FOLDER}/{file_stem(drawn.case.id)}.dcm"
        notes = write_seg(folder / name, ref, drawn, self.kind, self.device)
        return Beside((("dicom_seg", name),), notes)


def is_dicom(ref: ImageRef) -> bool:
    """Whether an image is read as DICOM."""
    return ref.reader == "dicom" or (ref.reader == "auto" and sniff(ref.paths[0]) == "dicom")


def write_seg(path: Path, ref: ImageRef, drawn: Drawn, kind: SegKind, device: str = "") -> tuple[str, ...]:
    """Write a mask as a DICOM segmentation.

    The patient and study of the source are carried over, as the standard demands.

    Args:
        path: The file.
        ref: The image of DICOM that the mask lies on.
        drawn: The mask.
        kind: How the voxels are stored.
        device: What stands for the device's serial number.

    Returns:
        What of the source was made complete, as sentences.

    Raises:
        ImageError: If the source lacks a UID or its geometry, or forms no image that a segmentation may refer to.
    """
    sources = Sources.of(ref)
    with quiet():
        try:
            made = _segmentation(sources, _pixels(drawn, kind), drawn.schema, kind, device)
            _restore_frame_numbers(made, sources.frames)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            # What else a header can lack, highdicom finds.
            raise ImageError(
                f"no DICOM segmentation can refer to the image: {reason(error)}",
                where=ref.paths[0],
                todo=SEGMENTATION.todo,
            ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with quiet(), open_atomic(path, "wb") as file:
        made.save_as(file)
    return sources.said()


def _pixels(drawn: Drawn, kind: SegKind) -> NDArray[Any]:
    """Frames first: ``(Z, Y, X)`` of segment numbers, or ``(Z, Y, X, L)`` of each segment."""
    stacked = kind == "fractional" or drawn.schema.multilabel
    voxels = drawn.fractions() if kind == "fractional" else drawn.labels
    if voxels.ndim - int(stacked) == 2:
        voxels = voxels[..., None]
    return voxels.transpose(3, 2, 1, 0) if stacked else voxels.transpose(2, 1, 0)


def _segmentation(
    sources: Sources, pixels: NDArray[Any], schema: LabelSchema, kind: SegKind, device: str
) -> Segmentation:
    from highdicom import UID
    from highdicom.seg import Segmentation
    from pydicom.uid import ExplicitVRLittleEndian

    return Segmentation(
        sources.datasets,
        pixels,
        kind.upper(),
        segments_of(schema),
        series_instance_uid=UID(),
        series_number=sources.next_series(_SERIES_OFFSET),
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="medcnn",
        manufacturer_model_name="medcnn",
        software_versions=__version__,
        device_serial_number=device or "none",
        max_fractional_value=_MOST,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="SEGMENTATION",
        content_description="Segmentation by a network",
        series_description="medcnn segmentation",
        # Names of labels may have any letters.
        specific_character_set="ISO_IR 192",
    )


def _restore_frame_numbers(made: Segmentation, frames: tuple[int, ...]) -> None:
    """Refer to the frames of the file where the segmentation was made from a part of them, or in another order."""
    if not frames:
        return
    done: set[int] = set()
    for key in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in items(made, key):
            for derivation in items(group, "DerivationImageSequence"):
                for source in items(derivation, "SourceImageSequence"):
                    number = whole(source, "ReferencedFrameNumber")
                    # The frames of several segments share their items.
                    if number is not None and id(source) not in done:
                        source.ReferencedFrameNumber = frames[number - 1]
                        done.add(id(source))


def device_of(description: Mapping[str, Any]) -> str:
    """A short digest of a model's description, which tells models apart as a serial number does devices."""
    return digest(repr(sorted(description.items())).encode())[:16]
