"""The whole way, from tiny files to a report, for each kind of label, image and split."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

import medcnn
from medcnn.errors import DataError
from medcnn.workflow.folder import Run

COUNT = 32


def pixels(k: int, level: float, shape: Sequence[int] = (16, 16)) -> NDArray[np.float64]:
    """A noisy image around a level, of 0 to 255."""
    return np.clip(np.random.default_rng(k).normal(level, 30, tuple(shape)), 0, 255)


def write_png(path: Path, k: int, level: float) -> None:
    Image.fromarray(pixels(k, level).astype(np.uint8)).save(path)


class Maker:
    """Tables and recipes in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, header: str, row: Callable[[int], str], *, write: Any = write_png, end: str = "png") -> Path:
        """``COUNT`` images, the odd ones bright, and ``cases.csv`` with a row each."""
        root = self.folder / "data"
        root.mkdir(exist_ok=True)
        for k in range(COUNT):
            write(root / f"{k:02d}.{end}", k, 60 + 100 * (k % 2))
        lines = [f"image,{header}", *(f"{k:02d}.{end},{row(k)}" for k in range(COUNT))]
        (root / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return root

    def run(self, adapter: str, split: str = "{validation: 0.25, test: 0.25}", *, size: str = "[16, 16]",
            task: str = "classification", evaluation: str = "{resamples: 100}", root: Path | None = None,
            overrides: Sequence[str] = ()) -> Run:  # fmt: skip
        """Train one epoch, evaluate and report."""
        path = self.folder / "recipe.yaml"
        path.write_text(
            f"task: {task}\ndata:\n  adapter: {adapter}\n  root: {root or self.folder / 'data'}\n  split: {split}\n"
            f"input: {{size: {size}, augment: null}}\nmodel: {{name: basic_cnn, filters: [4], dense: [4]}}\n"
            "training: {epochs: 1, batch_size: 8, optimizer: adam, learning_rate: 0.01, precision: '32'}\n"
            f"evaluation: {evaluation}\n",
            encoding="utf-8",
        )
        done = medcnn.run(path, out=self.folder / "run", overrides=overrides)
        assert isinstance(done, Run)
        assert "<html" in done.report.read_text(encoding="utf-8")
        return done


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def figures(run: Run, unit: str = "image") -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(f["id"], f["target"]): f for f in run.metrics["figures"] if f["unit"] == unit}


def counts(run: Run) -> dict[str, int]:
    """Cases by part, of the first fold."""
    return {part: len(run.split.part(0, part)) for part in ("training", "validation", "test")}


