"""A network from its name and options, checked by a dry run before anything is trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn import registry
from medcnn.errors import MedcnnError, ModelError

if TYPE_CHECKING:
    from torch import nn

SUPPLIED = ("spatial_dims", "in_channels", "outputs", "size")


# What a recipe says beside the builder's options: where initial weights come from.
OWN_OPTIONS = ("weights", "strict_weights")


def build_network(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    spatial_dims: int,
    in_channels: int,
    outputs: int,
    size: tuple[int, ...],
    dense: bool = False,
    boxes: bool = False,
    allow_code: Path | None = None,
) -> nn.Module:
    """A network with random initial weights that turns ``(B, in_channels, *size)`` into ``(B, outputs)`` logits.

    A dense one gives ``(B, outputs, *size)``; in training mode it may give a list of such logits for deep
    supervision, the finest first and coarser ones after it. A detector gives class logits ``(B, N, outputs)`` and box
    codes ``(B, N, 2*spatial_dims)`` of its N anchors.

    Args:
        name: A registered name (``basic_cnn``, ``densenet``, ...) or ``module:Class`` of an installed package.
        options: The builder's own options.
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        outputs: Logits a case, or a voxel.
        size: Spatial size of the image in px or voxels, ``(X, Y[, Z])``.
        dense: Whether the network must give logits for each voxel.
        boxes: Whether it must be a detector.
        allow_code: A folder whose modules may be imported too.

    Raises:
        ModelError: If the options do not fit, or the network does not accept such an image or gives another shape.
    """
    size = tuple(size)
    if len(size) != spatial_dims:
        raise ModelError(
            f"input.size has {len(size)} numbers and the network works in {spatial_dims} dimensions",
            where="input.size",
            todo=f"give {spatial_dims} numbers",
        )
    builder = registry.load("networks", name, allow_code=allow_code)
    given = {k: v for k, v in (options or {}).items() if k not in OWN_OPTIONS}
    supplied = {"spatial_dims": spatial_dims, "in_channels": in_channels, "outputs": outputs, "size": size}
    network = _built(name, builder, _arguments(name, builder, given, supplied), given)
    _check(name, network, in_channels=in_channels, outputs=outputs, size=size, dense=dense, boxes=boxes)
    return network


def _built(name: str, builder: Callable[..., Any], arguments: dict[str, Any], given: dict[str, Any]) -> nn.Module:
    try:
        network: nn.Module = builder(**arguments)
    except MedcnnError:
        raise
    except Exception as error:
        raise ModelError(
            f"{name} cannot be built: {type(error).__name__}: {_first_line(error)}",
            where="model",
            todo=f"check its options: {_shown(given)}",
        ) from error
    return network


def _arguments(
    name: str, builder: Callable[..., Any], given: dict[str, Any], supplied: dict[str, Any]
) -> dict[str, Any]:
    """The options and those of medcnn's own arguments that the builder accepts."""
    parameters = inspect.signature(builder).parameters.values()
    accepted = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    clash = sorted(set(given) & set(supplied))
    if clash:
        raise ModelError(
            f"{', '.join(clash)} of {name} comes from the task and the input section",
            where=f"model.{clash[0]}",
            todo="take it out of the options",
        )
    unknown = sorted(k for k in given if k not in accepted) if not anything else []
    if unknown:
        raise ModelError(
            f"{name} has no option {unknown[0]!r}",
            where=f"model.{unknown[0]}",
            todo=registry.suggest(unknown[0], accepted - set(SUPPLIED)),
        )
    return {**given, **{k: v for k, v in supplied.items() if anything or k in accepted}}


def _check(
    name: str, network: Any, *, in_channels: int, outputs: int, size: tuple[int, ...], dense: bool, boxes: bool
) -> None:
    """Run zeros through the network; raise where it fails or gives anything but logits of the shape expected."""
    import torch
    from torch import nn

    from medcnn.models.dryrun import dry_run

    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{name} gives a {type(network).__name__}, not a torch.nn.Module", where="model", todo="return a network"
        )
    cases = 2  # With one case a network that squeezes the batch away would pass.
    try:
        result = dry_run(network, (cases, in_channels, *size))
    except Exception as error:
        raise ModelError(
            f"{name} does not work on an image of {' x '.join(map(str, size))} with {in_channels} channel(s): "
            f"{type(error).__name__}: {_first_line(error)}",
            where="model",
            todo="an image that is too small for the network is the usual cause: use a larger input.size "
            f"or a shallower network ({'small_unet' if dense else 'small_resnet'} works at any size)",
        ) from error
    if boxes:
        _check_detector(name, result, cases, outputs, len(size))
        return
    if _is_detector(result, cases):
        raise ModelError(
            f"{name} is a detector", where="model", todo="use it with task: detection, or another network here"
        )
    if not isinstance(result, torch.Tensor):
        raise ModelError(
            f"{name} gives a {type(result).__name__} instead of a tensor",
            where="model",
            todo="return the logits alone from forward()",
        )
    expected = (cases, outputs, *size) if dense else (cases, outputs)
    found = tuple(result.shape)
    if found != expected:
        raise ModelError(
            f"{name} gives {found} for {cases} cases; expected {expected}",
            where="model",
            todo=_way_out(found, expected, dense=dense),
        )


def _check_detector(name: str, result: Any, cases: int, outputs: int, dims: int) -> None:
    """Raise unless a network gave logits and box codes of the same anchors."""
    if not _is_detector(result, cases):
        raise ModelError(
            f"{name} is no detector", where="model", todo="this task needs one that gives boxes, such as retinanet"
        )
    logits, codes = (tensor.shape[2] for tensor in result)
    if (logits, codes) != (outputs, 2 * dims):
        raise ModelError(
            f"{name} gives {logits} logits and {codes} codes an anchor",
            where="model",
            todo=f"give {outputs} logits and {2 * dims} codes",
        )


def _is_detector(result: Any, cases: int) -> bool:
    """Whether a network gave ``(B, N, classes)`` and ``(B, N, codes)``."""
    if not isinstance(result, tuple) or len(result) != 2:
        return False
    shapes = [tuple(getattr(tensor, "shape", ())) for tensor in result]
    return all(len(shape) == 3 for shape in shapes) and shapes[0][:2] == shapes[1][:2] and shapes[0][0] == cases


def _way_out(found: tuple[int, ...], expected: tuple[int, ...], *, dense: bool) -> str:
    """What to do about logits of another shape."""
    if len(found) == len(expected):
        return f"end with {'a 1x1 convolution' if dense else 'a linear layer'} of {expected[1]} output(s)" + (
            " at the image's own resolution" if dense else ""
        )
    if dense:
        return "this task needs a network that gives a value for each voxel, such as small_unet or dynunet"
    return "this task needs a network that gives one value a case, such as small_resnet or densenet"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or "no message"


def _shown(options: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in options.items()) or "none given"
