"""What the audit says of masks: how often each label occurs and how large it is, and what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medcnn.data.finding import Finding, examples
from medcnn.data.grouping import listing, plural, printable
from medcnn.data.near_hash import in_order
from medcnn.errors import ImageError
from medcnn.geometry.resample import IGNORE
from medcnn.progress import Progress, Silent
from medcnn.types import Case, Dataset, LabelSchema, Mask


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What the mask of one case holds.

    Attributes:
        case: Its id.
        voxels: Of each label of the schema.
        ignored: Voxels that are not annotated.
        size: Voxels of the image.
        reason: Why the mask cannot be used; empty where it can.
    """

    case: str
    voxels: tuple[int, ...] = ()
    ignored: int = 0
    size: int = 0
    reason: str = ""


def read_masks(
    dataset: Dataset, cases: Sequence[Case], *, threads: int = 1, progress: Progress | None = None
) -> list[MaskFacts]:
    """The masks of cases whose images can be read; of cases without one nothing.

    Args:
        dataset: With the schema of its masks.
        cases: Which of them to look at.
        threads: How many are read at the same time.
        progress: Advanced by one a mask.
    """
    schema = dataset.labels.get("mask")
    drawn = [case for case in cases if case.target(Mask) is not None]
    if schema is None or not drawn:
        return []
    progress, found = progress or Silent(), []
    progress.start("reading masks", len(drawn), "masks")
    for facts in in_order(lambda case: _read(case, schema), drawn, threads):
        found.append(facts)
        progress.advance(1)
    return found


def _read(case: Case, schema: LabelSchema) -> MaskFacts:
    from medcnn.data.images import read_case
    from medcnn.data.labels import read_mask

    mask = case.target(Mask)
    assert mask is not None
    try:
        labels = read_mask(mask, schema, read_case(case), drawn_on=case.images[0])
    except ImageError as error:
        return MaskFacts(case.id, reason=error.what)
    size = int(np.prod(labels.shape[1:])) if schema.multilabel else labels.size
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    ignored = int(counts[IGNORE])
    if schema.multilabel:
        voxels = tuple(int((channel == 1).sum()) for channel in labels)
    else:
        voxels = tuple(int(counts[k]) for k in range(1, len(schema.classes) + 1))
    return MaskFacts(case.id, voxels, ignored, size)


def mask_table(schema: LabelSchema, masks: Sequence[MaskFacts]) -> tuple[dict[str, Any], list[Finding]]:
    """How often each label occurs and which share of its images it takes, and the findings."""
    good = [m for m in masks if not m.reason]
    rows = []
    for k, name in enumerate(schema.names):
        shares = [m.voxels[k] / m.size for m in good if m.voxels[k]]
        rows.append(
            {
                "label": printable(name),
                "cases": len(shares),
                "low": min(shares) if shares else None,
                "median": float(np.median(shares)) if shares else None,
                "high": max(shares) if shares else None,
            }
        )
    empty = [m.case for m in good if not any(m.voxels)]
    partial = [m.case for m in good if m.ignored]
    table = {
        "read": len(good),
        "unusable": len(masks) - len(good),
        "empty": len(empty),
        "partly_not_annotated": len(partial),
        "labels": rows,
    }
    return table, [*_unusable([m for m in masks if m.reason]), *_mask_findings(good, rows, empty)]


def _unusable(bad: Sequence[MaskFacts]) -> Iterator[Finding]:
    if bad:
        reasons = Counter(m.reason for m in bad).most_common(2)
        text = f"{plural(len(bad), 'mask', 'masks')} cannot be used: "
        text += "; ".join(f"{count:,} {reason}" for reason, count in reasons)
        yield Finding("mask-unusable", "caution", text, len(bad), examples(m.case for m in bad))


def _mask_findings(
    good: Sequence[MaskFacts], rows: Sequence[Mapping[str, Any]], empty: Sequence[str]
) -> Iterator[Finding]:
    absent = [str(row["label"]) for row in rows if not row["cases"]]
    if good and absent:
        text = f"{plural(len(absent), 'label is', 'labels are')} in no mask: {listing(absent)}"
        yield Finding("mask-label-absent", "caution", text, len(absent))
    if empty:
        text = plural(len(empty), "mask is", "masks are") + " empty: nothing is labelled"
        yield Finding("mask-empty", "info", text, len(empty), examples(empty))
