"""Files of boxes, as any program writes them, through the real command."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medcnn.cli.main import main
from medcnn.workflow import boxes

NAMES = ("nodule", "mass")


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "GALLERY", 1)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs ``medcnn evaluate`` in this process: exit code, output, errors."""

    def run(predictions: Path, references: Path | None, *more: Any) -> tuple[int, str, str]:
        arguments = ["evaluate", "--task", "detection", "--predictions", predictions, "--out", tmp_path / "out"]
        arguments += ["--references", references] if references else []
        code = main([*map(str, arguments), *map(str, more)])
        found = capsys.readouterr()
        assert "Traceback" not in found.err
        return code, found.out, found.err

    return run


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "evaluation" / "metrics.json").read_text("utf-8"))
    return found


def figure(folder: Path, name: str, unit: str = "object", target: str | None = None) -> float | None:
    value: float | None = next(
        f["value"] for f in metrics(folder)["figures"]
        if (f["id"], f["unit"], f["target"], f["average"]) == (name, unit, target, None)
    )  # fmt: skip
    return value


def annotations(path: Path, images: int = 30) -> Path:
    """Two of three images have a nodule, every fifth a mass too."""
    notes: list[dict[str, Any]] = []
    for i in range(images):
        kinds = ([(1, [10, 20, 30, 20])] if i % 3 else []) + ([(2, [100, 100, 40, 40])] if i % 5 == 0 else [])
        notes += [{"id": len(notes) + k, "image_id": i + 1, "category_id": c, "bbox": b, "iscrowd": 0}
                  for k, (c, b) in enumerate(kinds)]  # fmt: skip
    content = {
        "images": [
            {"id": i + 1, "file_name": f"scans/im_{i:02d}.png", "width": 200, "height": 160} for i in range(images)
        ],
        "annotations": notes,
        "categories": [{"id": 1, "name": "nodule"}, {"id": 2, "name": "mass"}],
    }
    path.write_text(json.dumps(content), "utf-8")
    return path


def results(path: Path, images: int = 30, extra: list[dict[str, Any]] | None = None) -> Path:
    """All nodules are found, no mass is, and every tenth image has a false positive."""
    made: list[dict[str, Any]] = [
        {"image_id": i + 1, "category_id": 1, "bbox": [11, 20, 30, 20], "score": 0.9} for i in range(images) if i % 3
    ]
    made += [{"image_id": i + 1, "category_id": 2, "bbox": [10, 120, 9, 9], "score": 0.6} for i in range(0, images, 10)]
    path.write_text(json.dumps(made + (extra or [])), "utf-8")
    return path