def test_several_labels_some_missing_with_several_images_a_patient(maker: Maker) -> None:
    def row(k: int) -> str:
        # The second label is not known for every fourth image, and neither for one of them.
        second = "" if k % 4 == 0 else str(k // 2 % 2)
        return f"{'-1' if k == 4 else k % 2},{'' if k == 4 else second},p{k // 4},{['male', 'female'][k // 4 % 2]}"

    maker.table("bright,late,patient,sex", row)
    run = maker.run("{name: table, labels: [bright, late], patient: patient}")
    assert ("04.png", "no label") in {(e.case, e.reason) for e in run.dataset.exclusions}
    known = [c for c in run.split.part(0, "test") if int(c[:2]) % 4]
    found = figures(run)
    assert found["f1", "late"]["n"] == len(known)
    assert found["f1", "bright"]["n"] == len(run.split.part(0, "test"))
    assert {("exact_match", None), ("hamming_accuracy", None)} <= set(found) or "hamming" in str(
        sorted(map(str, found))
    )
    patients = {run.cases[c].patient for c in run.split.part(0, "test")}
    by_patient = figures(run, "patient")
    assert by_patient["f1", "bright"]["n"] == len(patients)


def test_abdomen_is_one_and_the_parts_are_given(maker: Maker) -> None:
    parts = ["train", "train", "train", "val", "test", "test"]
    maker.table("y,patient,part", lambda k: f"{'-1' if k == 3 else k % 2},p{k},{parts[k // 2 % 6]}")
    adapter = "{name: table, label: y, classes: {other: 0, abdomen: 1}, patient: patient, part: part}"
    run = maker.run(adapter, "{by: column}")
    schema = run.dataset.labels["class"]
    assert (schema.names, schema.positive) == (("other", "abdomen"), "abdomen")
    assert ("f1", "abdomen") in figures(run)
    assert [(e.case, e.reason) for e in run.dataset.exclusions] == [("03.png", "no label")]
    given = [parts[k // 2 % 6] for k in range(COUNT) if k != 3]
    assert counts(run) == {
        "training": given.count("train"),
        "validation": given.count("val"),
        "test": given.count("test"),
    }
    with (run.folder / "training" / "predictions" / "test.csv").open() as file:
        assert next(csv.reader(file)) == ["case", "p_other", "p_abdomen"]


def test_each_site_is_left_out_once(maker: Maker) -> None:
    maker.table("y,patient,site", lambda k: f"{'ab'[k % 2]},p{k // 2},{['North', 'South', 'West'][k // 2 % 3]}")
    run = maker.run("{name: table, label: y, patient: patient}", "{by: attribute, attribute: site}")
    assert len(run.folds) == 3
    for fold, site in enumerate(("North", "South", "West")):
        tested = set(run.split.part(fold, "test"))
        assert tested == {c.id for c in run.dataset if c.attributes["site"] == site}
        seen = {*run.split.part(fold, "training"), *run.split.part(fold, "validation")}
        assert site not in {run.cases[c].attributes["site"] for c in seen}
    assert figures(run)["accuracy", None]["n"] == COUNT
    assert figures(run)["accuracy", None]["part"] == "out-of-fold"


def test_the_latest_cases_are_the_test_part(maker: Maker) -> None:
    maker.table("y,patient,day", lambda k: f"{'ab'[k % 2]},p{k},2024-{1 + k // 28:02d}-{1 + k % 28:02d}")
    run = maker.run(
        "{name: table, label: y, patient: patient}", "{by: date, attribute: day, validation: 0.25, test: 0.25}"
    )
    days = {part: [str(run.cases[c].attributes["day"]) for c in run.split.part(0, part)] for part in counts(run)}
    assert min(days["test"]) > max(days["training"] + days["validation"])
    assert counts(run)["test"] == COUNT // 4


def test_a_value_some_of_them_missing(maker: Maker) -> None:
    maker.table("age,patient", lambda k: f"{'' if k == 7 else 20 + 40 * (k % 2) + k / 10},p{k}")
    run = maker.run("{name: table, value: age, unit: years, patient: patient}", task="regression")
    assert [(e.case, e.reason) for e in run.dataset.exclusions] == [("07.png", "no label")]
    found = figures(run)
    assert {("mae", None), ("rmse", None), ("r2", None)} <= set(found)
    assert found["mae", None]["n"] == counts(run)["test"]
    assert "years" in run.report.read_text(encoding="utf-8")


def test_volumes(maker: Maker) -> None:
    def write(path: Path, k: int, level: float) -> None:
        volume = pixels(k, level, (9, 8, 7)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([2.0, 2.0, 3.0, 1.0])), path)

    maker.table("y,patient", lambda k: f"{'ab'[k % 2]},p{k}", write=write, end="nii.gz")
    run = maker.run("{name: table, label: y, patient: patient}", size="[8, 8, 8]")
    assert figures(run)["accuracy", None]["n"] == counts(run)["test"]
    table = medcnn.predict(run, [maker.folder / "data" / "00.nii.gz"])
    assert table["error"].tolist() == [""]


def test_sixteen_bits_and_tiff_are_seen_in_full_depth(maker: Maker) -> None:
    def write(path: Path, k: int, level: float) -> None:
        # The classes differ in bits that eight bits would not keep: which half is the brighter one.
        values = (1000 + pixels(k, 60) / 10).astype(np.uint16)
        values[:8] += np.uint16(50 * (k % 2))
        values[8:] += np.uint16(50 * (1 - k % 2))
        Image.fromarray(values).save(path.with_suffix(".tif") if k % 3 else path)
        if k % 3:
            path.write_bytes(path.with_suffix(".tif").read_bytes())

    maker.table("y,patient", lambda k: f"{'ab'[k % 2]},p{k}", write=write)
    run = maker.run(
        "{name: table, label: y, patient: patient}", overrides=["training.epochs=15", "training.learning_rate=0.03"]
    )
    assert not run.dataset.exclusions
    assert figures(run)["auroc", "b"]["value"] == 1.0


class Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)


def test_dicom_files_whose_headers_hold_markup(maker: Maker) -> None:
    evil = "<evil-x>alert(1)</evil-x>"

    def write(path: Path, k: int, level: float) -> None:
        data = pydicom.Dataset()
        data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
        data.PatientID = data.PatientName = data.Manufacturer = data.SeriesDescription = evil
        data.StudyDescription = data.BodyPartExamined = data.StationName = data.ManufacturerModelName = evil
        data.Modality, data.PhotometricInterpretation = "OT", "MONOCHROME2"
        data.Rows, data.Columns, data.SamplesPerPixel = 16, 16, 1
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.PixelData = (pixels(k, level) * 8).astype("<u2").tobytes()
        if k == 5:
            data.PixelData = data.PixelData[:99] + b"!"
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.save_as(path, enforce_file_format=True)

    maker.table("y,patient", lambda k: f"{'ab'[k % 2]},p{k}", write=write, end="dcm")
    run = maker.run("{name: table, label: y, patient: patient}")
    assert [e.case for e in run.dataset.exclusions] == ["05.dcm"]
    assert figures(run)["accuracy", None]["n"] == counts(run)["test"]
    assert "evil-x" not in Tags(run.report.read_text(encoding="utf-8")).found
    table = medcnn.predict(run, [maker.folder / "data"])
    assert len(table[table["error"] == ""]) == COUNT - 1


def test_another_dataset_beside_the_own_one(maker: Maker, tmp_path: Path) -> None:
    maker.table("y,patient", lambda k: f"{['dark', 'bright'][k % 2]},p{k}")
    other = tmp_path / "other"
    for k in range(20):
        folder = other / ("night", "day")[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{k}.png", 100 + k, 60 + 100 * (k % 2))
    (other / "day" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    catalog = tmp_path / "catalog.yaml"
    entry = "  title: {0}\n  tasks: [classification]\n  adapter: {1}\n  patient: unknown\n  folder: {0}\n"
    table = "{name: table, options: {label: y, patient: patient}}"
    catalog.write_text(
        "other:\n" + entry.format("other", "{name: image_folder}") + "same:\n" + entry.format("same", table)
    )
    run = maker.run("{name: table, label: y, patient: patient}", overrides=[f"data.catalog={catalog}"])
    labels = {"night": "dark", "day": "bright"}
    found = medcnn.evaluate(run, data="other", root=other, labels=labels)
    assert found.find("accuracy").n == 20
    # What was chosen on the run's own validation part holds here too.
    assert found.details["thresholds"] == medcnn.evaluate(run).details["thresholds"]
    folder = run.external("other")
    with (folder / "exclusions.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["day/broken.png"]
    text = medcnn.report(run).read_text(encoding="utf-8")
    assert "Internal and external figures" in text
    with pytest.raises(DataError, match="counterpart"):
        medcnn.evaluate(run, data="other", root=other)
    # New images of patients with known ids are judged, and it is said; the very images are refused.
    again = tmp_path / "again"
    again.mkdir()
    for k in range(12):
        write_png(again / f"{k}.png", 500 + k, 60 + 100 * (k % 2))
    rows = [f"{k}.png,{['dark', 'bright'][k % 2]},{'p' if k < 6 else 'q'}{k}" for k in range(12)]
    (again / "cases.csv").write_text("image,y,patient\n" + "\n".join(rows) + "\n")
    shared = {run.cases[c].patient for c in run.split.part(0, "training")} & {f"p{k}" for k in range(6)}
    assert shared
    warned = medcnn.evaluate(run, data="same", root=again)
    assert [w for w in warned.warnings if "patient" in w and str(len(shared)) in w]
    with pytest.raises(DataError, match="were trained on"):
        medcnn.evaluate(run, data="same", root=maker.folder / "data")
    # The dataset's own rule on unusable cases holds for others too.
    for k in range(5):
        (other / "day" / f"broken{k}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match="6 of 26 cases"):
        medcnn.evaluate(run, data="other", root=other, labels=labels)


def test_the_table_of_another_program_gives_the_figures_of_the_run(maker: Maker, tmp_path: Path) -> None:
    maker.table("y,patient", lambda k: f"{'ab'[k % 2]},p{k}")
    run = maker.run("{name: table, label: y, patient: patient}", evaluation="{resamples: 100, threshold: argmax}")
    references = tmp_path / "references.csv"
    lines = [f"{c.id},{'ab'[int(c.id[:2]) % 2]},{c.patient}" for c in run.dataset]
    references.write_text("case,label,patient\n" + "\n".join(lines) + "\n")
    predictions = run.folder / "training" / "predictions" / "test.csv"
    test = set(run.split.part(0, "test"))
    references.write_text(
        "case,label,patient\n" + "\n".join(line for line in lines if line.split(",")[0] in test) + "\n"
    )
    found = medcnn.evaluate_table(
        predictions, references, out=tmp_path / "table", options={"resamples": 100, "threshold": "argmax"}
    )
    own = figures(run)
    for name in ("accuracy", "auroc", "f1"):
        target = None if name == "accuracy" else "b"
        assert found.find(name, target, unit="image").value == pytest.approx(own[name, target]["value"])
    assert (tmp_path / "table" / "report.html").is_file()
