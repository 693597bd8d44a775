"""Matching of boxes: by hand, and COCO's order of choice."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medcnn.geometry.matching import match_boxes


def boxes(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(len(rows), -1)


def test_greedy_by_score_and_each_reference_once() -> None:
    """The better score takes the reference though the other lies closer; that one is a duplicate."""
    reference = boxes((0, 0, 10, 10), (30, 30, 40, 40))
    predicted = boxes((0, 0, 10, 10), (1, 0, 11, 10), (60, 60, 70, 70))
    found = match_boxes(predicted, [0.5, 0.9, 0.8], reference)
    assert found.hit.tolist() == [-1, 0, -1]
    assert found.duplicate.tolist() == [True, False, False]
    assert found.found[0] == 0.9
    assert np.isnan(found.found[1])
    assert not found.ignored.any()
    assert match_boxes(predicted, [0.5, 0.9, 0.8], reference, duplicates="ignored").ignored.tolist() == [
        True,
        False,
        False,
    ]


def test_the_closest_free_reference_is_taken() -> None:
    reference = boxes((0, 0, 10, 10), (2, 0, 12, 10))
    found = match_boxes(boxes((2, 0, 12, 10), (2, 0, 12, 10)), [0.9, 0.8], reference)
    assert found.hit.tolist() == [1, 0]


def test_the_threshold_is_reached_by_equality() -> None:
    reference = boxes((0, 0, 10, 10))
    assert match_boxes(boxes((0, 0, 10, 5)), [0.9], reference, threshold=0.5).hit.tolist() == [0]
    assert match_boxes(boxes((0, 0, 10, 5)), [0.9], reference, threshold=0.51).hit.tolist() == [-1]


def test_classes_match_their_own_alone() -> None:
    reference = boxes((0, 0, 10, 10))
    agnostic = match_boxes(boxes((0, 0, 10, 10)), [0.9], reference)
    aware = match_boxes(boxes((0, 0, 10, 10)), [0.9], reference, predicted_labels=[1], reference_labels=[0])
    assert (agnostic.hit[0], aware.hit[0]) == (0, -1)


def test_the_middle_in_the_box() -> None:
    """Of two references that hold the middle the one whose own middle is nearest is hit."""
    reference = boxes((0, 0, 0, 20, 20, 20), (8, 8, 8, 16, 16, 16))
    found = match_boxes(boxes((11, 11, 11, 13, 13, 13)), [0.9], reference, rule="centre")
    assert found.hit.tolist() == [1]
    assert match_boxes(boxes((19, 19, 19, 25, 25, 25)), [0.9], reference, rule="centre").hit.tolist() == [-1]


def test_ignored_regions_count_neither_way() -> None:
    reference = boxes((0, 0, 10, 10), (30, 30, 40, 40))
    predicted = boxes((0, 0, 10, 10), (30, 30, 40, 40), (30, 30, 40, 39))
    found = match_boxes(predicted, [0.9, 0.8, 0.7], reference, ignore=[False, True])
    assert found.hit.tolist() == [0, -1, -1]
    # The region is taken by the first; a crowd is never.
    assert found.ignored.tolist() == [False, True, False]
    crowd = match_boxes(predicted, [0.9, 0.8, 0.7], reference, crowd=[False, True])
    assert crowd.ignored.tolist() == [False, True, True]


def test_a_counted_reference_goes_before_an_ignored_one() -> None:
    reference = boxes((0, 0, 10, 10), (0, 0, 10, 8))
    found = match_boxes(boxes((0, 0, 10, 10)), [0.9], reference, ignore=[True, False])
    assert found.hit.tolist() == [1]


def test_inside_a_crowd_is_the_share_of_the_prediction() -> None:
    reference = boxes((0, 0, 100, 100))
    assert match_boxes(boxes((5, 5, 9, 9)), [0.9], reference).hit.tolist() == [-1]
    assert match_boxes(boxes((5, 5, 9, 9)), [0.9], reference, crowd=[True]).ignored.tolist() == [True]


@pytest.mark.parametrize("rule", ["iou", "centre"])
def test_nothing_on_either_side(rule: str) -> None:
    none, one = np.zeros((0, 4), np.float32), boxes((0, 0, 1, 1))
    assert match_boxes(none, [], one, rule=rule).found.shape == (1,)  # type: ignore[arg-type]
    found = match_boxes(one, [0.5], none, rule=rule)  # type: ignore[arg-type]
    assert found.hit.tolist() == [-1]
    assert not found.duplicate.any()
