"""Boxes against MONAI and torchvision, and on grids that are turned, mirrored and oblique."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import box_utils
from numpy.typing import NDArray

from medcnn.geometry.boxes import (
    box_iou,
    boxes_from_world,
    boxes_to_world,
    check_boxes,
    clip_boxes,
    contains,
    cut_boxes,
    map_boxes,
    paired_iou,
    volumes,
)
from medcnn.geometry.components import components


def draw(seed: int, count: int, dims: int, size: float = 60.0, most: float = 20.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, size, (count, dims))
    return np.concatenate([low, low + rng.uniform(0.5, most, (count, dims))], 1).astype(np.float32)


@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
@settings(max_examples=30, deadline=None)
def test_overlap_equals_monai(seed: int, dims: int) -> None:
    a, b = draw(seed, 12, dims), draw(seed + 1, 9, dims)
    assert np.allclose(box_iou(a, b), box_utils.box_iou(a, b), atol=1e-5)
    assert np.allclose(volumes(a), box_utils.box_area(a), rtol=1e-5)
    assert np.allclose(paired_iou(a[:9], b), np.diag(box_iou(a[:9], b)))


def test_flat_boxes_overlap_nothing() -> None:
    flat = np.array([[3, 3, 3, 6]], np.float32)
    assert box_iou(flat, flat).tolist() == [[0.0]]


def test_the_lower_edge_belongs_to_a_box() -> None:
    box = np.array([[2, 2, 5, 5]], np.float32)
    assert contains(box, [[2, 2], [5, 3], [4.9, 4.9]]).tolist() == [[True, False, True]]


def test_shapes_and_values_are_checked() -> None:
    assert check_boxes([], 3).shape == (0, 6)
    with pytest.raises(ValueError, match="2D are"):
        check_boxes([[1, 2, 3]], 2)
    with pytest.raises(ValueError, match="finite"):
        check_boxes([[1, 2, 3, float("nan")]], 2)


def test_boxes_are_cut_at_the_edge_and_kept_by_their_share() -> None:
    boxes = np.array([[-4, 0, 4, 4], [-6, 0, 2, 4], [90, 90, 99, 99]], np.float32)
    assert clip_boxes(boxes, (50, 50))[0].tolist() == [0, 0, 4, 4]
    cut, kept = cut_boxes(boxes, (50, 50))
    assert kept.tolist() == [True, False, False]
    assert cut[1].tolist() == [0, 0, 2, 4]


@pytest.mark.parametrize("dims", [2, 3])
def test_a_mask_and_its_box_move_together(dims: int) -> None:
    """The grid is mirrored, its axes change places and it is shifted: the box stays that of the mask."""
    rng = np.random.default_rng(dims)
    for _ in range(20):
        shape = rng.integers(6, 12, dims)
        mask = np.zeros(shape, bool)
        low = [int(rng.integers(0, n - 1)) for n in shape]
        mask[tuple(slice(a, int(rng.integers(a + 1, n + 1))) for a, n in zip(low, shape, strict=True))] = True
        order = rng.permutation(dims)
        moved = mask.transpose(order)
        matrix = np.eye(dims + 1)[[*order, dims]]
        for axis in range(dims):
            if rng.random() < 0.5:
                moved = np.flip(moved, axis)
                turn = np.eye(dims + 1)
                turn[axis, axis], turn[axis, dims] = -1, moved.shape[axis] - 1
                matrix = turn @ matrix
        boxes = map_boxes(components(mask).corners, matrix)
        assert np.array_equal(boxes, components(np.ascontiguousarray(moved)).corners)
        assert np.array_equal(map_boxes(boxes, np.linalg.inv(matrix)), components(mask).corners)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_world_and_back(seed: int) -> None:
    """Exact where the axes of the grid are the world's, a hull that holds the box where they are not."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([draw(seed, 5, 3), np.array([[4, 5, 6, 5, 6, 7]], np.float32)])
    affine = np.eye(4)
    affine[:3, :3] = np.diag(rng.uniform(0.3, 5, 3) * rng.choice([-1, 1], 3))[rng.permutation(3)]
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    assert np.allclose(boxes_from_world(boxes_to_world(boxes, affine), affine), boxes, atol=1e-3)
    oblique = affine.copy()
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    oblique[:3, :3] = turn @ affine[:3, :3]
    back = boxes_from_world(boxes_to_world(boxes, oblique), oblique)
    assert (back[:, :3] <= boxes[:, :3] + 1e-2).all()
    assert (back[:, 3:] >= boxes[:, 3:] - 1e-2).all()


def test_the_half_voxel() -> None:
    """A mask of the voxels 3 to 5 of 2 mm, whose first centre lies at 10 mm, reaches from 15 to 21 mm."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 10
    world = boxes_to_world(np.array([[3, 3, 3, 6, 6, 6]], np.float32), affine)
    assert world.tolist() == [[15, 15, 15, 21, 21, 21]]


def test_resampling_scales_edges_not_centres() -> None:
    """Twice as fine: voxel centres map by 2 i + 0.5, and the box 3 to 6 becomes 6 to 12."""
    matrix = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    assert map_boxes(np.array([[3, 3, 6, 6]], np.float32), matrix).tolist() == [[6, 6, 12, 12]]
