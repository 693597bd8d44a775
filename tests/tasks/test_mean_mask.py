"""The mean training mask, segmentation's trivial baseline."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.tasks.mean_mask import SIDES, mean_training_mask
from medcnn.types import LabelClass, LabelSchema

SIDE = SIDES[2]


class Cached:
    """Label maps as the cache gives them."""

    def __init__(self, maps: list[NDArray[np.uint8] | None]) -> None:
        self.maps = maps

    def volume(self, place: int) -> tuple[None, NDArray[np.uint8] | None]:
        found = self.maps[place]
        return None, None if found is None else found.copy()


def schema(count: int, multilabel: bool = False) -> LabelSchema:
    return LabelSchema(tuple(LabelClass(k + 1, f"l{k}") for k in range(count)), multilabel=multilabel)


def found(maps: list[NDArray[np.uint8] | None], count: int = 1, multilabel: bool = False) -> Any:
    cached: Any = Cached(maps)
    return mean_training_mask(cached, range(len(maps)), schema(count, multilabel))


def columns(stop: int, label: int = 1) -> NDArray[np.uint8]:
    """A mask of the columns before ``stop``."""
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    mask[0, :stop] = label
    return mask


def test_the_best_share_is_taken_by_the_mean_dice_worked_by_hand() -> None:
    # Masks of 10, 10 and 40 columns: the 10 that all share give Dice 1, 1 and 20/50; the 40 give 20/50 twice and 1.
    mean = found([columns(10), columns(10), columns(40), None])
    assert mean.labels.shape == (1, SIDE, SIDE)
    assert int(mean.labels[0].any(1).sum()) == 10
    assert mean.dice[0] == pytest.approx((1 + 1 + 20 / 50) / 3)
    # With more large ones than small ones it is the other way round.
    large = found([columns(10), columns(40), columns(40)])
    assert int(large.labels[0].any(1).sum()) == 40
    assert large.dice[0] == pytest.approx((20 / 50 + 1 + 1) / 3)


def test_a_label_counts_where_it_is_and_the_more_frequent_one_stays() -> None:
    second = columns(20, 2)
    mean = found([columns(10), columns(10), second], 3)
    # Where they meet the first label was seen twice, the second once; the third never.
    assert int(mean.labels[0].any(1).sum()) == 10
    assert np.flatnonzero(mean.labels[1].any(1)).tolist() == list(range(10, 20))
    assert mean.dice.tolist() == [1, 1, 0]
    both = np.concatenate([columns(10), columns(20)])
    overlapping = found([both, both], 2, multilabel=True)
    assert [int(m.any(1).sum()) for m in overlapping.labels] == [10, 20]


def test_what_is_not_annotated_is_no_label() -> None:
    mask = columns(10)
    mask[0, 50:] = 255
    assert int(found([mask]).labels[0].any(1).sum()) == 10
    with pytest.raises(DataError, match="no voxel of the 2 training masks"):
        found([columns(0), columns(5, 255)])


def test_memory_does_not_grow_with_the_number_of_masks() -> None:
    def peak(count: int) -> int:
        maps: list[NDArray[np.uint8] | None] = [columns(10)] * count
        tracemalloc.start()
        found(maps)
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    assert peak(400) < 1.2 * peak(40)
