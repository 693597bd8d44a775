"""The cohort's images as DICOM files, with the headers that a hospital's have.

Everything in a file, identifiers included, follows from the cohort's seed, so that two runs give the same bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.phantom.body import Traits, generator
from medcnn.data.phantom.design import Patient, Series
from medcnn.data.phantom.film import Film
from medcnn.data.phantom.scan import Volume
from medcnn.data.phantom.scanner import SCANNERS

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
_NAMESPACE = uuid.UUID("5a0a9f7e-6f6c-5b0f-9d53-3a6f0d1c7b42")
_IMPLEMENTATION = "2.25.117602331148410873622083425467283715601"
_TITLES = {
    "head": "Head", "chest": "Chest", "abdomen": "Abdomen", "pelvis": "Pelvis", "hand": "Hand",
}  # fmt: skip


def uid(*keys: object) -> str:
    """A unique identifier of the form 2.25.<UUID> that depends on its keys alone."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(str(k) for k in keys)).int}"


@dataclass(frozen=True, slots=True)
class Stamp:
    """When and under which identifiers a series was made.

    Attributes:
        study: Study instance UID.
        series: Series instance UID.
        frame: Frame of reference UID, shared by the CT series of a study.
        day: Date of the study.
        time: Time of the series, ``HHMMSS``.
    """

    study: str
    series: str
    frame: str
    day: date
    time: str

    @classmethod
    def of(cls, key: str, patient: Patient, series: Series) -> Stamp:
        """The stamp of one series; ``key`` names the cohort."""
        own = f"{key}/{patient.id}/{series.study}"
        rng = generator(own, "date")
        start = generator(key, patient.id, "date")
        day = date(2021, 1, 4) + timedelta(
            days=int(start.integers(0, 900)) + int(rng.integers(20, 400)) * (series.study - 1)
        )
        minute = int(rng.integers(7 * 60, 18 * 60)) + 4 * (series.number % 90)
        return cls(
            uid(own, "study"), uid(key, series.name), uid(own, "frame"), day, f"{minute // 60:02d}{minute % 60:02d}30"
        )


def _patient(found: Any, key: str, patient: Patient, traits: Traits, stamp: Stamp) -> None:
    born = stamp.day - timedelta(
        days=int(365.25 * patient.age) + int(generator(key, patient.id, "birth").integers(10, 350))
    )
    found.PatientName = f"Phantom^{patient.id}"
    found.PatientID = patient.id
    found.PatientBirthDate = born.strftime("%Y%m%d")
    found.PatientSex = "F" if patient.female else "M"
    found.PatientAge = f"{patient.age:03d}Y"
    found.PatientSize = f"{1.72 * traits.scale[2]:.2f}"
    found.PatientWeight = (
        f"{70 * traits.scale[0] * traits.scale[1] * traits.scale[2] * (0.86 + 0.011 * traits.fat):.0f}"
    )


def _common(key: str, patient: Patient, traits: Traits, series: Series, stamp: Stamp, modality: str) -> Any:
    """What all images of a series share."""
    from pydicom.dataset import Dataset

    scanner = SCANNERS[series.scanner]
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 100"
    found.SOPClassUID = CT_STORAGE if modality == "CT" else CR_STORAGE
    day = stamp.day.strftime("%Y%m%d")
    found.StudyDate = found.SeriesDate = found.AcquisitionDate = found.ContentDate = day
    found.StudyTime = f"{stamp.time[:2]}0000"
    found.SeriesTime = found.AcquisitionTime = found.ContentTime = stamp.time
    found.AccessionNumber = f"{int(generator(key, patient.id, series.study, 'accession').integers(10**6, 10**7))}"
    found.Modality = modality
    found.Manufacturer = scanner.manufacturer
    found.InstitutionName = "Generated Hospital"
    found.ReferringPhysicianName = ""
    found.StationName = scanner.station if modality == "CT" else scanner.station.replace("CT", "XR")
    found.StudyDescription = f"{modality} {_TITLES[series.title]}"
    found.ManufacturerModelName = scanner.model if modality == "CT" else f"{scanner.model.split()[0]} Wall"
    _patient(found, key, patient, traits, stamp)
    if series.part_known:
        found.BodyPartExamined = series.title.upper()
    else:
        # Absent for a part that is known to be unpaired, empty where the header does not tell the part.
        found.Laterality = ""
        if modality == "CR":
            found.BodyPartExamined = ""
    found.DeviceSerialNumber = f"{scanner.name}-{'1001' if modality == 'CT' else '2001'}"
    found.SoftwareVersions = "VA10"
    found.StudyInstanceUID = stamp.study
    found.SeriesInstanceUID = stamp.series
    found.StudyID = str(series.study)
    found.SeriesNumber = series.number
    found.SamplesPerPixel = 1
    found.PhotometricInterpretation = "MONOCHROME1" if series.inverted else "MONOCHROME2"
    found.BitsAllocated = 16
    return found


