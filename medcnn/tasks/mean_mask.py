"""The trivial baseline of segmentation: where the masks of the training part lie on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.files import open_atomic
from medcnn.geometry.resample import IGNORE
from medcnn.tasks.base import CachedImages, Placement
from medcnn.tasks.mask_predictions import decided_labels
from medcnn.types import LabelSchema, MapPrediction

NAME = "mean_mask.npz"
# Voxels along each axis of the common grid, in which an image's edges are those of the grid.
SIDES = {2: 128, 3: 48}
_SHARES = np.linspace(0.1, 0.9, 17)


@dataclass(frozen=True, slots=True, eq=False)
class MeanMask:
    """Labels in a common grid, relative to the edges of the network's image.

    Attributes:
        labels: ``(K, *grid)`` uint8 of 0 and 1, a channel a label.
        dice: ``(K,)`` mean Dice of that mask on the training part itself.
    """

    labels: NDArray[np.uint8]
    dice: NDArray[np.float64]

    def save(self, folder: Path) -> None:
        """Write it into a fold's folder."""
        with open_atomic(folder / NAME, "wb") as file:
            np.savez_compressed(file, labels=self.labels, dice=self.dice)

    @classmethod
    def load(cls, folder: Path) -> MeanMask | None:
        """What :meth:`save` wrote; ``None`` where it is not there."""
        path = folder / NAME
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as found:
            return cls(found["labels"], found["dice"])

    def placed(self, placement: Placement, shape: Sequence[int], schema: LabelSchema) -> NDArray[np.uint8]:
        """The mask in the grid of an original image.

        Args:
            placement: Where the image lies in the network's grid.
            shape: Spatial shape of the image there.
            schema: The labels.

        Returns:
            As :func:`~medcnn.tasks.mask_predictions.decided_labels`.
        """
        dims = len(shape)
        step = np.eye(dims + 1)
        for axis, (have, grid) in enumerate(zip(shape, self.labels.shape[1:], strict=True)):
            step[axis, axis] = grid / have
            step[axis, -1] = 0.5 * grid / have - 0.5
        maps = self.labels.astype(np.float32)
        if not schema.multilabel:
            maps = np.concatenate([np.clip(1 - maps.sum(0, keepdims=True), 0, 1), maps])
        return decided_labels(MapPrediction(maps), Placement(step @ placement.matrix, placement.shape), schema)


def mean_training_mask(maps: CachedImages, places: Sequence[int], schema: LabelSchema) -> MeanMask:
    """The mask that, the same for every image, has the best mean Dice on the training part.

    For each label the voxels in which at least a share of the training masks have it; the share is the best of a
    few, by the Dice on those masks.

    Raises:
        DataError: If no voxel of the training part has a label.
    """
    count = len(schema.classes)
    shown: list[NDArray[np.bool_]] = []
    for place in places:
        labels = maps.volume(int(place))[1]
        if labels is not None:
            shown.append(_on_common_grid(labels, count, schema.multilabel))
    stacked = np.array(shown)
    if not stacked.size or not stacked.any():
        raise DataError(
            f"no voxel of the {len(places)} training masks has a label: nothing can be learned",
            where="training part",
            todo="check the labels' values in the schema, and the masks",
        )
    mean = stacked.mean(0, dtype=np.float32)
    best, dice = np.zeros(stacked.shape[1:], np.uint8), np.zeros(count)
    for k in range(count):
        seen = stacked[:, k][stacked[:, k].reshape(len(stacked), -1).any(1)]
        if not len(seen):
            continue
        for share in _SHARES * float(mean[k].max()):
            mask = mean[k] >= share
            both = (seen & mask).reshape(len(seen), -1).sum(1)
            figure = float(np.mean(2 * both / (mask.sum() + seen.reshape(len(seen), -1).sum(1))))
            if figure > dice[k]:
                best[k], dice[k] = mask, figure
    if not schema.multilabel:
        # Where masks of several labels meet, the more frequent one stays.
        winner = mean.argmax(0)
        best *= (np.arange(count).reshape(-1, *[1] * winner.ndim) == winner).astype(np.uint8)
    return MeanMask(best, dice)


def _on_common_grid(labels: NDArray[np.uint8], count: int, overlapping: bool) -> NDArray[np.bool_]:
    dims = labels.ndim - 1
    side = SIDES[dims]
    index = [np.minimum(((np.arange(side) + 0.5) * n / side).astype(np.int64), n - 1) for n in labels.shape[1:]]
    taken = labels[np.ix_(np.arange(len(labels)), *index)]
    if overlapping:
        return np.asarray(taken == 1)
    return np.asarray(np.stack([taken[0] == k for k in range(1, count + 1)]) & (taken != IGNORE))
