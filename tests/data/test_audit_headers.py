"""What DICOM headers say of persons: counted by element, never shown."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydicom.dataset import Dataset as Header
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medcnn.data.audit import Audit, audit
from medcnn.data.audit_headers import HeaderFacts, read_headers
from medcnn.data.images.privacy import identifying_headers
from medcnn.types import Case, Dataset, ImageRef


def header(**values: Any) -> Header:
    made = Header()
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = CTImageStorage, generate_uid(), "CT"
    for key, value in values.items():
        setattr(made, key, value)
    return made


def written(folder: Path, name: str, **values: Any) -> str:
    made = header(**values)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    path = folder / f"{name}.dcm"
    made.save_as(path, enforce_file_format=True)
    return str(path)


def case(name: str, *paths: str, **more: Any) -> Case:
    return Case(name, (ImageRef(paths),), **more)


def audited(cases: list[Case]) -> Audit:
    return audit(Dataset("test", tuple(cases), {}, patients_known=True), [], headers=read_headers(cases))


def findings(found: Audit) -> dict[str, str]:
    return {f.id: f.what for f in found.findings if f.id.startswith(("header", "patient"))}


def test_every_element_that_tells_who_it_is_is_named() -> None:
    item = Header()
    item.RequestingPhysician = "Pym^Ada"
    made = header(
        PatientName="Doe^Jane",
        OperatorsName="Smith",
        PatientBirthDate="19500201",
        PatientAddress="1 High Street",
        BurnedInAnnotation="YES",
        RequestAttributesSequence=Sequence([item]),
    )
    expected = {"PatientName", "OperatorsName", "PatientBirthDate", "PatientAddress", "BurnedInAnnotation"}
    assert set(identifying_headers(made)) == {*expected, "RequestingPhysician"}


def test_empty_elements_and_a_denied_mark_tell_nothing() -> None:
    made = header(PatientName="^^^", PatientBirthDate="", ReferringPhysicianName=None, BurnedInAnnotation="NO")
    assert identifying_headers(made) == ()


def test_a_broken_element_does_not_hide_the_others(tmp_path: Path) -> None:
    import pydicom

    path = Path(written(tmp_path, "a", PatientName="Doe^Jane", Rows=512))
    path.write_bytes(path.read_bytes().replace(b"US\x02\x00\x00\x02", b"US\x03\x00\x00\x02\x00"))
    read = pydicom.dcmread(path)
    with pytest.raises(Exception):  # noqa: B017, PT011
        list(read)
    assert identifying_headers(pydicom.dcmread(path)) == ("PatientName",)


def test_headers_are_counted_by_element_and_no_value_is_shown(tmp_path: Path) -> None:
    one = [written(tmp_path, f"a{i}", PatientName="Doe^Jane", PatientBirthDate="19500201") for i in range(3)]
    two = written(tmp_path, "b", BurnedInAnnotation="YES", PatientTelephoneNumbers="555-0100")
    picture = tmp_path / "c.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    found = audited([case("one", *one), case("two", two), case("three", str(picture))])
    table = found.tables["headers"]
    assert (table["cases"], table["files"]) == (2, 4)
    assert (table["files_with_a_name"], table["files_with_a_birth_date"], table["files_with_an_address"]) == (3, 3, 1)
    assert table["files_with_burned_in_annotation"] == 1
    assert table["files_silent_on_burned_in_annotation"] == 3
    assert table["files_by_element"] == {
        "PatientBirthDate": 3,
        "PatientName": 3,
        "BurnedInAnnotation": 1,
        "PatientTelephoneNumbers": 1,
    }
    said = findings(found)
    assert said["header-names"] == "3 DICOM headers carry the name of a person, in 1 case (PatientName)"
    assert said["header-birth-dates"] == "3 DICOM headers carry a birth date, in 1 case (PatientBirthDate)"
    assert set(said) == {"header-names", "header-birth-dates", "header-contact", "header-burned-in"}
    text = json.dumps(found.to_json())
    jsonschema.validate(json.loads(text), json.loads(files("medcnn.data").joinpath("audit.schema.json").read_text()))
    assert not any(secret in text for secret in ("Doe", "Jane", "19500201", "1950", "555-0100"))


def test_fillers_and_pseudonyms_are_no_names(tmp_path: Path) -> None:
    paths = [
        written(tmp_path, "a", PatientName="Anonymous"),
        written(tmp_path, "b", PatientName="P0007", PatientID="P0007"),
        written(tmp_path, "c", PatientName="Doe^Jane", PatientID="P0008"),
    ]
    table = audited([case(str(i), p) for i, p in enumerate(paths)]).tables["headers"]
    assert table["files_with_a_name"] == 1


def test_a_further_id_is_no_name(tmp_path: Path) -> None:
    path = written(tmp_path, "a", OtherPatientIDs="4711", AccessionNumber="A5")
    found = audited([case("one", path)])
    table = found.tables["headers"]
    assert (table["files_with_a_name"], table["files_with_a_further_id"]) == (0, 1)
    assert list(findings(found)) == ["header-ids"]


def test_an_id_with_two_birth_dates_or_sexes_in_its_headers(tmp_path: Path) -> None:
    same = [written(tmp_path, f"s{i}", PatientID="P1", PatientBirthDate="19500201", PatientSex="F") for i in range(2)]
    other = [
        written(tmp_path, f"o{i}", PatientID="P2", PatientBirthDate=f"1950020{i}", PatientSex="FM"[i]) for i in (0, 1)
    ]
    blank = [written(tmp_path, f"b{i}", PatientID="", PatientSex="FM"[i]) for i in (0, 1)]
    found = audited([case(p, p) for p in (*same, *other, *blank)])
    said = findings(found)
    assert said["patient-two-birth-dates"] == "1 patient id has cases with different birth dates: an id for many?"
    assert said["patient-two-sexes"] == "1 patient id has cases of both sexes: an id for many?"


def test_the_table_and_the_header_are_held_against_each_other() -> None:
    cases = [
        Case("a", (), patient="P1", attributes={"sex": "Female", "birth_date": "1950-02-01"}),
        Case("b", (), patient="P2", attributes={"sex": "f", "birth_date": "1950-02-01"}),
    ]
    facts = [
        HeaderFacts("a", 1, patient="P1", sexes=frozenset({"female"}), births=frozenset({"19500201"})),
        HeaderFacts("b", 1, patient="P2", sexes=frozenset({"male"}), births=frozenset({"19500202"})),
    ]
    found = audit(Dataset("test", tuple(cases), {}, patients_known=True), [], headers=facts)
    assert {f.id: f.cases for f in found.findings if f.id.startswith("patient-two")} == {
        "patient-two-sexes": ("b",),
        "patient-two-birth-dates": ("b",),
    }


def test_a_file_that_is_no_dicom_is_left_to_the_reading_of_pixels(tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    assert read_headers([case("x", str(broken)), case("y", str(tmp_path / "absent.dcm"))]) in (
        [],
        [HeaderFacts("x", 1, silent=1)],
    )
