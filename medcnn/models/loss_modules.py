"""The losses as modules; :mod:`medcnn.models.losses` has their names and options."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.errors import ModelError


class Loss(nn.Module):
    """A mean over the known labels of a batch, in float32.

    Attributes:
        exclusive: ``True`` for classes of which exactly one is present, ``False`` for classes each present or absent
            by itself, ``None`` where it is not about classes.
    """

    exclusive: ClassVar[bool | None]
    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None) -> None:
        super().__init__()
        # The weights follow from the training part, so checkpoints need not hold them.
        self.register_buffer("weights", None if weights is None else weights.float(), persistent=False)

    def forward(self, outputs: Tensor, states: Tensor, valid: Tensor) -> Tensor:
        """One float32 number; 0 with a gradient of 0 where nothing is known.

        Args:
            outputs: ``(B, C)`` logits, or values.
            states: ``(B, C)`` targets, in [0, 1] for classes; what stands where ``valid`` is false does not matter.
            valid: ``(B, C)`` bool, which targets are known.

        Raises:
            ModelError: If the shapes or the number of weights do not fit.
        """
        self._check(outputs, states, valid)
        valid = valid.bool()
        # Exclusive classes are known together or not at all.
        known = valid.all(1, keepdim=True).expand_as(valid) if self.exclusive else valid
        targets = torch.where(known, states.float(), 0.0)
        loss, mass = self.elements(outputs.float(), targets)
        return mean_of(torch.where(known, loss, 0.0), torch.where(known, mass, 0.0))

    @abstractmethod
    def elements(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Losses ``(B, C)``, and how much each counts in the mean ``(B, C)``."""

    def _check(self, outputs: Tensor, states: Tensor, valid: Tensor) -> None:
        if not outputs.shape == states.shape == valid.shape or outputs.ndim != 2:
            raise ModelError(
                f"outputs {tuple(outputs.shape)}, targets {tuple(states.shape)} and validity {tuple(valid.shape)} "
                "of the loss differ in shape",
                where="training.loss",
                todo="the network must give one output a class",
            )
        if self.weights is not None and self.weights.shape != outputs.shape[1:]:
            raise ModelError(
                f"{self.weights.numel()} class weights for {outputs.shape[1]} classes",
                where="training.class_weights",
                todo="give one weight a class, or balanced",
            )


def mean_over_processes(mass: Tensor) -> Tensor:
    """The mean over the processes of a group that trains together; the tensor itself in one process.

    Processes average their gradients. Dividing each one's sum by the mean of what counts in all of them makes that
    average the gradient of the mean over all known labels, however unevenly these fall to the processes.
    """
    group = torch.distributed
    if not (torch.is_grad_enabled() and group.is_available() and group.is_initialized()):
        return mass
    total = mass.detach().clone()
    group.all_reduce(total)
    return total / group.get_world_size()


def mean_of(losses: Tensor, counted: Tensor) -> Tensor:
    """The sum of losses over how much counts in all processes; 0 with a gradient of 0 where nothing does."""
    share = mean_over_processes(counted.sum().float())
    # Nothing that counts gives 0 / tiny = 0 without asking the device for the number.
    return losses.sum() / share.clamp_min(torch.finfo(torch.float32).tiny)


class CrossEntropy(Loss):
    """-sum over c of w[c] * t[c] * log p[c], divided by the sum of w[c] * t[c] of the unsmoothed targets."""

    exclusive = True

    def __init__(self, label_smoothing: float, weights: Tensor | None) -> None:
        super().__init__(weights)
        self.label_smoothing = label_smoothing

    def elements(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        smooth = targets * (1 - self.label_smoothing) + self.label_smoothing / targets.shape[1]
        weights = torch.ones_like(targets[0]) if self.weights is None else self.weights
        return -weights * smooth * outputs.log_softmax(1), weights * targets


class BinaryCrossEntropy(Loss):
    """-(w[c] * t * log p + (1 - t) * log (1 - p)), the mean over known labels."""

    exclusive = False

    def __init__(self, label_smoothing: float, weights: Tensor | None) -> None:
        super().__init__(weights)
        self.label_smoothing = label_smoothing

    def elements(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        smooth = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = F.binary_cross_entropy_with_logits(outputs, smooth, pos_weight=self.weights, reduction="none")
        return loss, torch.ones_like(targets)


class SoftmaxFocal(Loss):
    """-alpha[c] * w[c] * t[c] * (1 - p[c]) ** gamma * log p[c], divided by the sum of w[c] * t[c]."""

    exclusive = True

    def __init__(self, gamma: float, alpha: float | None, weights: Tensor | None) -> None:
        super().__init__(weights)
        self.gamma = gamma
        self.alpha = alpha

    def elements(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.ones_like(targets[0]) if self.weights is None else self.weights
        log_p = outputs.log_softmax(1)
        loss = -weights * targets * _modulation(log_p, self.gamma) * log_p
        if self.alpha is not None:
            if outputs.shape[1] != 2:
                raise ModelError(
                    f"alpha of the focal loss weighs two classes and there are {outputs.shape[1]}",
                    where="training.loss.alpha",
                    todo="leave alpha out and set training.class_weights",
                )
            loss = loss * outputs.new_tensor([1 - self.alpha, self.alpha])
        return loss, weights * targets


class SigmoidFocal(Loss):
    """The focal loss of each class against its absence, the mean over known labels."""

    exclusive = False

    def __init__(self, gamma: float, alpha: float | None, weights: Tensor | None) -> None:
        super().__init__(weights)
        self.gamma = gamma
        self.alpha = alpha

    def elements(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        log_p, log_q = F.logsigmoid(outputs), F.logsigmoid(-outputs)
        present = -targets * _modulation(log_p, self.gamma) * log_p
        absent = -(1 - targets) * _modulation(log_q, self.gamma) * log_q
        if self.weights is not None:
            present = present * self.weights
        if self.alpha is not None:
            present, absent = present * self.alpha, absent * (1 - self.alpha)
        return present + absent, torch.ones_like(targets)


def _modulation(log_p: Tensor, gamma: float) -> Tensor:
    """(1 - p) ** gamma, whose gradient stays finite at p = 1 for gamma below 1."""
    if gamma == 0:
        return torch.ones_like(log_p)
    rest = -torch.expm1(log_p)
    return rest.clamp_min(torch.finfo(rest.dtype).tiny) ** gamma


class MeanSquaredError(Loss):
    """(output - value) ** 2, the mean over known values."""

    exclusive = None

    def elements(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if outputs.shape[1] != 1:
            raise ModelError(
                f"mse is for one continuous label and the network has {outputs.shape[1]} outputs",
                where="training.loss",
                todo="use cross_entropy, binary_cross_entropy or focal for classes",
            )
        return (outputs - targets) ** 2, torch.ones_like(targets)
