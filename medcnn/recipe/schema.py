"""The recipe: one experiment, as a user writes it in YAML.

The sections are fixed here. Options of a component (a task, a network, a loss, ...) are the typed
arguments of its builder: :mod:`medcnn.recipe.options` derives and checks them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medcnn.recipe.parts import AUTO, Named, PlannedCount, PlannedSize, PlannedSpacing, Precision, Section
from medcnn.recipe.parts import Component as Component
from medcnn.recipe.parts import Count as Count
from medcnn.recipe.parts import Fraction as Fraction
from medcnn.recipe.parts import Positive as Positive
from medcnn.recipe.training_images import AugmentSection as AugmentSection
from medcnn.recipe.training_images import PatchesSection as PatchesSection


class SplitSection(Section):
    """How cases are divided into training, validation and test parts. Groups are never divided."""

    by: Literal["fractions", "folds", "column", "date", "attribute"] = Field(
        "fractions",
        description="The rule: random fractions, k folds, the dataset's own part column, "
        "a date (latest cases are the test part), or leave-one-out over an attribute such as site.",
    )
    validation: Fraction = Field(
        0.15, description="Share of the cases for validation (within folds: of the fold's training part)."
    )
    test: Fraction = Field(0.15, description="Share of the cases for the test part, for fractions and date.")
    folds: Count | None = Field(None, description="Number of folds, for folds.")
    only: tuple[int, ...] | None = Field(None, description="Train only these folds, counted from 0.")
    attribute: str | None = Field(None, description="The attribute that divides (attribute), or holds the date (date).")
    value: str | None = Field(
        None, description="For attribute: the one value to test on; all in turn where it is absent."
    )
    stratify: bool = Field(True, description="Keep the class balance equal between parts, as far as groups allow.")
    seed: int | None = Field(None, ge=0, description="Seed of the split; the recipe's seed where it is absent.")

    def _objections(self) -> Iterator[tuple[str, str]]:
        if self.by in ("fractions", "date") and self.validation + self.test >= 1:
            yield "test", f"validation and test leave nothing for training ({self.validation:g} + {self.test:g})"
        if self.by == "folds":
            if self.folds is None:
                yield "folds", "is missing: by: folds needs their number"
            elif self.folds < 2:
                yield "folds", "should be at least 2"
        elif self.folds is not None:
            yield "folds", f"serves by: folds alone, and by is {self.by}"
        if self.only is not None:
            yield from self._objections_to_only(self.only)
        if self.by in ("date", "attribute") and self.attribute is None:
            yield "attribute", f"is missing: by: {self.by} needs the name of the attribute"
        if self.by not in ("date", "attribute") and self.attribute is not None:
            yield "attribute", f"serves by: date and by: attribute alone, and by is {self.by}"
        if self.by != "attribute" and self.value is not None:
            yield "value", f"serves by: attribute alone, and by is {self.by}"

    def _objections_to_only(self, only: tuple[int, ...]) -> Iterator[tuple[str, str]]:
        if self.by not in ("folds", "attribute"):
            yield "only", f"serves by: folds and by: attribute alone, and by is {self.by}"
        elif not only or len(set(only)) < len(only) or min(only) < 0:
            yield "only", "should hold different folds, counted from 0"
        elif self.folds is not None and max(only) >= self.folds:
            yield "only", f"folds are counted from 0 to {self.folds - 1}"


class StackSection(Section):
    """Which stack is meant where files of DICOM hold several. What is absent does not matter."""

    kind: str | None = Field(
        "image",
        description="Kind of object: image, localizer, secondary capture, dose distribution, ...; null: any that has "
        "pixels.",
    )
    modality: str | None = Field(None, description="DICOM's code, such as CT or MR.")
    plane: Literal["axial", "coronal", "sagittal"] | None = Field(None, description="The nearest plane of the slices.")
    description: str | None = Field(
        None,
        description="Regular expression, found anywhere in SeriesDescription or ProtocolName, without regard to case.",
    )
    series_number: int | None = Field(None, description="SeriesNumber.")
    image_type: str | None = Field(None, description="A value that ImageType must hold, such as ORIGINAL or ADC.")
    derived: bool | None = Field(None, description="Whether the pixels were computed from other images.")
    echo: int | None = Field(None, description="EchoNumbers.")
    temporal: int | None = Field(None, description="TemporalPositionIdentifier or index.")
    b_value: float | None = Field(None, ge=0, description="Diffusion b-value in s/mm².")
    least_slices: Count = Field(1, description="Smallest number of slices.")
    prefer: Literal["most_slices", "first", "last"] | None = Field(
        None,
        description="Which one where several fit: the one with the most_slices, the first or the last by series and "
        "position; absent: that is an error of the case, which lists them.",
    )

    def _objections(self) -> Iterator[tuple[str, str]]:
        try:
            re.compile(self.description or "")
        except re.error as error:
            yield "description", f"is no regular expression: {error}"


class DeriveSection(Section):
    """What follows from the masks of a dataset, so that it serves other tasks too; nothing is written to disk."""

    targets: tuple[Literal["class", "boxes"], ...] = Field(
        description="class: which labels of the mask are there. boxes: a box around each connected component."
    )
    resample: bool = Field(False, description="Bring masks of another grid to their image's, where both have geometry.")
    consensus: Literal["majority", "staple"] = Field(
        "staple", description="The rule where several persons drew a mask."
    )

    def _objections(self) -> Iterator[tuple[str, str]]:
        if not self.targets or len(set(self.targets)) < len(self.targets):
            yield "targets", "should name class or boxes, or each once"


class DataSection(Section):
    """Which dataset, where it is, how it is divided, and what happens to what cannot be used."""

    dataset: str | None = Field(None, description="A name of the catalog (medcnn data list).")
    catalog: str | None = Field(None, description="A catalog file of one's own, searched before the built-in one.")
    adapter: Named | None = Field(None, description="An adapter with its options, instead of a catalog name.")
    root: str | None = Field(
        None,
        description="Folder of the data; default: $MEDCNN_DATA, else ~/.cache/medcnn/data, plus the dataset's folder.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the catalog entry's adapter to change."
    )
    stack: StackSection | None = Field(
        None, description="Which stack is meant where files of DICOM hold several; prediction goes by it too."
    )
    derive: DeriveSection | None = Field(
        None, description="Make classes or boxes of the masks, so that a dataset with masks serves every task."
    )
    limit: Count | None = Field(
        None, description="Use at most this many cases (an even sample over groups), for a trial run."
    )
    split: SplitSection = Field(default_factory=SplitSection)
    drop_duplicates: bool = Field(
        True, description="Leave out surplus copies of pixel-identical images that carry the same label."
    )
    near_duplicates: Literal["auto", "off", "report", "group"] = Field(
        "auto",
        description="Look for turned, cropped, rescaled, re-encoded and re-windowed copies, verified by pixels. "
        "report: the audit names them. group: they also stay in one part of the split. "
        "auto: report for up to 60,000 images, off above.",
    )
    on_error: Literal["report", "stop"] = Field("report", description="What one unusable case does to the run.")
    max_unusable: Fraction = Field(0.05, description="Above this share of unusable cases the run stops.")
    cache: str | None = Field(
        None, description="Folder of the preprocessed cache; default: $MEDCNN_CACHE, else ~/.cache/medcnn/cache."
    )

    def _objections(self) -> Iterator[tuple[str, str]]:
        if self.dataset is None and self.adapter is None:
            yield "dataset", "is missing: name a dataset of the catalog, or give an adapter"
        if self.dataset is not None and self.adapter is not None:
            yield "adapter", "give either a dataset of the catalog or an adapter, not both"
        if self.adapter is not None and self.root is None:
            yield "root", "is missing: an adapter needs the folder of the data"
        if self.adapter is not None and self.options:
            yield "options", "changes a catalog entry: write the options of an adapter into data.adapter"


class IntensitySection(Section):
    """How intensities of one case become numbers around [0, 1], by the case's own values or fixed limits."""

    method: Literal["auto", "range", "window", "percentiles", "zscore", "none", "planned"] = Field(
        "auto",
        description="auto: range of the stored type for 8-bit images, window for CT, percentiles otherwise. "
        "range: the stored type's range to [0, 1]. window: [low, high] to [0, 1]. "
        "percentiles: those of the case to [0, 1]. zscore: mean 0 and standard deviation 1 of the case. "
        "planned: a window over the labelled voxels of the training part for CT, zscore otherwise.",
    )
    low: float | None = Field(None, description="Lower limit of the window, in the image's unit (HU for CT).")
    high: float | None = Field(None, description="Upper limit of the window.")
    percentiles: tuple[float, float] = Field(
        (0.5, 99.5), description="Lower and upper percentile of the case's intensities that become 0 and 1."
    )

    def _objections(self) -> Iterator[tuple[str, str]]:
        if self.method not in ("window", "auto"):
            for key, limit in (("low", self.low), ("high", self.high)):
                if limit is not None:
                    yield key, f"serves method: window alone, and method is {self.method}"
        elif (self.low is None) != (self.high is None) or (self.method == "window" and self.low is None):
            yield "low" if self.low is None else "high", "is missing: a window needs both low and high"
        elif self.low is not None and self.high is not None and self.low >= self.high:
            yield "high", f"should be above low ({self.low:g})"
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            yield "percentiles", "should be two rising numbers from 0 to 100"


