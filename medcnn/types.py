"""The plain values that the rooms pass to each other: frozen, numpy at most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Part = Literal["training", "validation", "test"]
PARTS: tuple[Part, ...] = ("training", "validation", "test")
Unit = Literal["image", "voxel", "object", "patient"]
Attribute = str | float | int | None

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
NO_ATTRIBUTES: Mapping[str, Attribute] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where the pixels of one image, or one stack of slices, are; never the pixels.

    Attributes:
        paths: One file, or the files of one stack in any order (the reader sorts them).
        reader: Name of the reader in the registry (``raster``, ``nifti``, ``dicom``, ``npz``), or ``auto``.
        key: Name of the array inside the file, for containers such as ``.npz``.
        index: Position along the first axis of that array, or the frame of a multi-frame file.
    """

    paths: tuple[str, ...]
    reader: str = "auto"
    key: str | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """Pixels with their geometry, as a reader returns them.

    Attributes:
        array: ``(C, X, Y[, Z])``, axis 1 is the column (x) of a raster or a single DICOM image.
        affine: 4x4, voxel centres to RAS+ mm; ``None`` where the file has no world frame.
        spacing: Spacing of the spatial axes in mm; ``None`` where the file has none (distances are then in px).
        header: What was read from the file's header and may be shown (modality, window, ...).
    """

    array: NDArray[Any]
    affine: FloatArray | None = None
    spacing: tuple[float, ...] | None = None
    header: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class or mask label: its stored value, its name and, for pictures and DICOM, colour and code."""

    value: int
    name: str
    color: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class LabelSchema:
    """The classes that a dataset knows, in the order in which arrays hold them.

    Attributes:
        classes: The classes; a label absent from here is an error, never a new class.
        multilabel: Several classes may be present in one case, each with a state of its own.
        positive: The class that sensitivity and precision are about in a binary problem
            (class 1 of ``0 or 1, where 1 is abdomen``); ``None`` for more than two classes.
    """

    classes: tuple[LabelClass, ...]
    multilabel: bool = False
    positive: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, in order."""
        return tuple(c.name for c in self.classes)

    @property
    def binary(self) -> bool:
        """Whether there are two exclusive classes."""
        return not self.multilabel and len(self.classes) == 2

    def index(self, name: str) -> int:
        """Position of a class by name; raises ``KeyError`` where there is no such class."""
        for i, label in enumerate(self.classes):
            if label.name == name:
                return i
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class ClassLabel:
    """The class or classes of a case.

    Attributes:
        states: One entry a class of the schema: 1 present, 0 absent, ``None`` missing or uncertain.
            With exclusive classes exactly one entry is 1, or all are ``None`` (label missing).
    """

    states: tuple[int | None, ...]

    @classmethod
    def of(cls, index: int | None, count: int) -> ClassLabel:
        """The label of a case with exclusive classes: class ``index`` of ``count``; ``None`` is missing."""
        if index is None:
            return cls((None,) * count)
        return cls(tuple(int(i == index) for i in range(count)))

    @property
    def index(self) -> int | None:
        """Position of the one class that is present; ``None`` where the label is missing."""
        return self.states.index(1) if 1 in self.states else None

    @property
    def missing(self) -> bool:
        """Whether nothing at all is known."""
        return all(s is None for s in self.states)


@dataclass(frozen=True, slots=True)
class Value:
    """A continuous label (regression), in the unit that the dataset names; ``None`` is missing."""

    value: float | None


