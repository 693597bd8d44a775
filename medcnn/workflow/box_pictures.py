"""Boxes of a run, the reference's and the prediction's, on the images they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import MedcnnError
from medcnn.report.box_overlays import draw_boxes
from medcnn.report.overlays import schema_colours
from medcnn.tasks.box_predictions import read_box_table
from medcnn.types import Boxes, BoxesPrediction, Case, Image, LabelSchema
from medcnn.workflow.folder import Run

TABLE, BOXES = "test.csv", "test_boxes.csv"
_FALLBACK = 0.5


@dataclass(frozen=True)
class FoundBoxes:
    """The boxes that a run calls findings in its test part, to be drawn.

    Attributes:
        schema: The classes.
        predictions: By case.
    """

    schema: LabelSchema
    predictions: Mapping[str, BoxesPrediction]

    @classmethod
    def of(cls, run: Run) -> FoundBoxes | None:
        """The boxes of a run; ``None`` where it predicted none."""
        schema = run.dataset.labels.get("boxes")
        tables = {fold: folder / "predictions" / TABLE for fold, folder in enumerate(run.folds)}
        tables = {k: table for k, table in tables.items() if table.with_name(BOXES).is_file()}
        if schema is None or not tables:
            return None
        thresholds, fallback = _thresholds(run)
        found: dict[str, BoxesPrediction] = {}
        for fold, table in tables.items():
            chosen = thresholds[fold] if fold < len(thresholds) else {}
            read = read_box_table(table, run.cases, schema)
            for case, boxes in zip(read.cases, read.predictions, strict=True):
                found[case] = called_boxes(boxes, schema, chosen, fallback)
        return cls(schema, found)

    def draw(self, case: Case, image: Image, window: tuple[float | None, float | None]) -> NDArray[np.uint8] | None:
        """The picture of one case; ``None`` where it has no reference or no prediction."""
        reference, found = case.target(Boxes), self.predictions.get(case.id)
        if reference is None or found is None:
            return None
        return draw_boxes(image, reference, found, schema_colours(self.schema), window=window)


def called_boxes(
    boxes: BoxesPrediction, schema: LabelSchema, thresholds: Mapping[str, float], fallback: float = _FALLBACK
) -> BoxesPrediction:
    """The boxes whose score reaches the threshold of their class.

    Args:
        boxes: All of them.
        schema: The classes.
        thresholds: By class.
        fallback: The threshold of a class that has none.
    """
    lowest = np.array([thresholds.get(name, fallback) for name in schema.names])
    kept = boxes.scores.astype(np.float64) >= lowest[boxes.labels]
    return replace(boxes, corners=boxes.corners[kept], labels=boxes.labels[kept], scores=boxes.scores[kept])


def _thresholds(run: Run) -> tuple[list[Mapping[str, float]], float]:
    """Those that the evaluation applied, by fold; none where there is no evaluation yet."""
    try:
        details = run.metrics["details"]
        return list(details["thresholds"]), float(details["threshold"])
    except (MedcnnError, KeyError, TypeError, ValueError):
        return [], _FALLBACK
