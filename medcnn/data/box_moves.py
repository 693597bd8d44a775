"""Boxes of a batch as their images are cropped and changed.

A box under a rotation becomes the hull of its corners, which is larger than its object; where the batch has a map of
instances (:mod:`medcnn.data.labels.instances`), the extent of the moved instance is taken instead. What an edge cuts
is kept as a box as long as :data:`LEAST` of it is inside; of less than that the rest is a region from which nothing is
to be learned.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.batch import BOX_LABELS, BOXES, IGNORED_BOX, LABELS, NO_BOX

# Share of its area or volume that a box, or of its voxels that an instance, keeps to be learned.
LEAST = 0.5
Targets = dict[str, Tensor]


def cropped(targets: Targets, starts: NDArray[np.int64], size: tuple[int, ...]) -> None:
    """Boxes of images in those of their patches, in place.

    Args:
        targets: With the keys ``boxes`` ``(B, M, 2*D)`` and ``box_labels`` ``(B, M)``.
        starts: ``(B, D)`` first voxel of each patch.
        size: Of a patch.
    """
    shift = torch.from_numpy(np.concatenate([starts, starts], 1).astype(np.float32)).to(targets[BOXES].device)
    _cut(targets, targets[BOXES] - shift[:, None], size)


def moved(targets: Targets, before: Tensor | None, theta: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Boxes of images that were changed by an affine mapping, in place.

    Args:
        targets: With the keys ``boxes``, ``box_labels`` and, where there is a map of instances, the moved one as
            ``labels`` ``(B, 1, *shape)``.
        before: The map of instances as it was; ``None`` where there is none.
        theta: ``(B, D, D+1)`` as of :class:`~medcnn.data.augment.AffineDraw`.
        shape: Spatial shape of the images.
    """
    device = targets[BOXES].device
    linear = torch.from_numpy(np.ascontiguousarray(theta[:, ::-1, -2::-1])).to(device)
    offset = torch.from_numpy(np.ascontiguousarray(theta[:, ::-1, -1])).to(device)
    half = torch.tensor(shape, dtype=torch.float32, device=device) / 2
    boxes = targets[BOXES]
    dims = len(shape)
    picks = torch.tensor([[a + dims * bit for a, bit in enumerate(bits)] for bits in product((0, 1), repeat=dims)])
    vertices = boxes[:, :, picks.to(device)] - half
    # From the output to the input is what images are sampled by; boxes go the other way.
    back = torch.linalg.inv(linear)
    there = torch.einsum("bij,bmvj->bmvi", back, vertices - (offset * half)[:, None, None]) + half
    hull = torch.cat([there.amin(2), there.amax(2)], 2)
    scale = back.det().abs()
    labels = targets[BOX_LABELS]
    _cut(targets, hull, shape)
    if before is not None:
        _follow_instances(targets, labels, before, scale)


def _cut(targets: Targets, boxes: Tensor, shape: tuple[int, ...]) -> None:
    dims = len(shape)
    limit = torch.tensor([*shape, *shape], dtype=torch.float32, device=boxes.device)
    inside = torch.minimum(boxes.clamp(min=0), limit)
    whole, left = _volumes(boxes, dims), _volumes(inside, dims)
    labels = targets[BOX_LABELS]
    gone = ~(left > 0)
    labels = torch.where(~gone & (left < LEAST * whole) & (labels >= 0), IGNORED_BOX, labels)
    targets[BOX_LABELS] = torch.where(gone, NO_BOX, labels)
    targets[BOXES] = torch.where(gone[..., None], torch.nan, inside)


def _follow_instances(targets: Targets, labels: Tensor, before: Tensor, scale: Tensor) -> None:
    """Take the extent of each moved instance; those without a voxel before keep the hull of their corners."""
    after = targets[LABELS][:, 0]
    dims = after.ndim - 1
    for place in range(targets[BOXES].shape[1]):
        if not bool((labels[:, place] != NO_BOX).any()):
            continue
        own = after == place + 1
        had = (before[:, 0] == place + 1).flatten(1).sum(1)
        have = own.flatten(1).sum(1)
        known = (had > 0) & (labels[:, place] != NO_BOX)
        extent = _extents(own, dims)
        learned = (have >= LEAST * had * scale) & (labels[:, place] >= 0)
        kind = torch.where(learned, labels[:, place], IGNORED_BOX)
        kind = torch.where(have > 0, kind, NO_BOX)
        targets[BOX_LABELS][:, place] = torch.where(known, kind, targets[BOX_LABELS][:, place])
        extent = torch.where((have > 0)[:, None], extent, torch.nan)
        targets[BOXES][:, place] = torch.where(known[:, None], extent, targets[BOXES][:, place])


def _extents(mask: Tensor, dims: int) -> Tensor:
    """``(B, 2*D)`` corners around the True voxels of ``(B, *spatial)``; anything where there is none."""
    low, high = [], []
    for axis in range(1, dims + 1):
        others = [a for a in range(1, dims + 1) if a != axis]
        there = mask.amax(others).to(torch.uint8)
        low.append(there.argmax(1))
        high.append(there.shape[1] - there.flip(1).argmax(1))
    return torch.stack(low + high, 1).to(torch.float32)


def _volumes(boxes: Tensor, dims: int) -> Tensor:
    return (boxes[..., dims:] - boxes[..., :dims]).clamp(min=0).prod(-1)
