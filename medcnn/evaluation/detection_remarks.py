"""The sentences of a detection's evaluation: what a reviewer must see, and the rules in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medcnn.evaluation.detection_figures import Detections
from medcnn.evaluation.detection_matches import Per
from medcnn.evaluation.detection_scene import Matched
from medcnn.evaluation.detection_thresholds import OperatingPoint
from medcnn.evaluation.detection_words import per_words


def rule_words(rule: OperatingPoint, rate: float, per: Per, *, chosen: bool) -> str:
    """How thresholds were chosen, in words."""
    if not chosen:
        return "no threshold was chosen on validation"
    if rule == "f1":
        return "of each class the threshold with the highest F1 of its objects on validation"
    return f"one threshold for all classes, with at most {rate:g} {per_words(per)} on validation"


def warnings(detections: Detections, thresholds: Sequence[Mapping[str, float]], wanted: Per) -> list[str]:
    """What a reviewer must see of missing negatives, classes, thresholds and hits off the object.

    Args:
        detections: The images.
        thresholds: By fold.
        wanted: What false positives were to be counted per.
    """
    out, images, names = [], detections.images, detections.schema.names
    if not images.negatives:
        out.append(
            "No image is without findings: specificity, accuracy and AUROC of images are not defined, and the false "
            "positives of FROC are those of images with objects alone, which says nothing of images without any."
        )
    absent = [n for n in names if detections.several and not detections.references(n).any()]
    if not detections.references(None).any():
        out.append("No image has an object in the reference.")
    elif absent:
        out.append(f"No object of {', '.join(absent)} in the reference: means over classes leave out what has none.")
    off = int(images.misplaced.sum())
    if off:
        out.append(
            f"In {off:,} of {int(images.four[0].sum()):,} images that are rightly called positive no box hits an "
            "object: right for the wrong place."
        )
    if wanted != detections.settings.per:
        plural = {"patient": "patients", "study": "studies"}[wanted]
        out.append(f"False positives are counted per image: the {plural} are not known.")
    return [*out, *_without_threshold(detections, thresholds)]


def _without_threshold(detections: Detections, thresholds: Sequence[Mapping[str, float]]) -> list[str]:
    folds = np.unique(detections.table.fold).tolist()
    lacking: dict[str, list[int]] = {}
    for fold in folds:
        chosen = thresholds[fold] if fold < len(thresholds) else {}
        for name in detections.schema.names:
            if name not in chosen:
                lacking.setdefault(name, []).append(fold)
    if not lacking:
        return []
    texts = [
        name if len(of) == len(folds) else f"{name} (fold{'s' if len(of) > 1 else ''} {', '.join(map(str, of))})"
        for name, of in lacking.items()
    ]
    return [
        f"No threshold was chosen on validation for {', '.join(texts)}: a box is called a finding from "
        f"{detections.settings.fallback:g} on."
    ]


def notes(detections: Detections, matched: Matched, end: float) -> list[str]:
    """Definitions and rules in force.

    Args:
        detections: The images.
        matched: Their boxes.
        end: False positives an image at the end of the curve.
    """
    settings, hits = detections.settings, detections.settings.hits
    rule = (
        f"its intersection over union with the reference is at least {hits.least:g}"
        if hits.rule == "iou"
        else "its middle lies in the reference"
    )
    second = "is a false positive" if hits.duplicates == "false_positive" else "counts neither way"
    apart = ", of each class where classes are matched apart" if detections.several else ""
    out = [
        "Definitions, undefined cases and interval methods: docs/metrics.md.",
        f"A box hits where {rule}; boxes are matched by falling score, each reference once at most. A second hit of a "
        f"reference {second}. Average precision has its own overlaps, and counts second hits as false positives.",
        f"FROC counts {per_words(settings.per)}, is interpolated linearly between its points, and is flat after its "
        f"last one, which lies at {end:.3g}. The {hits.most} boxes with the highest scores are kept of an "
        f"image{apart}.",
        f"Operating point: {settings.operating_point}.",
    ]
    beyond = sum(max(0, len(p.scores) - hits.most) for p in detections.table.predictions)
    if beyond:
        out.append(f"{beyond:,} boxes beyond the {hits.most} of their image are left out.")
    ignored = int((~matched.objects.counted).sum())
    if ignored:
        out.append(f"{ignored:,} regions of the reference are ignored: boxes in them count neither way.")
    if detections.patients is None:
        out.append("No figures by patient: patients are unknown, or each has one image.")
    else:
        out.append("By patient a finding in any image counts, and the highest score of all images ranks.")
    if detections.baseline is not None:
        out.append("The baseline predicts the same boxes everywhere: the heat map of the training boxes.")
    r = detections.resampler
    if r.kind == "bootstrap":
        drawn = f"{r.weights.shape[1]:,} times {r.count:,} {r.noun}"
        out.append(f"The bootstrap draws {drawn} with replacement{', ' + r.strata if r.strata else ''}.")
    return out