class Encoder:
    """Writes the files of one series; what the slices share is encoded once.

    Args:
        dataset: All elements of the first file but those that :meth:`write` is given.
    """

    def __init__(self, dataset: Any) -> None:
        self._parts = {int(element.tag): self._encode(element) for element in dataset}
        self._kind = dataset.SOPClassUID

    @staticmethod
    def _buffer() -> Any:
        from pydicom.filebase import DicomBytesIO

        found = DicomBytesIO()
        found.is_little_endian, found.is_implicit_VR = True, False
        return found

    def _encode(self, element: Any) -> bytes:
        from pydicom.filewriter import write_data_element

        buffer = self._buffer()
        write_data_element(buffer, element, ["iso8859"])
        return bytes(buffer.getvalue())

    def write(self, path: Path, **values: Any) -> None:
        """One file, with the elements of its own by keyword."""
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.filewriter import write_file_meta_info
        from pydicom.uid import UID, ExplicitVRLittleEndian

        own = Dataset()
        for name, value in values.items():
            setattr(own, name, value)
        own["PixelData"].VR = "OW"
        meta = FileMetaDataset()
        meta.FileMetaInformationVersion = b"\x00\x01"
        meta.MediaStorageSOPClassUID = self._kind
        meta.MediaStorageSOPInstanceUID = own.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = UID(_IMPLEMENTATION)
        meta.ImplementationVersionName = "MEDCNN PHANTOM 2"
        head = self._buffer()
        write_file_meta_info(head, meta)
        parts = {**self._parts, **{int(element.tag): self._encode(element) for element in own}}
        body = b"".join(parts[tag] for tag in sorted(parts))
        path.write_bytes(bytes(128) + b"DICM" + bytes(head.getvalue()) + body)


def _short(*values: float) -> list[str]:
    """Decimal strings of at most 16 characters."""
    return [f"{v:.4f}".rstrip("0").rstrip(".") if abs(v) >= 5e-5 else "0" for v in values]


def write_scan(
    folder: Path, key: str, patient: Patient, traits: Traits, series: Series, volume: Volume
) -> Iterator[Path]:
    """The slices of a CT series, one file each, in an order of instance numbers that runs from the head down."""
    scanner = SCANNERS[series.scanner]
    stamp = Stamp.of(key, patient, series)
    found = _common(key, patient, traits, series, stamp, "CT")
    head = series.part == "head"
    found.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.SeriesDescription = (
        f"{_TITLES[series.title]} {volume.thickness:g} {scanner.kernels[series.part]}{' CM' if series.contrast else ''}"
    )
    found.ProtocolName = f"{_TITLES[series.title]} routine"
    found.PatientPosition = "HFS"
    if series.contrast:
        found.ContrastBolusAgent = "Iodinated, 300 mg/ml"
        found.ContrastBolusRoute = "IV"
    found.SliceThickness = f"{volume.thickness:g}"
    found.SpacingBetweenSlices = f"{volume.gap * volume.column[1]:.4g}"
    found.KVP = str(scanner.voltage)
    found.XRayTubeCurrent = round(220 * series.dose * (1.6 if head else 1))
    found.ExposureTime = 500
    found.GantryDetectorTilt = f"{-series.tilt:g}" if series.tilt else "0"
    found.ConvolutionKernel = scanner.kernels[series.part]
    found.ReconstructionDiameter = f"{volume.pixel * volume.values.shape[2]:.1f}"
    found.RotationDirection = "CW"
    found.AcquisitionNumber = 1
    found.FrameOfReferenceUID = stamp.frame
    found.PositionReferenceIndicator = ""
    found.ImageOrientationPatient = ["1", "0", "0", *(f"{v:.12g}" for v in volume.column)]
    found.Rows, found.Columns = volume.values.shape[1:]
    found.PixelSpacing = _short(volume.pixel, volume.pixel)
    found.BitsStored, found.HighBit, found.PixelRepresentation = (16, 15, 1) if scanner.signed else (12, 11, 0)
    found.RescaleIntercept, found.RescaleSlope, found.RescaleType = "-1024", "1", "HU"
    center, width = {"head": ("40", "80"), "chest": ("40", "400")}.get(series.part, ("50", "350"))
    found.WindowCenter, found.WindowWidth = center, width
    if volume.padding is not None:
        from pydicom.dataelem import DataElement

        found.add(DataElement(0x00280120, "SS", volume.padding))
    yield from _slices(folder, key, series, volume, found)


