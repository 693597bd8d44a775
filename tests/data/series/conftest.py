"""Small trees of DICOM for the tests of series, the index and the adapter."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Tree:
    """Writes DICOM files below a folder, older than the clock's step so that an index may remember them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._count = 0

    def write(self, name: str, values: np.ndarray[Any, Any] | None = None, **tags: Any) -> Path:
        """One file; ``None`` takes an element out."""
        self._count += 1
        pixels = np.full((3, 4), self._count, np.int16) if values is None else values
        found = pydicom.Dataset()
        found.file_meta = FileMetaDataset()
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        elements: dict[str, Any] = {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": f"1.9.{self._count}",
            "SeriesInstanceUID": "1.2.3",
            "StudyInstanceUID": "1.2",
            "PatientName": "Secret^Name",
            "PatientID": "4711",
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SeriesDescription": "thorax",
            "Rows": pixels.shape[0],
            "Columns": pixels.shape[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "PixelSpacing": [0.5, 0.7],
            "ImageOrientationPatient": list(AXIAL),
            "ImagePositionPatient": [10.0, 20.0, 30.0],
            "PixelData": pixels.tobytes(),
        }
        for key, value in {**elements, **tags}.items():
            if value is not None:
                setattr(found, key, value)
        found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
        found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.save_as(path, enforce_file_format=True)
        os.utime(path, (10**9, 10**9))
        return path

    def series(self, folder: str, heights: Sequence[float] = (0, 3, 6), **tags: Any) -> list[Path]:
        """The slices of a stack, ``folder/0.dcm`` and on, a series of its own by the folder's name."""
        uid = "1.5." + "".join(str(ord(c) % 10) for c in folder)[:40]
        place: dict[str, Any] = {"SeriesInstanceUID": uid, "StudyInstanceUID": f"{uid}.1", **tags}
        return [
            self.write(f"{folder}/{k}.dcm", ImagePositionPatient=[0.0, 0.0, float(z)], InstanceNumber=k, **place)
            for k, z in enumerate(heights)
        ]

    def film(self, name: str, **tags: Any) -> Path:
        """A radiograph."""
        flat: dict[str, Any] = {"Modality": "CR", "ImagePositionPatient": None, "ImageOrientationPatient": None}
        return self.write(name, SOPClassUID="1.2.840.10008.5.1.4.1.1.1", **{**flat, **tags})


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty tree."""
    return Tree(tmp_path / "tree")
