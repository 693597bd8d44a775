"""Spacing, patch, batch, depth and width of a U-Net from the training part's fingerprint and a memory budget.

The rules are those that nnU-Net publishes (Isensee et al., "nnU-Net: a self-configuring method for deep learning-based
biomedical image segmentation", Nature Methods 18, 2021, Methods, "Inferred parameters"), each marked where it is used.
What differs: memory is that of a formula (:mod:`medcnn.models.plan_cost`) and not of a trial on a GPU, and networks
become narrower before patches become small, so that budgets of a few GB serve too.

Everything here is a pure function: the same fingerprint and budget give the same plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from medcnn.errors import ModelError
from medcnn.models.fingerprint import Fingerprint as Fingerprint
from medcnn.models.fingerprint import Given, check, intensity_of, resampled, wanted_spacing
from medcnn.models.fingerprint import Intensities as Intensities
from medcnn.models.plan_cost import Cost, Design, Planned, cost

# Axes are pooled together, and kernels reach along an axis, where its spacing is within this factor of the finest.
_ALIKE = 2.0
# No axis is pooled below this many positions.
_COARSEST = 4
_WIDTHS = (32, 24, 16, 8)
_WIDEST = {2: 512, 3: 320}
_LEVELS = 7
# A patch is not made smaller than this for the sake of a wider network.
_ENOUGH = {2: 128, 3: 64}
_LEAST_BATCH = 2
_LARGEST_BATCH = 32
# A batch does not hold more than this share of all voxels of the training part.
_SHARE = 0.05


_NOTHING = Given()


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration and why it is so.

    Attributes:
        spacing: Target spacing in mm; ``None`` where images have none.
        size: Patch in voxels of that spacing.
        batch_size: Patches a step.
        design: Levels of the network.
        median: Median shape of the training images at that spacing.
        intensity: The recipe's ``input.intensity``; empty where the fingerprint does not tell.
        cost: Memory and work of a step by the formula.
        reasons: Sentences, in the order of the decisions.
    """

    spacing: tuple[float, ...] | None
    size: tuple[int, ...]
    batch_size: int
    design: Design
    median: tuple[int, ...]
    intensity: dict[str, Any]
    cost: Cost
    reasons: tuple[str, ...]

    def sections(self) -> dict[str, dict[str, Any]]:
        """The keys of a recipe that the plan decides, by section."""
        found: dict[str, dict[str, Any]] = {
            "input": {"size": list(self.size), "fit": "patches"},
            "model": {"name": self.design.name, **self.design.options()},
            "training": {"batch_size": self.batch_size},
        }
        if self.spacing is not None:
            found["input"]["spacing"] = [round(s, 4) for s in self.spacing]
        if self.intensity:
            found["input"]["intensity"] = dict(self.intensity)
        return found


