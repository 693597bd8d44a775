"""The table of cases: what is written is what is read, whatever the names hold."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medcnn.data.cases_csv import read_cases, write_cases
from medcnn.errors import RunError
from medcnn.types import Boxes, Case, ClassLabel, Dataset, Exclusion, ImageRef, LabelClass, LabelSchema, Mask, Value

ODD = st.one_of(
    st.sampled_from(
        ['a,b"c', "line\nbreak", "cr\rcr", "crlf\r\n", "Müller/äß", "[[1]]", "[]", " space ", "0", "nan", "=1"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8),
)
ATTRIBUTE = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.sampled_from(["1", "1.0", "1_0", "007", "nan", "inf", '"', '"x"', "None", "True"]),
    st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False),
)
REF = st.builds(
    ImageRef,
    st.lists(ODD, min_size=1, max_size=3).map(tuple),
    st.sampled_from(["auto", "dicom", "npz"]),
    st.none() | ODD,
    st.none() | st.integers(0, 5),
)
MASK = st.builds(Mask, REF, st.lists(st.tuples(ODD, ODD), max_size=3).map(tuple), st.lists(REF, max_size=2).map(tuple))
FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def case_of(targets: st.SearchStrategy[tuple[object, ...]]) -> st.SearchStrategy[Case]:
    maybe = st.none() | ODD
    return st.builds(
        Case,
        ODD,
        st.lists(REF, min_size=1, max_size=3).map(tuple),
        targets,
        patient=maybe,
        group=maybe,
        cluster=maybe,
        part=st.sampled_from([None, "training", "validation", "test"]),
        study=maybe,
        attributes=st.fixed_dictionaries({"age": ATTRIBUTE, "a,b\n": ATTRIBUTE, "label_x": ATTRIBUTE}),
    )


def there_and_back(folder: Path, dataset: Dataset) -> Dataset:
    write_cases(folder / "cases.csv", dataset)
    return read_cases(folder / "cases.csv")


def kinds(case: Case) -> dict[str, type]:
    return {name: type(value) for name, value in case.attributes.items()}


@FAST
@given(data=st.data())
def test_exclusive_classes_come_back(tmp_path: Path, data: st.DataObject) -> None:
    names = data.draw(st.lists(ODD, min_size=2, max_size=4, unique=True))
    schema = LabelSchema(
        tuple(LabelClass(i, n, "#ff0000" if i else None) for i, n in enumerate(names)), False, names[1]
    )
    label = st.none() | st.integers(0, len(names) - 1)
    targets = label.map(lambda i: (ClassLabel.of(i, len(names)),))
    cases = data.draw(st.lists(case_of(targets), max_size=4))
    dataset = Dataset("d", tuple(cases), {"class": schema}, (Exclusion("x,\n", 'why"', "p"),), True, {"title": "ü"})
    found = there_and_back(tmp_path, dataset)
    assert found == dataset
    assert [kinds(c) for c in found] == [kinds(c) for c in dataset]


@FAST
@given(data=st.data())
def test_multilabel_states_with_missing_ones_come_back(tmp_path: Path, data: st.DataObject) -> None:
    names = data.draw(st.lists(ODD, min_size=1, max_size=4, unique=True))
    schema = LabelSchema(tuple(LabelClass(i, n) for i, n in enumerate(names)), True)
    states = st.lists(st.sampled_from([0, 1, None]), min_size=len(names), max_size=len(names))
    cases = data.draw(st.lists(case_of(states.map(lambda s: (ClassLabel(tuple(s)),))), max_size=3))
    dataset = Dataset("d", tuple(cases), {"class": schema})
    assert there_and_back(tmp_path, dataset) == dataset


@FAST
@given(value=st.floats(allow_nan=False) | st.just(np.float64(0.1)), mask=MASK)
def test_values_and_masks_come_back(tmp_path: Path, value: float, mask: Mask) -> None:
    case = Case("a", (ImageRef(("a.png",)),), (Value(value), mask))
    found = there_and_back(tmp_path, Dataset("d", (case,), {}))
    assert found.cases[0].targets == case.targets


def test_masks_of_earlier_files_are_read(tmp_path: Path) -> None:
    mask = Mask(ImageRef(("m.png",), "raster", None, 2))
    there_and_back(tmp_path, Dataset("d", (Case("a", (ImageRef(("a.png",)),), (mask,)),), {}))
    text = (tmp_path / "cases.csv").read_text()
    assert '"[""raster"", [""m.png""], null, 2]"' in text
    assert read_cases(tmp_path / "cases.csv").cases[0].target(Mask) == mask


def test_a_missing_value_stays_missing(tmp_path: Path) -> None:
    case = Case("a", (ImageRef(("a.png",)),), (Value(None),))
    target = there_and_back(tmp_path, Dataset("d", (case,), {})).cases[0].target(Value)
    assert target is None or target.value is None


@pytest.mark.parametrize(("count", "crowd"), [(0, None), (2, None), (2, [False, True])])
def test_boxes_come_back_to_the_bit(tmp_path: Path, count: int, crowd: list[bool] | None) -> None:
    corners = np.random.default_rng(0).random((count, 4), np.float32)
    flags = None if crowd is None else np.array(crowd)
    case = Case("a", (ImageRef(("a.png",)),), (Boxes(corners, np.arange(count), flags),))
    found = there_and_back(tmp_path, Dataset("d", (case,), {})).cases[0].target(Boxes)
    assert found is not None
    assert found.corners.dtype == np.float32
    np.testing.assert_array_equal(found.corners, corners)
    np.testing.assert_array_equal(found.labels, np.arange(count))
    assert (None if found.crowd is None else found.crowd.tolist()) == crowd


def test_a_long_series_is_not_too_long(tmp_path: Path) -> None:
    paths = tuple(f"/a/folder/with/a/rather/long/name/and/more/slice-{i:06d}.dcm" for i in range(3000))
    before = csv.field_size_limit()
    dataset = Dataset("d", (Case("a", (ImageRef(paths, "dicom"),)),), {})
    assert there_and_back(tmp_path, dataset).cases[0].images[0].paths == paths
    assert csv.field_size_limit() == before


def test_a_case_without_an_image_comes_back(tmp_path: Path) -> None:
    assert there_and_back(tmp_path, Dataset("d", (Case("a", ()),), {})).cases[0].images == ()


def test_attributes_that_are_no_number(tmp_path: Path) -> None:
    values = {"nan": math.nan, "inf": math.inf, "np": np.float64(0.5)}
    case = Case("a", (ImageRef(("a",)),), attributes=values)
    found = there_and_back(tmp_path, Dataset("d", (case,), {})).cases[0].attributes
    assert isinstance(found["nan"], float)
    assert math.isnan(found["nan"])
    assert found["inf"] == math.inf
    assert found["np"] == 0.5


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    with pytest.raises(RunError, match=r"cases\.json"):
        read_cases(path)
    schema = LabelSchema((LabelClass(0, "a"), LabelClass(1, "b")))
    dataset = Dataset("d", (Case("x", (ImageRef(("p",)),), (ClassLabel.of(1, 2),)),), {"class": schema})
    write_cases(path, dataset)
    path.write_text(path.read_text().replace(",b", ",c"))
    with pytest.raises(RunError, match=r"cases\.csv"):
        read_cases(path)
    path.unlink()
    with pytest.raises(RunError, match="missing"):
        read_cases(path)
    write_cases(path, replace(dataset, cases=()))
    assert len(read_cases(path)) == 0
