"""Regression: a continuous label, such as bone age, learned on the scale of the training part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from medcnn.data.batch import Batch
from medcnn.errors import DataError, ModelError
from medcnn.evaluation.inputs import RegressionTable
from medcnn.evaluation.regression import evaluate_regression
from medcnn.evaluation.results import Evaluation
from medcnn.tasks.base import EvaluationOptions, Row, Task, TaskModel, TrainingFacts
from medcnn.tasks.class_model import check_taught
from medcnn.tasks.predictions import describe_cases, read_columns, stack, write_columns
from medcnn.types import Case, Dataset, Part, Prediction, Value, ValuePrediction

STRATA = 4


class RegressionModel(TaskModel):
    """A network with one output: the value in standard deviations from the training part's mean.

    Args:
        network: ``(B, C, *spatial)`` to ``(B, 1)``.
        loss: Takes outputs, targets and validity, each ``(B, 1)``.
        mean: Mean of the training part, in the label's unit.
        std: Its standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, loss: nn.Module, *, mean: float, std: float) -> None:
        import torch

        super().__init__()
        self.network = network
        self.loss = loss
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss over the cases whose value is known."""
        value, valid = batch.targets["value"], batch.targets["valid"]
        scaled = (value - self.mean) / self.std
        if "mix_index" in batch.targets:
            partner = batch.targets["mix_index"]
            weight = batch.targets["mix_weight"].unsqueeze(1)
            scaled = scaled * weight + scaled[partner] * (1 - weight)
            valid = valid & valid[partner]
        return {"loss": self.loss(self.network(batch.image).float(), scaled, valid)}

    def values(self, image: Tensor) -> NDArray[np.float64]:
        """``(B,)`` values in the label's unit."""
        scaled = self.network(image).float()[:, 0] * self.std + self.mean
        return np.asarray(scaled.cpu().numpy(), np.float64)

    def predict(self, image: Tensor) -> list[Prediction]:
        """One value a case."""
        return [ValuePrediction(float(v)) for v in self.values(image)]

    def rows(self, batch: Batch) -> list[Row]:
        """The predicted beside the true value."""
        predicted = self.values(batch.image)
        value = batch.targets["value"].cpu().numpy()[:, 0]
        valid = batch.targets["valid"].cpu().numpy()[:, 0]
        return [
            {
                "index": np.asarray(i),
                "predicted": np.asarray(predicted[k]),
                "value": np.asarray(value[k]),
                "valid": np.asarray(valid[k]),
            }
            for k, i in enumerate(batch.index.tolist())
            if i >= 0
        ]