def plan(
    fingerprint: Fingerprint,
    budget_bytes: int,
    *,
    network: Planned = "dynunet",
    number_bytes: Literal[2, 4] = 2,
    work: float | None = None,
    given: Given = _NOTHING,
) -> Plan:
    """A configuration for images like those of the training part.

    Args:
        fingerprint: Of the training part.
        budget_bytes: Memory that training may take for the network, its gradients and its optimizer.
        network: Which network is planned.
        number_bytes: Bytes of a number in the feature maps: 2 in mixed precision, 4 without.
        work: Multiply-adds that a training step may take; ``None``: memory alone decides. One current CPU
            core with AVX512-BF16 does about 6e10 a second in 3D.
        given: What the recipe says itself.

    Raises:
        ModelError: If the fingerprint has no images or mixes 2D and 3D, or not even the smallest network and patch
            fit the budget.
    """
    check(fingerprint)
    spacing, reason = wanted_spacing(fingerprint, given)
    shapes = resampled(fingerprint, spacing)
    median = tuple(int(n) for n in np.maximum(1, np.round(np.median(shapes, axis=0))))
    reasons = [reason, f"The median image has {_shown(median)} voxels{'' if spacing is None else ' at that spacing'}."]
    least = given.batch_size or _LEAST_BATCH
    limits = _Limits(budget_bytes, work, number_bytes, fingerprint.channels, fingerprint.outputs, least)
    gaps = spacing or tuple(np.median(fingerprint.spacings or [(1.0,) * len(median)], axis=0).tolist())
    chosen = (
        _choose(median, gaps, network, limits) if given.size is None else _fitted(given.size, gaps, network, limits)
    )
    batch, batch_reason = _batch(chosen, shapes, limits)
    if given.batch_size:
        batch, batch_reason = given.batch_size, f"The batch of {given.batch_size} is the recipe's."
    if given.size is None:
        reasons += chosen.reasons(median, limits)
    else:
        reasons += [f"The patch of {_shown(given.size)} is the recipe's.", chosen.width_reason(limits)]
    reasons += [*_depth_reasons(chosen.design), batch_reason]
    intensity, intensity_reason = intensity_of(fingerprint.intensities)
    total = limits.cost(chosen, batch)
    reasons += [intensity_reason] if intensity_reason else []
    reasons.append(
        f"A step of {batch} patches takes about {total.bytes / 2**30:.2g} GiB of the {budget_bytes / 2**30:.2g} GiB "
        f"allowed, and {total.work:.2g} multiply-adds."
    )
    return Plan(spacing, chosen.size, batch, chosen.design, median, intensity, total, tuple(reasons))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A patch with the network that fits it."""

    size: tuple[int, ...]
    design: Design

    def reasons(self, median: tuple[int, ...], limits: _Limits) -> list[str]:
        found = []
        if all(n >= m for n, m in zip(self.size, median, strict=True)):
            found.append(f"A patch of {_shown(self.size)} holds the median image whole.")
        else:
            share = math.prod(self.size) / math.prod(median)
            found.append(
                f"A patch of {_shown(self.size)} is the largest near the median image's proportions that the "
                f"{limits.what} allows; it covers {min(share, 1.0):.0%} of the median image."
            )
        return [*found, self.width_reason(limits)]

    def width_reason(self, limits: _Limits) -> str:
        width = self.design.filters[0]
        if width == _WIDTHS[0]:
            return f"The finest level has {width} filters, as in nnU-Net."
        return (
            f"The finest level has {width} filters: with {_WIDTHS[_WIDTHS.index(width) - 1]} the {limits.what} "
            "would not allow a patch that sees enough."
        )


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a step may cost, and what its cost depends on beside the network."""

    bytes: int
    work: float | None
    number_bytes: int
    channels: int
    outputs: int
    least_batch: int

    def cost(self, candidate: _Candidate, batch: int) -> Cost:
        return cost(candidate.design, candidate.size, batch, self.channels, self.outputs, self.number_bytes)

    def hold(self, candidate: _Candidate, batch: int) -> bool:
        found = self.cost(candidate, batch)
        return found.bytes <= self.bytes and (self.work is None or found.work <= self.work)

    @property
    def what(self) -> str:
        return "memory budget" if self.work is None else "budget of memory and work"


def _choose(median: tuple[int, ...], spacing: tuple[float, ...], network: Planned, limits: _Limits) -> _Candidate:
    """The widest network whose patch need not shrink below what is enough; else the largest patch of the narrowest."""
    candidate = None
    enough = tuple(min(n, _ENOUGH[len(median)]) for n in median)
    for width in _WIDTHS:
        candidate = _largest_patch(median, spacing, network, width, limits)
        if candidate and all(n >= m for n, m in zip(candidate.size, enough, strict=True)):
            return candidate
    if candidate is None:
        raise _too_large(_candidate((1,) * len(median), spacing, network, _WIDTHS[-1]), limits)
    return candidate


def _fitted(size: tuple[int, ...], spacing: tuple[float, ...], network: Planned, limits: _Limits) -> _Candidate:
    """The widest network for a patch that the recipe gives; strides divide the patch."""
    strides, kernels = topology(size, spacing, exact=True)
    for width in _WIDTHS:
        candidate = _Candidate(size, Design(network, _filters(width, len(size), len(strides)), kernels, strides))
        if limits.hold(candidate, limits.least_batch):
            return candidate
    raise _too_large(candidate, limits)


def _too_large(smallest: _Candidate, limits: _Limits) -> ModelError:
    least = limits.cost(smallest, limits.least_batch)
    return ModelError(
        f"not even {limits.least_batch} patches of {_shown(smallest.size)} and {_WIDTHS[-1]} filters fit "
        f"{limits.bytes / 2**20:.0f} MiB" + ("" if limits.work is None else f" and {limits.work:.2g} multiply-adds"),
        where="model",
        todo=f"allow at least {least.bytes / 2**20:.0f} MiB (training.memory_gb={least.bytes / 2**30:.2f}) and "
        f"{least.work:.2g} multiply-adds a step",
    )


def _largest_patch(
    median: tuple[int, ...], spacing: tuple[float, ...], network: Planned, width: int, limits: _Limits
) -> _Candidate | None:
    """nnU-Net: begin with the median image, and shrink the axis that covers most of it until two patches fit.

    Axes that are longer than enough shrink before the others.
    """
    wanted = list(median)
    while True:
        candidate = _candidate(tuple(wanted), spacing, network, width)
        if limits.hold(candidate, limits.least_batch):
            return candidate
        steps = candidate.design.factors
        shrinkable = [axis for axis, n in enumerate(candidate.size) if n > steps[axis] and n > _COARSEST]
        if not shrinkable:
            return None
        spare = [a for a in shrinkable if candidate.size[a] - steps[a] >= min(median[a], _ENOUGH[len(median)])]
        axis = max(spare or shrinkable, key=lambda a: (candidate.size[a] / median[a], candidate.size[a], -a))
        wanted = list(candidate.size)
        wanted[axis] -= steps[axis]


