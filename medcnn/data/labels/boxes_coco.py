"""COCO's annotation files: boxes, classes and crowds of images by their file names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcnn.errors import DataError


@dataclass(frozen=True, slots=True)
class RawBox:
    """A box as a file has it: corners in px on the edges of pixels, and what it is.

    Attributes:
        corners: ``x1, y1[, z1], x2, y2[, z2]``.
        label: The class's name.
        crowd: Whether it holds many objects that are not told apart.
    """

    corners: tuple[float, ...]
    label: str
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of an annotation file.

    Attributes:
        name: ``file_name``.
        boxes: Its boxes.
        problem: Why its annotations cannot be used; empty where they can.
    """

    name: str
    boxes: tuple[RawBox, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CocoFile:
    """An annotation file.

    Attributes:
        names: Of the categories, in the order of their ids.
        images: By ``file_name``, in the file's order.
    """

    names: tuple[str, ...]
    images: Mapping[str, CocoImage] = field(default_factory=dict)


def read_coco(path: Path, *, option: str = "annotations") -> CocoFile:
    """Read an annotation file.

    An image with a box that is no box (not finite, without area, inverted) has its ``problem``; the rest is used.

    Args:
        path: The file.
        option: Of the adapter, that names it; for messages.

    Raises:
        DataError: If the file is missing, broken or contradicts itself: an id stands twice, a box is of an image or a
            category that the file does not list.
    """
    found = _load(path, option)
    images = _by_id(found, "images", path)
    categories = _by_id(found, "categories", path)
    names = {key: str(entry.get("name", key)) for key, entry in sorted(categories.items())}
    if len(set(names.values())) < len(names):
        raise DataError("two categories have one name", where=str(path), todo="give each a name of its own")
    boxes: dict[int, list[RawBox]] = {key: [] for key in images}
    problems: dict[int, str] = {}
    for place, entry in enumerate(found["annotations"]):
        where = f"{path}: annotation {entry.get('id', place) if isinstance(entry, dict) else place}"
        image = _known(entry, "image_id", images, "image", where)
        label = names[_known(entry, "category_id", categories, "category", where)]
        corners = _corners(entry)
        if isinstance(corners, str):
            problems.setdefault(image, f"{corners} (annotation {entry.get('id', place)})")
            continue
        boxes[image].append(RawBox(corners, label, bool(entry.get("iscrowd", 0))))
    listed: dict[str, CocoImage] = {}
    for key, entry in images.items():
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise DataError(f"the image {key} has no file_name", where=str(path), todo="mend the file")
        if name in listed:
            raise DataError(f"two images are called {name!r}", where=str(path), todo="list each image once")
        listed[name] = CocoImage(name, tuple(boxes[key]), problems.get(key, ""))
    return CocoFile(tuple(names.values()), listed)


def _load(path: Path, option: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            "the annotation file is not there", where=str(path), todo=f"name it with the option {option}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the annotation file cannot be read: {error}", where=str(path), todo="get it anew") from error
    lists = ("images", "annotations", "categories")
    missing = [key for key in lists if not isinstance(found, dict) or not isinstance(found.get(key), list)]
    if missing:
        raise DataError(
            f"the file lists no {missing[0]}",
            where=str(path),
            todo="annotations of COCO hold the lists images, annotations and categories",
        )
    return dict(found)


def _by_id(found: Mapping[str, Any], kind: str, path: Path) -> dict[int, dict[str, Any]]:
    entries: dict[int, dict[str, Any]] = {}
    for place, entry in enumerate(found[kind]):
        key = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(key, int):
            raise DataError(f"entry {place} of {kind} has no id", where=str(path), todo="mend the file")
        if key in entries:
            raise DataError(f"the id {key} stands twice among {kind}", where=str(path), todo="give each its own")
        entries[key] = entry
    if not entries:
        raise DataError(f"the file lists no {kind}", where=str(path), todo="name another file")
    return entries


def _known(entry: Any, key: str, among: Mapping[int, Any], what: str, where: str) -> int:
    found = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(found, int) or found not in among:
        raise DataError(f"the {what} {found!r} is not listed in the file", where=where, todo="mend the file")
    return found


def _corners(entry: Mapping[str, Any]) -> tuple[float, float, float, float] | str:
    """Corners of ``bbox`` (x, y, width, height), else of the polygons; or what is wrong."""
    box = entry.get("bbox")
    if box is None:
        points = list(_points(entry.get("segmentation")))
        if not points:
            return "a box is missing"
        across, down = zip(*points, strict=True)
        x1, y1, x2, y2 = min(across), min(down), max(across), max(down)
    elif isinstance(box, list) and len(box) == 4 and all(_number(v) for v in box):
        x1, y1, x2, y2 = box[0], box[1], box[0] + box[2], box[1] + box[3]
    else:
        return f"a box is not [x, y, width, height]: {str(box)[:60]}"
    if not all(math.isfinite(v) for v in (x1, y1, x2, y2)):
        return "a box holds a number that is not finite"
    if x2 <= x1 or y2 <= y1:
        return f"a box has no area: width {x2 - x1:g}, height {y2 - y1:g}"
    return float(x1), float(y1), float(x2), float(y2)


def _points(polygons: Any) -> Iterator[tuple[float, float]]:
    for polygon in polygons if isinstance(polygons, list) else ():
        if isinstance(polygon, list) and len(polygon) >= 6 and all(_number(v) for v in polygon):
            yield from zip(polygon[::2], polygon[1::2], strict=False)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
