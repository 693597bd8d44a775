"""One case and one batch, as the network sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# The target that lies on the image's grid and moves with it: ``(B, K, *spatial)`` uint8 positions of labels.
LABELS = "labels"
# Boxes on the image's grid, ``(B, M, 2*D)`` float32 corners that move with it; rows of NaN fill up.
BOXES = "boxes"
# Their classes, ``(B, M)`` int64; -1 where there is no box, -2 where one is there that is not to be learned.
BOX_LABELS = "box_labels"
NO_BOX, IGNORED_BOX = -1, -2


@dataclass(frozen=True, slots=True)
class Sample:
    """One case as the network sees it.

    Attributes:
        image: ``(C, *spatial)`` float32.
        targets: Arrays of the target, encoded by the task.
        matrix: ``(D+1, D+1)``, voxel indices of the original image to those of ``image``.
        original_shape: Spatial shape of the original image.
        spacing: Of the original image in mm; ``None`` where it has none.
    """

    image: NDArray[np.float32]
    targets: Mapping[str, NDArray[Any]]
    matrix: NDArray[np.float64]
    original_shape: tuple[int, ...]
    spacing: tuple[float, ...] | None = None


@dataclass(slots=True)
class Batch:
    """Cases stacked for the network.

    Attributes:
        image: ``(B, C, *spatial)`` float32.
        targets: Tensors with the batch first, by the keys of the task.
        index: ``(B,)`` int64, places of the cases in the run; -1 pads an uneven last batch.
        keys: ``(B,)`` int64, what random changes are drawn from: the place, and for the second patch of a case in
            an epoch another number; ``None`` is the index.
    """

    image: Tensor
    targets: dict[str, Tensor]
    index: Tensor
    keys: Tensor | None = None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.image.to(device, non_blocking=non_blocking),
            {k: v.to(device, non_blocking=non_blocking) for k, v in self.targets.items()},
            self.index.to(device, non_blocking=non_blocking),
            self.keys,
        )
