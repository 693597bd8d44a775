"""A small CT series, and segmentations and structure sets drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from medcnn.data.images import read_image, series_files
from medcnn.types import Image, ImageRef, Mask

# Columns, rows and slices: all different, so that no exchange of axes passes unseen.
SHAPE = (12, 10, 6)
SPACING = (0.8, 1.25, 2.5)
STUDY, SERIES, FRAME = (UID(f"1.2.826.0.1.3680043.8.498.{n}") for n in (1, 2, 3))


@dataclass(frozen=True)
class Series:
    """A series on disk with its images as pydicom has them, sorted along the slices."""

    folder: Path
    files: tuple[str, ...]
    datasets: tuple[pydicom.Dataset, ...]
    image: Image

    @property
    def ref(self) -> ImageRef:
        return ImageRef(self.files, "dicom")


def ct_slice(k: int, series: UID = SERIES, frame: UID = FRAME) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{series}.{k + 1}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = STUDY, series, frame
    made.PatientID, made.PatientName, made.PatientBirthDate, made.PatientSex = "P1", "A^B", "19500101", "O"
    made.StudyID, made.StudyDate, made.StudyTime, made.AccessionNumber = "1", "20200101", "120000", ""
    made.ReferringPhysicianName, made.Modality, made.SeriesNumber, made.InstanceNumber = "", "CT", 1, k + 1
    made.Manufacturer, made.ImageType = "m", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.ImagePositionPatient = [-30.0, 12.0, 100 + SPACING[2] * k]
    made.PixelSpacing, made.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    made.Rows, made.Columns, made.SamplesPerPixel = SHAPE[1], SHAPE[0], 1
    made.PhotometricInterpretation, made.PixelRepresentation = "MONOCHROME2", 1
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.PixelData = np.full((SHAPE[1], SHAPE[0]), 1000 + k, np.int16).tobytes()
    return made


def save_series(folder: Path, series: UID = SERIES, frame: UID = FRAME) -> Series:
    folder.mkdir(parents=True)
    made = [ct_slice(k, series, frame) for k in range(SHAPE[2])]
    for k, one in enumerate(made):
        # Names in another order than places.
        one.save_as(folder / f"{SHAPE[2] - k:02d}.dcm", enforce_file_format=True)
    files = series_files(str(folder))
    return Series(folder, files, tuple(made), read_image(ImageRef(files, "dicom")))


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return save_series(tmp_path_factory.mktemp("labels") / "ct")


def segment(number: int, label: str, algorithm: str = "MANUAL", code: Any = None) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        number,
        label,
        codes.SCT.AnatomicalStructure,
        code or codes.SCT.Liver,
        hd.seg.SegmentAlgorithmTypeValues(algorithm),
        hd.AlgorithmIdentificationSequence("a", codes.DCM.ArtificialIntelligence, "1")
        if algorithm != "MANUAL"
        else None,
    )


def save_seg(
    path: Path,
    series: Series,
    pixels: np.ndarray,
    segments: Sequence[hd.seg.SegmentDescription],
    kind: str = "BINARY",
    slices: Sequence[int] | None = None,
    **options: Any,
) -> Mask:
    """A segmentation of voxels ``(X, Y, Z)`` of numbers, or ``(X, Y, Z, S)`` of one segment each."""
    sources = [series.datasets[k] for k in (range(SHAPE[2]) if slices is None else slices)]
    frames = np.moveaxis(np.swapaxes(pixels, 0, 1), 2, 0)
    made = hd.seg.Segmentation(
        sources, np.ascontiguousarray(frames), kind, list(segments), generate_uid(), 7, generate_uid(), 1,
        "m", "n", "1", "d", **options,
    )  # fmt: skip
    made.save_as(path)
    return Mask(ImageRef((str(path),)))


def world(series: Series, points: np.ndarray) -> np.ndarray:
    """DICOM's LPS of voxel coordinates ``(N, 3)``."""
    assert series.image.affine is not None
    ras = points @ series.image.affine[:3, :3].T + series.image.affine[:3, 3]
    return ras * (-1, -1, 1)


@dataclass
class Roi:
    """A structure: contours are ``(N, 2)`` in voxels with their slice."""

    name: str
    contours: Sequence[tuple[Any, float]]
    kind: str = "CLOSED_PLANAR"
    number: int | None = None
    algorithm: str = "MANUAL"


def save_rtstruct(path: Path, series: Series, rois: Sequence[Roi], frame: UID = FRAME, refers: UID = SERIES) -> Mask:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.Modality, made.StudyInstanceUID, made.SeriesInstanceUID = "RTSTRUCT", STUDY, generate_uid()
    made.PatientID, made.PatientName, made.StructureSetLabel = "P1", "A^B", "s"
    study, referred, reference = Dataset(), Dataset(), Dataset()
    referred.SeriesInstanceUID = refers
    study.RTReferencedSeriesSequence = Items([referred])
    reference.FrameOfReferenceUID = frame
    reference.RTReferencedStudySequence = Items([study])
    made.ReferencedFrameOfReferenceSequence = Items([reference])
    structures, drawn = [], []
    for k, roi in enumerate(rois, 1):
        one, contours = Dataset(), Dataset()
        one.ROINumber, one.ROIName, one.ReferencedFrameOfReferenceUID = roi.number or k, roi.name, frame
        one.ROIGenerationAlgorithm = roi.algorithm
        structures.append(one)
        contours.ReferencedROINumber = roi.number or k
        if roi.contours:
            contours.ContourSequence = Items([_contour(series, points, at, roi.kind) for points, at in roi.contours])
        drawn.append(contours)
    made.StructureSetROISequence, made.ROIContourSequence = Items(structures), Items(drawn)
    made.save_as(path, enforce_file_format=True)
    return Mask(ImageRef((str(path),)))


def _contour(series: Series, points: Any, at: float, kind: str) -> Dataset:
    flat = np.asarray(points, np.float64)
    places = world(series, np.column_stack([flat[:, :2], flat[:, 2] if flat.shape[1] > 2 else np.full(len(flat), at)]))
    made = Dataset()
    made.ContourGeometricType, made.NumberOfContourPoints = kind, len(places)
    made.ContourData = [f"{v:.6g}" for v in places.ravel()]
    return made


@pytest.fixture(scope="session")
def make() -> Any:
    """What writes test files: tests cannot import each other's modules."""
    return SimpleNamespace(
        series=save_series, seg=save_seg, rtstruct=save_rtstruct, segment=segment, roi=Roi, shape=SHAPE, spacing=SPACING
    )
