"""Losses against torch's and MONAI's, with missing, soft and weighted labels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medcnn.errors import ModelError
from medcnn.models import losses
from medcnn.models.quiet import quiet_monai

N, C = 12, 4


@pytest.fixture
def logits() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(N, C) * 3


@pytest.fixture
def index() -> Tensor:
    return torch.arange(N) % C


def one_hot(index: Tensor, classes: int = C) -> Tensor:
    return F.one_hot(index, classes).float()


def all_valid(states: Tensor) -> Tensor:
    return torch.ones_like(states, dtype=torch.bool)


WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torch_s(logits: Tensor, index: Tensor, smoothing: float, weights: Tensor | None) -> None:
    loss = losses.cross_entropy(smoothing, class_weights=weights)
    expected = F.cross_entropy(logits, index, weights, label_smoothing=smoothing)
    states = one_hot(index)
    torch.testing.assert_close(loss(logits, states, all_valid(states)), expected)


def test_cross_entropy_of_soft_labels_is_torch_s(logits: Tensor) -> None:
    states = torch.rand(N, C).softmax(1)
    expected = F.cross_entropy(logits, states)
    torch.testing.assert_close(losses.cross_entropy()(logits, states, all_valid(states)), expected)


def test_mixed_labels_give_the_mixture_of_the_losses(logits: Tensor, index: Tensor) -> None:
    loss = losses.cross_entropy()
    first, second = one_hot(index), one_hot((index + 1) % C)
    valid = all_valid(first)
    mixed = loss(logits, 0.3 * first + 0.7 * second, valid)
    torch.testing.assert_close(mixed, 0.3 * loss(logits, first, valid) + 0.7 * loss(logits, second, valid))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_binary_cross_entropy_is_torch_s(logits: Tensor, weights: Tensor | None) -> None:
    states = (torch.rand(N, C) > 0.5).float()
    loss = losses.binary_cross_entropy(class_weights=weights)
    expected = F.binary_cross_entropy_with_logits(logits, states, pos_weight=weights)
    torch.testing.assert_close(loss(logits, states, all_valid(states)), expected)


def test_label_smoothing_of_binary_labels_draws_them_to_one_half(logits: Tensor) -> None:
    states = (torch.rand(N, C) > 0.5).float()
    expected = F.binary_cross_entropy_with_logits(logits, states * 0.8 + 0.1)
    torch.testing.assert_close(losses.binary_cross_entropy(0.2)(logits, states, all_valid(states)), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_softmax_focal_is_monai_s(logits: Tensor, index: Tensor, gamma: float) -> None:
    with quiet_monai():
        from monai.losses import FocalLoss
    expected = FocalLoss(gamma=gamma, use_softmax=True, reduction="none")(logits, one_hot(index)).sum() / N
    found = losses.focal(gamma)(logits, one_hot(index), all_valid(logits))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_sigmoid_focal_is_monai_s(logits: Tensor, alpha: float | None) -> None:
    with quiet_monai():
        from monai.losses import FocalLoss
    states = (torch.rand(N, C) > 0.5).float()
    expected = FocalLoss(gamma=2.0, alpha=alpha, reduction="mean")(logits, states)
    found = losses.focal(2.0, alpha, exclusive=False)(logits, states, all_valid(states))
    torch.testing.assert_close(found, expected)


def test_alpha_weighs_the_second_of_two_exclusive_classes(logits: Tensor, index: Tensor) -> None:
    two, states = logits[:, :2], one_hot(index % 2, 2)
    per_case = F.cross_entropy(two, index % 2, reduction="none")
    expected = (per_case * torch.where(index % 2 == 1, 0.25, 0.75)).mean()
    torch.testing.assert_close(losses.focal(0.0, 0.25)(two, states, all_valid(states)), expected)
    with pytest.raises(ModelError, match="there are 4"):
        losses.focal(0.0, 0.25)(logits, one_hot(index), all_valid(logits))


@pytest.mark.parametrize("exclusive", [True, False])
def test_focal_without_gamma_is_the_plain_loss_weights_included(logits: Tensor, index: Tensor, exclusive: bool) -> None:
    states, valid = one_hot(index), all_valid(logits)
    plain = losses.cross_entropy if exclusive else losses.binary_cross_entropy
    found = losses.focal(0.0, exclusive=exclusive, class_weights=WEIGHTS)(logits, states, valid)
    torch.testing.assert_close(found, plain(class_weights=WEIGHTS)(logits, states, valid))


def test_mse_is_torch_s() -> None:
    outputs, values = torch.randn(N, 1), torch.randn(N, 1)
    torch.testing.assert_close(losses.mse()(outputs, values, all_valid(values)), F.mse_loss(outputs, values))


MAKERS: list[Callable[[], nn.Module]] = [
    lambda: losses.cross_entropy(0.1, class_weights=WEIGHTS),
    lambda: losses.binary_cross_entropy(0.1, class_weights=WEIGHTS),
    lambda: losses.focal(0.5, class_weights=WEIGHTS),
    lambda: losses.focal(0.5, exclusive=False, class_weights=WEIGHTS),
    losses.mse,
]


@pytest.mark.parametrize("make", MAKERS)
def test_missing_labels_do_not_count_whatever_stands_there(make: Callable[[], nn.Module], logits: Tensor) -> None:
    loss = make()
    outputs = logits if loss.exclusive is not None else logits[:, :1]
    states = torch.rand_like(outputs).softmax(1) if loss.exclusive else torch.rand_like(outputs)
    valid = all_valid(outputs)
    valid[3:] = False
    states[3:] = float("nan")
    expected = loss(outputs[:3], states[:3], valid[:3])
    torch.testing.assert_close(loss(outputs, states, valid), expected)


def test_exclusive_classes_are_known_together_or_not_at_all(logits: Tensor, index: Tensor) -> None:
    states, valid = one_hot(index), all_valid(logits)
    valid[3:, 0] = False
    expected = F.cross_entropy(logits[:3], index[:3])
    torch.testing.assert_close(losses.cross_entropy()(logits, states, valid), expected)


def test_some_labels_of_a_case_may_be_missing(logits: Tensor) -> None:
    states = (torch.rand(N, C) > 0.5).float()
    valid = torch.rand(N, C) > 0.4
    expected = F.binary_cross_entropy_with_logits(logits[valid], states[valid])
    torch.testing.assert_close(losses.binary_cross_entropy()(logits, states, valid), expected)


@pytest.mark.parametrize("make", MAKERS)
def test_a_batch_without_labels_gives_zero_and_a_gradient_of_zero(
    make: Callable[[], nn.Module], logits: Tensor
) -> None:
    loss = make()
    outputs = (logits if loss.exclusive is not None else logits[:, :1]).clone().requires_grad_()
    value = loss(outputs, torch.zeros_like(outputs), torch.zeros_like(outputs, dtype=torch.bool))
    value.backward()
    assert float(value.detach()) == 0.0
    assert outputs.grad is not None
    assert float(outputs.grad.abs().max()) == 0.0


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_gradients_stay_finite_for_certain_outputs(make: Callable[[], nn.Module], logits: Tensor, scale: float) -> None:
    loss = make()
    outputs = (logits if loss.exclusive is not None else logits[:, :1]).mul(scale).requires_grad_()
    states = one_hot(outputs.detach().argmax(1), outputs.shape[1])
    loss(outputs, states, all_valid(states)).backward()
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()


@settings(max_examples=30, deadline=None)
@given(shift=st.floats(-50, 50), seed=st.integers(0, 1000))
def test_losses_of_exclusive_classes_ignore_a_common_shift(shift: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(5, 3, generator=generator)
    states = one_hot(torch.randint(3, (5,), generator=generator), 3)
    for loss in (losses.cross_entropy(0.1), losses.focal()):
        before, after = loss(outputs, states, all_valid(states)), loss(outputs + shift, states, all_valid(states))
        torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_losses_are_float32_for_half_outputs(logits: Tensor, index: Tensor) -> None:
    value = losses.cross_entropy()(logits.bfloat16(), one_hot(index), all_valid(logits))
    assert value.dtype == torch.float32


def test_what_a_loss_is_for_is_declared() -> None:
    declared = [losses.cross_entropy(), losses.focal(), losses.binary_cross_entropy(), losses.focal(exclusive=False)]
    assert [loss.exclusive for loss in declared] == [True, True, False, False]
    assert losses.mse().exclusive is None


def test_weights_move_with_the_module_and_stay_out_of_checkpoints() -> None:
    loss = losses.cross_entropy(class_weights=torch.ones(3, dtype=torch.float64))
    assert loss.weights.dtype == torch.float32
    assert loss.to("meta").weights.is_meta
    assert not loss.state_dict()


def test_what_does_not_fit_is_refused(logits: Tensor, index: Tensor) -> None:
    states = one_hot(index)
    with pytest.raises(ModelError, match="2 class weights for 4 classes"):
        losses.cross_entropy(class_weights=torch.ones(2))(logits, states, all_valid(states))
    with pytest.raises(ModelError, match="differ in shape"):
        losses.cross_entropy()(logits[:, :1], states, all_valid(states))
    with pytest.raises(ModelError, match="one continuous label"):
        losses.mse()(logits, states, all_valid(states))
    with pytest.raises(ModelError, match="no classes to weigh"):
        losses.mse(class_weights=WEIGHTS)
