"""Regression: values on the scale of the training part, errors in the label's unit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medcnn.data.batch import Batch
from medcnn.errors import DataError, ModelError
from medcnn.models import losses
from medcnn.tasks.base import EvaluationOptions, TrainingFacts
from medcnn.tasks.regression import RegressionTask
from medcnn.types import Case, Dataset, ImageRef, Value, ValuePrediction

FACTS = TrainingFacts(value_mean=100.0, value_std=20.0)


def case(name: str, value: float | None) -> Case:
    return Case(name, (ImageRef((f"{name}.png",)),), (Value(value),))


def batch(task: RegressionTask, outputs: list[float], values: list[float | None]) -> Batch:
    encoded = [task.encode(case(str(i), v)) for i, v in enumerate(values)]
    targets = {k: torch.from_numpy(np.stack([e[k] for e in encoded])) for k in encoded[0]}
    return Batch(torch.tensor(outputs)[:, None, None, None], targets, torch.arange(len(values)))


def test_the_loss_is_on_the_training_part_s_scale_without_missing_values() -> None:
    task = RegressionTask("months")
    model = task.build(nn.Flatten(), losses.mse(), FACTS)
    loss = model.losses(batch(task, [0.5, -1.0, 7.0], [120.0, 100.0, None]))["loss"]
    assert loss.item() == pytest.approx(((0.5 - 1) ** 2 + (-1 - 0) ** 2) / 2)


def test_mixed_cases_have_mixed_values_where_both_are_known() -> None:
    task = RegressionTask()
    model = task.build(nn.Flatten(), losses.mse(), FACTS)
    mixed = batch(task, [0.5, 0.0, 0.0], [120.0, 80.0, None])
    mixed.targets["mix_index"], mixed.targets["mix_weight"] = torch.tensor([1, 2, 0]), torch.tensor([0.75, 0.9, 0.6])
    assert model.losses(mixed)["loss"].item() == pytest.approx((0.5 - (0.75 * 1 + 0.25 * -1)) ** 2)


def test_values_come_back_in_the_label_s_unit_and_figures_too() -> None:
    task = RegressionTask("months")
    model = task.build(nn.Flatten(), losses.mse(), FACTS)
    made = batch(task, [0.5, -1.0, 2.0, 0.0], [113.0, 90.0, None, 5.0])
    found = model.predict(made.image)
    assert [p.value for p in found if isinstance(p, ValuePrediction)] == [110.0, 80.0, 140.0, 100.0]
    made.index[3] = -1
    figures = task.score(model.rows(made))
    assert figures == {"mae": pytest.approx(6.5), "rmse": pytest.approx(math.sqrt((9 + 100) / 2))}
    assert all(math.isnan(v) for v in task.score([]).values())


def test_the_scale_is_that_of_the_known_values() -> None:
    task = RegressionTask()
    facts = task.facts([case("a", 1.0), case("b", 5.0), case("c", None)])
    assert (facts.value_mean, facts.value_std) == (3.0, 2.0)
    assert task.facts([case("a", 4.0), case("b", 4.0)]).value_std == 1.0


def test_what_cannot_be_learned_is_refused() -> None:
    def dataset(*values: float | None) -> Dataset:
        return Dataset("d", tuple(case(str(i), v) for i, v in enumerate(values)), {}, facts={"unit": "months"})

    with pytest.raises(DataError, match="no continuous label"):
        RegressionTask.create(dataset(None, None))
    with pytest.raises(DataError, match="all values are 3"):
        RegressionTask.create(dataset(3.0, 3.0, None))
    task = RegressionTask.create(dataset(*map(float, range(8))))
    assert task.unit == "months"
    assert [task.stratum(case("x", v)) for v in (0.0, 3.0, 7.0, None)] == ["quarter 1", "quarter 2", "quarter 4", None]
    assert RegressionTask.restore(task.state()).state() == task.state()
    with pytest.raises(DataError, match="two different values"):
        task.check({"training": [case("a", 1.0), case("b", 1.0)], "validation": [], "test": []})
    with pytest.raises(ModelError, match="for classes"):
        task.build(nn.Flatten(), losses.cross_entropy(), FACTS)
    with pytest.raises(DataError, match="no classes to weigh"):
        task.class_weights("balanced", FACTS)


def test_written_values_are_read_and_judged(tmp_path: Path) -> None:
    task = RegressionTask("months")
    truth = np.random.default_rng(0).uniform(0, 200, 40)
    guess = truth + np.random.default_rng(1).normal(0, 10, 40)
    cases = {f"c{i}": case(f"c{i}", float(v)) for i, v in enumerate(truth)}
    task.write(tmp_path, list(cases), [ValuePrediction(float(v)) for v in guess], "test")
    found = task.evaluate([tmp_path], cases, EvaluationOptions("title", options={"resamples": 100}))
    assert found.find("mae").value == pytest.approx(np.abs(guess - truth).mean(), rel=1e-6)
    assert task.thresholds(tmp_path, cases, {}) == {}


def test_the_mean_of_networks_is_the_answer() -> None:
    task = RegressionTask()
    both = task.combine([ValuePrediction(1.0), ValuePrediction(4.0)])
    assert task.decide(both, {}) == {"value": 2.5}
