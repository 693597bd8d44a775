"""Boxes follow their images through crops and changes, like the voxels that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.data.augment import Augmenter
from medcnn.data.batch import BOX_LABELS, BOXES, IGNORED_BOX, LABELS, NO_BOX, Batch
from medcnn.data.box_moves import cropped, moved
from medcnn.data.patches import PatchDraw
from medcnn.recipe.schema import AugmentSection

NAN = float("nan")
STILL: dict[str, Any] = {"rotate": 0, "zoom": 0, "shift": 0, "brightness": 0, "contrast": 0, "noise": 0, "blur": 0}


def batch_of(boxes: list[list[float]], shape: tuple[int, ...], *, masks: bool = False) -> Batch:
    """One image that is 1 in its boxes, the boxes, and on request the map of instances."""
    dims = len(shape)
    image, labels = torch.zeros(1, 1, *shape), torch.zeros(1, 1, *shape, dtype=torch.uint8)
    for number, box in enumerate(boxes, 1):
        where = tuple(slice(int(a), int(b)) for a, b in zip(box[:dims], box[dims:], strict=True))
        image[(0, 0, *where)] = 1
        labels[(0, 0, *where)] = number
    targets = {
        BOXES: torch.tensor([[*boxes, [NAN] * 2 * dims]]),
        BOX_LABELS: torch.tensor([[0] * len(boxes) + [NO_BOX]]),
    }
    return Batch(image, {**targets, **({LABELS: labels} if masks else {})}, torch.arange(1))


def extent(image: torch.Tensor, least: float) -> list[float]:
    """Corners around what is brighter than a value."""
    found = (image > least).nonzero()
    return [*found.amin(0).tolist(), *(found.amax(0) + 1).tolist()]


@given(axes=st.sets(st.integers(0, 2)), epoch=st.integers(0, 30), size=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_mirrored_boxes_are_those_of_the_mirrored_voxels(axes: set[int], epoch: int, size: int) -> None:
    augmenter = Augmenter(AugmentSection(**STILL, probability=1), tuple(axes), seed=3)
    batch = batch_of([[2, 5, 1, 2 + size, 7, 2]], (16, 12, 9))
    found = augmenter(batch, epoch=epoch)
    assert found.targets[BOXES][0, 0].tolist() == extent(found.image[0, 0], 0.5)
    assert found.targets[BOXES][0, 1].isnan().all()


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("shape", [(64, 48), (40, 32, 24)])
def test_turned_zoomed_and_shifted_boxes_hold_their_voxels(shape: tuple[int, ...], masks: bool) -> None:
    section = AugmentSection(**{**STILL, "rotate": 25, "zoom": 0.2, "shift": 0.05}, probability=1)
    middle = [n // 2 for n in shape]
    box = [m - 4 for m in middle] + [m + 5 for m in middle]
    for epoch in range(12):
        found = Augmenter(section, (0,), seed=1)(batch_of([box], shape, masks=masks), epoch=epoch)
        seen = extent(found.image[0, 0], 0.5)
        got = found.targets[BOXES][0, 0].tolist()
        dims = len(shape)
        for axis in range(dims):
            # The hull of the corners holds the turned voxels; the instance's extent is them, to a voxel.
            assert got[axis] <= seen[axis] + 1.01
            assert got[axis + dims] >= seen[axis + dims] - 1.01
        if masks:
            assert np.abs(np.array(got) - np.array(seen)).max() <= 1.01


def test_instances_give_tighter_boxes_than_hulls_of_corners() -> None:
    section = AugmentSection(**{**STILL, "rotate": 45}, probability=1)
    box = [20.0, 20.0, 44.0, 44.0]
    disc = (torch.stack(torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")) - 31.5).norm(dim=0) < 12
    hulls, extents = [], []
    for epoch in range(8):
        for masks, sizes in ((False, hulls), (True, extents)):
            batch = batch_of([box], (64, 64), masks=masks)
            if masks:
                batch.targets[LABELS] = disc[None, None].to(torch.uint8)
            found = Augmenter(section, (), seed=2)(batch, epoch=epoch).targets[BOXES][0, 0]
            sizes.append(float(found[2] - found[0]))
    # A disc keeps its width under any rotation, the box around it does not.
    assert max(extents) <= 25.01
    assert max(hulls) > 28


def test_what_an_edge_cuts_is_kept_ignored_or_gone() -> None:
    boxes = torch.tensor([[[2.0, 2.0, 6.0, 6.0], [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 2.0, 2.0], [NAN] * 4]])
    targets = {BOXES: boxes, BOX_LABELS: torch.tensor([[1, 1, 1, NO_BOX]])}
    cropped(targets, np.array([[3, 2]]), (8, 8))
    # Three quarters, a quarter times a half, and nothing of them are inside.
    assert targets[BOX_LABELS].tolist() == [[1, IGNORED_BOX, NO_BOX, NO_BOX]]
    assert targets[BOXES][0, 0].tolist() == [0, 0, 3, 4]
    assert targets[BOXES][0, 1].tolist() == [0, 0, 1, 2]
    assert targets[BOXES][0, 2:].isnan().all()


def test_an_instance_that_left_the_image_has_no_box() -> None:
    batch = batch_of([[0.0, 0.0, 4.0, 4.0], [10.0, 10.0, 14.0, 14.0]], (16, 16), masks=True)
    targets = dict(batch.targets)
    before = targets[LABELS]
    after = before.clone()
    after[after == 1] = 0
    targets[LABELS] = after
    moved(targets, before, np.array([[[1, 0, 0.5], [0, 1, 0.5]]], np.float32), (16, 16))
    assert targets[BOX_LABELS].tolist() == [[NO_BOX, 0, NO_BOX]]
    assert targets[BOXES][0, 0].isnan().all()


@given(epoch=st.integers(0, 1000), key=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_patches_hold_the_box_that_they_are_drawn_for(epoch: int, key: int) -> None:
    draw = PatchDraw((16, 16, 8), foreground=1.0, seed=5)
    boxes = np.array([[20, 3, 9, 26, 9, 12], [np.nan] * 6], np.float32)
    start = np.array(draw.starts(0, None, (40, 24, 20), key, epoch, boxes=boxes))
    assert (start >= 0).all()
    assert (start + np.array(draw.size) <= (40, 24, 20)).all()
    assert (start <= boxes[0, :3]).all()
    assert (start + np.array(draw.size) >= boxes[0, 3:]).all()


def test_patches_of_images_without_boxes_lie_anywhere() -> None:
    draw = PatchDraw((4, 4), foreground=1.0, seed=5)
    none = np.full((1, 4), np.nan, np.float32)
    assert len({draw.starts(0, None, (32, 32), key, 0, boxes=none) for key in range(50)}) > 20
