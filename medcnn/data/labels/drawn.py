"""Masks that are DICOM objects drawn on a series: segmentations and structure sets, one file or several together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medcnn.data.adapters.mask_labels import Names
from medcnn.data.header_rows import references_of
from medcnn.data.images import sniff
from medcnn.data.images.dicom_file import Source, open_file, quiet
from medcnn.data.images.dicom_header import Header, header_of
from medcnn.data.labels.canvas import Canvas
from medcnn.data.labels.naming import Named, NoLabelError
from medcnn.errors import ImageError
from medcnn.geometry.resample import IGNORE
from medcnn.types import Image, ImageRef, LabelSchema

SEGMENTATION, STRUCTURES = "segmentation", "structure set"
DRAWN = (SEGMENTATION, STRUCTURES)
_NOUNS = {SEGMENTATION: "segment", STRUCTURES: "structure"}
Read = tuple[NDArray[np.uint8], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a segmentation or structure set holds, without its pixels.

    Attributes:
        kind: ``segmentation`` or ``structure set``.
        named: Its segments, or the structures that have contours.
        empty: Names of structures without contours.
    """

    kind: str
    named: tuple[Named, ...]
    empty: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """What one of the named things is, in a word."""
        return _NOUNS[self.kind]


def list_drawn(path: str) -> Listed:
    """The names, numbers and codes in a segmentation or structure set.

    Raises:
        ImageError: If the file is neither, or broken.
    """
    with quiet():
        source = open_file(path)
        kind = header_of(source).kind
        if kind == SEGMENTATION:
            from medcnn.data.labels.dicom_seg import Segmentation

            _check_voxels(source)
            return Listed(kind, Segmentation.of(source.dataset, path).segments)
        if kind == STRUCTURES:
            from medcnn.data.labels.dicom_rtstruct import structures_of

            found = structures_of(source.dataset, path)
            drawn = tuple(s.named for s in found if s.contours)
            return Listed(kind, drawn, tuple(s.named.label for s in found if not s.contours))
    raise ImageError(f"this is no mask: the file is of the kind {kind}", where=path)


def read_drawn(
    ref: ImageRef, names: Names, schema: LabelSchema, image: Image, *, resample: bool, drawn_on: ImageRef | None
) -> Read | None:
    """The label map of segmentations or structure sets; several files add up to one mask.

    Args:
        ref: The file or files; the key ``threshold=0.3`` is the share from which a fractional segment is present.
        names: What stands for each label.
        schema: The labels.
        image: What it lies on.
        resample: Bring a segmentation of another grid to the image's.
        drawn_on: Where the image is, to check that the mask was drawn on it; ``None`` where that is not known.

    Returns:
        Positions and notes; ``None`` where the files are DICOM of another kind, which holds a value a voxel.

    Raises:
        ImageError: As :func:`~medcnn.data.labels.read_mask`.
    """
    with quiet():
        first = open_file(ref.paths[0])
        if header_of(first).kind not in DRAWN:
            return None
        seen = _image_header(drawn_on)
        if len(ref.paths) == 1:
            return _one(first, ref, names, schema, image, resample, seen)
        channels = replace(schema, multilabel=True)
        found: list[Read] = []
        nothing: list[ImageError] = []
        for path in ref.paths:
            try:
                found.append(_one(open_file(path), ref, names, channels, image, resample, seen))
            except NoLabelError as error:
                nothing.append(error)
        if not found:
            raise nothing[0]
        notes = tuple(dict.fromkeys(note for _, theirs in found for note in theirs))
        return _together([labels for labels, _ in found], schema, os.path.dirname(ref.paths[0])), notes


def _one(
    source: Source,
    ref: ImageRef,
    names: Names,
    schema: LabelSchema,
    image: Image,
    resample: bool,
    seen: Header | None,
) -> Read:
    kind = header_of(source).kind
    if kind not in DRAWN:
        raise ImageError(f"a part of the mask is of the kind {kind}", where=source.path, todo="leave it out")
    notes = () if seen is None else _check_series(source, seen, resample=resample and kind == SEGMENTATION)
    if kind == STRUCTURES:
        from medcnn.data.labels.dicom_rtstruct import read_structures

        labels, more = read_structures(source, schema, names, image)
        return labels, (*notes, *more)
    from medcnn.data.labels.dicom_seg import read_segmentation

    _check_voxels(source)
    threshold = _threshold(ref.key, source.path)
    labels, more = read_segmentation(source, schema, names, image, resample=resample, threshold=threshold)
    return labels, (*notes, *more)


def _check_voxels(source: Source) -> None:
    if not source.pixel_key:
        raise ImageError(
            "a surface segmentation cannot be used as a mask", where=source.path, todo="export it as voxels"
        )


def _image_header(ref: ImageRef | None) -> Header | None:
    if ref is None or not ref.paths or sniff(ref.paths[0]) != "dicom":
        return None
    return header_of(open_file(ref.paths[0]))


def _check_series(source: Source, image: Header, *, resample: bool) -> tuple[str, ...]:
    """Whether a mask refers to the series of an image, or at least to its frame of reference.

    Raises:
        ImageError: If it refers to another one, and may not be resampled.
    """
    found = references_of(source.dataset)
    if image.frame_of_reference and found.frames and image.frame_of_reference not in found.frames:
        raise ImageError(
            "the mask was drawn in another frame of reference than that of the image",
            where=source.path,
            todo="name the series that the mask refers to, or register the two",
        )
    if not found.series or image.series in found.series:
        return ()
    if not resample or not (image.frame_of_reference and found.frames):
        raise ImageError(
            "the mask refers to another series than that of the image",
            where=source.path,
            todo="name the series that the mask was drawn on"
            + ("" if not found.frames else "; a segmentation in the same frame of reference: task.resample: true"),
        )
    return ("the mask was drawn on another series in the same frame of reference",)


def _together(maps: Sequence[NDArray[np.uint8]], schema: LabelSchema, where: str) -> NDArray[np.uint8]:
    """Masks of channels added up: a label is where any of them has it, absent where one says so, else unknown."""
    stack = np.stack(maps)
    known = np.where(stack == IGNORE, 0, stack).max(0)
    known[(stack == IGNORE).all(0)] = IGNORE
    if schema.multilabel:
        return np.asarray(known, np.uint8)
    canvas = Canvas(schema, known.shape[1:])
    listed = set()
    for position, channel in enumerate(known, 1):
        if (channel != IGNORE).any():
            listed.add(position)
            canvas.paint(position, channel == 1)
    return canvas.finish(listed, where)


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
