"""Pascal VOC's XML files: corners that count from 1 and include the last pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from medcnn.data.labels.boxes_coco import RawBox
from medcnn.errors import ImageError

_LARGEST = 2**24


@dataclass(frozen=True, slots=True)
class VocFile:
    """What one file says of one image.

    Attributes:
        image: ``filename``; empty where it is not given.
        boxes: Corners on the edges of pixels; ``crowd`` is set for objects marked ``difficult``, which count neither as
            found nor as missed in VOC's own evaluation.
    """

    image: str
    boxes: tuple[RawBox, ...]


def read_voc(path: Path, *, one_based: bool = True) -> VocFile:
    """Read an annotation file.

    Args:
        path: The XML file.
        one_based: Whether coordinates count from 1 and include the last pixel, as VOC's do; else they are edges.

    Raises:
        ImageError: If the file is broken, declares entities, or a box is none.
    """
    root = _parse(path)
    boxes = []
    for number, entry in enumerate(root.iter("object"), 1):
        where = f"{path}: object {number}"
        name = (entry.findtext("name") or "").strip()
        if not name:
            raise ImageError("an object has no name", where=where)
        corners = _corners(entry.find("bndbox"), one_based, where)
        boxes.append(RawBox(corners, name, (entry.findtext("difficult") or "0").strip() == "1"))
    return VocFile((root.findtext("filename") or "").strip(), tuple(boxes))


def _parse(path: Path) -> ElementTree.Element:
    try:
        text = path.read_bytes()
        if len(text) > _LARGEST:
            raise ImageError(f"the annotation file is larger than {_LARGEST >> 20} MB", where=str(path))
        # Entities can be made to fill the memory; annotations need none.
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise ImageError("the annotation file declares a document type, which is not read", where=str(path))
        root = ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise ImageError(f"the annotations cannot be read: {error}", where=str(path)) from error
    if root.tag != "annotation":
        raise ImageError(f"the file holds <{root.tag}>, not <annotation>", where=str(path))
    return root


def _corners(box: ElementTree.Element | None, one_based: bool, where: str) -> tuple[float, ...]:
    texts = [None if box is None else box.findtext(key) for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = (float(text or "") for text in texts)
    except ValueError as error:
        raise ImageError("an object has no bndbox with xmin, ymin, xmax and ymax", where=where) from error
    if not all(math.isfinite(v) for v in (x1, y1, x2, y2)):
        raise ImageError("a box holds a number that is not finite", where=where)
    if one_based:
        x1, y1 = x1 - 1, y1 - 1
    if x2 <= x1 or y2 <= y1:
        raise ImageError("a box has no area", where=where)
    return x1, y1, x2, y2
