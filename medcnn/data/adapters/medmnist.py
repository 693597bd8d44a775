"""The published .npz files of MedMNIST: images and labels of three parts in one file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from medcnn.data.adapters.common import elsewhere, make_schema
from medcnn.data.images.npz import array_shape
from medcnn.errors import DataError, ImageError
from medcnn.types import Case, ClassLabel, Dataset, ImageRef, Part

PARTS: tuple[tuple[str, Part], ...] = (("train", "training"), ("val", "validation"), ("test", "test"))


def medmnist(root: Path, *, file: str, classes: tuple[str, ...], multilabel: bool = False) -> Dataset:
    """Cases of one MedMNIST set, with the published parts.

    Args:
        root: Folder of the file.
        file: Name of the ``.npz`` file.
        classes: Names of the classes by their value.
        multilabel: Each case has a state for every class.

    Raises:
        DataError: If the file is absent or is not one of MedMNIST.
    """
    path = root / file
    if not path.is_file():
        todo = elsewhere(root, (file,)) or "download it, and set data.root=FOLDER to the folder that holds it"
        raise DataError("the file is not there", where=str(path), todo=todo)
    cases: list[Case] = []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = {part: np.asarray(arrays[f"{part}_labels"]) for part, _ in PARTS}
        counts = {part: array_shape(str(path), f"{part}_images")[0] for part, _ in PARTS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ImageError) as error:
        raise DataError(f"not a file of MedMNIST: {error}", where=str(path)) from error
    count = len(classes)
    for key, part in PARTS:
        rows = labels[key].reshape(len(labels[key]), -1)
        if len(rows) != counts[key]:
            raise DataError(f"there are {len(rows)} labels for {counts[key]} images", where=f"{path}: {key}")
        width = count if multilabel else 1
        if len(rows) and rows.shape[1] != width:
            raise DataError(f"a label has {rows.shape[1]} entries, expected {width}", where=f"{path}: {key}")
        for index, row in enumerate(rows):
            if multilabel and not set(row.tolist()) <= {0, 1}:
                raise DataError("a label holds other values than 0 and 1", where=f"{path}: {key} {index}")
            if not multilabel and not 0 <= int(row[0]) < count:
                raise DataError(
                    f"the label {int(row[0])} is not in the schema of {count}", where=f"{path}: {key} {index}"
                )
            label = ClassLabel(tuple(int(v) for v in row)) if multilabel else ClassLabel.of(int(row[0]), count)
            ref = ImageRef((str(path),), "npz", f"{key}_images", index)
            cases.append(Case(f"{key}-{index:06d}", (ref,), (label,), part=part))
    return Dataset(root.name, tuple(cases), {"class": make_schema(classes, multilabel=multilabel)})
