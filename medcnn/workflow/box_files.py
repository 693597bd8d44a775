"""Boxes of references and predictions of any program: COCO's files, or tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcnn.data.labels.boxes_coco import read_coco
from medcnn.errors import DataError, MedcnnError
from medcnn.evaluation.foreign_boxes import (
    ForeignBox,
    ForeignBoxes,
    ForeignImage,
    corner_problem,
    read_boxes,
    score_problem,
)

# What boxes are called in a table without classes.
UNNAMED = "finding"


@dataclass(frozen=True, slots=True)
class References:
    """References with the names by which predictions may call images and classes.

    Attributes:
        found: Images and boxes.
        classes: In order.
        images: Names of an image with and without folder and ending, to the one it has in ``found``.
        ids: Ids of images as text, to the same.
        categories: Ids of classes as text, to their names.
        problems: Why the boxes of an image cannot be used, by image.
    """

    found: ForeignBoxes
    classes: tuple[str, ...]
    images: Mapping[str, str]
    ids: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


def is_coco(path: Path) -> bool:
    """Whether a file is one of COCO's, by its ending."""
    return path.suffix.lower() == ".json"


def read_references(path: Path) -> References:
    """Annotations of COCO (``.json``), or a table of boxes.

    Raises:
        DataError: If the file is missing, broken or holds no image.
    """
    return _coco_references(path) if is_coco(path) else _table_references(path)


def read_predictions(path: Path, dims: int) -> ForeignBoxes:
    """Results of COCO (``.json``), or a table of boxes with scores.

    Args:
        path: The file.
        dims: Axes of the references.

    Raises:
        DataError: If the file is missing or broken, or its boxes have other axes.
    """
    found = _results(path) if is_coco(path) else read_boxes(path, scored=True)
    if found.dims != dims and found.boxes:
        raise DataError(
            f"boxes of {found.dims} axes, and references of {dims}",
            where=str(path),
            todo="give both with the same axes",
        )
    return found


def _table_references(path: Path) -> References:
    found = read_boxes(path, scored=False)
    boxes = [b if b.label else ForeignBox(b.case, UNNAMED, b.score, b.corners, b.where, b.problem, b.ignored)
             for b in found.boxes]  # fmt: skip
    problems: dict[str, str] = {}
    for box in boxes:
        if box.problem:
            # Of the place the row: paths do not belong into a report.
            problems.setdefault(box.case, f"{box.problem} ({box.where.rpartition(', ')[2]})")
    classes = tuple(sorted({b.label for b in boxes if not b.ignored} or {b.label for b in boxes}))
    if not classes:
        raise DataError("no row of the references holds a box", where=str(path), todo="check that these are the boxes")
    used = ForeignBoxes(found.images, tuple(boxes), found.dims)
    return References(used, classes, _other_names(found.images), problems=problems)


def _coco_references(path: Path) -> References:
    read = read_coco(path, option="references")
    listed: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    entries = {entry["file_name"]: entry for entry in listed["images"]}
    images = {name: ForeignImage(size=_size(entries[name])) for name in read.images}
    boxes = tuple(
        ForeignBox(name, box.label, 1.0, box.corners, f"{path}, {name}", "", box.crowd)
        for name, image in read.images.items()
        for box in image.boxes
    )
    ids = {str(entry["id"]): name for name, entry in entries.items()}
    categories = {str(entry["id"]): str(entry.get("name", entry["id"])) for entry in listed["categories"]}
    problems = {name: image.problem for name, image in read.images.items() if image.problem}
    found = ForeignBoxes(images, boxes, 2)
    return References(found, read.names, _other_names(images), ids, categories, problems)


def _size(entry: Mapping[str, Any]) -> tuple[int, ...]:
    size = entry.get("width"), entry.get("height")
    return tuple(int(v) for v in size if v is not None) if all(isinstance(v, int) and v > 0 for v in size) else ()


def _other_names(images: Mapping[str, ForeignImage]) -> dict[str, str]:
    """Names without folder and without ending, where no two images share them."""
    names = [*((Path(name).name, name) for name in images), *((_stem(name), name) for name in images)]
    owners: dict[str, set[str]] = {}
    for short, name in names:
        owners.setdefault(short, set()).add(name)
    found = {short: next(iter(of)) for short, of in owners.items() if len(of) == 1}
    return {**found, **{name: name for name in images}}


