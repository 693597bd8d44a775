"""Peak memory of predicting one large volume.

Run: python tests/benchmarks/bench_predict_memory.py [binary|fractional|labelmap] [X Y Z] [mirror]

A CT series of 512x512x400 voxels (as files of DICOM) is segmented by a small network with three labels, with the real
command: read, predicted by a sliding window, decided, written as NIfTI and as DICOM segmentation. The network's own
size adds little: what counts are the maps of probabilities of the whole volume. Under 6 GB is the goal.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medcnn.data.preprocess import Preprocessor
from medcnn.inference.model_file import FORMAT
from medcnn.models.build import build_network
from medcnn.recipe.schema import InputSection
from medcnn.tasks.base import TrainingFacts
from medcnn.tasks.segmentation import SegmentationTask
from medcnn.types import LabelClass, LabelSchema

LIMIT_GB = 6.0
WINDOW = (128, 128, 64)
OPTIONS = {"channels": (4, 8), "res_units": 0}


def write_model(path: Path, *, mirror: bool) -> None:
    """A network with random weights, as a run would leave it."""
    torch.manual_seed(0)
    schema = LabelSchema(tuple(LabelClass(k, f"label {k}") for k in (1, 2, 3)))
    task = SegmentationTask(schema, overlap=0.25, mirror=mirror)
    network = build_network(
        "unet", OPTIONS, spatial_dims=3, in_channels=1, outputs=task.outputs, size=WINDOW, dense=True
    )
    model = task.build(network, torch.nn.Module(), TrainingFacts())
    about = {
        "format": FORMAT,
        "task": {"name": "segmentation", "state": task.state()},
        "network": {
            "name": "unet", "options": OPTIONS, "spatial_dims": 3, "in_channels": 1, "outputs": task.outputs,
            "size": list(WINDOW),
        },
        "preprocess": Preprocessor(InputSection(size=WINDOW, fit="patches", symmetric_axes=(0,))).state(),
        "thresholds": {},
    }  # fmt: skip
    torch.save({"state_dict": {f"model.{k}": v for k, v in model.state_dict().items()}, "medcnn": about}, path)


def write_series(folder: Path, shape: tuple[int, int, int]) -> None:
    """A CT series of noise around bright balls."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    x, y = np.ogrid[: shape[1], : shape[0]]
    for z in range(shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"1.2.3.{z}"
        made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
        made.Modality, made.SeriesNumber, made.InstanceNumber = "CT", 1, z
        made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
        made.PixelSpacing, made.SliceThickness = [0.8, 0.8], 1
        made.Rows, made.Columns, made.SamplesPerPixel, made.PixelRepresentation = shape[1], shape[0], 1, 1
        made.PhotometricInterpretation, made.BitsAllocated, made.BitsStored, made.HighBit = "MONOCHROME2", 16, 16, 15
        made.RescaleSlope, made.RescaleIntercept = 1, 0
        inside = (x - shape[1] / 2) ** 2 + (y - shape[0] / 2) ** 2 + (z - shape[2] / 2) ** 2 < (min(shape) / 3) ** 2
        values = generator.normal(0, 20, inside.shape) + 200 * inside
        made.PixelData = values.astype(np.int16).tobytes()
        made.save_as(folder / f"{z:04d}.dcm", enforce_file_format=True)


def main() -> int:
    """Print the peak and the time; the exit code is 1 above the limit."""
    mirror = "mirror" in sys.argv
    kind = sys.argv[1] if len(sys.argv) > 1 else "binary"
    x, y, z = (int(v) for v in sys.argv[2:5]) if len(sys.argv) > 4 else (512, 512, 400)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_series(folder / "ct", (x, y, z))
        write_model(folder / "model.pt", mirror=mirror)
        command = [
            sys.executable, "-m", "medcnn", "predict", folder / "model.pt", folder / "ct", "--out", folder / "out",
            "--seg", kind, "--overlays",
        ]  # fmt: skip
        started = time.perf_counter()
        subprocess.run([str(part) for part in command], check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        sizes = {p.name: p.stat().st_size for p in sorted((folder / "out").rglob("*.*"))}
    peak = used.ru_maxrss / 2**20
    print(f"{x}x{y}x{z} voxels, 3 labels, DICOM segmentation {kind}{', mirrored' * mirror}: peak {peak:.2f} GB")
    print(f"{time.perf_counter() - started:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU; bytes: {sizes}")
    return int(peak > LIMIT_GB)


if __name__ == "__main__":
    sys.exit(main())
