"""What a network is made of: for each layer its output, parameters, stride, receptive field and work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from medcnn.errors import ModelError
from medcnn.models.dryrun import dry_run
from medcnn.models.receptive import UNKNOWN, View, Whole, Window, follow, initial, multiply_adds

HEADINGS = ("layer", "kind", "output", "parameters", "stride", "receptive field", "multiply-adds")


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One layer of a network, in the order in which layers run.

    Attributes:
        name: Its place in the network (``features.block1.conv``).
        kind: Its class (``Conv2d``).
        output_shape: Shape of what it gives for one image, ``(C, X, Y[, Z])`` or ``(units,)``; empty for a layer
            that runs in training alone (deep supervision).
        parameters: Learned numbers of this layer, frozen ones too; shared ones count where they are used first.
        stride: Pixels of the input between neighbouring positions of the output, an entry a spatial axis;
            ``None`` where positions are gone or not known.
        receptive_field: Pixels of the input that one position sees, an entry a spatial axis, where the image's
            edge does not cut it; ``image`` for the whole image; ``None`` where no rule tells.
        multiply_adds: Multiplications with addition for one image, of convolutions and matrix products.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    stride: tuple[int, ...] | None
    receptive_field: tuple[int, ...] | Literal["image"] | None
    multiply_adds: int

    def cells(self) -> tuple[str, ...]:
        """The row of a table under ``HEADINGS``; an en dash for what is not defined."""
        seen = self.receptive_field
        return (
            self.name,
            self.kind,
            " x ".join(map(str, self.output_shape)) or "–",
            f"{self.parameters:,}",
            _lengths(self.stride),
            seen if isinstance(seen, str) else _lengths(seen),
            f"{self.multiply_adds:,}",
        )


def _lengths(values: tuple[int, ...] | None) -> str:
    """One number where all axes agree."""
    if values is None:
        return "–"
    return str(values[0]) if len(set(values)) == 1 else " x ".join(map(str, values))


def describe(network: nn.Module, input_shape: tuple[int, ...]) -> list[LayerInfo]:
    """The layers of a network in the order in which they run, for one image.

    Modules without parts of their own are layers; so is a module that computes or holds parameters beside its
    parts (attention, position embeddings). A layer that is used twice has two rows, its parameters in the first,
    and layers that run in training alone stand at the end, so that the parameters of all rows sum to the network's.
    Receptive fields follow Araujo et al. (Distill 2019):
    see :mod:`medcnn.models.receptive`.

    Args:
        network: Any network that takes one image tensor; its weights and mode stay as they are.
        input_shape: ``(C, X, Y[, Z])`` of one image.

    Raises:
        ModelError: If the network does not work on such an image.
    """
    recorder = _Recorder(network, input_shape)

    @contextlib.contextmanager
    def watch(running: nn.Module) -> Iterator[None]:
        nonlocal recorder
        recorder = _Recorder(running, input_shape)
        with recorder.hooks(), recorder:
            yield

    try:
        dry_run(network, (1, *input_shape), watch)
    except Exception as error:
        raise ModelError(
            f"the network does not work on an image of {' x '.join(map(str, input_shape))} (channels first): {error}",
            where="model",
            todo="check input.size and input.channels against the network",
        ) from error
    return recorder.rows + recorder.idle()


def total_parameters(network: nn.Module, *, trainable: bool = False) -> int:
    """Number of parameters, shared ones once; ``trainable`` leaves frozen ones out."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trainable)


@dataclass(slots=True)
class _Frame:
    """A module while it runs."""

    module: nn.Module
    multiply_adds: int = 0


@dataclass(slots=True)
class _Ledger:
    """What is known of the tensors of one run; holding them keeps their identities unique."""

    views: dict[int, View] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)

    def set(self, tensor: Tensor, view: View) -> None:
        self.views[id(tensor)] = view
        self.alive.append(tensor)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its own class untyped
    """Follows every tensor that comes from the image and writes a row when a layer ends."""

    def __init__(self, network: nn.Module, input_shape: tuple[int, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.rows: list[LayerInfo] = []
        self._network = network
        self._names = {module: name for name, module in network.named_modules()}
        self._dims = len(input_shape) - 1
        self._frames: list[_Frame] = []
        self._counted: set[int] = set()
        self._ledger = _Ledger()

    @contextlib.contextmanager
    def hooks(self) -> Iterator[None]:
        """Hooks on all modules, taken off at the end."""
        handles = []
        for module in self._names:
            handles.append(module.register_forward_pre_hook(self._begin))
            handles.append(module.register_forward_hook(self._end))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def idle(self) -> list[LayerInfo]:
        """Rows of the layers with parameters that did not run."""
        rows = []
        for module, name in self._names.items():
            fresh = [p for p in module.parameters(recurse=False) if id(p) not in self._counted]
            if fresh:
                self._counted.update(map(id, fresh))
                parameters = sum(p.numel() for p in fresh)
                rows.append(LayerInfo(name or "(network)", type(module).__name__, (), parameters, None, None, 0))
        return rows

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note what its result sees."""
        out = func(*args, **(kwargs or {}))
        results = list(_tensors(out))
        if not results:
            return out
        operation = func.overloadpacket
        if self._frames:
            self._frames[-1].multiply_adds += multiply_adds(operation, args, results[0])
        known = self._ledger.views
        views = [(t, known[id(t)]) for t in _tensors([args, list((kwargs or {}).values())]) if id(t) in known]
        for result in results if views else ():
            self._ledger.set(result, follow(operation, args, result, views, self._dims))
        return out

    def _begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if not self._frames:
            for image in _tensors(args):
                self._ledger.set(image, initial(self._dims))
        self._frames.append(_Frame(module))

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        frame = self._frames.pop()
        fresh = [p for p in module.parameters() if id(p) not in self._counted]
        leaf = next(module.children(), None) is None and not isinstance(module, (nn.Sequential, nn.Identity))
        result = next(_tensors(output), None)
        # What a module neither holds itself nor computes with belongs to parts of it that did not run.
        own = any(id(p) not in self._counted for p in module.parameters(recurse=False))
        if result is None or not (leaf or own or frame.multiply_adds):
            return
        self._counted.update(map(id, fresh))
        view = self._ledger.views.get(id(result), UNKNOWN)
        self.rows.append(
            LayerInfo(
                name=self._names[module] or "(network)",
                kind=type(module).__name__,
                output_shape=tuple(result.shape[1:]),
                parameters=sum(p.numel() for p in fresh),
                stride=view.jump if isinstance(view, (Window, Whole)) else None,
                receptive_field=view.field
                if isinstance(view, Window)
                else "image"
                if isinstance(view, Whole)
                else None,
                multiply_adds=frame.multiply_adds,
            )
        )


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested sequences and mappings."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
