"""The figures of a detection by name: which there are, what they are called, and why one is undefined."""

from __future__ import annotations

from medcnn.evaluation.detection_curves import FROC_RATES
from medcnn.evaluation.detection_matches import COCO_IOUS, Per
from medcnn.evaluation.detection_scene import LOOSE_IOU, USUAL_IOU

AT_RATES = {f"sensitivity_at_{rate:g}": rate for rate in FROC_RATES}
FROC = "froc"
CURVES = (FROC, *AT_RATES)
MAIN_RATE = "sensitivity_at_1"
OVERLAPS = {
    "average_precision_10": (LOOSE_IOU,),
    "average_precision_50": (USUAL_IOU,),
    "average_precision_50_95": COCO_IOUS,
}
OBJECTS = ("f1", "sensitivity", "precision")
FINDINGS = ("f1", "sensitivity", "precision", "accuracy", "specificity", "auroc", "wrong_place")
AGNOSTIC = "class-agnostic"

_NAMES = {
    "f1": "F1",
    "sensitivity": "Sensitivity",
    "precision": "Precision",
    "accuracy": "Accuracy",
    "specificity": "Specificity",
    "auroc": "AUROC",
    "wrong_place": "Right for the wrong place",
    "average_precision_10": "AP at IoU 0.1",
    "average_precision_50": "AP at IoU 0.5",
    "average_precision_50_95": "AP at IoU 0.5:0.95",
}
_ARTICLES = {"image": "an image", "patient": "a patient", "study": "a study"}


def per_words(per: Per) -> str:
    """``false positives an image``."""
    return f"false positives {_ARTICLES[per]}"


def label_of(name: str, per: Per) -> str:
    """A figure's name as a person reads it."""
    if name in AT_RATES:
        words = per_words(per) if AT_RATES[name] != 1 else per_words(per).replace("positives", "positive")
        return f"Sensitivity at {_rate(AT_RATES[name])} {words}"
    if name == FROC:
        return "Mean of the seven sensitivities (FROC)"
    return _NAMES[name]


def _rate(rate: float) -> str:
    return f"1/{1 / rate:g}" if rate < 1 else f"{rate:g}"


def rate_head(rate: float) -> str:
    """``at 1/8``, the head of a column."""
    return f"At {_rate(rate)}"


def why_undefined(name: str, unit: str, positives: int, negatives: int) -> str:
    """Why a figure of any finding or none, or of objects, has no value.

    Args:
        name: The figure.
        unit: ``object``, ``image`` or ``patient``.
        positives: Objects, or images (patients) with one.
        negatives: Images (patients) without any.
    """
    if unit == "object":
        if name == "precision":
            return "not defined: no box is called a finding"
        return "not defined: no object in the reference"
    many = f"{unit}s"
    if name in ("accuracy", "specificity", "auroc") and not negatives:
        return f"not defined: no negative {many}"
    if name in ("sensitivity", "auroc") and not positives:
        return f"not defined: no positive {many}"
    if name == "wrong_place":
        return f"not defined: no positive {unit} is called positive"
    return f"not defined: no {unit} is called positive"
