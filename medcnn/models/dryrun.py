"""Run a network on zeros to learn its shapes, without computing where that is possible."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def dry_run(
    network: nn.Module,
    shape: tuple[int, ...],
    watch: Callable[[nn.Module], AbstractContextManager[Any]] = lambda _: nullcontext(),
) -> Any:
    """What the network gives for zeros of a shape, in evaluation mode.

    A copy without memory (torch's ``meta`` device) is tried first, where the run costs nothing; a network
    that cannot run there is run on zeros. Weights, buffers, mode and random state stay untouched.

    Args:
        network: Any network on any device.
        shape: Shape of the input, the batch included.
        watch: Makes a context around the run from the network that is really run (a copy, or ``network``).
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            twin = _without_memory(network).eval()
            with watch(twin):
                return twin(torch.zeros(shape, device="meta"))
        except Exception:
            return _really_run(network, shape, watch)


def _really_run(
    network: nn.Module, shape: tuple[int, ...], watch: Callable[[nn.Module], AbstractContextManager[Any]]
) -> Any:
    modes = [(module, module.training) for module in network.modules()]
    first = next(network.parameters(), None)
    device = first.device if first is not None else torch.device("cpu")
    try:
        network.eval()
        with watch(network):
            return network(torch.zeros(shape, device=device))
    finally:
        for module, training in modes:
            module.training = training


def _without_memory(network: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers have shapes only."""
    memo: dict[int, Tensor] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in network.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, dict(memo))
