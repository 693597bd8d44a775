"""How anchors are matched to boxes and what is learned from them, with MONAI's matcher, sampler and box coder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.models.quiet import quiet_monai

with quiet_monai():
    from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher
    from monai.apps.detection.utils.box_coder import BoxCoder
    from monai.apps.detection.utils.hard_negative_sampler import HardNegativeSampler
    from monai.data.box_utils import box_iou, box_pair_giou

# What an anchor learns where it has no box: that nothing is there, or nothing at all.
NOTHING, SILENT = -1, -2
# Share of an anchor in a region that is not to be learned from which on it learns nothing.
_IN_REGION = 0.5
_BETA = 1 / 9
# Smallest side of a box that is learned, in voxels of the network's image: logarithms of sides are taken.
_LEAST_SIDE = 1e-2


def box_coder(dims: int) -> BoxCoder:
    """Boxes as offsets of middle and logarithms of sides relative to an anchor, with no further weights."""
    return BoxCoder(weights=(1.0,) * (2 * dims))


@dataclass(frozen=True, slots=True)
class Matching:
    """Which anchor learns which box.

    Attributes:
        atss: By adaptive training sample selection; else by the largest overlap.
        candidates: Of atss.
        centre_inside: Of atss.
        foreground: Least overlap of a hit, without atss.
        background: Overlap below which an anchor learns that nothing is there, without atss.
    """

    atss: bool
    candidates: int
    centre_inside: bool
    foreground: float
    background: float

    def __call__(self, boxes: Tensor, anchors: Tensor, places: Sequence[int]) -> Tensor:
        """For each anchor the position of its box, :data:`NOTHING` or :data:`SILENT`.

        Args:
            boxes: ``(M, 2*D)``, M of 1 or more.
            anchors: ``(N, 2*D)``.
            places: Places of each level.
        """
        if self.atss:
            overlap_of: Any = box_iou
            matcher = ATSSMatcher(self.candidates, overlap_of, self.centre_inside)
            found: Tensor = matcher(boxes, anchors, places, len(anchors) // sum(places))[1]
            return found
        overlap = torch.as_tensor(box_iou(boxes, anchors))
        best, which = overlap.max(0)
        result = torch.where(best >= self.foreground, which, SILENT)
        result = torch.where(best < self.background, NOTHING, result)
        # The best anchor of each box learns it, however little it overlaps.
        highest = overlap.max(1, keepdim=True).values
        rows, columns = torch.nonzero((overlap == highest) & (overlap > 0), as_tuple=True)
        result[columns] = rows
        return result


class ClassLoss(nn.Module, ABC):
    """The loss of the classes of anchors, summed over them.

    Attributes:
        quality: A hit learns how well its box fits instead of 1.
    """

    quality: ClassVar[bool] = False

    def __init__(self, class_weights: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights)

    @abstractmethod
    def forward(self, logits: Tensor, wanted: Tensor, matched: Tensor) -> Tensor:
        """One number, divided by what it rests on.

        Args:
            logits: ``(B, N, C)``.
            wanted: ``(B, N, C)`` 1, or the overlap in [0, 1], for the class of the matched box, else 0.
            matched: ``(B, N)`` as of :class:`Matching`.
        """

    def weighted(self, values: Tensor) -> Tensor:
        """``(..., C)`` with the weights of the classes."""
        weights = self.class_weights
        return values if weights is None else values * torch.as_tensor(weights)


def _power(error: Tensor, gamma: float) -> Tensor:
    """An error to a power, whose gradient stays finite at 0 for gamma below 1."""
    return error.clamp_min(torch.finfo(error.dtype).tiny) ** gamma


class Focal(ClassLoss):
    """Focal loss over all anchors, divided by the number of hits (Lin et al. 2017, eq. 5).

    Args:
        gamma: Exponent of what is already right.
        alpha: Weight of hits; ``None``: no weights.
        class_weights: ``(C,)``.
    """

    def __init__(self, gamma: float, alpha: float | None, class_weights: Tensor | None) -> None:
        super().__init__(class_weights)
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logits: Tensor, wanted: Tensor, matched: Tensor) -> Tensor:
        """As of :class:`ClassLoss`."""
        entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        chance = logits.sigmoid()
        right = chance * wanted + (1 - chance) * (1 - wanted)
        loss = entropy * _power(1 - right, self.gamma)
        if self.alpha is not None:
            loss = loss * (self.alpha * wanted + (1 - self.alpha) * (1 - wanted))
        loss = self.weighted(loss) * (matched != SILENT)[..., None]
        return loss.sum() / (matched >= 0).sum().clamp(min=1)


class QualityFocal(ClassLoss):
    """Focal loss whose hits learn the overlap of their box with the reference (Li et al. 2020, eq. 2).

    |t - p| ** gamma * -(t * log p + (1 - t) * log (1 - p)), t being the overlap for the class of a hit and 0 elsewhere,
    divided by the number of hits. A score then says how well a box fits, which is what average precision ranks by.

    Args:
        gamma: Exponent of what is already right.
        class_weights: ``(C,)``.
    """

    quality = True

    def __init__(self, gamma: float, class_weights: Tensor | None) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def forward(self, logits: Tensor, wanted: Tensor, matched: Tensor) -> Tensor:
        """As of :class:`ClassLoss`."""
        entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        loss = entropy * _power((wanted - logits.sigmoid()).abs(), self.gamma)
        loss = self.weighted(loss) * (matched != SILENT)[..., None]
        return loss.sum() / (matched >= 0).sum().clamp(min=1)


class HardNegatives(ClassLoss):
    """Cross-entropy of hits and of some of the false alarms with the highest scores (MONAI's sampler).

    Args:
        sampled: Anchors an image.
        positive_share: Share of hits among them, at most.
        pool: They are drawn among so many times as many.
        class_weights: ``(C,)``.
    """

    def __init__(self, sampled: int, positive_share: float, pool: float, class_weights: Tensor | None) -> None:
        super().__init__(class_weights)
        self.sampler = HardNegativeSampler(sampled, positive_share, min_neg=1, pool_size=pool)

    def forward(self, logits: Tensor, wanted: Tensor, matched: Tensor) -> Tensor:
        """As of :class:`ClassLoss`."""
        # The sampler's own signs: positive for a hit, 0 for background, negative for neither.
        kinds = torch.where(matched >= 0, 1, torch.where(matched == NOTHING, 0, -1))
        chances = logits.detach().sigmoid().amax(2)
        hits, alarms = self.sampler(list(kinds), chances.flatten())
        chosen = torch.stack([torch.as_tensor(h) + torch.as_tensor(a) > 0 for h, a in zip(hits, alarms, strict=True)])
        entropy = F.binary_cross_entropy_with_logits(logits[chosen], wanted[chosen], reduction="none")
        return self.weighted(entropy).sum() / chosen.sum().clamp(min=1)


def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union ``(N,)`` of each box of ``(N, 2*D)`` with the one beside it; 0 where both are empty."""
    dims = first.shape[1] // 2
    low, high = torch.maximum(first[:, :dims], second[:, :dims]), torch.minimum(first[:, dims:], second[:, dims:])
    shared = (high - low).clamp(min=0).prod(1)
    both = (first[:, dims:] - first[:, :dims]).prod(1) + (second[:, dims:] - second[:, :dims]).prod(1) - shared
    return shared / both.clamp(min=torch.finfo(shared.dtype).tiny)


class DetectionLoss(nn.Module):
    """The losses of classes and boxes.

    Args:
        matching: Which anchor learns which box.
        classes: The loss of the classes.
        giou: Compare boxes rather than their codes.
        box_weight: Weight of the loss of the boxes.
    """

    boxes = True

    def __init__(self, matching: Matching, classes: ClassLoss, *, giou: bool, box_weight: float) -> None:
        super().__init__()
        self.matching = matching
        self.classes = classes
        self.giou = giou
        self.box_weight = box_weight

    def forward(
        self, logits: Tensor, codes: Tensor, anchors: Tensor, places: Sequence[int], boxes: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Float32 losses by name.

        Args:
            logits: ``(B, N, C)`` float32.
            codes: ``(B, N, 2*D)`` float32.
            anchors: ``(N, 2*D)``.
            places: Places of each level of the pyramid.
            boxes: ``(B, M, 2*D)``.
            labels: ``(B, M)``; negative where there is no box to be learned, -2 in a region that counts for nothing.
        """
        dims = anchors.shape[1] // 2
        matched, wanted, targets = [], torch.zeros_like(logits), torch.zeros_like(codes)
        for image, (own, kinds) in enumerate(zip(boxes, labels, strict=True)):
            known = (kinds >= 0) & ((own[:, dims:] - own[:, :dims]).amin(1) > _LEAST_SIDE)
            hits = self._matched(own[known], anchors, places)
            hits = self._silenced(hits, own[kinds == SILENT], anchors)
            on = hits >= 0
            if bool(on.any()):
                wanted[image, on, kinds[known][hits[on]]] = 1
                targets[image, on] = own[known][hits[on]]
            matched.append(hits)
        where = torch.stack(matched)
        on = where >= 0
        if not bool(on.any()):
            return {"classes": self.classes(logits, wanted, where), "boxes": 0 * codes.sum()}
        every = anchors.expand(len(logits), -1, -1)[on]
        if self.classes.quality:
            fit = paired_iou(box_coder(dims).decode_single(codes[on].detach(), every), targets[on])
            wanted[on] = wanted[on] * fit[:, None]
        boxed = self.box_weight * self._boxes(codes[on], targets[on], every)
        return {"classes": self.classes(logits, wanted, where), "boxes": boxed}

    def _matched(self, boxes: Tensor, anchors: Tensor, places: Sequence[int]) -> Tensor:
        if not len(boxes):
            return torch.full((len(anchors),), NOTHING, device=anchors.device)
        return self.matching(boxes, anchors, places)

    def _silenced(self, matched: Tensor, regions: Tensor, anchors: Tensor) -> Tensor:
        """Anchors without a box that lie in a region from which nothing is to be learned, learn nothing."""
        if not len(regions):
            return matched
        dims = anchors.shape[1] // 2
        low = torch.maximum(anchors[:, None, :dims], regions[None, :, :dims])
        high = torch.minimum(anchors[:, None, dims:], regions[None, :, dims:])
        shared = (high - low).clamp(min=0).prod(2).amax(1) / (anchors[:, dims:] - anchors[:, :dims]).prod(1)
        return torch.where((matched == NOTHING) & (shared >= _IN_REGION), SILENT, matched)

    def _boxes(self, codes: Tensor, wanted: Tensor, anchors: Tensor) -> Tensor:
        coder = box_coder(anchors.shape[1] // 2)
        if self.giou:
            decoded = coder.decode_single(codes, anchors)
            return (1 - torch.as_tensor(box_pair_giou(decoded, wanted))).mean()
        return F.smooth_l1_loss(codes, coder.encode_single(wanted, anchors), beta=_BETA)