class RegressionTask(Task):
    """Learns a continuous label.

    Args:
        unit: The label's unit, as the dataset names it.
        edges: Limits of the strata by which a split is stratified.
    """

    name: ClassVar[str] = "regression"
    target: ClassVar[type[Value]] = Value
    monitor: ClassVar[str] = "mae"
    mode: ClassVar[Literal["max", "min"]] = "min"

    def __init__(self, unit: str = "", edges: Sequence[float] = ()) -> None:
        self.unit = unit
        self.edges = tuple(float(e) for e in edges)

    @classmethod
    def create(cls, dataset: Dataset, **options: Any) -> RegressionTask:
        """The task for a dataset with values.

        Raises:
            DataError: If no case has a value, or all values are equal.
        """
        values = [t.value for t in (c.target(Value) for c in dataset.cases) if t is not None and t.value is not None]
        if not values:
            raise DataError(
                "the dataset has no continuous label",
                where=dataset.name,
                todo="name its column as value in the adapter's options, or choose another task",
            )
        if min(values) == max(values):
            raise DataError(f"all values are {values[0]:g}: nothing can be learned", where=dataset.name)
        edges = np.quantile(values, np.linspace(0, 1, STRATA + 1)[1:-1])
        return cls(str(dataset.facts.get("unit", "") or ""), edges.tolist())

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> RegressionTask:
        """The task from the plain values of a checkpoint."""
        return cls(state["unit"], state["edges"])

    def state(self) -> dict[str, Any]:
        """Unit and strata."""
        return {"unit": self.unit, "edges": list(self.edges)}

    @property
    def schema(self) -> None:
        """A value has no classes."""
        return None

    @property
    def outputs(self) -> int:
        """One value."""
        return 1

    @property
    def default_loss(self) -> str:
        """Mean squared error."""
        return "mse"

    def stratum(self, case: Case) -> str | None:
        """The quarter of all values in which the case's lies."""
        value = self._value(case)
        return None if value is None else f"quarter {int(np.searchsorted(self.edges, value)) + 1}"

    @staticmethod
    def _value(case: Case) -> float | None:
        target = case.target(Value)
        return target.value if target is not None else None

    def check(self, parts: Mapping[Part, Sequence[Case]]) -> list[str]:
        """Fewer than two different values in the training part are an error."""
        known = {self._value(case) for case in parts["training"]} - {None}
        if len(known) < 2:
            raise DataError(
                "the training part has fewer than two different values: nothing can be learned", where="training part"
            )
        return []

    def encode(self, case: Case) -> dict[str, NDArray[Any]]:
        """``value`` ``(1,)`` float32 and ``valid`` ``(1,)`` bool."""
        value = self._value(case)
        return {"value": np.array([value or 0.0], np.float32), "valid": np.array([value is not None])}

    def facts(self, cases: Sequence[Case], targets: Mapping[str, NDArray[Any]] | None = None) -> TrainingFacts:
        """Mean and standard deviation of the training part."""
        values = [v for v in (self._value(case) for case in cases) if v is not None]
        return TrainingFacts(value_mean=float(np.mean(values)), value_std=float(np.std(values)) or 1.0)

    def class_weights(self, wanted: str | Sequence[float] | None, facts: TrainingFacts) -> None:
        """A value has no classes to weigh."""
        if wanted is not None:
            raise DataError("a continuous label has no classes to weigh", where="training.class_weights")

    def build(self, network: nn.Module, loss: nn.Module, facts: TrainingFacts) -> RegressionModel:
        """The network with its loss and scale."""
        if getattr(loss, "exclusive", None) is not None:
            raise ModelError("this loss is for classes", where="training.loss", todo="use mse")
        check_taught(network, loss, 0.0)
        return RegressionModel(network, loss, mean=facts.value_mean, std=facts.value_std)

    def score(self, rows: Sequence[Row]) -> dict[str, float]:
        """Mean absolute error and root mean squared error of the validation part."""
        errors = np.array([r["predicted"] - r["value"] for r in rows if bool(r["valid"])], np.float64)
        if not errors.size:
            return {"mae": float("nan"), "rmse": float("nan")}
        return {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean()))}

    def write(self, folder: Path, cases: Sequence[str], predictions: Sequence[Prediction], part: str) -> Path:
        """``<part>.csv`` with the columns ``case`` and ``value``."""
        rows = [[p.value] for p in predictions if isinstance(p, ValuePrediction)]
        return write_columns(folder / f"{part}.csv", cases, ["value"], rows)

    def thresholds(self, folder: Path, cases: Mapping[str, Case], options: Mapping[str, Any]) -> dict[str, float]:
        """A value has no threshold."""
        return {}

    def evaluate(self, folders: Sequence[Path], cases: Mapping[str, Case], options: EvaluationOptions) -> Evaluation:
        """Errors and agreement with intervals, as the recipe's ``evaluation`` section says."""
        tables = []
        for fold, folder in enumerate(folders):
            ids, _, numbers = read_columns(folder / f"{options.part}.csv", cases)
            found = [cases[i] for i in ids]
            known = [self._value(case) for case in found]
            tables.append(
                RegressionTable(
                    cases=ids,
                    predicted=numbers[:, 0],
                    values=np.array([np.nan if v is None else v for v in known], np.float64),
                    fold=np.full(len(ids), fold),
                    **describe_cases(found),
                )
            )
        return evaluate_regression(
            stack(tables),
            title=options.title,
            part=options.part,
            patients_known=options.patients_known,
            gallery=options.gallery,
            seed=options.seed,
            unit=self.unit,
            **options.options,
        )

    def combine(self, predictions: Iterable[Prediction]) -> ValuePrediction:
        """The mean."""
        return ValuePrediction(float(np.mean([p.value for p in predictions if isinstance(p, ValuePrediction)])))

    def decide(self, prediction: Prediction, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """The value."""
        assert isinstance(prediction, ValuePrediction)
        return {"value": prediction.value}
