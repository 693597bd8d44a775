"""A classifier with its losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.data.batch import LABELS, Batch
from medcnn.errors import ModelError
from medcnn.geometry.resample import IGNORE
from medcnn.models.loss_modules import mean_of
from medcnn.recipe.schema import InputSection
from medcnn.tasks.base import Row, TaskModel
from medcnn.tasks.dense import mirrored_mean
from medcnn.tasks.outlines import map_of_cases, outline_loss
from medcnn.types import ClassPrediction, Prediction


class ClassificationModel(TaskModel):
    """A network whose outputs are logits of the classes.

    Args:
        network: ``(B, C, *spatial)`` to logits ``(B, classes)``.
        loss: Takes logits, states and validity, each ``(B, classes)``.
        exclusive: Exactly one class is present in each case.
        focus: Weight of the loss by which masks teach the network's attention; 0 is none.
        outlines: Weight of the loss by which masks teach the network what is where; 0 is none.
        mirror: Predict the mean over mirror images along the symmetric axes.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        *,
        exclusive: bool,
        focus: float = 0.0,
        outlines: float = 0.0,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.exclusive = exclusive
        self.focus = focus
        self.outlines = outlines
        self.mirror = mirror
        self._axes: tuple[int, ...] = ()

    def adopt(self, section: InputSection) -> None:
        """Only along the input's symmetric axes are mirror images predicted; refuses to mix masks of two images."""
        if self.outlines and section.augment is not None and section.augment.mixup > 0:
            raise ModelError(
                "outlines of two mixed images are outlines of neither", where="input.augment.mixup", todo="set it to 0"
            )
        self._axes = tuple(section.symmetric_axes) if self.mirror else ()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss over the cases whose label is known; soft labels where mixup paired cases."""
        states, valid = batch.targets["states"], batch.targets["valid"]
        if "mix_index" in batch.targets:
            partner = batch.targets["mix_index"]
            weight = batch.targets["mix_weight"].unsqueeze(1)
            states = states * weight + states[partner] * (1 - weight)
            valid = valid & valid[partner]
        network: Any = self.network
        more = {}
        if self.outlines:
            logits, voxels = network.outlined(batch.image)
            more["outlines"] = self.outlines * outline_loss(voxels, map_of_cases(batch.targets[LABELS], states, valid))
        elif self.focus:
            logits, places = network.attend(batch.image)
            more["focus"] = self.focus * focus_loss(places.float(), batch.targets[LABELS])
        else:
            logits = network(batch.image)
        return {"loss": self.loss(logits.float(), states, valid), **more}

    def probabilities(self, image: Tensor) -> Tensor:
        """``(B, classes)`` float32 in [0, 1]."""

        def of_image(shown: Tensor) -> Tensor:
            logits: Tensor = self.network(shown).float()
            return logits.softmax(1) if self.exclusive else logits.sigmoid()

        return mirrored_mean(of_image, image, self._axes)

    def predict(self, image: Tensor) -> list[Prediction]:
        """One row of probabilities a case."""
        return [ClassPrediction(row) for row in self.probabilities(image).cpu().numpy()]

    def rows(self, batch: Batch) -> list[Row]:
        """Probabilities beside the states and their validity; padding is left out."""
        probabilities = self.probabilities(batch.image).cpu().numpy()
        states = batch.targets["states"].cpu().numpy()
        valid = batch.targets["valid"].cpu().numpy()
        return [
            {"index": np.asarray(i), "probabilities": probabilities[k], "states": states[k], "valid": valid[k]}
            for k, i in enumerate(batch.index.tolist())
            if i >= 0
        ]


def focus_loss(places: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy between the places that the network attends to and those where the mask is.

    Args:
        places: ``(B, 1, *small)`` float32 logits.
        labels: ``(B, K, *spatial)`` label maps of the images.

    Returns:
        The mean over the cases with a mask that is not empty; 0 where there is none.
    """
    finding = ((labels > 0) & (labels != IGNORE)).any(1, keepdim=True).float()
    pool: Any = F.adaptive_avg_pool3d if places.ndim == 5 else F.adaptive_avg_pool2d
    wanted = pool(finding, list(places.shape[2:])).flatten(1)
    total = wanted.sum(1, keepdim=True)
    # A finding may be smaller than what its place is told from, never than what its share is divided by.
    shares = wanted / total.clamp_min(torch.finfo(torch.float32).tiny)
    each = -(shares * places.flatten(1).log_softmax(1)).sum(1)
    shown = total[:, 0] > 0
    return mean_of(torch.where(shown, each, 0.0), shown)


def check_taught(network: nn.Module, loss: nn.Module, outlines: float) -> None:
    """Refuse to train a network that looks where its decoder points while nothing teaches the decoder.

    Raises:
        ModelError: If that is what the recipe says.
    """
    # A module without the attribute is no loss of ours: nothing is trained with it.
    if not outlines and hasattr(loss, "exclusive") and hasattr(network, "outlined"):
        raise ModelError(
            "this network learns from masks where to look, and no masks teach it",
            where="task.outlines",
            todo="set it to 1 where cases have masks and exclusive classes, or use small_resnet",
        )
