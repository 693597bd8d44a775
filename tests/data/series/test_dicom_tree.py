"""The adapter dicom_tree: cases from headers, labels from an element or a table."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from pydicom.data import get_testdata_file

from medcnn.data.adapters.dicom_tree import dicom_tree
from medcnn.data.adapters.dicom_tree_values import age_of
from medcnn.data.dataset import load_dataset
from medcnn.data.dicom_sources import list_files
from medcnn.data.grouping import group_cases
from medcnn.data.images import StackRule, read_case, stacks_of
from medcnn.data.series_index import SeriesIndex
from medcnn.errors import DataError, RecipeError
from medcnn.recipe.options import options_model
from medcnn.recipe.schema import DataSection
from medcnn.types import Case, ClassLabel, Dataset, Value


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))


class Says:
    """A progress that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self, name: str, total: int | None, unit: str = "") -> None:
        """Nothing."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        self.said.append(text)


def load(tree: Any, **options: Any) -> Dataset:
    return dicom_tree(tree.root, workers=0, **options)


def named(dataset: Dataset) -> dict[str, str | None]:
    """The class of each case by its id."""
    found = {}
    for case in dataset:
        label = case.target(ClassLabel)
        assert label is not None
        found[case.id] = None if label.index is None else dataset.labels["class"].names[label.index]
    return found


def reasons(dataset: Dataset) -> dict[str, tuple[str, bool]]:
    return {e.case: (e.reason, e.aside) for e in dataset.exclusions}


def test_each_series_is_one_case_however_the_files_lie(tree: Any) -> None:
    one = tree.series("deep/er/one", PatientID="P1", PatientSex="F", PatientAge="042Y", InstitutionName="North")
    two = tree.series("two", (6, 0, 3), PatientID="P2", ManufacturerModelName="Model", FlipAngle="12")
    # Two series in one folder, and one in two folders.
    shutil.move(str(two[0]), str(one[0].parent / "z.dcm"))
    dataset = load(tree, header={"sex": "PatientSex", "age": "PatientAge", "flip": "FlipAngle"})
    assert [c.id for c in dataset] == ["deep/er/one/0.dcm", "deep/er/one/z.dcm"]
    first, second = dataset.cases
    assert first.images[0].paths == tuple(str(p) for p in one)
    assert [Path(p).name for p in second.images[0].paths] == ["1.dcm", "2.dcm", "z.dcm"]
    assert (first.patient, second.patient) == ("P1", "P2")
    assert first.study != second.study
    assert dict(first.attributes) == {"sex": "F", "age": 42, "flip": None}
    assert second.attributes["flip"] == 12
    assert dataset.patients_known
    assert read_case(first).array.shape == (1, 4, 3, 3)


def test_what_is_no_image_is_listed_by_class_and_counts_as_no_fault(tree: Any) -> None:
    tree.series("scan")
    tree.series("scout", (0,), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    tree.series("capture", (0,), SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    for name in ("test-SR.dcm", "rtplan.dcm", "rtstruct.dcm"):
        shutil.copy(str(get_testdata_file(name)), tree.root / name)
    (tree.root / "README").write_text("hello")
    (tree.root / "broken.dcm").write_bytes(b"")
    tree.write("cut.dcm", PixelData=None, SeriesInstanceUID="1.77")
    dataset = load(tree)
    assert [c.id for c in dataset] == ["scan/0.dcm"]
    found = reasons(dataset)
    assert found.pop("README")[1]
    assert found == {
        "scout/0.dcm": ("localizer", True),
        "capture/0.dcm": ("secondary capture", True),
        "test-SR.dcm": ("structured report", True),
        "rtplan.dcm": ("radiotherapy plan or record", True),
        "rtstruct.dcm": ("structure set", True),
        "broken.dcm": ("the file is empty", False),
        "cut.dcm": ("image without pixels", False),
    }
    asked = load(tree, stack=StackRule(kind="localizer"))
    assert [c.id for c in asked] == ["scout/0.dcm"]
    assert read_case(asked.cases[0]).array.shape == (1, 4, 3)


def test_radiographs_are_one_case_each_and_several_stacks_an_error_of_their_series(tree: Any) -> None:
    tree.film("films/pa.dcm", SeriesInstanceUID="1.6")
    tree.film("films/lateral.dcm", SeriesInstanceUID="1.6")
    # Some writers place films in space all the same.
    for k in range(2):
        place = {"ImagePositionPatient": [0, 0, k], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        tree.film(f"mg/{k}.dcm", SeriesInstanceUID="1.7", Modality="MG", **place)
    tree.series("echoes", EchoNumbers=1, SeriesInstanceUID="1.8")
    tree.series("echoes2", EchoNumbers=2, SeriesInstanceUID="1.8", StudyInstanceUID=pydicom.dcmread(
        tree.root / "echoes" / "0.dcm").StudyInstanceUID)  # fmt: skip
    dataset = load(tree)
    assert [c.id for c in dataset] == ["films/lateral.dcm", "films/pa.dcm", "mg/0.dcm", "mg/1.dcm"]
    ((name, (reason, aside)),) = reasons(dataset).items()
    assert name == "echoes/0.dcm"
    assert "2 stacks, which differ in EchoNumbers: [1] CT axial" in reason
    assert not aside
    assert {c.id for c in load(tree, stack=StackRule(echo=2))} == {"echoes2/0.dcm"}
    several = load(tree, stack=StackRule(modality="CR"), one_per="study")
    assert "there are 2 stacks" in reasons(several)["films/lateral.dcm"][0]


def test_a_rule_picks_one_stack_of_each_study(tree: Any) -> None:
    for patient in ("P1", "P2"):
        for k, (text, heights) in enumerate((("T1 ax", (0, 3)), ("T1 ax post", (0, 3, 6)), ("T2 ax", (0, 3, 6, 9)))):
            tree.series(
                f"{patient}/{k}", heights, PatientID=patient, StudyInstanceUID=f"1.4.{patient[1]}", Modality="MR",
                SeriesDescription=text, SOPClassUID="1.2.840.10008.5.1.4.1.1.4",
            )  # fmt: skip
    section = {"adapter": {"name": "dicom_tree", "one_per": "study", "workers": 0}, "root": str(tree.root)}
    found = load_dataset(DataSection(**section, stack={"modality": "MR", "plane": "axial", "description": "t1.*post"}))
    assert [c.id for c in found] == ["P1/1/0.dcm", "P2/1/0.dcm"]
    assert {e.reason for e in found.exclusions} == {"not a stack that the rule asks for"}
    assert all(e.aside for e in found.exclusions)
    with pytest.raises(DataError, match="no usable case; 4 were left out, the first: there are 2 stacks"):
        load_dataset(DataSection(**section, stack={"description": "t1"}))
    longest = load_dataset(DataSection(**section, stack={"prefer": "most_slices"}))
    assert [c.id for c in longest] == ["P1/2/0.dcm", "P2/2/0.dcm"]


def test_a_series_with_a_fault_is_an_error_also_where_a_rule_asks_for_its_plane(tree: Any) -> None:
    tree.series("good")
    tree.series("gap", (0, 3, 9, 12))
    cut = tree.series("cut")[2]
    content = cut.read_bytes()
    cut.write_bytes(content[: content.index(b"\x28\x00\x10\x00")])
    for rule in (None, StackRule(plane="axial"), StackRule(modality="CT", prefer="first")):
        dataset = load(tree, stack=rule)
        assert [c.id for c in dataset] == ["good/0.dcm"]
        found = reasons(dataset)
        assert found["gap/0.dcm"][0].startswith("1 slice is missing")
        # Without its last slice the series would look whole.
        assert found["cut/0.dcm"] == ("a file of the series holds no pixels (a truncated file?)", False)
        assert found["cut/2.dcm"] == ("image without pixels", False)


def test_slices_of_a_stack_as_cases_of_their_own(tree: Any) -> None:
    tree.series("a", range(0, 27, 3))
    tree.film("film.dcm", SeriesInstanceUID="1.6")
    dataset = load(tree, slices=3)
    assert [c.id for c in dataset] == ["a/1.dcm", "a/4.dcm", "a/7.dcm", "film.dcm"]
    assert read_case(dataset.cases[0]).array.shape == (1, 4, 3)
    with pytest.raises(DataError, match="at least 1"):
        load(tree, slices=0)


@pytest.fixture
def parts(tree: Any) -> Any:
    """Six series with a body part each, one blank."""
    for k, part in enumerate(("HEAD", "Brain", "CHEST", "chest", "", "ABDOMEN")):
        tree.series(f"s{k}", (0, 3), PatientID=f"P{k}", BodyPartExamined=part)
    return tree


def test_labels_of_an_element(parts: Any) -> None:
    says = Says()
    dataset = load(
        parts, label="BodyPartExamined", missing=("abdomen",), progress=says,
        classes={"head": ("HEAD", "BRAIN"), "chest": "CHEST"},
    )  # fmt: skip
    assert list(named(dataset).values()) == ["head", "head", "chest", "chest", None, None]
    assert dataset.labels["class"].names == ("head", "chest")
    assert says.said == ["BodyPartExamined of 6 images: 1 blank, 1 that say nothing; these have no label"]
    every = load(parts, label="BodyPartExamined")
    assert every.labels["class"].names == ("ABDOMEN", "Brain", "CHEST", "HEAD")
    rest = load(parts, label="BodyPartExamined", positive="chest", rest="other")
    assert list(named(rest).values()) == ["other", "other", "chest", "chest", None, "other"]
    assert rest.labels["class"].positive == "chest"


def test_values_that_are_no_class_are_all_named(parts: Any) -> None:
    with pytest.raises(DataError, match=r"no class: 'ABDOMEN' \(1\), 'Brain' \(1\), 'HEAD' \(1\)\n") as error:
        load(parts, label="BodyPartExamined", classes=("chest", "none"))
    assert "missing" in error.value.todo


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "BodyPart"}, "no keyword of a DICOM element"),
        ({"label": "PatientPosition"}, "tells no two classes apart: it is blank everywhere"),
        ({"label": "Modality"}, "it is CT everywhere"),
        ({"label": "BodyPartExamined", "rest": "other"}, "rest goes with positive"),
        ({"label": "BodyPartExamined", "rest": "other", "positive": "KNEE"}, "nowhere 'KNEE'"),
        ({"label": "BodyPartExamined", "classes": {"a": "HEAD", "b": "head"}}, "stand for one value"),
        ({"header": {"x": "Nonsense"}}, "no keyword of a DICOM element"),
        ({"file": "none.csv", "label": "x"}, "the table is not there"),
    ],
)
def test_options_that_make_no_sense(parts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(parts, **options)


def test_a_stack_whose_files_differ_in_their_label_has_none(tree: Any) -> None:
    one = {"SeriesInstanceUID": "1.6", "StudyInstanceUID": "1.6.1"}
    tree.series("a", (0, 3), BodyPartExamined="HEAD", **one)
    tree.series("b", (6, 9), BodyPartExamined="NECK", **one)
    tree.series("c", (0, 3), BodyPartExamined="HEAD")
    tree.series("d", (0, 3), BodyPartExamined="NECK")
    says = Says()
    found = named(load(tree, label="BodyPartExamined", progress=says))
    assert found == {"a/0.dcm": None, "c/0.dcm": "HEAD", "d/0.dcm": "NECK"}
    assert "1 that differ within a stack" in says.said[0]


def write_table(tree: Any, text: str, name: str = "table.csv") -> None:
    (tree.root / name).write_text(text, encoding="utf-8")


def test_labels_of_a_table_by_study(parts: Any) -> None:
    dataset = load(parts)
    study = {c.id: c.study for c in dataset}
    write_table(
        parts,
        "StudyInstanceUID,finding,part,ward\n"
        f"{study['s0/0.dcm']},yes,train,A\n{study['s1/0.dcm']},no,test,B\n{study['s2/0.dcm']},,val,\n9.9.9,no,test,A\n"
        f"{study['s0/0.dcm']},yes,train,A\n",
    )
    found = load(parts, file="table.csv", by="StudyInstanceUID", label="finding", part="part", positive="yes")
    assert named(found) == {"s0/0.dcm": "yes", "s1/0.dcm": "no", "s2/0.dcm": None}
    assert [c.part for c in found] == ["training", "test", "validation"]
    assert [c.attributes["ward"] for c in found] == ["A", "B", None]
    assert "finding" not in found.cases[0].attributes
    assert [c.patient for c in found] == ["P0", "P1", "P2"]
    left = reasons(found)
    assert left["9.9.9"] == ("no image in the folder has this StudyInstanceUID", False)
    assert left[f"{study['s0/0.dcm']} (line 6)"] == ("the same row stands twice", False)
    assert left["s3/0.dcm"] == ("the table has no row about it", True)


def test_labels_of_a_table_by_patient_in_a_column_of_another_name(parts: Any) -> None:
    write_table(parts, "id;stage;age at scan\nP0;1;61\nP1;IIa;47\nP3;2;50\n")
    found = load(
        parts,
        file="table.csv",
        by="PatientID",
        column="id",
        label="stage",
        classes={"low": ("1",), "high": ("2", "IIa")},
    )
    assert named(found) == {"s0/0.dcm": "low", "s1/0.dcm": "high", "s3/0.dcm": "high"}
    assert found.cases[0].attributes["age at scan"] == 61
    values = load(parts, file="table.csv", by="PatientID", column="id", value="age at scan", unit="years")
    assert [c.target(Value) for c in values] == [Value(61.0), Value(47.0), Value(50.0)]
    assert values.facts["unit"] == "years"
    # What is no column of the table may be an element.
    mixed = load(parts, file="table.csv", by="PatientID", column="id", label="BodyPartExamined")
    assert named(mixed) == {"s0/0.dcm": "HEAD", "s1/0.dcm": "Brain", "s3/0.dcm": "CHEST"}


def test_several_labels_a_series(parts: Any) -> None:
    series = {c.id: pydicom.dcmread(c.images[0].paths[0]).SeriesInstanceUID for c in load(parts)}
    write_table(parts, f"SeriesInstanceUID,mass,nodule\n{series['s0/0.dcm']},1,0\n{series['s1/0.dcm']},1,1\n")
    found = load(parts, file="table.csv", labels=("mass", "nodule"))
    assert [c.targets for c in found] == [(ClassLabel((1, 0)),), (ClassLabel((1, 1)),)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\nP0,a\n", "no column 'PatientID'"),
        ("PatientID,label\n,a\n", "PatientID is blank"),
        ("PatientID,label\nP0,a\nP0,b\n", "two different rows are about one PatientID, in lines 2 and 3"),
        ("PatientID,label\nX0,a\nX1,b\n", "no row is about an image of the folder"),
        ("PatientID,label,part\nP0,a,train\nP1,b,dev2\n", "the part 'dev2' is unknown"),
    ],
)
def test_a_table_that_does_not_fit(parts: Any, text: str, message: str) -> None:
    write_table(parts, text)
    part = "part" if "part" in text.splitlines()[0] else None
    with pytest.raises(DataError, match=message):
        load(parts, file="table.csv", by="PatientID", label="label", part=part)


def test_blank_and_dummy_patients_are_nobody(tree: Any) -> None:
    for k, patient in enumerate(("", "ANONYMOUS", "ANONYMOUS", "P1", "P1")):
        tree.series(f"s{k}", (0, 3), PatientID=patient, StudyInstanceUID=f"1.3.{k // 2}")
    says = Says()
    dataset = load(tree, progress=says)
    assert [c.patient for c in dataset] == [None, None, None, "P1", "P1"]
    assert [c.cluster for c in dataset] == ["1.3.0", "1.3.0", "1.3.1", None, None]
    assert not dataset.patients_known
    assert says.said == ["3 images have a patient id that says nothing: whose they are is unknown"]
    groups = group_cases(dataset.cases, {}).groups
    # One study is one person, whatever the id says; the third study is of P1 too.
    assert groups["s0/0.dcm"] == groups["s1/0.dcm"] != groups["s3/0.dcm"]
    assert groups["s2/0.dcm"] == groups["s3/0.dcm"] == groups["s4/0.dcm"]


def test_a_folder_without_images_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for k in range(3):
        (tmp_path / "x" / f"{k}.txt").write_text("hello")
    with pytest.raises(DataError, match="no image of DICOM was found; 3: not an image") as error:
        dicom_tree(tmp_path / "x", workers=0)
    assert "data series" in error.value.todo
    with pytest.raises(DataError, match="is not there"):
        dicom_tree(tmp_path / "none", workers=0)


def test_names_with_anything_in_them_survive_a_run_folder(tree: Any, tmp_path: Path) -> None:
    from medcnn.data.cases_csv import read_cases, write_cases

    name = 'it\'s "x"\n Ä ,;|'
    tree.series(name, BodyPartExamined="HEAD")
    dataset = load(tree)
    write_cases(tmp_path / "cases.csv", dataset)
    assert read_cases(tmp_path / "cases.csv").cases == dataset.cases
    assert dataset.cases[0].id == f"{name}/0.dcm"


def test_a_dicomdir_and_its_folder_and_a_zip_of_it(tmp_path: Path) -> None:
    place = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
    disc = tmp_path / "disc"
    disc.mkdir()
    shutil.copy(place / "DICOMDIR", disc)
    for name in ("77654033", "98892001", "98892003"):
        shutil.copytree(place / name, disc / name)
    whole = dicom_tree(disc, workers=0)
    assert {c.attributes["modality"] for c in whole} == {"CR", "CT", "MR"}
    assert {c.patient for c in whole} == {"77654033", "98890234"}
    by_directory = dicom_tree(disc / "DICOMDIR", workers=0)
    assert [c.id for c in by_directory] == [c.id for c in whole]
    # A DICOMDIR or a single file is not all that the index of the folder knows.
    shutil.copy(get_testdata_file("CT_small.dcm"), disc / "another")
    os.utime(disc / "another", (10**9, 10**9))
    with SeriesIndex(list_files(disc), workers=0):
        pass
    for part in ("DICOMDIR", "another"):
        with SeriesIndex(list_files(disc / part), workers=0):
            pass
    with SeriesIndex(list_files(disc), workers=0) as index:
        assert index.read == 0
    (disc / "another").unlink()
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", disc)
    packed = dicom_tree(Path(archive), workers=0)
    assert [c.id for c in packed] == [c.id for c in whole]
    assert packed.name == "packed"
    assert read_case(packed.cases[0]).array.size


def test_the_options_are_those_of_a_recipe(tree: Any) -> None:
    tree.series("a")
    with pytest.raises(RecipeError, match="stack"):
        load_dataset(DataSection(adapter={"name": "dicom_tree", "stack": {}}, root=str(tree.root)))
    with pytest.raises(RecipeError, match="one_per"):
        load_dataset(DataSection(adapter={"name": "dicom_tree", "one_per": "image"}, root=str(tree.root)))


def test_every_option_is_described() -> None:
    page = (Path(__file__).parents[3] / "docs" / "dicom.md").read_text(encoding="utf-8")
    options = {f.alias for f in options_model("adapters", "dicom_tree").model_fields.values()}
    assert options <= set(re.findall(r"`(\w+)`", page))
    assert not options & {"stack", "progress", "root"}


@pytest.mark.parametrize(
    ("age", "born", "day", "years"),
    [
        ("042Y", "", "", 42), ("018M", "", "", 1), ("006M", "", "", 0.5), ("010D", "", "", 0.03), ("", "", "", None),
        ("", "19800101", "20211231", 41), ("old", "19800101", "20200101", 40), ("", "20300101", "20200101", None),
        ("", "1980", "20200101", None), ("", "19801399", "20200101", None),
    ],
)  # fmt: skip
def test_ages(age: str, born: str, day: str, years: float | None) -> None:
    assert age_of(age, born, day) == years


def test_an_unreadable_folder_is_no_crash(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.series("a")
    tree.series("locked")
    (tree.root / "up").symlink_to(tree.root)
    real = os.scandir

    def refuse(place: Any) -> Any:
        if str(place).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", refuse)
    dataset = load(tree)
    assert [c.id for c in dataset] == ["a/0.dcm"]
    assert reasons(dataset) == {
        "locked": ("the folder cannot be listed: Permission denied", False),
        "up": ("a link to a folder that is read already", True),
    }


def test_cases_hold_no_name_and_no_date(tree: Any) -> None:
    tree.series("a", PatientBirthDate="19500101", StudyDate="20200101")
    (case,) = load(tree).cases
    assert isinstance(case, Case)
    assert "Secret" not in repr(case)
    assert "1950" not in repr(case)
    assert case.attributes["age"] == 69


@pytest.mark.realdata
def test_the_real_series_are_found_as_simpleitk_reads_them(realdata: Any) -> None:
    import numpy as np
    import SimpleITK

    root = realdata("mr_dicom_series")
    dataset = load_dataset(DataSection(dataset="mr_dicom_series", root=str(root)))
    assert sorted(len(c.images[0].paths) for c in dataset) == [22, 22, 32, 35, 40]
    assert not dataset.exclusions
    assert len({c.patient for c in dataset}) == 3
    with SeriesIndex(list_files(root)) as index:
        stacks = [s for group in index.groups() for s in stacks_of(e.header for e in group)]
    assert len(stacks) == 5
    for stack in stacks:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(Path(stack.paths[0]).parent)))
        expected = reader.Execute()
        # By headers alone, before any pixel is read.
        np.testing.assert_allclose(stack.spacing, expected.GetSpacing(), rtol=1e-5)
        directions = np.array(expected.GetDirection()).reshape(3, 3) * expected.GetSpacing()
        assert stack.affine is not None
        np.testing.assert_allclose(stack.affine[:3, :3], np.diag([-1, -1, 1]) @ directions, atol=1e-4)
        np.testing.assert_allclose(stack.affine[:3, 3] * (-1, -1, 1), expected.GetOrigin(), atol=1e-3)
