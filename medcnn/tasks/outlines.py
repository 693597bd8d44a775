"""How masks teach a network what is where, beside the classes or boxes that it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.data.batch import IGNORED_BOX, NO_BOX
from medcnn.geometry.resample import IGNORE
from medcnn.models.dense_modules import at_size
from medcnn.models.loss_modules import mean_of


def map_of_boxes(instances: Tensor, boxes: Tensor, box_labels: Tensor) -> Tensor:
    """The class of the box that each voxel belongs to.

    Args:
        instances: ``(B, 1, *spatial)`` place of the box of each voxel, counted from 1; 0: of none; 255: not annotated.
        boxes: ``(B, M, 2*D)`` their corners.
        box_labels: ``(B, M)`` classes of the boxes, -1 where there is none, -2 where one is not to be learned.

    Returns:
        ``(B, *spatial)`` int64: 0 background, k + 1 class k, 255 where nothing is to be learned: what is not annotated,
        and in the box of an object that is not drawn, or not to be learned, what is not another object.
    """
    kinds = torch.where(box_labels >= 0, box_labels + 1, torch.where(box_labels == NO_BOX, 0, IGNORE))
    known = torch.cat([torch.zeros_like(kinds[:, :1]), kinds], 1)
    places = instances[:, 0].long()
    found = known.gather(1, places.clamp(max=known.shape[1] - 1).flatten(1)).view(places.shape)
    found = torch.where(places == IGNORE, IGNORE, found)
    drawn = torch.zeros(len(places), IGNORE + 1, dtype=torch.bool, device=places.device)
    drawn.scatter_(1, places.flatten(1), True)
    unclear = (box_labels == IGNORED_BOX) | ((box_labels >= 0) & ~drawn[:, 1 : kinds.shape[1] + 1])
    dims = boxes.shape[2] // 2
    for image, box in torch.nonzero(unclear).tolist():
        low, high = boxes[image, box, :dims].floor().long(), boxes[image, box, dims:].ceil().long()
        inside = found[(image, *(slice(max(a, 0), b) for a, b in zip(low.tolist(), high.tolist(), strict=True)))]
        inside[inside == 0] = IGNORE
    return found


def map_of_cases(labels: Tensor, states: Tensor, valid: Tensor) -> Tensor:
    """The class of the case wherever its mask shows a finding, which is what any of its labels marks.

    Args:
        labels: ``(B, K, *spatial)`` label maps; 0 background, 255 not annotated.
        states: ``(B, C)`` 1 for the class of the case, else 0.
        valid: ``(B, C)`` whether that is known.

    Returns:
        ``(B, *spatial)`` int64: 0 background, k + 1 class k, 255 where nothing is to be learned.
    """
    kinds = torch.where(valid.all(1), states.argmax(1) + 1, IGNORE).view(-1, *(1,) * (labels.ndim - 2))
    finding = ((labels > 0) & (labels != IGNORE)).any(1)
    unknown = (labels == IGNORE).any(1) & ~finding
    return torch.where(finding, kinds, torch.where(unknown, IGNORE, 0))


def outline_loss(logits: Tensor | Sequence[Tensor], classes: Tensor) -> Tensor:
    """Cross-entropy of the voxels, and the Dice loss of any object against none, image by image.

    Args:
        logits: ``(B, 1 + C, *spatial)``, the background first; or several, each next one coarser, whose losses are
            weighted 1, 1/2, 1/4, ... with a sum of 1.
        classes: As of :func:`map_of_boxes`; where logits are coarser the nearest voxels are taken.

    Returns:
        One float32 number; images without objects have no part in Dice.
    """
    several = [logits] if isinstance(logits, Tensor) else list(logits)
    weights = [0.5**k for k in range(len(several))]
    losses = [w * _outline_loss(one.float(), classes) for w, one in zip(weights, several, strict=True)]
    return torch.stack(losses).sum() / sum(weights)


def _outline_loss(logits: Tensor, classes: Tensor) -> Tensor:
    wanted = at_size(classes, tuple(logits.shape[2:]))
    known = wanted != IGNORE
    entropy = F.cross_entropy(logits, wanted, ignore_index=IGNORE, reduction="sum")
    there = ((wanted > 0) & known).float().flatten(1)
    chance = ((1 - logits.softmax(1)[:, 0]) * known).flatten(1)
    total = there.sum(1)
    dice = 1 - 2 * (chance * there).sum(1) / (chance.sum(1) + total).clamp(min=1)
    shown = total > 0
    return mean_of(entropy, known) + mean_of(torch.where(shown, dice, 0.0), shown)
