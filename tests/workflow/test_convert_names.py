"""Names of converted files: what every system can store, and each once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcnn.data.images.dicom_header import Header, Slice
from medcnn.data.images.stacks import Stack
from medcnn.workflow.convert_names import Named, name_files, safe, stem_of

SLICE = Slice("a.dcm", 0, None, None, None, "", None, ("",) * 5, ("",) * 12)


def stack(*differing: tuple[str, str], **values: Any) -> Stack:
    plain: dict[str, Any] = dict.fromkeys(Header.__dataclass_fields__, "")
    plain |= {"path": "a.dcm", "state": (0, 0, 0), "kind": "image", "modality": "MR", "image_type": ()}
    plain |= {"shape": (4, 4), "samples": 1, "frames": 1, "bits": 16, "series_number": 7, "instance": 1}
    plain |= {"personal": (), "extra": (), "slices": (SLICE,), "description": "t1 axial"}
    header = Header(**{**plain, **values})
    return Stack((header,), (SLICE,), "image", False, None, None, 0.0, 0, differing)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T1 post (Gd) 3.5mm", "T1-post-Gd-3.5mm"),
        ("../../etc/passwd", "etc-passwd"),
        ("Schädel früh", "Schadel-fruh"),
        ("頭部", ""),
        ("..", ""),
        ("a\nb\0c", "a-b-c"),
        ("con", "x-con"),
        ("NUL.txt", "x-NUL.txt"),
        ("console", "console"),
        ("x" * 200, "x" * 60),
    ],
)
def test_texts_become_safe(text: str, expected: str) -> None:
    assert safe(text) == expected


@given(st.text())
def test_any_text_becomes_a_name_that_every_system_takes(text: str) -> None:
    found = safe(text)
    assert len(found) <= 62
    assert not set(found) & set('/\\:*?"<>|\0 ')
    assert not found.startswith((".", "-"))
    assert not found.endswith((".", "-"))
    assert found.isascii()


def test_a_stem_is_made_of_number_description_and_what_differs() -> None:
    assert stem_of(stack(), private=False) == "007_t1-axial"
    assert stem_of(stack(series_number=None), private=False) == "MR_t1-axial"
    assert stem_of(stack(description="頭部", protocol="brain"), private=False) == "007_brain"
    assert stem_of(stack(description="", series_number=None), private=False) == "MR"
    assert stem_of(stack(description="", modality="", series_number=None), private=False) == "image"
    several = stack(("DiffusionBValue", "1000.0"), ("ImageType", "['DERIVED', 'PRIMARY', 'ADC', 'ND']"))
    assert stem_of(several, private=False) == "007_t1-axial_b1000_ADC-ND"
    assert stem_of(stack(("ContrastBolusAgent", "Gado 5ml"), ("StackID", "1")), private=False).endswith(
        "_Gado-5ml_stack1"
    )


def test_a_private_stem_has_numbers_and_values_of_the_standard_alone() -> None:
    telling = stack(
        ("ContrastBolusAgent", "Doe"),
        ("StackID", "Doe"),
        ("EchoTime", "4.0"),
        ("ImageType", "['DERIVED', 'PRIMARY', 'ADC', 'DOE']"),
        ("ConvolutionKernel", "DOE"),
        ("AcquisitionNumber", "20240131"),
        modality="MR",
        description="Doe",
        protocol="Doe",
    )
    assert stem_of(telling, private=True) == "007_MR_te4_ADC"
    assert stem_of(stack(modality="DOE", series_number=20240131), private=True) == "image"


def named(stem: str, owner: str = "a", study: str = "s", date: str = "", **more: str) -> Named:
    return Named(owner, more.get("folder", owner), study, more.get("study_name", ""), date, stem)


def test_equal_names_are_numbered_also_where_capitals_do_not_count() -> None:
    found = name_files([named("x"), named("X"), named("x"), named("x-2")])
    assert [str(p) for p in found] == ["x", "X-2", "x-3", "x-2-2"]


def test_folders_are_there_where_there_are_several() -> None:
    one = [named("x", study="1", date="2"), named("y", study="2", date="1")]
    assert [str(p) for p in name_files(one)] == ["study-2/x", "study-1/y"]
    two = [named("x"), replace(named("x", owner="b"), owner_name="A")]
    assert [str(p) for p in name_files(two)] == ["a/x", "A-2/x"]
    assert [str(p) for p in name_files([named("x", study_name="C-1"), named("y", study="t", study_name="C-2")])] == [
        "C-1/x",
        "C-2/y",
    ]
    assert name_files([]) == []


@given(
    st.lists(st.tuples(st.sampled_from("abX"), st.sampled_from("ab"), st.sampled_from("st"), st.just("")), max_size=12)
)
def test_no_two_files_have_one_name(stacks: list[tuple[str, str, str, str]]) -> None:
    found = name_files([named(*one, folder="same") for one in stacks])
    assert len({str(p).casefold() for p in found}) == len(stacks)
    assert all(isinstance(p, PurePosixPath) and not p.is_absolute() for p in found)
