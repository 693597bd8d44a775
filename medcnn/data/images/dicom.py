"""DICOM: a single image, the files of one series as a volume, and multi-frame objects."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.colour import to_grey
from medcnn.data.images.dicom_classes import class_name
from medcnn.data.images.dicom_decode import decode_frames
from medcnn.data.images.dicom_file import Source, open_file, quiet
from medcnn.data.images.dicom_format import Format, format_of
from medcnn.data.images.dicom_header import Header, describe_slice, header_of
from medcnn.data.images.dicom_pixels import Frame, expected_type, to_modality
from medcnn.data.images.dicom_stack import single_affine
from medcnn.data.images.limits import MAX_BYTES, check_size, state_or_none
from medcnn.data.images.options import PLAIN, ReadOptions
from medcnn.data.images.stack_rule import pick
from medcnn.data.images.stacks import Stack, stacks_of
from medcnn.errors import ImageError
from medcnn.geometry.affines import spacing_of
from medcnn.geometry.grids import straighten
from medcnn.types import Image, ImageRef


def read_dicom(ref: ImageRef, options: ReadOptions = PLAIN) -> Image:
    """Read a DICOM image or series.

    Args:
        ref: One file gives an image, or a volume where it is multi-frame with a position for each frame (``index``
            chooses one frame as an image). Several files are the slices of one series, in any order. ``key`` names
            one of several stacks (see :attr:`~medcnn.data.images.stacks.Stack.key`).
        options: Windows, grey, padding, tilt, and the rule that picks one of several stacks.

    Returns:
        ``(C, X, Y)`` for an image and ``(C, X, Y, Z)`` for a stack, sorted along the normal of its slices; axis 1 is
        the column. C is 1, or 3 for colour. Values are in the modality's unit (HU for CT), with MONOCHROME1 inverted
        over its stored range and padding set to the smallest other value. The affine is in RAS; ``None`` where the
        header has no world frame.

    Raises:
        ImageError: If a file has no pixels, is truncated or cannot be decompressed, or if the slices form no stack.
    """
    with quiet():
        sources = _opened(ref)
        if ref.index is not None:
            if len(sources) > 1:
                raise ImageError("an index chooses a frame of one file, not of a series", where=ref.paths[0])
            return _read_frame(sources[ref.paths[0]], ref.index, options)
        stack, notes = _meant(ref, sources, options)
        return _read_stack(stack, sources, options, _folder(ref), notes)


def open_stack(ref: ImageRef) -> tuple[Stack, dict[str, Source]]:
    """The stack that :func:`read_dicom` reads, in the order in which it reads it, and its files, opened; no pixels.

    Raises:
        ImageError: If a file cannot be read, or it is not clear which stack is meant.
    """
    with quiet():
        sources = _opened(ref)
        return _meant(ref, sources, PLAIN)[0], sources


def _opened(ref: ImageRef) -> dict[str, Source]:
    # By name, so that the result does not depend on the order in which the files were listed.
    return {path: open_file(path) for path in sorted(ref.paths)}


def _folder(ref: ImageRef) -> str:
    return ref.paths[0] if len(ref.paths) == 1 else os.path.dirname(ref.paths[0]) or "."


def _meant(ref: ImageRef, sources: dict[str, Source], options: ReadOptions) -> tuple[Stack, list[str]]:
    if len(sources) == 1:
        format_of(sources[ref.paths[0]])
    stacks = stacks_of(header_of(source) for source in sources.values())
    if ref.key is not None:
        stacks = [s for s in stacks if s.key == ref.key]
    return _choose(stacks, options, _folder(ref))


def read_stack(stack: Stack, options: ReadOptions = PLAIN) -> Image:
    """Read the pixels of a stack that :func:`~medcnn.data.images.stacks.stacks_of` found.

    Raises:
        ImageError: As :func:`read_dicom`; also if a file changed since its header was read.
    """
    with quiet():
        for header in stack.headers:
            if state_or_none(header.path) != header.state:
                raise ImageError("the file changed since it was listed", where=header.path, todo="list the files anew")
        sources = {path: open_file(path) for path in stack.paths}
        return _read_stack(stack, sources, options, os.path.dirname(stack.paths[0]) or ".", [])


def _choose(stacks: list[Stack], options: ReadOptions, folder: str) -> tuple[Stack, list[str]]:
    """The stack that is meant, and what to say of the rest."""
    chosen = pick(stacks, options.stack, folder)
    if options.stack is not None:
        return chosen, []
    left = Counter(s.kind for s in stacks if s is not chosen)
    return chosen, [f"{count} object{'s' if count > 1 else ''} left aside: {kind}" for kind, count in left.items()]


def _read_frame(source: Source, index: int, options: ReadOptions) -> Image:
    form = format_of(source)
    raw = next(iter(decode_frames(source, form, [index], masked=False)))
    frame = to_modality(source, form, raw, index, options.voi)
    values, padded = frame.values, frame.padded
    one = header_of(source).slices[index] if form.frames > 1 else describe_slice(source.dataset, source.path)
    spacing = None if one.spacing is None else (one.spacing[1], one.spacing[0])
    header = _shown(header_of(source), 1, frame, one.spacing_source, form.notes)
    mask = None if padded is None else padded[np.newaxis]
    return _finish(values[np.newaxis], mask, single_affine(one), spacing, header, options, flat=True)


def _read_stack(stack: Stack, sources: dict[str, Source], options: ReadOptions, folder: str, notes: list[str]) -> Image:
    if stack.problem:
        raise ImageError(stack.problem, where=stack.where or folder, todo=stack.todo)
    if not stack.slices:
        raise ImageError(f"the object holds no pixels: it is {class_name(stack.header.sop_class)}", where=folder)
    volume = _Volume(stack, sources)
    for at, (frame, path) in enumerate(_frames(stack, sources, options)):
        volume.put(at, frame, path)
    notes = [*notes, *format_of(sources[stack.slices[0].path]).notes]
    if stack.copies:
        what = "slices" if len(stack.slices) > 1 else "the image"
        many = "copies" if stack.copies > 1 else "copy"
        notes.append(f"{stack.copies} repeated {many} of {what} left out")
    assert volume.first is not None
    header = _shown(stack.header, len(stack.slices), volume.first, stack.slices[0].spacing_source, notes)
    if stack.tilt:
        header["tilt_degrees"] = round(stack.tilt, 2)
        done = "resampled to right angles" if options.straighten else "kept so"
        text = f"the gantry was tilted by {stack.tilt:.1f} degrees: the stack is sheared, and {done}"
        header["notes"] = (*header.get("notes", ()), text)
    flat = len(stack.slices) == 1
    return _finish(volume.values, volume.padded, stack.affine, stack.spacing, header, options, flat=flat)


class _Volume:
    """Frames gathered in one array, which is made once where the headers tell its type."""

    def __init__(self, stack: Stack, sources: dict[str, Source]) -> None:
        self.first: Frame | None = None
        self.padded: NDArray[np.bool_] | None = None
        self._count = len(stack.slices)
        self._type: np.dtype[Any] | None = None
        header, size = stack.header, sum(s.state[0] for s in sources.values())
        check_size((self._count, *header.shape, header.samples), max(1, header.bits // 8), size, header.path)
        found = {self._expected(sources[s.path], s.frame) for s in stack.slices}
        known = [t for t in found if t is not None]
        if known and len(known) == len(found):
            self._type = np.result_type(*known)
        self.values: NDArray[Any] = np.empty(0)

    @staticmethod
    def _expected(source: Source, frame: int) -> np.dtype[Any] | None:
        return expected_type(source.dataset, format_of(source), frame)

    def put(self, at: int, frame: Frame, path: str) -> None:
        """Place a frame; the array becomes wider where its type does not hold it."""
        values = frame.values
        if self.first is None:
            self.first = frame
            kind = values.dtype if self._type is None else np.result_type(self._type, values.dtype)
            if values.size * self._count * kind.itemsize > MAX_BYTES:
                raise ImageError("the stack is larger than an image may be", where=path)
            self.values = np.empty((self._count, *values.shape), kind)
        if values.shape != self.values.shape[1:]:
            raise ImageError("the files hold grey and colour images", where=path, todo="give those of one kind alone")
        kind = np.result_type(self.values.dtype, values.dtype)
        if kind != self.values.dtype:
            self.values = self.values.astype(np.float32 if kind.kind == "f" else kind)
        self.values[at] = values
        if frame.padded is not None:
            if self.padded is None:
                self.padded = np.zeros(self.values.shape[:3], bool)
            self.padded[at] = frame.padded


def _frames(stack: Stack, sources: dict[str, Source], options: ReadOptions) -> Iterator[tuple[Frame, str]]:
    formats: dict[str, Format] = {}
    whole = len(sources) == 1 and len(stack.paths) == 1
    if whole:
        source = sources[stack.paths[0]]
        form = format_of(source)
        wanted = [s.frame for s in stack.slices]
        # One pass over a compressed file: its frames are found by walking through it.
        for one, raw in zip(stack.slices, decode_frames(source, form, wanted, masked=False), strict=True):
            yield to_modality(source, form, raw, one.frame, options.voi), source.path
        return
    for one in stack.slices:
        source = sources[one.path]
        form = formats.setdefault(one.path, format_of(source))
        raw = next(iter(decode_frames(source, form, [one.frame], masked=False)))
        yield to_modality(source, form, raw, one.frame, options.voi), one.path
        source.forget()


def _finish(
    values: NDArray[Any],
    padded: NDArray[np.bool_] | None,
    affine: NDArray[np.float64] | None,
    spacing: tuple[float, ...] | None,
    header: dict[str, Any],
    options: ReadOptions,
    *,
    flat: bool,
) -> Image:
    """Padding, grey, axes ``(C, X, Y[, Z])`` and, on request, right angles."""
    if padded is not None and options.padding != "keep" and not padded.all():
        values = values if values.flags.writeable else values.copy()
        values[padded] = values[~padded].min()
    if options.grey and values.ndim == 4:
        values = to_grey(values, -1)
    moved = values.transpose(2, 1, 0)[np.newaxis] if values.ndim == 3 else values.transpose(3, 2, 1, 0)
    mask = None if padded is None or options.padding != "mask" else padded.transpose(2, 1, 0)
    if options.straighten and header.get("tilt_degrees") and affine is not None:
        moved, straight = straighten(moved, affine)
        if mask is not None:
            mask = straighten(mask[np.newaxis].astype(np.float32), affine)[0][0] > 0.5
        affine, spacing = straight, spacing_of(straight)
    if mask is not None:
        header["padding"] = mask[..., 0] if flat else mask
    return Image(moved[..., 0] if flat else moved, affine, spacing, header)


def _shown(header: Header, slices: int, frame: Frame, source: str, notes: Sequence[str]) -> dict[str, Any]:
    """What may be shown of the header: never names, dates or UIDs."""
    found: dict[str, Any] = {
        "format": "DICOM",
        "bits": header.bits or None,
        "modality": header.modality,
        "photometric": header.photometric,
        "body_part": header.body_part,
        "view": header.view,
        "laterality": header.laterality,
        "sop_class": class_name(header.sop_class),
        "kind": header.kind,
        "slices": slices if slices > 1 else None,
        "window": frame.window,
        "inverted": frame.inverted or None,
        "spacing_source": source,
    }
    notes = list(notes)
    if frame.inverted:
        notes.append("the grey scale was inverted over the stored range, so that dense is bright")
    if source == "ImagerPixelSpacing":
        notes.append("the spacing is that at the detector: distances in the body are smaller")
    shown = {key: value for key, value in found.items() if value}
    if notes:
        shown["notes"] = tuple(notes)
    return shown
