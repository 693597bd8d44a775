"""Masks of any program measured one case at a time, in processes that import no more than they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images import read_image, sniff
from medcnn.data.labels import read_mask
from medcnn.data.labels.picture import read_picture
from medcnn.data.labels.positions import to_positions, whole_values
from medcnn.errors import ImageError
from medcnn.evaluation.masks_folders import Labels
from medcnn.evaluation.segmentation_case import LabelMeasures, measure_case
from medcnn.types import Image, ImageRef, Mask


@dataclass(frozen=True, slots=True)
class Job:
    """One case to be measured, in a process of its own.

    Attributes:
        reference: The file.
        prediction: The file; ``None`` where there is none.
        labels: What the values stand for.
        options: Of :func:`~medcnn.evaluation.segmentation_case.measure_case`.
    """

    reference: Path
    prediction: Path | None
    labels: Labels
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a job.

    Attributes:
        measures: By label; ``None`` where the reference cannot be used.
        problem: Why a mask cannot be used; empty where all is well.
    """

    measures: list[LabelMeasures] | None
    problem: str = ""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, whatever it is called."""
    return sniff(str(path)) == "dicom"


def values_in(path: Path) -> tuple[int, ...]:
    """The values that a mask holds, none where it cannot be read: that is said when it is measured."""
    try:
        values = np.unique(whole_values(_stored(path).array, str(path)))
    except ImageError:
        return ()
    return tuple(int(v) for v in values)


def segments_in(path: Path) -> tuple[tuple[int, str, str], ...]:
    """Number, name and code of what a DICOM mask lists, none where it cannot be read or is of another kind."""
    if not is_dicom(path):
        return ()
    from medcnn.data.labels.drawn import list_drawn

    try:
        return tuple((one.number, one.label, one.code) for one in list_drawn(str(path)).named)
    except ImageError:
        return ()


def measure_job(job: Job) -> Measured:
    """Measure one case; a mask that cannot be used is said, and does not end the evaluation."""
    try:
        image, reference, prediction, problem = read_job(job)
    except ImageError as error:
        return Measured(None, f"reference: {error.what}")
    labels, overlapping = len(job.labels.names), job.labels.overlapping
    measures = measure_case(reference, prediction, labels, image.spacing, overlapping=overlapping, **job.options)
    return Measured(measures, problem)


def read_job(job: Job) -> tuple[Image, NDArray[np.uint8], NDArray[np.uint8], str]:
    """The masks of a case as positions of labels, in the grid of the reference.

    Returns:
        The reference as an image, the reference, the prediction (empty where there is none that can be used), and why
        it cannot.

    Raises:
        ImageError: If the reference cannot be used.
    """
    image, reference = _reference(job)
    if job.prediction is None:
        return image, reference, np.zeros_like(reference), ""
    try:
        mask = Mask(ImageRef((str(job.prediction),)), job.labels.pairs)
        return image, reference, read_mask(mask, job.labels.schema, image), ""
    except ImageError as error:
        return image, reference, np.zeros_like(reference), f"prediction: {error.what}"


def _reference(job: Job) -> tuple[Image, NDArray[np.uint8]]:
    """A reference as an image, for its grid, and as positions of labels."""
    schema, path = job.labels.schema, job.reference
    if is_dicom(path):
        image = _grid(job)
        return image, read_mask(Mask(ImageRef((str(path),)), job.labels.pairs), schema, image)
    image = _stored(path)
    values = whole_values(image.array, str(path))
    if not (values == values[:1]).all():
        raise ImageError("the mask is a picture in colour", where=str(path), todo="store a whole number a label")
    return image, to_positions(values[0], schema, job.labels.pairs, str(path))


def _grid(job: Job) -> Image:
    """The grid of a DICOM reference, over the slices of the prediction too where that lies in one grid with it."""
    from medcnn.data.labels.frames_grid import frames_grid

    if job.prediction is not None and is_dicom(job.prediction):
        try:
            return frames_grid([str(job.reference), str(job.prediction)])
        except ImageError:
            # What is wrong with the prediction is said when it is read.
            pass
    return frames_grid([str(job.reference)])


def _stored(path: Path) -> Image:
    ref = ImageRef((str(path),))
    return read_picture(ref) if sniff(str(path)) == "raster" else read_image(ref)
