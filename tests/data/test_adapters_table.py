"""Tables: labels of every kind, missing ones, and lines that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydicom.data import get_testdata_file

from medcnn.data.adapters.table import table
from medcnn.errors import DataError
from medcnn.types import ClassLabel, Dataset, ImageRef, Mask, Value


def write(root: Path, text: str, name: str = "cases.csv", images: str = "abcdef") -> Path:
    for letter in images:
        (root / f"{letter}.png").write_bytes(b"x")
    (root / name).write_text(text, encoding="utf-8")
    return root


def states(dataset: Dataset) -> list[tuple[int | None, ...]]:
    return [c.target(ClassLabel).states for c in dataset]


def test_every_column_finds_its_place(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        "image,label,pid,block,run,part,study,age,site,score\n"
        "a.png,x,p1,g1,r1,train,s1,61,North,0.5\n"
        "b.png,y,p2,,r2,val,s2,,South,1\n"
        "c.png,x,,g3,,TEST,,7,007,\n",
    )
    dataset = table(
        root, label="label", patient="pid", group="block", cluster="run", part="part", study="study", value="score"
    )
    first, second, third = dataset.cases
    assert (first.patient, first.group, first.cluster, first.study) == ("p1", "g1", "r1", "s1")
    assert [c.part for c in dataset] == ["training", "validation", "test"]
    assert (second.group, third.patient, third.study) == (None, None, None)
    assert dict(first.attributes) == {"age": 61, "site": "North"}
    assert dict(second.attributes) == {"age": None, "site": "South"}
    # A code that looks like a number keeps its zeros.
    assert third.attributes["site"] == "007"
    assert first.target(Value) == Value(0.5)
    assert third.target(Value) == Value(None)
    assert dataset.labels["class"].names == ("x", "y")
    assert dataset.labels["class"].positive == "y"
    assert dataset.patients_known
    assert first.id == "a.png"


@pytest.mark.parametrize("name", ["patient", "Patient_ID", "PatientID", "subject", "Subject ID"])
def test_a_column_that_is_the_patient_by_its_name_is_not_overlooked(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, f"image,label,{name},patients_age\na.png,x,p1,30\nb.png,y,p1,30\n")
    dataset = table(root, label="label")
    assert dataset.patients_known
    assert [c.patient for c in dataset] == ["p1", "p1"]
    assert all(set(c.attributes) == {"patients_age"} for c in dataset)
    other = table(root, label="label", attributes=(name,))
    assert not other.patients_known
    assert [dict(c.attributes) for c in other] == [{name: "p1"}] * 2


def test_two_columns_that_may_be_the_patient_are_named(tmp_path: Path) -> None:
    root = write(tmp_path, "image,label,patient,subject\na.png,x,p1,s1\nb.png,y,p1,s2\n")
    with pytest.raises(DataError, match="several columns: patient, subject") as caught:
        table(root, label="label")
    assert "patient: patient" in caught.value.todo
    assert table(root, label="label", patient="subject").cases[1].patient == "s2"


def test_missing_and_uncertain_labels_are_missing(tmp_path: Path) -> None:
    root = write(tmp_path, "image,label\na.png,x\nb.png,\nc.png,-1\nd.png,nan\ne.png,perhaps\nf.png,y\n")
    dataset = table(root, label="label", missing=("perhaps",))
    assert dataset.labels["class"].names == ("x", "y")
    assert states(dataset) == [(1, 0), *[(None, None)] * 4, (0, 1)]


def test_stored_values_are_mapped_to_names(tmp_path: Path) -> None:
    root = write(tmp_path, "image,label\na.png,1\nb.png,0\nc.png,1.0\n")
    dataset = table(root, label="label", classes={"other": 0, "abdomen": 1}, positive="abdomen")
    assert dataset.labels["class"].names == ("other", "abdomen")
    assert states(dataset) == [(0, 1), (1, 0), (0, 1)]


def test_several_labels_in_columns(tmp_path: Path) -> None:
    root = write(tmp_path, "image,mass,nodule\na.png,1,0\nb.png,-1,1.0\nc.png,,\n")
    dataset = table(root, labels=("mass", "nodule"))
    assert dataset.labels["class"].multilabel
    assert states(dataset) == [(1, 0), (None, 1), (None, None)]
    with pytest.raises(DataError, match="nodule holds '2'"):
        table(write(tmp_path, "image,mass,nodule\na.png,1,2\n"), labels=("mass", "nodule"))


def test_several_labels_in_one_column(tmp_path: Path) -> None:
    root = write(tmp_path, "image,findings\na.png,mass|nodule\nb.png,nodule\nc.png,\n")
    dataset = table(root, label="findings", separator="|")
    assert dataset.labels["class"].names == ("mass", "nodule")
    assert states(dataset) == [(1, 1), (0, 1), (None, None)]


def test_channels_masks_and_series(tmp_path: Path) -> None:
    series = Path(str(get_testdata_file("DICOMDIR"))).parent / "98892003" / "MR1"
    root = write(tmp_path, f"t1,t2,seg\na.png,b.png,c.png\nd.png,{series},\n")
    dataset = table(root, image=("t1", "t2"), mask="seg")
    first, second = dataset.cases
    assert [r.paths for r in first.images] == [(str(root / "a.png"),), (str(root / "b.png"),)]
    assert first.target(Mask).image.paths == (str(root / "c.png"),)
    assert second.target(Mask) is None
    assert second.images[1].reader == "dicom"
    assert len(second.images[1].paths) == len(list(series.iterdir()))


def test_masks_and_their_labels(tmp_path: Path) -> None:
    root = write(tmp_path, "image,seg,second\na.png,b.png,\nc.png,,\nd.png,no.png,\ne.png,f.png,b.png\n")
    dataset = table(root, mask="seg", attributes=())
    assert [(c.value, c.name) for c in dataset.labels["mask"].classes] == [(1, "foreground")]
    assert [c.id for c in dataset] == ["a.png", "c.png", "e.png"]
    assert dataset.cases[0].target(Mask) == Mask(ImageRef((str(root / "b.png"),)))
    # Blank is not annotated; a mask that is named and absent makes the case unusable.
    assert dataset.cases[1].target(Mask) is None
    assert [(e.case, e.reason) for e in dataset.exclusions] == [
        ("d.png", "the mask cannot be used: the file does not exist")
    ]
    painted = table(root, mask="seg", mask_labels={"tumour": 255})
    assert [(c.value, c.name) for c in painted.labels["mask"].classes] == [(255, "tumour")]
    assert painted.cases[0].target(Mask).names == ()
    merged = table(root, mask="seg", mask_labels={"lesion": (1, 2), "ignore": 9})
    assert merged.cases[0].target(Mask).names == (("1", "lesion"), ("2", "lesion"), ("9", "ignore"))
    twice = table(root, mask=("seg", "second"))
    assert [c.id for c in twice] == ["a.png", "c.png", "e.png"]
    assert twice.cases[0].target(Mask).readers == ()
    assert twice.cases[2].target(Mask).readers == (ImageRef((str(root / "b.png"),)),)
    with pytest.raises(DataError, match="'dark', which stands for the label 'tumour', is not there"):
        table(root, mask="seg", mask_labels={"tumour": "dark"})


@pytest.mark.parametrize("name", ["cases.csv", "cases.tsv", "semicolons.csv", "cases.parquet"])
def test_the_same_table_in_other_formats(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, "")
    frame = pd.DataFrame({"image": ["a.png", "b.png"], "label": ["x", "y"], "age": [3.0, None]})
    if name.endswith("parquet"):
        frame.to_parquet(root / name)
    else:
        frame.to_csv(root / name, index=False, sep={"cases.tsv": "\t", "semicolons.csv": ";"}.get(name, ","))
    dataset = table(root, file=name, label="label")
    assert [c.id for c in dataset] == ["a.png", "b.png"]
    assert dataset.cases[0].attributes["age"] == 3
    assert dataset.cases[1].attributes["age"] is None


def test_a_byte_order_mark_and_quoted_names(tmp_path: Path) -> None:
    (tmp_path / 'odd, "name".png').write_bytes(b"x")
    root = write(tmp_path, '\ufeffimage,label\n"odd, ""name"".png",x\na.png,y\n\n')
    assert [c.id for c in table(root, label="label")] == ['odd, "name".png', "a.png"]


def test_missing_files_are_listed_and_the_rest_is_used(tmp_path: Path) -> None:
    root = write(tmp_path, "image,label\na.png,x\nnone.png,y\nb.png,y\n,x\n")
    dataset = table(root, label="label")
    assert [c.id for c in dataset] == ["a.png", "b.png"]
    assert [(e.case, e.reason) for e in dataset.exclusions] == [
        ("none.png", "the file does not exist"),
        ("", "no image is named"),
    ]


def test_a_repeated_row_is_left_out_and_a_contradiction_is_an_error(tmp_path: Path) -> None:
    root = write(tmp_path, "image,label\na.png,x\nb.png,y\na.png,x\n")
    dataset = table(root, label="label")
    assert len(dataset) == 2
    assert "line 2" in dataset.exclusions[0].reason
    with pytest.raises(DataError, match=r"a\.png has two different labels, in lines 2 and 4"):
        table(write(tmp_path, "image,label\na.png,x\nb.png,y\na.png,y\n"), label="label")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("image,lable\na.png,x\n", {"label": "label"}, r"no column 'label'.*did you mean 'lable'"),
        ("image,label\na.png,x\n", {"label": "label", "patient": "pid"}, "no column 'pid'"),
        ("image,label\na.png,x\nb.png\n", {"label": "label"}, r"cases\.csv:3: the line has 1 entries, the heading 2"),
        ('image,label\na.png,x\nb.png,"y\nc.png,y\n', {"label": "label"}, r"cases\.csv:3: the line is broken"),
        (
            "image,label\na.png,glioma\nb.png,gliome\n",
            {"label": "label", "classes": ("glioma", "pituitary")},
            r"cases\.csv:3: the label 'gliome' is not in the schema.*did you mean 'glioma'",
        ),
        ("image,part\na.png,trian\n", {"part": "part"}, r"cases\.csv:2.*'trian'.*did you mean 'train'"),
        ("image,v\na.png,tall\n", {"value": "v"}, r"cases\.csv:2: v holds 'tall', expected a number"),
        ("image,v\na.png,inf\n", {"value": "v"}, r"cases\.csv:2"),
        ("image,label,label\na.png,x,y\n", {"label": "label"}, "2 columns 'label'"),
        ("image,label\n", {"label": "label"}, "no rows"),
        ("", {"label": "label"}, "no rows"),
        ("image,id,label\na.png,1,x\nb.png,1,y\n", {"label": "label", "case": "id"}, "'1' stands twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"(?s){message}"):
        table(write(tmp_path, text), **options)


def test_files_that_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not there"):
        table(tmp_path, label="label")
    (tmp_path / "cases.csv").write_bytes("image,label\nä,x".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        table(tmp_path, label="label")
    (tmp_path / "cases.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        table(tmp_path, file="cases.parquet", label="label")
