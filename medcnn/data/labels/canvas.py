"""Labels that come one by one (channels, DICOM segments, structures), put together to one label map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError
from medcnn.geometry.resample import IGNORE
from medcnn.types import LabelSchema


class Canvas:
    """A label map in the making.

    Args:
        schema: The labels.
        shape: ``(X, Y[, Z])``.
    """

    def __init__(self, schema: LabelSchema, shape: tuple[int, ...]) -> None:
        self._schema = schema
        self.shape = shape
        full = (len(schema.classes), *shape) if schema.multilabel else shape
        self._labels = np.zeros(full, np.uint8)
        self._ignored: NDArray[np.bool_] | None = None
        self._overlaps: Counter[tuple[int, int]] = Counter()

    def paint(self, position: int, where: NDArray[np.bool_], at: tuple[Any, ...] = ()) -> None:
        """Give a label to voxels.

        Args:
            position: The label, from 1.
            where: True where it is, of the shape of the part.
            at: Which part of the map; all of it where this is empty.
        """
        part = self._labels[(position - 1, *at) if self._schema.multilabel else at]
        if self._schema.multilabel:
            part[where] = 1
            return
        under = part[where]
        for other in np.unique(under):
            if other not in (0, position):
                self._overlaps[(int(other), position)] += int((under == other).sum())
        part[where] = position

    def ignore(self, where: NDArray[np.bool_], at: tuple[Any, ...] = ()) -> None:
        """Mark voxels as not annotated, whatever else is painted there."""
        if self._ignored is None:
            self._ignored = np.zeros(self.shape, bool)
        self._ignored[at] |= where

    def finish(self, listed: Iterable[int], where: str) -> NDArray[np.uint8]:
        """The label map; a label that is not listed is not annotated.

        Args:
            listed: Positions of the labels that the file speaks of, from 1.
            where: For messages.

        Raises:
            ImageError: If labels that exclude each other overlap, or none is listed.
        """
        known, names = set(listed), self._schema.names
        if not known:
            raise ImageError(
                f"the mask lists none of the labels {', '.join(names)}", where=where, todo="check what they are called"
            )
        if self._overlaps:
            (first, second), count = self._overlaps.most_common(1)[0]
            raise ImageError(
                f"the labels {names[first - 1]!r} and {names[second - 1]!r} of the mask overlap in {count:,} voxels",
                where=where,
                todo="let labels overlap with the option overlapping: true, or merge them with mask_labels",
            )
        unknown = [p for p in range(1, len(names) + 1) if p not in known]
        if self._schema.multilabel:
            for position in unknown:
                self._labels[position - 1] = IGNORE
        elif unknown:
            # What is not one of the listed labels may be the one that is not listed, or background.
            self._labels[self._labels == 0] = IGNORE
        if self._ignored is not None:
            self._labels[..., self._ignored] = IGNORE
        return self._labels
