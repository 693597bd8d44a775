"""Receptive fields and multiply-adds of a network, followed through every operation that it runs.

After Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019
(https://distill.pub/2019/computing-receptive-fields): position i of a feature map sees the pixels
[jump * i - left, jump * i + right] of each axis. A window of kernel k, stride s, dilation d and padding p makes

    left  += p * jump
    right += ((k - 1) * d - p) * jump
    jump  *= s

so that the receptive field r = left + right + 1 grows by (k - 1) * d * jump. Behind an upsampling by a factor of f
neighbouring positions see different extents; these repeat after f positions, so that left and right are kept for
each position of such a period. Where branches meet (a residual sum, a concatenation) the union counts: the larger
left, the larger right. The field of a map is the largest of any position. Statistics of normalisation layers are
not followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

# Positions of a map from which a position of the next one is computed.
Sources = Callable[[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class AxisView:
    """What the positions of a feature map see along one axis of the image.

    Attributes:
        jump: Pixels of the image between neighbouring positions.
        spans: First and last pixel that the positions 0 to period - 1 see; position i + period sees the pixels that
            lie period * jump behind those of position i. Pixels before 0 are the padding.
    """

    jump: int
    spans: tuple[tuple[int, int], ...]

    def span(self, position: int) -> tuple[int, int]:
        """First and last pixel that any position, also a negative one, sees."""
        turn, place = divmod(position, len(self.spans))
        first, last = self.spans[place]
        shift = turn * len(self.spans) * self.jump
        return first + shift, last + shift

    @property
    def field(self) -> int:
        """The most pixels that a position sees."""
        return max(last - first + 1 for first, last in self.spans)

    def gathered(self, jump: int, period: int, sources: Sources) -> AxisView | None:
        """A map whose position i sees what positions ``sources(i)`` of this one see; ``None`` where one sees none."""
        spans = []
        for position in range(period):
            seen = [self.span(i) for i in sources(position)]
            if not seen:
                return None
            spans.append((min(first for first, _ in seen), max(last for _, last in seen)))
        return AxisView(jump, tuple(spans))


@dataclass(frozen=True, slots=True)
class Window:
    """What the positions of a feature map see, an entry a spatial axis."""

    axes: tuple[AxisView, ...]

    @property
    def field(self) -> tuple[int, ...]:
        """Receptive field in px of the input."""
        return tuple(axis.field for axis in self.axes)

    @property
    def jump(self) -> tuple[int, ...]:
        """Pixels of the input between neighbouring positions."""
        return tuple(axis.jump for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Whole:
    """Every position sees the whole image.

    Attributes:
        jump: Pixels between positions, where an excitation brought the whole image to each position of a map;
            ``None`` where there are no positions left (after global pooling, flatten or attention).
    """

    jump: tuple[int, ...] | None = None


class Unknown:
    """No rule tells what a position sees (upsampling by another than a whole factor, a change of layout)."""


WHOLE, UNKNOWN = Whole(), Unknown()
View = Window | Whole | Unknown

_CONVOLUTIONS = {aten.convolution, aten._convolution}
_MAX_POOLS = {aten.max_pool2d_with_indices, aten.max_pool3d_with_indices, aten.max_pool2d, aten.max_pool3d}
_AVERAGE_POOLS = {aten.avg_pool2d, aten.avg_pool3d}
_ADAPTIVE_POOLS = {
    aten._adaptive_avg_pool2d,
    aten._adaptive_avg_pool3d,
    aten.adaptive_max_pool2d,
    aten.adaptive_max_pool3d,
}
_NEAREST = {aten.upsample_nearest2d, aten.upsample_nearest3d}
_LINEAR = {aten.upsample_bilinear2d, aten.upsample_trilinear3d}
_PADS = {
    aten.constant_pad_nd,
    aten.reflection_pad2d,
    aten.reflection_pad3d,
    aten.replication_pad2d,
    aten.replication_pad3d,
}
_REDUCTIONS = {aten.mean, aten.sum, aten.amax, aten.amin, aten.max, aten.min, aten.var_mean, aten.norm}
_PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.linear}
_REARRANGEMENTS = {aten.flip, aten.roll, aten.index, aten.gather, aten.grid_sampler_2d, aten.grid_sampler_3d}


def initial(spatial_dims: int) -> Window:
    """What a pixel of the input sees: itself."""
    return placed((1,) * spatial_dims)


def placed(jump: Sequence[int]) -> Window:
    """Positions at a distance of which each sees the pixel where it lies alone."""
    return Window(tuple(AxisView(step, ((0, 0),)) for step in jump))


def follow(operation: Any, args: Sequence[Any], out: Tensor, views: Sequence[tuple[Tensor, View]], dims: int) -> View:
    """What positions of ``out`` see.

    Args:
        operation: The overload packet of the aten operation.
        args: Its positional arguments.
        out: Its first result.
        views: Those of its tensor arguments that depend on the image (at least one), with what they see.
        dims: Number of spatial dimensions.
    """
    if any(isinstance(view, Whole) for _, view in views):
        # What a position sees is settled; only the positions' distance is still followed.
        known = [(tensor, placed(jump)) for tensor, view in views if (jump := _jump(view)) is not None]
        result = _follow_windows(operation, args, out, known, dims) if known else WHOLE
        return Whole(_jump(result))
    windows = [(tensor, view) for tensor, view in views if isinstance(view, Window)]
    return _follow_windows(operation, args, out, windows, dims) if len(windows) == len(views) else UNKNOWN


def _jump(view: View) -> tuple[int, ...] | None:
    return None if isinstance(view, Unknown) else view.jump


def _follow_windows(
    operation: Any, args: Sequence[Any], out: Tensor, views: Sequence[tuple[Tensor, Window]], dims: int
) -> View:
    source, first = views[0]
    rule = _rule(operation)
    if rule is not None:
        return rule(first, args, out, dims)
    if operation in _REARRANGEMENTS or _moves_axes(operation, args, source, dims):
        return UNKNOWN
    spatial = out.shape[-dims:]
    if out.ndim > dims and all(tensor.shape[-dims:] == spatial for tensor, _ in views):
        return union([view for _, view in views])
    # Another number of axes: positions were laid side by side as features. As many: resampled or cut.
    return UNKNOWN if out.ndim == source.ndim else WHOLE


def union(windows: Sequence[Window]) -> View:
    """What a position sees through any of several branches."""
    axes = []
    for views in zip(*(window.axes for window in windows), strict=True):
        period = math.lcm(*(len(view.spans) for view in views))
        seen = [[view.span(i) for view in views] for i in range(period)]
        spans = tuple((min(first for first, _ in one), max(last for _, last in one)) for one in seen)
        # They differ only where an axis is down to one position.
        axes.append(AxisView(max(view.jump for view in views), spans))
    return Window(tuple(axes))


Rule = Callable[[Window, Sequence[Any], Tensor, int], View]


def _rule(operation: Any) -> Rule | None:
    for operations, rule in _RULES:
        if operation in operations:
            return rule
    return None


def _slide(
    window: Window, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> View:
    """A window that slides over each axis."""
    axes = []
    for view, k, s, p, d in zip(window.axes, kernel, stride, padding, dilation, strict=True):
        period = len(view.spans) // math.gcd(len(view.spans), s)
        axes.append(view.gathered(view.jump * s, period, _under(k, s, p, d)))
    return _window(axes)


def _under(kernel: int, stride: int, padding: int, dilation: int) -> Sources:
    """What the window of position i covers."""
    return lambda i: range(i * stride - padding, i * stride - padding + kernel * dilation, dilation)


def _unfold(
    window: Window, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> View:
    """The reverse of :func:`_slide`, a transposed convolution."""
    axes = []
    for view, k, s, p, d in zip(window.axes, kernel, stride, padding, dilation, strict=True):
        if view.jump % s:
            return UNKNOWN
        axes.append(view.gathered(view.jump // s, len(view.spans) * s, _over(k, s, p, d)))
    return _window(axes)


def _over(kernel: int, stride: int, padding: int, dilation: int) -> Sources:
    """All positions whose window covers position i."""

    def sources(position: int) -> list[int]:
        starts = [position + padding - t * dilation for t in range(kernel)]
        return [start // stride for start in starts if start % stride == 0]

    return sources


def _window(axes: Sequence[AxisView | None]) -> View:
    known = [axis for axis in axes if axis is not None]
    return Window(tuple(known)) if len(known) == len(axes) else UNKNOWN


def _convolution(window: Window, args: Sequence[Any], out: Tensor, dims: int) -> View:
    _, weight, _, stride, padding, dilation, transposed = args[:7]
    move = _unfold if transposed else _slide
    return move(window, weight.shape[2:], _axes(stride, dims), _axes(padding, dims), _axes(dilation, dims))


def _nearest(window: Window, args: Sequence[Any], out: Tensor, dims: int) -> View:
    return _enlarge(window, args[0], out, lambda factor: lambda i: (i // factor,))


def _linear(window: Window, args: Sequence[Any], out: Tensor, dims: int) -> View:
    if args[2] and out.shape != args[0].shape:  # the corners aligned: no two positions lie alike
        return UNKNOWN
    return _enlarge(window, args[0], out, _between)


def _between(factor: int) -> Sources:
    """The one or two coarse positions around (i + 1/2) / factor - 1/2."""

    def sources(position: int) -> tuple[int, ...]:
        below, rest = divmod(2 * position + 1 - factor, 2 * factor)
        return (below, below + 1) if rest else (below,)

    return sources


def _enlarge(window: Window, source: Tensor, out: Tensor, sources: Callable[[int], Sources]) -> View:
    axes = []
    for view, coarse, fine in zip(window.axes, source.shape[2:], out.shape[2:], strict=True):
        factor = fine // coarse
        if fine % coarse or view.jump % factor:
            return UNKNOWN
        axes.append(view.gathered(view.jump // factor, len(view.spans) * factor, sources(factor)))
    return _window(axes)


def _max_pool(window: Window, args: Sequence[Any], out: Tensor, dims: int) -> View:
    kernel, stride, padding, dilation = (_axes(_at(args, i, default), dims) for i, default in _POOL_DEFAULTS)
    return _slide(window, kernel, stride or kernel, padding, dilation)


def _average_pool(window: Window, args: Sequence[Any], out: Tensor, dims: int) -> View:
    kernel, stride, padding = (_axes(_at(args, i, default), dims) for i, default in _POOL_DEFAULTS[:3])
    return _slide(window, kernel, stride or kernel, padding, (1,) * dims)


_POOL_DEFAULTS: tuple[tuple[int, list[int]], ...] = ((1, []), (2, []), (3, [0]), (4, [1]))


def _adaptive_pool(window: Window, args: Sequence[Any], out: Tensor, dims: int) -> View:
    if math.prod(out.shape[-dims:]) == 1:
        return WHOLE
    return window if out.shape[-dims:] == args[0].shape[-dims:] else UNKNOWN


def _pad(window: Window, args: Sequence[Any], out: Tensor, dims: int) -> View:
    pads = list(args[1])  # (before, after) of the last axis first
    if any(pads[2 * dims :]):
        return UNKNOWN
    pads += [0] * (2 * dims - len(pads))
    before = [pads[2 * (dims - 1 - axis)] for axis in range(dims)]
    axes = [
        view.gathered(view.jump, len(view.spans), _under(1, 1, added, 1))
        for view, added in zip(window.axes, before, strict=True)
    ]
    return _window(axes)


def _reduce(window: Window, args: Sequence[Any], out: Tensor, dims: int) -> View:
    source: Tensor = args[0]
    over = _at(args, 1, None)
    if isinstance(over, Tensor):  # the maximum of two tensors, element by element
        return window
    axes = range(source.ndim) if over is None or over == [] else [over] if isinstance(over, int) else over
    spatial = {axis % source.ndim for axis in axes} & set(range(source.ndim - dims, source.ndim))
    if not spatial:
        return window
    return WHOLE if len(spatial) == dims else UNKNOWN


def _product(window: Window, args: Sequence[Any], out: Tensor, dims: int) -> View:
    return WHOLE


_RULES: tuple[tuple[set[Any], Rule], ...] = (
    (_CONVOLUTIONS, _convolution),
    (_MAX_POOLS, _max_pool),
    (_AVERAGE_POOLS, _average_pool),
    (_ADAPTIVE_POOLS, _adaptive_pool),
    (_PADS, _pad),
    (_NEAREST, _nearest),
    (_LINEAR, _linear),
    (_REDUCTIONS, _reduce),
    (_PRODUCTS, _product),
)


def _moves_axes(operation: Any, args: Sequence[Any], source: Tensor, dims: int) -> bool:
    """Whether a permutation moves a spatial axis."""
    spatial = set(range(source.ndim - dims, source.ndim))
    if operation is aten.permute:
        return any(args[1][axis] % source.ndim != axis for axis in spatial)
    if operation is aten.transpose:
        return bool({a % source.ndim for a in args[1:3]} & spatial)
    return operation is aten.t


def _axes(values: Sequence[int], dims: int) -> tuple[int, ...]:
    """One number for all axes, or one an axis."""
    return tuple(values) * dims if len(values) == 1 else tuple(values)


def _at(args: Sequence[Any], index: int, default: Any) -> Any:
    return args[index] if len(args) > index else default


def multiply_adds(operation: Any, args: Sequence[Any], out: Tensor) -> int:
    """Multiplications followed by an addition in convolutions and matrix products; 0 for anything else."""
    if operation in _CONVOLUTIONS:
        weight: Tensor = args[1]
        positions = args[0].numel() // args[0].shape[1] if args[6] else out.numel() // out.shape[1]
        return positions * weight.numel()
    if operation in (aten.mm, aten.bmm):
        return out.numel() * int(args[0].shape[-1])
    if operation in (aten.addmm, aten.baddbmm):
        return out.numel() * int(args[1].shape[-1])
    if operation is aten.linear:
        return out.numel() * int(args[1].shape[-1])
    if operation.__name__.startswith("_scaled_dot_product"):
        query, key, value = args[:3]  # (..., tokens, width): scores, then weighted sums
        rows = query.numel() // query.shape[-1]
        return int(rows * key.shape[-2] * (query.shape[-1] + value.shape[-1]))
    return 0
