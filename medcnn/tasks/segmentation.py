"""Segmentation: a label for every voxel, exclusive or overlapping, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medcnn.data.images import read_case
from medcnn.data.mask_files import file_stem, volumes_of, write_mask
from medcnn.data.preprocess import MaskReading
from medcnn.errors import DataError, ModelError
from medcnn.evaluation.results import Evaluation
from medcnn.evaluation.segmentation import check_segmentation_options
from medcnn.evaluation.segmentation_case import validation_scores_masks
from medcnn.tasks.base import (
    CachedImages,
    Companion,
    Drawn,
    EvaluationOptions,
    Placement,
    Row,
    Task,
    TrainingFacts,
    together,
)
from medcnn.tasks.dense import swapped_labels
from medcnn.tasks.mask_evaluation import choose_postprocessing, evaluate_masks
from medcnn.tasks.mask_model import SegmentationModel
from medcnn.tasks.mask_postprocess import postprocessing
from medcnn.tasks.mask_predictions import decided_labels, label_fractions, mean_maps, placed_maps, write_mask_table
from medcnn.tasks.mean_mask import MeanMask, mean_training_mask
from medcnn.types import (
    Case,
    ClassLabel,
    Dataset,
    LabelClass,
    LabelSchema,
    MapPrediction,
    Mask,
    MaskFile,
    Part,
    Prediction,
)


class SegmentationTask(Task):
    """Learns the labels of a mask schema.

    Args:
        schema: The labels, without background.
        overlap: Share by which the tiles of a sliding window overlap.
        window_batch: Tiles predicted at a time.
        mirror: Average over mirror images along the symmetric axes when predicting.
        turns: Average over quarter turns in the plane of the first two axes when predicting.
        pairs: Pairs of labels that change places in a mirror image along axis 0, such as left and right.
        resample: Bring a mask of another grid to its image's, where both have geometry.
        consensus: The rule where several persons drew a mask.
        postprocess: ``auto`` keeps the largest component of a label, takes small ones away or fills holes, where
            validation says that it helps.
        classes: Names of the exclusive classes that cases have beside their masks, by which a split is balanced.
    """

    name: ClassVar[str] = "segmentation"
    target: ClassVar[type[Mask]] = Mask
    monitor: ClassVar[str] = "dice"
    gives: ClassVar[Mapping[str, bool]] = {"dense": True}
    keeps_files: ClassVar[bool] = True
    draws: ClassVar[type[Drawn]] = Drawn
    plannable: ClassVar[bool] = True

    def __init__(
        self,
        schema: LabelSchema,
        *,
        overlap: float = 0.5,
        window_batch: int = 4,
        mirror: bool = False,
        turns: bool = False,
        pairs: Sequence[Sequence[str]] = (),
        resample: bool = False,
        consensus: Literal["majority", "staple"] = "staple",
        postprocess: Literal["auto", "none"] = "none",
        classes: tuple[str, ...] = (),
    ) -> None:
        self._schema = schema
        self.overlap, self.window_batch = overlap, window_batch
        self.mirror, self.turns = mirror, turns
        self.pairs = tuple((first, second) for first, second in pairs)
        self.resample, self.consensus, self.postprocess = resample, consensus, postprocess
        self.classes = classes

    @classmethod
    def create(
        cls,
        dataset: Dataset,
        *,
        overlap: float = 0.5,
        window_batch: int = 4,
        mirror: bool = False,
        turns: bool = False,
        pairs: tuple[tuple[str, str], ...] = (),
        resample: bool = False,
        consensus: Literal["majority", "staple"] = "staple",
        postprocess: Literal["auto", "none"] = "none",
        **options: Any,
    ) -> SegmentationTask:
        """The task for a dataset with masks.

        Args:
            dataset: The cases.
            overlap: Share by which the tiles of a sliding window overlap, 0 to below 1.
            window_batch: Tiles predicted at a time.
            mirror: Average over mirror images along the symmetric axes when predicting.
            turns: Average over quarter turns in the plane of the first two axes when predicting, where training turned
                images too (input.augment.rotate); input.size must be equal along both.
            pairs: Pairs of labels that change places in a mirror image along axis 0, such as [left, right].
            resample: Bring a mask of another grid to its image's, where both have geometry.
            consensus: The rule where several persons drew a mask.
            postprocess: auto keeps the largest component of a label, takes small ones away or fills holes, where
                validation says that it helps.

        Raises:
            DataError: If the dataset has no masks, or an option does not fit its labels.
        """
        schema = dataset.labels.get("mask")
        if schema is None or not schema.classes:
            raise DataError(
                "the dataset has no masks",
                where=dataset.name,
                todo="name the column or folder of the masks in the adapter's options, or choose another task",
            )
        if not 0 <= overlap < 1:
            raise DataError(f"overlap is {overlap:g}", where="task.overlap", todo="give a share from 0 to below 1")
        unknown = [name for pair in pairs for name in pair if name not in schema.names]
        if unknown:
            raise DataError(
                f"there is no label {unknown[0]!r}", where="task.pairs", todo=f"choose from {', '.join(schema.names)}"
            )
        classes = own.names if (own := dataset.labels.get("class")) is not None and not own.multilabel else ()
        return cls(
            schema, overlap=overlap, window_batch=window_batch, mirror=mirror, turns=turns, pairs=pairs,
            resample=resample, consensus=consensus, postprocess=postprocess, classes=classes,
        )  # fmt: skip

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> SegmentationTask:
        """The task from the plain values of a checkpoint."""
        options = {k: v for k, v in state.items() if k not in ("classes", "multilabel")}
        classes = tuple(LabelClass(**c) for c in state["classes"])
        return cls(LabelSchema(classes, multilabel=state["multilabel"]), **options)

    def state(self) -> dict[str, Any]:
        """The schema and the options as plain values."""
        classes = [{"value": c.value, "name": c.name, "color": c.color, "code": c.code} for c in self._schema.classes]
        return {
            "classes": classes,
            "multilabel": self._schema.multilabel,
            "overlap": self.overlap,
            "window_batch": self.window_batch,
            "mirror": self.mirror,
            "turns": self.turns,
            "pairs": [list(pair) for pair in self.pairs],
            "resample": self.resample,
            "consensus": self.consensus,
            "postprocess": self.postprocess,
        }

    @property
    def schema(self) -> LabelSchema:
        """The labels."""
        return self._schema

    @property
    def outputs(self) -> int:
        """One logit a label, and one for the background where labels exclude each other."""
        return len(self._schema.classes) + int(not self._schema.multilabel)

    @property
    def default_loss(self) -> str:
        """Dice with cross-entropy."""
        return "dice_ce"

    @property
    def loss_options(self) -> dict[str, Any]:
        """Whether labels exclude each other is the schema's to say."""
        return {"exclusive": not self._schema.multilabel}

    @property
    def masks(self) -> MaskReading:
        """Masks lie beside the images in the cache."""
        return MaskReading(self._schema, self.resample, self.consensus)

    def swapped_channels(self) -> tuple[int, ...] | None:
        """Channels in the order of a mirror image; ``None`` where no labels are paired."""
        if not self.pairs:
            return None
        offset, order = self.outputs - len(self._schema.classes), list(range(self.outputs))
        for first, second in self.pairs:
            a, b = self._schema.index(first) + offset, self._schema.index(second) + offset
            order[a], order[b] = b, a
        return tuple(order)

    def mirrored_labels(self, labels: Tensor, mirrored: Tensor) -> Tensor:
        """Pairs such as left and right change places in the cases that were mirrored along axis 0."""
        order = self.swapped_channels()
        return labels if order is None else swapped_labels(labels, mirrored, order, overlapping=self._schema.multilabel)

    def stratum(self, case: Case) -> str | None:
        """The class of a case with a mask, where the dataset has classes too; else all of them are alike."""
        if case.target(Mask) is None:
            return None
        label = case.target(ClassLabel)
        return "with a mask" if label is None or label.index is None or not self.classes else self.classes[label.index]

    def check(self, parts: Mapping[Part, Sequence[Case]]) -> list[str]:
        """A training part without cases is an error."""
        if not parts["training"]:
            raise DataError("the training part has no case with a mask", where="training part", todo="check the split")
        return []

    def check_evaluation(self, options: Mapping[str, Any]) -> None:
        """Refuse options of the evaluation that do not fit."""
        check_segmentation_options(self._schema, options)

    def encode(self, case: Case) -> dict[str, NDArray[Any]]:
        """Nothing: the label maps lie in the cache."""
        return {}

    def facts(self, cases: Sequence[Case], targets: Mapping[str, NDArray[Any]] | None = None) -> TrainingFacts:
        """Nothing that is known without the masks."""
        return TrainingFacts()

    def class_weights(self, wanted: str | Sequence[float] | None, facts: TrainingFacts) -> Tensor | None:
        """Weights as given: of the background first, then of the labels."""
        if wanted is None:
            return None
        if isinstance(wanted, str):
            raise DataError(
                "balanced weights are for classes of cases",
                where="training.class_weights",
                todo="give one number for the background and one for each label, or leave it out: Dice balances labels",
            )
        if len(wanted) != self.outputs:
            names = (["background"] if not self._schema.multilabel else []) + list(self._schema.names)
            raise DataError(
                f"{len(wanted)} weights for {self.outputs} channels",
                where="training.class_weights",
                todo=f"give one for each of {', '.join(names)}",
            )
        return torch.tensor([float(w) for w in wanted])

    def build(self, network: nn.Module, loss: nn.Module, facts: TrainingFacts) -> SegmentationModel:
        """The network with its loss; refuses a loss for classes of whole images."""
        if hasattr(loss, "exclusive") and not getattr(loss, "dense", False):
            raise ModelError(
                "this loss is for classes of whole images", where="training.loss", todo=f"use {self.default_loss}"
            )
        return SegmentationModel(network, loss, self)

    def study_training(
        self, folder: Path, images: CachedImages, places: Sequence[int], targets: Mapping[str, NDArray[Any]]
    ) -> None:
        """Keep the mean mask of the training part, the trivial baseline.

        Raises:
            DataError: If no voxel of the training part has a label.
        """
        mean_training_mask(images, places, self._schema).save(folder)

    def score(self, rows: Sequence[Row]) -> dict[str, float]:
        """Mean Dice over cases and labels, and of each label."""
        counts = np.array([row["counts"] for row in rows]).reshape(-1, len(self._schema.classes), 3)
        return validation_scores_masks(counts, self._schema.names)

    def keep(
        self,
        folder: Path,
        case: Case,
        prediction: Prediction,
        placement: Placement | None,
        thresholds: Mapping[str, float] | None = None,
        companions: Sequence[Companion] = (),
    ) -> MaskFile:
        """Decide the label of each voxel in the image's own grid, and write the mask."""
        assert isinstance(prediction, MapPrediction)
        assert placement is not None
        image = read_case(case)
        labels = decided_labels(prediction, placement, self._schema)
        if thresholds:
            labels = postprocessing(thresholds, self._schema)(labels, image.spacing)
        drawn = Drawn(case, image, labels, self._schema, partial(label_fractions, prediction, placement, self._schema))
        beside = [companion(folder, drawn) for companion in companions]
        paths = write_mask(folder, file_stem(case.id), labels, self._schema, image)
        baseline = MeanMask.load(folder.parent.parent)
        if baseline is not None:
            mean = baseline.placed(placement, prediction.probabilities.shape[1:], self._schema)
            write_mask(folder / "baseline", file_stem(case.id), mean, self._schema, image)
        volumes, unit = volumes_of(labels, self._schema, image)
        return MaskFile(tuple(path.name for path in paths), volumes, unit, *together(beside))

    def write(self, folder: Path, cases: Sequence[str], predictions: Sequence[Prediction], part: str) -> Path:
        """``<part>.csv`` with the file and the volumes of each case."""
        files = [p for p in predictions if isinstance(p, MaskFile)]
        return write_mask_table(folder / f"{part}.csv", part, cases, files, self._schema)

    def thresholds(self, folder: Path, cases: Mapping[str, Case], options: Mapping[str, Any]) -> dict[str, float]:
        """The post-processing of each label that validation chose; empty where none helps."""
        if self.postprocess == "none":
            return {}
        return choose_postprocessing(folder, cases, self)

    def evaluate(self, folders: Sequence[Path], cases: Mapping[str, Case], options: EvaluationOptions) -> Evaluation:
        """Overlap, distances and volumes of each case in its own grid, as the recipe's ``evaluation`` section says."""
        return evaluate_masks(folders, cases, options, self)

    def combine(self, predictions: Iterable[Prediction]) -> MapPrediction:
        """The mean of the probabilities."""
        return mean_maps(predictions)

    def placed(self, prediction: Prediction, placement: Placement) -> MapPrediction:
        """The probabilities at the voxels of the original image."""
        assert isinstance(prediction, MapPrediction)
        return placed_maps(prediction, placement, self._schema)

    def decide(self, prediction: Prediction, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """The file of the mask, what was made of it, and the volume of each label."""
        assert isinstance(prediction, MaskFile)
        volumes = zip(self._schema.names, prediction.volumes, strict=True)
        files = {"mask": "|".join(prediction.paths), **dict(prediction.beside)}
        notes = {"notes": "; ".join(prediction.notes)} if prediction.notes else {}
        return {**files, **{f"{name}_{prediction.unit}": v for name, v in volumes}, **notes}
