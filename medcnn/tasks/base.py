"""What differs between tasks, as one protocol: the trainer, the predictor and the report know nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from medcnn.data.batch import Batch
from medcnn.data.preprocess import MaskReading
from medcnn.evaluation.results import Evaluation
from medcnn.recipe.schema import InputSection
from medcnn.types import BoxesPrediction, Case, Dataset, Image, LabelSchema, Part, Prediction, Target

Row = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What is fitted on the training part and needed to build the loss (never from other parts).

    Attributes:
        class_counts: ``(C,)`` cases of the training part by class.
        class_labelled: ``(C,)`` cases of the training part in which the class's state is known.
        value_mean: Mean of a continuous label; 0 without one.
        value_std: Its standard deviation; 1 without one.
        box_sizes: ``(N, D)`` sides of the boxes of the training part, in voxels of the network's image.
    """

    class_counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    class_labelled: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    value_mean: float = 0.0
    value_std: float = 1.0
    box_sizes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))


@dataclass(frozen=True, slots=True)
class Placement:
    """How an image lies in the grid that the network saw.

    Attributes:
        matrix: ``(D+1, D+1)``, voxel indices of the original image to those of the network's grid.
        shape: Spatial shape of the original image.
        spacing: Of the original image in mm; ``None`` where it has none, or is not known.
    """

    matrix: NDArray[np.float64]
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A predicted mask in its image's own grid, on its way to the disk.

    Attributes:
        case: The case; its id is the name that its files have.
        image: The image.
        labels: ``(X, Y[, Z])`` positions, or ``(L, X, Y[, Z])`` of 0 and 1 where labels overlap.
        schema: The labels.
        fractions: Gives ``(L, X, Y[, Z])`` float32, the probability of each label in steps of 1/255.
    """

    case: Case
    image: Image
    labels: NDArray[np.uint8]
    schema: LabelSchema
    fractions: Callable[[], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Predicted boxes in their image's own grid, on their way to the disk.

    Attributes:
        case: The case; its id is the name that its files have.
        image: The image.
        boxes: All of them, whatever their score.
        schema: The classes of boxes.
        thresholds: The lowest score by class at which a box is called a finding.
    """

    case: Case
    image: Image
    boxes: BoxesPrediction
    schema: LabelSchema
    thresholds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Beside:
    """What a companion wrote.

    Attributes:
        files: The name of a column in the table of predictions, and the file relative to their folder.
        notes: Sentences about it.
    """

    files: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def together(written: Iterable[Beside]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The files and the notes of several companions."""
    every = list(written)
    return tuple(f for one in every for f in one.files), tuple(n for one in every for n in one.notes)


class Companion(Protocol):
    """Writes another form of a mask or of boxes beside it, such as a DICOM object or a picture."""

    def __call__(self, folder: Path, drawn: Any, /) -> Beside:
        """Write :class:`Drawn` or :class:`Found`, by the task, below ``folder``.

        Raises:
            ImageError: If the image does not allow it.
        """


class CachedImages(Protocol):
    """The cached images and label maps of a run, as a task may look at those of the training part."""

    def volume(self, row: int) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Views of one image ``(C, *spatial)`` and its label map ``(K, *spatial)``."""

    def placement(self, place: int) -> tuple[NDArray[np.float64], tuple[int, ...], tuple[float, ...] | None]:
        """How an image lies in the network's grid: what :class:`Placement` is made of."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What an evaluation is told beside the predictions.

    Attributes:
        title: What is evaluated.
        part: The part, ``test`` or the name of an external set; its predictions are ``<part>.csv``.
        patients_known: Whether clusters are patients.
        options: The recipe's ``evaluation`` section.
        gallery: Pictures in a gallery.
        seed: Seed of the resampling.
        unit: Unit of a continuous label.
        thresholds: By fold, where they are not to be chosen anew but taken as stored; empty otherwise.
        folds: Networks of a k-fold run whose out-of-fold predictions are pooled.
    """

    title: str
    part: str = "test"
    patients_known: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    gallery: int = 12
    seed: int = 0
    unit: str = ""
    thresholds: Sequence[Mapping[str, float]] = ()
    folds: int = 1


class TaskModel(nn.Module, ABC):
    """A network with its loss and its decoding: the trainer sums what ``losses`` gives and steps."""

    network: nn.Module

    def adopt(self, section: InputSection) -> None:
        """Take note of the size of the network's input and of the axes along which images are symmetric."""

    def remarks(self) -> tuple[str, ...]:
        """What was fitted on the training part, in sentences for the user."""
        return ()

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalar float32 losses by name; their sum is minimised. Cases without a label do not count."""

    @abstractmethod
    def predict(self, image: Tensor) -> list[Prediction]:
        """One prediction a case for ``(B, C, *spatial)``, in the network's grid, float32."""

    @abstractmethod
    def rows(self, batch: Batch) -> list[Row]:
        """One small row a case from which :meth:`Task.score` computes the validation figures."""


class Task(ABC):
    """One kind of task for one schema of labels.

    Attributes:
        name: The name in the registry and in ``metrics.json``.
        target: The kind of target that cases must carry.
        monitor: The validation figure by which checkpoints are chosen.
        mode: ``max`` or ``min``.
        gives: What the network gives, as :func:`~medcnn.models.build.build_network` is told: nothing for one value a
            case, ``dense`` for one a voxel, ``boxes`` for a detector.
        places: Whether targets or predictions lie on the image's grid, so that its place in the network's is kept.
        keeps_files: Whether :meth:`keep` writes a file for each prediction.
        draws: What :meth:`keep` gives to companions; ``None`` where it gives them nothing.
        plannable: Whether network, patch and batch may be planned (``auto`` in a recipe).
    """

    name: ClassVar[str]
    target: ClassVar[type[Target]]
    monitor: ClassVar[str]
    mode: ClassVar[Literal["max", "min"]] = "max"
    gives: ClassVar[Mapping[str, bool]] = {}
    places: ClassVar[bool] = False
    keeps_files: ClassVar[bool] = False
    draws: ClassVar[type[Drawn | Found] | None] = None
    plannable: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def create(cls, dataset: Dataset, **options: Any) -> Task:
        """The task for a dataset; raises :class:`~medcnn.errors.DataError` where the labels do not serve it."""

    @classmethod
    @abstractmethod
    def restore(cls, state: Mapping[str, Any]) -> Task:
        """The task from :meth:`state`, as a checkpoint holds it."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain values from which :meth:`restore` makes the same task."""

    @property
    @abstractmethod
    def schema(self) -> LabelSchema | None:
        """The classes, where there are any."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Channels that the network must give."""

    @property
    @abstractmethod
    def default_loss(self) -> str:
        """Name of the loss where the recipe gives none."""

    @property
    def masks(self) -> MaskReading | None:
        """How masks become label maps beside the cached images; ``None`` where the task needs none."""
        return None

    def study_training(  # noqa: B027
        self, folder: Path, images: CachedImages, places: Sequence[int], targets: Mapping[str, NDArray[Any]]
    ) -> None:
        """Look at the label maps or targets of a fold's training part, before it is trained.

        Leaves in the fold's folder what the trivial baseline needs; raises
        :class:`~medcnn.errors.DataError` where nothing can be learned from them.

        Args:
            folder: Of the fold.
            images: The cached images of all cases.
            places: Those of the training part.
            targets: Encoded targets of all cases, by place.
        """

    def keep(
        self,
        folder: Path,
        case: Case,
        prediction: Prediction,
        placement: Placement | None,
        thresholds: Mapping[str, float] | None = None,
        companions: Sequence[Companion] = (),
    ) -> Prediction:
        """Put what is large about a prediction on disk at once, in the image's own grid.

        Args:
            folder: Where the predictions of one part go.
            case: The case.
            prediction: As the network's decoding gave it.
            placement: Where the image lies in the network's grid; ``None`` for tasks without masks.
            thresholds: What validation chose, where it is to be applied at once; predictions of a run are kept as
                they are, since the evaluation applies it.
            companions: Write other forms of a mask; what one of them refuses is not written at all.

        Returns:
            What :meth:`write` needs of it.
        """
        return prediction

    @abstractmethod
    def check(self, parts: Mapping[Part, Sequence[Case]]) -> list[str]:
        """Cautions about a split's parts; raises :class:`~medcnn.errors.DataError` where training is pointless."""

    def check_evaluation(self, options: Mapping[str, Any]) -> None:  # noqa: B027 - most tasks have nothing to refuse
        """Refuse options of the evaluation that do not fit the labels, before anything is trained."""

    @abstractmethod
    def encode(self, case: Case) -> dict[str, NDArray[Any]]:
        """The target of a case as arrays of a fixed shape (missing labels included)."""

    @abstractmethod
    def facts(self, cases: Sequence[Case], targets: Mapping[str, NDArray[Any]] | None = None) -> TrainingFacts:
        """What the loss and the network need to know of the training part.

        Args:
            cases: The cases of the training part.
            targets: Their encoded targets, in the network's grid.
        """

    @abstractmethod
    def class_weights(self, wanted: str | Sequence[float] | None, facts: TrainingFacts) -> Tensor | None:
        """The weights that the recipe's ``training.class_weights`` asks for; ``None`` for none."""

    @property
    def loss_options(self) -> dict[str, Any]:
        """Options of the loss that follow from the labels, whatever a recipe says."""
        return {}

    @abstractmethod
    def stratum(self, case: Case) -> str | None:
        """The label by which a split is stratified; ``None`` where it is missing."""

    @abstractmethod
    def build(self, network: nn.Module, loss: nn.Module, facts: TrainingFacts) -> TaskModel:
        """The network with its loss and decoding."""

    @abstractmethod
    def score(self, rows: Sequence[Row]) -> dict[str, float]:
        """Validation figures from the gathered rows, ``monitor`` among them; NaN where undefined."""

    @abstractmethod
    def write(self, folder: Path, cases: Sequence[str], predictions: Sequence[Prediction], part: str) -> Path:
        """Predictions of one part on disk, in the order of the case ids; returns the file."""

    @abstractmethod
    def thresholds(self, folder: Path, cases: Mapping[str, Case], options: Mapping[str, Any]) -> dict[str, float]:
        """Thresholds chosen on the predictions of the validation part in a folder; empty where there are none."""

    @abstractmethod
    def evaluate(self, folders: Sequence[Path], cases: Mapping[str, Case], options: EvaluationOptions) -> Evaluation:
        """The evaluation of the predictions on disk, one folder a fold."""

    @abstractmethod
    def combine(self, predictions: Iterable[Prediction]) -> Prediction:
        """One prediction of a case from those of several networks, such as the folds'; these may be used up."""

    def mirrored_labels(self, labels: Tensor, mirrored: Tensor) -> Tensor:
        """Label maps after mirroring along axis 0, with paired labels in each other's place.

        Args:
            labels: ``(B, K, *spatial)``, already mirrored where it applies.
            mirrored: ``(B,)`` which cases are.
        """
        return labels

    def placed(self, prediction: Prediction, placement: Placement) -> Prediction:
        """A prediction in the original image's own grid, so that networks which saw other grids can be combined."""
        return prediction

    @abstractmethod
    def decide(self, prediction: Prediction, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """A prediction as the columns of a table, with the decision at the thresholds."""
