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

    Each connected component of each label goes to the box that holds the largest share of its hull, of equal ones to
    the smallest; where components of labels that overlap meet, the smaller one is on top.

    Args:
        labels: ``(X, Y[, Z])`` positions, or ``(L, X, Y[, Z])`` where labels overlap.
        schema: The labels.
        boxes: The boxes of the same image.

    Returns:
        ``(X, Y[, Z])``: k for the k-th box, counted from 1; 0 for the background, for components in no box, and for
        boxes beyond the 254th; 255 for what is not annotated.
    """
    shape = labels.shape[int(schema.multilabel) :]
    result, smallest = np.zeros(shape, np.uint8), np.full(shape, np.iinfo(np.int64).max)
    kept = boxes.corners[:MOST]
    for k in range(len(schema.classes) if len(kept) else 0):
        found = components(labels[k] == 1 if schema.multilabel else labels == k + 1)
        if not found.count:
            continue
        share = intersections(found.corners, kept) / np.maximum(volumes(found.corners), 1e-9)[:, None]
        # Among boxes that hold a component wholly the smallest is its own.
        rank = np.round(share, 6) - 1e-9 * volumes(kept) / max(float(volumes(kept).max()), 1e-9)
        names = np.zeros(found.count + 1, np.uint8)
        names[1:] = np.where(share.max(1) > 0, rank.argmax(1) + 1, 0)
        own, size = names[found.labels], np.bincount(found.labels.ravel())[found.labels]
        on_top = (own > 0) & (size < smallest)
        result[on_top], smallest[on_top] = own[on_top], size[on_top]
    unknown = labels == IGNORE
    result[(unknown.any(0) if schema.multilabel else unknown) & (result == 0)] = IGNORE
    return result
