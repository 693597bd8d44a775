"""Post-processing is kept where the validation part says so, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medcnn.tasks.mask_postprocess import HOLES, LARGEST, LEAST, Pair, Spacing, choose, postprocessing
from medcnn.types import LabelClass, LabelSchema

SCHEMA = LabelSchema((LabelClass(1, "a"), LabelClass(2, "b")))
Map = NDArray[np.uint8]


def drawn(*boxes: tuple[int, tuple[slice, ...]], shape: tuple[int, ...] = (24, 24)) -> Map:
    made = np.zeros(shape, np.uint8)
    for value, box in boxes:
        made[box] = value
    return made


def box(x: int, y: int, width: int, height: int) -> tuple[slice, slice]:
    return (slice(x, x + width), slice(y, y + height))


def chosen(
    pairs: Sequence[tuple[Map, Map]], spacing: Spacing = (1.0, 1.0), schema: LabelSchema = SCHEMA
) -> dict[str, float]:
    return choose([Pair(reference, predicted, spacing) for reference, predicted in pairs], schema)


def test_what_is_right_already_stays() -> None:
    reference = drawn((1, box(2, 2, 8, 8)), (2, box(14, 14, 4, 4)))
    assert chosen([(reference, reference)]) == {}


def test_specks_of_one_label_go_and_its_two_true_parts_stay() -> None:
    reference = drawn((1, box(1, 1, 6, 6)), (1, box(14, 1, 5, 5)), (2, box(1, 14, 6, 6)))
    predicted = reference.copy()
    predicted[20:22, 20:22] = 1
    predicted[10, 20] = 1
    found = chosen([(reference, predicted)], spacing=(2.0, 0.5))
    # The largest alone would lose a true part. Of 4 and 1 px wrongly drawn, 5 px are the least that leaves none.
    assert found == {f"{LEAST}a": 5.0}
    np.testing.assert_array_equal(postprocessing(found, SCHEMA)(predicted, (2.0, 0.5)), reference)


def test_the_largest_component_stays_where_others_are_as_large_as_true_ones() -> None:
    first = drawn((2, box(1, 1, 9, 9)))
    second = drawn((2, box(1, 1, 3, 3)))
    noisy, small = first.copy(), second.copy()
    noisy[15:20, 15:20] = 2  # larger than the second case's true part
    small[20:22, 2:4] = 2
    found = chosen([(first, noisy), (second, small)])
    assert found == {f"{LARGEST}b": 1.0}
    np.testing.assert_array_equal(postprocessing(found, SCHEMA)(noisy), first)


def test_holes_are_filled_on_top_of_the_best() -> None:
    reference = drawn((1, box(2, 2, 10, 10)))
    predicted = reference.copy()
    predicted[5:7, 5:7] = 0
    predicted[20, 20] = 1
    found = chosen([(reference, predicted)])
    assert found[f"{HOLES}a"] == 1
    assert len(found) == 2
    np.testing.assert_array_equal(postprocessing(found, SCHEMA)(predicted), reference)
    ring = predicted.copy()
    assert f"{HOLES}a" not in chosen([(np.where(ring == 1, 1, 0).astype(np.uint8), ring)])


def test_another_label_inside_is_no_hole_and_unknown_voxels_do_not_count() -> None:
    reference = drawn((1, box(2, 2, 10, 10)), (2, box(5, 5, 3, 3)))
    assert chosen([(reference, reference)]) == {}
    speckled = reference.copy()
    speckled[20, 20] = 1
    unknown = reference.copy()
    unknown[18:, 18:] = 255
    assert chosen([(unknown, speckled)]) == {}
    assert chosen([(reference, speckled)]) != {}


def test_overlapping_labels_are_cleaned_each_in_its_channel() -> None:
    schema = LabelSchema(SCHEMA.classes, multilabel=True)
    reference = np.stack([drawn((1, box(2, 2, 8, 8))), drawn((1, box(4, 4, 8, 8)))])
    predicted = reference.copy()
    predicted[1, 20, 20] = 1
    found = chosen([(reference, predicted)], schema=schema)
    assert {key.partition(":")[2] for key in found} == {"b"}
    np.testing.assert_array_equal(postprocessing(found, schema)(predicted, (1.0, 1.0)), reference)


@pytest.mark.parametrize("spacing", [None, (1.0, 2.0)])
def test_a_label_that_is_nowhere_gets_nothing(spacing: Any) -> None:
    assert chosen([(drawn(), drawn())], spacing=spacing) == {}
    # Taking away all that is drawn of an absent label leaves its Dice undefined: no gain is claimed.
    assert chosen([(drawn(), drawn((1, box(3, 3, 2, 2))))], spacing=spacing) == {}