def write_rows(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


def test_results_of_coco_are_evaluated_and_reported(command: Any, tmp_path: Path) -> None:
    made, true = results(tmp_path / "results.json"), annotations(tmp_path / "true.json")
    code, printed, errors = command(made, true)
    assert code == 0, errors
    assert figure(tmp_path, "sensitivity", target="nodule") == 1
    assert figure(tmp_path, "sensitivity", target="mass") == 0
    assert figure(tmp_path, "precision", target="nodule") == 1
    # 20 of 26 objects are found, three boxes hit nothing.
    assert figure(tmp_path, "sensitivity") == pytest.approx(20 / 26)
    assert figure(tmp_path, "precision") == pytest.approx(20 / 23)
    assert "No threshold was chosen on validation" in printed
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "data:image/png" in page
    assert "im_01" not in page
    with open(tmp_path / "out" / "evaluation" / "cases.csv", encoding="utf-8", newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert (rows["scans/im_01.png"]["tp"], rows["scans/im_00.png"]["fp"], rows["scans/im_03.png"]["boxes"]) == (
        "1", "1", "0"
    )  # fmt: skip


def test_a_table_says_the_same_by_names_of_files_without_folder_and_ending(command: Any, tmp_path: Path) -> None:
    true = annotations(tmp_path / "true.json")
    listed = json.loads(results(tmp_path / "results.json").read_text("utf-8"))
    rows = [
        f"im_{r['image_id'] - 1:02d},{NAMES[r['category_id'] - 1]},{r['score']},{','.join(map(str, r['bbox']))}"
        for r in listed
    ]
    table = write_rows(tmp_path / "made.csv", "image,class,confidence,x,y,width,height", rows)
    code, _, errors = command(table, true)
    assert code == 0, errors
    assert figure(tmp_path, "precision") == pytest.approx(20 / 23)


def test_an_id_is_not_taken_for_a_name(command: Any, tmp_path: Path) -> None:
    """The image 1.png has the id 2, and the other way round; the object is in 1.png."""
    true = tmp_path / "true.json"
    box = {"category_id": 1, "bbox": [10, 10, 20, 20]}
    content = {
        "images": [{"id": 2, "file_name": "1.png"}, {"id": 1, "file_name": "2.png"}],
        "annotations": [{"id": 1, "image_id": 2, **box}],
        "categories": [{"id": 1, "name": "nodule"}],
    }
    true.write_text(json.dumps(content), "utf-8")
    by_name = write_rows(tmp_path / "made.csv", "case,score,x,y,width,height", ["1,0.9,10,10,20,20"])
    assert command(by_name, true)[0] == 0
    assert figure(tmp_path, "sensitivity") == 1
    shutil.rmtree(tmp_path / "out")
    by_id = tmp_path / "made.json"
    by_id.write_text(json.dumps([{"image_id": 2, "score": 0.9, **box}]), "utf-8")
    assert command(by_id, true)[0] == 0
    assert figure(tmp_path, "sensitivity") == 1


def test_two_tables_with_patients_sizes_and_volumes(command: Any, tmp_path: Path) -> None:
    corners = "x1,y1,z1,x2,y2,z2"
    facts = "size_x,size_y,size_z,spacing_x,spacing_y,spacing_z"
    frame = "40,40,20,0.5,0.5,2"
    true = [f"s{i},p{i // 2},5,5,5,15,15,10,{frame},{'a' if i < 20 else 'b'},{i}" for i in range(0, 40, 2)]
    true += [f"s{i},p{i // 2},,,,,,,{frame},{'a' if i < 20 else 'b'},{i}" for i in range(1, 40, 2)]
    # An image has two boxes, of which a column says something each.
    true.append(f"s0,p0,20,20,5,30,30,10,{frame},a,99")
    made = [f"s{i},0.8,5,5,6,15,15,11" for i in range(0, 40, 2)] + ["s1,0.7,5,5,5,9,9,9"]
    code, _, errors = command(
        write_rows(tmp_path / "made.csv", f"case,score,{corners}", made),
        write_rows(tmp_path / "true.csv", f"case,patient,{corners},{facts},site,number", true),
    )
    assert code == 0, errors
    found = metrics(tmp_path)
    assert found["details"]["size_unit"] == "mm"
    assert found["details"]["classes"] == ["finding"]
    assert found["details"]["resampled"] == "patient"
    assert figure(tmp_path, "sensitivity") == pytest.approx(20 / 21)
    assert figure(tmp_path, "specificity", "image") == pytest.approx(19 / 20)
    assert figure(tmp_path, "sensitivity", "patient") == 1
    ids = [p["id"] for p in found["panels"]]
    assert "subgroup-site" in ids
    assert "subgroup-number" not in ids


def test_what_cannot_be_used_is_left_out_listed_and_counted(command: Any, tmp_path: Path) -> None:
    good = {"image_id": 2, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.2}
    fill = [{**good, "image_id": 1 + i % 30} for i in range(100)]
    bad = [
        {**good, "image_id": 99},
        {**good, "category_id": 7},
        {**good, "bbox": [5, 5, -2, 3]},
        {**good, "bbox": [5, None, 2, 3]},
        {**good, "score": 1.5},
    ]
    made = results(tmp_path / "results.json", extra=[*fill, *bad])
    code, printed, errors = command(made, annotations(tmp_path / "true.json"))
    assert code == 0, errors
    assert "5 predicted boxes cannot be used and are left out" in printed
    panel = next(p for p in metrics(tmp_path)["panels"] if p["id"] == "failed")
    assert [row[0] for row in panel["rows"]] == ["99", "2", "2", "2", "2"]
    reasons = " ".join(row[1] for row in panel["rows"])
    for words in (
        "the image is not among the references", "the class is not among the references: 7", "inverted",
        "not [x, y, width, height]", "the score 1.5 is outside [0, 1] (entry 128)",
    ):  # fmt: skip
        assert words in reasons


def test_references_that_are_no_boxes_take_their_image_away(command: Any, tmp_path: Path) -> None:
    true = annotations(tmp_path / "true.json", 40)
    content = json.loads(true.read_text("utf-8"))
    content["annotations"][0]["bbox"] = [10, 10, 0, 5]
    true.write_text(json.dumps(content), "utf-8")
    code, printed, errors = command(results(tmp_path / "results.json", 40), true)
    assert code == 0, errors
    assert "1 images have a reference that cannot be used and are left out." in printed
    assert metrics(tmp_path)["details"]["cases"] == 39


def test_classes_may_be_called_otherwise(command: Any, tmp_path: Path) -> None:
    true = annotations(tmp_path / "true.json")
    rows = [f"im_{i:02d},knot,0.9,10,20,40,40" for i in range(30) if i % 3]
    table = write_rows(tmp_path / "made.csv", "case,label,score,x1,y1,x2,y2", rows)
    code, _, errors = command(table, true)
    assert code == 2
    assert "the class is not among the references: knot" in errors
    assert not (tmp_path / "out").exists()
    code, _, errors = command(table, true, "--labels", "knot=nodule")
    assert code == 0, errors
    assert figure(tmp_path, "sensitivity", target="nodule") == 1


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("case,label,x1,y1,x2,y2", "im_01,nodule,1,1,5,5", "no column holds the score"),
        ("label,score,x1,y1,x2,y2", "nodule,0.5,1,1,5,5", "no column holds the image"),
        ("case,label,score,x1,y1", "im_01,nodule,0.5,1,1", "no columns hold the corners"),
        ("case,label,score,x1,y1,x2,y2", "im_01,nodule,7,1,1,5,5", "the score 7 is outside [0, 1]"),
        ("case,label,score,x1,y1,x2,y2", "im_01,nodule,0.5,9,1,5,5", "a box is inverted"),
        ("case,label,score,x1,y1,x2,y2", "im_01,nodule,0.5,nan,1,5,5", "not finite"),
        ("case,label,score,x1,y1,x2,y2", "elsewhere,nodule,0.5,1,1,5,5", "the image is not among the references"),
        ("case,label,score,x1,y1,z1,x2,y2,z2", "im_01,nodule,0.5,1,1,1,5,5,5", "boxes of 3 axes, and references of 2"),
        ("case,label,score,x1,y1,x2,y2", ",nodule,0.5,1,1,5,5", "the image is not named"),
    ],
)
def test_tables_that_do_not_fit_end_in_one_message(
    header: str, row: str, message: str, command: Any, tmp_path: Path
) -> None:
    made = write_rows(tmp_path / "made.csv", header, [row])
    code, _, errors = command(made, annotations(tmp_path / "true.json"))
    assert code == 2
    assert message in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"a": 1}', "results of COCO are a list"), ("[", "cannot be read"), ('[{"image_id": 1}]', "has no category_id")],
)
def test_results_that_are_none_end_in_one_message(text: str, message: str, command: Any, tmp_path: Path) -> None:
    made = tmp_path / "results.json"
    made.write_text(text, "utf-8")
    code, _, errors = command(made, annotations(tmp_path / "true.json"))
    assert code == 2
    assert message in errors


