"""The trivial baseline of segmentation: where the masks of the training part lie on average."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    few, by the Dice on those masks. The masks are read twice, one at a time: memory does not grow with their number.

    Raises:
        DataError: If no voxel of the training part has a label.
    """
    number, total = 0, np.zeros(0, np.int64)
    for shown in _masks(maps, places, schema):
        total = shown.astype(np.int64) if not number else total + shown
        number += 1
    if not total.any():
        raise DataError(
            f"no voxel of the {len(places)} training masks has a label: nothing can be learned",
            where="training part",
            todo="check the labels' values in the schema, and the masks",
        )
    mean = (total / number).astype(np.float32)
    limits = _SHARES * mean.reshape(len(mean), -1).max(1)[:, None].astype(np.float64)
    figures = _mean_dice(mean, limits, _masks(maps, places, schema))
    chosen = figures.argmax(1)
    dice = figures[np.arange(len(mean)), chosen]
    best = np.zeros(mean.shape, np.uint8)
    for k in np.flatnonzero(dice > 0):
        best[k] = mean[k] >= limits[k, chosen[k]]
    if not schema.multilabel:
        # Where masks of several labels meet, the more frequent one stays.
        winner = mean.argmax(0)
        best *= (np.arange(len(mean)).reshape(-1, *[1] * winner.ndim) == winner).astype(np.uint8)
    return MeanMask(best, dice)


def _masks(maps: CachedImages, places: Sequence[int], schema: LabelSchema) -> Iterator[NDArray[np.bool_]]:
    """``(K, *grid)`` of each case that has a mask."""
    for place in places:
        labels = maps.volume(int(place))[1]
        if labels is not None:
            yield _on_common_grid(labels, len(schema.classes), schema.multilabel)


def _mean_dice(
    mean: NDArray[np.float32], limits: NDArray[np.float64], masks: Iterator[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """``(K, S)`` mean Dice of the voxels in which the mean reaches each limit, over the masks that have the label."""
    flat = mean.reshape(len(mean), 1, -1)
    candidates = flat >= limits[:, :, None]
    sizes = candidates.sum(2)
    figures, cases = np.zeros(limits.shape), np.zeros(len(mean))
    for shown in masks:
        seen = shown.reshape(len(shown), -1)
        for k in np.flatnonzero(seen.any(1)):
            both = np.count_nonzero(candidates[k] & seen[k], axis=1)
            figures[k] += 2 * both / (sizes[k] + np.count_nonzero(seen[k]))
            cases[k] += 1
    return figures / np.maximum(cases, 1)[:, None]


def _on_common_grid(labels: NDArray[np.uint8], count: int, overlapping: bool) -> NDArray[np.bool_]:
    dims = labels.ndim - 1
    side = SIDES[dims]
    index = [np.minimum(((np.arange(side) + 0.5) * n / side).astype(np.int64), n - 1) for n in labels.shape[1:]]
    taken = labels[np.ix_(np.arange(len(labels)), *index)]
    if overlapping:
        return np.asarray(taken == 1)
    return np.asarray(np.stack([taken[0] == k for k in range(1, count + 1)]) & (taken != IGNORE))
