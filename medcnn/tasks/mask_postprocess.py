"""Post-processing of predicted masks: for each label what the validation part says that helps.

What was chosen is kept among a model's thresholds, by the names below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.metrics import f1
from medcnn.geometry.components import components
from medcnn.geometry.postprocess import Cleaning, clean_labels, clean_mask, voxels_of
from medcnn.geometry.resample import IGNORE
from medcnn.types import LabelSchema

# 1 for labels that keep their largest component alone, or whose holes are filled.
LARGEST, HOLES = "largest component:", "holes filled:"
# The volume below which components are taken away, in mm3; px where images have no spacing.
LEAST = "least volume:"
# Volumes to try: those that take away these shares of the components that lie on no reference.
_SHARES = (0.5, 0.75, 0.9, 1.0)

Spacing = tuple[float, ...] | None
# From a label map and its spacing to the changed one.
Change = Callable[..., NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One case: what was drawn and what was predicted, as label maps in one grid.

    Attributes:
        reference: ``(X, Y[, Z])``, or ``(L, X, Y[, Z])`` where labels overlap; 255 is not annotated.
        predicted: As ``reference``, without 255.
        spacing: Of the image.
    """

    reference: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    spacing: Spacing


def postprocessing(thresholds: Mapping[str, float], schema: LabelSchema) -> Change:
    """The change of a label map that validation chose; label maps without a spacing count pixels."""

    def change(labels: NDArray[np.uint8], spacing: Spacing = None) -> NDArray[np.uint8]:
        chosen = {
            position: Cleaning(
                least=voxels_of(thresholds.get(f"{LEAST}{name}", 0.0), spacing),
                largest=thresholds.get(f"{LARGEST}{name}", 0) > 0,
                holes=thresholds.get(f"{HOLES}{name}", 0) > 0,
            )
            for position, name in enumerate(schema.names, 1)
        }
        wanted = {position: cleaning for position, cleaning in chosen.items() if cleaning.changes}
        return clean_labels(labels, wanted, overlapping=schema.multilabel) if wanted else labels

    return change


def choose(pairs: Sequence[Pair], schema: LabelSchema) -> dict[str, float]:
    """What raises the mean Dice of each label over these cases; a change that gains nothing is left out.

    The largest component alone and a few least volumes are tried against leaving components as they are, and filling
    holes on top of the best of them. Labels do not touch each other: what is taken away becomes background, and holes
    are filled where there is background.
    """
    found: dict[str, float] = {}
    for position, name in enumerate(schema.names, 1):
        masks = [_of_label(pair, position, schema.multilabel) for pair in pairs]
        parts = [_Step(), _Step(largest=True), *(_Step(volume=volume) for volume in _volumes(masks))]
        chosen = _best(masks, parts)
        chosen = _best(masks, [chosen, replace(chosen, holes=True)])
        found.update((f"{mark}{name}", value) for mark, value in chosen.stored())
    return found


def _best(masks: Sequence[_Masks], steps: Sequence[_Step]) -> _Step:
    """The step with the highest mean Dice; of equal ones the first, which changes least."""
    gained = [_mean_dice(masks, step) for step in steps]
    return steps[int(np.argmax(gained))]


@dataclass(frozen=True, slots=True)
class _Step:
    """A cleaning with a volume in place of voxels, so that it serves every spacing."""

    volume: float = 0.0
    largest: bool = False
    holes: bool = False

    def at(self, spacing: Spacing) -> Cleaning:
        return Cleaning(voxels_of(self.volume, spacing), self.largest, self.holes)

    def stored(self) -> Iterator[tuple[str, float]]:
        if self.volume:
            yield LEAST, self.volume
        if self.largest:
            yield LARGEST, 1.0
        if self.holes:
            yield HOLES, 1.0


@dataclass(frozen=True, slots=True)
class _Masks:
    """One label of one case; ``free`` is where a hole may be filled."""

    reference: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    known: NDArray[np.bool_]
    free: NDArray[np.bool_]
    spacing: Spacing


def _of_label(pair: Pair, position: int, overlapping: bool) -> _Masks:
    reference = pair.reference[position - 1] if overlapping else pair.reference
    predicted = pair.predicted[position - 1] if overlapping else pair.predicted
    value = 1 if overlapping else position
    return _Masks(reference == value, predicted == value, reference != IGNORE, predicted == 0, pair.spacing)


def _volumes(masks: Sequence[_Masks]) -> list[float]:
    """Least volumes that take away a share of the components that lie on no reference, the smallest first."""
    wrong: list[float] = []
    for one in masks:
        found = components(one.predicted & one.known)
        right = np.bincount(found.labels[one.reference].ravel(), minlength=found.count + 1)[1:] > 0
        voxel = float(np.prod(one.spacing)) if one.spacing is not None else 1.0
        # A component of n voxels goes where n + 1 are the least.
        wrong += ((found.sizes[~right] + 1) * voxel).tolist()
    if not wrong:
        return []
    return sorted({float(np.quantile(wrong, share, method="higher")) for share in _SHARES})


def _mean_dice(masks: Sequence[_Masks], step: _Step) -> float:
    """Over the cases in which Dice is defined; below 0 where it is in none, so that nothing is gained by it."""
    values = []
    for one in masks:
        cleaned = clean_mask(one.predicted, step.at(one.spacing))
        found = (one.predicted & cleaned) | (cleaned & one.free)
        tp = int((found & one.reference).sum())
        fp = int((found & ~one.reference & one.known).sum())
        values.append(float(f1(tp, fp, int((one.reference & ~found).sum()))))
    return float(np.nanmean(values)) if np.isfinite(values).any() else -1.0
