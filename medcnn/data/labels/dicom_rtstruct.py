"""RT structure sets: contours in the slices of an image (PS3.3 A.19, C.8.8.5 and C.8.8.6)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.adapters.mask_labels import Names
from medcnn.data.images.dicom_file import Source, items, text, whole
from medcnn.data.labels.canvas import Canvas
from medcnn.data.labels.contours import fill
from medcnn.data.labels.grid import Place
from medcnn.data.labels.naming import Named, Naming
from medcnn.errors import ImageError
from medcnn.geometry.affines import apply_affine
from medcnn.types import Image, LabelSchema

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_OFF_SLICE = 0.25
_FLIP = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Structure:
    """One region of interest.

    Attributes:
        named: Its number, name and how it was made.
        contours: Items of its ContourSequence.
    """

    named: Named
    contours: Sequence[Any]


def structures_of(dataset: Any, where: str) -> tuple[Structure, ...]:
    """The regions of a structure set, with their contours.

    Raises:
        ImageError: If two have one number.
    """
    contours: dict[int, list[Any]] = defaultdict(list)
    for item in items(dataset, "ROIContourSequence"):
        number = whole(item, "ReferencedROINumber")
        if number is not None:
            contours[number] += items(item, "ContourSequence")
    found = []
    for item in items(dataset, "StructureSetROISequence"):
        number = whole(item, "ROINumber")
        if number is None:
            raise ImageError("a structure of the mask has no number", where=where, todo="export the mask anew")
        name, made = text(item, "ROIName"), text(item, "ROIGenerationAlgorithm")
        found.append(Structure(Named(number, name, "", made), contours.get(number, ())))
    repeated = [n for n, count in Counter(s.named.number for s in found).items() if count > 1]
    if repeated:
        raise ImageError(f"two structures have the number {repeated[0]}", where=where, todo="export the mask anew")
    return tuple(found)


def read_structures(
    source: Source, schema: LabelSchema, names: Names, image: Image
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The label map of an RT structure set in the grid of an image.

    A voxel belongs to a structure that encloses its centre an odd number of times (holes by XOR, and by keyholes). A
    structure without contours is as one that is not listed: not annotated.

    Args:
        source: The opened file.
        schema: The labels.
        names: What stands for each; see :class:`~medcnn.data.labels.naming.Naming`.
        image: The series that it was drawn on.

    Raises:
        ImageError: If no structure fits, contours are open, lie off the slices, or exclusive labels overlap.
    """
    where = source.path
    place = Place.of(image)
    if place.affine is None:
        raise ImageError(
            "the image does not say where it lies, so that contours cannot be drawn on it",
            where=where,
            todo="name the DICOM series that the structure set refers to",
        )
    found = structures_of(source.dataset, where)
    drawn = [s for s in found if s.contours]
    naming = Naming.of([s.named for s in drawn], schema, names, where, "structure")
    wanted = [s for s in drawn if s.named.number in naming.positions or s.named.number in naming.ignored]
    _check_repeated(wanted, where)
    canvas = Canvas(schema, place.shape)
    notes = _notes(found, wanted, naming)
    for structure in wanted:
        slices = _by_slice(structure, place, where)
        notes += _gap_note(structure, slices)
        _paint(canvas, structure.named.number, slices, naming, flat=len(place.shape) == 2)
    return canvas.finish(naming.listed, where), tuple(notes)


def _check_repeated(wanted: Sequence[Structure], where: str) -> None:
    counts = Counter(s.named.label.strip().casefold() for s in wanted)
    repeated = [s.named for s in wanted if counts[s.named.label.strip().casefold()] > 1]
    if repeated:
        listed = ", ".join(str(n.number) for n in repeated if n.label == repeated[0].label)
        raise ImageError(
            f"several structures are called {repeated[0].label!r} (numbers {listed}), and which is meant is not said",
            where=where,
            todo="name it by its number in mask_labels",
        )


