"""DICOM: a single image, the files of one series as a volume, and multi-frame objects."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_file import frame_count, header, load, quiet
from medcnn.data.images.dicom_pixels import Pixels, fill_padding, read_pixels
from medcnn.data.images.dicom_stack import Slice, Stack, build_stack, describe_slice, single_affine
from medcnn.errors import ImageError
from medcnn.geometry.affines import spacing_of
from medcnn.types import Image, ImageRef

if TYPE_CHECKING:
    from pydicom import Dataset


def read_dicom(ref: ImageRef) -> Image:
    """Read a DICOM image or series.

    Args:
        ref: One file gives an image, or a volume where it is multi-frame with a position for each frame (``index``
            chooses one frame as an image). Several files are the slices of one series, in any order.

    Returns:
        ``(C, X, Y)`` for an image and ``(C, X, Y, Z)`` for a stack, sorted along the normal of its slices; axis 1 is
        the column. C is 1, or 3 for colour. Values are in the modality's unit (HU for CT), with MONOCHROME1 inverted
        over its stored range and padding set to the smallest other value. The affine is in RAS; ``None`` where the
        header has no world frame.

    Raises:
        ImageError: If a file has no pixels, is truncated or cannot be decompressed, or if the slices form no stack.
    """
    with quiet():
        if len(ref.paths) > 1:
            if ref.index is not None:
                raise ImageError("an index chooses a frame of one file, not of a series", where=ref.paths[0])
            return _read_series(ref.paths)
        return _read_file(ref.paths[0], ref.index)


def _read_file(path: str, index: int | None) -> Image:
    dataset = load(path)
    frames = frame_count(dataset, path)
    if frames == 1 or index is not None:
        frame = index or 0
        pixels = read_pixels(dataset, path, frame)
        return _single(dataset, pixels, describe_slice(dataset, path, pixels.values.shape[1:3], frame))
    shape = (int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0))
    slices = [describe_slice(dataset, f"{path}, frame {i}", shape, i) for i in range(frames)]
    if "PerFrameFunctionalGroupsSequence" not in dataset or any(s.position is None for s in slices):
        kind = header(dataset, 1).get("modality", "this object")
        raise ImageError(
            f"the file holds {frames} frames of {kind} without a position for each: they are no volume",
            where=path,
            todo=f"choose one frame by index, from 0 to {frames - 1}",
        )
    # Frames of one file share their UID: only slices of different files can be copies of each other.
    stack = build_stack([replace(s, uid="") for s in slices], path)
    pixels = read_pixels(dataset, path)
    order = list(stack.order)
    padded = None if pixels.padded is None else pixels.padded[order]
    return _volume(dataset, pixels, fill_padding(pixels.values[order], padded), stack, slices[0])


def _read_series(paths: tuple[str, ...]) -> Image:
    folder = os.path.dirname(paths[0]) or "."
    slices: list[Slice] = []
    frames: list[Pixels] = []
    first: Dataset | None = None
    # By name, so that the result does not depend on the order in which the files were listed.
    for path in sorted(paths):
        dataset = load(path)
        if frame_count(dataset, path) > 1:
            raise ImageError("a multi-frame file is a stack by itself", where=path, todo="give it as one file")
        pixels = read_pixels(dataset, path)
        slices.append(describe_slice(dataset, path, pixels.values.shape[1:3]))
        frames.append(pixels)
        first = first or dataset
    assert first is not None
    if len({s.uid for s in slices if s.uid}) == 1 and all(s.uid for s in slices):
        return _single(first, frames[0], slices[0], (f"{len(slices) - 1} repeated copies of the image were left out",))
    colours = {p.values.ndim for p in frames}
    if len(colours) > 1:
        raise ImageError("the files hold grey and colour images", where=folder, todo="give those of one kind alone")
    stack = build_stack(slices, folder)
    dtype = np.result_type(*{frames[i].values.dtype for i in stack.order})
    values = np.stack([frames[i].values[0] for i in stack.order], dtype=dtype, casting="unsafe")
    return _volume(first, frames[0], fill_padding(values, _padding(frames, stack)), stack, slices[0])


def _padding(frames: list[Pixels], stack: Stack) -> NDArray[np.bool_] | None:
    if all(frames[i].padded is None for i in stack.order):
        return None
    empty = np.zeros(frames[0].values.shape[1:3], bool)
    masks = (frames[i].padded for i in stack.order)
    return np.stack([empty if m is None else m[0] for m in masks])


def _single(dataset: Dataset, pixels: Pixels, one: Slice, notes: tuple[str, ...] = ()) -> Image:
    array = fill_padding(pixels.values, pixels.padded)[0]
    affine = single_affine(one)
    spacing = None if one.spacing is None else (one.spacing[1], one.spacing[0])
    moved = array.T[np.newaxis] if array.ndim == 2 else array.transpose(2, 1, 0)
    return Image(moved, affine, spacing, _header(dataset, pixels, 1, one.spacing_source, notes))


def _volume(dataset: Dataset, pixels: Pixels, values: NDArray[Any], stack: Stack, one: Slice) -> Image:
    moved = values.transpose(2, 1, 0)[np.newaxis] if values.ndim == 3 else values.transpose(3, 2, 1, 0)
    found = _header(dataset, pixels, len(values), one.spacing_source, stack.notes)
    if stack.tilt:
        found["tilt_degrees"] = round(stack.tilt, 2)
    return Image(moved, stack.affine, spacing_of(stack.affine), found)


def _header(dataset: Dataset, pixels: Pixels, slices: int, source: str, notes: tuple[str, ...]) -> dict[str, Any]:
    found = header(dataset, slices)
    if pixels.window is not None:
        found["window"] = pixels.window
    if pixels.inverted:
        found["inverted"] = True
        notes = (*notes, "the grey scale was inverted over the stored range, so that dense is bright")
    if source:
        found["spacing_source"] = source
    if source == "ImagerPixelSpacing":
        notes = (*notes, "the spacing is that at the detector: distances in the body are smaller")
    if notes:
        found["notes"] = notes
    return found
