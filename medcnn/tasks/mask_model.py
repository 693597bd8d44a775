"""A network that labels voxels, with its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from medcnn.data.batch import LABELS, Batch
from medcnn.errors import ModelError
from medcnn.geometry.resample import IGNORE
from medcnn.recipe.schema import InputSection
from medcnn.tasks.base import Row, TaskModel
from medcnn.tasks.dense import mirrored_maps, sliding_maps, turned_maps
from medcnn.types import MapPrediction, Prediction

if TYPE_CHECKING:
    from medcnn.tasks.segmentation import SegmentationTask


# Degrees.
_QUARTER = 90


class SegmentationModel(TaskModel):
    """A network whose outputs are logits of the labels of each voxel.

    Args:
        network: ``(B, C, *spatial)`` to logits ``(B, K, *spatial)``; in training also a list of them, finest first.
        loss: Takes the network's logits and labels (:mod:`medcnn.models.dense_losses`).
        task: The schema and the rules of prediction.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, task: SegmentationTask) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.exclusive = not task.schema.multilabel
        self.overlap = task.overlap
        self.window_batch = task.window_batch
        self.mirror = task.mirror
        self.turns = task.turns
        self.swap = task.swapped_channels()
        self._size: tuple[int, ...] = ()
        self._axes: tuple[int, ...] = ()

    def adopt(self, section: InputSection) -> None:
        """The window is the input's size; only along its symmetric axes are mirror images predicted.

        Raises:
            ModelError: If turns do not fit the size.
        """
        if self.turns:
            # A module without the attribute is no loss of ours: what only predicts was checked when it was trained.
            _check_turns(section, training=hasattr(self.loss, "exclusive"))
        self._size = tuple(section.size)
        self._axes = tuple(section.symmetric_axes) if self.mirror else ()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss over the annotated voxels."""
        labels = batch.targets[LABELS].long()
        return {"loss": self.loss(self.network(batch.image), labels[:, 0] if self.exclusive else labels)}

    def maps(self, image: Tensor) -> Tensor:
        """Probabilities ``(B, K, *spatial)`` float32, by a sliding window where images are larger than it."""

        def of_window(tiles: Tensor) -> Tensor:
            logits: Tensor = self.network(tiles).float()
            return logits.softmax(1) if self.exclusive else logits.sigmoid()

        def of_image(whole: Tensor) -> Tensor:
            size = self._size or tuple(whole.shape[2:])
            return sliding_maps(of_window, whole, size, overlap=self.overlap, batch=self.window_batch)

        def of_turns(whole: Tensor) -> Tensor:
            return turned_maps(of_image, whole) if self.turns else of_image(whole)

        return mirrored_maps(of_turns, image, self._axes, self.swap)

    def predict(self, image: Tensor) -> list[Prediction]:
        """The probabilities of each case in the network's grid."""
        return [MapPrediction(maps) for maps in self.maps(image).float().cpu().numpy()]

    def rows(self, batch: Batch) -> list[Row]:
        """Voxels found, invented and missed by label, in the network's grid; padding is left out."""
        maps = self.maps(batch.image)
        labels = batch.targets[LABELS]
        known = labels != IGNORE
        if self.exclusive:
            chosen = maps.argmax(1, keepdim=True)
            count = maps.shape[1] - 1
            wanted = torch.cat([labels == k for k in range(1, count + 1)], 1)
            found = torch.cat([chosen == k for k in range(1, count + 1)], 1) & known
        else:
            wanted, found = labels == 1, (maps >= 0.5) & known
        dims = tuple(range(2, maps.ndim))
        counts = torch.stack([(found & wanted).sum(dims), (found & ~wanted).sum(dims), (~found & wanted).sum(dims)], -1)
        rows = counts.cpu().numpy().astype(np.float64)
        return [{"index": np.asarray(i), "counts": rows[k]} for k, i in enumerate(batch.index.tolist()) if i >= 0]


def _check_turns(section: InputSection, *, training: bool) -> None:
    """Refuse quarter turns that give the network what it has never seen."""
    size, spacing, augment = section.size, section.spacing, section.augment
    if size[0] != size[1]:
        raise ModelError(
            f"input.size is {size[0]} x {size[1]}: turned by a quarter it is another size",
            where="task.turns",
            todo="give the first two axes one length, or set it to false",
        )
    if spacing and spacing[0] != spacing[1]:
        raise ModelError(
            f"input.spacing is {spacing[0]:g} x {spacing[1]:g}: turned by a quarter the image is stretched",
            where="task.turns",
            todo="give the first two axes one spacing, or set it to false",
        )
    rotate = 0 if augment is None else augment.rotate
    if training and rotate < _QUARTER:
        raise ModelError(
            f"training turns images by {rotate:g} degrees at most, prediction would by 90",
            where="task.turns",
            todo="set input.augment.rotate=180 if tilted images are as plausible, or task.turns=false",
        )
