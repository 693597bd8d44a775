"""Weights of a network from a local file; nothing in the file is ever executed."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.errors import ModelError

# Where training programs put the weights inside a checkpoint.
_NESTS = ("state_dict", "model", "model_state_dict", "network", "net")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """What was taken from a file.

    Attributes:
        loaded: Names of the network's tensors that were set.
        left_out: One line for each tensor of the network that was not, and for each of the file that had no place.
    """

    loaded: tuple[str, ...]
    left_out: tuple[str, ...]


def load_weights(network: nn.Module, path: str | Path, *, strict: bool = True) -> LoadedWeights:
    """Set a network's weights from a ``.safetensors`` or torch file.

    The file holds tensors by name, alone or under ``state_dict`` or ``model`` as checkpoints have them. The
    prefix of a wrapper (``module.``, ``network.``) is taken off; tensors outside it belong to something else.

    Args:
        network: Receives the weights; unchanged where an error is raised.
        path: The file.
        strict: Every tensor must have its place and shape. Else those without one are left out, and named in the
            result: a last layer made for another number of classes, say.

    Raises:
        ModelError: If the file is missing, is broken, holds anything but tensors and plain values, or does not fit.
    """
    path = Path(path)
    found = read_weights(path)
    wanted = network.state_dict()
    found = _without_prefix(found, wanted, path)
    misfits = {k for k in found.keys() & wanted.keys() if found[k].shape != wanted[k].shape}
    fitting = {k: v for k, v in found.items() if k in wanted and k not in misfits}
    left_out = _differences(found, wanted, misfits)
    if left_out and (strict or not any(k in fitting for k, _ in network.named_parameters())):
        more = len(left_out) - _SHOWN
        lines = [*left_out[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise ModelError(
            f"{len(left_out)} tensor(s) of the file and the network differ:\n    " + "\n    ".join(lines),
            where=str(path),
            todo="use the network and options that the weights were made with, or strict: false to leave these out"
            if fitting
            else "use the network that the weights were made with: not one tensor fits this one",
        )
    network.load_state_dict(fitting, strict=False)
    return LoadedWeights(tuple(k for k in wanted if k in fitting), tuple(left_out))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; errors as :func:`load_weights` where the file cannot be used at all."""
    return _tensors(_read(path), path)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ModelError("there is no such file of weights", where=str(path), todo="check the path in model.weights")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            # torch warns of pickles that other programs wrote; those that it cannot read are refused below.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            "the file holds more than tensors and plain values, or is no file of torch; "
            f"it was not executed ({_refused(error)})",
            where=str(path),
            todo="save the weights alone with torch.save(network.state_dict(), ...) or as .safetensors",
        ) from error
    except OSError as error:
        raise ModelError(f"the file cannot be read: {error.strerror or error}", where=str(path)) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise _broken(path, error) from error


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except OSError as error:
        raise ModelError(f"the file cannot be read: {error.strerror or error}", where=str(path)) from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> ModelError:
    text = str(error).strip().partition("\n")[0]
    return ModelError(
        f"the file is broken or is no file of weights: {text or type(error).__name__}",
        where=str(path),
        todo="copy it anew, or save the weights with torch.save(network.state_dict(), ...) or as .safetensors",
    )


def _refused(error: Exception) -> str:
    """The part of torch's long advice that names what was refused, never its advice to trust the file."""
    lines = [line.strip() for line in str(error).splitlines()]
    named = [line for line in lines if line.startswith(("WeightsUnpickler error", "Unsupported", "GLOBAL"))]
    return named[0][:160] if named else type(error).__name__


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by name, from under the usual keys of a checkpoint."""
    nested = content
    for _ in range(2):
        if not isinstance(nested, Mapping) or any(isinstance(v, Tensor) for v in nested.values()):
            break
        nested = next((nested[k] for k in _NESTS if isinstance(nested.get(k), Mapping)), None)
    if isinstance(nested, Mapping):
        tensors = {str(k): v for k, v in nested.items() if isinstance(v, Tensor)}
        if tensors:
            return tensors
    raise ModelError(
        f"there are no weights in the file: it holds a {type(content).__name__}"
        + (f" with {', '.join(map(str, list(content)[:_SHOWN]))}" if isinstance(content, Mapping) and content else ""),
        where=str(path),
        todo=f"tensors by name are expected, alone or under {' or '.join(_NESTS[:2])}",
    )


def _without_prefix(found: dict[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The names without the wrapper's prefix, the one under which most of the network's tensors are found."""
    counts = Counter({"": sum(name in wanted for name in found)})
    for name in found:
        starts = [i + 1 for i, letter in enumerate(name) if letter == "."]
        counts.update(name[:start] for start in starts if name[start:] in wanted)
    best = max(counts.values())
    if counts[""] == best:
        return found
    leaders = sorted(p for p, n in counts.items() if n == best)
    if len(leaders) > 1:
        raise ModelError(
            f"the file holds the network's weights several times, under {' and '.join(leaders[:_SHOWN])}",
            where=str(path),
            todo="save the one that is meant by itself",
        )
    return {k.removeprefix(leaders[0]): v for k, v in found.items() if k.startswith(leaders[0])}


def _differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], misfits: set[str]) -> list[str]:
    shapes = [
        f"{k}: {_shape(found[k])} in the file, {_shape(wanted[k])} in the network" for k in wanted if k in misfits
    ]
    missing = [f"{k}: not in the file, {_shape(wanted[k])} in the network" for k in wanted if k not in found]
    surplus = [f"{k}: {_shape(found[k])} in the file, not in the network" for k in found if k not in wanted]
    return [*shapes, *missing, *surplus]


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"
