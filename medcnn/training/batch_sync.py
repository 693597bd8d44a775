"""Batch normalisation over the processes of DDP, on any device.

torch's own ``SyncBatchNorm`` refuses the CPU. This one sums over the processes by differentiable sums, so that
several processes with a batch of B each see the statistics, and get the gradients, of one with all their cases.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of equally shaped tensors over the processes, differentiable."""
    total: Tensor = _SumOverProcesses.apply(value)
    return total


class GatheredBatchNorm(_BatchNorm):
    """Batch norm whose statistics are those of the batches of all processes together (of equal size each).

    Outside of training, and in one process, it is an ordinary batch norm.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - the base class names it so
        """Any number of spatial axes will do."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as above
        """``(B, C, *spatial)`` of this process, normalised."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        axes = (0, *range(2, input.ndim))
        shape = (1, -1, *[1] * (input.ndim - 2))
        values = input.float()
        count = values.numel() // values.shape[1] * dist.get_world_size()
        mean = sum_over_processes(values.sum(axes)) / count
        centred = values - mean.view(shape)
        # From the differences to the mean: the mean of squares less the square of the mean would lose digits.
        variance = sum_over_processes(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        result = centred * scale.view(shape)
        if self.affine:
            result = result + self.bias.view(shape)
        return result.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as the base class does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance, share)


class BatchSync(LayerSync):
    """Lets the trainer put :class:`GatheredBatchNorm` in the place of batch norms."""

    def apply(self, model: nn.Module) -> nn.Module:
        """The model with the norms exchanged; they keep their parameters and buffers."""
        for name, child in model.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, GatheredBatchNorm):
                model.add_module(name, _gathered(child))
            else:
                self.apply(child)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """The model as it is: after training these norms are ordinary ones."""
        return model


def _gathered(norm: _BatchNorm) -> GatheredBatchNorm:
    made = GatheredBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var = norm.running_mean, norm.running_var
    made.num_batches_tracked = norm.num_batches_tracked
    return made.train(norm.training)
