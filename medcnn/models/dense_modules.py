"""The losses of segmentation as modules; :mod:`medcnn.models.dense_losses` has their names and options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models.loss_modules import mean_of

IGNORE = 255


@dataclass(frozen=True, slots=True)
class Voxels:
    """Logits and labels in one form, ``(B, C, *spatial)`` float32; nothing where a voxel is not annotated.

    Attributes:
        log_p: Logarithm of the probability of each label.
        log_q: Logarithm of the probability of its absence; ``None`` for exclusive labels.
        targets: 0 or 1.
        known: Whether a voxel is annotated, ``(B, 1, *spatial)`` or ``(B, C, *spatial)``.
    """

    log_p: Tensor
    log_q: Tensor | None
    targets: Tensor
    known: Tensor


class DenseLoss(nn.Module):
    """A loss over the annotated voxels of a batch, in float32.

    Attributes:
        dense: Always true: it is about voxels.
        exclusive: Whether labels exclude each other.
    """

    dense: ClassVar[bool] = True
    weights: Tensor | None

    def __init__(self, exclusive: bool, weights: Tensor | None = None) -> None:
        super().__init__()
        self.exclusive = exclusive
        # The weights follow from the training part, so checkpoints need not hold them.
        self.register_buffer("weights", None if weights is None else weights.float(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """One float32 number; 0 with a gradient of 0 where nothing is annotated.

        Args:
            logits: ``(B, C, *spatial)``.
            labels: ``(B, *spatial)`` positions for exclusive labels, else ``(B, C, *spatial)`` of 0 and 1; 255 is
                not annotated.

        Raises:
            ModelError: If the shapes or the number of weights do not fit.
        """
        self._check(logits, labels)
        if self.weights is not None and self.weights.shape != logits.shape[1:2]:
            raise ModelError(
                f"{self.weights.numel()} class weights for {logits.shape[1]} outputs",
                where="training.class_weights",
                todo="give one weight an output (the background is the first for exclusive labels)",
            )
        return self.value(self._voxels(logits, labels))

    @abstractmethod
    def value(self, voxels: Voxels) -> Tensor:
        """The loss."""

    def _check(self, logits: Tensor, labels: Tensor) -> None:
        expected = (logits.shape[0], *logits.shape[2:]) if self.exclusive else tuple(logits.shape)
        if logits.ndim < 3 or tuple(labels.shape) != expected:
            kind = "exclusive" if self.exclusive else "overlapping"
            raise ModelError(
                f"logits {tuple(logits.shape)} and {kind} labels {tuple(labels.shape)} do not fit each other",
                where="training.loss",
                todo=f"the labels must be {expected}; set exclusive: {str(not self.exclusive).lower()} for the "
                "other kind of labels",
            )

    def _voxels(self, logits: Tensor, labels: Tensor) -> Voxels:
        known = labels != IGNORE
        if self.exclusive:
            known = known.unsqueeze(1)
        # Nothing flows back through what is replaced here, whatever the loss does with it.
        logits = torch.where(known, logits.float(), 0.0)
        if not self.exclusive:
            targets = (labels == 1).float()
            return Voxels(F.logsigmoid(logits), F.logsigmoid(-logits), targets, known)
        places = torch.arange(logits.shape[1], device=labels.device).view(-1, *(1,) * (logits.ndim - 2))
        targets = (labels.unsqueeze(1) == places).float()
        return Voxels(logits.log_softmax(1), None, targets, known)


class Overlap(DenseLoss):
    """1 - (tp + s) / (tp + alpha * fp + beta * fn + s), the mean over labels and over cases or the whole batch.

    Dice, written with 2 tp in the numerator and s once, is alpha = beta = 0.5 with s halved.

    Args:
        exclusive: Whether labels exclude each other.
        background: Whether the first of exclusive labels counts.
        batch: Whether tp, fp and fn are summed over the batch.
        smooth: s.
        costs: Alpha and beta; ``None`` for Dice.
        weights: ``(C,)`` of the labels.
    """

    def __init__(
        self,
        exclusive: bool,
        background: bool,
        batch: bool,
        smooth: float,
        costs: tuple[float, float] | None = None,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__(exclusive, weights)
        self.first = 1 if exclusive and not background else 0
        self.batch = batch
        self.costs = costs or (0.5, 0.5)
        self.smooth = smooth if costs else smooth / 2

    def value(self, voxels: Voxels) -> Tensor:
        """The loss; labels and cases without any annotated voxel do not count in the mean."""
        targets = voxels.targets[:, self.first :]
        known = voxels.known.expand_as(voxels.targets)[:, self.first :]
        if not targets.shape[1]:
            raise ModelError(
                "there is no label beside the background", where="training.loss.background", todo="set it to true"
            )
        p = torch.where(known, voxels.log_p[:, self.first :].exp(), 0.0)
        axes = tuple(range(2, p.ndim))
        overlap, predicted, present = (t.sum(axes) for t in (p * targets, p, targets))
        annotated = known.flatten(2).any(2)
        if self.batch:
            overlap, predicted, present = (t.sum(0, keepdim=True) for t in (overlap, predicted, present))
            annotated = annotated.any(0, keepdim=True)
        alpha, beta = self.costs
        errors = alpha * (predicted - overlap) + beta * (present - overlap)
        loss = 1 - (overlap + self.smooth) / (overlap + errors + self.smooth)
        counted = annotated.float()
        if self.weights is not None:
            counted = counted * self.weights[self.first :]
        return mean_of(loss * counted, counted)


class OverlapAndVoxels(DenseLoss):
    """Dice, and the focal loss of voxels (cross-entropy where gamma is 0), added with weights.

    Exclusive labels: -w[c] * (1 - p[c]) ** gamma * log p[c] of each voxel's label c, over the sum of w[c].
    Overlapping ones: -(w[c] * t * (1 - p) ** gamma * log p + (1 - t) * p ** gamma * log (1 - p)), the mean.
    """

    def __init__(
        self, overlap: Overlap, gamma: float, overlap_weight: float, voxel_weight: float, weights: Tensor | None
    ) -> None:
        super().__init__(overlap.exclusive, weights)
        self.overlap = overlap
        self.gamma = gamma
        self.overlap_weight = overlap_weight
        self.voxel_weight = voxel_weight

    def value(self, voxels: Voxels) -> Tensor:
        """The weighted sum of both."""
        return self.overlap_weight * self.overlap.value(voxels) + self.voxel_weight * self._of_voxels(voxels)

    def _of_voxels(self, voxels: Voxels) -> Tensor:
        targets, known = voxels.targets, voxels.known
        shape = (-1, *(1,) * (targets.ndim - 2))
        weighted = targets if self.weights is None else targets * self.weights.view(shape)
        loss = -weighted * _focus(voxels.log_p, self.gamma)
        if voxels.log_q is None:
            # A voxel that is not annotated has no target at all, hence neither loss nor weight.
            return mean_of(loss, weighted)
        loss = loss - (1 - targets) * _focus(voxels.log_q, self.gamma)
        return mean_of(loss * known, known.float())


def _focus(log_p: Tensor, gamma: float) -> Tensor:
    """(1 - p) ** gamma * log p, whose gradient stays finite at p = 1 for gamma below 1."""
    if gamma == 0:
        return log_p
    rest = -torch.expm1(log_p)
    return rest.clamp_min(torch.finfo(rest.dtype).tiny) ** gamma * log_p


class DeepSupervision(nn.Module):
    """A loss of one or several logits, the finest first, with weights 1, 1/2, 1/4, ... that sum to 1.

    Args:
        loss: The loss of one of them.
    """

    dense: ClassVar[bool] = True

    def __init__(self, loss: DenseLoss) -> None:
        super().__init__()
        self.loss = loss

    @property
    def exclusive(self) -> bool:
        """Whether labels exclude each other."""
        return self.loss.exclusive

    def forward(self, logits: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
        """The weighted mean of the losses, each with the labels of the nearest voxels at its resolution.

        Args:
            logits: ``(B, C, *spatial)``, or several, each next one coarser.
            labels: As :meth:`DenseLoss.forward`, at the finest resolution.
        """
        if isinstance(logits, Tensor):
            value: Tensor = self.loss(logits, labels)
            return value
        weights = [0.5**k for k in range(len(logits))]
        losses = [self.loss(one, at_size(labels, tuple(one.shape[2:]))) for one in logits]
        return torch.stack([w * loss for w, loss in zip(weights, losses, strict=True)]).sum() / sum(weights)


def deep_supervision(loss: DenseLoss | DeepSupervision) -> DeepSupervision:
    """A loss that also takes a list of logits; one that does already stays as it is."""
    return loss if isinstance(loss, DeepSupervision) else DeepSupervision(loss)


def at_size(labels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Labels at a coarser resolution: entry i of an axis of n is entry floor(i * N / n) of the N finer ones.

    Args:
        labels: ``(..., *spatial)``.
        size: Spatial size wanted.
    """
    first = labels.ndim - len(size)
    for axis, wanted in enumerate(size, first):
        length = labels.shape[axis]
        if length != wanted:
            places = torch.arange(wanted, device=labels.device) * length // wanted
            labels = labels.index_select(axis, places)
    return labels
