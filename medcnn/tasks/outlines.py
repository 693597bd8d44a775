"""How masks teach a network what is where, beside the classes or boxes that it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.data.batch import NO_BOX
from medcnn.geometry.resample import IGNORE
from medcnn.models.dense_modules import at_size


def map_of_boxes(instances: Tensor, box_labels: Tensor) -> Tensor:
    """The class of the box that each voxel belongs to.

    Args:
        instances: ``(B, 1, *spatial)`` place of the box of each voxel, counted from 1; 0: of none.
        box_labels: ``(B, M)`` classes of the boxes, -1 where there is none, -2 where one is not to be learned.

    Returns:
        ``(B, *spatial)`` int64: 0 background, k + 1 class k, 255 where nothing is to be learned.
    """
    kinds = torch.where(box_labels >= 0, box_labels + 1, torch.where(box_labels == NO_BOX, 0, IGNORE))
    known = torch.cat([torch.zeros_like(kinds[:, :1]), kinds], 1)
    places = instances[:, 0].long().clamp(max=known.shape[1] - 1)
    return known.gather(1, places.flatten(1)).view(places.shape)


def map_of_cases(labels: Tensor, states: Tensor, valid: Tensor) -> Tensor:
    """The class of the case wherever its mask shows a finding.

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
    entropy = F.cross_entropy(logits, wanted, ignore_index=IGNORE, reduction="sum") / known.sum().clamp(min=1)
    there = ((wanted > 0) & known).float().flatten(1)
    chance = ((1 - logits.softmax(1)[:, 0]) * known).flatten(1)
    total = there.sum(1)
    dice = 1 - 2 * (chance * there).sum(1) / (chance.sum(1) + total).clamp(min=1)
    shown = total > 0
    mean: Tensor = torch.where(shown, dice, 0.0).sum() / shown.sum().clamp(min=1)
    return entropy + mean
