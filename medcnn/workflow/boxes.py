"""Evaluation of boxes that any other program wrote: results of COCO or tables against annotations of COCO or tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError, MedcnnError
from medcnn.evaluation.detection import DetectionTable, evaluate_detection
from medcnn.evaluation.foreign_boxes import ForeignBox, ForeignImage
from medcnn.evaluation.results import Evaluation, TablePanel
from medcnn.progress import Progress
from medcnn.report.box_overlays import draw_boxes
from medcnn.report.overlays import schema_colours
from medcnn.types import Boxes, BoxesPrediction, Image, LabelClass, LabelSchema
from medcnn.workflow.box_files import Joined, References, is_coco, join, read_predictions, read_references
from medcnn.workflow.box_pictures import called_boxes
from medcnn.workflow.tables import GALLERY, Judged, Wanted

# Above this share of boxes, or of images, that cannot be used something is wrong with the files.
_MOST_UNUSABLE = 0.05
_LISTED = 100
_THRESHOLD = 0.5


def judge_boxes(wanted: Wanted, progress: Progress) -> Judged:
    """Evaluate a file of predicted boxes against one of references.

    Images of the references that the predictions do not name are images in which nothing was found. Predicted boxes of
    unknown images or classes, that are no boxes, or whose score lies outside [0, 1] are left out, listed and counted,
    and so are images whose reference holds a box that is none.

    Raises:
        MedcnnError: If the files do not fit, or too much of them cannot be used.
    """
    if wanted.references is None:
        raise MedcnnError("boxes need references", todo="give the file of the true boxes as --references")
    for path in (wanted.predictions, wanted.references):
        if path.is_dir():
            raise MedcnnError(
                "a file of boxes is expected, and this is a folder",
                where=str(path),
                todo="give a JSON file of COCO, or a CSV file with a row a box",
            )
    references = read_references(wanted.references)
    predictions = read_predictions(wanted.predictions, references.found.dims)
    joined = join(references, predictions, wanted.labels, by_id=is_coco(wanted.predictions))
    _check_shares(references, joined, len(predictions.boxes), wanted)
    schema = LabelSchema(tuple(LabelClass(k, name) for k, name in enumerate(references.classes)))
    table = _table(references, joined, schema)
    known = table.patients is not None
    made = evaluate_detection(
        table, schema, title=wanted.title, part="test", patients_known=known, gallery=GALLERY, seed=0, baseline=None,
        thresholds=(), **wanted.options,
    )  # fmt: skip
    threshold = float(wanted.options.get("threshold", _THRESHOLD))
    return Judged(_with_remarks(made, table, references, joined, wanted), _pictures(table, schema, threshold))


def _check_shares(references: References, joined: Joined, boxes: int, wanted: Wanted) -> None:
    if len(joined.left_out) > _MOST_UNUSABLE * boxes:
        where, image, reason = joined.left_out[0]
        raise DataError(
            f"{len(joined.left_out):,} of {boxes:,} predicted boxes cannot be used, more than {_MOST_UNUSABLE:.0%}; "
            f"the first, of the image {image!r}: {reason}",
            where=where,
            todo="give boxes of the references' images and classes (map other names with --labels THEIRS=OURS), with "
            "scores from 0 to 1",
        )
    if len(references.problems) > _MOST_UNUSABLE * len(references.found.images):
        image, reason = next(iter(references.problems.items()))
        raise DataError(
            f"{len(references.problems):,} of {len(references.found.images):,} images have references that cannot be "
            f"used, more than {_MOST_UNUSABLE:.0%}; the first, of the image {image!r}: {reason}",
            where=str(wanted.references),
            todo="mend these boxes",
        )


def _table(references: References, joined: Joined, schema: LabelSchema) -> DetectionTable:
    found = references.found
    images = {name: image for name, image in found.images.items() if name not in references.problems}
    wanted: dict[str, list[ForeignBox]] = {name: [] for name in images}
    for box in found.boxes:
        if box.case in images:
            wanted[box.case].append(box)
    patients = [image.patient or name for name, image in images.items()]
    known = any(image.patient for image in images.values())
    clusters = [image.cluster or image.patient or name for name, image in images.items()]
    attributes = sorted({key for image in images.values() for key in image.attributes})
    return DetectionTable.of(
        list(images),
        [_prediction(joined.boxes[name], image, schema, found.dims) for name, image in images.items()],
        [_reference(wanted[name], schema, found.dims) for name in images],
        clusters=np.array(clusters, np.str_),
        patients=np.array(patients, np.str_) if known else None,
        attributes={key: [image.attributes.get(key) for image in images.values()] for key in attributes},
    )


def _reference(boxes: Sequence[ForeignBox], schema: LabelSchema, dims: int) -> Boxes:
    return Boxes(
        np.array([box.corners for box in boxes], np.float32).reshape(-1, 2 * dims),
        # An ignored region may be of what is no class: then it is one of all.
        np.array([schema.index(box.label) if box.label in schema.names else -1 for box in boxes], np.int64),
        np.array([box.ignored for box in boxes], bool) if any(box.ignored for box in boxes) else None,
    )


def _prediction(
    boxes: Sequence[tuple[str, ForeignBox]], image: ForeignImage, schema: LabelSchema, dims: int
) -> BoxesPrediction:
    ordered = sorted(boxes, key=lambda pair: -pair[1].score)
    return BoxesPrediction(
        np.array([box.corners for _, box in ordered], np.float32).reshape(-1, 2 * dims),
        np.array([schema.index(label) for label, _ in ordered], np.int64),
        np.array([box.score for _, box in ordered], np.float32),
        image.size,
        image.spacing,
    )


def _with_remarks(
    made: Evaluation, table: DetectionTable, references: References, joined: Joined, wanted: Wanted
) -> Evaluation:
    """The evaluation with what was left out, and what was taken for what."""
    warnings, panels = list(made.warnings), list(made.panels)
    if references.problems:
        warnings.insert(
            0,
            f"{len(references.problems):,} images have a reference that cannot be used and are left out.",
        )
    if joined.left_out:
        reasons = "; ".join(joined.reasons())
        warnings.insert(0, f"{len(joined.left_out):,} predicted boxes cannot be used and are left out: {reasons}.")
    failed: list[Sequence[Any]] = [[image, reason] for image, reason in references.problems.items()]
    failed += [[image, f"{reason} ({_entry(where)})"] for where, image, reason in joined.left_out]
    if failed:
        caption = f"The first {_LISTED} of {len(failed):,}." if len(failed) > _LISTED else ""
        header = ["Case", "What is wrong"]
        panels.append(TablePanel("failed", "Boxes left out", header, failed[:_LISTED], caption, "cases"))
    silent = sum(not len(p.scores) for p in table.predictions)
    notes = [f"References: {_name(wanted.references)}. Predictions: {wanted.predictions.name}."]
    if silent:
        notes.append(f"In {silent:,} of {len(table):,} images nothing was predicted.")
    return replace(made, warnings=warnings, panels=panels, notes=[*notes, *made.notes])


def _entry(where: str) -> str:
    """``row 5`` of ``folder/file.csv, row 5``."""
    return where.rpartition(", ")[2]


def _name(path: Any) -> str:
    return str(path.name)


def _pictures(
    table: DetectionTable, schema: LabelSchema, threshold: float
) -> Callable[[str], NDArray[np.uint8] | None]:
    """Boxes alone, for want of the images."""
    places: Mapping[str, int] = {case: i for i, case in enumerate(table.cases)}
    colours = schema_colours(schema)

    def picture(case: str) -> NDArray[np.uint8] | None:
        if case not in places:
            return None
        wanted, found = table.references[places[case]], table.predictions[places[case]]
        shape = table.shapes[places[case]] or _extent(wanted, found, table.dims)
        dark = Image(np.zeros((1, *shape), np.uint8), spacing=table.spacings[places[case]])
        return draw_boxes(dark, wanted, called_boxes(found, schema, {}, threshold), colours)

    return picture


def _extent(wanted: Boxes, found: BoxesPrediction, dims: int) -> tuple[int, ...]:
    """A grid that holds all boxes, where the size of the image is not known."""
    corners = np.concatenate([wanted.corners, found.corners, np.ones((1, 2 * dims), np.float32)])
    return tuple(int(v) for v in np.ceil(corners[:, dims:].max(0) * 1.05))
