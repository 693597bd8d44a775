"""Small DICOM series for the tests of readers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

Write = Callable[..., str]


def dataset(values: np.ndarray, **tags: Any) -> pydicom.Dataset:
    """A small valid CT image; ``None`` takes an element out."""
    found = pydicom.Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    elements: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "SeriesInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2",
        "PatientName": "Secret^Name",
        "PatientID": "4711",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SeriesDescription": "thorax",
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "PixelSpacing": [0.5, 0.7],
        "ImageOrientationPatient": list(AXIAL),
        "ImagePositionPatient": [10.0, 20.0, 30.0],
        "PixelData": values.tobytes(),
    }
    for name, value in {**elements, **tags}.items():
        if value is not None:
            setattr(found, name, value)
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    return found


def save(path: Path, found: pydicom.Dataset) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.save_as(path, enforce_file_format=True)
    return str(path)


@pytest.fixture
def write_one(tmp_path: Path) -> Write:
    """Write one image by its values and elements; returns its path."""
    return lambda name, values, **tags: save(tmp_path / name, dataset(values, **tags))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., list[str]]:
    """Write slices ``name-0.dcm``, ... at heights along the normal of an orientation; returns their paths."""

    def slices(
        name: str, heights: Sequence[float], orientation: Sequence[float] = AXIAL, first: int = 0, **tags: Any
    ) -> list[str]:
        normal = np.cross(orientation[:3], orientation[3:])
        paths = []
        size = tags.pop("size", (3, 4))
        for k, height in enumerate(heights):
            values = np.full(size, first + k, np.int16)
            place = {
                "ImagePositionPatient": [float(v) for v in normal * height],
                "ImageOrientationPatient": list(orientation),
            }
            options = {**place, "InstanceNumber": k + 1, **tags}
            paths.append(save(tmp_path / f"{name}-{k}.dcm", dataset(values, **options)))
        return paths

    return slices
