"""Two folders of masks, as any program writes them, through the real command."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medcnn.cli.main import main
from medcnn.errors import MedcnnError
from medcnn.evaluation.masks_folders import described_labels, given_labels, listed_labels, match_folders
from medcnn.progress import Silent
from medcnn.workflow import masks
from medcnn.workflow.tables import Wanted, evaluate_files

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
SHAPE = (14, 12, 8)


def label_map(shift: int = 0, *, second: bool = True) -> np.ndarray:
    values = np.zeros(SHAPE, np.uint8)
    values[2 + shift : 7 + shift, 2:7, 1:5] = 1
    if second:
        values[8:11, 8:11, 3:6] = 2
    return values


def write(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """25 references, and predictions that are a voxel off."""
    for i in range(25):
        write(tmp_path / "true" / f"case_{i:02d}.nii.gz", label_map())
        write(tmp_path / "made" / f"case_{i:02d}.nii", label_map(i % 2))
    return tmp_path / "made", tmp_path / "true"


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than measuring such small masks."""
    monkeypatch.setattr(masks, "GALLERY", 1)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs ``medcnn evaluate`` in this process: exit code, output, errors."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        code = main(["evaluate", *map(str, arguments)])
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "evaluation" / "cases.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_two_folders_are_evaluated_and_reported(folders: tuple[Path, Path], command: Any, tmp_path: Path) -> None:
    made, true = folders
    out = tmp_path / "out"
    code, printed, errors = command(
        "--predictions", made, "--references", true, "--task", "segmentation", "--out", out,
        "--labels", "1=liver", "--labels", "2=tumour",
    )  # fmt: skip
    assert code == 0, errors
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text("utf-8"))
    figures = {(f["id"], f["target"], f["unit"]): f["value"] for f in metrics["figures"]}
    # Half of the predictions are one of five voxels off: 2 * 80 / 200.
    assert figures["dice", "liver", "image"] == pytest.approx((13 + 12 * 0.8) / 25)
    assert figures["dice", "tumour", "image"] == 1.0
    assert metrics["details"]["length_unit"] == "mm"
    first = rows_of(out)[2]
    assert (first["case"], first["label"], first["reference_volume"]) == ("case_01", "liver", "200.0")
    assert float(first["hd95"]) == pytest.approx(1.0)
    page = (out / "report.html").read_text("utf-8")
    assert "liver" in page
    assert "data:image/png" in page
    assert "case_01" not in page
    # A case is called the same in the table of the worst and below its picture, as a case and not as a file.
    assert re.search(r"\bC-[a-z2-7]{7}\b", page)
    assert not re.search(r"\bF-[a-z2-7]{7}\b", page)
    assert f"report: {out / 'report.html'}" in printed


def test_missing_and_unusable_predictions_count_as_empty_and_are_listed(
    folders: tuple[Path, Path], command: Any, tmp_path: Path
) -> None:
    made, true = folders
    for gone in ("case_03.nii", "case_04.nii"):
        (made / gone).unlink()
    write(made / "case_05.nii", label_map(), AFFINE @ np.diag([-1, 1, 1, 1]))
    write(made / "elsewhere.nii", label_map())
    out = tmp_path / "out"
    code, printed, _ = command("--predictions", made, "--references", true, "--task", "segmentation", "--out", out)
    assert code == 0
    assert "3 of 25 cases have no usable prediction. Each is counted as an empty prediction" in printed
    found = {(r["case"], r["label"]): r for r in rows_of(out)}
    assert len(found) == 50
    for case in ("case_03", "case_04", "case_05"):
        assert (found[case, "label 1"]["dice"], found[case, "label 1"]["hd95"]) == ("0.0", "inf")
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text("utf-8"))
    panel = next(p for p in metrics["panels"] if p["id"] == "failed")
    assert [row[:1] for row in panel["rows"]] == [["case_03"], ["case_04"], ["case_05"]]
    assert panel["rows"][0][1] == "no prediction"
    assert "LAS" in panel["rows"][2][1]
    assert "RAS" in panel["rows"][2][1]
    assert any("1 predictions have no reference" in n for n in metrics["notes"])
    assert "case_03" not in (out / "report.md").read_text("utf-8")


