"""What stands beside a converted image: what its header says of how it was made, by the names of BIDS.

Names are those of the Brain Imaging Data Structure where it has one, else those that dcm2niix writes, else DICOM's own
keywords. Every field says whether it may leave the house: numbers and values that the standard defines may, text that
people type may not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from medcnn.data.images import side_codes as codes
from medcnn.data.images.dicom_file import first_number, group, items, numbers, text, value_of
from medcnn.data.images.dicom_tags import FIRM

if TYPE_CHECKING:
    from pydicom import Dataset

    from medcnn.data.images.dicom_header import Slice
    from medcnn.data.images.stacks import Stack

Side = dict[str, Any]

_LARGEST = 9999
_PER_YEAR = {"D": 365.25, "W": 52.1775, "M": 12.0, "Y": 1.0}
# BIDS has the units of SI where DICOM has codes.
_UNITS = {"BQML": "Bq/mL", "PROPCPS": "propcps", "CPS": "cps", "CNTS": "counts"}


@dataclass(frozen=True, slots=True)
class Field:
    """One entry of a side file.

    Attributes:
        name: As the side file has it.
        keyword: DICOM's.
        read: Gets its value from a data set; ``None`` where there is none.
        codes: Values that may be told of anybody; ``None``: whatever it is must stay with the patient's data.
            An empty set marks numbers, which may be told.
        group: Sequence that holds it in enhanced objects.
        enhanced: Its keyword there, where that is another one.
    """

    name: str
    keyword: str
    read: Callable[[Dataset, str], Any]
    codes: frozenset[str] | None = None
    group: str = ""
    enhanced: str = ""


NUMBERS: Final[frozenset[str]] = frozenset()


def _text(dataset: Dataset, key: str) -> str | None:
    return text(dataset, key) or None


def _texts(dataset: Dataset, key: str) -> list[str]:
    try:
        value = value_of(dataset, key)
        parts = [value] if isinstance(value, str) else list(value or ())
    except Exception:
        # Elements are decoded when they are touched, and broken ones fail in many ways: they say nothing.
        return []
    return [" ".join(str(part).split()) for part in parts]


def _words(dataset: Dataset, key: str) -> str | list[str] | None:
    found = [word for word in _texts(dataset, key) if word]
    return found[0] if len(found) == 1 else found or None


def _list(dataset: Dataset, key: str) -> list[str] | None:
    found = _texts(dataset, key)
    return found if any(found) else None


def plain_number(value: float) -> float | int:
    """A number as a person writes it: whole where it is, and without the noise of binary fractions."""
    rounded = float(f"{value:.10g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def _number(dataset: Dataset, key: str) -> float | int | None:
    found = first_number(dataset, key)
    return None if found is None else plain_number(found)


def _count(dataset: Dataset, key: str) -> int | None:
    found = first_number(dataset, key)
    return int(found) if found is not None and found.is_integer() else None


def _seconds(dataset: Dataset, key: str) -> float | int | None:
    found = first_number(dataset, key)
    return None if found is None else plain_number(found / 1000)


def _megabecquerel(dataset: Dataset, key: str) -> float | int | None:
    found = first_number(dataset, key)
    return None if found is None else plain_number(found / 1e6)


def _units(dataset: Dataset, key: str) -> str | None:
    found = text(dataset, key)
    return _UNITS.get(found, found) or None


def _phase_axis(dataset: Dataset, key: str) -> str | None:
    # Phase along a row is along our first axis; DICOM does not say in which direction.
    found = text(dataset, key).upper()
    return {"ROW": "i", "COL": "j", "COLUMN": "j"}.get(found)


def _matrix(dataset: Dataset, key: str) -> list[int] | None:
    found = numbers(dataset, key, 4)
    steps = [int(v) for v in found or () if v]
    return steps if len(steps) == 2 else None


_MEASURES = "PixelMeasuresSequence"
_TIMING = "MRTimingAndRelatedParametersSequence"
_MODIFIER = "MRModifierSequence"
_IMAGING = "MRImagingModifierSequence"
_EXPOSURE = "CTExposureSequence"
_X_RAY = "CTXRayDetailsSequence"
_TRACER = "RadiopharmaceuticalInformationSequence"

FIELDS: Final = (
    Field("Modality", "Modality", _text, codes.MODALITY),
    Field("Manufacturer", "Manufacturer", _text),
    Field("ManufacturersModelName", "ManufacturerModelName", _text),
    Field("DeviceSerialNumber", "DeviceSerialNumber", _text),
    Field("StationName", "StationName", _text),
    Field("SoftwareVersions", "SoftwareVersions", _words),
    Field("InstitutionName", "InstitutionName", _text),
    Field("InstitutionalDepartmentName", "InstitutionalDepartmentName", _text),
    Field("BodyPart", "BodyPartExamined", _text, codes.BODY_PART),
    Field("PatientPosition", "PatientPosition", _text, codes.POSITION),
    Field("ViewPosition", "ViewPosition", _text, codes.VIEW),
    Field("ImageLaterality", "ImageLaterality", _text, codes.SIDE),
    Field("Laterality", "Laterality", _text, codes.SIDE),
    Field("StudyDescription", "StudyDescription", _text),
    Field("SeriesDescription", "SeriesDescription", _text),
    Field("ProtocolName", "ProtocolName", _text),
    Field("ProcedureStepDescription", "PerformedProcedureStepDescription", _text),
    Field("ImageComments", "ImageComments", _text),
    Field("ImageType", "ImageType", _list, codes.IMAGE_TYPE),
    Field("SeriesNumber", "SeriesNumber", _count, NUMBERS),
    Field("AcquisitionNumber", "AcquisitionNumber", _count, NUMBERS),
    Field("MagneticFieldStrength", "MagneticFieldStrength", _number, NUMBERS),
    Field("ImagingFrequency", "ImagingFrequency", _number, NUMBERS, _IMAGING, "TransmitterFrequency"),
    Field("MRAcquisitionType", "MRAcquisitionType", _text, codes.ACQUISITION),
    Field("ScanningSequence", "ScanningSequence", _words, codes.SCANNING),
    Field("SequenceVariant", "SequenceVariant", _words, codes.VARIANT),
    Field("ScanOptions", "ScanOptions", _words, codes.SCAN_OPTIONS),
    Field("SequenceName", "SequenceName", _text, None, "", "PulseSequenceName"),
    Field("EchoNumber", "EchoNumbers", _count, NUMBERS),
    Field("EchoTime", "EchoTime", _seconds, NUMBERS, "MREchoSequence", "EffectiveEchoTime"),
    Field("RepetitionTime", "RepetitionTime", _seconds, NUMBERS, _TIMING),
    Field("InversionTime", "InversionTime", _seconds, NUMBERS, _MODIFIER, "InversionTimes"),
    Field("FlipAngle", "FlipAngle", _number, NUMBERS, _TIMING),
    Field("EchoTrainLength", "EchoTrainLength", _count, NUMBERS, _TIMING),
    Field("NumberOfAverages", "NumberOfAverages", _number, NUMBERS, "MRAveragesSequence"),
    Field("SAR", "SAR", _number, NUMBERS),
    Field("PixelBandwidth", "PixelBandwidth", _number, NUMBERS, _IMAGING),
    Field("PercentPhaseFOV", "PercentPhaseFieldOfView", _number, NUMBERS),
    Field("PercentSampling", "PercentSampling", _number, NUMBERS),
    Field("AcquisitionMatrix", "AcquisitionMatrix", _matrix, NUMBERS),
    Field("InPlanePhaseEncodingDirectionDICOM", "InPlanePhaseEncodingDirection", _text, codes.DIRECTION),
    Field("PhaseEncodingAxis", "InPlanePhaseEncodingDirection", _phase_axis, frozenset(("i", "j"))),
    Field("ReceiveCoilName", "ReceiveCoilName", _text, None, "MRReceiveCoilSequence"),
    Field("TriggerDelayTime", "TriggerTime", _seconds, NUMBERS),
    Field("ContrastBolusIngredient", "ContrastBolusIngredient", _text),
    Field("ContrastBolusAgent", "ContrastBolusAgent", _text),
    Field("SliceThickness", "SliceThickness", _number, NUMBERS, _MEASURES),
    Field("SpacingBetweenSlices", "SpacingBetweenSlices", _number, NUMBERS, _MEASURES),
    Field("KVP", "KVP", _number, NUMBERS, _X_RAY),
    Field("XRayTubeCurrent", "XRayTubeCurrent", _number, NUMBERS, _EXPOSURE, "XRayTubeCurrentInmA"),
    Field("XRayExposure", "Exposure", _number, NUMBERS, _EXPOSURE, "ExposureInmAs"),
    Field("ExposureTime", "ExposureTime", _seconds, NUMBERS, _EXPOSURE, "ExposureTimeInms"),
    Field("ConvolutionKernel", "ConvolutionKernel", _words, None, "CTReconstructionSequence"),
    Field("SpiralPitchFactor", "SpiralPitchFactor", _number, NUMBERS, "CTTableDynamicsSequence"),
    Field("GantryDetectorTilt", "GantryDetectorTilt", _number, NUMBERS),
    Field("FrameDuration", "ActualFrameDuration", _seconds, NUMBERS),
    Field("DecayCorrection", "DecayCorrection", _text, codes.CORRECTION),
    Field("RadionuclideHalfLife", "RadionuclideHalfLife", _number, NUMBERS, _TRACER),
    Field("InjectedRadioactivity", "RadionuclideTotalDose", _megabecquerel, NUMBERS, _TRACER),
    Field("Units", "Units", _units, frozenset((*codes.UNITS, *_UNITS.values(), "HU"))),
    Field("LossyImageCompression", "LossyImageCompression", _text, frozenset(("00", "01"))),
    Field("BurnedInAnnotation", "BurnedInAnnotation", _text, codes.YES_NO),
    Field("PatientID", "PatientID", _text),
    Field("PatientSex", "PatientSex", _text, codes.SEX),
    Field("PatientSize", "PatientSize", _number),
    Field("PatientWeight", "PatientWeight", _number),
    Field("StudyID", "StudyID", _text),
    Field("StudyInstanceUID", "StudyInstanceUID", _text),
    Field("SeriesInstanceUID", "SeriesInstanceUID", _text),
)


def side_values(dataset: Dataset, stack: Stack) -> Side:
    """What the header of a stack's first slice says of it, by the names of the side file.

    Times are in s (as BIDS has them), lengths in mm, angles in degrees, frequencies in MHz, radioactivity in MBq.

    Args:
        dataset: The header that the first slice of the stack belongs to.
        stack: What it is the first slice of.
    """
    first = stack.slices[0]
    found: Side = {}
    for field in FIELDS:
        value = _value(dataset, first.frame, field)
        if value is not None:
            found[field.name] = value
    # Some makers write a b-value of 0 into every image.
    if (b_value := _b_value(first)) is not None and (b_value or "DiffusionBValue" in dict(stack.differing)):
        found["DiffusionBValue"] = b_value
    if (age := age_of(dataset)) is not None:
        found["PatientAge"] = age
    if moment := _moment(dataset):
        found["AcquisitionDateTime"] = moment
    if "InjectedRadioactivity" in found:
        found["InjectedRadioactivityUnits"] = "MBq"
    if "Units" not in found and (unit := _unit(dataset, stack)):
        found["Units"] = unit
    if stack.tilt:
        found["GantryTilt"] = round(stack.tilt, 3)
    if first.spacing_source not in ("", "PixelSpacing"):
        found["PixelSpacingSource"] = first.spacing_source
    if is_inverted(dataset, stack):
        found["GreyScaleInverted"] = True
    return found


def is_inverted(dataset: Dataset, stack: Stack) -> bool:
    """Whether the reader turns the grey scale round, so that dense is bright."""
    inverse = text(dataset, "PresentationLUTShape").upper() == "INVERSE"
    return stack.header.samples == 1 and (inverse or stack.header.photometric == "MONOCHROME1")


def without_persons(side: Mapping[str, Any]) -> Side:
    """The fields that tell nothing of a person: numbers, and text only where the standard defines it.

    Names, ids, UIDs, dates, places, devices and whatever somebody typed are left out, as are size and weight. The
    maker is told where it is a known one. An age is left in whole years.
    """
    allowed = {field.name: field.codes for field in FIELDS if field.codes is not None}
    found: Side = {}
    for name, value in side.items():
        if name in allowed and (kept := _allowed(value, allowed[name])) is not None:
            found[name] = kept
        elif name in _MADE:
            found[name] = value
    if maker := known_maker(side.get("Manufacturer")):
        found["Manufacturer"] = maker
    if isinstance(age := side.get("PatientAge"), (int, float)):
        found["PatientAge"] = int(age)
    return found


# Fields that are computed from numbers, not copied.
_MADE: Final = frozenset(
    ("DiffusionBValue", "InjectedRadioactivityUnits", "GantryTilt", "PixelSpacingSource", "GreyScaleInverted")
)


def known_maker(value: Any) -> str | None:
    """The name of a known maker of scanners; ``None`` for anything else."""
    words = str(value or "").casefold()
    return next((name for start, name in codes.MAKERS.items() if words.startswith(start)), None)


def _allowed(value: Any, known: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [kept for one in value if (kept := _allowed(one, known)) is not None] or None
    if isinstance(value, str):
        return value if value.upper() in known or value in known else None
    # A number in a header may be a date (20240131) or an id: above this, none of these fields has any.
    return value if abs(value) <= _LARGEST else None


def _value(dataset: Dataset, frame: int, field: Field) -> Any:
    value = None
    if field.group:
        place = group(dataset, frame, field.group)
        inner = items(dataset, field.group)
        place = inner[0] if place is dataset and inner else place
        if place is not dataset:
            value = field.read(place, field.enhanced or field.keyword)
    return field.read(dataset, field.keyword) if value is None else value


def age_of(dataset: Dataset) -> float | int | None:
    """The patient's age in years: PatientAge, else from the dates of birth and study; ``None`` where unknown."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", text(dataset, "PatientAge").upper())
    if match:
        return plain_number(round(int(match[1]) / _PER_YEAR[match[2]], 3))
    born, seen = text(dataset, "PatientBirthDate"), text(dataset, "StudyDate")
    if not (re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", seen)):
        return None
    years = int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:])
    return years if 0 <= years <= 130 else None


