"""Connected components and their matching, against hand-worked values and another implementation."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medcnn.geometry.components import (
    component_overlap,
    components,
    largest,
    match_components,
    without_holes,
    without_small,
)


def picture(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def test_boxes_cover_the_voxels_from_edge_to_edge() -> None:
    mask = np.zeros(8, bool)
    mask[3:6] = True
    found = components(np.stack([mask, np.zeros(8, bool)]))
    # Voxels 3..5 of the second axis, voxel 0 of the first.
    assert found.corners.tolist() == [[0, 3, 1, 6]]
    assert found.sizes.tolist() == [3]


def test_a_shared_corner_connects_unless_faces_are_asked_for() -> None:
    mask = picture("#..", ".#.", "...")
    assert components(mask).count == 1
    assert components(mask, diagonal=False).count == 2


def test_twenty_six_neighbours_in_3d() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert components(mask).count == 1
    assert components(mask, diagonal=False).count == 2


def test_an_empty_mask_has_no_components() -> None:
    found = components(np.zeros((3, 4, 5), bool))
    assert (found.count, found.corners.shape) == (0, (0, 6))


def test_the_largest_one_and_those_that_are_large_enough() -> None:
    mask = picture("##..#", "....#", "#...#")
    assert largest(mask).tolist() == picture("....#", "....#", "....#").tolist()
    assert without_small(mask, 2).tolist() == picture("##..#", "....#", "....#").tolist()


def test_holes_are_filled_and_bays_are_not() -> None:
    assert without_holes(picture("###", "#.#", "###")).all()
    bay = picture("###", "#..", "###")
    assert (without_holes(bay) == bay).all()


def test_overlap_is_intersection_over_union() -> None:
    a = components(picture("####.", ".....", "##..."))
    b = components(picture("..###", ".....", "##..."))
    assert component_overlap(a, b).tolist() == [[2 / 5, 0], [0, 1]]


def test_a_prediction_over_two_lesions_stands_for_one_of_them() -> None:
    reference = components(picture("##.##"))
    merged = components(picture("#####"))
    found = match_components(reference, merged)
    assert len(found.pairs) == 1
    assert found.overlap.tolist() == [2 / 5]


def test_more_pairs_come_before_better_pairs() -> None:
    # The first prediction overlaps the second lesion more, but the second prediction can serve that one alone.
    reference = components(picture("####.##########"))
    predicted = components(picture("..########..###"))
    found = match_components(reference, predicted, least=0.1)
    assert found.pairs.tolist() == [[0, 0], [1, 1]]
    assert found.overlap.tolist() == [2 / 10, 3 / 10]


def test_many_components_are_matched_without_a_table_of_all_pairs() -> None:
    mask = np.zeros((400, 400), bool)
    mask[::2, ::2] = True
    other = mask.copy()
    other[:, 200:] = False
    other[0, 0], other[0, 3] = False, True
    found = match_components(components(mask), components(other), least=1.0)
    # 40,000 by 19,998 components would make a table of 6.4 GB. One is gone, and two have become one.
    assert len(found.pairs) == 20_000 - 3
    assert (found.overlap == 1).all()


masks = arrays.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 6)))


@settings(max_examples=80, deadline=None)
@given(masks, st.data())
def test_as_many_pairs_as_any_one_to_one_matching_has(a: Any, data: Any) -> None:
    b = data.draw(arrays.arrays(bool, a.shape))
    reference, predicted = components(a), components(b)
    if not 0 < max(reference.count, predicted.count) <= 6:
        return
    found = match_components(reference, predicted, least=0.2)
    overlap = component_overlap(reference, predicted)
    if overlap.shape[0] > overlap.shape[1]:
        overlap = overlap.T
    best = (0, 0.0)
    for order in permutations(range(overlap.shape[1]), overlap.shape[0]):
        values = [overlap[i, j] for i, j in enumerate(order) if overlap[i, j] >= 0.2]
        best = max(best, (len(values), sum(values)))
    assert len(found.pairs) == best[0]
    assert found.overlap.sum() == pytest.approx(best[1])
    assert len(set(found.pairs[:, 0])) == len(set(found.pairs[:, 1])) == len(found.pairs)


@settings(max_examples=50, deadline=None)
@given(masks)
def test_components_fill_the_mask_and_their_boxes_hold_them(mask: Any) -> None:
    found = components(mask)
    assert ((found.labels > 0) == mask).all()
    assert found.sizes.sum() == mask.sum()
    for number, box in enumerate(found.corners.astype(int), 1):
        inside = found.labels[box[0] : box[2], box[1] : box[3]] == number
        assert inside.sum() == found.sizes[number - 1]
        assert inside.any(1).all()
        assert inside.any(0).all()
