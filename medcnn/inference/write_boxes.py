"""Predicted boxes as files that other programs read: results in COCO's form, and a table in pixels and in mm."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.files import open_atomic
from medcnn.geometry.boxes import centres, sides
from medcnn.registry import suggest
from medcnn.tasks.base import Beside, Found
from medcnn.types import BoxesPrediction, FloatArray, LabelSchema

RESULTS, IMAGES, TABLE = "coco_results.json", "coco_images.json", "boxes.csv"
_AXES = ("x", "y", "z")


@dataclass(slots=True)
class Frames:
    """Takes note of the world frames of images while their boxes are kept; writes nothing.

    Attributes:
        affines: 4x4 or ``None``, by the file of the image, or the first of its files.
    """

    affines: dict[str, FloatArray | None] = field(default_factory=dict)

    def __call__(self, folder: Path, drawn: Found) -> Beside:
        """Note the frame of one image."""
        self.affines[drawn.case.images[0].paths[0]] = drawn.image.affine
        return Beside()


@dataclass(frozen=True, slots=True)
class CocoIds:
    """The ids by which COCO results name images and categories.

    Attributes:
        images: By file name.
        categories: By name.
    """

    images: Mapping[str, int]
    categories: Mapping[str, int]

    @classmethod
    def read(cls, path: Path, schema: LabelSchema) -> CocoIds:
        """The ids of an annotation file.

        Raises:
            DataError: If it is missing or broken, names one image twice, or lacks a class of the schema.
        """
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            listed = [(str(one["file_name"]), int(one["id"])) for one in about["images"]]
            categories = {str(one["name"]): int(one["id"]) for one in about["categories"]}
        except FileNotFoundError as error:
            raise DataError("there is no such file", where=str(path), todo="check --annotations") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            todo = "give a file with images (id, file_name) and categories (id, name)"
            raise DataError(f"this is no COCO annotation file: {error!r}", where=str(path), todo=todo) from error
        images = dict(listed)
        if len(images) < len(listed) or len(set(images.values())) < len(listed):
            raise DataError("an image or an id stands twice", where=str(path), todo="mend its images")
        lacking = [name for name in schema.names if name not in categories]
        if lacking:
            what = f"the class {lacking[0]!r} of the model is no category of the file"
            raise DataError(what, where=str(path), todo=suggest(lacking[0], list(categories)))
        return cls(images, categories)

    @classmethod
    def made(cls, cases: Sequence[str], schema: LabelSchema) -> CocoIds:
        """Ids of our own: images from 1 in their order, categories from 1 in the schema's order."""
        images = {case: number for number, case in enumerate(cases, 1)}
        return cls(images, {name: number for number, name in enumerate(schema.names, 1)})

    def image(self, case: str) -> int | None:
        """The id of a case: of the image that is called so, else of the only one whose name ends its path."""
        if case in self.images:
            return self.images[case]
        place = "/" + case.replace("\\", "/")
        found = [number for name, number in self.images.items() if place.endswith("/" + name.removeprefix("./"))]
        return found[0] if len(found) == 1 else None


def write_coco_results(
    path: Path,
    cases: Sequence[str],
    predictions: Sequence[BoxesPrediction],
    schema: LabelSchema,
    ids: CocoIds | None = None,
) -> tuple[str, ...]:
    """Write the boxes of images in COCO's form for results: a list of ``image_id, category_id, bbox, score``.

    Without ids of an annotation file images and categories are numbered from 1, and a file ``coco_images.json`` beside
    it says what the numbers mean: an annotation file without annotations, against which pycocotools loads the results.

    Args:
        path: The file.
        cases: ``(N,)`` file names of the images.
        predictions: ``(N,)``, in two dimensions.
        schema: The classes of boxes.
        ids: Those of an annotation file.

    Returns:
        The cases that ``ids`` does not know, whose boxes are left out.

    Raises:
        ValueError: If boxes are not of two dimensions: COCO knows no others.
    """
    known = ids or CocoIds.made(cases, schema)
    results: list[dict[str, Any]] = []
    unknown = []
    for case, found in zip(cases, predictions, strict=True):
        if found.corners.shape[1] != 4:
            raise ValueError("COCO's form is for boxes in two dimensions")
        number = known.image(case)
        if number is None:
            unknown.append(case)
            continue
        for (x1, y1, x2, y2), label, score in zip(
            found.corners.astype(np.float64).tolist(), found.labels.tolist(), found.scores.tolist(), strict=True
        ):
            category = known.categories[schema.names[label]]
            box = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": number, "category_id": category, "bbox": box, "score": score})
    _dump(path, results)
    if ids is None:
        _dump(path.with_name(IMAGES), _images(cases, predictions, known))
    return tuple(unknown)


