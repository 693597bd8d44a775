"""Adapters: files and tables to cases, with messages that name the line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.data.adapters.image_folder import image_folder
from medcnn.data.adapters.medmnist import medmnist
from medcnn.data.adapters.table import table
from medcnn.data.images import read_image
from medcnn.errors import DataError
from medcnn.types import ClassLabel, Dataset, Value


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def labels(dataset: Dataset) -> dict[str, int | None]:
    found = {}
    for case in dataset:
        label = case.target(ClassLabel)
        assert label is not None
        found[case.id] = label.index
    return found


def folder(tmp_path: Path) -> Path:
    return files(tmp_path / "d", "chest/p1_1.png", "chest/p2_1.png", "abdomen/deep/p3_1.png", "hand/p1_2.JPG")


def test_a_folder_a_class(tmp_path: Path) -> None:
    dataset = image_folder(folder(tmp_path), patient=r"p(\d+)_")
    assert dataset.labels["class"].names == ("abdomen", "chest", "hand")
    assert labels(dataset) == {"abdomen/deep/p3_1.png": 0, "chest/p1_1.png": 1, "chest/p2_1.png": 1, "hand/p1_2.JPG": 2}
    assert [c.patient for c in dataset] == ["3", "1", "2", "1"]
    assert dataset.patients_known


def test_positive_and_rest_make_a_binary_problem(tmp_path: Path) -> None:
    dataset = image_folder(folder(tmp_path), positive="abdomen", rest="other")
    assert dataset.labels["class"].names == ("other", "abdomen")
    assert dataset.labels["class"].positive == "abdomen"
    assert {k: v for k, v in labels(dataset).items() if v} == {"abdomen/deep/p3_1.png": 1}


def test_chosen_and_joined_folders(tmp_path: Path) -> None:
    root = folder(tmp_path)
    assert image_folder(root, classes=("hand", "chest")).labels["class"].names == ("hand", "chest")
    joined = image_folder(root, classes={"trunk": ("chest", "abdomen"), "limb": "hand"})
    assert sorted(v for v in labels(joined).values() if v is not None) == [0, 0, 0, 1]


def test_ids_do_not_depend_on_how_the_root_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path)
    monkeypatch.chdir(root)
    assert labels(image_folder(Path())) == labels(image_folder(root))


def test_what_is_no_image_is_listed(tmp_path: Path) -> None:
    root = files(folder(tmp_path), "chest/notes.txt", "chest/.hidden", "__MACOSX/x.png")
    dataset = image_folder(root)
    assert [(e.case, e.reason) for e in dataset.exclusions] == [("chest/notes.txt", "not an image by its name")]
    assert len(dataset) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 exist on Linux alone")
def test_a_name_that_is_no_text_is_listed(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "chest" / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    (excluded,) = image_folder(root).exclusions
    assert excluded.case.encode() == rb"chest/\udcff.png"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("chset", "hand")}, "chest"),
        ({"positive": "abdomn", "rest": "x"}, "abdomen"),
        ({"rest": "x"}, "positive"),
        ({"positive": "hand", "rest": "hand"}, "one name"),
        ({"patient": "("}, "regular expression"),
        ({"patient": "x"}, "group"),
        ({"classes": ("hand",)}, "at least two"),
        ({"recursive": False}, "no image of the class 'abdomen'"),
    ],
)
def test_mistakes_in_folders_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        image_folder(folder(tmp_path), **options)


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not there"):
        image_folder(tmp_path / "absent")
    with pytest.raises(DataError, match="no other class folder"):
        image_folder(files(tmp_path / "one", "a/x.png"), positive="a", rest="b")


def sheet(root: Path, text: str, *, encoding: str = "utf-8") -> Path:
    files(root, *(f"{n}.png" for n in "abcdef"))
    (root / "cases.csv").write_bytes(text.encode(encoding))
    return root


def test_a_table_in_full(tmp_path: Path) -> None:
    text = (
        "image,label,who,set,age,code,site\r\n"
        'a.png,chest,1,Train,61,007,"A, B"\r\n\r\nb.png,abdomen,1,val,61.5,1e5,\r\nc.png,-1,2,test,,1_0,x\r\n'
    )
    root = sheet(tmp_path, text, encoding="utf-8-sig")
    dataset = table(root, label="label", patient="who", part="set")
    assert dataset.labels["class"].names == ("abdomen", "chest")
    assert labels(dataset) == {"a.png": 1, "b.png": 0, "c.png": None}
    assert [c.part for c in dataset] == ["training", "validation", "test"]
    assert [c.patient for c in dataset] == ["1", "1", "2"]
    assert [dict(c.attributes) for c in dataset] == [
        {"age": 61, "code": "007", "site": "A, B"},
        {"age": 61.5, "code": "1e5", "site": None},
        {"age": None, "code": "1_0", "site": "x"},
    ]
    assert dataset.patients_known


@pytest.mark.parametrize("blank", ["", "-1", "nan", "unknown", "maybe"])
def test_missing_labels(tmp_path: Path, blank: str) -> None:
    root = sheet(tmp_path, f"image,label\na.png,1\nb.png,{blank}\nc.png,0\n")
    dataset = table(root, label="label", classes={"other": 0, "abdomen": 1}, missing=("maybe",))
    assert labels(dataset) == {"a.png": 1, "b.png": None, "c.png": 0}


def test_classes_by_value(tmp_path: Path) -> None:
    root = sheet(tmp_path, "image,label\na.png,1\nb.png,0.0\nc.png,1.0\n")
    dataset = table(root, label="label", classes={"other": 0, "abdomen": 1})
    assert dataset.labels["class"].names == ("other", "abdomen")
    assert dataset.labels["class"].positive == "abdomen"
    assert labels(dataset) == {"a.png": 1, "b.png": 0, "c.png": 1}
    signed = sheet(tmp_path, "image,label\na.png,1\nb.png,-1\n")
    assert labels(table(signed, label="label", classes={"no": -1, "yes": 1})) == {"a.png": 1, "b.png": 0}
    with pytest.raises(DataError, match="one value"):
        table(root, label="label", classes={"a": 0, "b": 0})


def test_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    root = sheet(tmp_path, "image,label\na.png,10\nb.png,2\nc.png,1\n")
    assert table(root, label="label").labels["class"].names == ("1", "2", "10")


def test_several_labels(tmp_path: Path) -> None:
    root = sheet(tmp_path, "image,mass,fluid\na.png,1,0\nb.png,,1.0\nc.png,-1,False\n")
    dataset = table(root, labels=("mass", "fluid"))
    assert dataset.labels["class"].multilabel
    assert [c.target(ClassLabel) for c in dataset] == [ClassLabel((1, 0)), ClassLabel((None, 1)), ClassLabel((None, 0))]
    with pytest.raises(DataError, match="3 classes"):
        table(root, labels=("mass", "fluid"), classes=("a", "b", "c"))
    joined = sheet(tmp_path, "image,found\na.png,mass|fluid\nb.png,fluid\nc.png,\n")
    dataset = table(joined, label="found", separator="|", classes=("mass", "fluid"))
    assert [c.target(ClassLabel) for c in dataset] == [ClassLabel((1, 1)), ClassLabel((0, 1)), ClassLabel((None, None))]


def test_values(tmp_path: Path) -> None:
    root = sheet(tmp_path, "image,age\na.png,61.5\nb.png,\nc.png,-1\n")
    assert [c.target(Value) for c in table(root, value="age")] == [Value(61.5), Value(None), Value(-1.0)]
    for wrong in ("old", "inf"):
        with pytest.raises(DataError, match=r"cases\.csv:2: .*number"):
            table(sheet(tmp_path, f"image,age\na.png,{wrong}\n"), value="age")


def test_a_missing_file_is_an_exclusion(tmp_path: Path) -> None:
    dataset = table(sheet(tmp_path, "image,label\na.png,x\nabsent.png,y\n,x\nb.png,y\n"), label="label")
    assert [c.id for c in dataset] == ["a.png", "b.png"]
    assert [(e.case, e.reason) for e in dataset.exclusions] == [
        ("absent.png", "the file does not exist"),
        ("", "no image is named"),
    ]


def test_a_repeated_row_is_an_exclusion_and_a_contradiction_an_error(tmp_path: Path) -> None:
    dataset = table(sheet(tmp_path, "image,label\na.png,x\nb.png,y\na.png,x\n"), label="label")
    assert len(dataset) == 2
    assert "line 2" in dataset.exclusions[0].reason
    with pytest.raises(DataError, match=r"lines 2 and 4"):
        table(sheet(tmp_path, "image,label\na.png,x\nb.png,y\na.png,y\n"), label="label")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("image,lable\na.png,x\n", {"label": "label"}, "(?s)no column 'label'.*lable"),
        ("image,label\na.png,x\nb.png,y,z\n", {"label": "label"}, r"cases\.csv:3: the line has 3 entries"),
        ('image,label\na.png,"x\n', {"label": "label"}, r"cases\.csv:\d: the line is broken"),
        ("image,label\na.png,chset\n", {"label": "label", "classes": ("chest", "hand")}, r"(?s)cases\.csv:2.*chest"),
        ("image,set\na.png,tran\n", {"part": "set"}, r"(?s)cases\.csv:2.*train"),
        ("image,a\na.png,2\n", {"labels": ("a",)}, r"cases\.csv:2: a holds '2'"),
        ("image,label,label\na.png,x,y\n", {"label": "label"}, "2 columns 'label'"),
        ("image,id\na.png,1\nb.png,1\n", {"case": "id"}, r"cases\.csv:3: the case '1' stands twice"),
        ("image\n", {}, "no rows"),
        ("", {}, "no column|no rows"),
    ],
)
def test_mistakes_in_tables_are_named(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(sheet(tmp_path, text), **options)


def test_tables_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not there"):
        table(tmp_path)
    with pytest.raises(DataError, match="UTF-8"):
        table(sheet(tmp_path, "image,label\na.png,ä\n", encoding="latin-1"), label="label")


def archive(path: Path, **changes: np.ndarray) -> Path:
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        arrays[f"{part}_images"] = np.arange(count * 20, dtype=np.uint8).reshape(count, 4, 5)
        arrays[f"{part}_labels"] = (np.arange(count) % 2)[:, None]
    np.savez(path / "a.npz", **{**arrays, **changes})
    return path


def test_a_published_archive(tmp_path: Path) -> None:
    dataset = medmnist(archive(tmp_path), file="a.npz", classes=("no", "yes"))
    assert [c.part for c in dataset] == ["training"] * 4 + ["validation"] * 2 + ["test"] * 3
    assert list(labels(dataset).values()) == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    image = read_image(dataset.cases[5].images[0]).array
    np.testing.assert_array_equal(image[0].T, np.arange(20, 40).reshape(4, 5))
    states = np.array([[1, 0, 1], [0, 0, 0]])
    several = {f"{p}_labels": np.resize(states, (n, 3)) for p, n in (("train", 4), ("val", 2), ("test", 3))}
    dataset = medmnist(archive(tmp_path, **several), file="a.npz", classes=("a", "b", "c"), multilabel=True)
    assert dataset.cases[0].target(ClassLabel) == ClassLabel((1, 0, 1))


def test_archives_that_cannot_be_used(tmp_path: Path) -> None:
    def use(**options: Any) -> Dataset:
        return medmnist(tmp_path, file="a.npz", **{"classes": ("no", "yes"), **options})

    with pytest.raises(DataError, match="not there"):
        use()
    archive(tmp_path, val_labels=np.array([[0], [2]]))
    with pytest.raises(DataError, match="label 2 is not in the schema"):
        use()
    archive(tmp_path, val_labels=np.array([[0]]))
    with pytest.raises(DataError, match="1 labels for 2 images"):
        use()
    archive(tmp_path)
    with pytest.raises(DataError, match="1 entries, expected 2"):
        use(multilabel=True)
    whole = (tmp_path / "a.npz").read_bytes()
    for broken in (whole[:300], b"PK\3\4", b"text", b""):
        (tmp_path / "a.npz").write_bytes(broken)
        with pytest.raises(DataError, match="not a file of MedMNIST"):
            use()
