"""Which elements of a header tell who the patient is."""

from __future__ import annotations

from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medcnn.data.images.privacy import CONTACT, DATES, IDS, MARKS, identifying_headers


def header(**values: Any) -> Dataset:
    made = Dataset()
    made.Modality = "MR"
    for key, value in values.items():
        setattr(made, key, value)
    return made


def of(value: str, **more: str) -> Dataset:
    item = Dataset()
    item.PatientID = value
    for key, text in more.items():
        setattr(item, key, text)
    return item


@pytest.mark.parametrize("keyword", [*DATES, *CONTACT, *(k for k in IDS if not k.endswith("Sequence"))])
def test_each_element_on_the_lists_is_named_where_it_says_something(keyword: str) -> None:
    assert pydicom.datadict.tag_for_keyword(keyword) is not None
    vr = pydicom.datadict.dictionary_VR(pydicom.datadict.tag_for_keyword(keyword))
    value = {"DA": "19500102", "TM": "0815"}.get(vr, "x1")
    assert identifying_headers(header(**{keyword: value})) == (keyword,)
    assert identifying_headers(header(**{keyword: ""})) == ()


def test_every_element_of_a_name_in_the_standard_is_named() -> None:
    from pydicom._dicom_dict import DicomDictionary

    names = [entry[4] for entry in DicomDictionary.values() if entry[0] == "PN" and entry[4]]
    assert len(names) > 30
    assert set(identifying_headers(header(**dict.fromkeys(names, "Doe^Jane")))) == set(names)


def test_other_ids_count_as_one_element_and_the_id_in_it_is_not_taken_for_the_patients() -> None:
    assert identifying_headers(header(OtherPatientIDsSequence=Sequence([of("4711")]))) == ("OtherPatientIDsSequence",)
    assert identifying_headers(header(OtherPatientIDsSequence=Sequence([]))) == ()
    assert identifying_headers(header(PatientID="4711")) == ()


def test_names_deep_in_sequences_and_in_private_elements_are_found() -> None:
    deep = header(ReferencedStudySequence=Sequence([of("1", ContentCreatorName="Pym^Ada")]))
    outer = header(RequestAttributesSequence=Sequence([deep]))
    outer.private_block(0x0099, "A MAKER", create=True).add_new(0x01, "PN", "Roe^Richard")
    assert identifying_headers(outer) == ("ContentCreatorName", "(0099,1001)")


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_counts_where_it_says_yes(mark: str) -> None:
    assert identifying_headers(header(**{mark: "YES"})) == (mark,)
    assert identifying_headers(header(**{mark: "NO"})) == ()


def test_they_come_in_the_order_of_the_header() -> None:
    made = header(PatientBirthDate="19500102", PatientName="Doe", AccessionNumber="A1", OperatorsName="Roe")
    assert identifying_headers(made) == ("AccessionNumber", "OperatorsName", "PatientName", "PatientBirthDate")
