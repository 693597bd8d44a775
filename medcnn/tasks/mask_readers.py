"""The masks of several readers of one case, measured against each other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images import read_case
from medcnn.data.labels import read_readers
from medcnn.evaluation.results import TablePanel
from medcnn.evaluation.segmentation import measure_options
from medcnn.evaluation.segmentation_case import LabelMeasures, measure_case
from medcnn.evaluation.segmentation_readers import readers_table
from medcnn.evaluation.segmentation_table import SegmentationTable
from medcnn.geometry.resample import IGNORE
from medcnn.tasks.base import EvaluationOptions
from medcnn.tasks.predictions import describe_cases
from medcnn.types import Case, Mask

if TYPE_CHECKING:
    from medcnn.tasks.segmentation import SegmentationTask

Readers = tuple[int, int]
# Those of a recipe's evaluation options that the table takes.
_OPTIONS = ("tolerance", "resamples", "level")


def readers_agreement(cases: Sequence[Case], options: EvaluationOptions, task: SegmentationTask) -> TablePanel | None:
    """The table of every two readers over the cases that several persons drew; ``None`` where there are none."""
    found: dict[Readers, tuple[list[Case], list[list[LabelMeasures]]]] = {}
    for case in cases:
        for readers, measured in measure_readers(case, options.options, task).items():
            of_pair = found.setdefault(readers, ([], []))
            of_pair[0].append(case)
            of_pair[1].append(measured)
    tables = {
        readers: SegmentationTable.of([case.id for case in own], measured, **describe_cases(own))
        for readers, (own, measured) in found.items()
    }
    return readers_table(
        tables,
        task.schema,
        patients_known=options.patients_known,
        seed=options.seed,
        consensus=task.consensus,
        **{key: value for key, value in options.options.items() if key in _OPTIONS},
    )


def measure_readers(
    case: Case, options: Mapping[str, Any], task: SegmentationTask
) -> dict[Readers, list[LabelMeasures]]:
    """The measures of each label between every two readers of a case, who are counted from 1.

    What either of the two did not annotate counts for neither.
    """
    mask = case.target(Mask)
    if mask is None or not mask.readers:
        return {}
    image = read_case(case)
    maps = [
        one.labels for one in read_readers(mask, task.schema, image, resample=task.resample, drawn_on=case.images[0])
    ]
    found = {}
    for (i, first), (j, second) in itertools.combinations(enumerate(maps, 1), 2):
        found[i, j] = measure_case(
            np.where(second == IGNORE, np.uint8(IGNORE), first),
            _drawn(second),
            len(task.schema.classes),
            image.spacing,
            overlapping=task.schema.multilabel,
            **measure_options(options),
        )
    return found


def _drawn(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where(labels == IGNORE, np.uint8(0), labels)
