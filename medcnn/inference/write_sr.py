"""Findings on DICOM images as DICOM structured reports (PS3.16, TID 1500) that refer to the source images."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn import __version__
from medcnn.data.images.dicom_file import quiet, reason, text
from medcnn.data.mask_files import file_stem
from medcnn.errors import ImageError
from medcnn.files import open_atomic
from medcnn.geometry.boxes import sides
from medcnn.inference.seg_segments import type_of
from medcnn.inference.seg_source import REPORT, Sources
from medcnn.inference.write_seg import is_dicom
from medcnn.tasks.base import Beside, Found
from medcnn.types import ImageRef, LabelClass

if TYPE_CHECKING:
    from highdicom.sr import ImageRegion, Measurement, MeasurementReport

FOLDER = "dicom_sr"
# The series of a report is numbered after that of its source, and of a segmentation.
_SERIES_OFFSET = 2000
_NAMESPACE = uuid.UUID("0b9a2f8e-6d3c-5a44-9f0e-1c6f4c1d2e77")


@dataclass(frozen=True, slots=True)
class SrWriter:
    """Writes ``dicom_sr/<case>.dcm`` with the findings in an image that is DICOM; of others nothing.

    Attributes:
        device: What stands for the device's serial number, such as a digest of the model; at most 64 characters.
    """

    device: str = ""

    def __call__(self, folder: Path, drawn: Found) -> Beside:
        """Write the report of one case.

        Raises:
            ImageError: If the source lacks what a report must name.
        """
        ref = drawn.case.images[0]
        if not is_dicom(ref):
            return Beside()
        name = f"{FOLDER}/{file_stem(drawn.case.id)}.dcm"
        return Beside((("dicom_sr", name),), write_sr(folder / name, ref, drawn, self.device))


def write_sr(path: Path, ref: ImageRef, found: Found, device: str = "") -> tuple[str, ...]:
    """Write the boxes that are called findings as a measurement report.

    Each finding is a group with its class, its score (certainty of finding, in percent), its sides in mm (in px where
    the image has no spacing), the algorithm with the class's threshold, and its region: a closed polyline on the image,
    of a volume one on each slice whose middle the box holds. Without findings a group a class says that it is absent.
    The patient and study of the source are carried over, as the standard demands.

    Args:
        path: The file.
        ref: The image of DICOM that the boxes lie on.
        found: The boxes.
        device: What stands for the device's serial number.

    Returns:
        What of the source was made complete, as sentences.

    Raises:
        ImageError: If the source lacks a UID or its geometry.
    """
    sources = Sources.of(ref, REPORT)
    with quiet():
        try:
            made = _report(sources, found, device)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            # What else a header can lack, highdicom finds.
            raise ImageError(
                f"no DICOM report can refer to the image: {reason(error)}", where=ref.paths[0], todo=REPORT.todo
            ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with quiet(), open_atomic(path, "wb") as file:
        made.save_as(file)
    return sources.said()


def called(found: Found) -> NDArray[np.intp]:
    """Places ``(M,)`` of the boxes whose score reaches their class's threshold (0.5 where there is none)."""
    least = np.array([found.thresholds.get(name, 0.5) for name in found.schema.names])
    return np.flatnonzero(found.boxes.scores >= least[found.boxes.labels])


def _report(sources: Sources, found: Found, device: str) -> Any:
    from highdicom import UID
    from highdicom.sr import Comprehensive3DSR, ComprehensiveSR

    flat = found.boxes.corners.shape[1] == 4
    make = ComprehensiveSR if flat else Comprehensive3DSR
    with_images: Any = make(
        list(sources.datasets),
        _content(sources, found, device)[0],
        series_instance_uid=UID(),
        series_number=sources.next_series(_SERIES_OFFSET),
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="medcnn",
        is_complete=True,
        manufacturer_model_name="medcnn",
        software_versions=__version__,
        device_serial_number=device or "none",
        series_description="medcnn findings",
        # Names of classes may have any letters.
        specific_character_set="ISO_IR 192",
    )
    return with_images