def _candidate(wanted: tuple[int, ...], spacing: tuple[float, ...], network: Planned, width: int) -> _Candidate:
    """The network for a patch, and the patch rounded up to a multiple of its strides."""
    strides, kernels = topology(wanted, spacing)
    design = Design(network, _filters(width, len(wanted), len(strides)), kernels, strides)
    size = tuple(math.ceil(n / f) * f for n, f in zip(wanted, design.factors, strict=True))
    return _Candidate(size, design)


def _filters(width: int, dims: int, levels: int) -> tuple[int, ...]:
    return tuple(min(width * 2**level, _WIDEST[dims]) for level in range(levels))


Axes = tuple[tuple[int, ...], ...]


def topology(size: Sequence[int], spacing: Sequence[float], *, exact: bool = False) -> tuple[Axes, Axes]:
    """Strides and kernels of each level, by nnU-Net's rule.

    Each level halves the axes whose spacing is within a factor of 2 of the finest of those that still have at least
    8 positions. Kernels are 3 along an axis from the level on where its spacing is within a factor of 2 of the finest
    axis, and 1 before; 3 everywhere on the coarsest level.

    Args:
        size: Patch in voxels.
        spacing: In mm, or 1 for each axis.
        exact: Halve an axis only where no voxel is left over.

    Returns:
        One entry a level: the step into it (1 for the finest), and its kernel. At least three levels, the networks'
        least: where a patch is too small for them, the last steps are 1.
    """
    axes = range(len(size))
    extent, gap = list(size), list(spacing)
    strides: list[tuple[int, ...]] = [(1,) * len(extent)]
    kernels: list[tuple[int, ...]] = []
    reach = [1] * len(extent)
    while len(strides) < _LEVELS:
        poolable = [a for a in axes if extent[a] >= 2 * _COARSEST and not (exact and extent[a] % 2)]
        finest = min((gap[a] for a in poolable), default=0.0)
        poolable = [a for a in poolable if gap[a] < _ALIKE * finest]
        if not poolable or (len(poolable) == 1 and extent[poolable[0]] < 3 * _COARSEST):
            break
        reach = [3 if r == 3 or gap[a] < _ALIKE * min(gap) else 1 for a, r in zip(axes, reach, strict=True)]
        kernels.append(tuple(reach))
        step = tuple(2 if a in poolable else 1 for a in axes)
        strides.append(step)
        extent = [math.ceil(n / s) for n, s in zip(extent, step, strict=True)]
        gap = [g * s for g, s in zip(gap, step, strict=True)]
    kernels.append((3,) * len(extent))
    while len(strides) < 3:
        strides.append((1,) * len(extent))
        kernels.append((3,) * len(extent))
    return tuple(strides), tuple(kernels)


def _batch(candidate: _Candidate, shapes: np.ndarray[Any, np.dtype[np.float64]], limits: _Limits) -> tuple[int, str]:
    """nnU-Net: as many as fit, at least 2, and no more than 5 % of the training part's voxels."""
    share = int(_SHARE * float(np.prod(shapes, axis=1).sum()) / math.prod(candidate.size))
    most = min(max(limits.least_batch, share), max(_LARGEST_BATCH, limits.least_batch))
    numbers = range(limits.least_batch, most + 1)
    fits = max(b for b in numbers if b == limits.least_batch or limits.hold(candidate, b))
    if fits < most:
        why = f"the {limits.what} allows no more"
    elif most == _LARGEST_BATCH:
        why = "more gains little"
    else:
        why = f"more would be above {_SHARE:.0%} of all training voxels a step"
    return fits, f"A batch has {fits} patches: {why}."


def _depth_reasons(design: Design) -> list[str]:
    found = [
        f"The network has {len(design.filters)} levels and shrinks a patch by {_shown(design.factors)}: axes are "
        f"halved together while their spacings differ by less than a factor of {_ALIKE:g} and they keep "
        f"{_COARSEST} positions."
    ]
    flat = sorted({axis for kernel in design.kernels for axis, k in enumerate(kernel) if k == 1})
    if flat:
        named = " and ".join(map(str, flat))
        found.append(f"Filters do not reach along axis {named} on the finest levels, where its voxels are far longer.")
    return found


def _shown(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
