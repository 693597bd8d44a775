"""Prediction: no case depends on its batch, and what cannot be read is listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medcnn.data.batch import Batch
from medcnn.inference.hardware import choose_hardware
from medcnn.inference.model_file import Model, load_model
from medcnn.inference.predictor import predict_batches, predict_cases
from medcnn.types import Case, ClassPrediction, ImageRef, Prediction

HARDWARE = choose_hardware("cpu", "32", 1)


@pytest.fixture
def model(checkpoint: Path) -> Model:
    return load_model(checkpoint)


def cases(folder: Path, count: int) -> list[Case]:
    generator = np.random.default_rng(0)
    found = []
    for k in range(count):
        Image.fromarray(generator.integers(0, 255, (16, 16), np.uint8)).save(folder / f"{k}.png")
        found.append(Case(f"c{k}", (ImageRef((str(folder / f"{k}.png"),)),)))
    return found


def probabilities(prediction: Prediction) -> list[float]:
    assert isinstance(prediction, ClassPrediction)
    return prediction.probabilities.tolist()


def test_a_case_gets_the_same_alone_and_among_others(model: Model, tmp_path: Path) -> None:
    some = cases(tmp_path, 7)
    together, _ = predict_cases([model], some, HARDWARE, batch_size=4)
    assert list(together) == [c.id for c in some]
    for case in some:
        alone, _ = predict_cases([model], [case], HARDWARE, batch_size=4)
        assert probabilities(alone[case.id]) == probabilities(together[case.id])
    assert len({tuple(probabilities(p)) for p in together.values()}) == 7


def test_what_cannot_be_read_is_listed_and_the_rest_predicted(model: Model, tmp_path: Path) -> None:
    some = cases(tmp_path, 3)
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    found, unreadable = predict_cases([model], some, HARDWARE)
    assert list(found) == ["c0", "c2"]
    assert [(e.case, e.path) for e in unreadable] == [("c1", str(tmp_path / "1.png"))]


def test_several_networks_are_averaged(model: Model, make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    other = load_model(make_checkpoint(tmp_path / "other.ckpt", seed=1))
    some = cases(tmp_path, 2)
    one, two, both = (predict_cases(m, some, HARDWARE)[0] for m in ([model], [other], [model, other]))
    for name in both:
        expected = np.mean([probabilities(one[name]), probabilities(two[name])], axis=0)
        np.testing.assert_allclose(probabilities(both[name]), expected, rtol=1e-6)


def test_padding_is_left_out_and_the_mode_comes_back(model: Model) -> None:
    batch = Batch(torch.rand(3, 1, 16, 16), {}, torch.tensor([5, 2, -1]))
    model.model.train()
    found = predict_batches(model.model, [batch], HARDWARE)
    assert sorted(found) == [2, 5]
    assert model.model.training
