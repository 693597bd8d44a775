"""From slices in any order to a stack with one affine, or to the reason why they are none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_file import group, numbers, text
from medcnn.errors import ImageError
from medcnn.geometry.affines import dicom_affine, shear_degrees, slice_normal

if TYPE_CHECKING:
    from pydicom import Dataset

# How far a slice may lie beside its place on the straight, even line of the stack: a share of the spacing, or what
# positions rounded to 0.1 mm can make of it (but never so much that a missing slice, half a spacing, would pass).
_TOLERANCE = 0.1
_ROUNDING_MM = 0.1
_AT_MOST = 0.3
_SAME_DIRECTION = 1e-3
_TILT = 0.5

_SPACING_TAGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_TELLING = (
    "ImageType",
    "EchoTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "DiffusionBValue",
    "TriggerTime",
    "StackID",
    "InstanceNumber",
)


@dataclass(frozen=True, slots=True)
class Slice:
    """Where one slice lies and what tells it from others; lengths in mm, directions and positions in LPS."""

    path: str
    uid: str
    series: str
    shape: tuple[int, ...]
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    spacing_source: str
    thickness: float | None
    telling: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """The order of the slices that form a stack, its affine, and what is to be said about it."""

    order: tuple[int, ...]
    affine: NDArray[np.float64]
    tilt: float
    notes: tuple[str, ...]


def describe_slice(dataset: Dataset, path: str, shape: tuple[int, ...], frame: int = 0) -> Slice:
    """Read the geometry of one frame, from functional groups where there are any."""
    measures = group(dataset, frame, "PixelMeasuresSequence")
    plane = group(dataset, frame, "PlanePositionSequence")
    turn = group(dataset, frame, "PlaneOrientationSequence")
    spacing, source = None, ""
    for tag in _SPACING_TAGS:
        found = numbers(measures, tag, 2)
        if found is not None and min(found) > 0:
            spacing, source = found, tag
            break
    thickness = numbers(measures, "SpacingBetweenSlices", 1) or numbers(measures, "SliceThickness", 1)
    return Slice(
        path=path,
        uid=text(dataset, "SOPInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        shape=shape,
        orientation=numbers(turn, "ImageOrientationPatient", 6),
        position=numbers(plane, "ImagePositionPatient", 3),
        spacing=spacing,
        spacing_source=source,
        thickness=abs(thickness[0]) if thickness and thickness[0] else None,
        telling=tuple((tag, text(dataset, tag)) for tag in _TELLING),
    )


def single_affine(one: Slice) -> NDArray[np.float64] | None:
    """Affine of a single image; ``None`` where the header has no world frame or a broken one."""
    if one.orientation is None or one.position is None or one.spacing is None or one.spacing_source != "PixelSpacing":
        return None
    try:
        step = slice_normal(one.orientation) * (one.thickness or 1.0)
        return dicom_affine(one.orientation, one.position, one.spacing, step)
    except ValueError:
        return None


def build_stack(slices: Sequence[Slice], folder: str) -> Stack:
    """Sort slices along their normal and check that they lie evenly on a straight line.

    Args:
        slices: At least two slices of one series.
        folder: How messages call the whole.

    Returns:
        The order (identical instances dropped) and the affine in RAS of axes (column, row, slice).

    Raises:
        ImageError: If slices come from several series, differ in size, spacing or orientation, share a position, are
            unevenly spaced or missing, or say nothing about where they lie.
    """
    kept, dropped = _without_copies(slices)
    chosen = [slices[i] for i in kept]
    _require_same(chosen, folder, "series", lambda s: s.series, "give the files of one series alone")
    _require_same(chosen, folder, "sizes", lambda s: "x".join(map(str, s.shape)), "give the slices of one size alone")
    orientation, spacing = _require_geometry(chosen)
    normal = slice_normal(orientation)
    positions = np.array([s.position for s in chosen])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    step = _even_step([chosen[i] for i in order], positions[order], along[order], folder)
    affine = dicom_affine(orientation, positions[order[0]], spacing, step)
    tilt = shear_degrees(affine)
    notes = [f"{dropped} repeated copies of slices were left out"] if dropped else []
    if tilt > _TILT:
        notes.append(f"the gantry was tilted by {tilt:.1f} degrees: the stack is sheared, and kept so")
    return Stack(tuple(kept[i] for i in order), affine, tilt if tilt > _TILT else 0.0, tuple(notes))


def _without_copies(slices: Sequence[Slice]) -> tuple[list[int], int]:
    """Positions of the slices without further copies of one SOP instance."""
    seen: set[str] = set()
    kept = []
    for i, one in enumerate(slices):
        if one.uid and one.uid in seen:
            continue
        seen.add(one.uid)
        kept.append(i)
    return kept, len(slices) - len(kept)


def _require_same(slices: Sequence[Slice], folder: str, what: str, key: Callable[[Slice], Any], todo: str) -> None:
    counts = Counter(key(s) for s in slices)
    if len(counts) < 2:
        return
    common = counts.most_common(1)[0][0]
    odd = next(s for s in slices if key(s) != common)
    # UIDs do not belong into messages that may end in a report.
    parts = ", ".join(f"{n} of {value}" for value, n in counts.most_common(4)) if what == "sizes" else ""
    if not parts:
        parts = ", ".join(f"{n}" for _, n in counts.most_common(4)) + " files"
    raise ImageError(
        f"the files belong to {len(counts)} {what} ({parts}); one that differs: {os.path.basename(odd.path)}",
        where=folder,
        todo=todo,
    )


def _require_geometry(slices: Sequence[Slice]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    first = slices[0]
    for one in slices:
        lacking = "ImageOrientationPatient" if one.orientation is None else "ImagePositionPatient"
        if one.orientation is None or one.position is None:
            raise ImageError(
                f"the slice has no usable {lacking}, so that the order of the series is unknown",
                where=one.path,
                todo="use the slices as single images",
            )
        if one.spacing is None:
            raise ImageError("the slice has no usable PixelSpacing", where=one.path)
    assert first.orientation is not None
    assert first.spacing is not None
    try:
        slice_normal(first.orientation)
    except ValueError as error:
        raise ImageError(str(error), where=first.path) from error
    for one in slices:
        assert one.orientation is not None
        assert one.spacing is not None
        if np.abs(np.subtract(one.orientation, first.orientation)).max() > _SAME_DIRECTION:
            raise ImageError(
                f"the series holds slices of two or more orientations (a localizer?); {os.path.basename(first.path)} "
                "lies another way",
                where=one.path,
                todo="give the slices of one orientation alone",
            )
        if not np.allclose(one.spacing, first.spacing, rtol=1e-3):
            raise ImageError(
                f"the slices differ in pixel spacing: {one.spacing[0]:g} mm here, {first.spacing[0]:g} mm in "
                f"{os.path.basename(first.path)}",
                where=one.path,
            )
    return first.orientation, first.spacing


def _even_step(
    slices: Sequence[Slice], positions: NDArray[np.float64], along: NDArray[np.float64], folder: str
) -> NDArray[np.float64]:
    """The vector from one slice to the next; raises ImageError where there is no such one."""
    gaps = np.diff(along)
    typical = float(np.median(gaps))
    smallest = int(np.argmin(gaps))
    if gaps[smallest] < max(1e-3, 0.01 * typical):
        raise _one_place(slices[smallest], slices[smallest + 1], gaps, folder)
    count = len(slices)
    step = (positions[-1] - positions[0]) / (count - 1)
    straight = positions[0] + np.arange(count)[:, None] * step
    beside = np.linalg.norm(positions - straight, axis=1)
    length = float(np.linalg.norm(step))
    if beside.max() <= max(_TOLERANCE * length, min(_ROUNDING_MM, _AT_MOST * length)):
        return np.asarray(step)
    wide = int(np.argmax(gaps))
    ratios = gaps / typical
    if ratios[wide] > 1.5 and np.abs(ratios - np.round(ratios)).max() < 2 * _TOLERANCE:
        missing = int(np.round(ratios - 1).sum())
        names = f"{os.path.basename(slices[wide].path)} and {os.path.basename(slices[wide + 1].path)}"
        raise ImageError(
            f"{missing} slice{'s are' if missing > 1 else ' is'} missing: the gap between {names} is {gaps[wide]:.2f} "
            f"mm, the others {typical:.2f} mm",
            where=folder,
            todo="fetch the series anew",
        )
    raise ImageError(
        f"the slices are not evenly spaced: gaps from {gaps.min():.2f} to {gaps.max():.2f} mm along the normal, up to "
        f"{beside.max():.2f} mm beside a straight line",
        where=folder,
        todo="give the slices of one stack alone, or resample the series first",
    )


def _one_place(first: Slice, second: Slice, gaps: NDArray[np.float64], folder: str) -> ImageError:
    differing = [
        f"{name} ({a} and {b})" for (name, a), (_, b) in zip(first.telling, second.telling, strict=True) if a != b
    ]
    repeats = int((gaps < 1e-3).sum())
    told = f"they differ in {', '.join(differing)}" if differing else "nothing in their headers tells them apart"
    return ImageError(
        f"{repeats or 1} places hold more than one slice, such as {os.path.basename(first.path)} and "
        f"{os.path.basename(second.path)}: {told}",
        where=folder,
        todo="the folder holds several stacks, or a slice twice: give the files of one stack alone",
    )