@dataclass(frozen=True, slots=True)
class Mask:
    """A label map beside the image: integer values of the mask schema, 0 is background.

    Attributes:
        image: Where it is.
        names: What the file calls a label (a stored value, the number or label of a DICOM segment, the name of a
            ROI) and the name of that label in the schema, where the file's own values are not the schema's.
        readers: The same image as drawn by others, where several persons did.
    """

    image: ImageRef
    names: tuple[tuple[str, str], ...] = ()
    readers: tuple[ImageRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes in the image's own voxel grid.

    Attributes:
        corners: ``(N, 2*D)`` float32, ``x1, y1[, z1], x2, y2[, z2]``; voxel i covers [i, i+1).
        labels: ``(N,)`` positions in the box schema.
        crowd: ``(N,)`` True for a region of many objects that are not told apart: it counts neither as found nor as
            missed. ``None``: there is none.
    """

    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_] | None = None


Target = ClassLabel | Value | Mask | Boxes
TargetT = TypeVar("TargetT", ClassLabel, Value, Mask, Boxes)


@dataclass(frozen=True, slots=True)
class Case:
    """One image, volume or study of aligned channels of one patient, with its targets: paths, never pixels.

    Attributes:
        id: Unique in the dataset and stable between runs.
        images: The channels, aligned with each other.
        targets: At most one of each kind.
        patient: Whose image it is; ``None`` where unknown.
        group: What may not be divided between the parts of a split; ``None``: the patient, else the case.
        cluster: The unit that intervals resample; ``None``: the patient, else the case.
        part: The part that the dataset's own table gives, if any.
        study: A study identifier that joins cases of one patient whose id is missing.
        attributes: Anything else in the table (sex, age, site, scanner, view).
    """

    id: str
    images: tuple[ImageRef, ...]
    targets: tuple[Target, ...] = ()
    patient: str | None = None
    group: str | None = None
    cluster: str | None = None
    part: Part | None = None
    study: str | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=lambda: NO_ATTRIBUTES)

    def target(self, kind: type[TargetT]) -> TargetT | None:
        """The target of one kind, or ``None`` where the case has none (not annotated)."""
        for target in self.targets:
            if isinstance(target, kind):
                return target
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        # A MappingProxyType does not pickle; worker processes receive a plain dict.
        return (
            Case,
            (
                self.id,
                self.images,
                self.targets,
                self.patient,
                self.group,
                self.cluster,
                self.part,
                self.study,
                dict(self.attributes),
            ),
        )


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Something found and not used: which, why, and where it is.

    Attributes:
        case: Id of the case, or what stands for it.
        reason: Why, in a few words.
        path: Where it is.
        aside: Whether it was never meant as a case (a localizer, a report, a file that is no image), so that it counts
            as no fault of the data.
    """

    case: str
    reason: str
    path: str = ""
    aside: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """Cases with the schema of their labels and what was left out on the way.

    Attributes:
        name: The catalog's name, or the folder's.
        cases: The usable cases, in a stable order.
        labels: Schema by kind of target (``class``, ``mask``, ``boxes``).
        exclusions: What was found and not used.
        patients_known: Whether ``patient`` really is the patient, so that intervals may say so.
        facts: Title, licence, citation, source, modality, unit of a value, as far as known.
    """

    name: str
    cases: tuple[Case, ...]
    labels: Mapping[str, LabelSchema]
    exclusions: tuple[Exclusion, ...] = ()
    patients_known: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)


@dataclass(frozen=True, slots=True)
class ClassPrediction:
    """Probabilities of the classes, ``(C,)`` float32 in [0, 1]; they sum to 1 for exclusive classes."""

    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ValuePrediction:
    """A predicted value in the dataset's unit."""

    value: float


@dataclass(frozen=True, slots=True)
class MaskPrediction:
    """A label map ``(X, Y[, Z])`` in the image's own grid, with probabilities ``(L, X, Y[, Z])`` on request."""

    labels: NDArray[np.integer[Any]]
    probabilities: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class MapPrediction:
    """Probabilities ``(K, *spatial)`` float32 in the network's grid, on their way to the image's own.

    With exclusive labels channel 0 is the background and the channels sum to 1; overlapping ones have a channel each.
    """

    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask that was written in the image's own grid.

    Attributes:
        paths: The file, relative to the folder of the predictions; where labels overlap one a label.
        volumes: ``(L,)`` volume of each label, in ``unit``.
        unit: ``mm3``; ``px`` or ``voxels`` for an image without spacing.
        beside: Other files that were made of it, each with the name of its column in a table.
        notes: Sentences about them.
    """

    paths: tuple[str, ...]
    volumes: tuple[float, ...]
    unit: str
    beside: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BoxesPrediction:
    """Boxes in the image's own grid, from the highest score to the lowest.

    Attributes:
        corners: ``(N, 2*D)`` float32, as of :class:`Boxes`.
        labels: ``(N,)`` positions in the box schema.
        scores: ``(N,)`` float32 in [0, 1].
        shape: Spatial shape of the image; empty where it is not known yet.
        spacing: Spacing of its axes in mm; ``None`` for an image without one.
        beside: Other files that were made of them, each with the name of its column in a table.
        notes: Sentences about these files.
    """

    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] | None = None
    beside: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


Prediction = ClassPrediction | ValuePrediction | MaskPrediction | MapPrediction | MaskFile | BoxesPrediction


@dataclass(frozen=True, slots=True)
class Counts:
    """True and false positives and negatives, a row a case and a column a class.

    Attributes:
        tp: ``(N, C)`` counts at ``unit``; sums over rows give pooled figures, rows give intervals.
        fp: ``(N, C)``.
        fn: ``(N, C)``.
        tn: ``(N, C)``, or ``None`` where the unit has no true negatives (objects).
        unit: What is counted.
        classes: Names of the columns.
    """

    tp: FloatArray
    fp: FloatArray
    fn: FloatArray
    tn: FloatArray | None
    unit: Unit
    classes: tuple[str, ...]
