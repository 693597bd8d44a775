"""Agreement between readers: every two of them, by the measures of predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medcnn.evaluation.results import Figure
from medcnn.tasks.base import EvaluationOptions
from medcnn.tasks.mask_readers import measure_readers, readers_agreement
from medcnn.tasks.segmentation import SegmentationTask
from medcnn.types import Case, ImageRef, LabelClass, LabelSchema, Mask

SCHEMA = LabelSchema((LabelClass(1, "lesion"),))
OPTIONS = EvaluationOptions("t", patients_known=True, options={"resamples": 200}, seed=1)


def written(folder: Path, name: str, array: NDArray[np.uint8]) -> ImageRef:
    Image.fromarray(array.T).save(folder / f"{name}.png")
    return ImageRef((str(folder / f"{name}.png"),))


def case_of(folder: Path, number: int, *widths: int) -> Case:
    """A case whose readers drew a box of 10 by ``width`` px each."""
    refs = []
    for reader, width in enumerate(widths):
        mask = np.zeros((30, 30), np.uint8)
        mask[5:15, 5 : 5 + width] = 1
        refs.append(written(folder, f"m{number}_{reader}", mask))
    image = written(folder, f"i{number}", np.full((30, 30), 90, np.uint8))
    return Case(f"c{number}", (image,), (Mask(refs[0], readers=tuple(refs[1:])),), patient=f"p{number}")


def test_every_two_readers_are_measured(tmp_path: Path) -> None:
    task = SegmentationTask(SCHEMA)
    found = measure_readers(case_of(tmp_path, 0, 10, 5, 10), {}, task)
    assert set(found) == {(1, 2), (1, 3), (2, 3)}
    # Boxes of 100 and 50 px, one inside of the other.
    assert found[1, 2][0].dice == pytest.approx(2 * 50 / 150)
    assert found[1, 3][0].dice == 1
    assert found[1, 2][0].predicted_volume - found[1, 2][0].reference_volume == -50
    assert found[2, 3][0].predicted_volume - found[2, 3][0].reference_volume == 50


def test_one_reader_has_nobody_to_agree_with(tmp_path: Path) -> None:
    task = SegmentationTask(SCHEMA)
    case = case_of(tmp_path, 0, 10)
    assert measure_readers(case, {}, task) == {}
    assert readers_agreement([case], OPTIONS, task) is None


def test_the_table_has_a_row_a_pair_and_label_with_counts_and_intervals(tmp_path: Path) -> None:
    task = SegmentationTask(SCHEMA, consensus="majority")
    cases = [case_of(tmp_path, k, 10, 10 - k % 3) for k in range(24)] + [case_of(tmp_path, 30, 10)]
    panel = readers_agreement(cases, OPTIONS, task)
    assert panel is not None
    assert panel.title == "Agreement between readers"
    assert "majority" in panel.caption
    assert len(panel.rows) == 1
    readers, label, *figures = panel.rows[0]
    assert (readers, label) == ("1 and 2", "lesion")
    dice, _, _, volume = figures
    assert isinstance(dice, Figure)
    wanted = [2 * w / (10 + w) for w in (10, 9, 8)]
    assert dice.value == pytest.approx(np.mean(wanted))
    assert dice.n == 24  # the case of a single reader is not among them
    assert dice.interval is not None
    assert volume.value == pytest.approx(-10)


def test_what_one_did_not_annotate_counts_for_neither(tmp_path: Path) -> None:
    first, second = np.zeros((30, 30), np.uint8), np.zeros((30, 30), np.uint8)
    first[5:15, 5:15] = 1
    second[5:15, 5:10] = 1
    second[5:15, 10:15] = 9
    refs = written(tmp_path, "a", first), written(tmp_path, "b", second)
    names = (("1", "lesion"), ("9", "ignore"))
    case = Case("c", (written(tmp_path, "i", first),), (Mask(refs[0], names=names, readers=refs[1:]),))
    found = measure_readers(case, {}, SegmentationTask(SCHEMA))
    assert found[1, 2][0].dice == 1
