"""A detector with its loss, its anchors and its decoding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from medcnn.data.batch import BOX_LABELS, BOXES, LABELS, NO_BOX, Batch
from medcnn.errors import ModelError
from medcnn.models.anchors import fit_anchors, reached
from medcnn.recipe.schema import InputSection
from medcnn.tasks.base import Row, TaskModel
from medcnn.tasks.box_decoding import Decoding, candidates, mirrored_boxes, sliding_boxes
from medcnn.tasks.outlines import map_of_boxes, outline_loss
from medcnn.types import BoxesPrediction, Prediction


class DetectionModel(TaskModel):
    """A detector with its loss and its decoding.

    Args:
        network: As of :class:`~medcnn.models.detector_modules.RetinaNet`.
        loss: As of :class:`~medcnn.models.detection_loss_modules.DetectionLoss`.
        decoding: What becomes of its outputs.
        mirror: Merge the boxes of mirror images along the symmetric axes when predicting.
        outlines: Weight of the loss by which masks teach the network what is where; 0 is none.
    """

    def __init__(
        self, network: nn.Module, loss: nn.Module, decoding: Decoding, *, mirror: bool, outlines: float = 0.0
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.decoding = decoding
        self.mirror = mirror
        self.outlines = outlines
        self._size: tuple[int, ...] = ()
        self._axes: tuple[int, ...] = ()
        self._remarks: tuple[str, ...] = ()

    def adopt(self, section: InputSection) -> None:
        """The window is the input's size; refuses changes of images that boxes cannot follow."""
        augment = section.augment
        if augment is not None and augment.mixup > 0:
            raise ModelError(
                "boxes of two mixed images are boxes of neither", where="input.augment.mixup", todo="set it to 0"
            )
        if augment is not None and augment.elastic > 0:
            raise ModelError(
                "boxes do not follow an elastic deformation", where="input.augment.elastic", todo="set it to 0"
            )
        self._size = self.decoding.window or tuple(section.size)
        if len(self._size) != len(section.size):
            raise ModelError(
                f"the window has {len(self._size)} axes, input.size {len(section.size)}",
                where="task.window",
                todo="give as many numbers",
            )
        self._axes = tuple(section.symmetric_axes) if self.mirror else ()

    def fit_anchors(self, sizes: NDArray[np.float32]) -> None:
        """Fit the anchors to the sides ``(N, D)`` of the training boxes, where the recipe leaves them to it."""
        network: Any = self.network
        if not len(sizes):
            return
        if network.fitted:
            network.set_anchors(fit_anchors(sizes, len(network.anchor_shapes), network.scales))
        shares = reached(sizes, network.all_shapes().cpu().numpy())
        shapes = ", ".join(" x ".join(f"{side:.3g}" for side in shape) for shape in network.anchor_shapes.tolist())
        said = ", ".join(f"{share:.0%} an IoU of {least:g}" for least, share in shares.items())
        self._remarks = (
            f"anchors at the finest of {len(network.strides)} levels: {shapes}; of {len(sizes):,} training boxes "
            f"reach, with an anchor at their middle: {said}",
        )
        if shares[min(shares)] == 0:
            raise ModelError(
                "no anchor comes near any training box",
                where="model.anchors",
                todo="set model.anchors=auto, or give sides in voxels of the network's image (input.size)",
            )

    def remarks(self) -> tuple[str, ...]:
        """The anchors and what they reach."""
        return self._remarks

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of classes and boxes, and of outlines where masks teach them."""
        network: Any = self.network
        boxes, labels = batch.targets[BOXES], batch.targets[BOX_LABELS]
        more = {}
        if self.outlines:
            logits, codes, outlines = network.outlined(batch.image)
            wanted = map_of_boxes(batch.targets[LABELS], boxes, labels)
            more = {"outlines": self.outlines * outline_loss(outlines, wanted)}
        else:
            logits, codes = network(batch.image)
        anchors, places = network.anchors(batch.image.shape[2:])
        found: dict[str, Tensor] = self.loss(logits, codes, anchors, places, boxes, labels)
        return {**found, **more}

    def detect(self, image: Tensor) -> list[BoxesPrediction]:
        """Boxes before suppression of images of the window's size."""
        network: Any = self.network
        logits, codes = network(image)
        shape = tuple(image.shape[2:])
        return candidates(logits.float(), codes.float(), network.anchors(shape)[0], shape, self.decoding)

    def boxes(self, image: Tensor) -> list[BoxesPrediction]:
        """Boxes of images of any size, in the network's grid."""

        def of_image(whole: Tensor) -> list[BoxesPrediction]:
            return sliding_boxes(self.detect, whole, self._size or tuple(whole.shape[2:]), self.decoding)

        return mirrored_boxes(of_image, image, self._axes, self.decoding)

    def predict(self, image: Tensor) -> list[Prediction]:
        """Boxes of each case in the network's grid."""
        return list(self.boxes(image))

    def rows(self, batch: Batch) -> list[Row]:
        """Predicted and reference boxes of each case, in the network's grid; padding is left out."""
        found = []
        corners, labels = batch.targets[BOXES].cpu().numpy(), batch.targets[BOX_LABELS].cpu().numpy()
        for k, (index, own) in enumerate(zip(batch.index.tolist(), self.boxes(batch.image), strict=True)):
            if index >= 0:
                there = labels[k] != NO_BOX
                reference = {"reference": corners[k][there], "reference_labels": labels[k][there]}
                predicted = {"corners": own.corners, "labels": own.labels, "scores": own.scores}
                found.append({"index": np.asarray(index), **predicted, **reference})
        return found
