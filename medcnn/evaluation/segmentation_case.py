"""One case of a segmentation: voxels, surfaces, volumes and lesions of each label, measured in its own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medcnn.evaluation.metrics import f1, ratio
from medcnn.geometry.components import components, match_components
from medcnn.geometry.resample import IGNORE
from medcnn.geometry.surface import surface_distances

LengthUnit = Literal["mm", "px"]
Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class LabelMeasures:
    """What one label of one case measures; ``None`` is undefined.

    Attributes:
        annotated: Whether the reference says anything about this label in this case.
        tp: Voxels of the label in both masks; voxels that are not annotated count nowhere.
        fp: Voxels of the prediction alone.
        fn: Voxels of the reference alone.
        tn: All other annotated voxels.
        reference_volume: In ``unit`` to the power of ``dims``.
        predicted_volume: As ``reference_volume``.
        dice: 2tp / (2tp + fp + fn), in [0, 1]; ``None`` where both masks are empty.
        iou: tp / (tp + fp + fn), in [0, 1]; ``None`` where both masks are empty.
        hd95: 95th percentile of the Hausdorff distance in ``unit``; infinite where one mask is empty, ``None`` where
            both are.
        assd: Average symmetric surface distance, as ``hd95``.
        nsd: Normalised surface Dice, in [0, 1]; 0 where one mask is empty, ``None`` where both are.
        lesion_tp: Components of the reference that are found.
        lesion_fp: Components of the prediction that stand for none.
        lesion_fn: Components of the reference that are missed.
        unit: ``mm``, or ``px`` where the image has no spacing.
        dims: 2 or 3 spatial axes.
    """

    annotated: bool
    tp: int
    fp: int
    fn: int
    tn: int
    reference_volume: float
    predicted_volume: float
    dice: float | None
    iou: float | None
    hd95: float | None
    assd: float | None
    nsd: float | None
    lesion_tp: int
    lesion_fp: int
    lesion_fn: int
    unit: LengthUnit
    dims: int

    @property
    def reference_empty(self) -> bool:
        """The reference has no voxel of the label."""
        return self.tp + self.fn == 0

    @property
    def prediction_empty(self) -> bool:
        """The prediction has no voxel of the label."""
        return self.tp + self.fp == 0


def measure_case(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    labels: int,
    spacing: Sequence[float] | None,
    *,
    overlapping: bool = False,
    tolerance: float = 1.0,
    match_iou: float = 0.1,
) -> list[LabelMeasures]:
    """Measure a prediction against its reference, label by label.

    Work and memory are bounded by the box around both masks of a label, not by the size of the image. Voxels of the
    reference that are not annotated (255) belong to neither mask.

    Args:
        reference: ``(X, Y[, Z])`` positions: 0 background, k the k-th label, 255 not annotated. Where labels overlap
            ``(L, X, Y[, Z])`` of 0, 1 and 255.
        prediction: As the reference, in the same grid.
        labels: L, the number of labels.
        spacing: mm of the spatial axes; ``None`` (or too few): distances are in px.
        overlapping: Whether labels overlap, with a channel each.
        tolerance: Of the normalised surface Dice, in mm (px without spacing), 0 or more.
        match_iou: Least intersection over union at which a predicted component stands for one of the reference, in
            (0, 1]; components are matched one to one, and touch by corners (26 neighbours, 8 in 2D).

    Returns:
        The measures of each label, in order.

    Raises:
        ValueError: If the shapes do not fit each other, the labels or 2 or 3 spatial axes.
    """
    reference, prediction = np.asarray(reference), np.asarray(prediction)
    dims = reference.ndim - int(overlapping)
    channels = not overlapping or len(reference) == labels
    if reference.shape != prediction.shape or dims not in (2, 3) or not channels:
        raise ValueError(f"masks of {reference.shape} and {prediction.shape} for {labels} labels")
    size = tuple(float(s) for s in spacing[:dims]) if spacing is not None and len(spacing) >= dims else None
    rules = _Rules(size, dims, tolerance, match_iou)
    if overlapping:
        return [
            rules.measure(wanted, made, 1, _one(_boxes(wanted, 1)), _one(_boxes(made, 1)), _known(wanted))
            for wanted, made in zip(reference, prediction, strict=True)
        ]
    places = zip(range(1, labels + 1), _boxes(reference, labels), _boxes(prediction, labels), strict=True)
    known = _known(reference)
    return [rules.measure(reference, prediction, k, first, second, known) for k, first, second in places]


def validation_scores_masks(counts: NDArray[Any], names: Sequence[str] = ()) -> dict[str, float]:
    """The figures by which the training of a segmentation is followed; NaN where undefined.

    Args:
        counts: ``(N, L, 3)`` voxels of each case and label: tp, fp, fn.
        names: The labels; none: they are not scored one by one.

    Returns:
        ``dice``: the mean over labels of the mean over the cases that have the label in the reference; and that of
        each label as ``dice_<name>``.
    """
    tp, fp, fn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    present = tp + fn > 0
    by_label = ratio(np.where(present, f1(tp, fp, fn), 0.0).sum(0), present.sum(0))
    seen = by_label[np.isfinite(by_label)]
    scores = {"dice": float(seen.mean()) if len(seen) else float("nan")}
    return scores | {f"dice_{name}": float(v) for name, v in zip(names, by_label, strict=len(names) > 0)}


@dataclass(frozen=True, slots=True)
class _Rules:
    """How labels are measured, the same for all labels of a case."""

    spacing: tuple[float, ...] | None
    dims: int
    tolerance: float
    match_iou: float

    def measure(
        self,
        reference: NDArray[np.uint8],
        prediction: NDArray[np.uint8],
        value: int,
        first: Box | None,
        second: Box | None,
        known: int,
    ) -> LabelMeasures:
        """One label, inside the box around both of its masks; ``known`` voxels of the image are annotated."""
        box = _around(first, second)
        if box is None or not known:
            return self._gathered(0, 0, 0, known, (None, None, None), (0, 0, 0))
        wanted = reference[box] == value
        made = (prediction[box] == value) & (reference[box] != IGNORE)
        both, either = (int(np.count_nonzero(m)) for m in (wanted & made, wanted | made))
        fn, fp = int(np.count_nonzero(wanted)) - both, int(np.count_nonzero(made)) - both
        found = surface_distances(wanted, made, self.spacing or (1.0,) * self.dims)
        distances = found.hausdorff(95), found.average(), found.dice(self.tolerance)
        return self._gathered(both, fp, fn, known - either, distances, self._lesions(wanted, made))

    def _lesions(self, wanted: NDArray[np.bool_], made: NDArray[np.bool_]) -> tuple[int, int, int]:
        first, second = components(wanted), components(made)
        pairs = len(match_components(first, second, least=self.match_iou).pairs)
        return pairs, second.count - pairs, first.count - pairs

    def _gathered(
        self,
        tp: int,
        fp: int,
        fn: int,
        tn: int,
        distances: tuple[float | None, float | None, float | None],
        lesions: tuple[int, int, int],
    ) -> LabelMeasures:
        either = tp + fp + fn
        voxel = float(np.prod(self.spacing)) if self.spacing is not None else 1.0
        return LabelMeasures(
            either + tn > 0, tp, fp, fn, tn, (tp + fn) * voxel, (tp + fp) * voxel,
            2 * tp / (either + tp) if either else None, tp / either if either else None, *distances, *lesions,
            "px" if self.spacing is None else "mm", self.dims,
        )  # fmt: skip


def _known(reference: NDArray[np.uint8]) -> int:
    """How many voxels are annotated."""
    return reference.size - int(np.count_nonzero(reference == IGNORE))


def _boxes(labels: NDArray[np.uint8], count: int) -> list[Box | None]:
    """The box around each label; ``None`` where it does not occur."""
    found: list[Box | None] = ndimage.find_objects(labels, max_label=count)
    return found


def _one(boxes: list[Box | None]) -> Box | None:
    return boxes[0]


def _around(first: Box | None, second: Box | None) -> Box | None:
    """The box around two boxes."""
    if first is None or second is None:
        return second if first is None else first
    ends: Iterator[tuple[slice, slice]] = zip(first, second, strict=True)
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in ends)
