"""What the page of an audit shows of boxes: which cases, drawn how, with which line below."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medcnn.data.audit import Audit
from medcnn.data.grouping import plural
from medcnn.data.images import read_case
from medcnn.data.thumbnails import middle_slice
from medcnn.report.box_overlays import draw_boxes
from medcnn.report.overlays import schema_colours
from medcnn.types import Boxes, BoxesPrediction, Case, Dataset, LabelSchema
from medcnn.workflow.pictures import to_picture

_MOST_ODD = 12
_SIDE = 256


def sheet_cases(cases: Sequence[Case], count: int) -> list[Case]:
    """Cases drawn at random, in the order given; where there are boxes, half of them from those that have some.

    The same cases give the same sheet.
    """
    count = min(count, len(cases))
    place = {case.id: i for i, case in enumerate(cases)}
    boxed = [case for case in cases if (found := case.target(Boxes)) is not None and len(found.corners)]
    chosen = random.Random(0).sample(boxed, min(count // 2, len(boxed)))
    taken = {case.id for case in chosen}
    chosen += random.Random(0).sample([case for case in cases if case.id not in taken], count - len(chosen))
    return sorted(chosen, key=lambda case: place[case.id])


def boxes_text(schema: LabelSchema | None, case: Case) -> str:
    """The boxes of a case in words; empty where they are not annotated."""
    boxes = case.target(Boxes)
    if boxes is None or schema is None:
        return ""
    counts = np.bincount(boxes.labels, minlength=len(schema.classes))
    texts = [f"{int(n):,} {name}" for name, n in zip(schema.names, counts, strict=False) if n]
    return f"{plural(len(boxes.corners), 'box', 'boxes')}: {', '.join(texts[:4])}" if texts else "no boxes"


def colours_of(dataset: Dataset) -> dict[str, str] | None:
    """The colours of the labels of boxes; ``None`` where no case has a box."""
    schema = dataset.labels.get("boxes")
    if schema is None or not any((b := case.target(Boxes)) is not None and len(b.corners) for case in dataset):
        return None
    return dict(zip(schema.names, schema_colours(schema), strict=True))


def odd_boxes(result: Audit, cases: Mapping[str, Case]) -> list[tuple[str, str]]:
    """Cases whose boxes do not fit, each with the findings that name it: in turn one of each finding."""
    findings = [f for f in result.findings if f.id.startswith("boxes-") and f.cases]
    words: dict[str, list[str]] = {}
    for finding in findings:
        for name in finding.cases:
            words.setdefault(name, []).append(finding.id.removeprefix("boxes-").replace("-", " "))
    deepest = max((len(f.cases) for f in findings), default=0)
    turns = [f.cases[k] for k in range(deepest) for f in findings if k < len(f.cases)]
    chosen = [name for name in dict.fromkeys(turns) if name in cases][:_MOST_ODD]
    return [(name, ", ".join(words[name])) for name in chosen]


def picture_of(dataset: Dataset, case: Case) -> NDArray[np.uint8]:
    """The image with its boxes ``(Y, X, 3)``; without boxes ``(Y, X)`` grey, or in colour.

    Raises:
        ImageError: If it cannot be read.
    """
    image, boxes, schema = read_case(case), case.target(Boxes), dataset.labels.get("boxes")
    dims = image.array.ndim - 1
    if boxes is None or schema is None or not len(boxes.corners) or boxes.corners.shape[1] != 2 * dims:
        return to_picture(replace(image, array=middle_slice(image)))
    finite = np.isfinite(boxes.corners).all(1)
    crowd = None if boxes.crowd is None else boxes.crowd[finite]
    shown = Boxes(boxes.corners[finite], boxes.labels[finite], crowd)
    nothing = BoxesPrediction(shown.corners[:0], shown.labels[:0], np.zeros(0, np.float32))
    return draw_boxes(image, shown, nothing, schema_colours(schema), side=_SIDE)
