"""Post-processing of label maps: hand-worked maps, and properties over random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medcnn.geometry.postprocess import Cleaning, clean_labels, clean_mask, voxels_of


def grid(*rows: str) -> np.ndarray:
    return np.array([[{".": 0, "?": 255}.get(c, c) for c in row] for row in rows], dtype=np.int64).astype(np.uint8)


MAP = grid(
    ".........",
    ".1111..2.",
    ".1.21..2.",
    ".1..1....",
    ".1111..1.",
    ".........",
)


def test_holes_are_filled_where_there_is_background_alone() -> None:
    found = clean_labels(MAP, {1: Cleaning(holes=True)})
    expected = MAP.copy()
    expected[2, 2] = expected[3, 2] = expected[3, 3] = 1
    assert np.array_equal(found, expected)
    unknown = np.where(MAP == 2, 255, MAP).astype(np.uint8)
    assert clean_labels(unknown, {1: Cleaning(holes=True)})[2, 3] == 255


def test_all_but_the_largest_component_becomes_background() -> None:
    found = clean_labels(MAP, {1: Cleaning(largest=True), 2: Cleaning(largest=True)})
    assert found[4, 7] == 0
    assert found[2, 3] == 0
    assert (found == 2).sum() == 2
    assert (found == 1).sum() == (MAP == 1).sum() - 1


@pytest.mark.parametrize(("least", "left"), [(1, 3), (2, 2), (3, 0)])
def test_components_below_the_least_size_are_taken_away(least: int, left: int) -> None:
    found = clean_labels(MAP, {2: Cleaning(least=least)})
    assert (found == 2).sum() == left
    assert np.array_equal(found == 1, MAP == 1)


def test_what_is_too_small_goes_before_the_largest_is_kept() -> None:
    assert not clean_mask(MAP == 2, Cleaning(least=3, largest=True)).any()


def test_voxels_that_share_a_corner_belong_together() -> None:
    diagonal = np.eye(4, dtype=bool)
    assert np.array_equal(clean_mask(diagonal, Cleaning(least=4, largest=True)), diagonal)


def test_overlapping_labels_are_changed_one_by_one() -> None:
    channels = np.stack([MAP == 1, np.ones_like(MAP)]).astype(np.uint8)
    channels[0, 0, 0] = 255
    found = clean_labels(channels, {1: Cleaning(largest=True, holes=True)}, overlapping=True)
    assert np.array_equal(found[1], channels[1])
    assert found[0, 0, 0] == 255
    assert found[0].sum() - 255 == 16


def test_a_hole_of_a_volume_is_closed_on_all_sides() -> None:
    shell = np.ones((5, 5, 5), bool)
    shell[1:4, 1:4, 1:4] = False
    assert clean_mask(shell, Cleaning(holes=True)).all()
    shell[2, 2, 0] = False  # a way out
    assert clean_mask(shell, Cleaning(holes=True)).sum() == shell.sum()


MAPS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, max_side=7), elements=st.sampled_from([0, 1, 2, 255])
)
CLEANINGS = st.builds(Cleaning, st.integers(0, 5), st.booleans(), st.booleans())


@settings(max_examples=80, deadline=None)
@given(labels=MAPS, first=CLEANINGS, second=CLEANINGS)
def test_post_processing_is_settled_and_leaves_the_rest_alone(
    labels: np.ndarray, first: Cleaning, second: Cleaning
) -> None:
    before = labels.copy()
    cleanings = {1: first, 2: second}
    found = clean_labels(labels, cleanings)
    assert np.array_equal(labels, before)
    assert np.array_equal(found == 255, labels == 255)
    # A voxel never goes from one label to the other, unless the one gave it up.
    if not first.holes and not second.holes:
        assert not ((found != labels) & (found != 0)).any()
    if first.largest and not first.holes:
        structure = np.ones((3,) * labels.ndim)
        assert ndimage.label(found == 1, structure)[1] == min(1, int((found == 1).any()))
    assert np.array_equal(clean_labels(labels, {1: Cleaning(), 2: Cleaning(least=1)}), labels)


@pytest.mark.parametrize(
    ("volume", "spacing", "voxels"),
    [(10.0, None, 10), (10.0, (1.0, 1.0, 2.0), 5), (0.3, (0.1, 1.0, 1.0), 3), (7.0, (2.0, 2.0), 2), (0.0, None, 0)],
)
def test_a_least_volume_is_so_many_voxels(volume: float, spacing: tuple[float, ...] | None, voxels: int) -> None:
    assert voxels_of(volume, spacing) == voxels
