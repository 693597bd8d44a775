"""One mask by its kind: files with a value a voxel, DICOM segmentations, structure sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.data.adapters.mask_labels import Names
from medcnn.data.images import read_image, sniff
from medcnn.data.labels.channels import from_channels
from medcnn.data.labels.grid import Place, difference, other_grid, to_grid
from medcnn.data.labels.picture import read_picture
from medcnn.data.labels.positions import to_positions, whole_values
from medcnn.errors import ImageError, MedcnnError
from medcnn.geometry.resample import IGNORE
from medcnn.types import Image, ImageRef, LabelSchema, Mask

Consensus = Literal["majority", "staple"]
# A message with one of these tells by itself that it is about a mask.
_WORDS = ("mask", "segment", "structure")


@dataclass(frozen=True, slots=True)
class LabelMap:
    """The labels of one image.

    Attributes:
        labels: Positions as uint8, ``(X, Y[, Z])`` or ``(L, X, Y[, Z])``.
        notes: Sentences about what the reader did or left aside.
    """

    labels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def read_mask(
    mask: Mask,
    schema: LabelSchema,
    image: Image,
    *,
    resample: bool = False,
    consensus: Consensus = "staple",
    drawn_on: ImageRef | None = None,
) -> NDArray[np.uint8]:
    """Read a mask as a label map in the grid of its image.

    Args:
        mask: Where it is, and what its file calls the labels.
        schema: The labels.
        image: The image that it lies on.
        resample: Bring a mask of another grid to the image's, where both have geometry.
        consensus: The rule where several persons drew it: ``staple`` (Warfield et al. 2004, SimpleITK's), or
            ``majority``, in which a voxel without one is background.
        drawn_on: Where the image is: a DICOM segmentation or structure set is checked to refer to it.

    Returns:
        Positions as uint8: 0 background, k the k-th label, 255 not annotated; ``(X, Y[, Z])``. Where labels may
        overlap ``(L, X, Y[, Z])`` of 0, 1 and 255.

    Raises:
        ImageError: If the file cannot be read, lies in another grid, or holds what is no label.
    """
    found = read_label_map(mask, schema, image, resample=resample, consensus=consensus, drawn_on=drawn_on)
    return found.labels


def read_label_map(
    mask: Mask,
    schema: LabelSchema,
    image: Image,
    *,
    resample: bool = False,
    consensus: Consensus = "staple",
    drawn_on: ImageRef | None = None,
) -> LabelMap:
    """As :func:`read_mask`, with what there is to say about it."""
    found = read_readers(mask, schema, image, resample=resample, drawn_on=drawn_on)
    if len(found) == 1:
        return found[0]
    from medcnn.data.labels.consensus import agree

    labels = agree([one.labels for one in found], schema, consensus)
    return LabelMap(labels, tuple(dict.fromkeys(note for one in found for note in one.notes)))


def read_readers(
    mask: Mask, schema: LabelSchema, image: Image, *, resample: bool = False, drawn_on: ImageRef | None = None
) -> list[LabelMap]:
    """The label map of each person who drew the mask, to measure how far they agree; see :func:`read_mask`."""
    return [_read(ref, mask.names, schema, image, resample, drawn_on) for ref in (mask.image, *mask.readers)]


def _read(
    ref: ImageRef, names: Names, schema: LabelSchema, image: Image, resample: bool, drawn_on: ImageRef | None
) -> LabelMap:
    where = ref.paths[0] if ref.paths else ""
    try:
        if ref.paths and ref.reader in ("auto", "dicom") and sniff(where) == "dicom":
            from medcnn.data.labels.drawn import read_drawn

            found = read_drawn(ref, names, schema, image, resample=resample, drawn_on=drawn_on)
            if found is not None:
                return LabelMap(*found)
        return _values(ref, names, schema, image, resample)
    except MedcnnError as error:
        raise ImageError(_as_mask(error.what), where=error.where or where, todo=error.todo) from error


def _as_mask(what: str) -> str:
    return what if any(word in what for word in _WORDS) else f"the mask cannot be read: {what}"


def _values(ref: ImageRef, names: Names, schema: LabelSchema, image: Image, resample: bool) -> LabelMap:
    """A mask whose file holds a value a voxel, or a channel a label."""
    read = _stored(ref)
    where = ref.paths[0]
    values = whole_values(read.array, where)
    if ref.key == "channels":
        labels = from_channels(values, schema, names, where)
    else:
        labels = to_positions(_one_channel(values, where), schema, names, where)
    mask, target = Place.of(read), Place.of(image)
    found = difference(mask, target)
    if not found:
        return LabelMap(labels)
    if not resample or mask.affine is None or target.affine is None:
        raise other_grid(found, mask, target, where)
    moved = to_grid(labels, mask, target, overlapping=schema.multilabel)
    if (moved == IGNORE).all() and not (labels == IGNORE).all():
        raise ImageError(
            f"the mask lies beside its image (mask: {mask.words()}; image: {target.words()})",
            where=where,
            todo="check that the two belong together",
        )
    return LabelMap(moved, (f"the mask was resampled: {found}",))


def _stored(ref: ImageRef) -> Image:
    if not ref.paths:
        raise ImageError("the mask has no file", todo="name at least one path")
    if ref.reader in ("auto", "raster") and sniff(ref.paths[0]) == "raster":
        return read_picture(ref)
    try:
        return read_image(ref)
    except ImageError as error:
        if "volumes" in error.what and ref.key is None and ref.index is None:
            raise ImageError(
                f"a mask has three axes at most, and this one has four: {error.what}",
                where=error.where,
                todo="choose a volume by index; or, where each volume is a label of its own, let labels overlap",
            ) from error
        raise


def _one_channel(values: NDArray[Any], where: str) -> NDArray[Any]:
    if len(values) == 1:
        return np.asarray(values[0])
    if (values == values[:1]).all():
        # Grey written as colour.
        return np.asarray(values[0])
    raise ImageError(
        f"the mask is a picture in colour ({len(values)} channels)",
        where=where,
        todo="store a whole number for each label: grey, or a palette of colours",
    )
