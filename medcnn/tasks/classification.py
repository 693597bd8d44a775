"""Classification: exclusive classes (binary, multinomial) or several labels a case (multilabel)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from medcnn.data.preprocess import MaskReading
from medcnn.errors import DataError, ModelError
from medcnn.evaluation.classification import check_options, evaluate_classification
from medcnn.evaluation.inputs import ClassificationTable
from medcnn.evaluation.metrics import validation_scores
from medcnn.evaluation.results import Evaluation
from medcnn.evaluation.sources import thresholds_to_store
from medcnn.tasks.base import EvaluationOptions, Row, Task, TrainingFacts
from medcnn.tasks.class_model import ClassificationModel, check_taught
from medcnn.tasks.predictions import describe_cases, read_columns, stack, write_columns
from medcnn.types import Case, ClassLabel, ClassPrediction, Dataset, LabelClass, LabelSchema, Part, Prediction

Weight = Annotated[float, Field(ge=0.0)]


def _check_teaching(schema: LabelSchema, masks: LabelSchema | None, focus: float, outlines: float) -> None:
    """Refuse what masks cannot teach."""
    key = "task.outlines" if outlines else "task.focus"
    if focus and outlines:
        raise DataError(
            "masks teach where to look or what is where, not both", where="task.focus", todo="set one of them to 0"
        )
    if (focus or outlines) and masks is None:
        raise DataError(
            f"the dataset has no masks that could teach {'what is where' if outlines else 'where to look'}",
            where=key,
            todo=f"name the masks in the adapter's options, or set {key}=0",
        )
    if outlines and schema.multilabel:
        raise DataError(
            "outlines are learned with exclusive classes, and these cases have several labels each",
            where=key,
            todo="set task.outlines=0, or use task.focus",
        )


class ClassificationTask(Task):
    """Learns the classes of a schema.

    Args:
        schema: The classes.
        masks: The schema of the masks that teach where to look; ``None`` where none do.
        focus: Weight of the loss by which they teach where to look.
        outlines: Weight of the loss by which they teach what is where.
        mirror: Predict the mean over mirror images along the symmetric axes.
    """

    name: ClassVar[str] = "classification"
    target: ClassVar[type[ClassLabel]] = ClassLabel
    monitor: ClassVar[str] = "macro_f1"

    def __init__(
        self,
        schema: LabelSchema,
        masks: LabelSchema | None = None,
        *,
        focus: float = 0.0,
        outlines: float = 0.0,
        mirror: bool = False,
    ) -> None:
        self._schema = schema
        self._masks = masks
        self.focus = focus
        self.outlines = outlines
        self.mirror = mirror

    @classmethod
    def create(
        cls, dataset: Dataset, *, focus: Weight = 0.0, outlines: Weight = 0.0, mirror: bool = False, **options: Any
    ) -> ClassificationTask:
        """The task for a dataset with class labels.

        Args:
            dataset: The cases.
            focus: Weight of a second loss in training, by which the masks of the findings teach a network with
                model.pooling=attention where to look; 0 is off. Prediction needs no masks.
            outlines: Weight of a second loss in training, by which the masks of the findings teach the decoder of
                unet_classifier what is where; 0 is off. Prediction needs no masks.
            mirror: Predict the mean over mirror images along input.symmetric_axes.

        Raises:
            DataError: If the dataset has no class labels, fewer than two exclusive classes, or no masks for focus or
                outlines, or if both are wanted, or outlines for several labels a case.
        """
        schema = dataset.labels.get("class")
        if schema is None:
            raise DataError(
                "the dataset has no class labels",
                where=dataset.name,
                todo="name the column or folder of the label in the adapter's options, or choose another task",
            )
        if not schema.multilabel and len(schema.classes) < 2:
            raise DataError(
                f"classification needs two classes, found {', '.join(schema.names) or 'none'}",
                where=dataset.name,
                todo="add cases of another class: a network has nothing to tell apart here",
            )
        masks = dataset.labels.get("mask")
        _check_teaching(schema, masks, focus, outlines)
        return cls(schema, masks if focus or outlines else None, focus=focus, outlines=outlines, mirror=mirror)

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> ClassificationTask:
        """The task from the plain values of a checkpoint, as far as prediction needs it."""
        classes = tuple(LabelClass(**c) for c in state["classes"])
        schema = LabelSchema(classes, multilabel=state["multilabel"], positive=state["positive"])
        return cls(schema, mirror=state.get("mirror", False))

    @property
    def masks(self) -> MaskReading | None:
        """The masks that teach where to look; one file in the wrong grid is one case that cannot be used."""
        return MaskReading(self._masks) if self._masks is not None else None

    def state(self) -> dict[str, Any]:
        """The schema as plain values."""
        schema = self._schema
        classes = [{"value": c.value, "name": c.name, "color": c.color, "code": c.code} for c in schema.classes]
        return {
            "classes": classes,
            "multilabel": schema.multilabel,
            "positive": schema.positive,
            "mirror": self.mirror,
        }

    @property
    def schema(self) -> LabelSchema:
        """The classes."""
        return self._schema

    @property
    def outputs(self) -> int:
        """One logit a class."""
        return len(self._schema.classes)

    @property
    def default_loss(self) -> str:
        """Cross-entropy, of the classes or of each class."""
        return "binary_cross_entropy" if self._schema.multilabel else "cross_entropy"

    def stratum(self, case: Case) -> str | None:
        """The class; for several labels the set of those that are present."""
        label = case.target(ClassLabel)
        if label is None or label.missing:
            return None
        names = [n for n, s in zip(self._schema.names, label.states, strict=True) if s == 1]
        return "+".join(names) if names else "none"

    def check(self, parts: Mapping[Part, Sequence[Case]]) -> list[str]:
        """Cautions about the parts of a split; a training part with one class only is an error."""
        counts = {part: self._states(cases)[0].sum(0) for part, cases in parts.items()}
        training = counts["training"]
        present = [n for n, c in zip(self._schema.names, training, strict=True) if c > 0]
        if len(present) < (1 if self._schema.multilabel else 2):
            raise DataError(
                f"the training part has only {present[0] if present else 'no labelled'} cases: nothing can be learned",
                where="training part",
                todo="check the labels, the classes' mapping and the split",
            )
        notes = []
        for part, count in counts.items():
            absent = [n for n, c in zip(self._schema.names, count, strict=True) if c == 0]
            if absent and parts[part]:
                notes.append(f"the {part} part has no case of {', '.join(absent)}")
        return notes

    def check_evaluation(self, options: Mapping[str, Any]) -> None:
        """Refuse a threshold rule, level or unit that does not fit the labels."""
        check_options(self._schema, options)

    def encode(self, case: Case) -> dict[str, NDArray[Any]]:
        """``states`` ``(C,)`` float32 and ``valid`` ``(C,)`` bool."""
        label = case.target(ClassLabel)
        states = label.states if label is not None else (None,) * self.outputs
        valid = np.array([s is not None for s in states])
        return {"states": np.array([s or 0 for s in states], np.float32), "valid": valid}

    def _states(self, cases: Sequence[Case]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        encoded = [self.encode(case) for case in cases]
        states = np.array([e["states"] for e in encoded], np.float64).reshape(-1, self.outputs)
        return states, np.array([e["valid"] for e in encoded], bool).reshape(-1, self.outputs)

    def facts(self, cases: Sequence[Case], targets: Mapping[str, NDArray[Any]] | None = None) -> TrainingFacts:
        """Cases by class, and for several labels also how many are labelled."""
        states, valid = self._states(cases)
        return TrainingFacts(class_counts=states.sum(0), class_labelled=valid.sum(0).astype(np.float64))

    def class_weights(self, wanted: str | Sequence[float] | None, facts: TrainingFacts) -> Tensor | None:
        """Weights of the classes: given, or balanced as n / (classes * n of the class).

        For several labels: negatives over positives of each class, the weight of its positive cases.
        """
        if wanted is None:
            return None
        if not isinstance(wanted, str):
            if len(wanted) != self.outputs:
                raise DataError(
                    f"{len(wanted)} weights for {self.outputs} classes",
                    where="training.class_weights",
                    todo=f"give one for each of {', '.join(self._schema.names)}",
                )
            return torch.tensor([float(w) for w in wanted])
        counts = np.maximum(facts.class_counts, 1.0)
        if self._schema.multilabel:
            return torch.tensor((facts.class_labelled - facts.class_counts) / counts, dtype=torch.float32)
        return torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32)

    def build(self, network: nn.Module, loss: nn.Module, facts: TrainingFacts) -> ClassificationModel:
        """The network with its loss; refuses a loss that does not fit the kind of labels."""
        exclusive = not self._schema.multilabel
        # A module without the attribute is no loss of ours: nothing is trained with it.
        if hasattr(loss, "exclusive") and loss.exclusive != exclusive:
            kind = "exclusive classes" if exclusive else "several labels a case"
            raise ModelError(
                f"this loss does not fit {kind}",
                where="training.loss",
                todo=f"use {self.default_loss}, or focal with exclusive: {str(exclusive).lower()}",
            )
        if self.focus and not hasattr(network, "attend"):
            raise ModelError(
                "this network has no attention that masks could teach",
                where="task.focus",
                todo="use small_resnet with model.pooling=attention, or set task.focus=0",
            )
        check_taught(network, loss, self.outlines)
        if self.outlines and not hasattr(network, "outlined"):
            raise ModelError(
                "this network has no decoder that masks could teach",
                where="task.outlines",
                todo="use unet_classifier, or set task.outlines=0",
            )
        return ClassificationModel(
            network, loss, exclusive=exclusive, focus=self.focus, outlines=self.outlines, mirror=self.mirror
        )

    def score(self, rows: Sequence[Row]) -> dict[str, float]:
        """Macro-F1 (at 0.5 for several labels), accuracy and log loss of the validation part."""
        if not rows:
            return {"macro_f1": float("nan"), "accuracy": float("nan"), "log_loss": float("nan")}
        probabilities = np.array([r["probabilities"] for r in rows], np.float64)
        states = np.array([r["states"] for r in rows], np.float64)
        valid = np.array([r["valid"] for r in rows], bool)
        return validation_scores(probabilities, states, valid, exclusive=not self._schema.multilabel)

    def write(self, folder: Path, cases: Sequence[str], predictions: Sequence[Prediction], part: str) -> Path:
        """``<part>.csv`` with the columns ``case`` and ``p_<class>``."""
        rows = [p.probabilities for p in predictions if isinstance(p, ClassPrediction)]
        return write_columns(folder / f"{part}.csv", cases, [f"p_{name}" for name in self._schema.names], rows)

    def _table(self, folder: Path, part: str, cases: Mapping[str, Case], fold: int = 0) -> ClassificationTable:
        """Predictions of one part beside the references of their cases."""
        ids, columns, numbers = read_columns(folder / f"{part}.csv", cases)
        expected = [f"p_{name}" for name in self._schema.names]
        if columns != expected:
            raise DataError(
                f"the columns are {', '.join(columns)}",
                where=str(folder / f"{part}.csv"),
                todo=f"expected {', '.join(expected)}: predict again",
            )
        found = [cases[i] for i in ids]
        states, valid = self._states(found)
        return ClassificationTable(
            cases=ids,
            probabilities=numbers.astype(np.float32).reshape(-1, self.outputs),
            states=np.where(valid, states, np.nan),
            fold=np.full(len(ids), fold),
            **describe_cases(found),
        )

    def thresholds(self, folder: Path, cases: Mapping[str, Case], options: Mapping[str, Any]) -> dict[str, float]:
        """By class, chosen on the validation part as the recipe says; none where the most probable class decides.

        Where patients have several images, also those of patients, behind ``patient:``.
        """
        return thresholds_to_store(self._table(folder, "validation", cases), self._schema, options)

    def evaluate(self, folders: Sequence[Path], cases: Mapping[str, Case], options: EvaluationOptions) -> Evaluation:
        """Counts and rank figures with intervals, as the recipe's ``evaluation`` section says."""
        table = stack([self._table(f, options.part, cases, k) for k, f in enumerate(folders)])
        sources: Sequence[ClassificationTable] | Sequence[Mapping[str, float]] = options.thresholds
        if not sources:
            sources = [self._table(f, "validation", cases) for f in folders]
        return evaluate_classification(
            table,
            self._schema,
            sources,
            title=options.title,
            part=options.part,
            patients_known=options.patients_known,
            gallery=options.gallery,
            seed=options.seed,
            **options.options,
        )

    def combine(self, predictions: Iterable[Prediction]) -> ClassPrediction:
        """The mean of the probabilities."""
        rows = [p.probabilities for p in predictions if isinstance(p, ClassPrediction)]
        return ClassPrediction(np.asarray(np.mean(rows, axis=0, dtype=np.float64), np.float32))

    def decide(self, prediction: Prediction, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """The probabilities and the class: at its threshold where one is stored, else the most probable one.

        For several labels: every class at or above its threshold (0.5 where none is stored), joined by ``|``.
        """
        assert isinstance(prediction, ClassPrediction)
        names, p = self._schema.names, prediction.probabilities
        columns: dict[str, Any] = {f"p_{name}": float(v) for name, v in zip(names, p, strict=True)}
        if self._schema.multilabel:
            columns["class"] = "|".join(n for n, v in zip(names, p, strict=True) if v >= thresholds.get(n, 0.5))
            return columns
        positive = self._schema.positive
        if self._schema.binary and positive is not None and positive in thresholds:
            index = self._schema.index(positive)
            chosen = index if p[index] >= thresholds[positive] else 1 - index
        else:
            chosen = int(p.argmax())
        columns["class"] = names[chosen]
        return columns
