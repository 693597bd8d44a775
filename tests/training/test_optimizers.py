"""Optimizers and their groups; schedules against torch's, resumed, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR

from medcnn.errors import ModelError
from medcnn.training import optimizers, schedules
from medcnn.training.schedules import ScheduleSpec


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))


@pytest.mark.parametrize("build", [optimizers.sgd, optimizers.adam, optimizers.adamw, optimizers.rmsprop])
def test_norms_and_biases_do_not_decay(build: Callable[..., torch.optim.Optimizer]) -> None:
    model = network()
    optimizer = build(model, 0.01, weight_decay=0.5)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.5,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "3.weight": 0.5,
        "3.bias": 0.0,
    }
    assert all(g["lr"] == 0.01 for g in optimizer.param_groups)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: optimizers.sgd(p, 0.05, momentum=0.8, nesterov=True), lambda p: SGD(p, 0.05, 0.8, nesterov=True)),
        (lambda p: optimizers.sgd(p, 0.05), lambda p: SGD(p, 0.05, 0.9)),
        (lambda p: optimizers.adam(p, 0.01, betas=(0.8, 0.9)), lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.9))),
        (lambda p: optimizers.adamw(p, 0.01, weight_decay=0.0), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.0)),
        (lambda p: optimizers.rmsprop(p, 0.01, momentum=0.5), lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5)),
    ],
)
def test_steps_are_torch_s(ours: Any, theirs: Any) -> None:
    results = []
    for make in (ours, theirs):
        model = network()
        optimizer = make(model.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 1, 8, 8)).square().sum().backward()
            optimizer.step()
        results.append([p.detach().clone() for p in model.parameters()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_frozen_parameters_are_left_out() -> None:
    model = network()
    model[0].requires_grad_(False)
    held = {id(p) for g in optimizers.adam(model, 0.01).param_groups for p in g["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    with pytest.raises(ModelError, match="no trainable parameters"):
        optimizers.adam(model.requires_grad_(False), 0.01)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ModelError, match="needs momentum"):
        optimizers.sgd(network(), 0.01, momentum=0.0, nesterov=True)


STEPS, EPOCHS = 5, 8


def make_sgd() -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=2.0)


def course(spec: ScheduleSpec, optimizer: torch.optim.Optimizer, steps: int = STEPS * EPOCHS) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        spec.scheduler.step()
    return rates


def ours(build: Callable[..., ScheduleSpec], **options: Any) -> list[float]:
    optimizer = make_sgd()
    return course(build(optimizer, steps_per_epoch=STEPS, epochs=EPOCHS, **options), optimizer)


def torch_s(make: Callable[[SGD], Any]) -> list[float]:
    optimizer = make_sgd()
    return course(ScheduleSpec(make(optimizer), "step", False), optimizer)


def test_constant_stays_and_warms_up() -> None:
    assert ours(schedules.constant) == [2.0] * STEPS * EPOCHS
    rates = ours(schedules.constant, warmup=2)
    assert rates[:10] == pytest.approx([2.0 * (i + 1) / 10 for i in range(10)])
    assert set(rates[10:]) == {2.0}


def test_step_is_torch_s_by_epochs() -> None:
    assert ours(schedules.step, every=3, factor=0.1) == pytest.approx(torch_s(lambda o: StepLR(o, 3 * STEPS, 0.1)))


def test_cosine_is_torch_s() -> None:
    expected = torch_s(lambda o: CosineAnnealingLR(o, STEPS * EPOCHS, eta_min=0.2))
    assert ours(schedules.cosine, minimum=0.1) == pytest.approx(expected)


def test_cosine_rises_in_its_warmup_and_then_falls() -> None:
    rates = ours(schedules.cosine, warmup=2)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9] == rates[10] == 2.0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_one_cycle_is_torch_s() -> None:
    expected = torch_s(lambda o: OneCycleLR(o, 2.0, total_steps=STEPS * EPOCHS, cycle_momentum=False))
    assert ours(schedules.one_cycle) == pytest.approx(expected)


@pytest.mark.parametrize("build", [schedules.constant, schedules.step, schedules.cosine, schedules.one_cycle])
def test_step_schedules_survive_a_single_step_and_going_past_the_end(build: Callable[..., ScheduleSpec]) -> None:
    optimizer = make_sgd()
    spec = build(optimizer, steps_per_epoch=1, epochs=1)
    assert all(0.0 <= rate <= 2.0 for rate in course(spec, optimizer, 4))
    assert (spec.interval, spec.monitor) == ("step", False)


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (schedules.constant, {"warmup": 1}),
        (schedules.step, {"every": 2}),
        (schedules.cosine, {"warmup": 1}),
        (schedules.one_cycle, {}),
    ],
)
def test_a_resumed_course_goes_on_where_it_stopped(build: Callable[..., ScheduleSpec], options: dict) -> None:
    expected = ours(build, **options)
    first = make_sgd()
    spec = build(first, steps_per_epoch=STEPS, epochs=EPOCHS, **options)
    course(spec, first, 17)
    second = make_sgd()
    resumed = build(second, steps_per_epoch=STEPS, epochs=EPOCHS, **options)
    second.load_state_dict(first.state_dict())
    resumed.scheduler.load_state_dict(spec.scheduler.state_dict())
    assert course(resumed, second, STEPS * EPOCHS - 17) == expected[17:]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_plateau_waits_with_patience_and_stops_at_its_minimum(sign: float) -> None:
    optimizer = make_sgd()
    spec = schedules.plateau(optimizer, steps_per_epoch=STEPS, epochs=EPOCHS, patience=1, factor=0.1, minimum=0.05)
    assert (spec.interval, spec.monitor) == ("epoch", True)
    figures = [0.9, 0.8, 0.8, 0.8, 0.7, 0.7, 0.7] if sign > 0 else [-0.7, -0.8, -0.8, -0.8, -0.9, -0.9, -0.9]
    rates = []
    for figure in figures:
        spec.scheduler.step(figure)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.0, 2.0, 2.0, 0.2, 0.2, 0.2, 0.1])