def _slices(folder: Path, key: str, series: Series, volume: Volume, found: Any) -> Iterator[Path]:
    count, encoder = len(volume.values), Encoder(found)
    kind = "<i2" if volume.padding is not None else "<u2"
    for k in range(count):
        number = count - k
        x, y, z = volume.corner[0], volume.corner[1], volume.corner[2] + k * volume.gap
        path = folder / f"{number:04d}.dcm"
        encoder.write(
            path,
            SOPInstanceUID=uid(key, series.name, k),
            InstanceNumber=number,
            ImagePositionPatient=_short(x, y, z),
            SliceLocation=_short(z)[0],
            PixelData=np.ascontiguousarray(volume.values[k]).astype(kind).tobytes(),
        )
        yield path


def write_film(folder: Path, key: str, patient: Patient, traits: Traits, series: Series, film: Film) -> Path:
    """A radiograph as a computed radiography image, or a localizer as a CT image."""
    stamp = Stamp.of(key, patient, series)
    scout = series.kind == "localizer"
    found = _common(key, patient, traits, series, stamp, "CT" if scout else "CR")
    found.Rows, found.Columns = film.values.shape
    found.BitsStored, found.HighBit, found.PixelRepresentation = 12, 11, 0
    found.KVP = "120" if scout else "125" if series.part == "chest" else "52"
    if scout:
        _scout(found, stamp, film)
    else:
        _radiograph(found, series, film)
    path = folder / "0001.dcm"
    pixels = film.values.astype("<u2").tobytes()
    Encoder(found).write(path, SOPInstanceUID=uid(key, series.name, 0), InstanceNumber=1, PixelData=pixels)
    return path


def _scout(found: Any, stamp: Stamp, film: Film) -> None:
    found.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    found.SeriesDescription = "Scout"
    found.PatientPosition = "HFS"
    found.SliceThickness = "500"
    found.AcquisitionNumber = 1
    found.FrameOfReferenceUID = stamp.frame
    found.PositionReferenceIndicator = ""
    rows, columns = film.values.shape
    found.ImagePositionPatient = _short(-film.pixel * (columns - 1) / 2, 0.0, film.pixel * (rows - 1) / 2)
    found.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    found.PixelSpacing = _short(film.pixel, film.pixel)
    found.RescaleIntercept, found.RescaleSlope, found.RescaleType = "0", "1", "US"
    found.WindowCenter, found.WindowWidth = "2048", "4096"


def _radiograph(found: Any, series: Series, film: Film) -> None:
    found.ImageType = ["ORIGINAL", "PRIMARY"]
    found.SeriesDescription = f"{_TITLES[series.title]} {film.view}"
    found.ViewPosition = film.view
    if film.side:
        found.Laterality = film.side
    found.PatientOrientation = ["L", "F"] if not film.side else ["", ""]
    found.PlateID = f"{series.scanner}-{series.part[:2].upper()}"
    found.ImagerPixelSpacing = _short(film.pixel, film.pixel)
    found.BurnedInAnnotation = "NO"
    found.LossyImageCompression = "00"
    found.WindowCenter, found.WindowWidth = "2048", "4096"
    if series.supine:
        found.PatientPosition = "HFS"


def nifti_bytes(array: NDArray[np.integer[Any]], affine: NDArray[np.float64]) -> bytes:
    """A gzipped NIfTI-1 image or label map whose bytes depend on its contents alone.

    Args:
        array: ``(columns, rows[, slices])``.
        affine: Voxel centres to RAS+ mm.
    """
    import gzip

    import nibabel

    # Of nibabel's own types its stubs know too little to check a call of them.
    image: Any = nibabel.Nifti1Image(array, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    image.header.set_sform(affine, code=1)
    image.header.set_qform(affine, code=0)
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)