class InputSection(Section):
    """What the network sees: the deterministic preprocessing, and the augmentation of training batches."""

    size: PlannedSize = Field(
        ..., description="Spatial size in px or voxels: [X, Y] or [X, Y, Z]; auto: planned (segmentation)."
    )
    channels: Count = Field(1, description="Channels of the image; colour is turned to grey for 1.")
    spacing: PlannedSpacing = Field(
        None, description="Resample to this spacing in mm first; needs images with geometry. auto: planned."
    )
    orientation: str | None = Field(None, description="Axis codes such as RAS for volumes; absent: as stored.")
    fit: Literal["resize", "pad", "crop", "patches"] = Field(
        "resize",
        description="How an image comes to its size: resize each axis; pad: resize keeping the aspect, then pad; "
        "crop: centre crop or pad without resizing; patches: the image keeps its size, training draws patches of "
        "input.size and prediction slides a window of it (segmentation and detection).",
    )
    patches: PatchesSection = Field(default_factory=PatchesSection)
    intensity: IntensitySection = Field(default_factory=IntensitySection)
    symmetric_axes: tuple[int, ...] = Field(
        (),
        description="Spatial axes (0 is x) along which a mirror image is as plausible; flips are drawn "
        "along these alone.",
    )
    augment: AugmentSection | None = Field(default_factory=AugmentSection, description="null turns augmentation off.")

    @model_validator(mode="before")
    @classmethod
    def _planned(cls, given: Any) -> Any:
        """``auto`` alone, or as the size, leaves to the plan whatever is not given."""
        given = {"size": AUTO} if given == AUTO else given
        if isinstance(given, dict) and given.get("size") == AUTO:
            return {"spacing": AUTO, "fit": "patches", "intensity": {"method": "planned"}, **given}
        return given

    def _objections(self) -> Iterator[tuple[str, str]]:
        dimensions = len(self.size) or len(self.spacing or ())
        if not self.size and self.fit != "patches":
            yield "fit", "should be patches where the size is auto"
        if not dimensions:
            return  # The images will tell.
        if dimensions not in (2, 3):
            yield "size", f"should have 2 or 3 entries, not {dimensions}"
            return
        if self.spacing and len(self.spacing) != dimensions:
            yield "spacing", f"should have {dimensions} entries as size has, not {len(self.spacing)}"
        if any(not 0 <= axis < dimensions for axis in self.symmetric_axes):
            yield "symmetric_axes", f"the axes of this size are {', '.join(str(i) for i in range(dimensions))}"
        elif len(set(self.symmetric_axes)) < len(self.symmetric_axes):
            yield "symmetric_axes", "an axis stands twice"
        if self.orientation is not None and not _is_orientation(self.orientation):
            yield "orientation", "should be three letters, one each of R or L, A or P, and S or I, such as RAS"


