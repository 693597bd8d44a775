"""Weights from files: round trips, what does not fit, and files that are out for harm."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medcnn.errors import ModelError
from medcnn.models.weights import load_weights


def make(outputs: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = nn.Sequential()
    network.add_module("conv", nn.Conv2d(1, 4, 3))
    network.add_module("norm", nn.BatchNorm2d(4))
    network.add_module("head", nn.Linear(4, outputs))
    return network


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[k]) for k, x in a.state_dict().items())


def state(network: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + k: v.clone() for k, v in network.state_dict().items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"step": torch.ones(1)} and {"lr": 0.1}},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {**{f"model.network.{k}": v for k, v in s.items()}, "model.loss.w": torch.ones(2)}},
    ],
)
def test_weights_of_a_torch_file_are_set(tmp_path: Path, wrap: Any) -> None:
    source, target = make(seed=1), make(seed=2)
    torch.save(wrap(state(source)), tmp_path / "w.pt")
    result = load_weights(target, tmp_path / "w.pt")
    assert same(source, target)
    assert len(result.loaded) == len(target.state_dict())
    assert result.left_out == ()


def test_weights_of_a_safetensors_file_are_set(tmp_path: Path) -> None:
    source, target = make(seed=1), make(seed=2)
    save_file(state(source), tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert same(source, target)


class Harm:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["w.pt", "w.pkl", "w.safetensors"])
@pytest.mark.parametrize("writer", ["torch", "torch_legacy", "pickle"])
def test_a_pickle_is_refused_and_never_executed(tmp_path: Path, name: str, writer: str) -> None:
    trap, file = tmp_path / "sprung", tmp_path / name
    content = {"state_dict": {**state(make()), "x": Harm(trap)}}
    if writer == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=writer == "torch")
    network = make(seed=2)
    with pytest.raises(ModelError) as caught:
        load_weights(network, file)
    assert not trap.exists()
    assert same(network, make(seed=2))
    assert str(file) in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(make(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match="not executed"):
        load_weights(make(), tmp_path / "w.pt")


def test_shapes_that_differ_are_shown_side_by_side(tmp_path: Path) -> None:
    torch.save(state(make(outputs=6)), tmp_path / "w.pt")
    network = make()
    with pytest.raises(ModelError) as caught:
        load_weights(network, tmp_path / "w.pt")
    text = str(caught.value)
    assert "2 tensor(s)" in text
    assert "head.weight: 6 x 4 in the file, 3 x 4 in the network" in text
    assert "strict: false" in text
    assert same(network, make())


def test_a_head_for_other_classes_is_left_out_and_named(tmp_path: Path) -> None:
    source, network = make(outputs=6, seed=1), make(seed=2)
    torch.save({**state(source), "extra": torch.ones(2)}, tmp_path / "w.pt")
    result = load_weights(network, tmp_path / "w.pt", strict=False)
    assert [line.partition(":")[0] for line in result.left_out] == ["head.weight", "head.bias", "extra"]
    assert torch.equal(network.conv.weight, source.conv.weight)
    assert torch.equal(network.head.weight, make(seed=2).head.weight)


@pytest.mark.parametrize("strict", [True, False])
def test_another_network_s_weights_are_refused_either_way(tmp_path: Path, strict: bool) -> None:
    torch.save({f"layer{i}.weight": torch.ones(2) for i in range(9)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="not one tensor fits") as caught:
        load_weights(make(), tmp_path / "w.pt", strict=strict)
    assert "and 13 more" in str(caught.value)


def test_two_copies_under_two_prefixes_are_ambiguous(tmp_path: Path) -> None:
    torch.save({**state(make(), "student."), **state(make(), "teacher.")}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"under student\. and teacher\."):
        load_weights(make(), tmp_path / "w.pt")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], torch.ones(3), {"state_dict": {"a": 1}}])
def test_a_file_without_weights_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="no weights in the file"):
        load_weights(make(), tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("length", [0, 1, 9, 200, 900])
def test_broken_files_are_refused(tmp_path: Path, name: str, length: int) -> None:
    file = tmp_path / name
    if name == "w.pt":
        torch.save(state(make()), file)
    else:
        save_file(state(make()), file)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ModelError, match=str(name)):
        load_weights(make(), file)


def test_a_text_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_text("no weights at all\n" * 20)
    with pytest.raises(ModelError):
        load_weights(make(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match="no such file"):
        load_weights(make(), tmp_path / "other.pt")
