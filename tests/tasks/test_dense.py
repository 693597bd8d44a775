"""Sliding windows and mirror images: what a network says of each voxel is put together without a seam or a swap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medcnn.models.quiet import quiet_monai
from medcnn.tasks.dense import mirrored_maps, sliding_maps, turned_maps
from medcnn.tasks.segmentation import SegmentationTask
from medcnn.types import LabelClass, LabelSchema, MapPrediction

with quiet_monai():
    from monai.data.utils import compute_importance_map


def of_voxels(tiles: Tensor) -> Tensor:
    """A network that looks at each voxel alone: wherever a tile lies, it says the same."""
    return torch.cat([tiles.sigmoid(), tiles.square()], 1)


@settings(max_examples=25, deadline=None)
@given(
    size=st.lists(st.integers(3, 23), min_size=2, max_size=3),
    window=st.integers(4, 9),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.8]),
    batch=st.integers(1, 5),
)
def test_a_network_of_single_voxels_says_the_same_in_tiles(
    size: list[int], window: int, overlap: float, batch: int
) -> None:
    image = torch.randn(2, 1, *size)
    seen: list[Any] = []

    def maps(tiles: Tensor) -> Tensor:
        seen.append(tuple(tiles.shape))
        return of_voxels(tiles)

    found = sliding_maps(maps, image, (window,) * len(size), overlap=overlap, batch=batch)
    torch.testing.assert_close(found, of_voxels(image), rtol=1e-4, atol=1e-4)
    assert all(shape[2:] == (window,) * len(size) for shape in seen)
    assert len(seen) == 1 or all(shape[0] <= batch for shape in seen)


def test_tiles_are_weighted_by_a_gaussian_around_their_centre() -> None:
    """Against a sum worked tile by tile: a network that says where in its tile a voxel lies."""
    image = torch.zeros(1, 1, 8, 12)

    def place(tiles: Tensor) -> Tensor:
        return torch.arange(8.0).expand(tiles.shape[0], 1, 8, 8).clone()

    found = sliding_maps(place, image, (8, 8), overlap=0.5, batch=1)
    weights = np.asarray(compute_importance_map((8, 8), mode="gaussian"))
    weights = np.maximum(weights, 1e-3)
    total, mass = np.zeros((8, 12)), np.zeros((8, 12))
    for start in (0, 4):
        total[:, start : start + 8] += weights * np.arange(8.0)
        mass[:, start : start + 8] += weights
    np.testing.assert_allclose(found[0, 0].numpy(), total / mass, rtol=1e-4)


def test_maps_are_summed_in_main_memory_where_the_device_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.inferers import utils

    real, places = utils.sliding_window_inference, []

    def cramped(*args: Any, device: torch.device, **kwargs: Any) -> Any:
        places.append(device)
        if len(places) == 1:
            raise torch.OutOfMemoryError
        return real(*args, device=device, **kwargs)

    monkeypatch.setattr(utils, "sliding_window_inference", cramped)
    image = torch.randn(1, 1, 10, 10)
    torch.testing.assert_close(sliding_maps(of_voxels, image, (6, 6), overlap=0.5, batch=2), of_voxels(image))
    assert places == [image.device, torch.device("cpu")]


def left_and_right(image: Tensor) -> Tensor:
    """Background, "left" where a bright voxel lies in the first half of axis 0, "right" in the other; a lean to y."""
    half = torch.arange(image.shape[2]).view(-1, *(1,) * (image.ndim - 3)) < image.shape[2] / 2
    bright = image[:, 0] > 0
    lean = torch.linspace(0, 0.1, image.shape[3]).view(-1, *(1,) * (image.ndim - 4))
    return torch.stack([~bright + lean, (bright & half) + lean, (bright & ~half) + 2 * lean], 1).float()


@pytest.mark.parametrize("size", [(6, 8), (6, 4, 5)])
def test_paired_labels_change_places_in_mirror_images_along_the_first_axis(size: tuple[int, ...]) -> None:
    image = torch.randn(2, 1, *size)
    swap = (0, 2, 1)
    plain = left_and_right(image)
    mirrored = left_and_right(image.flip(2)).flip(2)
    both = left_and_right(image.flip((2, 3))).flip((2, 3))
    upside = left_and_right(image.flip(3)).flip(3)
    torch.testing.assert_close(mirrored_maps(left_and_right, image, (), swap), plain)
    torch.testing.assert_close(mirrored_maps(left_and_right, image, (0,), swap), (plain + mirrored[:, swap]) / 2)
    torch.testing.assert_close(mirrored_maps(left_and_right, image, (1,), swap), (plain + upside) / 2)
    expected = (plain + upside + (mirrored + both)[:, swap]) / 4
    torch.testing.assert_close(mirrored_maps(left_and_right, image, (0, 1), swap), expected)
    # A bright voxel in the first half is left in both, not half left and half right.
    chosen = mirrored_maps(left_and_right, image, (0,), swap).argmax(1)
    assert torch.equal(chosen, plain.argmax(1))


def test_without_pairs_every_channel_is_mirrored_as_it_is() -> None:
    image = torch.randn(1, 1, 6, 8)
    expected = (left_and_right(image) + left_and_right(image.flip(2)).flip(2)) / 2
    torch.testing.assert_close(mirrored_maps(left_and_right, image, (0,), None), expected)


def test_the_folds_maps_are_averaged_as_they_come() -> None:
    task = SegmentationTask(LabelSchema((LabelClass(1, "liver"),)))
    maps = np.random.default_rng(0).random((3, 2, 4, 5, 6)).astype(np.float32)
    expected = maps.mean(0)
    found = task.combine(MapPrediction(one.copy()) for one in maps)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6)
    np.testing.assert_array_equal(task.combine([MapPrediction(maps[0])]).probabilities, maps[0])


@pytest.mark.parametrize("size", [(6, 8), (6, 4, 5)])
def test_the_mean_over_quarter_turns_turns_with_the_image(size: tuple[int, ...]) -> None:
    image = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0))
    found = turned_maps(left_and_right, image)
    # Worked one by one with numpy's turns, which know nothing of torch's.
    single = [
        np.rot90(left_and_right(torch.from_numpy(np.rot90(image.numpy(), k, (2, 3)).copy())).numpy(), -k, (2, 3))
        for k in range(4)
    ]
    np.testing.assert_allclose(found.numpy(), np.mean(single, 0), atol=1e-6)
    assert not torch.allclose(found, left_and_right(image))
    turned = turned_maps(left_and_right, torch.rot90(image, 1, (2, 3)))
    torch.testing.assert_close(turned, torch.rot90(found, 1, (2, 3)))
