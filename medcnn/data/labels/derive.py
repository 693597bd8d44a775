"""Classes and boxes from masks: one dataset with masks serves every task, without copies on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images import read_case
from medcnn.data.images.limits import state_or_none
from medcnn.data.labels.reading import Consensus, read_mask
from medcnn.errors import DataError, ImageError
from medcnn.geometry.components import components
from medcnn.geometry.resample import IGNORE
from medcnn.progress import Progress, Silent
from medcnn.types import Boxes, Case, ClassLabel, Dataset, Exclusion, ImageRef, LabelClass, LabelSchema, Mask, Target

Derived = Literal["class", "boxes"]
_REMEMBERED = 2**16
_KINDS: dict[Derived, type[ClassLabel] | type[Boxes]] = {"class": ClassLabel, "boxes": Boxes}


def boxes_of(labels: NDArray[np.uint8], schema: LabelSchema) -> Boxes:
    """A box around each connected component (8 neighbours in 2D, 26 in 3D) of each label.

    Args:
        labels: A label map: ``(X, Y[, Z])`` positions, or ``(L, X, Y[, Z])`` where labels may overlap.
        schema: The labels.

    Returns:
        Corners in voxels, ``x1, y1[, z1], x2, y2[, z2]``, label by label; their labels are positions in
        :func:`box_schema`. What is not annotated is in no box.
    """
    dims = labels.ndim - int(schema.multilabel)
    corners: list[NDArray[np.float32]] = [np.zeros((0, 2 * dims), np.float32)]
    kinds: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for k in range(len(schema.classes)):
        found = components(_where(labels, schema, k)).corners
        corners.append(found)
        kinds.append(np.full(len(found), k, np.int64))
    return Boxes(np.concatenate(corners), np.concatenate(kinds))


def classes_of(labels: NDArray[np.uint8], schema: LabelSchema) -> ClassLabel:
    """Which labels are there: the states of :func:`class_schema`.

    A label of which no voxel is found is absent where the whole image is annotated for it, and unknown where it is not.

    Args:
        labels: As of :func:`boxes_of`.
        schema: The labels.
    """
    states: list[int | None] = []
    for k in range(len(schema.classes)):
        channel = labels[k] if schema.multilabel else labels
        if _where(labels, schema, k).any():
            states.append(1)
        else:
            states.append(None if (channel == IGNORE).any() else 0)
    if len(states) > 1:
        return ClassLabel(tuple(states))
    return ClassLabel.of(states[0], 2)


def class_schema(schema: LabelSchema) -> LabelSchema:
    """The classes that follow from mask labels: each present or absent; of a single one ``no NAME`` or ``NAME``."""
    if len(schema.classes) == 1:
        label = schema.classes[0]
        classes = (LabelClass(0, f"no {label.name}"), LabelClass(1, label.name, label.color, label.code))
        return LabelSchema(classes, positive=label.name)
    return LabelSchema(_numbered(schema), multilabel=True)


def box_schema(schema: LabelSchema) -> LabelSchema:
    """The kinds of boxes that follow from mask labels."""
    return LabelSchema(_numbered(schema))


def _numbered(schema: LabelSchema) -> tuple[LabelClass, ...]:
    return tuple(replace(label, value=value) for value, label in enumerate(schema.classes))


def _where(labels: NDArray[np.uint8], schema: LabelSchema, k: int) -> NDArray[np.bool_]:
    return np.asarray(labels[k] == 1 if schema.multilabel else labels == k + 1)


def with_derived(
    dataset: Dataset,
    targets: Sequence[Derived],
    *,
    resample: bool = False,
    consensus: Consensus = "staple",
    progress: Progress | None = None,
) -> Dataset:
    """The dataset with classes or boxes that follow from its masks, read from the files and kept in memory alone.

    Args:
        dataset: With masks.
        targets: What to derive.
        resample: As of :func:`~medcnn.data.labels.read_mask`.
        consensus: As of :func:`~medcnn.data.labels.read_mask`.
        progress: Advanced by one a case.

    Returns:
        The same cases with these targets, in the place of the dataset's own; a case whose mask cannot be used is an
        exclusion. A case without a mask is not annotated.

    Raises:
        DataError: If there are no masks.
    """
    schema = dataset.labels.get("mask")
    if schema is None:
        raise DataError("there are no masks to derive from", where="data.derive", todo="name the masks in the adapter")
    progress = progress or Silent()
    for name in targets:
        if name in dataset.labels:
            noun = "classes" if name == "class" else "boxes"
            progress.say(f"{noun} derived from masks take the place of the dataset's own (data.derive)")
    progress.start("deriving labels from masks", len(dataset.cases), "masks")
    options = _Options(schema, tuple(targets), resample, consensus)
    cases: list[Case] = []
    exclusions: list[Exclusion] = []
    # Few at a time: each holds a whole image and its mask.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for found in pool.map(lambda case: _derived(case, options), dataset.cases):
            progress.advance()
            (cases if isinstance(found, Case) else exclusions).append(found)  # type: ignore[arg-type]
    labels = dict(dataset.labels)
    for name in targets:
        labels[name] = class_schema(schema) if name == "class" else box_schema(schema)
    return replace(dataset, cases=tuple(cases), labels=labels, exclusions=(*dataset.exclusions, *exclusions))


@dataclass(frozen=True, slots=True)
class _Options:
    schema: LabelSchema
    targets: tuple[Derived, ...]
    resample: bool
    consensus: Consensus


def _derived(case: Case, options: _Options) -> Case | Exclusion:
    own = tuple(t for t in case.targets if not isinstance(t, tuple(_KINDS[name] for name in options.targets)))
    mask = case.target(Mask)
    if mask is None:
        return replace(case, targets=own)
    try:
        refs = (*case.images, mask.image, *mask.readers)
        more = _remembered(case.images, mask, options, _states(refs))
    except ImageError as error:
        return Exclusion(case.id, error.what, error.where)
    return replace(case, targets=(*own, *more))


def _states(refs: Sequence[ImageRef]) -> tuple[tuple[int, int, int] | None, ...]:
    return tuple(state_or_none(path) for ref in refs for path in ref.paths)


@lru_cache(maxsize=_REMEMBERED)
def _remembered(images: tuple[ImageRef, ...], mask: Mask, options: _Options, _files: object) -> tuple[Target, ...]:
    """Read once as long as no file changes."""
    image = read_case(Case("", images))
    labels = read_mask(
        mask,
        options.schema,
        image,
        resample=options.resample,
        consensus=options.consensus,
        drawn_on=images[0] if images else None,
    )
    made: list[Target] = []
    for name in options.targets:
        made.append(classes_of(labels, options.schema) if name == "class" else boxes_of(labels, options.schema))
    return tuple(made)
