"""The trivial baseline of detection: where the boxes of the training part lie, the same for every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcnn.files import read_json, write_json
from medcnn.geometry.boxes import box_iou
from medcnn.types import BoxesPrediction

NAME = "box_heat_map.json"
# Boxes that the baseline predicts in each image, at most.
_MOST = 16
# Training boxes that are looked at; more do not change where they lie.
_LOOKED_AT = 1500
# Overlap from which on a training box counts as found.
_FOUND = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class BoxHeatMap:
    """Boxes relative to the edges of an image.

    Attributes:
        corners: ``(K, 2*D)`` float32 in [0, 1].
        labels: ``(K,)`` the class that most of the training boxes found by each have.
        scores: ``(K,)`` the share of training images in which each finds a box.
    """

    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def fit(cls, corners: NDArray[np.float32], labels: NDArray[np.int64], images: int, dims: int) -> BoxHeatMap:
        """The peaks of the map of training boxes.

        One after the other the training box is taken that overlaps the most others, and these are taken away.

        Args:
            corners: ``(N, 2*D)`` relative to the edges of their images.
            labels: ``(N,)``.
            images: Images of the training part.
            dims: D.
        """
        step = max(1, -(-len(corners) // _LOOKED_AT))
        boxes, kinds = corners[::step], labels[::step]
        near = box_iou(boxes, boxes) >= _FOUND
        open_ = np.ones(len(boxes), bool)
        found: list[tuple[NDArray[np.float32], int, float]] = []
        while open_.any() and len(found) < _MOST:
            hits = near & open_[None]
            best = int(np.where(open_, hits.sum(1), -1).argmax())
            kind = int(np.bincount(kinds[hits[best]]).argmax())
            middle = np.median(boxes[hits[best]], axis=0).astype(np.float32)
            found.append((middle, kind, min(1.0, float(hits[best].sum()) * step / max(images, 1))))
            open_ &= ~near[best]
        peaks = np.array([f[0] for f in found], np.float32).reshape(-1, 2 * dims)
        return cls(peaks, np.array([f[1] for f in found], np.int64), np.array([f[2] for f in found], np.float32))

    def save(self, folder: Path) -> None:
        """Write it into a fold's folder."""
        found = {"corners": self.corners.tolist(), "labels": self.labels.tolist(), "scores": self.scores.tolist()}
        write_json(folder / NAME, {**found, "shape": list(self.corners.shape)})

    @classmethod
    def load(cls, folder: Path) -> BoxHeatMap | None:
        """What :meth:`save` wrote; ``None`` where it is not there."""
        path = folder / NAME
        if not path.is_file():
            return None
        found = read_json(path)
        corners = np.array(found["corners"], np.float32).reshape(found["shape"])
        return cls(corners, np.array(found["labels"], np.int64), np.array(found["scores"], np.float32))

    def predicted(self, shape: Sequence[int]) -> BoxesPrediction:
        """The boxes in an image of a spatial shape."""
        scale = np.array([*shape, *shape], np.float32)
        return BoxesPrediction(self.corners * scale, self.labels, self.scores, tuple(shape))
