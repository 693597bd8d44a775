"""Post-processing of label maps: the largest component, holes, a least size, for each label by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.geometry.components import largest, without_holes, without_small
from medcnn.geometry.surface import occupied


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is changed in the mask of one label, in this order.

    Attributes:
        least: Components (26 neighbours in 3D, 8 in 2D) of fewer voxels are taken away.
        largest: All but the largest component is taken away; of equal ones the first stays.
        holes: What the mask encloses (in 3D from all sides, by faces) is added to it.
    """

    least: int = 0
    largest: bool = False
    holes: bool = False

    @property
    def changes(self) -> bool:
        """Whether it can change anything at all."""
        return self.least > 1 or self.largest or self.holes


def clean_mask(mask: NDArray[np.bool_], cleaning: Cleaning) -> NDArray[np.bool_]:
    """The mask ``(X, Y[, Z])`` of one label after post-processing; work is bounded by the box of the mask."""
    box = occupied(mask)
    if box is None or not cleaning.changes:
        return mask.copy()
    inner = mask[box]
    if cleaning.least > 1:
        inner = without_small(inner, cleaning.least)
    if cleaning.largest:
        inner = largest(inner)
    if cleaning.holes:
        inner = without_holes(inner)
    result = np.zeros_like(mask)
    result[box] = inner
    return result


def clean_labels(
    labels: NDArray[np.uint8], cleanings: Mapping[int, Cleaning], *, overlapping: bool = False
) -> NDArray[np.uint8]:
    """A label map after post-processing.

    Of labels that exclude each other, what is taken away becomes background, and holes are filled where there is
    background: an enclosed voxel of another label, or one that is not annotated, stays what it is. Labels are
    changed in the order of ``cleanings``.

    Args:
        labels: ``(X, Y[, Z])`` positions, 0 background, or ``(L, X, Y[, Z])`` of 0 and 1 for overlapping labels; 255
            is not annotated.
        cleanings: By position, from 1 for the first label (also of overlapping ones).
        overlapping: Which of the two forms ``labels`` has.
    """
    result = labels.copy()
    for position, cleaning in cleanings.items():
        channel = result[position - 1] if overlapping else result
        value = 1 if overlapping else position
        before = channel == value
        after = clean_mask(before, cleaning)
        channel[before & ~after] = 0
        channel[after & (channel == 0)] = value
    return result


def voxels_of(volume: float, spacing: tuple[float, ...] | None) -> int:
    """Fewest voxels whose volume is at least ``volume`` mm3 (mm2 in 2D; pixels where there is no spacing)."""
    size = float(np.prod(spacing)) if spacing is not None else 1.0
    # The rounding takes the noise of the division away, so that a volume of n voxels gives n.
    return int(np.ceil(round(volume / size, 9)))
