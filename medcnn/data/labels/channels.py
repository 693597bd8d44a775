"""Masks with a channel for each label, such as a NIfTI file with a fourth axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.adapters.mask_labels import BACKGROUND, IGNORED, Names
from medcnn.data.labels.canvas import Canvas
from medcnn.errors import ImageError
from medcnn.types import LabelSchema


def from_channels(values: NDArray[np.integer[Any]], schema: LabelSchema, names: Names, where: str) -> NDArray[np.uint8]:
    """The label map of ``(K, X, Y[, Z])`` of 0 and 1, a channel a label in the order of the schema (or as names say).

    Raises:
        ImageError: If there are more or fewer channels than labels, other values, or labels overlap that may not.
    """
    pairs = names or tuple((str(k), name) for k, name in enumerate(schema.names))
    by_channel = {int(text): name for text, name in pairs if text.isdigit()}
    if sorted(by_channel) != list(range(len(values))):
        raise ImageError(
            f"the mask has {len(values)} channels for {len(by_channel)} labels",
            where=where,
            todo="each channel of a mask is one label, in the order of the labels",
        )
    if values.size and (int(values.min()) < 0 or int(values.max()) > 1):
        raise ImageError(
            "a channel of the mask holds other values than 0 and 1", where=where, todo="store one label a channel"
        )
    canvas = Canvas(schema, values.shape[1:])
    listed = set()
    for channel, name in by_channel.items():
        layer = np.asarray(values[channel] == 1)
        if name == IGNORED:
            canvas.ignore(layer)
        elif name != BACKGROUND:
            listed.add(schema.index(name) + 1)
            canvas.paint(schema.index(name) + 1, layer)
    return canvas.finish(listed, where)
