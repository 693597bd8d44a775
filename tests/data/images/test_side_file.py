"""Side files: the header's values in the names and units of BIDS, and which of them may be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medcnn.data.images import Header, Stack, scan_file, stacks_of
from medcnn.data.images.dicom_file import open_file, quiet
from medcnn.data.images.side_file import FIELDS, NUMBERS, age_of, known_maker, side_values, without_persons

Write = Any


def stack_of(*paths: str) -> Stack:
    headers = [scan_file(path) for path in paths]
    assert all(isinstance(h, Header) for h in headers)
    (found,) = stacks_of(headers)  # type: ignore[arg-type]
    return found


def side(*paths: str) -> dict[str, Any]:
    found = stack_of(*paths)
    with quiet():
        return side_values(open_file(found.slices[0].path).dataset, found)


def test_units_are_those_of_bids(write_one: Write) -> None:
    values = np.zeros((3, 4), np.int16)
    tags = {
        "Modality": "MR", "RepetitionTime": "2300", "EchoTime": "2.98", "InversionTime": "900", "FlipAngle": "9",
        "MagneticFieldStrength": "3", "ManufacturerModelName": "Prisma", "InPlanePhaseEncodingDirection": "ROW",
        "ScanningSequence": ["GR", "IR"], "SequenceVariant": "SK", "EchoTrainLength": 1,
        "AcquisitionMatrix": [0, 256, 240, 0],
        "AcquisitionDate": "20240131", "AcquisitionTime": "081530.25", "SoftwareVersions": ["a", "b"],
    }  # fmt: skip
    found = side(write_one("a.dcm", values, **tags))
    expected = {
        "RepetitionTime": 2.3, "EchoTime": 0.00298, "InversionTime": 0.9, "FlipAngle": 9, "MagneticFieldStrength": 3,
        "ManufacturersModelName": "Prisma", "PhaseEncodingAxis": "i", "ScanningSequence": ["GR", "IR"],
        "SequenceVariant": "SK", "EchoTrainLength": 1, "AcquisitionMatrix": [256, 240],
        "AcquisitionDateTime": "2024-01-31T08:15:30.25", "SoftwareVersions": ["a", "b"],
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert "DiffusionBValue" not in found
    assert not any(value in ("", None, []) for value in found.values())


def test_enhanced_objects_keep_them_in_functional_groups(write_one: Write) -> None:
    shared, timing, echo, measures = Dataset(), Dataset(), Dataset(), Dataset()
    timing.RepetitionTime, timing.FlipAngle = 5000.0, 90.0
    echo.EffectiveEchoTime = 80.0
    measures.PixelSpacing, measures.SliceThickness = [1.0, 1.0], 3.0
    shared.MRTimingAndRelatedParametersSequence = Sequence([timing])
    shared.MREchoSequence = Sequence([echo])
    shared.PixelMeasuresSequence = Sequence([measures])
    path = write_one("a.dcm", np.zeros((3, 4), np.int16), SharedFunctionalGroupsSequence=Sequence([shared]))
    found = side(path)
    assert (found["RepetitionTime"], found["FlipAngle"], found["EchoTime"], found["SliceThickness"]) == (5, 90, 0.08, 3)


def test_pet_has_its_units_and_its_dose(write_one: Write) -> None:
    tracer = Dataset()
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = "370000000", "6586.2"
    tags = {"Modality": "PT", "Units": "BQML", "RadiopharmaceuticalInformationSequence": Sequence([tracer])}
    found = side(write_one("a.dcm", np.zeros((3, 4), np.int16), **tags))
    assert (found["Units"], found["InjectedRadioactivity"], found["InjectedRadioactivityUnits"]) == (
        "Bq/mL",
        370,
        "MBq",
    )
    assert without_persons(found)["Units"] == "Bq/mL"


@pytest.mark.parametrize(
    ("tags", "unit"),
    [
        ({"RescaleIntercept": -1024, "RescaleSlope": 1}, "HU"),
        ({"RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "HU"}, "HU"),
        ({"RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "US"}, None),
        ({}, None),
    ],
)
def test_ct_is_in_hounsfield_units_where_it_was_rescaled(
    tags: dict[str, Any], unit: str | None, write_one: Write
) -> None:
    assert side(write_one("a.dcm", np.zeros((3, 4), np.int16), **tags)).get("Units") == unit


def test_an_inverted_scale_and_the_spacing_at_the_detector_are_told(write_one: Write) -> None:
    tags = {"PhotometricInterpretation": "MONOCHROME1", "Modality": "DX", "ImagePositionPatient": None}
    values = np.zeros((3, 4), np.uint16)
    found = side(write_one("a.dcm", values, **tags, PixelSpacing=None, ImagerPixelSpacing=[0.1, 0.1]))
    assert found["GreyScaleInverted"] is True
    assert found["PixelSpacingSource"] == "ImagerPixelSpacing"
    assert {"GreyScaleInverted", "PixelSpacingSource"} <= set(without_persons(found))


@pytest.mark.parametrize(
    ("age", "born", "seen", "expected"),
    [
        ("041Y", "", "", 41),
        ("006M", "", "", 0.5),
        ("010D", "", "", 0.027),
        ("", "19800615", "20240614", 43),
        ("", "19800615", "20240615", 44),
        ("", "20300101", "20240615", None),
        ("", "", "20240615", None),
        ("forty", "", "", None),
    ],
)
def test_ages(age: str, born: str, seen: str, expected: float | None) -> None:
    made = Dataset()
    with quiet():
        made.PatientAge, made.PatientBirthDate, made.StudyDate = age, born, seen
    assert age_of(made) == expected


def test_broken_elements_say_nothing(write_one: Write) -> None:
    path = Path(write_one("a.dcm", np.zeros((3, 4), np.int16), EchoTime="2.98", FlipAngle="15"))
    data = path.read_bytes().replace(b"2.98", b"x.yz")
    path.write_bytes(data)
    found = side(str(path))
    assert "EchoTime" not in found
    assert found["FlipAngle"] == 15


def test_every_field_is_of_the_standard_and_named_once() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)
    for field in FIELDS:
        assert pydicom.datadict.tag_for_keyword(field.keyword) is not None, field
        assert not field.enhanced or pydicom.datadict.tag_for_keyword(field.enhanced) is not None, field
        assert not field.group or pydicom.datadict.tag_for_keyword(field.group) is not None, field


def test_what_somebody_typed_is_never_told() -> None:
    # PS3.15 E.1: of the values of these representations only those of a vocabulary may stay.
    for field in FIELDS:
        vr = pydicom.datadict.dictionary_VR(pydicom.datadict.tag_for_keyword(field.keyword))
        if vr in ("LO", "SH", "ST", "LT", "PN", "UI", "UT", "DA", "TM", "DT"):
            assert field.codes is None, field
        elif vr == "CS":
            assert field.codes is None or field.codes, field
        else:
            assert field.codes in (None, NUMBERS), field


def test_only_values_of_the_standard_pass() -> None:
    given = {
        "Modality": "MR", "BodyPart": "DOEJANE", "ImageType": ["ORIGINAL", "Doe", "ADC"], "EchoTime": 0.08,
        "SeriesNumber": 20240131, "AcquisitionNumber": 2, "PatientWeight": 70, "Manufacturer": "Doe Systems",
        "PatientAge": 41.7, "PatientSex": "X", "ScanOptions": "FS", "Anything": 1,
    }  # fmt: skip
    assert without_persons(given) == {
        "Modality": "MR", "ImageType": ["ORIGINAL", "ADC"], "EchoTime": 0.08, "AcquisitionNumber": 2, "PatientAge": 41,
        "ScanOptions": "FS",
    }  # fmt: skip


def test_known_makers() -> None:
    assert known_maker("SIEMENS") == "Siemens"
    assert known_maker("GE MEDICAL SYSTEMS") == "GE"
    assert known_maker("Doe") is None
    assert known_maker(None) is None


def test_a_real_header() -> None:
    path = get_testdata_file("MR_small.dcm", download=False)
    found = side(str(path))
    assert found["Manufacturer"] == "TOSHIBA_MEC"
    assert found["EchoTime"] == pytest.approx(0.24)
    assert without_persons(found)["Manufacturer"] == "Toshiba"
