"""Time and memory of finding the series of a folder of 10,000 DICOM files by their headers, the first and second time.

The goals on 2 cores: under 60 s the first time, under 3 s the second (a new process each), and under 1 GB of memory.

Run: python tests/benchmarks/bench_headers.py [files] [processes]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

GOAL_FIRST_S, GOAL_SECOND_S, GOAL_BYTES = 60.0, 3.0, 10**9
SLICES = 40
# As the phantom's scans have them, and what scanners write beside: times, codes, doses, private elements.
PRIVATE = 24


def template(patient: int, study: int, series: int) -> Any:
    """What the slices of a series share."""
    import pydicom
    from pydicom.uid import CTImageStorage

    one = pydicom.Dataset()
    one.SpecificCharacterSet, one.SOPClassUID = "ISO_IR 100", CTImageStorage
    one.ImageType, one.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    one.StudyDate = one.SeriesDate = one.AcquisitionDate = one.ContentDate = f"2021{1 + patient % 12:02d}05"
    one.StudyTime = one.SeriesTime = one.AcquisitionTime = one.ContentTime = "101500"
    one.AccessionNumber, one.Manufacturer, one.InstitutionName = f"{patient:07d}", "Vendor", "Generated Hospital"
    one.ReferringPhysicianName, one.StationName, one.ManufacturerModelName = "", "CT01", "Model A"
    one.StudyDescription, one.SeriesDescription = "CT Abdomen", f"Abdomen {1 + series} soft"
    one.ProtocolName, one.BodyPartExamined = "Abdomen routine", ("ABDOMEN", "", "CHEST")[series % 3]
    one.PatientName, one.PatientID, one.PatientBirthDate = f"Phantom^{patient}", f"P{patient:04d}", "19600101"
    one.PatientSex, one.PatientAge, one.PatientSize, one.PatientWeight = "FM"[patient % 2], "061Y", "1.7", "70"
    one.SliceThickness, one.KVP, one.SpacingBetweenSlices = "3", "120", "3"
    one.XRayTubeCurrent, one.ExposureTime, one.GantryDetectorTilt = 220, 500, "0"
    one.ConvolutionKernel, one.PatientPosition, one.SoftwareVersions = "B30f", "HFS", "VA10"
    one.StudyInstanceUID, one.SeriesInstanceUID = f"1.2.3.{patient}.{study}", f"1.2.3.{patient}.{study}.{series}"
    one.StudyID, one.SeriesNumber, one.AcquisitionNumber = str(study), series + 1, 1
    one.FrameOfReferenceUID, one.PositionReferenceIndicator = f"1.2.4.{patient}.{study}", ""
    one.ImageOrientationPatient, one.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.7, 0.7]
    one.SamplesPerPixel, one.PhotometricInterpretation, one.Rows, one.Columns = 1, "MONOCHROME2", 16, 16
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.WindowCenter, one.WindowWidth, one.RescaleIntercept, one.RescaleSlope = "40", "400", "-1024", "1"
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTABD", "99LOCAL", "CT abdomen"
    one.ProcedureCodeSequence = [code]
    block = one.private_block(0x0019, "VENDOR CT HEADER", create=True)
    for k in range(PRIVATE):
        block.add_new(k, "LO", f"value {k}")
    return one


def make_files(folder: Path, count: int) -> int:
    """Patients with studies of three series of 40 slices, in folders of their own; returns the number of series."""
    from medcnn.data.phantom.dicom import Encoder

    made = number = 0
    while made < count:
        patient, rest = divmod(number, 6)
        study, series = divmod(rest, 3)
        place = folder / f"patient {patient:04d}" / f"study {study}" / f"series {series}"
        place.mkdir(parents=True)
        shared = template(patient, study, series)
        encoder = Encoder(shared)
        for k in range(min(SLICES, count - made)):
            values = {"ImagePositionPatient": ["-5", "-5", f"{3 * k}"], "SliceLocation": f"{3 * k}"}
            uid = f"{shared.SeriesInstanceUID}.{k}"
            encoder.write(
                place / f"{k:04d}.dcm", SOPInstanceUID=uid, InstanceNumber=k + 1, PixelData=bytes(512), **values
            )
        made += min(SLICES, count - made)
        number += 1
    return number


def look(folder: str, workers: int) -> dict[str, Any]:
    """Find the stacks of a folder; in this process."""
    import resource

    started = time.perf_counter()
    from medcnn.data.dicom_sources import list_files
    from medcnn.data.images import stacks_of
    from medcnn.data.series_index import SeriesIndex

    stacks = files = 0
    with SeriesIndex(list_files(Path(folder)), workers=workers) as index:
        for group in index.groups():
            found = stacks_of(entry.header for entry in group)
            stacks += len(found)
            files += sum(len(s.paths) for s in found)
        read = index.read
    own, below = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": round(time.perf_counter() - started, 2),
        "cpu_s": round(own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime, 2),
        "memory_mb": round(1024 * (own.ru_maxrss + workers * below.ru_maxrss) / 10**6),
        "stacks": stacks,
        "files": files,
        "read": read,
        "torch": "torch" in sys.modules,
    }


def main() -> int:
    """Make the files, look twice, and print the figures; 1 where a goal is missed."""
    if sys.argv[1:2] == ["--look"]:
        print(json.dumps(look(sys.argv[2], int(sys.argv[3]))))
        return 0
    count, workers = (
        (int(v) for v in (*sys.argv[1:3], "10000", "2")[:2]) if len(sys.argv) != 2 else (int(sys.argv[1]), 2)
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "data")
        series = make_files(folder, count)
        # A file that is younger than the clock's step is read again the next time.
        time.sleep(2.5)
        results = {}
        for name in ("first", "second"):
            done = subprocess.run(
                [sys.executable, __file__, "--look", str(folder), str(workers)],
                env={**os.environ, "MEDCNN_CACHE": str(Path(scratch, "cache"))},
                capture_output=True,
                text=True,
                check=True,
            )
            results[name] = json.loads(done.stdout)
        index = sum(p.stat().st_size for p in Path(scratch, "cache", "headers").iterdir())
    for name, found in results.items():
        print(f"{name}: {found}")
    print(f"{count:,} files in {series} series; index of {index / 10**6:.1f} MB")
    first, second = results["first"], results["second"]
    right = first["files"] == second["files"] == count and first["stacks"] == series and not second["read"]
    met = first["wall_s"] < GOAL_FIRST_S and second["wall_s"] < GOAL_SECOND_S
    small = max(first["memory_mb"], second["memory_mb"]) * 10**6 < GOAL_BYTES
    print("goals met" if right and met and small else "goals MISSED")
    return 0 if right and met and small else 1


if __name__ == "__main__":
    sys.exit(main())
