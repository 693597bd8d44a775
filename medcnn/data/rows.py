"""One case to one row of the cache, or the reason why there is none; never an exception for a bad file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.facts import ImageFacts
from medcnn.data.images import read_case
from medcnn.data.preprocess import MaskReading, Preprocessor, Stored
from medcnn.errors import ImageError, MedcnnError
from medcnn.types import Boxes, Case, Exclusion, Image, Mask


@dataclass(frozen=True, slots=True)
class Unread:
    """A case without a row.

    Attributes:
        exclusion: The case, why, and where.
        passing: Whether the reason may be gone the next time (a crash, want of memory, a network drive), so that
            the case is tried again.
    """

    exclusion: Exclusion
    passing: bool = False


# Facts and array; with masks or places asked for also the whole of what is stored, whose array is the same object.
Row = tuple[ImageFacts, NDArray[Any], Stored | None] | Unread


def first_path(case: Case) -> str:
    """The first file of a case; empty where it has none."""
    return next((p for ref in case.images for p in ref.paths), "")


def read_row(case: Case, preprocessor: Preprocessor) -> Row:
    """Facts and preprocessed array of one case, or why there are none."""
    path = first_path(case)
    try:
        image = read_case(case)
        facts = _facts(case, image)
        if not preprocessor.places:
            return facts, preprocessor.stored(image), None
        labels = None if preprocessor.masks is None else _labels(case, image, preprocessor.masks)
        stored = preprocessor.pair(image, labels)
        return facts, stored.array, stored
    except ImageError as error:
        return Unread(Exclusion(case.id, error.what, error.where or path), _may_pass(error.__cause__))
    except MedcnnError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[:1] or ["no reason is given"]
        what = f"cannot be used: {type(error).__name__}: {reason[0]}"
        return Unread(Exclusion(case.id, what, path), _may_pass(error))


def _labels(case: Case, image: Image, masks: MaskReading) -> NDArray[np.uint8] | None:
    mask = case.target(Mask)
    if mask is None:
        return None
    from medcnn.data.labels import read_mask
    from medcnn.data.labels.instances import instances_of

    labels = read_mask(
        mask, masks.schema, image, resample=masks.resample, consensus=masks.consensus, drawn_on=case.images[0]
    )
    boxes = case.target(Boxes)
    if not masks.instances or boxes is None:
        return labels
    return instances_of(labels, masks.schema, boxes)


def _facts(case: Case, image: Image) -> ImageFacts:
    array = np.ascontiguousarray(image.array)
    content = hashlib.blake2b(f"{array.dtype} {array.shape} ".encode(), digest_size=16)
    content.update(array.data)
    if array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    else:
        low, high = float(array.min()), float(array.max())
    return ImageFacts(case.id, content.hexdigest(), array.shape, str(array.dtype), image.spacing, low, high)


def _may_pass(error: BaseException | None) -> bool:
    """Whether it was the machine rather than the file: memory, or an error that the operating system numbers."""
    if isinstance(error, OSError):
        return error.errno is not None
    return isinstance(error, MemoryError)
