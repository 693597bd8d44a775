"""Patches of cached volumes: where they lie is a function of (seed, epoch, case, occurrence)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.randomness import uniforms
from medcnn.geometry.resample import IGNORE

# Columns of the draws.
FOREGROUND, LABEL, VOXEL, PLACE = 0, 1, 2, 3
DRAWS = 6
# Voxels of a label that are remembered of a volume: as many different patches see the label.
REMEMBERED = 2000
# Patches are drawn from numbers of their own, whatever the augmentation draws.
_OWN = 0x9A7C4


@dataclass(frozen=True, eq=False)
class PatchDraw:
    """Draws one patch of a volume at a time.

    Attributes:
        size: ``(X, Y[, Z])`` of a patch; no volume is smaller.
        foreground: Share of the patches that are centred, as far as the volume's edge allows, on a voxel of a label;
            the label is drawn among those of the case first, so that small ones are seen as often as large ones. With
            boxes: on a place within a box.
        seed: The recipe's seed.
    """

    size: tuple[int, ...]
    foreground: float
    seed: int
    _known: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict, repr=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> PatchDraw:
        return self

    def starts(
        self,
        place: int,
        labels: NDArray[np.uint8] | None,
        shape: tuple[int, ...],
        key: int,
        epoch: int,
        *,
        boxes: NDArray[np.float32] | None = None,
    ) -> tuple[int, ...]:
        """First voxel of the patch along each axis.

        Args:
            place: Number of the case, by which its labelled voxels are remembered.
            labels: ``(K, *shape)`` label map of the whole volume; ``None`` where there is none.
            shape: Spatial shape of the volume.
            key: What the draw depends on beside seed and epoch: the case and its occurrence in the epoch.
            epoch: The epoch.
            boxes: ``(M, 2*D)`` corners in the volume, rows of NaN where there is none; they take the place of labels.
        """
        draw = uniforms(self.seed ^ _OWN, epoch, np.array([key]), DRAWS)[0]
        most = [n - m for n, m in zip(shape, self.size, strict=True)]
        if boxes is not None:
            return self._at_box(boxes, draw, most)
        wanted = self._voxels(place, labels) if labels is not None and draw[FOREGROUND] < self.foreground else []
        if wanted:
            voxels = wanted[int(draw[LABEL] * len(wanted))]
            centre = np.unravel_index(int(voxels[int(draw[VOXEL] * len(voxels))]), shape)
            ends = zip(centre, self.size, most, strict=True)
            return tuple(int(min(max(int(c) - m // 2, 0), last)) for c, m, last in ends)
        return tuple(int(u * (last + 1)) for u, last in zip(draw[PLACE:], most, strict=False))

    def _at_box(self, boxes: NDArray[np.float32], draw: NDArray[np.float32], most: Sequence[int]) -> tuple[int, ...]:
        """A patch around a place in one of the boxes; anywhere where there is none, or the draw says so."""
        known = boxes[np.isfinite(boxes).all(1)]
        if not len(known) or draw[FOREGROUND] >= self.foreground:
            return tuple(int(u * (last + 1)) for u, last in zip(draw[PLACE:], most, strict=False))
        low, high = np.split(known[int(draw[LABEL] * len(known))], 2)
        found = []
        for axis, (m, last) in enumerate(zip(self.size, most, strict=True)):
            # The whole box is in the patch wherever it fits; which part of the patch it takes is drawn.
            first, final = sorted((high[axis] - m, low[axis]))
            found.append(int(min(max(round(first + draw[PLACE + axis] * (final - first)), 0), last)))
        return tuple(found)

    def _voxels(self, place: int, labels: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
        """Flat indices of an even sample of the voxels of each label that is there."""
        found = self._known.get(place)
        if found is None:
            found = [_sample(np.flatnonzero(mask)) for mask in _each_label(labels)]
            found = [voxels for voxels in found if voxels.size]
            self._known[place] = found
        return found


def padded_axes(shape: Sequence[int], matrix: NDArray[np.float64], size: Sequence[int]) -> bool:
    """Whether an image was padded because a patch is larger than it along some axis.

    Args:
        shape: Spatial shape of the original image.
        matrix: ``(D+1, D+1)``, voxel indices of the original to those of the network's grid.
        size: The patch.
    """
    dims = len(size)
    # How far the image reaches along each axis of the network's grid; half a voxel is rounding.
    reach = np.abs(matrix[:dims, :dims]) @ np.asarray(shape[:dims], np.float64)
    return bool((reach < np.asarray(size) - 0.5).any())


def _each_label(labels: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
    if len(labels) > 1:
        return [channel == 1 for channel in labels]
    return [labels[0] == value for value in np.unique(labels) if value not in (0, IGNORE)]


def _sample(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(voxels) <= REMEMBERED:
        return voxels
    return voxels[np.linspace(0, len(voxels) - 1, REMEMBERED).astype(np.int64)]
