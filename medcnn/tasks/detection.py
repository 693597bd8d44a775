"""Detection: boxes with classes and scores, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from medcnn.data.batch import BOX_LABELS, BOXES, IGNORED_BOX, NO_BOX
from medcnn.data.images import read_case
from medcnn.data.preprocess import MaskReading
from medcnn.errors import DataError, ModelError
from medcnn.evaluation.detection import check_detection_options, validation_scores_boxes
from medcnn.evaluation.results import Evaluation
from medcnn.geometry.boxes import clip_boxes, map_boxes, sides
from medcnn.recipe.schema import Count
from medcnn.tasks.base import (
    CachedImages,
    Companion,
    EvaluationOptions,
    Found,
    Placement,
    Row,
    Task,
    TrainingFacts,
    together,
)
from medcnn.tasks.box_baseline import BoxHeatMap
from medcnn.tasks.box_decoding import Decoding, joined_boxes, merged
from medcnn.tasks.box_evaluation import choose_box_thresholds, evaluate_boxes
from medcnn.tasks.box_model import DetectionModel
from medcnn.tasks.box_predictions import write_baseline, write_box_table
from medcnn.types import Boxes, BoxesPrediction, Case, Dataset, LabelClass, LabelSchema, Part, Prediction

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Overlap = Annotated[float, Field(gt=0.0, le=1.0)]


class DetectionTask(Task):
    """Finds the objects of a box schema.

    Args:
        schema: The classes of boxes.
        decoding: What becomes of a network's outputs.
        mirror: Merge the boxes of mirror images along the symmetric axes when predicting.
        most_boxes: Largest number of boxes that an image of the dataset has.
        masks: How masks are read, by which boxes follow their images; ``None`` where there are none.
        outlines: Weight of the loss by which masks teach the network what is where.
    """

    name: ClassVar[str] = "detection"
    target: ClassVar[type[Boxes]] = Boxes
    monitor: ClassVar[str] = "average_precision"
    gives: ClassVar[Mapping[str, bool]] = {"boxes": True}
    keeps_files: ClassVar[bool] = True
    draws: ClassVar[type[Found]] = Found
    places: ClassVar[bool] = True

    def __init__(
        self,
        schema: LabelSchema,
        decoding: Decoding,
        *,
        mirror: bool = False,
        most_boxes: int = 0,
        masks: MaskReading | None = None,
        outlines: float = 0.0,
    ) -> None:
        self._schema = schema
        self.decoding = decoding
        self.mirror = mirror
        self.most_boxes = most_boxes
        self._masks = masks
        self.outlines = outlines

    @classmethod
    def create(  # type: ignore[override]
        cls,
        dataset: Dataset,
        *,
        score: Share = 0.02,
        nms: Overlap = 0.3,
        exclusive: bool = False,
        most: Count = 100,
        overlap: Share = 0.5,
        window_batch: Count = 4,
        window: tuple[Count, ...] = (),
        mirror: bool = False,
        follow_masks: bool = True,
        outlines: Weight = 0.0,
        resample: bool = False,
        consensus: Literal["majority", "staple"] = "staple",
    ) -> DetectionTask:
        """The task for a dataset's boxes.

        Args:
            dataset: Its cases carry boxes.
            score: Lowest score of a box that is kept, 0 to below 1; the operating point is chosen among these.
            nms: Intersection over union above which the box with the lower score goes.
            exclusive: A place has one class: boxes of different classes suppress each other too.
            most: Boxes of an image, at most.
            overlap: Share by which the tiles of a sliding window overlap, 0 to below 1.
            window_batch: Tiles predicted at a time.
            window: Size of what is predicted at once, which may be larger than the patches of training; absent:
                input.size.
            mirror: Merge the boxes of mirror images along the symmetric axes when predicting.
            follow_masks: Where cases have masks too, boxes of turned images are those of the turned masks, and not
                the larger hulls of turned boxes.
            outlines: Weight of a loss in training by which those masks teach a network with model.outlines what is
                where; 0 is off. Prediction needs no masks.
            resample: Bring a mask of another grid to its image's, where both have geometry.
            consensus: The rule where several persons drew a mask.

        Raises:
            DataError: If the dataset has no boxes, or no masks for outlines.
        """
        schema = _box_schema(dataset)
        drawn = dataset.labels.get("mask")
        masks = None
        if follow_masks and drawn is not None and drawn.classes:
            masks = MaskReading(drawn, resample, consensus, instances=True)
        if outlines and masks is None:
            raise DataError(
                "there are no masks that could teach outlines",
                where="task.outlines",
                todo="name the masks in the adapter's options with task.follow_masks=true, or set task.outlines=0",
            )
        known = [boxes for case in dataset.cases if (boxes := case.target(Boxes)) is not None]
        decoding = Decoding(score, nms, exclusive, most, overlap, window_batch, window)
        most_boxes = max((len(boxes.corners) for boxes in known), default=0)
        return cls(schema, decoding, mirror=mirror, most_boxes=most_boxes, masks=masks, outlines=outlines)

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> DetectionTask:
        """The task from the plain values of a checkpoint."""
        schema = LabelSchema(tuple(LabelClass(**c) for c in state["classes"]))
        return cls(
            schema,
            Decoding(**{**state["decoding"], "window": tuple(state["decoding"].get("window", ()))}),
            mirror=state["mirror"],
            most_boxes=state["most_boxes"],
        )

    def state(self) -> dict[str, Any]:
        """The schema and the options as plain values."""
        classes = [{"value": c.value, "name": c.name, "color": c.color, "code": c.code} for c in self._schema.classes]
        decoding = {name: getattr(self.decoding, name) for name in Decoding.__dataclass_fields__}
        decoding["window"] = list(self.decoding.window)
        return {"classes": classes, "decoding": decoding, "mirror": self.mirror, "most_boxes": self.most_boxes}

    @property
    def schema(self) -> LabelSchema:
        """The classes of boxes."""
        return self._schema

    @property
    def outputs(self) -> int:
        """One logit a class."""
        return len(self._schema.classes)

    @property
    def default_loss(self) -> str:
        """RetinaNet's."""
        return "retinanet"

    @property
    def masks(self) -> MaskReading | None:
        """Masks tell which box each voxel belongs to, where there are any."""
        return self._masks

    def stratum(self, case: Case) -> str | None:
        """The classes that an image shows; none of them is a stratum too."""
        boxes = case.target(Boxes)
        if boxes is None:
            return None
        names = sorted({self._schema.names[k] for k in boxes.labels.tolist()})
        return " and ".join(names) or "nothing"

    def check(self, parts: Mapping[Part, Sequence[Case]]) -> list[str]:
        """A training part without boxes is an error; a test part without negative images is worth a word."""
        counts = {part: [_count(case) for case in cases] for part, cases in parts.items()}
        if not sum(counts["training"]):
            raise DataError(
                "no image of the training part has a box",
                where="training part",
                todo="check the split and how boxes are found",
            )
        said = []
        if counts["test"] and not sum(counts["test"]):
            said.append("no image of the test part has a box: sensitivity and precision of objects are undefined")
        elif counts["test"] and min(counts["test"]) > 0:
            said.append("every image of the test part has a box: what an image without findings gets is not tested")
        return said

    def check_evaluation(self, options: Mapping[str, Any]) -> None:
        """Refuse options of the evaluation that do not fit."""
        check_detection_options(self._schema, options)

    def encode(self, case: Case) -> dict[str, NDArray[Any]]:
        """Corners in the original image's grid, to be brought to the network's, and labels."""
        boxes, most = case.target(Boxes), max(self.most_boxes, 1)
        width = boxes.corners.shape[1] if boxes is not None and boxes.corners.size else 0
        corners = np.full((most, width or 2 * self._dims(case)), np.nan, np.float32)
        labels = np.full(most, NO_BOX, np.int64)
        if boxes is not None and len(boxes.corners):
            count = len(boxes.corners)
            corners[:count], labels[:count] = boxes.corners, boxes.labels
            if boxes.crowd is not None:
                labels[:count][boxes.crowd] = IGNORED_BOX
        return {BOXES: corners, BOX_LABELS: labels}

    def _dims(self, case: Case) -> int:
        boxes = case.target(Boxes)
        return 2 if boxes is None else boxes.corners.shape[1] // 2

    def facts(self, cases: Sequence[Case], targets: Mapping[str, NDArray[Any]] | None = None) -> TrainingFacts:
        """The sides of the boxes in the network's grid."""
        if targets is None:
            return TrainingFacts()
        return TrainingFacts(box_sizes=sides(targets[BOXES][targets[BOX_LABELS] >= 0]).astype(np.float32))

    def class_weights(self, wanted: str | Sequence[float] | None, facts: TrainingFacts) -> Tensor | None:
        """Weights as given, one a class of boxes."""
        if wanted is None:
            return None
        if isinstance(wanted, str) or len(wanted) != self.outputs:
            raise DataError(
                "balanced weights are for classes of cases" if isinstance(wanted, str) else f"{len(wanted)} weights",
                where="training.class_weights",
                todo=f"give one number for each of {', '.join(self._schema.names)}, or leave it out",
            )
        return torch.tensor([float(w) for w in wanted])

    def build(self, network: nn.Module, loss: nn.Module, facts: TrainingFacts) -> DetectionModel:
        """The network with its loss and its anchors; refuses a loss that knows no boxes."""
        if hasattr(loss, "exclusive") and not getattr(loss, "boxes", False):
            raise ModelError(
                "this loss is not about boxes", where="training.loss", todo=f"use {self.default_loss}, or leave it out"
            )
        if self.outlines and getattr(network, "outline", None) is None:
            raise ModelError(
                "this network has no map that masks could teach",
                where="task.outlines",
                todo="use retinanet with model.outlines=true, or set task.outlines=0",
            )
        if not self.outlines and getattr(loss, "boxes", False) and getattr(network, "outline", None) is not None:
            raise ModelError(
                "this network has a map that no masks teach",
                where="model.outlines",
                todo="set task.outlines=0.5 where cases have masks, or set model.outlines=false",
            )
        model = DetectionModel(network, loss, self.decoding, mirror=self.mirror, outlines=self.outlines)
        model.fit_anchors(facts.box_sizes)
        return model

    def study_training(
        self, folder: Path, images: CachedImages, places: Sequence[int], targets: Mapping[str, NDArray[Any]]
    ) -> None:
        """Keep where the boxes of the training part lie, the trivial baseline."""
        corners, labels = [], []
        for place in places:
            known = targets[BOX_LABELS][place] >= 0
            matrix, shape, _ = images.placement(place)
            own = map_boxes(targets[BOXES][place][known], np.linalg.inv(matrix))
            corners.append(own / np.array([*shape, *shape], np.float32))
            labels.append(targets[BOX_LABELS][place][known])
        dims = targets[BOXES].shape[2] // 2
        BoxHeatMap.fit(np.concatenate(corners), np.concatenate(labels), len(places), dims).save(folder)

    def score(self, rows: Sequence[Row]) -> dict[str, float]:
        """Average precision over classes and of each, and the sensitivity at one false positive an image."""
        predicted = [BoxesPrediction(row["corners"], row["labels"], row["scores"]) for row in rows]
        references = []
        for row in rows:
            crowd = row["reference_labels"] < 0
            references.append(Boxes(row["reference"], np.maximum(row["reference_labels"], 0), crowd))
        return validation_scores_boxes(predicted, references, self._schema.names)

    def keep(
        self,
        folder: Path,
        case: Case,
        prediction: Prediction,
        placement: Placement | None,
        thresholds: Mapping[str, float] | None = None,
        companions: Sequence[Companion] = (),
    ) -> BoxesPrediction:
        """The boxes in the image's own grid, and what companions make of them."""
        assert placement is not None
        found = self.placed(prediction, placement)
        if not companions:
            return found
        image = read_case(case)
        found = replace(found, spacing=image.spacing if found.spacing is None else found.spacing)
        shown = Found(case, image, found, self._schema, thresholds or {})
        beside, notes = together(companion(folder, shown) for companion in companions)
        return replace(found, beside=beside, notes=notes)

    def write(self, folder: Path, cases: Sequence[str], predictions: Sequence[Prediction], part: str) -> Path:
        """``<part>.csv`` and ``<part>_boxes.csv``, and those of the trivial baseline."""
        found = [p for p in predictions if isinstance(p, BoxesPrediction)]
        path = write_box_table(folder / f"{part}.csv", cases, found, self._schema)
        baseline = BoxHeatMap.load(folder.parent)
        if baseline is not None:
            write_baseline(path, cases, [baseline.predicted(p.shape) for p in found], self._schema)
        return path

    def thresholds(self, folder: Path, cases: Mapping[str, Case], options: Mapping[str, Any]) -> dict[str, float]:
        """The lowest score of a finding by class, as validation chose it."""
        return choose_box_thresholds(folder, cases, self._schema, options)

    def evaluate(self, folders: Sequence[Path], cases: Mapping[str, Case], options: EvaluationOptions) -> Evaluation:
        """FROC, average precision and the operating point, as the recipe's ``evaluation`` section says."""
        return evaluate_boxes(folders, cases, options, self)

    def combine(self, predictions: Iterable[Prediction]) -> BoxesPrediction:
        """Weighted clusters of the boxes of several networks."""
        parts = [p for p in predictions if isinstance(p, BoxesPrediction)]
        if len(parts) == 1:
            return parts[0]
        joined = joined_boxes(parts, parts[0].corners.shape[1] // 2)
        return self.decoding.chosen(merged(joined, len(parts)))

    def placed(self, prediction: Prediction, placement: Placement) -> BoxesPrediction:
        """The boxes in the original image's own grid, cut at its edges."""
        assert isinstance(prediction, BoxesPrediction)
        corners = clip_boxes(map_boxes(prediction.corners, np.linalg.inv(placement.matrix)), placement.shape)
        solid = sides(corners).min(1, initial=np.inf) > 0
        return replace(
            prediction,
            corners=corners[solid],
            labels=prediction.labels[solid],
            scores=prediction.scores[solid],
            shape=placement.shape,
            spacing=placement.spacing,
        )

    def decide(self, prediction: Prediction, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """How many findings of each class there are, and the highest score."""
        assert isinstance(prediction, BoxesPrediction)
        names = self._schema.names
        least = np.array([thresholds.get(name, 0.5) for name in names])
        called = prediction.scores >= least[prediction.labels]
        counts = {f"{n}_findings": int((called & (prediction.labels == k)).sum()) for k, n in enumerate(names)}
        notes = {"notes": "; ".join(prediction.notes)} if prediction.notes else {}
        highest = float(prediction.scores.max()) if len(prediction.scores) else 0.0
        return {**counts, "highest_score": highest, **dict(prediction.beside), **notes}


def _box_schema(dataset: Dataset) -> LabelSchema:
    """The classes of a dataset's boxes; raises where it has none."""
    schema = dataset.labels.get("boxes")
    if schema is None or not schema.classes:
        derive = "; data.derive: {targets: [boxes]} makes them of masks" if "mask" in dataset.labels else ""
        raise DataError(
            "the dataset has no boxes",
            where=dataset.name,
            todo=f"name their file or columns in the adapter's options{derive}",
        )
    return schema


def _count(case: Case) -> int:
    """Boxes of a case that are to be found."""
    boxes = case.target(Boxes)
    if boxes is None:
        return 0
    return len(boxes.labels) if boxes.crowd is None else int((~boxes.crowd).sum())