def test_values_are_named_by_a_dataset_json_and_the_ignored_one_counts_nowhere(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    made, true = folders
    labels = {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}), "utf-8")
    ignored = label_map()
    ignored[:, :, 4:] = 3
    write(true / "case_00.nii.gz", ignored)
    evaluate_files(made, true, tmp_path / "out", "segmentation", {"resamples": 100}, "")
    first = rows_of(tmp_path / "out")[0]
    assert first["label"] == "liver"
    assert int(first["tp"]) + int(first["tn"]) == 14 * 12 * 4
    assert float(first["dice"]) == 1.0


def test_pictures_in_two_dimensions_are_measured_in_pixels(tmp_path: Path) -> None:
    for i in range(21):
        for folder, shift in (("true", 0), ("made", 2)):
            values = np.zeros((20, 30), np.uint8)
            values[5:15, 5 + shift : 15 + shift] = 255
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / f"{i}.png")
    found = evaluate_files(
        tmp_path / "made", tmp_path / "true", tmp_path / "out", "segmentation", {"resamples": 100}, ""
    )
    assert found.find("dice", "label 255").value == pytest.approx(0.8)
    assert found.find("hd95_median", "label 255").value == pytest.approx(2.0)
    assert found.details["length_unit"] == "px"


@pytest.mark.slow
def test_processes_find_what_one_finds(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: Any) -> None:
    made, true = folders
    for path in sorted(made.iterdir())[3:] + sorted(true.iterdir())[3:]:
        path.unlink()
    here = masks.judge_masks(Wanted(made, true, {"resamples": 100}, ""), Silent())
    monkeypatch.setattr(masks, "_SMALL", 0)
    there = masks.judge_masks(Wanted(made, true, {"resamples": 100}, ""), Silent())
    assert [f.value for f in here.evaluation.figures] == [f.value for f in there.evaluation.figures]


def broken(kind: str, made: Path, true: Path) -> None:
    """One way in which two folders do not go together."""
    if kind == "no common name":
        for path in made.iterdir():
            path.rename(path.with_name(f"their_{path.name}"))
    elif kind == "no folder":
        (true / "x").mkdir()
        for path in list(made.iterdir()):
            path.unlink()
        made.rmdir()
    elif kind == "nothing in it":
        for path in made.iterdir():
            path.rename(path.with_suffix(".dat"))
    elif kind == "twice":
        write(true / "case_00.nii", label_map())
    elif kind == "other values":
        for path in made.iterdir():
            write(path, label_map() * 4)
    elif kind == "between":
        for path in made.iterdir():
            write(path, label_map().astype(np.float32) * 0.7)
    elif kind == "other size":
        for path in made.iterdir():
            write(path, label_map()[:-1])
    elif kind == "all background":
        for path in true.iterdir():
            write(path, np.zeros(SHAPE, np.uint8))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no common name", "no file of"),
        ("no folder", "the folder of predictions is not there"),
        ("nothing in it", "the folder of predictions holds no mask"),
        ("twice", "two masks of 'case_00': case_00.nii and case_00.nii.gz"),
        (
            "other values",
            "25 of 25 cases cannot be used, more than 5%; the first: prediction: the mask holds the values",
        ),
        ("between", "values between labels"),
        ("other size", "13x12x8"),
        ("all background", "no reference holds a label"),
    ],
)
def test_folders_that_do_not_go_together_end_in_one_message(
    kind: str, words: str, folders: tuple[Path, Path], command: Any, tmp_path: Path
) -> None:
    made, true = folders
    broken(kind, made, true)
    out = tmp_path / "out"
    code, _, errors = command("--predictions", made, "--references", true, "--task", "segmentation", "--out", out)
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors
    assert not out.exists()