def _content(sources: Sources, found: Found, device: str) -> MeasurementReport:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, MeasurementReport, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes

    observer = DeviceObserverIdentifyingAttributes(
        # The same model is the same observer.
        f"2.25.{uuid.uuid5(_NAMESPACE, f'{__version__}/{device}').int}",
        name="medcnn",
        manufacturer_name="medcnn",
        model_name="medcnn",
        serial_number=device or None,
    )
    context = ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, observer))
    groups = [_finding(sources, found, int(place), number) for number, place in enumerate(called(found), 1)]
    return MeasurementReport(
        context,
        codes.SCT.ImagingProcedure,
        groups or [_absent(found, label, number) for number, label in enumerate(found.schema.classes, 1)],
    )


def _common(found: Found, label: LabelClass, number: int) -> dict[str, Any]:
    """What a group has whatever its region is."""
    from highdicom import UID
    from highdicom.sr import AlgorithmIdentification, TrackingIdentifier

    least = f"threshold {found.thresholds.get(label.name, 0.5):.6g}"
    return {
        "tracking_identifier": TrackingIdentifier(UID(), f"{label.name} {number}"),
        "finding_type": type_of(label),
        "algorithm_id": AlgorithmIdentification("medcnn", __version__, [least]),
    }


def _absent(found: Found, label: LabelClass, number: int) -> Any:
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, QualitativeEvaluation
    from pydicom.sr.codedict import codes

    absent = QualitativeEvaluation(codes.DCM.PresenceOfProperty, codes.DCM.Absent)
    return MeasurementsAndQualitativeEvaluations(qualitative_evaluations=[absent], **_common(found, label, number))


def _finding(sources: Sources, found: Found, place: int, number: int) -> Any:
    from highdicom.sr import (
        PlanarROIMeasurementsAndQualitativeEvaluations,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    corners = found.boxes.corners[place]
    common = _common(found, found.schema.classes[int(found.boxes.labels[place])], number)
    common["measurements"] = _measurements(found, place)
    if len(corners) == 4:
        region = _region(sources, 0, corners)
        return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **common)
    plane = corners[[0, 1, 3, 4]]
    regions = [_region(sources, k, plane) for k in box_slices(corners, found.image.array.shape[-1])]
    return VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_regions=regions, **common)


def box_slices(corners: NDArray[np.float32], depth: int) -> Sequence[int]:
    """The slices whose middle lies in a box ``(6,)`` of a volume of ``depth`` slices; at least the one it lies in."""
    low, high = float(corners[2]), float(corners[5])
    first, last = int(np.ceil(low - 0.5)), int(np.ceil(high - 0.5)) - 1
    if last < first:
        first = last = int((low + high) / 2)
    return range(max(first, 0), min(last, depth - 1) + 1)


def _region(sources: Sources, place: int, plane: NDArray[np.float32]) -> ImageRegion:
    """A rectangle ``x1, y1, x2, y2`` on one slice; SCOORD counts from the corner of the first pixel, as boxes do."""
    from highdicom.sr import GraphicTypeValues, ImageRegion, SourceImageForRegion

    x1, y1, x2, y2 = (float(v) for v in plane)
    header = sources.datasets[0 if sources.frames else place]
    frames = [sources.frames[place]] if sources.frames else None
    source = SourceImageForRegion(text(header, "SOPClassUID"), text(header, "SOPInstanceUID"), frames)
    line = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]])
    return ImageRegion(GraphicTypeValues.POLYLINE, line, source)


def _measurements(found: Found, place: int) -> list[Measurement]:
    """Certainty, long and short axis in the plane, and of a volume the depth across its slices."""
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    corners, spacing = found.boxes.corners[[place]], found.image.spacing
    lengths = sides(corners)[0]
    unit = Code("{pixels}", "UCUM", "Pixels") if spacing is None else codes.UCUM.Millimeter
    if spacing is not None:
        lengths = lengths * np.asarray(spacing[: len(lengths)])
    score = float(found.boxes.scores[place])
    short, long = sorted(lengths[:2].tolist())
    sizes = [(codes.SCT.LongAxis, long), (codes.SCT.ShortAxis, short)]
    sizes += [(codes.SCT.Depth, float(v)) for v in lengths[2:]]
    certain = Measurement(codes.DCM.CertaintyOfFinding, round(100 * score, 5), codes.UCUM.Percent)
    return [certain, *(Measurement(name, round(value, 5), unit) for name, value in sizes)]
