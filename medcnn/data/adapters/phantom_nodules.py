"""The generated cohort of lung nodules as cases: CT scans of one lung, with boxes and masks of their nodules."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from medcnn.data.adapters.common import make_schema
from medcnn.data.adapters.mask_labels import mask_schema
from medcnn.data.phantom.nodule_cohort import NODULES_VERSION, NoduleSize, make_nodules
from medcnn.errors import DataError
from medcnn.progress import Progress
from medcnn.types import Attribute, Boxes, Case, Dataset, ImageRef, Mask

_CORNERS = ("x1", "y1", "z1", "x2", "y2", "z2")


def phantom_nodules(
    root: Path,
    *,
    patients: int = 120,
    seed: int = 0,
    size: NoduleSize = "small",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Cases of the generated cohort of lung nodules, which is made below ``root`` where it is not there yet.

    A third of the patients, and of the scans, has no nodules.

    Args:
        root: Folder that holds cohorts, one subfolder for each set of parameters.
        patients: Number of patients; six have nine scans.
        seed: Seed of the cohort.
        size: ``small``: 80 x 80 x 40 voxels of 1.25 x 1.25 x 2.5 mm; ``medium``: 128 x 128 x 64 of 0.78 x 0.78 x
            1.56 mm.
        workers: Processes that generate; ``None``: one a core.
        progress: Receives one unit a patient while the cohort is made.

    Returns:
        Cases with the boxes of their nodules first, and the mask of the same.

    Raises:
        DataError: If an option makes no sense, or the cohort on disk is damaged.
    """
    folder = Path(root) / f"nodules-v{NODULES_VERSION}-{size}-{patients}-{seed}"
    make_nodules(folder, patients=patients, seed=seed, size=size, workers=workers, progress=progress)
    corners: dict[str, list[list[float]]] = {}
    for row in _rows(folder / "nodules.csv"):
        corners.setdefault(row["scan"], []).append([float(row[name]) for name in _CORNERS])
    cases = tuple(_case(folder, row, corners.get(row["scan"], [])) for row in _rows(folder / "scans.csv"))
    labels = {"boxes": make_schema(("nodule",)), "mask": mask_schema({"nodule": 1}, overlapping=False)}
    facts = {"modality": "CT", "cohort": str(folder)}
    return Dataset("phantom_nodules", cases, labels, patients_known=True, facts=facts)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DataError(
            f"the cohort is damaged: {error.strerror}",
            where=str(path),
            todo="delete the cohort's folder: it is made anew",
        ) from error


def _case(folder: Path, row: dict[str, str], corners: list[list[float]]) -> Case:
    boxes = Boxes(np.array(corners, np.float32).reshape(-1, 6), np.zeros(len(corners), np.int64))
    image, mask = (ImageRef((str(folder / kind / f"{row['scan']}.nii.gz"),), "nifti") for kind in ("images", "masks"))
    attributes: dict[str, Attribute] = {
        "sex": row["sex"],
        "age": int(row["age"]),
        "side": row["side"],
        "scanner": row["scanner"],
        "contrast": int(row["contrast"]),
    }
    return Case(row["scan"], (image,), (boxes, Mask(mask)), patient=row["patient"], attributes=attributes)
