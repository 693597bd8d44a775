"""Labels of images: masks of every kind as label maps, and what follows from a mask (boxes, classes).

A label map holds *positions* as uint8: 0 is background, k is the k-th label of the schema, 255 is not annotated. It is
``(X, Y[, Z])`` where labels exclude each other and ``(L, X, Y[, Z])`` of 0, 1 and 255 where they may overlap, in the
grid of the image it belongs to.
"""

from __future__ import annotations

from medcnn.data.labels.reading import LabelMap, read_label_map, read_mask, read_readers

__all__ = ["LabelMap", "read_label_map", "read_mask", "read_readers"]