def _images(cases: Sequence[str], predictions: Sequence[BoxesPrediction], ids: CocoIds) -> dict[str, Any]:
    images = []
    for case, found in zip(cases, predictions, strict=True):
        size = dict(zip(("width", "height"), found.shape, strict=False))
        images.append({"id": ids.images[case], "file_name": case, **size})
    categories = [{"id": number, "name": name} for name, number in ids.categories.items()]
    return {"images": images, "annotations": [], "categories": categories}


def _dump(path: Path, content: Any) -> None:
    with open_atomic(path) as file:
        json.dump(content, file, ensure_ascii=False)
        file.write("\n")


def write_box_csv(
    path: Path,
    cases: Sequence[str],
    predictions: Sequence[BoxesPrediction],
    schema: LabelSchema,
    *,
    thresholds: Mapping[str, float],
    affines: Sequence[FloatArray | None],
) -> None:
    """Write a row a box, in pixels and in mm; an image without boxes has one row without numbers.

    Columns: ``case``, ``label``, ``score``, ``finding`` (1 where the score reaches the class's threshold); the corners
    ``x1, y1[, z1], x2, y2[, z2]`` in px, on their edges; ``centre_x_mm, centre_y_mm, centre_z_mm``; the sides along the
    image's own axes ``side_x_mm, side_y_mm[, side_z_mm]``; and ``frame``, which says where the centre is: ``world``
    (RAS+) for an image with an affine, ``image`` for one that has its spacing alone, along its axes from the middle of
    its first pixel; blank, as all mm, where it has neither.

    Args:
        path: The file.
        cases: ``(N,)`` names.
        predictions: ``(N,)``.
        schema: The classes of boxes.
        thresholds: The lowest score by class at which a box is called a finding; 0.5 where a class has none.
        affines: ``(N,)`` voxel centres to RAS+ mm, 4x4.
    """
    dims = next((p.corners.shape[1] // 2 for p in predictions), 2)
    axes = _AXES[:dims]
    corners = [f"{a}{n}" for n in (1, 2) for a in axes]
    middle, lengths = [f"centre_{a}_mm" for a in _AXES], [f"side_{a}_mm" for a in axes]
    least = [thresholds.get(name, 0.5) for name in schema.names]
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "label", "score", "finding", *corners, *middle, *lengths, "frame"])
        for case, found, affine in zip(cases, predictions, affines, strict=True):
            if not len(found.scores):
                writer.writerow([case, *[""] * (3 + len(corners) + len(middle) + dims + 1)])
            for label, score, box, (place, size, frame) in zip(
                found.labels.tolist(), found.scores, found.corners, _millimetres(found, affine), strict=True
            ):
                row = [case, schema.names[label], _text(score), int(score >= least[label]), *map(_text, box)]
                writer.writerow([*row, *place, *size, frame])


def _millimetres(found: BoxesPrediction, affine: FloatArray | None) -> Iterator[tuple[list[str], list[str], str]]:
    """Centre, sides and frame of each box as texts."""
    dims = found.corners.shape[1] // 2
    if affine is None and found.spacing is None:
        yield from ((([""] * 3), [""] * dims, "") for _ in found.scores)
        return
    if affine is None:
        assert found.spacing is not None
        steps = np.asarray(found.spacing[:dims], np.float64)
    else:
        steps = np.linalg.norm(np.asarray(affine, np.float64)[:3, :dims], axis=0)
    lengths = sides(found.corners) * steps
    for place, length in zip(_places(found, affine, steps), lengths, strict=True):
        texts = [_text(v) for v in place]
        yield texts + [""] * (3 - len(texts)), [_text(v) for v in length], "image" if affine is None else "world"


def _places(found: BoxesPrediction, affine: FloatArray | None, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middles ``(N, 3)`` in the world, or ``(N, D)`` along the image's axes, in mm."""
    voxels = centres(found.corners) - 0.5
    if affine is None:
        along: NDArray[np.float64] = voxels * steps
        return along
    matrix = np.asarray(affine, np.float64)
    dims = voxels.shape[1]
    world: NDArray[np.float64] = voxels @ matrix[:3, :dims].T + matrix[:3, 3]
    return world


def _text(value: float) -> str:
    # Nine digits give a float32 back exactly.
    return format(float(value), ".9g")