def _stem(name: str) -> str:
    short = Path(name).name
    return short[: -len(".nii.gz")] if short.endswith(".nii.gz") else Path(short).stem


def _results(path: Path) -> ForeignBoxes:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("the predictions are missing", where=str(path), todo="check the path") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the predictions cannot be read: {error}", where=str(path), todo="get them anew") from error
    if not isinstance(found, list):
        raise DataError(
            "results of COCO are a list of boxes, and this is none",
            where=str(path),
            todo="write [{image_id, category_id, bbox: [x, y, width, height], score}, ...]",
        )
    boxes = tuple(_result(entry, f"{path}, entry {place}") for place, entry in enumerate(found, 1))
    return ForeignBoxes({box.case: ForeignImage() for box in boxes}, boxes, 2)


def _result(entry: Any, where: str) -> ForeignBox:
    lacking = [k for k in ("image_id", "category_id", "bbox", "score") if not isinstance(entry, dict) or k not in entry]
    if lacking:
        raise DataError(
            f"a box has no {lacking[0]}", where=where, todo="write image_id, category_id, bbox and score for each box"
        )
    box, score = entry["bbox"], entry["score"]
    case, label = str(entry["image_id"]), str(entry["category_id"])
    if not (isinstance(box, list) and len(box) == 4 and all(_is_number(v) for v in (*box, score))):
        problem = f"a box is not [x, y, width, height] with a score: {str(box)[:60]}, {str(score)[:20]}"
        return ForeignBox(case, label, 0.0, (0, 0, 0, 0), where, problem)
    corners = tuple(float(v) for v in (box[0], box[1], box[0] + box[2], box[1] + box[3]))
    return ForeignBox(case, label, float(score), corners, where, corner_problem(corners) or score_problem(score))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Joined:
    """Predictions by image, in the words of the references.

    Attributes:
        boxes: ``(class, box)`` of each image that the references have.
        left_out: What cannot be used: place, image and reason.
    """

    boxes: Mapping[str, list[tuple[str, ForeignBox]]]
    left_out: tuple[tuple[str, str, str], ...]

    def reasons(self) -> Iterator[str]:
        """How often each kind of reason stands."""
        for reason, count in Counter(reason.partition(":")[0] for _, _, reason in self.left_out).most_common():
            yield f"{count:,} ({reason})"


def join(references: References, predictions: ForeignBoxes, labels: Mapping[str, str], *, by_id: bool) -> Joined:
    """Give each predicted box its image and class; what has none, or is no box, is left out.

    Args:
        references: The references.
        predictions: The boxes.
        labels: Names of classes among the predictions to those of the references, where they differ.
        by_id: The predictions call images and classes by their ids rather than by their names; what is not known as
            the one is looked for as the other.

    Raises:
        MedcnnError: If a label is mapped to what is no class.
    """
    classes = references.classes
    for theirs, ours in labels.items():
        if ours not in classes:
            raise MedcnnError(
                f"{ours!r}, for {theirs!r}, is no class of the references",
                where="--labels",
                todo=f"the classes are {', '.join(classes)}",
            )
    found: dict[str, list[tuple[str, ForeignBox]]] = {name: [] for name in references.found.images}
    left_out = []
    names = dict(zip(classes, classes, strict=True))
    images = {**references.images, **references.ids} if by_id else {**references.ids, **references.images}
    known = {**names, **references.categories} if by_id else {**references.categories, **names}
    for box in predictions.boxes:
        image = images.get(box.case)
        label = labels.get(box.label) or known.get(box.label, box.label)
        if not box.label and len(classes) == 1:
            label = classes[0]
        if box.problem:
            left_out.append((box.where, box.case, box.problem))
        elif image is None:
            left_out.append((box.where, box.case, "the image is not among the references"))
        elif label not in classes:
            left_out.append((box.where, box.case, f"the class is not among the references: {label or 'none'}"))
        else:
            found[image].append((label, box))
    return Joined(found, tuple(left_out))
