"""The figures of a segmentation by name: which there are, what they are called, and why one is undefined."""

from __future__ import annotations

OVERLAPS = ("dice", "iou")
DISTANCES = ("hd95", "assd")
SHARES = ("sensitivity", "precision", "accuracy")
VOLUMES = ("volume_difference", "volume_loa_low", "volume_loa_high", "relative_volume_difference")
MEDIANS = ("dice", "iou", "nsd", "hd95", "assd")
POOLED = ("f1", "sensitivity", "precision", "accuracy", "foreground_share")
LESIONS = ("sensitivity", "precision", "f1")
# What has no average over labels: accuracy is a matter of the label's size, and so is a volume.
SINGLE = frozenset({*VOLUMES, "accuracy", "foreground_share"})

_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "nsd": "Surface Dice",
    "hd95": "HD95",
    "assd": "ASSD",
    "sensitivity": "Sensitivity",
    "precision": "Precision",
    "accuracy": "Accuracy",
    "f1": "F1",
    "foreground_share": "Foreground share",
    "volume_difference": "Volume difference (predicted - reference)",
    "volume_loa_low": "Lower limit of agreement",
    "volume_loa_high": "Upper limit of agreement",
    "relative_volume_difference": "Relative volume difference [%]",
}
_UNDEFINED = {
    "sensitivity": "undefined: the label is not in the reference",
    "precision": "undefined: the label is not in the prediction",
    "accuracy": "undefined: the label is not annotated",
    "foreground_share": "undefined: the label is not annotated",
    "f1": "undefined: the label is neither in the reference nor in the prediction",
    "relative_volume_difference": "undefined: the label is not in the reference",
    "volume_loa_low": "undefined: fewer than two cases",
    "volume_loa_high": "undefined: fewer than two cases",
}


def stem_of(name: str) -> str:
    """The figure of single cases behind the name of a figure over cases."""
    return name.removesuffix("_median")


def label_of(name: str, unit: str, tolerance: float, length: str, volume: str) -> str:
    """A figure's name as a person reads it.

    Args:
        name: As in ``metrics.json``.
        unit: ``image``, ``voxel`` or ``object``.
        tolerance: Of the surface Dice.
        length: Unit of distances.
        volume: Unit of volumes.
    """
    stem = stem_of(name)
    text = _NAMES[stem]
    if stem == "nsd":
        text += f" at {tolerance:g} {length}"
    elif stem in DISTANCES:
        text += f" [{length}]"
    elif stem in VOLUMES[:3]:
        text += f" [{volume}]"
    if unit == "voxel":
        text += " of pooled voxels (= Dice)" if stem == "f1" else " of pooled voxels"
    elif unit == "object":
        text += ", lesion-wise"
    elif stem in SHARES:
        text += ", voxel-wise"
    return f"{text}, median" if name != stem else text


def why_undefined(name: str, *, infinite: bool) -> str:
    """Why a figure has no value."""
    if infinite:
        if name != stem_of(name):
            return "infinite: in half of the cases or more"
        return "undefined: see the median, which ranks infinite ones last"
    return _UNDEFINED.get(stem_of(name), "undefined: reference and prediction are empty in all cases")
