"""Model files describe themselves, and nothing else is loaded."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from medcnn.errors import ModelError
from medcnn.inference.model_file import FORMAT, export_model, load_model, read_description


def rewrite(path: Path, **changes: object) -> Path:
    stored = torch.load(path, weights_only=True)
    stored["medcnn"].update(changes)
    torch.save(stored, path)
    return path


def test_an_exported_model_needs_nothing_beside_it(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "model.pt"
    export_model(checkpoint, target, {"bright": 0.4})
    stored = torch.load(target, weights_only=True)
    assert not [k for k in stored["state_dict"] if "loss" in k]
    before = load_model(checkpoint)
    checkpoint.unlink()
    model = load_model(target)
    assert model.thresholds == {"bright": 0.4}
    assert model.task.schema == before.task.schema
    assert model.preprocess.state() == before.preprocess.state()
    assert not model.model.training
    assert not any(p.requires_grad for p in model.model.parameters())
    image = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(model.model.network(image), before.model.network(image))


def test_a_file_of_a_newer_version_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="newer version"):
        load_model(rewrite(checkpoint, format=FORMAT + 1))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_file_is_refused(checkpoint: Path, share: float) -> None:
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="damaged"):
        load_model(checkpoint)


class Trap:
    """What a pickle runs when it is loaded without care."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("by_torch", [True, False])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, by_torch: bool) -> None:
    path, trap = tmp_path / "model.pt", tmp_path / "sprung"
    content = {"state_dict": {}, "medcnn": {"format": FORMAT}, "more": Trap(trap)}
    if by_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(ModelError, match="more than tensors"):
        load_model(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [{"layer.weight": torch.zeros(2)}, [1, 2], {"state_dict": {}, "medcnn": "1"}])
def test_bare_weights_are_refused_with_the_way_to_use_them(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"model\.weights"):
        read_description(tmp_path / "weights.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        load_model(tmp_path / "model.pt")


def test_weights_of_another_network_are_refused(checkpoint: Path) -> None:
    spec = torch.load(checkpoint, weights_only=True)["medcnn"]["network"]
    with pytest.raises(ModelError, match="do not fit the network"):
        load_model(rewrite(checkpoint, network={**spec, "options": {"filters": [6], "dense": [4]}}))
