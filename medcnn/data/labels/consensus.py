"""One reference from the masks of several readers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError
from medcnn.geometry.resample import IGNORE
from medcnn.types import LabelSchema

# STAPLE stops here where it has not come to rest; it is a matter of tens of steps.
_STEPS = 100


def agree(
    maps: Sequence[NDArray[np.uint8]], schema: LabelSchema, rule: Literal["majority", "staple"]
) -> NDArray[np.uint8]:
    """One label map from those of several readers.

    Args:
        maps: Two or more of one shape, as :func:`~medcnn.data.labels.read_mask` gives them.
        schema: The labels.
        rule: ``majority``: what more than half of the readers who annotated a voxel say; where no label has that,
            background. ``staple``: the label that is likeliest given how well each reader agrees with the others
            (Warfield et al. 2004; exclusive labels after Rohlfing et al. 2003), found by SimpleITK.

    Raises:
        ImageError: If the maps differ in shape.
    """
    if len({m.shape for m in maps}) > 1:
        raise ImageError("the masks of the readers differ in size", todo="give masks in the grid of the image")
    if not schema.multilabel:
        return _one(maps, len(schema.classes), rule)
    channels = [_one([m[k] for m in maps], 1, rule) for k in range(len(schema.classes))]
    return np.stack(channels)


def _one(maps: Sequence[NDArray[np.uint8]], labels: int, rule: Literal["majority", "staple"]) -> NDArray[np.uint8]:
    stack = np.stack(maps)
    known = stack != IGNORE
    nobody = ~known.any(0)
    if rule == "majority" or not known.all() or len(np.unique(stack)) == 1:
        # STAPLE knows no voxel without an opinion: it is left to those that all have seen.
        result = _majority(stack, known, labels)
    if rule == "staple":
        seen = known.all(0)
        if seen.any() and len(np.unique(stack[:, seen])) > 1:
            found = _staple(np.where(seen, stack, 0), labels)
            result = found if seen.all() else np.where(seen, found, result)
    result[nobody] = IGNORE
    return result


def _majority(stack: NDArray[np.uint8], known: NDArray[np.bool_], labels: int) -> NDArray[np.uint8]:
    voters = known.sum(0)
    result = np.zeros(stack.shape[1:], np.uint8)
    for label in range(1, labels + 1):
        result[2 * (stack == label).sum(0) > voters] = label
    return result


def _staple(stack: NDArray[np.uint8], labels: int) -> NDArray[np.uint8]:
    # Its functions carry no types.
    sitk: Any = importlib.import_module("SimpleITK")
    images: list[Any] = [sitk.GetImageFromArray(np.ascontiguousarray(m)) for m in stack]
    if labels == 1:
        likely = sitk.GetArrayFromImage(sitk.STAPLE(images, 1.0, 1.0, _STEPS))
        return np.asarray(likely >= 0.5, np.uint8)
    undecided = labels + 1
    found = np.array(sitk.GetArrayFromImage(sitk.MultiLabelSTAPLE(images, undecided, 1e-5, _STEPS)), np.uint8)
    found[found == undecided] = 0
    return found
