"""DICOM segmentations: binary, fractional and label map (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.adapters.mask_labels import Names
from medcnn.data.images.dicom_decode import decode_frames
from medcnn.data.images.dicom_file import Source, items, text, whole
from medcnn.data.images.dicom_format import Format, format_of
from medcnn.data.images.dicom_header import Slice, slices_of
from medcnn.data.labels.canvas import Canvas
from medcnn.data.labels.grid import Place, difference, other_grid, to_grid
from medcnn.data.labels.naming import Named, Naming
from medcnn.data.labels.planes import Lattice, frame_affine, slice_in
from medcnn.errors import ImageError
from medcnn.types import Image, LabelSchema

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
_SEGMENT = 4  # ReferencedSegmentNumber among the elements that tell frames apart


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What a segmentation says of itself.

    Attributes:
        kind: ``BINARY``, ``FRACTIONAL`` or ``LABELMAP``.
        fraction: ``PROBABILITY`` or ``OCCUPANCY`` of a fractional one.
        most: The value that stands for 1 in a fractional one.
        segments: What it lists.
    """

    kind: str
    fraction: str
    most: int
    segments: tuple[Named, ...]

    @classmethod
    def of(cls, dataset: Any, where: str) -> Segmentation:
        """From the header.

        Raises:
            ImageError: If its kind is unknown or its segments are not numbered.
        """
        kind = text(dataset, "SegmentationType").upper()
        if kind not in KINDS:
            raise ImageError(
                f"the segmentation is of the kind {kind or 'that it does not name'}",
                where=where,
                todo=f"readable: {', '.join(KINDS).lower()}",
            )
        most = whole(dataset, "MaximumFractionalValue") or (2 ** (whole(dataset, "BitsStored") or 8) - 1)
        segments = _segments(dataset, where)
        if kind == "LABELMAP":
            # What pads a label map may be listed as a segment of its own: the background (PS3.3 C.8.20.2).
            padding = whole(dataset, "PixelPaddingValue") or 0
            segments = tuple(s for s in segments if s.number not in (0, padding))
        return cls(kind, text(dataset, "SegmentationFractionalType").upper(), most, segments)

    def notes(self, naming: Naming, threshold: float) -> Iterator[str]:
        """What is to be said about it."""
        if self.kind == "FRACTIONAL":
            kind = self.fraction or "of no named type"
            yield f"fractional ({kind}, maximum {self.most}): present from {threshold:g} of it on"
        automatic = [s.label for s in self.segments if s.algorithm == "AUTOMATIC" and s.number in naming.positions]
        if automatic:
            yield f"{len(automatic)} of the labels were made by a program (AUTOMATIC): {', '.join(automatic)}"
        if naming.aside:
            yield f"segments left aside: {', '.join(naming.aside)}"


def _segments(dataset: Any, where: str) -> tuple[Named, ...]:
    found = []
    for item in items(dataset, "SegmentSequence"):
        number = whole(item, "SegmentNumber")
        if number is None:
            raise ImageError("a segment of the mask has no number", where=where, todo="export the mask anew")
        code = next(iter(items(item, "SegmentedPropertyTypeCodeSequence")), None)
        value = "" if code is None else text(code, "CodeValue") or text(code, "LongCodeValue")
        scheme = "" if code is None else text(code, "CodingSchemeDesignator")
        label = text(item, "SegmentLabel") or (text(code, "CodeMeaning") if code is not None else "")
        found.append(Named(number, label, f"{scheme}:{value}" if value else "", text(item, "SegmentAlgorithmType")))
    repeated = [n for n, count in Counter(s.number for s in found).items() if count > 1]
    if repeated:
        raise ImageError(f"two segments have the number {repeated[0]}", where=where, todo="export the mask anew")
    return tuple(found)


