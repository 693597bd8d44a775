"""How far the readers of a reference agree with each other, by the figures that a prediction is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medcnn.evaluation.judging import Judge
from medcnn.evaluation.resampling import make_resampler
from medcnn.evaluation.results import TablePanel
from medcnn.evaluation.segmentation_figures import Segments, find_units
from medcnn.evaluation.segmentation_table import SegmentationTable
from medcnn.types import LabelSchema

_COLUMNS = ("dice", "nsd", "hd95_median", "volume_difference")


def readers_table(
    pairs: Mapping[tuple[int, int], SegmentationTable],
    schema: LabelSchema,
    *,
    patients_known: bool,
    seed: int,
    tolerance: float = 1.0,
    resamples: int = 2000,
    level: float = 0.95,
    consensus: str = "",
) -> TablePanel | None:
    """A row for each pair of readers and label: overlap, surfaces and volumes, with intervals.

    Args:
        pairs: For two readers, counted from 1, the measures of the second's masks against the first's.
        schema: The labels, in the order of the tables' columns.
        patients_known: Whether patients are known.
        seed: Fixes resamples.
        tolerance: Of the surface Dice, in mm (px without spacing).
        resamples: Resamples of the bootstrap.
        level: Nominal coverage of intervals.
        consensus: How the readers' masks became the reference, as a word.

    Returns:
        The table; ``None`` where no case has several readers.
    """
    rows: list[list[Any]] = []
    header: list[str] = []
    for (first, second), table in sorted(pairs.items()):
        if not len(table):
            continue
        resampler = make_resampler(
            table.clusters, resamples=resamples, seed=seed, patients_known=patients_known, patients=table.patients,
            fold=table.fold,
        )  # fmt: skip
        by_patient = bool(patients_known and table.patients is not None and len(np.unique(table.patients)) < len(table))
        segments = Segments(
            table, schema, resampler, Judge(resampler, level), "readers", by_patient, tolerance, find_units(table)
        )
        volume = segments.units.volume
        header = ["Readers", "Label", "Dice", segments.label("nsd"), segments.label("hd95_median")]
        header.append(f"Volume difference (second - first) [{volume}]")
        for name in schema.names:
            figures = [segments.figure((key, name, None, "image")) for key in _COLUMNS]
            rows.append([f"{first} and {second}", name, *figures])
    if not rows:
        return None
    made = f" The reference is made of their masks by {consensus}." if consensus else ""
    caption = (
        "Between every two readers of the same case, by the figures that the prediction is judged by; a network that "
        f"comes as close to the reference as the readers come to each other has little left to gain.{made}"
    )
    return TablePanel("readers", "Agreement between readers", header, rows, caption)
