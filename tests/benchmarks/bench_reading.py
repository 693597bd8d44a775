"""Time of reading a CT series of 300 slices of 512x512, against SimpleITK's series reader, in interleaved pairs.

The goals: not slower than SimpleITK (median ratio at most 1), and under 1 GB of memory. Also timed: headers alone.

Run: python tests/benchmarks/bench_reading.py [slices] [pairs]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

GOAL_RATIO = 1.0
GOAL_BYTES = 10**9


def make_series(folder: Path, slices: int, size: int = 512) -> None:
    """A CT series with noise, so that nothing compresses away; names follow another order than positions."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body = np.where(x**2 + (1.4 * y) ** 2 < 0.7, 1064, 24).astype(np.uint16)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(slices):
        one = pydicom.Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.PatientID, one.PatientName = "CT", "1", "Phantom"
        one.ImageType, one.SeriesNumber, one.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, k + 1
        one.Rows = one.Columns = size
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.PixelSpacing, one.SliceThickness = [0.7, 0.7], 1
        one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-180, -180, float(k)]
        one.RescaleSlope, one.RescaleIntercept, one.WindowCenter, one.WindowWidth = 1, -1024, 40, 400
        one.PixelData = (body + rng.integers(0, 60, body.shape, np.uint16)).tobytes()
        one.save_as(folder / f"{(k * 7) % slices:05d}.dcm", enforce_file_format=True)


def by_medcnn(folder: str) -> np.ndarray[Any, Any]:
    """The volume by medcnn, ``(X, Y, Z)``."""
    from medcnn.data.images import read_image, series_files
    from medcnn.types import ImageRef

    return read_image(ImageRef(series_files(folder))).array[0]


def by_simpleitk(folder: str) -> np.ndarray[Any, Any]:
    """The volume by SimpleITK, ``(X, Y, Z)``."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute())).T


def peak_of(name: str, folder: str) -> int:
    """Peak memory of a fresh process that reads the series once."""
    here = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import bench_reading as b; b.alone(*sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, name, folder], capture_output=True, text=True, check=True)
    return int(done.stdout)


def alone(name: str, folder: str) -> None:
    """Read once and print the peak memory in bytes."""
    globals()[name](folder)
    # Not getrusage: a process that was started by a large one inherits its figure.
    print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)


def main() -> int:
    """Print ratio and memory; exit 1 if a goal was missed."""
    from medcnn.data.images import scan_file

    given = [int(v) for v in sys.argv[1:3]]
    slices, pairs = [*given, *(300, 9)[len(given) :]]
    with tempfile.TemporaryDirectory() as folder:
        make_series(Path(folder), slices)
        same = bool((by_medcnn(folder) == by_simpleitk(folder)).all())
        times: list[tuple[float, float]] = []
        busy: list[tuple[float, float]] = []
        for i in range(pairs):
            spent = {}
            for read in (by_medcnn, by_simpleitk) if i % 2 else (by_simpleitk, by_medcnn):
                start, cpu = time.perf_counter(), time.process_time()
                read(folder)
                spent[read] = time.perf_counter() - start, time.process_time() - cpu
            times.append((spent[by_medcnn][0], spent[by_simpleitk][0]))
            busy.append((spent[by_medcnn][1], spent[by_simpleitk][1]))
        start = time.perf_counter()
        for path in Path(folder).iterdir():
            scan_file(str(path))
        scan = (time.perf_counter() - start) / slices
        peak, other = peak_of("by_medcnn", folder), peak_of("by_simpleitk", folder)
    ratios = sorted(ours / theirs for ours, theirs in times)
    ours, theirs = median(t[0] for t in times), median(t[1] for t in times)
    print(f"{slices} slices of 512x512, {pairs} pairs; values equal: {same}")
    print(
        f"medcnn {ours:.2f} s, SimpleITK {theirs:.2f} s: ratio {median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    )
    ours, theirs = median(t[0] for t in busy), median(t[1] for t in busy)
    print(f"processor time: medcnn {ours:.2f} s, SimpleITK {theirs:.2f} s")
    print(
        f"peak memory: medcnn {peak / 1e9:.2f} GB, SimpleITK {other / 1e9:.2f} GB; "
        f"header scan {scan * 1e3:.2f} ms a file"
    )
    reached = same and median(ratios) <= GOAL_RATIO and peak < GOAL_BYTES
    print(f"goals (ratio <= {GOAL_RATIO:g}, memory < 1 GB): {'reached' if reached else 'missed'}")
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