def read_segmentation(
    source: Source, schema: LabelSchema, names: Names, image: Image, *, resample: bool, threshold: float = 0.5
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The label map of a DICOM segmentation in the grid of an image.

    Frames that are not there are empty (PS3.3 C.8.20.2); a label of which no segment is listed is not annotated.

    Args:
        source: The opened file.
        schema: The labels.
        names: What stands for each; see :class:`~medcnn.data.labels.naming.Naming`.
        image: What it lies on.
        resample: Bring one of another grid to the image's.
        threshold: Share of the maximum from which a fractional segment is present.

    Raises:
        ImageError: If it lies elsewhere, no segment fits, or exclusive labels overlap.
    """
    about = Segmentation.of(source.dataset, source.path)
    naming = Naming.of(about.segments, schema, names, source.path, "segment")
    frames = _Frames.of(source, about, naming, threshold)
    notes = list(about.notes(naming, threshold))
    target = Place.of(image)
    places = frames.in_image(target)
    if places is not None:
        canvas = Canvas(schema, target.shape)
        frames.paint(canvas, places, flat=len(target.shape) == 2)
        return canvas.finish(naming.listed, source.path), tuple(notes)
    lattice = Lattice.of(frames.slices, frames.shape, source.path)
    found = difference(_beside(lattice.place, target), target) or difference(lattice.place, target)
    found = found or "its frames lie between the pixels of the image"
    if not resample or target.affine is None:
        raise other_grid(found, lattice.place, target, source.path)
    canvas = Canvas(schema, lattice.place.shape)
    frames.paint(canvas, lattice.at, flat=False)
    labels = canvas.finish(naming.listed, source.path)
    notes.append(f"the mask was resampled: {found}")
    moved = to_grid(labels, lattice.place, target, overlapping=schema.multilabel, outside=0)
    if labels.any() and not moved.any():
        raise ImageError(
            f"the mask lies beside its image (mask: {lattice.place.words()}; image: {target.words()})",
            where=source.path,
            todo="check that the two belong together",
        )
    return moved, tuple(notes)


def _beside(frames: Place, image: Place) -> Place:
    """The frames' grid with as many slices as the image, along their normal nearest to it: a part is no difference."""
    if frames.affine is None or image.affine is None or len(image.shape) < 3:
        return frames
    affine, step = frames.affine.copy(), frames.affine[:3, 2]
    affine[:3, 3] += step * round(float((image.affine[:3, 3] - affine[:3, 3]) @ step / (step @ step)))
    return Place((*frames.shape[:2], image.shape[2]), affine, frames.spacing)


@dataclass(frozen=True, slots=True)
class _Frames:
    """The frames that hold wanted segments.

    Attributes:
        source: The file.
        form: Its image pixel module.
        about: The segmentation.
        naming: What its segments become.
        threshold: For fractional ones.
        numbers: Positions of the frames in the file.
        slices: Where each lies, and its segment.
    """

    source: Source
    form: Format
    about: Segmentation
    naming: Naming
    threshold: float
    numbers: tuple[int, ...]
    slices: tuple[Slice, ...]

    @classmethod
    def of(cls, source: Source, about: Segmentation, naming: Naming, threshold: float) -> _Frames:
        form = format_of(source)
        found = slices_of(source.dataset, source.path, form.frames)
        wanted = set(naming.positions) | naming.ignored
        kept = []
        for one in found:
            if about.kind != "LABELMAP":
                number = one.firm[_SEGMENT]
                if not number.isdigit() or int(number) not in {s.number for s in about.segments}:
                    said = f"the segment {number}, which is not listed" if number else "no segment"
                    raise ImageError(
                        f"frame {one.frame} of the mask names {said}", where=source.path, todo="export the mask anew"
                    )
                if int(number) not in wanted:
                    continue
            kept.append(one)
        return cls(source, form, about, naming, threshold, tuple(s.frame for s in kept), tuple(kept))

    @property
    def shape(self) -> tuple[int, int]:
        """Columns and rows."""
        return self.form.shape[1], self.form.shape[0]

    def in_image(self, image: Place) -> tuple[int, ...] | None:
        """The slice of the image that each frame is; ``None`` where they are not of its pixels.

        Raises:
            ImageError: If a frame does not say where it lies and the image is not one picture, or lies outside.
        """
        affines = [frame_affine(one) for one in self.slices]
        if len(image.shape) == 2 and (image.affine is None or all(a is None for a in affines)):
            return self._on_picture(image)
        if any(a is None for a in affines):
            raise ImageError(
                "the frames of the mask do not say where they lie",
                where=self.source.path,
                todo="export the mask with position, orientation and spacing of its frames",
            )
        if image.affine is None:
            return None
        places = [slice_in(a, self.shape, image) for a in affines if a is not None]
        if any(p is None for p in places):
            return None
        found = [p for p in places if p is not None]
        if len(image.shape) == 3:
            outside = sum(not 0 <= p < image.shape[2] for p in found)
            if outside:
                raise ImageError(
                    f"{outside} of {len(found)} frames of the mask lie outside of the image's {image.shape[2]} slices",
                    where=self.source.path,
                    todo="check that the mask and the whole series belong together",
                )
        return tuple(found)

    def _on_picture(self, image: Place) -> tuple[int, ...]:
        """Frames without places, on an image of two axes."""
        if self.shape != image.shape:
            raise other_grid(
                f"it has {self.shape[0]}x{self.shape[1]}, the image {image.shape[0]}x{image.shape[1]}",
                Place(self.shape, None, None),
                image,
                self.source.path,
            )
        counts = Counter(one.firm[_SEGMENT] for one in self.slices)
        if counts and max(counts.values()) > 1:
            raise ImageError(
                "the mask holds several frames a segment for an image of one",
                where=self.source.path,
                todo="export one mask an image",
            )
        return (0,) * len(self.slices)

    def paint(self, canvas: Canvas, places: Sequence[int], *, flat: bool) -> None:
        """Put the frames onto the canvas; of a flat one those at place 0."""
        chosen = [(n, s, p) for n, s, p in zip(self.numbers, self.slices, places, strict=True) if not flat or p == 0]
        # Of no frames a decoder would make all.
        rows = decode_frames(self.source, self.form, [n for n, _, _ in chosen]) if chosen else iter(())
        for raw, (_, one, place) in zip(rows, chosen, strict=True):
            at = () if flat else (slice(None), slice(None), place)
            values = raw.T
            if self.about.kind == "LABELMAP":
                self._paint_numbers(canvas, values, at)
                continue
            if self.about.kind == "FRACTIONAL":
                where = values >= max(1, self.threshold * self.about.most)
            else:
                where = values > 0
            self._paint_segment(canvas, int(one.firm[_SEGMENT]), where, at)

    def _paint_numbers(self, canvas: Canvas, values: NDArray[Any], at: tuple[Any, ...]) -> None:
        known = {s.number for s in self.about.segments}
        padding = whole(self.source.dataset, "PixelPaddingValue") or 0
        for number in (int(v) for v in np.unique(values)):
            if number in known:
                self._paint_segment(canvas, number, values == number, at)
            elif number not in (0, padding):
                raise ImageError(
                    f"the mask holds the value {number}, which is no segment of it",
                    where=self.source.path,
                    todo="export the mask anew",
                )

    def _paint_segment(self, canvas: Canvas, number: int, where: NDArray[np.bool_], at: tuple[Any, ...]) -> None:
        for position in self.naming.positions.get(number, ()):
            canvas.paint(position, where, at)
        if number in self.naming.ignored:
            canvas.ignore(where, at)
