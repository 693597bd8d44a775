"""Objects by their size: which are found, which are missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import metrics
from medcnn.evaluation.detection_curves import Candidates, sensitivities_at
from medcnn.evaluation.detection_figures import Detections, Value
from medcnn.evaluation.detection_matches import Matches
from medcnn.evaluation.detection_scene import Matched
from medcnn.evaluation.detection_table import DetectionTable
from medcnn.evaluation.detection_words import label_of
from medcnn.evaluation.results import TablePanel
from medcnn.evaluation.sums import Proportion
from medcnn.geometry.boxes import sides

Array = NDArray[np.float64]
GROUPS = ("small", "medium", "large")


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """The longest edges of objects.

    Attributes:
        references: ``(M,)`` of the references, in ``unit``; NaN in images of the other unit.
        unit: ``mm``, or ``px`` where most images have no spacing.
        edges: Between small and medium, and between medium and large.
        origin: Where these come from, in words.
        others: Images in the other unit.
    """

    references: Array
    unit: str
    edges: tuple[float, float]
    origin: str
    others: int

    def group(self, place: int) -> NDArray[np.bool_]:
        """``(M,)`` the references of a group of :data:`GROUPS`."""
        low, high = (-np.inf, *self.edges, np.inf)[place : place + 2]
        return np.asarray((self.references > low) & (self.references <= high))

    def words(self, place: int) -> str:
        """``up to 6.5 mm``."""
        low, high = (f"{edge:.3g} {self.unit}" for edge in self.edges)
        return (f"up to {low}", f"{low} to {high}", f"above {high}")[place]


def find_sizes(table: DetectionTable, counted: NDArray[np.bool_], edges: Sequence[float] | None) -> Sizes:
    """Measure the references.

    Args:
        table: The images.
        counted: ``(M,)`` which references count.
        edges: Two sizes; ``None``: the terciles of the references that count.
    """
    spaced = np.array([s is not None for s in table.spacings], bool)
    unit = "mm" if 2 * int(spaced.sum()) >= len(spaced) and spaced.any() else "px"
    usable = spaced if unit == "mm" else ~spaced
    longest = [
        edge_lengths(boxes.corners, spacing).max(1, initial=0) if own else np.full(len(boxes.corners), np.nan)
        for boxes, spacing, own in zip(table.references, table.spacings, usable, strict=True)
    ]
    values = np.concatenate([np.zeros(0), *longest])
    known = values[counted & np.isfinite(values)]
    if edges is not None:
        chosen, origin = (float(edges[0]), float(edges[1])), "as given"
    else:
        chosen = tuple(float(v) for v in np.quantile(known, (1 / 3, 2 / 3))) if len(known) else (0.0, 0.0)  # type: ignore[assignment]
        origin = "the terciles of the references"
    return Sizes(np.where(counted, values, np.nan), unit, chosen, origin, int((~usable).sum()))


def edge_lengths(corners: NDArray[np.float32], spacing: Sequence[float] | None) -> Array:
    """Lengths ``(N, D)`` of the sides in mm; in px without spacing."""
    lengths = sides(corners)
    return lengths if spacing is None else lengths * np.asarray(spacing[: lengths.shape[1]], np.float64)


def found_references(matches: Matches, count: int) -> NDArray[np.bool_]:
    """``(M,)`` the references that a prediction hits."""
    found = np.zeros(count, bool)
    found[matches.hit[matches.hit >= 0]] = True
    return found


def size_table(detections: Detections, matched: Matched, sizes: Sizes) -> TablePanel | None:
    """Sensitivity of small, medium and large objects; ``None`` where there are none."""
    objects = matched.objects
    if not np.isfinite(sizes.references).any():
        return None
    rows: list[list[Any]] = []
    found = found_references(matched.called, len(objects.image))
    for place, name in enumerate(GROUPS):
        among = sizes.group(place)
        references = objects.counts(among)
        hits = np.bincount(objects.image[found & among & objects.counted], minlength=len(objects.start))
        value = _at_operating_point(detections, hits.astype(np.float64), references)
        # Hits of objects of another size count neither way; false positives have no size group.
        others = (matched.all.hit >= 0) & ~among[matched.all.hit]
        curve = _at_one(detections, matched.all.candidates(references, left_out=others), references)
        why = "" if references.any() else "not defined: no such object in the reference"
        rows.append(
            [
                name, sizes.words(place),
                detections.told(("sensitivity", name, None, "object"), value, why),
                detections.told(("sensitivity_at_1", name, None, "object"), curve, why),
            ]
        )  # fmt: skip
    caption = f"By the longest edge of the reference box, whatever the class; the limits are {sizes.origin}."
    if sizes.others:
        caption += f" {sizes.others:,} images in another unit than {sizes.unit} are left out."
    header = ["Size", "Longest edge", "Sensitivity at the operating point"]
    header.append(label_of("sensitivity_at_1", detections.settings.per))
    return TablePanel("by-size", "Objects by size", header, rows, caption)


def _at_operating_point(detections: Detections, hits: Array, references: Array) -> Value:
    judged = detections.judge.proportion(Proportion(hits, references))
    made = detections.share(float(metrics.ratio(hits.sum(), references.sum())), np.zeros(0), references)
    return replace(made, judged=judged)


def _at_one(detections: Detections, found: Candidates, references: Array) -> Value:
    def curve(own: Candidates, weights: Array | None, shares: Array) -> Array:
        return sensitivities_at(own, (1.0,), weights, shares)

    points, columns, note = detections.folded(found, curve)
    return detections.share(float(points[0]), columns[:, 0], references, note)
