"""Series divided into stacks from headers alone, and the rule that picks one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from medcnn.data.images import (
    Header,
    ReadOptions,
    Refusal,
    Stack,
    StackRule,
    pick,
    read_image,
    read_stack,
    scan_file,
    stacks_of,
)
from medcnn.errors import DataError, ImageError
from medcnn.types import ImageRef

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
Write = Callable[..., list[str]]


def stacks(*paths: str) -> list[Stack]:
    headers = [scan_file(path) for path in paths]
    assert all(isinstance(h, Header) for h in headers)
    return stacks_of(headers)  # type: ignore[arg-type]


def counts(found: Sequence[Stack]) -> list[int]:
    return sorted(len(s.slices) for s in found)


def test_a_header_is_plain_and_holds_no_personal_value(write: Write) -> None:
    header = scan_file(write("a", [0])[0], ["StudyInstanceUID"])
    assert isinstance(header, Header)
    assert pickle.loads(pickle.dumps(header)) == header
    assert header.personal == ("PatientName",)
    assert "Secret" not in repr(header)
    assert header.extra == (("StudyInstanceUID", "1.2"),)
    assert header.shape == (3, 4)


def test_what_is_no_dicom_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    for path in (tmp_path / "a.txt", tmp_path / "none", tmp_path):
        found = scan_file(str(path))
        assert isinstance(found, Refusal)
        assert found.reason
        assert pickle.loads(pickle.dumps(found)) == found


def test_a_localizer_inside_a_series_is_set_aside(write: Write) -> None:
    scan = write("scan", [0, 2, 4, 6])
    scout = write("scout", [1], CORONAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], size=(5, 6))
    found = stacks(*scan, *scout)
    assert [(s.kind, len(s.slices)) for s in found] == [("image", 4), ("localizer", 1)]
    image = read_image(ImageRef((*scan, *scout)))
    assert image.array.shape == (1, 4, 3, 4)
    assert image.header["notes"] == ("1 object left aside: localizer",)
    asked = read_image(ImageRef((*scan, *scout)), ReadOptions(stack=StackRule(kind="localizer")))
    assert asked.array.shape == (1, 6, 5)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("EchoNumbers", 1, 2),
        ("TemporalPositionIdentifier", 1, 2),
        ("StackID", "1", "2"),
        ("DiffusionBValue", 0.0, 1000.0),
        ("EchoTime", 5.0, 80.0),
        ("AcquisitionNumber", 1, 2),
        ("TriggerTime", 10.0, 500.0),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
        ("AcquisitionTime", "101500", "101700"),
    ],
)
def test_slices_in_one_place_are_told_apart(write: Write, name: str, first: Any, second: Any) -> None:
    paths = [*write("a", [0, 3, 6], **{name: first}), *write("b", [0, 3, 6], first=10, **{name: second})]
    found = stacks(*paths)
    assert counts(found) == [3, 3]
    assert all(not s.problem and s.differing[0][0] == name for s in found)
    with pytest.raises(ImageError, match=f"2 stacks, which differ in {name}"):
        read_image(ImageRef(tuple(paths)))
    values = {read_stack(s).array.max() for s in found}
    assert values == {2, 12}


def test_three_keys_at_once(write: Write) -> None:
    paths = []
    for echo in (1, 2):
        for time in (1, 2, 3):
            options = {"EchoTime": float(echo), "TemporalPositionIdentifier": time}
            paths += write(f"{echo}{time}", [0, 3, 6], **options)
    found = stacks(*paths)
    assert counts(found) == [3] * 6
    assert len({s.key for s in found}) == 6


def test_what_varies_inside_a_stack_does_not_tear_it_apart(write: Write, tmp_path: Path) -> None:
    paths = [write(f"s{k}", [2.0 * k], AcquisitionNumber=k, TriggerTime=7.0 * k)[0] for k in range(6)]
    jitter = [
        write(f"j{k}", [2.0 * k], (1.0, 1e-5 * k, 0, -1e-5 * k, 1, 0), SeriesInstanceUID="9")[0] for k in range(6)
    ]
    assert counts(stacks(*paths)) == [6]
    assert counts(stacks(*jitter)) == [6]


def test_two_runs_of_different_spacing_are_divided_by_their_acquisition(write: Write) -> None:
    paths = [*write("a", [0, 1, 2, 3], AcquisitionNumber=1), *write("b", [10, 15, 20], AcquisitionNumber=2)]
    found = stacks(*paths)
    assert sorted((len(s.slices), round((s.spacing or (0, 0, 0))[2], 3)) for s in found) == [(3, 5.0), (4, 1.0)]


def test_a_fault_is_named_where_the_acquisition_changes_with_the_gantry(write: Write) -> None:
    def turns(name: str, heights: list[float], per_turn: int) -> Stack:
        options: dict[str, Any] = {"SeriesInstanceUID": name}
        paths = [write(f"{name}{k}", [z], AcquisitionNumber=k // per_turn, **options)[0] for k, z in enumerate(heights)]
        (found,) = stacks(*paths)
        return found

    # A slice is missing between two turns of four: each turn is even, and none of them is the stack.
    gap = turns("1", [float(z) for z in range(16) if z != 8], 4)
    assert len(gap.slices) == 15
    assert "1 slice is missing" in gap.problem
    head = turns("2", [*(5.0 * k for k in range(6)), *(30.0 + 10 * k for k in range(6))], 2)
    assert "not evenly spaced: gaps from 5.00 to 10.00 mm" in head.problem


def test_moments_are_told_by_their_order_never_by_the_time_of_day(write: Write) -> None:
    paths = [path for t in (3, 1, 2) for path in write(f"t{t}", [0, 3, 6], AcquisitionTime=f"10{t}500", first=10 * t)]
    found = stacks(*paths)
    assert {dict(s.differing)["AcquisitionTime"]: int(read_stack(s).array.max()) for s in found} == {
        "1 of 3": 12,
        "2 of 3": 22,
        "3 of 3": 32,
    }
    with pytest.raises(ImageError, match="differ in AcquisitionTime") as error:
        read_image(ImageRef(tuple(paths)))
    assert "500" not in str(error.value)
    twice = [*write("a", [0], AcquisitionTime="101500"), *write("b", [0, 1], AcquisitionTime="101600")]
    with pytest.raises(
        ImageError, match=r"1 place holds more than one slice.*they differ in AcquisitionTime\n"
    ) as error:
        read_image(ImageRef(tuple(twice)))


def test_values_of_an_element_are_divided_as_in_the_file(write: Write) -> None:
    paths = [path for t in "WF" for path in write(t, [0, 3], ImageType=["DERIVED", "PRIMARY", t])]
    assert {s.key for s in stacks(*paths)} == {r"ImageType=DERIVED\PRIMARY\W", r"ImageType=DERIVED\PRIMARY\F"}


def test_files_without_a_series_uid_stand_for_themselves(write: Write) -> None:
    paths = write("a", [0, 2, 4], SeriesInstanceUID=None)
    assert counts(stacks(*paths)) == [1, 1, 1]
    with pytest.raises(ImageError, match="3 stacks, for without a SeriesInstanceUID each file stands for itself"):
        read_image(ImageRef(tuple(paths)))


def test_siemens_b_values_stand_in_private_elements(write: Write) -> None:
    paths = []
    for b in (0, 800):
        for path in write(f"b{b}", [0, 3, 6], Modality="MR"):
            found = pydicom.dcmread(path)
            block = found.private_block(0x0019, "SIEMENS MR HEADER", create=True)
            block.add_new(0x0C, "IS", str(b))
            found.save_as(path)
            paths.append(path)
    found_stacks = stacks(*paths)
    assert sorted(dict(s.differing)["DiffusionBValue"] for s in found_stacks) == ["0", "800"]
    assert pick(found_stacks, StackRule(b_value=800)).paths == tuple(p for p in paths if "b800" in p)


def test_a_missing_slice_tilt_and_copies_are_named(write: Write, tmp_path: Path) -> None:
    (gap,) = stacks(*write("gap", [0, 2, 4, 8, 10]))
    assert "1 slice is missing" in gap.problem
    with pytest.raises(ImageError, match="1 slice is missing"):
        read_stack(gap)
    paths = write("copy", [0, 2, 4], SeriesInstanceUID="5")
    twin = tmp_path / "copy of it.dcm"
    twin.write_bytes(Path(paths[1]).read_bytes())
    (found,) = stacks(*paths, str(twin))
    assert (len(found.slices), found.copies) == (3, 1)


def test_one_uid_in_several_places_is_no_copy(write: Write) -> None:
    (found,) = stacks(*write("a", [0, 2, 4], SOPInstanceUID="1.2.3.4"))
    assert (len(found.slices), found.copies) == (3, 0)


def test_objects_are_listed_by_class() -> None:
    names = {
        "test-SR.dcm": "structured report",
        "rtstruct.dcm": "structure set",
        "rtplan.dcm": "radiotherapy plan or record",
        "rtdose.dcm": "dose distribution",
        "SC_rgb_rle.dcm": "secondary capture",
        "waveform_ecg.dcm": "waveform",
        "CT_small.dcm": "image",
    }
    for name, kind in names.items():
        (found,) = stacks(str(get_testdata_file(name)))
        assert found.kind == kind, name


def test_radiographs_are_one_stack_each_and_frames_of_ultrasound_no_volume(write: Write) -> None:
    films = write("film", [0, 0], Modality="DX", ImagePositionPatient=None, ImageOrientationPatient=None)
    assert counts(stacks(*films)) == [1, 1]
    (found,) = stacks(str(get_testdata_file("examples_ybr_color.dcm")))
    assert "30 frames of US without a position" in found.problem


def test_dose_frames_have_places() -> None:
    path = str(get_testdata_file("rtdose.dcm"))
    dataset = pydicom.dcmread(path)
    (found,) = stacks(path)
    step = abs(dataset.GridFrameOffsetVector[1] - dataset.GridFrameOffsetVector[0])
    assert found.spacing is not None
    assert found.spacing[2] == pytest.approx(step)
    image = read_image(found.ref())
    np.testing.assert_allclose(image.array[0].T, dataset.pixel_array * dataset.DoseGridScaling, rtol=1e-6)


def test_a_rule_picks_and_ambiguity_lists_the_stacks(write: Write) -> None:
    one = write("one", [0, 3, 6], SeriesInstanceUID="1", SeriesDescription="T1 ax post", Modality="MR", SeriesNumber=4)
    two = write("two", [0, 3, 6, 9], SeriesInstanceUID="2", SeriesDescription="T2 ax", Modality="MR", SeriesNumber=2)
    three = write("three", [0, 3], CORONAL, SeriesInstanceUID="3", SeriesDescription="T1 cor post", Modality="MR")
    found = stacks(*one, *two, *three)
    assert pick(found, StackRule(plane="axial", description="t1.*post")).paths == tuple(one)
    assert pick(found, StackRule(plane="coronal")).paths == tuple(three)
    assert pick(found, StackRule(prefer="most_slices")).paths == tuple(two)
    assert pick(found, StackRule(least_slices=4)).paths == tuple(two)
    assert pick(found, StackRule(series_number=4)).paths == tuple(one)
    assert pick(found, StackRule(plane="axial", prefer="first")).paths == tuple(two)
    with pytest.raises(ImageError, match=r"2 stacks.*T1 ax post.*T2 ax") as error:
        pick(found, StackRule(plane="axial"))
    assert "4711" not in str(error.value)
    with pytest.raises(ImageError, match="none of the stacks fits"):
        pick(found, StackRule(modality="CT"))
    with pytest.raises(ImageError, match="there is no stack"):
        pick([])


def test_a_rule_from_a_recipe_is_checked() -> None:
    assert StackRule.of({"plane": "axial", "b_value": 800}) == StackRule(plane="axial", b_value=800)
    for values, message in (
        ({"plain": "axial"}, "did you mean 'plane'"),
        ({"plane": "transversal"}, "axial, coronal, sagittal"),
        ({"echo": "2"}, "no value for echo"),
        ({"derived": 1}, "no value for derived"),
        ({"description": "("}, "no regular expression"),
    ):
        with pytest.raises(DataError, match=message):
            StackRule.of(values)


def test_a_stack_of_one_file_is_chosen_by_its_key(tmp_path: Path) -> None:
    from pydicom.sequence import Sequence as Items

    path = str(get_testdata_file("CT_small.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.PixelData = np.stack([np.full((2, 2), k, np.int16) for k in range(4)]).tobytes()
    dataset.Rows = dataset.Columns = 2
    dataset.NumberOfFrames, dataset.BitsStored, dataset.HighBit = 4, 16, 15
    frames = []
    for k in range(4):
        frame, content, plane = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        content.StackID, plane.ImagePositionPatient = str(1 + k // 2), [0, 0, k % 2]
        frame.FrameContentSequence, frame.PlanePositionSequence = Items([content]), Items([plane])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    target = str(tmp_path / "enhanced.dcm")
    dataset.save_as(target)
    first, second = stacks(target)
    assert second.ref() == ImageRef((target,), "dicom", "StackID=2")
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    found = read_image(second.ref()).array[0, 0, 0]
    np.testing.assert_array_equal(found, np.array([2, 3]) * slope + intercept)
    with pytest.raises(ImageError, match="differ in StackID"):
        read_image(ImageRef((target,)))
    assert first.key == "StackID=1"


def test_a_file_that_changed_since_it_was_listed_is_named(write: Write) -> None:
    paths = write("a", [0, 2, 4])
    (found,) = stacks(*paths)
    Path(paths[1]).write_bytes(Path(paths[1]).read_bytes() + b"\0\0")
    with pytest.raises(ImageError, match="changed since it was listed"):
        read_stack(found)
