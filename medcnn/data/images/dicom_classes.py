"""What kind of object a DICOM file holds, in the words that lists and rules use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

IMAGE: Final = "image"
NO_PIXELS: Final = "image without pixels"

# By the start of the name that the standard gives the SOP class; the first that fits counts.
_BY_NAME: Final = (
    ("X-Ray Radiation Dose SR", "dose report"),
    ("Enhanced X-Ray Radiation Dose SR", "dose report"),
    ("Radiopharmaceutical Radiation Dose SR", "dose report"),
    ("Patient Radiation Dose SR", "dose report"),
    ("Key Object Selection", "key object selection"),
    ("Encapsulated PDF", "encapsulated PDF"),
    ("Encapsulated", "encapsulated document"),
    ("Media Storage Directory", "directory"),
    ("Raw Data", "raw data"),
    ("Segmentation Storage", "segmentation"),
    ("Surface Segmentation", "segmentation"),
    ("Label Map Segmentation", "segmentation"),
    ("Height Map Segmentation", "segmentation"),
    ("RT Structure Set", "structure set"),
    ("RT Image", IMAGE),
    ("RT Dose", "dose distribution"),
    ("RT ", "radiotherapy plan or record"),
    ("Parametric Map", "parametric map"),
    ("Real World Value Mapping", "value mapping"),
    ("Secondary Capture", "secondary capture"),
    ("Multi-frame", "secondary capture"),
    ("Video", "video"),
)
_BY_PART: Final = (
    ("Presentation State", "presentation state"),
    (" SR Storage", "structured report"),
    ("Report", "structured report"),
    ("Procedure Log", "structured report"),
    ("Waveform", "waveform"),
    ("Registration", "registration"),
    ("Fiducials", "fiducials"),
    ("Color Palette", "colour palette"),
    ("Hanging Protocol", "hanging protocol"),
    ("Spectroscopy", "spectroscopy"),
    ("Video", "video"),
    ("Image Storage", IMAGE),
)
# Of the standard's editions that are younger than pydicom's dictionary.
_YOUNGER: Final = {
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
}


def class_name(uid: str) -> str:
    """What the standard calls a SOP class; empty where there is none."""
    if not uid:
        return ""
    from pydicom.uid import UID

    name = _YOUNGER.get(uid) or str(UID(uid).name)
    # Without a name pydicom gives back the text, which in a damaged file may be anything.
    return "of an unknown class" if name == uid else name


def kind_of(sop_class: str, image_type: Sequence[str], description: str, *, pixels: bool) -> str:
    """The kind of an object: ``image``, ``localizer``, ``secondary capture``, ``dose report``, ``segmentation``, ...

    Args:
        sop_class: SOP Class UID.
        image_type: Values of ImageType.
        description: SeriesDescription.
        pixels: Whether the object has pixel data; without any it is no image, whatever it says.
    """
    name = class_name(sop_class)
    kind = next((kind for start, kind in _BY_NAME if name.startswith(start)), None)
    kind = kind or next((kind for part, kind in _BY_PART if part in name), None)
    kind = kind or (IMAGE if pixels else "other object")
    values = {value.upper() for value in image_type}
    if kind == "secondary capture" and "dose" in description.lower():
        return "dose report"
    if kind == IMAGE and values & {"LOCALIZER", "SCOUT", "TOPOGRAM"}:
        return "localizer"
    if kind == IMAGE and not pixels:
        return NO_PIXELS
    return kind
