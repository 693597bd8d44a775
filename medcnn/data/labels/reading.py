"""One mask by its kind: files with a value a voxel, DICOM segmentations, structure sets."""

from __future__ import annotations

import os
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
    mask: Mask, schema: LabelSchema, image: Image, *, resample: bool = False, consensus: Consensus = "staple"
) -> NDArray[np.uint8]:
    """Read a mask as a label map in the grid of its image.

    Args:
        mask: Where it is, and what its file calls the labels.
        schema: The labels.
        image: The image that it lies on.
        resample: Bring a mask of another grid to the image's, where both have geometry.
        consensus: The rule where several persons drew it: ``staple`` (Warfield et al. 2004, SimpleITK's), or
            ``majority``, in which a voxel without one is background.

    Returns:
        Positions as uint8: 0 background, k the k-th label, 255 not annotated; ``(X, Y[, Z])``. Where labels may
        overlap ``(L, X, Y[, Z])`` of 0, 1 and 255.

    Raises:
        ImageError: If the file cannot be read, lies in another grid, or holds what is no label.
    """
    return read_label_map(mask, schema, image, resample=resample, consensus=consensus).labels


def read_label_map(
    mask: Mask, schema: LabelSchema, image: Image, *, resample: bool = False, consensus: Consensus = "staple"
) -> LabelMap:
    """As :func:`read_mask`, with what there is to say about it."""
    found = read_readers(mask, schema, image, resample=resample)
    if len(found) == 1:
        return found[0]
    from medcnn.data.labels.consensus import agree

    labels = agree([one.labels for one in found], schema, consensus)
    return LabelMap(labels, tuple(dict.fromkeys(note for one in found for note in one.notes)))


def read_readers(mask: Mask, schema: LabelSchema, image: Image, *, resample: bool = False) -> list[LabelMap]:
    """The label map of each person who drew the mask, to measure how far they agree; see :func:`read_mask`."""
    return [_read(ref, mask.names, schema, image, resample) for ref in (mask.image, *mask.readers)]


def _read(ref: ImageRef, names: Names, schema: LabelSchema, image: Image, resample: bool) -> LabelMap:
    where = ref.paths[0] if ref.paths else ""
    try:
        if ref.paths and ref.reader in ("auto", "dicom") and sniff(where) == "dicom":
            found = _drawn(ref, names, schema, image, resample)
            if found is not None:
                return found
        return _values(ref, names, schema, image, resample)
    except MedcnnError as error:
        raise ImageError(_as_mask(error.what), where=error.where or where, todo=error.todo) from error


def _as_mask(what: str) -> str:
    return what if "mask" in what else f"the mask cannot be read: {what}"


def _drawn(ref: ImageRef, names: Names, schema: LabelSchema, image: Image, resample: bool) -> LabelMap | None:
    """A mask as DICOM segmentation or structure set; ``None`` where the file is another DICOM object."""
    from medcnn.data.images.dicom_file import open_file, quiet
    from medcnn.data.images.dicom_header import header_of

    with quiet():
        source = open_file(ref.paths[0])
        kind = header_of(source).kind
        if kind not in ("segmentation", "structure set"):
            return None
        if len(ref.paths) > 1:
            raise ImageError(
                f"the mask is {len(ref.paths)} files of the kind {kind}",
                where=os.path.dirname(ref.paths[0]),
                todo="give one of them; those of several readers are several masks",
            )
        if kind == "structure set":
            from medcnn.data.labels.dicom_rtstruct import read_structures

            return LabelMap(*read_structures(source, schema, names, image))
        if not source.pixel_key:
            raise ImageError(
                "a surface segmentation cannot be used as a mask", where=source.path, todo="export it as voxels"
            )
        from medcnn.data.labels.dicom_seg import read_segmentation

        threshold = _threshold(ref.key, source.path)
        labels, notes = read_segmentation(source, schema, names, image, resample=resample, threshold=threshold)
        return LabelMap(labels, notes)


def _threshold(key: str | None, where: str) -> float:
    """``threshold=0.3`` as the key of a reference; one half where it is absent."""
    if key is None:
        return 0.5
    name, _, value = key.partition("=")
    try:
        found = float(value) if name == "threshold" else -1.0
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        raise ImageError(f"the key {key!r} means nothing for a segmentation", where=where, todo="use threshold=0.5")
    return found


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