def _is_orientation(codes: str) -> bool:
    pairs = ("RL", "AP", "SI")
    return len(codes) == 3 and all(sum(c in pair for c in codes) == 1 for pair in pairs)


class EarlyStoppingSection(Section):
    """Stop where the validation score no longer improves."""

    patience: Count = Field(10, description="Epochs without improvement.")
    min_delta: float = Field(0.0, ge=0, description="A smaller gain counts as none.")


class TrainingSection(Section):
    """The hyper-parameters and the machine."""

    epochs: Count = Field(10, description="How often the whole training part is seen.")
    batch_size: PlannedCount = Field(
        32, description="Cases per step, in each process; auto: planned, as it is where model or input.size is auto."
    )
    memory_gb: Positive = Field(
        4.0, description="Memory in GiB that a plan may spend on the network, its gradients and its optimizer."
    )
    optimizer: Named = Field(
        default_factory=lambda: Component(name="adam"), description="sgd, adam, adamw, rmsprop; when unsure, adam."
    )
    learning_rate: Positive = Field(0.01, description="0.01 is the starting point for SGD; Adam usually wants 0.001.")
    schedule: Named = Field(
        default_factory=lambda: Component(name="constant"), description="constant, step, cosine, one_cycle, plateau."
    )
    loss: Named | None = Field(
        None, description="The task's default loss where it is absent (cross-entropy; MSE for regression)."
    )
    class_weights: Literal["balanced"] | tuple[Annotated[float, Field(ge=0.0)], ...] | None = Field(
        None, description="Weights of the classes in the loss, in their order; balanced: from the training part."
    )
    balanced_sampling: bool = Field(False, description="Draw classes equally often.")
    clip_norm: Positive | None = Field(None, description="Largest norm of the gradient.")
    accumulate: Count = Field(1, description="Batches per optimizer step.")
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] | None = Field(
        None, description="Decay of an exponential moving average of the weights."
    )
    early_stopping: EarlyStoppingSection | None = Field(None, description="null: train all epochs.")
    select: Literal["best", "last"] = Field(
        "best", description="Which checkpoint is evaluated: best by validation, or the last one."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: a GPU where there is one.")
    devices: Count | Literal["auto"] = Field(1, description="Processes of DDP: GPUs, or CPU processes; auto: all GPUs.")
    nodes: Count = Field(1, description="Machines of DDP.")
    precision: Precision = Field("auto", description="auto: bf16 where the hardware has it, else 32.")
    threads: Count | None = Field(None, description="Torch threads on the CPU; absent: all cores.")
    sync_batchnorm: bool = Field(False, description="Batch statistics over all processes of DDP.")
    loggers: tuple[Literal["tensorboard", "mlflow"], ...] = Field(
        (), description="Beside the CSV log, which is always written."
    )


class ReportSection(Section):
    """What the report shows beside the figures."""

    title: str | None = Field(None, description="Heading of the report; the recipe's title where it is absent.")
    gallery: int = Field(12, ge=0, description="Pictures in each gallery.")


class PlanSection(Section):
    """What was planned for one fold, from its training part alone; a run writes it."""

    input: dict[str, Any] = Field(default_factory=dict, description="Planned keys of input.")
    model: Named | None = Field(None, description="The planned network; absent where the recipe names one.")
    training: dict[str, Any] = Field(default_factory=dict, description="Planned keys of training.")
    reasons: tuple[str, ...] = Field((), description="Why, in sentences.")


class Recipe(Section):
    """One experiment: what is learned from which data by which network, and how it is judged."""

    title: str = Field("", description="One line that the report carries as its heading.")
    description: str = Field("", description="What the recipe is for, in a sentence or two.")
    task: Named = Field(..., description="classification, regression, ...")
    data: DataSection
    input: InputSection
    model: Named
    training: TrainingSection = Field(default_factory=TrainingSection)
    evaluation: dict[str, Any] = Field(default_factory=dict, description="Options of the task's evaluator.")
    report: ReportSection = Field(default_factory=ReportSection)
    seed: int = Field(0, ge=0, lt=2**31, description="The one seed: split, weights, batch order and augmentation.")
    plan: tuple[PlanSection, ...] = Field(
        (),
        description="What was planned for auto, an entry a fold: written by the run, used as it stands by every later "
        "one. Take it out to plan anew.",
    )

    @model_validator(mode="before")
    @classmethod
    def _planned(cls, given: Any) -> Any:
        """With a network or a size to be planned, so is the batch, unless it is given."""
        if not isinstance(given, dict):
            return given
        model, seen, training = (given.get(key) for key in ("model", "input", "training"))
        auto = [model.get("name") if isinstance(model, dict) else model, seen]
        auto += [seen.get("size")] if isinstance(seen, dict) else []
        if AUTO in auto and isinstance(training or {}, dict):
            return {**given, "training": {"batch_size": AUTO, **(training or {})}}
        return given

    def _objections(self) -> Iterator[tuple[str, str]]:
        split, training = self.data.split, self.training
        if split.by != "column" and split.validation == 0:
            if training.select == "best":
                yield "data.split.validation", "should be above 0 to choose the best checkpoint (or set select: last)"
            if training.early_stopping is not None:
                yield "data.split.validation", "should be above 0 for training.early_stopping"


class Suite(Section):
    """Several recipes run one after the other, by name or path."""

    title: str = Field("", description="One line that says what the suite is.")
    description: str = Field("", description="What the suite is for, in a sentence or two.")
    suite: tuple[str, ...] = Field(
        ..., min_length=1, description="Names of shipped recipes, or paths relative to this file."
    )
