"""DICOM images and stacks: sorted along the slice normal, spaced by their positions, never by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_file import describe, numbers, open_file, pixel_spacing, read_values, shared
from medcnn.errors import ImageError
from medcnn.geometry.affines import dicom_affine, shear_degrees, slice_normal, spacing_of
from medcnn.types import Image, ImageRef

# Shares of the spacing by which slices may lie off their place: what rounding in headers reaches.
TOLERANCE = 0.02
TILT = 0.5


def read_dicom(ref: ImageRef) -> Image:
    """One DICOM file, a frame of one, or the files of one stack.

    Args:
        ref: One path for a single image or a multi-frame object; several for a stack, in any order;
            ``index`` chooses a frame.

    Returns:
        ``(C, X, Y)`` for a single image, ``(1, X, Y, Z)`` for a stack; CT in HU.

    Raises:
        ImageError: If a file cannot be read, or the files are not one evenly spaced stack.
    """
    if len(ref.paths) > 1:
        return _stack(ref.paths)
    path = ref.paths[0]
    dataset = open_file(path)
    values = read_values(dataset, path)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1 and ref.index is not None:
        if not 0 <= ref.index < frames:
            raise ImageError(f"there is no frame {ref.index}: the file has {frames}", where=path)
        return _single(dataset, values[ref.index], ref.index)
    if frames > 1:
        return _frames(dataset, values, path)
    return _single(dataset, values.reshape(values.shape[-3:] if _colour(dataset) else values.shape[-2:]), None)


def _colour(dataset: Any) -> bool:
    return (
        int(dataset.get("SamplesPerPixel", 1) or 1) == 3 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    )


def _single(dataset: Any, values: NDArray[Any], frame: int | None) -> Image:
    """One plane: axis 1 is the column, axis 2 the row."""
    array = values.transpose(2, 1, 0) if values.ndim == 3 else values.T[None]
    spacing, source = pixel_spacing(dataset)
    header = describe(dataset, source)
    position = numbers(dataset, "ImagePositionPatient", 3)
    position = position or shared(dataset, "PlanePositionSequence", "ImagePositionPatient", 3, frame)
    orientation = numbers(dataset, "ImageOrientationPatient", 6)
    orientation = orientation or shared(dataset, "PlaneOrientationSequence", "ImageOrientationPatient", 6, frame)
    affine = None
    if position is not None and orientation is not None and spacing is not None:
        try:
            thickness = float(dataset.get("SliceThickness") or 1.0)
            affine = dicom_affine(orientation, position, spacing, slice_normal(orientation) * thickness)
        except ValueError as error:
            header["notes"] = (f"no world frame: {error}",)
    across = None if spacing is None else (spacing[1], spacing[0])
    return Image(np.ascontiguousarray(array), affine, across, header)


def _frames(dataset: Any, values: NDArray[Any], path: str) -> Image:
    """A multi-frame object: a volume where every frame has its position, else one that cannot be guessed."""
    count = len(values)
    positions = [shared(dataset, "PlanePositionSequence", "ImagePositionPatient", 3, k) for k in range(count)]
    orientations = {shared(dataset, "PlaneOrientationSequence", "ImageOrientationPatient", 6, k) for k in range(count)}
    if any(p is None for p in positions) or len(orientations) != 1 or None in orientations or _colour(dataset):
        raise ImageError(
            f"the file has {count} frames without positions in space (a cine or ultrasound loop, for example)",
            where=path,
            todo="choose one by its index: the frames are no axis z",
        )
    spacing, source = pixel_spacing(dataset)
    (orientation,) = orientations
    assert orientation is not None
    known = [p for p in positions if p is not None]
    return _volume(list(values), known, orientation, spacing, describe(dataset, source), path)


def _stack(paths: Sequence[str]) -> Image:
    datasets = [open_file(p) for p in paths]
    first = datasets[0]
    by_instance: dict[str, int] = {}
    for k, dataset in enumerate(datasets):
        by_instance.setdefault(str(dataset.get("SOPInstanceUID", paths[k])), k)
    keep = sorted(by_instance.values())
    series = {str(datasets[k].get("SeriesInstanceUID", "")) for k in keep}
    if len(series) > 1:
        raise ImageError(f"the files belong to {len(series)} series", where=paths[0], todo="make a case of each series")
    sizes = {(int(datasets[k].Rows), int(datasets[k].Columns)) for k in keep}
    if len(sizes) > 1:
        raise ImageError(f"the slices have different sizes: {sorted(sizes)}", where=paths[0])
    orientations = [numbers(datasets[k], "ImageOrientationPatient", 6) for k in keep]
    positions = [numbers(datasets[k], "ImagePositionPatient", 3) for k in keep]
    missing = [paths[k] for k, o, p in zip(keep, orientations, positions, strict=True) if o is None or p is None]
    if missing:
        raise ImageError("the slice has no position or orientation, so the stack cannot be sorted", where=missing[0])
    known = np.array([o for o in orientations if o is not None])
    if np.abs(known - known[0]).max() > 1e-3:
        raise ImageError(
            "the slices have different orientations (a localizer among them, perhaps)",
            where=paths[0],
            todo="make a case of the files of one orientation",
        )
    spacing, source = pixel_spacing(first)
    header = describe(first, source)
    if len(keep) < len(paths):
        header["notes"] = (f"{len(paths) - len(keep)} identical instances left out",)
    values = [read_values(datasets[k], paths[k]) for k in keep]
    return _volume(values, [p for p in positions if p is not None], known[0].tolist(), spacing, header, paths[0])


def _volume(
    values: list[NDArray[Any]],
    positions: Sequence[Sequence[float]],
    orientation: Sequence[float],
    spacing: tuple[float, float] | None,
    header: dict[str, Any],
    path: str,
) -> Image:
    """Slices sorted along their normal and evenly spaced, or an error that says where they are not."""
    if spacing is None:
        raise ImageError("the slices have no pixel spacing", where=path)
    try:
        normal = slice_normal(orientation)
    except ValueError as error:
        raise ImageError(str(error), where=path) from error
    places = np.array(positions, np.float64)
    height = places @ normal
    order = np.argsort(height, kind="stable")
    places, height = places[order], height[order]
    if len(order) > 1:
        _check_gaps(np.diff(height), path)
        step = (places[-1] - places[0]) / (len(order) - 1)
    else:
        step = normal
    affine = dicom_affine(orientation, places[0].tolist(), spacing, step.tolist())
    tilt = shear_degrees(affine)
    if tilt > TILT:
        header["tilt_degrees"] = round(float(tilt), 2)
    header["slices"] = len(order)
    types = {v.dtype for v in values}
    kind = types.pop() if len(types) == 1 else np.dtype(np.float32)
    volume = np.stack([values[k].T.astype(kind, copy=False) for k in order], axis=-1)[None]
    return Image(np.ascontiguousarray(volume), affine, spacing_of(affine), header)


def _check_gaps(gaps: NDArray[np.float64], path: str) -> None:
    usual = float(np.median(gaps))
    if usual <= 1e-4 or gaps.min() <= 1e-4:
        where = int(np.argmin(gaps))
        raise ImageError(
            f"two slices lie in the same place (slices {where + 1} and {where + 2} of {len(gaps) + 1}): "
            "the files hold more than one stack",
            where=path,
            todo="make a case of each echo, phase or acquisition",
        )
    off = np.abs(gaps - usual) > max(TOLERANCE * usual, 0.01)
    if off.any():
        where = int(np.argmax(off))
        lost = round(gaps[where] / usual) - 1
        what = f"{lost} slice(s) are missing" if lost >= 1 else "the spacing is irregular"
        raise ImageError(
            f"{what} between slices {where + 1} and {where + 2} of {len(gaps) + 1}: "
            f"{gaps[where]:.3g} mm instead of {usual:.3g} mm",
            where=path,
        )
