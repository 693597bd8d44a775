"""From slices in any order to a stack with one affine, or to the reason why they are none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_header import Slice
from medcnn.data.images.dicom_tags import FIRM, LOOSE, MOMENTS
from medcnn.geometry.affines import dicom_affine, shear_degrees, slice_normal

# How far a slice may lie beside its place on the straight, even line of the stack: a share of the spacing, or what
# positions rounded to 0.1 mm can make of it (but never so much that a missing slice, half a spacing, would pass).
_TOLERANCE = 0.1
_ROUNDING_MM = 0.1
_AT_MOST = 0.3
_SAME_PLACE_MM = 1e-3
_TILT = 0.5


class NoStackError(Exception):
    """Slices that form no stack: what is wrong with them, where, and what to do."""

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        self.what, self.where, self.todo = what, where, todo
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Order:
    """The order of slices along their normal, and the affine (RAS) of axes (column, row, slice)."""

    order: tuple[int, ...]
    affine: NDArray[np.float64]
    tilt: float


def single_affine(one: Slice) -> NDArray[np.float64] | None:
    """Affine of a single image; ``None`` where the header has no world frame or a broken one."""
    if one.orientation is None or one.position is None or one.spacing is None or one.spacing_source != "PixelSpacing":
        return None
    try:
        step = slice_normal(one.orientation) * (one.thickness or 1.0)
        return dicom_affine(one.orientation, one.position, one.spacing, step)
    except ValueError:
        return None


def order_slices(slices: Sequence[Slice]) -> Order:
    """Sort slices of one orientation, size and spacing along their normal, and check that they lie evenly.

    Args:
        slices: At least two.

    Raises:
        NoStackError: If slices share a position, are unevenly spaced or missing, or do not say where they lie.
    """
    first = slices[0]
    for one in slices:
        if one.orientation is None or one.position is None:
            lacking = "ImageOrientationPatient" if one.orientation is None else "ImagePositionPatient"
            raise NoStackError(
                f"the slice has no usable {lacking}, so that the order of the series is unknown",
                where=name_of(one),
                todo="use the slices as single images",
            )
        if one.spacing is None:
            raise NoStackError("the slice has no usable PixelSpacing", where=name_of(one))
    assert first.orientation is not None
    assert first.spacing is not None
    try:
        normal = slice_normal(first.orientation)
    except ValueError as error:
        raise NoStackError(str(error), where=name_of(first)) from error
    positions = np.array([s.position for s in slices])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    step = _even_step([slices[i] for i in order], positions[order], along[order])
    affine = dicom_affine(first.orientation, positions[order[0]], first.spacing, step)
    tilt = shear_degrees(affine)
    return Order(tuple(int(i) for i in order), affine, tilt if tilt > _TILT else 0.0)


def name_of(one: Slice) -> str:
    """How messages call a slice: its file, and its frame where it is not the first."""
    return f"{one.path}, frame {one.frame}" if one.frame else one.path


def along(one: Slice) -> float:
    """Place of a slice along its own normal in mm; 0 where it has none."""
    if one.position is None or one.orientation is None:
        return 0.0
    try:
        return float(np.dot(one.position, slice_normal(one.orientation)))
    except ValueError:
        return 0.0


def places(slices: Sequence[Slice]) -> list[list[int]]:
    """Positions in ``slices`` by place along the normal; slices without a place are left out."""
    known = [i for i, s in enumerate(slices) if s.position is not None and s.orientation is not None]
    if not known:
        return []
    orientation = slices[known[0]].orientation
    assert orientation is not None
    try:
        normal = slice_normal(orientation)
    except ValueError:
        return []
    along = np.array([slices[i].position for i in known]) @ normal
    found: list[list[int]] = []
    last = -np.inf
    for at in np.argsort(along, kind="stable"):
        if along[at] - last > _SAME_PLACE_MM:
            found.append([])
            last = along[at]
        found[-1].append(known[at])
    return found


def _even_step(
    slices: Sequence[Slice], positions: NDArray[np.float64], along: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The vector from one slice to the next; raises NoStackError where there is no such one."""
    gaps = np.diff(along)
    typical = float(np.median(gaps))
    smallest = int(np.argmin(gaps))
    if gaps[smallest] < max(_SAME_PLACE_MM, 0.01 * typical):
        raise _one_place(slices[smallest], slices[smallest + 1], gaps)
    count = len(slices)
    step = (positions[-1] - positions[0]) / (count - 1)
    straight = positions[0] + np.arange(count)[:, None] * step
    beside = np.linalg.norm(positions - straight, axis=1)
    length = float(np.linalg.norm(step))
    if beside.max() <= max(_TOLERANCE * length, min(_ROUNDING_MM, _AT_MOST * length)):
        return np.asarray(step)
    wide = int(np.argmax(gaps))
    ratios = gaps / typical
    # Where every other gap is wide, no slice was lost: two runs of other spacing stand there.
    few = (ratios > 1.5).sum() <= max(1, len(gaps) // 4)
    if few and ratios[wide] > 1.5 and np.abs(ratios - np.round(ratios)).max() < 2 * _TOLERANCE:
        missing = int(np.round(ratios - 1).sum())
        names = f"{os.path.basename(name_of(slices[wide]))} and {os.path.basename(name_of(slices[wide + 1]))}"
        raise NoStackError(
            f"{missing} slice{'s are' if missing > 1 else ' is'} missing: the gap between {names} is {gaps[wide]:.2f} "
            f"mm, the others {typical:.2f} mm",
            todo="fetch the series anew",
        )
    raise NoStackError(
        f"the slices are not evenly spaced: gaps from {gaps.min():.2f} to {gaps.max():.2f} mm along the normal, up to "
        f"{beside.max():.2f} mm beside a straight line",
        todo="give the slices of one stack alone, or resample the series first",
    )


def _one_place(first: Slice, second: Slice, gaps: NDArray[np.float64]) -> NoStackError:
    pairs = zip((*FIRM, *LOOSE), (*first.firm, *first.loose), (*second.firm, *second.loose), strict=True)
    differing = [name if name in MOMENTS else f"{name} ({a} and {b})" for name, a, b in pairs if a != b]
    repeats = int((gaps < _SAME_PLACE_MM).sum())
    told = f"they differ in {', '.join(differing)}" if differing else "nothing in their headers tells them apart"
    return NoStackError(
        f"{repeats or 1} place{'s hold' if repeats > 1 else ' holds'} more than one slice, such as "
        f"{os.path.basename(name_of(first))} and {os.path.basename(name_of(second))}: {told}",
        todo="the folder holds several stacks, or a slice twice: give the files of one stack alone",
    )
