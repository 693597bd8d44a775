"""RetinaNet: anchors, shapes of its outputs, what it refuses, and its loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medcnn.errors import ModelError
from medcnn.models.anchors import fit_anchors, reached, shape_iou
from medcnn.models.build import build_network
from medcnn.models.detection_loss_modules import NOTHING, SILENT, Matching, box_coder, paired_iou
from medcnn.models.detection_losses import retinanet_loss

SMALL: dict[str, Any] = {"filters": (8, 8, 8, 8), "pyramid_filters": 8}


def detector(size: tuple[int, ...], classes: int = 2, **options: Any) -> Any:
    return build_network(
        "retinanet",
        {**SMALL, **options},
        spatial_dims=len(size),
        in_channels=1,
        outputs=classes,
        size=size,
        boxes=True,
    )


@pytest.mark.parametrize("size", [(64, 48), (50, 37), (32, 32, 32), (40, 33, 35)])
def test_there_are_as_many_outputs_as_anchors(size: tuple[int, ...]) -> None:
    network = detector(size, top_level=True)
    logits, codes = network.eval()(torch.zeros(2, 1, *size))
    anchors, places = network.anchors(size)
    assert logits.shape == (2, len(anchors), 2)
    assert codes.shape == (2, len(anchors), 2 * len(size))
    assert len(anchors) == 3 * sum(places)
    assert len(places) == 4


def test_anchors_stand_where_their_features_look() -> None:
    # Far from the edges, the pixels that an output depends on the most, over many networks, lie around the middle of
    # its anchor.
    places = (66, 67, 89)
    weights = torch.zeros(len(places), 96, 96)
    with torch.random.fork_rng():
        for seed in range(12):
            torch.manual_seed(seed)
            network = detector((96, 96), levels=(2,), anchors=((8.0, 8.0),)).eval()
            for k, place in enumerate(places):
                image = torch.randn(1, 1, 96, 96).requires_grad_()
                network(image)[0][0, place].sum().backward()
                assert image.grad is not None
                seen = image.grad[0, 0].abs() ** 2
                weights[k] += seen / seen.sum()
    anchors = network.anchors((96, 96))[0]
    middles = (anchors[:, :2] + anchors[:, 2:]) / 2
    line = torch.arange(96) + 0.5
    for weight, place in zip(weights, places, strict=True):
        found = [float((weight.sum(1 - axis) * line).sum() / weight.sum()) for axis in (0, 1)]
        assert np.abs(np.array(found) - middles[place].numpy()).max() < 4


def test_the_stem_may_spare_an_axis() -> None:
    network = detector((32, 32, 16), stem_stride=(2, 2, 1))
    assert network.strides[0] == (8, 8, 4)


def test_the_prior_is_what_every_anchor_starts_with() -> None:
    network = detector((64, 64), prior=0.05).eval()
    logits = network(torch.zeros(1, 1, 64, 64))[0]
    assert float(logits.detach().sigmoid().mean()) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"filters": (8, 8)}, "4, one a stage"),
        ({"stem_kernel": 4}, "odd"),
        ({"levels": (2, 4)}, "neighbouring"),
        ({"levels": (4, 5)}, "neighbouring"),
        ({"stem_stride": (2, 2, 2)}, "one an axis"),
        ({"anchors": ((8.0, 8.0, 8.0),)}, "2 numbers"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError) as caught:
        detector((64, 64), **options)
    assert says in caught.value.todo


def test_an_image_smaller_than_the_coarsest_step_is_refused() -> None:
    with pytest.raises(ModelError, match="smaller than the step of the coarsest level, 32 x 32"):
        detector((24, 64))


def test_only_detectors_serve_detection_and_only_that() -> None:
    with pytest.raises(ModelError, match="no detector"):
        build_network("small_resnet", {}, spatial_dims=2, in_channels=1, outputs=2, size=(64, 64), boxes=True)
    with pytest.raises(ModelError, match="is a detector"):
        build_network("retinanet", SMALL, spatial_dims=2, in_channels=1, outputs=2, size=(64, 64))


def test_anchors_find_the_sizes_of_boxes() -> None:
    # Two shapes, each at the finest level and twice as large.
    shapes = np.array([[6.0, 12.0], [14.0, 10.0]])
    sizes = np.concatenate([shapes * scale for scale in (1, 2)] * 20)
    found = fit_anchors(sizes, 2, (1, 2))
    assert reached(sizes, np.concatenate([found * s for s in (1, 2)]))[0.7] == 1
    assert shape_iou(found, shapes).max(0) == pytest.approx([1, 1], abs=0.15)


@given(st.lists(st.tuples(st.floats(1, 200), st.floats(1, 200)), min_size=1, max_size=30), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_anchors_are_finite_for_any_boxes(sizes: list[tuple[float, float]], count: int) -> None:
    found = fit_anchors(np.array(sizes), count, (1, 2, 4))
    assert found.shape == (count, 2)
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_boxes_come_back_from_their_codes() -> None:
    anchors = torch.tensor([[0.0, 0, 8, 8], [10, 10, 30, 22]])
    boxes = torch.tensor([[1.0, -2, 9, 13], [12, 9, 20, 40]])
    coder = box_coder(2)
    assert torch.allclose(coder.decode_single(coder.encode_single(boxes, anchors), anchors), boxes, atol=1e-4)


def grid(step: int, side: float, size: int) -> Tensor:
    line = torch.arange(0, size, step) + 0.5
    middles = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    return torch.cat([middles - side / 2, middles + side / 2], 1)


def test_max_iou_matches_by_its_thresholds_and_gives_every_box_its_best() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [30, 30, 40, 40], [100, 100, 110, 110]])
    boxes = torch.tensor([[0.0, 0, 10, 11], [34, 34, 44, 44]])
    matched = Matching(False, 4, False, 0.7, 0.5)(boxes, anchors, [4])
    # IoU with the first box: 10/11 and 11/20; the third anchor is the best of the second box, at 0.22.
    assert matched.tolist() == [0, SILENT, 1, NOTHING]


def test_atss_matches_anchors_around_the_box() -> None:
    anchors = grid(4, 8, 64)
    boxes = torch.tensor([[20.0, 20, 29, 28]])
    matched = Matching(True, 4, True, 0, 0)(boxes, anchors, [len(anchors)])
    hit = anchors[matched == 0]
    assert 1 <= len(hit) <= 4
    middles = (hit[:, :2] + hit[:, 2:]) / 2
    assert ((middles > 20) & (middles < 29)).all()


@pytest.mark.parametrize("classes", ["focal", "quality_focal", "hard_negatives"])
@pytest.mark.parametrize("boxes", ["smooth_l1", "giou"])
def test_the_right_answer_costs_least(classes: Any, boxes: Any) -> None:
    anchors = grid(8, 10, 64)
    reference = torch.tensor([[[20.0, 18, 30, 29]], [[float("nan")] * 4]])
    labels = torch.tensor([[1], [-1]])
    loss = retinanet_loss(classes=classes, boxes=boxes)
    matched = loss.matching(reference[0], anchors, [64])
    good, codes = torch.full((2, 64, 2), -8.0), torch.zeros(2, 64, 4)
    good[0, matched == 0, 1] = 8.0
    codes[0, matched == 0] = box_coder(2).encode_single(
        reference[0].expand(int((matched == 0).sum()), 4), anchors[matched == 0]
    )
    best = loss(good, codes, anchors, [64], reference, labels)
    assert float(best["classes"]) < 0.01
    assert float(best["boxes"]) < 1e-4
    swapped = loss(good[..., [1, 0]], codes + 0.5, anchors, [64], reference, labels)
    assert float(swapped["classes"]) > 1
    assert float(swapped["boxes"]) > 0.05


def test_hits_learn_how_well_their_boxes_fit() -> None:
    # By hand: of two boxes of 10 x 10, one moved by 5, 50 is shared and 150 covered.
    reference = torch.tensor([[[10.0, 10, 20, 20]]])
    anchors = torch.tensor([[10.0, 10, 20, 20], [15.0, 10, 25, 20], [40.0, 40, 50, 50]])
    loss = retinanet_loss(matcher="max_iou", foreground_iou=0.3, background_iou=0.2, classes="quality_focal")
    assert torch.allclose(paired_iou(anchors, reference[0].expand(3, 4)), torch.tensor([1.0, 1 / 3, 0.0]))
    labels, codes = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 3, 4)

    def cost(*chances: float) -> float:
        logits = torch.logit(torch.tensor(chances)).view(1, 3, 1)
        return float(loss(logits, codes, anchors, [3], reference, labels)["classes"])

    assert cost(1 - 1e-7, 1 / 3, 1e-7) < 1e-4
    assert min(cost(0.9, 1 / 3, 1e-7), cost(1 - 1e-7, 0.4, 1e-7), cost(1 - 1e-7, 0.25, 1e-7)) > cost(
        1 - 1e-7, 1 / 3, 1e-7
    )
    # |t - p| ** 2 times the cross-entropy, over two hits.
    entropy = -(np.log(0.8) / 3 + np.log(0.2) * 2 / 3)
    assert cost(1 - 1e-7, 0.8, 1e-7) == pytest.approx((0.8 - 1 / 3) ** 2 * entropy / 2, rel=1e-3)


@pytest.mark.parametrize("classes", ["focal", "quality_focal"])
def test_what_is_right_has_a_finite_gradient_for_any_gamma(classes: Any) -> None:
    loss = retinanet_loss(classes=classes, gamma=0.5)
    logits = torch.full((1, 1, 1), 40.0, requires_grad=True)
    box = torch.tensor([[0.0, 0, 8, 8]])
    found = loss(logits, torch.zeros(1, 1, 4), box, [1], box[None], torch.zeros(1, 1, dtype=torch.long))
    found["classes"].backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_images_without_boxes_teach_that_nothing_is_there() -> None:
    anchors = grid(8, 10, 64)
    logits, codes = torch.zeros(1, 64, 2, requires_grad=True), torch.zeros(1, 64, 4, requires_grad=True)
    found = retinanet_loss()(logits, codes, anchors, [64], torch.full((1, 1, 4), torch.nan), torch.tensor([[-1]]))
    sum(found.values()).backward()  # type: ignore[union-attr]
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_nothing_is_learned_in_an_ignored_region() -> None:
    anchors = grid(8, 10, 64)
    logits, codes = torch.zeros(1, 64, 2, requires_grad=True), torch.zeros(1, 64, 4, requires_grad=True)
    region = torch.tensor([[[0.0, 0, 64, 28]]])
    found = retinanet_loss()(logits, codes, anchors, [64], region, torch.tensor([[-2]]))
    found["classes"].backward()
    assert logits.grad is not None
    inside = (anchors[:, 3] <= 28) & (anchors[:, 0] >= 0) & (anchors[:, 1] >= 0)
    assert inside.any()
    assert (logits.grad[0, inside] == 0).all()
    assert (logits.grad[0, anchors[:, 1] > 34] != 0).all()


def test_crossed_thresholds_are_refused() -> None:
    with pytest.raises(ModelError, match=r"foreground_iou 0\.3 is below background_iou 0\.4"):
        retinanet_loss(matcher="max_iou", foreground_iou=0.3)