def _moment(dataset: Dataset) -> str:
    """When the image was acquired, in ISO 8601; a date alone where the time is unknown."""
    joined = text(dataset, "AcquisitionDateTime")
    day, time = joined[:8], joined[8:]
    if not joined:
        for part in ("Acquisition", "Content", "Series", "Study"):
            if day := text(dataset, f"{part}Date"):
                time = text(dataset, f"{part}Time")
                break
    if not re.fullmatch(r"\d{8}", day):
        return ""
    found = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    match = re.match(r"(\d\d)(\d\d)(\d\d)(\.\d+)?", time)
    return f"{found}T{match[1]}:{match[2]}:{match[3]}{match[4] or ''}" if match else found


def _b_value(one: Slice) -> float | int | None:
    """In s/mm², also where a maker keeps it in elements of its own."""
    try:
        return plain_number(float(one.firm[FIRM.index("DiffusionBValue")]))
    except ValueError:
        return None


def _unit(dataset: Dataset, stack: Stack) -> str:
    """``HU`` for a CT whose values were rescaled, unless it says that they are something else."""
    told = text(dataset, "RescaleType").upper()
    rescaled = first_number(group(dataset, 0, "PixelValueTransformationSequence"), "RescaleIntercept") is not None
    return "HU" if stack.header.modality == "CT" and rescaled and told in ("", "HU") and stack.kind == "image" else ""
