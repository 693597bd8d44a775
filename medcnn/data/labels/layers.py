"""Labels that come one by one (channels, DICOM segments, structures), put together to one label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.adapters.mask_labels import BACKGROUND, IGNORED
from medcnn.data.labels.positions import Names
from medcnn.errors import ImageError
from medcnn.geometry.resample import IGNORE
from medcnn.types import LabelSchema


@dataclass(frozen=True, slots=True)
class Layers:
    """Where each label is.

    Attributes:
        present: ``(X, Y[, Z])`` by position from 1; a label that the file does not list is absent here.
        ignored: Where nothing is known; ``None`` where all is.
    """

    present: Mapping[int, NDArray[np.bool_]]
    ignored: NDArray[np.bool_] | None = None

    @classmethod
    def of_channels(cls, values: NDArray[np.integer[Any]], schema: LabelSchema, names: Names, where: str) -> Layers:
        """From ``(K, X, Y[, Z])`` of 0 and 1, a channel a label in the order of the schema (or as names say).

        Raises:
            ImageError: If there are more or fewer channels than labels, or other values.
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
        present: dict[int, NDArray[np.bool_]] = {}
        ignored: NDArray[np.bool_] | None = None
        for channel, name in by_channel.items():
            layer = np.asarray(values[channel] == 1)
            if name == IGNORED:
                ignored = layer if ignored is None else ignored | layer
            elif name != BACKGROUND:
                position = schema.index(name) + 1
                present[position] = present[position] | layer if position in present else layer
        return cls(present, ignored)


def from_layers(layers: Layers, schema: LabelSchema, where: str) -> NDArray[np.uint8]:
    """The label map of labels that came one by one; a label that is not listed is not annotated.

    Raises:
        ImageError: If labels that exclude each other overlap, or none is listed.
    """
    if not layers.present:
        raise ImageError("the mask lists none of the labels", where=where, todo="check what its labels are called")
    shape = next(iter(layers.present.values())).shape
    if schema.multilabel:
        result = np.full((len(schema.classes), *shape), IGNORE, np.uint8)
        for position, layer in layers.present.items():
            result[position - 1] = layer
        if layers.ignored is not None:
            result[:, layers.ignored] = IGNORE
        return result
    result = np.zeros(shape, np.uint8)
    for position, layer in sorted(layers.present.items()):
        common = result[layer]
        if common.any():
            other = schema.names[int(common[common > 0][0]) - 1]
            raise ImageError(
                f"the labels {other!r} and {schema.names[position - 1]!r} of the mask overlap in "
                f"{int((common > 0).sum()):,} voxels",
                where=where,
                todo="let labels overlap with the option overlapping: true, or merge them with mask_labels",
            )
        result[layer] = position
    if len(layers.present) < len(schema.classes):
        # What is not one of the listed labels may be the one that is not listed, or background.
        result[result == 0] = IGNORE
    if layers.ignored is not None:
        result[layers.ignored] = IGNORE
    return result
