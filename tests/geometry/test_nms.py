"""Non-maximum suppression against torchvision's, MONAI's and the definition; weighted clusters by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import box_utils
from numpy.typing import NDArray
from torchvision.ops import nms

from medcnn.geometry.boxes import box_iou
from medcnn.geometry.nms import keep_best, merge_boxes, overlapping_pairs

Drawn = tuple[NDArray[np.float32], NDArray[np.float32]]


def draw(seed: int, count: int, dims: int, spread: float = 4.0) -> Drawn:
    """Boxes of very different sizes around a few places, with distinct scores."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 80, (max(1, count // 6), dims))
    middle = places[rng.integers(0, len(places), count)] + rng.normal(0, spread, (count, dims))
    half = np.exp(rng.uniform(0, 3, (count, 1))) * rng.uniform(0.6, 1.4, (count, dims)) / 2
    boxes = np.concatenate([middle - half, middle + half], 1).astype(np.float32)
    return boxes, rng.permutation(count).astype(np.float32) / count


def by_definition(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> list[int]:
    overlap, kept = box_iou(boxes, boxes), []
    for place in np.argsort(-scores, kind="stable"):
        if all(overlap[place, other] <= threshold for other in kept):
            kept.append(int(place))
    return kept


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.3, 0.5, 0.8]), st.sampled_from([2, 3]))
@settings(max_examples=60, deadline=None)
def test_keeps_what_the_definition_keeps(seed: int, threshold: float, dims: int) -> None:
    boxes, scores = draw(seed, 60, dims)
    assert keep_best(boxes, scores, threshold).tolist() == by_definition(boxes, scores, threshold)


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.5, 0.7]))
@settings(max_examples=20, deadline=None)
def test_equals_torchvision_and_monai(seed: int, threshold: float) -> None:
    boxes, scores = draw(seed, 80, 2)
    theirs = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert keep_best(boxes, scores, threshold).tolist() == theirs.tolist()
    boxes, scores = draw(seed, 80, 3)
    theirs = box_utils.non_max_suppression(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert keep_best(boxes, scores, threshold).tolist() == theirs.tolist()


@pytest.mark.parametrize("threshold", [0.02, 0.2, 0.6])
def test_no_pair_is_overlooked(threshold: float) -> None:
    boxes, _ = draw(7, 300, 3)
    overlap = np.triu(box_iou(boxes, boxes), 1)
    pairs, found = overlapping_pairs(boxes, threshold)
    assert sorted(map(tuple, pairs.tolist())) == sorted(map(tuple, np.argwhere(overlap > threshold).tolist()))
    assert np.allclose(found, overlap[pairs[:, 0], pairs[:, 1]])


def test_labels_do_not_suppress_each_other() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 9]], np.float32)
    assert keep_best(boxes, [0.9, 0.8, 0.7], 0.5).tolist() == [0]
    assert keep_best(boxes, [0.9, 0.8, 0.7], 0.5, labels=[0, 1, 1]).tolist() == [0, 1]


def test_equal_scores_go_in_their_order_and_flat_boxes_suppress_nothing() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 9]], np.float32)
    assert keep_best(boxes, [0.5, 0.5, 0.5], 0.5).tolist() == [0, 2]


def test_nothing_in_nothing_out() -> None:
    assert keep_best(np.zeros((0, 6), np.float32), [], 0.5).shape == (0,)
    assert len(merge_boxes(np.zeros((0, 4), np.float32), [], [], 0.5).scores) == 0


def test_a_long_chain_is_settled() -> None:
    """Each box overlaps the next: every second one stays."""
    low = np.arange(200, dtype=np.float32)
    boxes = np.stack([low, 0 * low, low + 2, 0 * low + 1], 1)
    assert keep_best(boxes, np.linspace(1, 0.1, 200), 0.3).tolist() == list(range(0, 200, 2))


def test_a_cluster_by_hand() -> None:
    """Two boxes of one object, seen by three views.

    Overlap with the best: 1 and 80 / 120. Weights: 1 * 100 and 2/3 * 100. Score:
    (0.9 * 100 + 0.6 * 66.67) / (166.67 + 1 * 83.33) = 0.52. Corners: weighted by 90 and 40.
    """
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], np.float32)
    found = merge_boxes(boxes, [0.9, 0.6, 0.3], [0, 0, 1], 0.3, views=[3, 3, 1])
    assert found.sizes.tolist() == [2, 1]
    assert found.labels.tolist() == [0, 1]
    assert found.scores[0] == pytest.approx(130 / 250)
    assert np.allclose(found.corners[0], [80 / 130, 0, 10 + 80 / 130, 10], atol=1e-5)
    assert found.scores[1] == pytest.approx(0.3)


@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
@settings(max_examples=30, deadline=None)
def test_clusters_hold_every_box_once_and_do_not_depend_on_the_order(seed: int, dims: int) -> None:
    boxes, scores = draw(seed, 50, dims)
    labels = np.random.default_rng(seed).integers(0, 2, 50)
    found = merge_boxes(boxes, scores, labels, 0.4, views=4)
    assert found.sizes.sum() == 50
    assert (found.scores <= scores.max() + 1e-6).all()
    turned = np.random.default_rng(seed + 1).permutation(50)
    again = merge_boxes(boxes[turned], scores[turned], labels[turned], 0.4, views=4)
    assert np.allclose(again.corners, found.corners, atol=1e-4)
    assert np.array_equal(again.sizes, found.sizes)
