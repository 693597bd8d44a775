"""What the audit says of boxes: how many there are of each label and how large, and what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.facts import ImageFacts
from medcnn.data.finding import Finding, Severity, examples
from medcnn.data.grouping import listing, plural, printable
from medcnn.data.near_hash import in_order
from medcnn.errors import ImageError
from medcnn.geometry.boxes import clip_boxes, sides
from medcnn.progress import Progress, Silent
from medcnn.types import Boxes, Case, Dataset

# A box may end half a voxel outside: edges are rounded in many ways.
_TOLERANCE = 0.5
MOST_BOXES = 1000
# Shares of the range of an image's intensities: how near the frame must be to one end of it to be called air, and how
# near the mean of a box must be to the frame to lie on air.
_FRAME_IS_AIR, _BOX_IS_AIR = 0.1, 0.05
_RANGE = (0.5, 99.5)
# So many values tell the range of an image.
_SAMPLED = 2**18

# What is wrong with boxes: name of the finding, severity, and words after "2 cases have ".
_KINDS: Mapping[str, tuple[Severity, str]] = {
    "axes": ("error", "boxes of another number of axes than the image"),
    "not-finite": ("error", "a box with a corner that is not finite"),
    "inverted": ("caution", "a box that is inverted"),
    "empty": ("caution", "a box without extent"),
    "outside": ("caution", "a box that reaches outside of the image"),
    "on-air": ("caution", "a box on air: its mean is that of the image's dark or bright frame"),
    "repeated": ("caution", "a box that stands twice"),
    "many": ("caution", f"more than {MOST_BOXES:,} boxes"),
}


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """What the pixels say of the boxes of one case.

    Attributes:
        case: Its id.
        on_air: How many boxes lie on air.
        framed: Whether the image has a frame of air, so that this can be said.
    """

    case: str
    on_air: int = 0
    framed: bool = False


def read_boxes(
    dataset: Dataset, cases: Sequence[Case], *, threads: int = 1, progress: Progress | None = None
) -> list[BoxFacts]:
    """Look at the pixels in the boxes of cases whose images can be read.

    Args:
        dataset: With boxes, or nothing is read.
        cases: Which of them to look at.
        threads: How many are read at the same time.
        progress: Advanced by one an image.
    """
    if "boxes" not in dataset.labels:
        return []
    drawn = [case for case in cases if (boxes := case.target(Boxes)) is not None and len(boxes.corners)]
    progress, found = progress or Silent(), []
    progress.start("looking into boxes", len(drawn), "images")
    for facts in in_order(_read, drawn, threads):
        found.append(facts)
        progress.advance(1)
    return found


def _read(case: Case) -> BoxFacts:
    from medcnn.data.images import read_case

    boxes = case.target(Boxes)
    assert boxes is not None
    try:
        on_air = boxes_on_air(read_case(case).array, boxes)
    except ImageError:
        # It could be read a moment ago; that it is gone is for others to say.
        return BoxFacts(case.id)
    return BoxFacts(case.id) if on_air is None else BoxFacts(case.id, int(on_air.sum()), framed=True)


def boxes_on_air(array: NDArray[Any], boxes: Boxes) -> NDArray[np.bool_] | None:
    """Which boxes lie on air: ``(N,)``; ``None`` where the image has no frame of air.

    The frame is the outermost 2 % of the first two axes. It is air where its median lies within 10 % of the image's
    range (its 0.5 to 99.5 percentile) from either end; a box lies on air where its mean is within 5 % of that range
    from the frame's median. Lung in CT is no air by this rule, and an image that fills its frame has none.

    Args:
        array: ``(C, X, Y[, Z])``; the mean of the channels counts.
        boxes: Their boxes; what of them lies outside has no part in the mean.
    """
    dims = array.ndim - 1
    if boxes.corners.shape[1] != 2 * dims:
        return None
    grey = array[0] if len(array) == 1 else array.mean(0, dtype=np.float32)
    flat = grey.ravel()
    sample = flat[:: max(1, flat.size // _SAMPLED)].astype(np.float32)
    sample = sample[np.isfinite(sample)]
    frame = _frame(grey)
    if not sample.size or not frame.size:
        return None
    low, high = np.percentile(sample, _RANGE)
    level, extent = float(np.median(frame)), float(high - low)
    if extent <= 0 or min(level - low, high - level) > _FRAME_IS_AIR * extent:
        return None
    found = np.zeros(len(boxes.corners), bool)
    cut = clip_boxes(np.nan_to_num(boxes.corners), grey.shape)
    for i in np.flatnonzero(np.isfinite(boxes.corners).all(1)):
        corners = cut[i]
        inside = grey[tuple(slice(int(np.floor(a)), int(np.ceil(b))) for a, b in _pairs(corners))]
        values = inside[np.isfinite(inside)]
        found[i] = values.size > 0 and abs(float(values.mean(dtype=np.float64)) - level) <= _BOX_IS_AIR * extent
    return found


def _frame(grey: NDArray[Any]) -> NDArray[np.float32]:
    width = [max(1, round(0.02 * n)) for n in grey.shape[:2]]
    parts = [grey[: width[0]], grey[-width[0] :], grey[:, : width[1]], grey[:, -width[1] :]]
    values = np.concatenate([part.ravel()[:: max(1, part.size // _SAMPLED)] for part in parts]).astype(np.float32)
    return np.asarray(values[np.isfinite(values)])


def _pairs(corners: NDArray[Any]) -> zip[tuple[float, float]]:
    dims = len(corners) // 2
    return zip(corners[:dims], corners[dims:], strict=True)


def box_table(
    dataset: Dataset, facts: Sequence[ImageFacts], pixels: Sequence[BoxFacts] = ()
) -> tuple[dict[str, Any], list[Finding]]:
    """How many boxes there are of each label and how large they are, and the findings.

    Args:
        dataset: With boxes.
        facts: Sizes of images, as far as they are known.
        pixels: What :func:`read_boxes` found.
    """
    schema = dataset.labels.get("boxes")
    names = schema.names if schema is not None else ()
    shapes = {f.case: f.shape[1:] for f in facts}
    cases = [(case.id, boxes) for case in dataset.cases if (boxes := case.target(Boxes)) is not None]
    wrong: dict[str, dict[str, int]] = {kind: {} for kind in _KINDS}
    for name, boxes in cases:
        for kind, count in _wrong(boxes, shapes.get(name)).items():
            if count:
                wrong[kind][name] = count
    wrong["on-air"] = {p.case: p.on_air for p in pixels if p.on_air}
    rows = [_row(name, k, [boxes for _, boxes in cases]) for k, name in enumerate(names)]
    counts = [len(boxes.corners) for _, boxes in cases]
    table = {
        "cases": len(cases),
        "boxes": sum(counts),
        "cases_without": counts.count(0),
        "most_in_one_image": max(counts, default=0),
        "ignored": sum(int(boxes.crowd.sum()) for _, boxes in cases if boxes.crowd is not None),
        "images_with_a_frame_of_air": sum(p.framed for p in pixels) if pixels else None,
        "labels": rows,
    }
    return table, [*_findings(wrong), *_absent(rows, sum(counts))]


def _row(name: str, label: int, boxes: Sequence[Boxes]) -> dict[str, Any]:
    """Boxes and cases of a label, and the longest sides of its boxes in px."""
    held = [b.corners[b.labels == label] for b in boxes]
    with np.errstate(invalid="ignore"):
        longest = np.concatenate([sides(c).max(1) for c in held if len(c)] or [np.zeros(0)])
    longest = longest[np.isfinite(longest)]
    known = bool(longest.size)
    return {
        "label": printable(name),
        "boxes": sum(map(len, held)),
        "cases": sum(len(c) > 0 for c in held),
        "low": float(longest.min()) if known else None,
        "median": float(np.median(longest)) if known else None,
        "high": float(longest.max()) if known else None,
    }


def _wrong(boxes: Boxes, shape: tuple[int, ...] | None) -> Counter[str]:
    """How many boxes of a case are wrong, by kind."""
    found = Counter[str]()
    corners = boxes.corners
    if not len(corners):
        return found
    dims = corners.shape[1] // 2
    if shape is not None and len(shape) != dims:
        found["axes"] = len(corners)
        return found
    finite = np.isfinite(corners).all(1)
    found["not-finite"] = int((~finite).sum())
    low, high = corners[finite, :dims], corners[finite, dims:]
    inverted = (high < low).any(1)
    found["inverted"] = int(inverted.sum())
    found["empty"] = int(((high == low).any(1) & ~inverted).sum())
    if shape is not None:
        ends = np.asarray(shape, np.float32)
        found["outside"] = int(((low < -_TOLERANCE).any(1) | (high > ends + _TOLERANCE).any(1)).sum())
    rows = np.column_stack([corners[finite], boxes.labels[finite]])
    found["repeated"] = len(rows) - len(np.unique(rows, axis=0))
    found["many"] = len(corners) if len(corners) > MOST_BOXES else 0
    return found


def _findings(wrong: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    found = []
    for kind, (severity, words) in _KINDS.items():
        counts = wrong[kind]
        if not counts:
            continue
        text = f"{plural(len(counts), 'case has', 'cases have')} {words}"
        total = sum(counts.values())
        if kind == "many":
            text += f" (up to {max(counts.values()):,})"
        elif total > len(counts):
            text += f" ({total:,} boxes in all)"
        found.append(Finding(f"boxes-{kind}", severity, text, len(counts), examples(counts)))
    return found


def _absent(rows: Sequence[Mapping[str, Any]], total: int) -> list[Finding]:
    if not total:
        return [Finding("boxes-none", "caution", "no image has a box", 0)]
    absent = [str(row["label"]) for row in rows if not row["boxes"]]
    if not absent:
        return []
    text = f"{plural(len(absent), 'label has', 'labels have')} no box: {listing(absent)}"
    return [Finding("boxes-label-absent", "caution", text, len(absent))]