def test_what_the_command_refuses(folders: tuple[Path, Path], command: Any, tmp_path: Path) -> None:
    made, true = folders
    both = ("--predictions", made, "--references", true, "--out", tmp_path / "out")
    assert "this is a folder" in command(*both)[2]
    assert "VALUE=NAME" in command(*both, "--task", "segmentation", "--labels", "liver=1")[2]
    assert (
        "two labels are called 'a'" in command(*both, "--task", "segmentation", "--labels", "1=a", "--labels", "2=a")[2]
    )
    assert "did you mean 'segmentation'" in command(*both, "--task", "segmentatoin")[2]
    assert (
        "masks need references" in command("--predictions", made, "--task", "segmentation", "--out", tmp_path / "o")[2]
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    assert "not empty" in command(*both, "--task", "segmentation")[2]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_unreadable_reference_is_left_out_and_said(folders: tuple[Path, Path], tmp_path: Path) -> None:
    made, true = folders
    (true / "case_02.nii.gz").write_bytes(b"not a mask")
    found = evaluate_files(made, true, tmp_path / "out", "segmentation", {"resamples": 100}, "")
    assert found.find("dice", "label 1").n == 24
    assert found.warnings[0].startswith("1 references cannot be used")


def makers() -> Any:
    """The makers of DICOM segmentations, which lie beside the tests of labels and are no package."""
    path = Path(__file__).parents[1] / "data" / "labels" / "conftest.py"
    spec = spec_from_file_location("label_makers", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["label_makers"] = module
    spec.loader.exec_module(module)
    return module


def test_segmentations_of_dicom_lie_on_the_slices_of_both(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    make = makers()
    series = make.save_series(tmp_path / "ct")
    (tmp_path / "true").mkdir()
    (tmp_path / "made").mkdir()
    segments = [make.segment(1, "Liver"), make.segment(2, "Tumour", code=make.codes.SCT.Neoplasm)]
    turned = [make.segment(1, "tumour", code=make.codes.SCT.Neoplasm), make.segment(2, "Liver")]
    whole, core = np.zeros((2, *make.SHAPE), bool)
    whole[2:8, 2:8, 1:4] = core[3:5, 3:5, 2:3] = True
    up = np.roll(whole, 1, 2)
    for i in range(3):
        # Labels that overlap, in other numbers, and on other slices.
        make.save_seg(tmp_path / "true" / f"{i}.dcm", series, np.stack([whole, core], -1), segments)
        make.save_seg(tmp_path / "made" / f"{i}.dcm", series, np.stack([core, up], -1), turned)
    found = evaluate_files(
        tmp_path / "made", tmp_path / "true", tmp_path / "out", "segmentation", {"resamples": 100}, ""
    )
    assert found.find("dice", "Liver").value == pytest.approx(2 / 3)
    assert found.find("dice", "Tumour").value == 1.0
    assert found.find("hd95_median", "Liver").value == pytest.approx(make.SPACING[2])
    assert float(rows_of(tmp_path / "out")[0]["reference_volume"]) == pytest.approx(6 * 6 * 3 * np.prod(make.SPACING))
    assert "segments" in found.notes[0]


def test_files_are_matched_by_their_name_without_its_ending(tmp_path: Path) -> None:
    for name in (
        "true/a.b.nii.gz",
        "true/c.nii",
        "true/.hidden.nii",
        "true/dataset.json",
        "made/a.b.mha",
        "made/z.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    pairs = match_folders(tmp_path / "made", tmp_path / "true")
    assert (list(pairs.references), list(pairs.predictions)) == (["a.b", "c"], ["a.b"])
    assert (pairs.missing, pairs.surplus) == (("c",), ("z",))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"0": "background", "1": "liver", "2": "tumour"}, {1: "liver", 2: "tumour"}),
        ({"background": 0, "liver": 1, "ignore": 7}, {1: "liver"}),
        ({"background": 0, "whole": [1, 2], "core": 2}, None),
        ("liver", None),
        ({"liver": "one"}, None),
    ],
)
def test_labels_of_a_dataset_json(labels: Any, expected: Any, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}), "utf-8")
    found = described_labels(tmp_path)
    assert (None if found is None else dict(found.names)) == expected
    if found is not None and found.ignored:
        assert found.pairs == (("1", "liver"), ("7", "ignore"))


def test_labels_that_segmentations_list() -> None:
    found = listed_labels(
        [(1, "Liver", "SCT:1"), (2, "Vessel", "SCT:2"), (1, "vessel", "SCT:2"), (1, "Kidney", "SCT:1")]
    )
    assert found.schema.names == ("Liver", "Vessel", "Kidney")
    # Two names have one code, which therefore tells neither.
    assert [c.code for c in found.schema.classes] == [None, "SCT:2", None]
    with pytest.raises(MedcnnError, match="no reference lists a segment"):
        listed_labels([])


def test_labels_as_the_user_names_them() -> None:
    assert given_labels({}) is None
    found = given_labels({"3": "c", "1": "a"})
    assert found is not None
    assert found.schema.names == ("a", "c")
    for wrong in ({"0": "a"}, {"x": "a"}, {"-1": "a"}):
        with pytest.raises(MedcnnError, match="no value of a label"):
            given_labels(wrong)
