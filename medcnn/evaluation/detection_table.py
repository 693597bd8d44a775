"""Predicted boxes beside those of the reference, a row an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.inputs import row_positions, tidy_rows
from medcnn.types import Attribute, Boxes, BoxesPrediction


def _none() -> NDArray[Any]:
    return np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionTable:
    """The boxes of images, a row an image, in the image's own grid.

    Attributes:
        cases: ``(N,)`` ids.
        predictions: ``(N,)``; put in order of falling score where they are not.
        references: ``(N,)``; an entry without boxes is an image without findings.
        shapes: ``(N,)`` size of each image in voxels; empty where it is not known.
        spacings: ``(N,)`` mm of each axis; ``None`` for an image without spacing.
        clusters: ``(N,)`` the unit that intervals resample; empty: each image by itself.
        patients: ``(N,)``; ``None`` where unknown.
        studies: ``(N,)``; ``None`` where unknown.
        attributes: Values by attribute, ``(N,)`` each, ``None`` where unknown.
        fold: ``(N,)`` which fold's network made the prediction, from 0; empty: one network.

    Raises:
        ValueError: If the shapes do not fit, or some boxes have two axes and others three.
    """

    cases: tuple[str, ...]
    predictions: tuple[BoxesPrediction, ...]
    references: tuple[Boxes, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    spacings: tuple[tuple[float, ...] | None, ...] = ()
    clusters: NDArray[Any] = field(default_factory=_none)
    patients: NDArray[Any] | None = None
    studies: NDArray[Any] | None = None
    attributes: Mapping[str, Sequence[Attribute]] = field(default_factory=dict)
    fold: NDArray[Any] = field(default_factory=_none)

    def __post_init__(self) -> None:
        n = len(self.cases)
        tidy_rows(self, n)
        put = object.__setattr__
        put(self, "predictions", tuple(_ordered(p) for p in self.predictions))
        put(self, "references", tuple(self.references))
        put(self, "shapes", tuple(self.shapes) or tuple(p.shape for p in self.predictions))
        put(self, "spacings", tuple(self.spacings) or tuple(p.spacing for p in self.predictions))
        if self.studies is not None:
            put(self, "studies", np.asarray([str(s) for s in self.studies], np.str_))
        columns = (self.predictions, self.references, self.shapes, self.spacings, self.studies)
        if any(column is not None and len(column) != n for column in columns):
            raise ValueError(f"{n} cases, but other numbers of predictions, references, shapes, spacings or studies")
        # An image without boxes says nothing of the number of axes.
        if len({width for width in self._widths() if width}) > 1:
            raise ValueError("some boxes have two axes and others three")

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def dims(self) -> int:
        """Number of spatial axes; 2 where no image has a box."""
        return next((width // 2 for width in self._widths() if width), 2)

    def _widths(self) -> Iterator[int]:
        """Numbers of a box, image by image; 0 where there are no boxes."""
        yield from (b.corners.shape[1] if len(b.corners) else 0 for b in self.references)
        yield from (b.corners.shape[1] if len(b.corners) else 0 for b in self.predictions)

    @classmethod
    def of(
        cls, cases: Sequence[str], predictions: Sequence[BoxesPrediction], references: Sequence[Boxes], **facts: Any
    ) -> DetectionTable:
        """The table of images, whose sizes and spacings the predictions carry.

        Args:
            cases: ``(N,)`` ids.
            predictions: ``(N,)``.
            references: ``(N,)``.
            **facts: ``clusters``, ``patients``, ``studies``, ``attributes`` and ``fold``.
        """
        return cls(tuple(cases), tuple(predictions), tuple(references), **facts)

    @classmethod
    def joined(cls, tables: Sequence[DetectionTable]) -> DetectionTable:
        """The tables of several folds as one; their ``fold`` stays as it is."""
        names = sorted({name for t in tables for name in t.attributes})
        return cls(
            tuple(case for t in tables for case in t.cases),
            tuple(p for t in tables for p in t.predictions),
            tuple(r for t in tables for r in t.references),
            tuple(s for t in tables for s in t.shapes),
            tuple(s for t in tables for s in t.spacings),
            np.concatenate([t.clusters for t in tables]),
            _joined([t.patients for t in tables]),
            _joined([t.studies for t in tables]),
            {name: [v for t in tables for v in t.attributes.get(name, [None] * len(t))] for name in names},
            np.concatenate([t.fold for t in tables]),
        )

    def take(self, rows: NDArray[Any]) -> DetectionTable:
        """The rows at these positions, or where a mask is true."""
        rows = row_positions(rows)
        return DetectionTable(
            tuple(self.cases[i] for i in rows),
            tuple(self.predictions[i] for i in rows),
            tuple(self.references[i] for i in rows),
            tuple(self.shapes[i] for i in rows),
            tuple(self.spacings[i] for i in rows),
            self.clusters[rows],
            None if self.patients is None else self.patients[rows],
            None if self.studies is None else self.studies[rows],
            {k: [v[i] for i in rows] for k, v in self.attributes.items()},
            self.fold[rows],
        )


def _joined(columns: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    known = [c for c in columns if c is not None]
    return np.concatenate(known) if len(known) == len(columns) else None


def _ordered(found: BoxesPrediction) -> BoxesPrediction:
    """The boxes by falling score; of equal ones the first stays first."""
    if len(found.scores) < 2 or bool((np.diff(found.scores) <= 0).all()):
        return found
    order = np.argsort(-found.scores.astype(np.float64), kind="stable")
    return replace(found, corners=found.corners[order], labels=found.labels[order], scores=found.scores[order])