def test_files_that_are_missing_or_folders(command: Any, tmp_path: Path) -> None:
    true = annotations(tmp_path / "true.json")
    assert "boxes need references" in command(results(tmp_path / "r.json"), None)[2]
    assert "this is a folder" in command(tmp_path, true)[2]
    assert "missing" in command(tmp_path / "no.json", true)[2]
    assert command(results(tmp_path / "r.json"), tmp_path / "no.json")[0] == 2


def test_rows_of_an_image_that_contradict_each_other(command: Any, tmp_path: Path) -> None:
    true = write_rows(tmp_path / "true.csv", "case,patient,x1,y1,x2,y2", ["a,p,1,1,5,5", "a,q,6,6,9,9"])
    made = write_rows(tmp_path / "made.csv", "case,score,x1,y1,x2,y2", ["a,0.5,1,1,5,5"])
    code, _, errors = command(made, true)
    assert code == 2
    assert "contradict" in errors


def test_ignored_regions_of_a_table(command: Any, tmp_path: Path) -> None:
    true = write_rows(
        tmp_path / "true.csv", "case,label,ignore,x1,y1,x2,y2",
        ["a,n,0,1,1,5,5", "a,artefact,1,20,20,90,90", "b,n,,1,1,5,5", "c,n,,,,,"],
    )  # fmt: skip
    made = write_rows(tmp_path / "made.csv", "case,label,score,x1,y1,x2,y2", ["a,n,0.9,1,1,5,5", "a,n,0.8,30,30,40,40"])
    assert command(made, true)[0] == 0
    assert figure(tmp_path, "precision") == 1
    assert metrics(tmp_path)["details"]["ignored_regions"] == 1
    assert metrics(tmp_path)["details"]["classes"] == ["n"]
    assert "In 2 of 3 images nothing was predicted." in metrics(tmp_path)["notes"]