def _notes(found: Sequence[Structure], wanted: Sequence[Structure], naming: Naming) -> list[str]:
    notes = []
    empty = [s.named.label for s in found if not s.contours]
    if empty:
        notes.append(f"structures without contours, as if not listed: {', '.join(empty)}")
    automatic = [s.named.label for s in wanted if s.named.algorithm == "AUTOMATIC"]
    if automatic:
        notes.append(f"{len(automatic)} of the labels were made by a program (AUTOMATIC): {', '.join(automatic)}")
    if naming.aside:
        notes.append(f"structures left aside: {', '.join(naming.aside)}")
    return notes


def _by_slice(structure: Structure, place: Place, where: str) -> Mapping[int, list[NDArray[np.float64]]]:
    """The contours in voxels, by slice."""
    assert place.affine is not None
    name, to_image = structure.named.label, np.linalg.inv(place.affine)
    slices: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    for item in structure.contours:
        kind = text(item, "ContourGeometricType").upper()
        if kind not in CLOSED:
            raise ImageError(
                f"the structure {name!r} has a contour of the type {kind or '(none)'}, which encloses nothing",
                where=where,
                todo="leave the structure out of mask_labels, or close its contours where it was drawn",
            )
        points = apply_affine(to_image, _points(item, name, where) * _FLIP)
        at = _slice_of(points, place, name, where)
        if len(points) > 2:
            slices[at].append(points[:, :2])
    return slices


def _points(item: Any, name: str, where: str) -> NDArray[np.float64]:
    """``(N, 3)`` in DICOM's LPS."""
    found = _numbers_of(item)
    count = whole(item, "NumberOfContourPoints") or found.size // 3
    if not found.size or found.size != 3 * count or not np.isfinite(found).all():
        raise ImageError(
            f"a contour of the structure {name!r} announces {count} points and holds {found.size} numbers",
            where=where,
            todo="export the structure set anew",
        )
    return found.reshape(-1, 3)


def _numbers_of(item: Any) -> NDArray[np.float64]:
    """ContourData as numbers; from its bytes, since a value object for each of millions takes minutes."""
    try:
        stored = item.get_item("ContourData")
        raw = stored.value if stored is not None else b""
        if isinstance(raw, bytes):
            return np.array(raw.strip(b"\0 ").split(b"\\"), np.float64)
        return np.array([float(v) for v in raw], np.float64)
    except (ValueError, TypeError):
        return np.zeros(0)


def _slice_of(points: NDArray[np.float64], place: Place, name: str, where: str) -> int:
    """The slice that a contour lies on."""
    depth = points[:, 2]
    at = round(float(depth.mean()))
    count = place.shape[2] if len(place.shape) == 3 else 1
    spacing = 1.0 if place.affine is None else float(np.linalg.norm(place.affine[:3, 2]))
    off = float(np.abs(depth - at).max())
    todo = "name the series that the structure set was drawn on; contours are not resampled"
    if float(np.ptp(depth)) > 2 * _OFF_SLICE:
        raise ImageError(
            f"the structure {name!r} has a contour across the slices of the image ({np.ptp(depth) * spacing:.1f} mm)",
            where=where,
            todo=todo,
        )
    if off > _OFF_SLICE:
        raise ImageError(
            f"the structure {name!r} has a contour off the slices of the image ({off * spacing:.2f} mm beside one)",
            where=where,
            todo=todo,
        )
    if len(place.shape) == 3 and not 0 <= at < count:
        raise ImageError(
            f"the structure {name!r} has a contour outside of the image's {count} slices", where=where, todo=todo
        )
    return at


def _gap_note(structure: Structure, slices: Mapping[int, Any]) -> list[str]:
    """Says where contours stand on every second slice alone, which leaves the others empty."""
    gaps = np.diff(sorted(slices))
    if gaps.size and gaps.min() > 1:
        return [f"{structure.named.label} is drawn on one slice in {int(gaps.min())} alone: the others are empty"]
    return []


def _paint(
    canvas: Canvas, number: int, slices: Mapping[int, list[NDArray[np.float64]]], naming: Naming, *, flat: bool
) -> None:
    for at, contours in slices.items():
        if flat and at != 0:
            continue
        where = fill(contours, (canvas.shape[0], canvas.shape[1]))
        index: tuple[Any, ...] = () if flat else (slice(None), slice(None), at)
        for position in naming.positions.get(number, ()):
            canvas.paint(position, where, index)
        if number in naming.ignored:
            canvas.ignore(where, index)
