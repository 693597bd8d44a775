"""Decoded boxes: order, suppression, windows that slide, mirror images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from medcnn.models.detection_loss_modules import box_coder
from medcnn.tasks.box_decoding import Decoding, candidates, merged, mirrored_boxes, sliding_boxes
from medcnn.types import BoxesPrediction


def boxes_of_squares(image: Tensor) -> list[BoxesPrediction]:
    """What a perfect detector says of bright blocks on black: one box each, its brightness as the score."""
    found = []
    for one in image[:, 0].numpy():
        places = ndimage.find_objects(ndimage.label(one > 0)[0])
        corners = np.array([[s.start for s in p] + [s.stop for s in p] for p in places], np.float32)
        corners = corners.reshape(-1, 2 * one.ndim)
        scores = np.array([one[p].max() for p in places], np.float32)
        found.append(BoxesPrediction(corners, np.zeros(len(places), np.int64), scores))
    return found


def with_blocks(shape: tuple[int, ...], blocks: list[tuple[tuple[int, ...], int, float]]) -> Tensor:
    image = torch.zeros(1, 1, *shape)
    for start, side, value in blocks:
        image[(0, 0, *(slice(s, s + side) for s in start))] = value
    return image


def test_candidates_are_decoded_cut_and_sorted() -> None:
    anchors = torch.tensor([[0.0, 0, 8, 8], [20, 20, 40, 40], [60, 60, 70, 70]])
    boxes = torch.tensor([[-4.0, 1, 6, 9], [22, 18, 44, 39], [80, 80, 90, 90]])
    codes = box_coder(2).encode_single(boxes, anchors)[None]
    logits = torch.tensor([[[0.0, -9], [-9, 2], [3, -9]]])
    found = candidates(logits, codes, anchors, (64, 64), Decoding(least=0.1))[0]
    # The third lies outside of the image, the first is cut at its edge.
    assert found.labels.tolist() == [1, 0]
    assert found.scores == pytest.approx([1 / (1 + np.exp(-2)), 0.5])
    assert found.corners == pytest.approx(np.array([[22, 18, 44, 39], [0, 1, 6, 9]]), abs=1e-3)


@pytest.mark.parametrize("dims", [2, 3])
def test_suppression_is_by_class_unless_a_place_has_one(dims: int) -> None:
    corners = np.array([[0] * dims + [10] * dims, [1] * dims + [11] * dims, [40] * dims + [50] * dims], np.float32)
    found = BoxesPrediction(corners, np.array([0, 1, 0]), np.array([0.9, 0.8, 0.3], np.float32))
    assert len(Decoding(nms=0.3).chosen(found).scores) == 3
    assert Decoding(nms=0.3, exclusive=True).chosen(found).scores.tolist() == pytest.approx([0.9, 0.3])
    assert len(Decoding(nms=0.3, most=1).chosen(found).scores) == 1


@given(
    places=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=0, max_size=8, unique=True),
    overlap=st.sampled_from([0.25, 0.5, 0.7]),
)
@settings(max_examples=40, deadline=None)
def test_tiles_find_each_object_once(places: list[tuple[int, int]], overlap: float) -> None:
    blocks = [((x * 16 + 3, y * 16 + 5), 6, 0.5 + 0.05 * k) for k, (x, y) in enumerate(places)]
    image = with_blocks((100, 84), blocks)
    decoding = Decoding(overlap=overlap)
    found = sliding_boxes(boxes_of_squares, image, (32, 40), decoding)[0]
    whole = boxes_of_squares(image)[0]
    assert sorted(map(tuple, found.corners.tolist())) == sorted(map(tuple, whole.corners.tolist()))
    assert sorted(found.scores.tolist()) == pytest.approx(sorted(whole.scores.tolist()), abs=1e-5)


def test_tiles_serve_volumes_and_images_smaller_than_the_window_along_an_axis() -> None:
    image = with_blocks((70, 40, 12), [((2, 3, 4), 5, 0.9), ((60, 30, 2), 7, 0.8)])
    found = sliding_boxes(boxes_of_squares, image, (32, 32, 12), Decoding())[0]
    assert found.corners.tolist() == [[2, 3, 4, 7, 8, 9], [60, 30, 2, 67, 37, 9]]


def test_an_object_larger_than_the_overlap_comes_whole_from_the_tile_that_holds_it() -> None:
    image = with_blocks((64, 64), [((10, 10), 20, 0.9)])
    found = sliding_boxes(boxes_of_squares, image, (48, 48), Decoding(overlap=0.5))[0]
    assert found.corners[0].tolist() == [10, 10, 30, 30]


@given(axes=st.sets(st.integers(0, 2), min_size=1))
@settings(max_examples=10, deadline=None)
def test_mirror_images_give_the_same_boxes_back(axes: set[int]) -> None:
    image = with_blocks((30, 24, 18), [((2, 3, 4), 5, 0.9), ((20, 10, 2), 7, 0.8)])
    found = mirrored_boxes(boxes_of_squares, image, sorted(axes), Decoding())[0]
    assert found.corners == pytest.approx(boxes_of_squares(image)[0].corners, abs=1e-4)
    assert found.scores == pytest.approx([0.9, 0.8], abs=1e-5)


def test_what_one_of_two_views_found_counts_half() -> None:
    one = BoxesPrediction(np.array([[0, 0, 9, 9]], np.float32), np.array([0]), np.array([0.8], np.float32))
    assert merged(one, 2).scores.tolist() == pytest.approx([0.4])
