"""Losses of segmentation: against MONAI's, with voxels that are not annotated, empty references, deep supervision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.errors import ModelError
from medcnn.models import dense_losses
from medcnn.models.dense_modules import at_size, deep_supervision
from medcnn.models.quiet import quiet_monai

with quiet_monai():
    from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss, FocalLoss, TverskyLoss

NAMES = ("dice", "dice_ce", "dice_focal", "tversky")
WEIGHTS = torch.tensor([0.5, 1.0, 3.0])


def make(name: str, **options) -> Callable[..., Tensor]:
    return getattr(dense_losses, name)(**options)


@pytest.fixture(params=[(9, 7), (6, 5, 4)], ids=["2D", "3D"])
def exclusive(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    size = request.param
    return torch.randn(3, 3, *size) * 2, torch.randint(0, 3, (3, *size))


@pytest.fixture
def overlapping() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(3, 2, 9, 7) * 2, torch.randint(0, 2, (3, 2, 9, 7))


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("batch", [True, False])
def test_exclusive_losses_are_monai_s(exclusive: tuple[Tensor, Tensor], background: bool, batch: bool) -> None:
    logits, labels = exclusive
    options = {"include_background": background, "batch": batch, "softmax": True, "to_onehot_y": True}
    column = labels.unsqueeze(1)
    ours = {name: make(name, background=background, batch=batch)(logits, labels) for name in NAMES}
    torch.testing.assert_close(ours["dice"], DiceLoss(**options)(logits, column))
    torch.testing.assert_close(ours["dice_ce"], DiceCELoss(**options)(logits, column))
    torch.testing.assert_close(ours["tversky"], TverskyLoss(alpha=0.3, beta=0.7, **options)(logits, column))
    # MONAI's focal loss is the mean over voxels and labels, ours over voxels, as cross-entropy is; its DiceFocalLoss
    # has a sigmoid in the focal part even of exclusive labels.
    focal = FocalLoss(gamma=2.0, use_softmax=True, to_onehot_y=True)(logits, column) * logits.shape[1]
    torch.testing.assert_close(ours["dice_focal"], ours["dice"] + focal)


@pytest.mark.parametrize("batch", [True, False])
def test_overlapping_losses_are_monai_s(overlapping: tuple[Tensor, Tensor], batch: bool) -> None:
    logits, labels = overlapping
    options = {"batch": batch, "sigmoid": True}
    targets = labels.float()
    ours = {name: make(name, exclusive=False, batch=batch)(logits, labels) for name in NAMES}
    torch.testing.assert_close(ours["dice"], DiceLoss(**options)(logits, targets))
    # MONAI's takes a softmax over labels that overlap in this loss.
    voxels = F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(ours["dice_ce"], DiceLoss(**options)(logits, targets) + voxels)
    torch.testing.assert_close(ours["tversky"], TverskyLoss(alpha=0.3, beta=0.7, **options)(logits, targets))
    torch.testing.assert_close(ours["dice_focal"], DiceFocalLoss(**options)(logits, targets))


def test_class_weights_are_torch_s_in_the_cross_entropy(exclusive: tuple[Tensor, Tensor]) -> None:
    logits, labels = exclusive
    found = make("dice_ce", dice_weight=0.0, class_weights=WEIGHTS)(logits, labels)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, WEIGHTS))
    focal = make("dice_focal", gamma=0.0, dice_weight=0.0, class_weights=WEIGHTS)(logits, labels)
    torch.testing.assert_close(focal, found)


def test_class_weights_weigh_the_positive_voxels_of_overlapping_labels(overlapping: tuple[Tensor, Tensor]) -> None:
    logits, labels = overlapping
    found = make("dice_ce", exclusive=False, dice_weight=0.0, class_weights=WEIGHTS[1:])(logits, labels)
    factor = WEIGHTS[1:].view(2, 1, 1)
    expected = F.binary_cross_entropy_with_logits(logits, labels.float(), pos_weight=factor)
    torch.testing.assert_close(found, expected)


def test_class_weights_of_dice_weigh_the_labels_in_its_mean(exclusive: tuple[Tensor, Tensor]) -> None:
    logits, labels = exclusive
    each = DiceLoss(softmax=True, to_onehot_y=True, include_background=False, reduction="none")
    by_label = each(logits, labels.unsqueeze(1)).flatten(1).mean(0)
    expected = (by_label * WEIGHTS[1:]).sum() / WEIGHTS[1:].sum()
    torch.testing.assert_close(make("dice", class_weights=WEIGHTS)(logits, labels), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("kind", ["exclusive", "overlapping"])
def test_what_is_not_annotated_changes_neither_loss_nor_gradient(
    name: str, batch: bool, kind: str, request: pytest.FixtureRequest
) -> None:
    logits, labels = request.getfixturevalue("overlapping") if kind == "overlapping" else exclusive_2d()
    loss = make(name, batch=batch, exclusive=kind == "exclusive", class_weights=None)
    hidden = torch.rand(labels.shape) < 0.3
    hidden[0] = True  # a case without any annotation
    labels = torch.where(hidden, 255, labels)
    wide = hidden.unsqueeze(1).expand_as(logits) if kind == "exclusive" else hidden

    results = []
    for noise in (0.0, 50.0, float("inf"), float("nan")):
        changed = torch.where(wide, logits + noise, logits).requires_grad_()
        value = loss(changed, labels)
        (gradient,) = torch.autograd.grad(value, changed)
        assert gradient[wide].abs().max() == 0
        results.append((value, gradient))
    assert all(torch.equal(v, results[0][0]) and torch.equal(g, results[0][1]) for v, g in results)
    # The rest is as if those voxels and that case had never been there.
    if not batch:
        torch.testing.assert_close(results[0][0], loss(logits[1:], labels[1:]))


def exclusive_2d() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(3, 3, 9, 7) * 2, torch.randint(0, 3, (3, 9, 7))


@pytest.mark.parametrize("name", NAMES)
def test_cropping_away_what_is_not_annotated_gives_the_same_loss(name: str) -> None:
    logits, labels = exclusive_2d()
    framed = labels.clone()
    framed[:, 5:] = 255
    found, expected = make(name)(logits, framed), make(name)(logits[:, :, :5], labels[:, :5])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", ["empty", "ignored"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize("exclusive", [True, False])
def test_losses_and_gradients_are_finite_without_any_foreground(
    name: str, labels: str, scale: float, exclusive: bool
) -> None:
    logits = (torch.randn(2, 3, 6, 6) * scale).requires_grad_()
    shape = (2, 6, 6) if exclusive else (2, 3, 6, 6)
    value = make(name, exclusive=exclusive)(logits, torch.full(shape, 0 if labels == "empty" else 255))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if labels == "ignored":
        assert value == 0
        assert gradient.abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_bf16_logits_under_autocast_give_a_float32_loss(name: str) -> None:
    logits, labels = exclusive_2d()
    logits = logits.bfloat16().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = make(name)(logits.bfloat16(), labels.to(torch.uint8))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, make(name)(logits, labels))


def test_a_perfect_prediction_costs_nothing_and_its_opposite_one() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, 2:5] = 1
    logits = torch.stack([1 - labels, labels], 1) * 100.0
    for name in NAMES:
        assert make(name)(logits, labels) < 1e-6
    assert make("dice")(-logits, labels) > 0.999


def test_labels_and_weights_that_do_not_fit_are_refused() -> None:
    logits, labels = exclusive_2d()
    with pytest.raises(ModelError, match="exclusive: false"):
        make("dice_ce")(logits, labels.unsqueeze(1))
    with pytest.raises(ModelError, match="2 class weights for 3 outputs"):
        make("dice", class_weights=torch.ones(2))(logits, labels)
    with pytest.raises(ModelError, match="no label beside the background"):
        make("dice")(logits[:, :1], labels)


def test_deep_supervision_halves_the_weight_of_each_coarser_level() -> None:
    torch.manual_seed(3)
    labels = torch.randint(0, 3, (2, 8, 12))
    levels = [torch.randn(2, 3, 8 >> k, 12 >> k) for k in range(3)]
    loss = make("dice_ce")
    parts = [loss(levels[0], labels), loss(levels[1], labels[:, ::2, ::2]), loss(levels[2], labels[:, ::4, ::4])]
    expected = (4 * parts[0] + 2 * parts[1] + parts[2]) / 7
    torch.testing.assert_close(loss(levels, labels), expected)
    torch.testing.assert_close(deep_supervision(loss.loss)(levels, labels), expected)
    torch.testing.assert_close(loss(levels[:1], labels), parts[0])
    assert deep_supervision(loss) is loss
    assert loss.dense
    assert loss.exclusive


@pytest.mark.parametrize("size", [(4, 3, 6), (3, 3, 7), (8, 6, 7), (5, 6, 7)])
def test_coarser_labels_are_those_of_torch_s_nearest(size: tuple[int, ...]) -> None:
    labels = torch.randint(0, 256, (2, 8, 6, 7))
    expected = F.interpolate(labels[:, None].double(), size, mode="nearest")[:, 0].long()
    assert torch.equal(at_size(labels, size), expected)
    assert torch.equal(at_size(labels[:, None], size)[:, 0], expected)
