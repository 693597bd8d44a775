"""What a segmentation makes of the probabilities of several networks."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models.dense_losses import dice_ce
from medcnn.recipe.schema import AugmentSection, InputSection
from medcnn.tasks.base import Placement, TrainingFacts
from medcnn.tasks.mask_predictions import decided_labels
from medcnn.tasks.segmentation import SegmentationTask
from medcnn.types import Dataset, LabelClass, LabelSchema, MapPrediction

CLASSES = (LabelClass(1, "a"), LabelClass(2, "b"))
# Twice as fine as the network's grid, and moved.
MATRIX = np.array([[0.5, 0, 0.25], [0, 0.5, -1], [0, 0, 1]])
SHAPE = (15, 18)


def maps(seed: int, channels: int) -> MapPrediction:
    drawn = np.random.default_rng(seed).random((channels, 8, 8)).astype(np.float32)
    return MapPrediction(drawn / drawn.sum(0))


@pytest.mark.parametrize("overlapping", [False, True])
def test_an_ensemble_decides_on_the_mean_probability_in_the_images_own_grid(overlapping: bool) -> None:
    task = SegmentationTask(LabelSchema(CLASSES, multilabel=overlapping))
    networks = [maps(seed, task.outputs) for seed in range(3)]
    before = [network.probabilities for network in networks]
    placement, itself = Placement(MATRIX, SHAPE), Placement(np.eye(3), SHAPE)
    voted = [decided_labels(network, placement, task.schema) for network in networks]
    together = task.combine(deepcopy(networks))
    apart = task.combine([task.placed(network, placement) for network in networks])
    np.testing.assert_allclose(together.probabilities, np.mean(before, axis=0), rtol=1e-5)
    # To average and then resample is to resample and then average: the label is decided once, and last.
    np.testing.assert_allclose(task.placed(together, placement).probabilities, apart.probabilities, atol=1e-6)
    labels = decided_labels(together, placement, task.schema)
    assert labels.shape == ((2, *SHAPE) if overlapping else SHAPE)
    assert (labels == decided_labels(apart, itself, task.schema)).mean() > 0.999
    assert any((labels != vote).any() for vote in voted)


def test_what_no_network_saw_is_background() -> None:
    task = SegmentationTask(LabelSchema(CLASSES))
    outside = Placement(np.array([[1.0, 0, -4], [0, 1.0, 0], [0, 0, 1]]), (16, 8))
    placed = task.placed(maps(1, 3), outside).probabilities
    np.testing.assert_array_equal(placed[0, :3], 1)
    np.testing.assert_array_equal(placed[1:, :3], 0)


def test_turned_images_are_averaged_where_the_recipe_says_so_and_the_size_allows() -> None:
    class Left(nn.Module):
        """Background everywhere but in the first half of axis 0."""

        def forward(self, image: Tensor) -> Tensor:
            first = torch.arange(image.shape[2]).view(-1, 1) < image.shape[2] / 2
            return 50.0 * torch.stack([~first.expand(image.shape[2:]), first.expand(image.shape[2:])])[None].float()

    schema = LabelSchema(CLASSES[:1])
    task = SegmentationTask.create(Dataset("d", (), {"mask": schema}), turns=True)
    model = SegmentationTask.restore(task.state()).build(Left(), dice_ce(), TrainingFacts()).eval()
    model.adopt(InputSection(size=(4, 4), augment=AugmentSection(rotate=180)))
    found = model.maps(torch.zeros(1, 1, 4, 4))[0, 1]
    # Each corner lies in the first half in two of four turns, and so does every other voxel.
    torch.testing.assert_close(found, torch.full((4, 4), 0.5))
    plain = SegmentationTask(schema).build(Left(), dice_ce(), TrainingFacts()).eval()
    plain.adopt(InputSection(size=(4, 4)))
    assert plain.maps(torch.zeros(1, 1, 4, 4))[0, 1, :, 0].round().tolist() == [1, 1, 0, 0]
    with pytest.raises(ModelError, match="4 x 6: turned by a quarter it is another size"):
        model.adopt(InputSection(size=(4, 6)))
    with pytest.raises(ModelError, match="1 x 3: turned by a quarter the image is stretched"):
        model.adopt(InputSection(size=(4, 4), spacing=(1.0, 3.0)))
    with pytest.raises(ModelError, match="by 20 degrees at most"):
        model.adopt(InputSection(size=(4, 4), augment=AugmentSection(rotate=20)))
    with pytest.raises(ModelError, match="by 0 degrees at most"):
        model.adopt(InputSection(size=(4, 4), augment=None))
    # A model file does not hold how training changed images.
    loaded = SegmentationTask.restore(task.state()).build(Left(), nn.Identity(), TrainingFacts())
    loaded.adopt(InputSection(size=(4, 4)))
