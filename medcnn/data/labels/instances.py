"""Which of a case's boxes each voxel of its mask belongs to, so that boxes can follow a mask when it is turned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcnn.geometry.boxes import intersections, volumes
from medcnn.geometry.components import components
from medcnn.geometry.resample import IGNORE
from medcnn.types import Boxes, LabelSchema

# As many boxes as bytes can tell apart beside the background and what is not annotated.
MOST = IGNORE - 1


def instances_of(labels: NDArray[np.uint8], schema: LabelSchema, boxes: Boxes) -> NDArray[np.uint8]:
    """A map of the boxes that the voxels of a mask belong to.

    Each connected component goes to the box that holds the largest share of its hull, of equal ones to the smallest.

    Args:
        labels: ``(X, Y[, Z])`` positions, or ``(L, X, Y[, Z])`` where labels overlap.
        schema: The labels.
        boxes: The boxes of the same image.

    Returns:
        ``(X, Y[, Z])``: k for the k-th box, counted from 1; 0 for the background, for components in no box, and for
        boxes beyond the 254th.
    """
    drawn = (labels == 1).any(0) if schema.multilabel else (labels > 0) & (labels != IGNORE)
    found = components(drawn)
    names = np.zeros(found.count + 1, np.uint8)
    if found.count and len(boxes.corners):
        kept = boxes.corners[:MOST]
        share = intersections(found.corners, kept) / np.maximum(volumes(found.corners), 1e-9)[:, None]
        # Among boxes that hold a component wholly the smallest is its own.
        rank = np.round(share, 6) - 1e-9 * volumes(kept) / max(float(volumes(kept).max()), 1e-9)
        names[1:] = np.where(share.max(1) > 0, rank.argmax(1) + 1, 0)
    result: NDArray[np.uint8] = names[found.labels]
    return result
