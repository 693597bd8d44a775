"""Predicted masks on disk: decided in the image's own grid, read again for evaluation."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import read_mask
from medcnn.errors import DataError
from medcnn.files import open_atomic
from medcnn.geometry.resample import to_original
from medcnn.tasks.base import Placement
from medcnn.types import Case, Image, ImageRef, LabelSchema, MapPrediction, Mask, MaskFile, Prediction

SEPARATOR = "|"


def decided_labels(prediction: MapPrediction, placement: Placement, schema: LabelSchema) -> NDArray[np.uint8]:
    """The label of each voxel of the original image, from probabilities that are resampled to it first.

    What the network did not see (outside of a crop) is background.

    Returns:
        ``(X, Y[, Z])`` positions, or ``(L, X, Y[, Z])`` of 0 and 1 where labels overlap.
    """
    maps = prediction.probabilities
    overlapping = schema.multilabel
    result = np.zeros((*((len(maps),) if overlapping else ()), *placement.shape), np.uint8)
    for places, slab, inside in to_original(maps, placement.matrix, placement.shape):
        found = (slab >= 0.5).astype(np.uint8) if overlapping else slab.argmax(0).astype(np.uint8)
        where: tuple[Any, ...] = (..., *inside[:-1], places)
        result[where] = found
    return result


def placed_maps(prediction: MapPrediction, placement: Placement, schema: LabelSchema) -> MapPrediction:
    """The probabilities at the voxels of the original image; what the network did not see is background."""
    maps = prediction.probabilities
    result = np.zeros((len(maps), *placement.shape), np.float32)
    if not schema.multilabel:
        result[0] = 1
    for places, slab, inside in to_original(maps, placement.matrix, placement.shape):
        where: tuple[Any, ...] = (..., *inside[:-1], places)
        result[where] = slab
    return MapPrediction(result)


def label_fractions(prediction: MapPrediction, placement: Placement, schema: LabelSchema) -> NDArray[np.float32]:
    """The probability of each label at the voxels of the original image, in steps of 1/255 as bytes hold them.

    Returns:
        ``(L, X, Y[, Z])`` in [0, 1]; what the network did not see is 0.
    """
    maps = prediction.probabilities if schema.multilabel else prediction.probabilities[1:]
    result = np.zeros((len(maps), *placement.shape), np.float32)
    for places, slab, inside in to_original(maps, placement.matrix, placement.shape):
        where: tuple[Any, ...] = (..., *inside[:-1], places)
        result[where] = np.rint(slab.clip(0, 1) * 255) / 255
    return result


def mean_maps(predictions: Iterable[Prediction]) -> MapPrediction:
    """The mean of probabilities, summed in the array of the first."""
    total: NDArray[np.float32] | None = None
    count = 0
    for prediction in predictions:
        assert isinstance(prediction, MapPrediction)
        count += 1
        if total is None:
            total = prediction.probabilities
        else:
            total += prediction.probabilities
        # The maps of a volume are gigabytes: those of one network are gone before the next computes.
        del prediction
    assert total is not None
    if count > 1:
        total /= count
    return MapPrediction(total)


@dataclass(frozen=True, slots=True)
class MaskTable:
    """The predicted masks of one part.

    Attributes:
        folder: Where the files lie.
        cases: Ids.
        files: Names of the files of each case; where labels overlap one a label.
    """

    folder: Path
    cases: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]

    def read(self, number: int, schema: LabelSchema, image: Image, *, baseline: bool = False) -> NDArray[np.uint8]:
        """The mask of one case in its image's grid, as :func:`~medcnn.data.labels.read_mask` gives it.

        Args:
            number: Which case.
            schema: The labels.
            image: The image, for its grid.
            baseline: The mask of the trivial baseline instead.
        """
        folder = self.folder / "baseline" if baseline else self.folder
        paths = [str(folder / name) for name in self.files[number]]
        if not schema.multilabel:
            return read_mask(Mask(ImageRef((paths[0],))), schema, image)
        channels = [
            read_mask(Mask(ImageRef((path,))), LabelSchema((label,)), image)
            for path, label in zip(paths, schema.classes, strict=True)
        ]
        return np.stack(channels)

    @property
    def has_baseline(self) -> bool:
        """Whether the masks of the trivial baseline are there."""
        return (self.folder / "baseline").is_dir()


def write_mask_table(
    path: Path, part: str, cases: Sequence[str], files: Sequence[MaskFile], schema: LabelSchema
) -> Path:
    """``<part>.csv``: the case, its file relative to the table, and the volume of each label in its unit."""
    counts = Counter(name for found in files for name in found.paths)
    shared = next((name for name, count in counts.items() if count > 1), None)
    if shared is not None:
        raise DataError(
            f"two cases would share the file {shared}",
            where=str(path),
            todo="give cases ids that differ in more than the ending of the file",
        )
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "mask", "unit", *(f"volume_{name}" for name in schema.names)])
        for case, found in zip(cases, files, strict=True):
            names = SEPARATOR.join(f"{part}/{name}" for name in found.paths)
            writer.writerow([case, names, found.unit, *(format(v, ".9g") for v in found.volumes)])
    return path


def read_mask_table(path: Path, cases: Mapping[str, Case]) -> MaskTable:
    """The table that :func:`write_mask_table` wrote.

    Raises:
        DataError: If it is missing or broken, names a case twice, or one that the run does not have.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        ids = tuple(row["case"] for row in rows)
        files = tuple(tuple(Path(name).name for name in row["mask"].split(SEPARATOR)) for row in rows)
    except FileNotFoundError as error:
        raise DataError("the predictions are missing", where=str(path), todo="train or predict first") from error
    except (KeyError, AttributeError, csv.Error, ValueError) as error:
        raise DataError("the predictions cannot be read", where=str(path), todo="predict again") from error
    unknown = [i for i in ids if i not in cases]
    if unknown or len(set(ids)) < len(ids):
        what = (
            f"{len(unknown)} cases are not of this run, the first is {unknown[0]}" if unknown else "cases stand twice"
        )
        raise DataError(what, where=str(path), todo="predict again with the model of this run")
    return MaskTable(path.parent / path.stem, ids, files)
