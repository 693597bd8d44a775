"""Contours of a run's masks, the reference's and the prediction's, on the images they belong to."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import read_mask
from medcnn.recipe.document import read_document
from medcnn.report.overlays import draw_overlay, schema_colours
from medcnn.types import Case, Image, ImageRef, LabelSchema, Mask
from medcnn.workflow.folder import MODEL, Run

_SEPARATOR = "|"


@dataclass(frozen=True)
class Contours:
    """The masks that a run predicted for its test part, to be drawn.

    Attributes:
        schema: The labels.
        files: The files of each case, where labels overlap one a label, and the fold's folder.
        reading: How references are read: keywords of :func:`~medcnn.data.labels.read_mask`.
        changes: What is done to the predictions of each fold before they are scored.
    """

    schema: LabelSchema
    files: Mapping[str, tuple[Path, tuple[Path, ...]]]
    reading: Mapping[str, Any]
    changes: Mapping[Path, Callable[..., NDArray[np.uint8]]] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> Contours | None:
        """The masks of a run; ``None`` where it predicted none."""
        schema = run.dataset.labels.get("mask")
        files = {case: found for folder in run.folds for case, found in _predicted(folder).items()}
        if schema is None or not files:
            return None
        options = read_document(run.folder / "recipe.yaml").data["task"]
        reading = {k: options[k] for k in ("resample", "consensus") if k in options}
        return cls(schema, files, reading, _changes(run, schema) if options.get("postprocess") == "auto" else {})

    def draw(self, case: Case, image: Image, window: tuple[float | None, float | None]) -> NDArray[np.uint8] | None:
        """The picture of one case, ``None`` where it has no reference or no prediction.

        Raises:
            ImageError: If a mask cannot be read any more.
        """
        mask, found = case.target(Mask), self.files.get(case.id)
        if mask is None or found is None:
            return None
        folder, paths = found
        reference = read_mask(mask, self.schema, image, drawn_on=case.images[0], **self.reading)
        prediction = self._prediction(paths, image)
        if folder in self.changes:
            prediction = self.changes[folder](prediction, image.spacing)
        colours = schema_colours(self.schema)
        return draw_overlay(image, reference, prediction, colours, overlapping=self.schema.multilabel, window=window)

    def _prediction(self, paths: tuple[Path, ...], image: Image) -> NDArray[np.uint8]:
        masks = [Mask(ImageRef((str(path),))) for path in paths]
        if not self.schema.multilabel:
            return read_mask(masks[0], self.schema, image)
        pairs = zip(masks, self.schema.classes, strict=True)
        return np.stack([read_mask(mask, LabelSchema((label,)), image) for mask, label in pairs])


def _predicted(folder: Path) -> dict[str, tuple[Path, tuple[Path, ...]]]:
    """The mask files in the table of a fold's test part; none where the table has no such column."""
    table = folder / "predictions" / "test.csv"
    if not table.is_file():
        return {}
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["case"]: (folder, tuple(table.parent / name for name in row["mask"].split(_SEPARATOR)))
        for row in rows
        if row.get("mask")
    }


def _changes(run: Run, schema: LabelSchema) -> dict[Path, Callable[..., NDArray[np.uint8]]]:
    """What validation chose is stored with each fold's model."""
    from medcnn.inference.model_file import read_description
    from medcnn.tasks.mask_postprocess import postprocessing

    found = {}
    for folder in run.folds:
        if (folder / MODEL).is_file():
            stored = read_description(folder / MODEL)["medcnn"].get("thresholds", {})
            found[folder] = postprocessing(stored, schema)
    return found
