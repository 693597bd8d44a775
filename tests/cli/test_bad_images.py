"""Images that are broken, odd or incomplete, through the commands: one message a case, and the rest is used."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset

from medcnn.data.images import reading

Command = Callable[..., Any]
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
ODD = 'it\'s "my" scan,\nnew line; Schädel 頭部.nii.gz'
RECIPE = """
task: classification
data:
  adapter: {{name: table, label: label, patient: patient}}
  root: {root}
  split: {{by: fractions, validation: 0.25, test: 0.25}}
  max_unusable: 0.6
input: {{size: [8, 8, 4]}}
model: {{name: basic_cnn, filters: [4], dense: [4]}}
training: {{epochs: 1, batch_size: 8, precision: "32"}}
evaluation: {{resamples: 100}}
"""


def one_slice(path: Path, place: Sequence[float] | None, **tags: Any) -> Path:
    """A CT slice; ``None`` takes an element out."""
    rows, columns = tags.pop("shape", (8, 8))
    found = pydicom.Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    values = np.random.default_rng(0).integers(0, 200, (rows, columns), dtype=np.int16)
    elements: dict[str, Any] = {
        "SOPClassUID": pydicom.uid.CTImageStorage, "SOPInstanceUID": pydicom.uid.generate_uid(),
        "SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "PatientID": "7", "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "Rows": rows, "Columns": columns, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
        "PixelRepresentation": 1, "PixelSpacing": [1.0, 1.0], "ImageOrientationPatient": list(AXIAL),
        "ImagePositionPatient": place, "PixelData": values.tobytes(),
    }  # fmt: skip
    for key, value in {**elements, **tags}.items():
        if value is not None:
            setattr(found, key, value)
    found.file_meta.MediaStorageSOPClassUID = found.get("SOPClassUID", pydicom.uid.CTImageStorage)
    found.file_meta.MediaStorageSOPInstanceUID = found.get("SOPInstanceUID", "1.2.3.4")
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, heights: Sequence[float] = (0, 2, 4, 6), **tags: Any) -> list[Path]:
    return [one_slice(folder / f"{k}.dcm", [0.0, 0.0, float(z)], **tags) for k, z in enumerate(heights)]


def volume(path: Path, level: float, **forms: np.ndarray) -> Path:
    values = np.random.default_rng(list(path.name.encode())).normal(level, 20, (8, 8, 4)).astype(np.float32)
    image: Any = nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1]))
    if forms:
        image.set_sform(forms["sform"], 1)
        image.set_qform(forms["qform"], 1)
    nibabel.save(image, path)
    return path


def cut(path: Path, share: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def bad_images(root: Path) -> dict[str, str]:
    """Images that cannot be used below a folder, and what is said of each."""
    cut(volume(root / "cut.nii", 1))
    cut(volume(root / "cut.nii.gz", 1))
    moved = np.diag([1.0, 1, 2, 1])
    moved[:3, 3] = 30
    volume(root / "forms.nii", 1, sform=moved, qform=np.diag([1.0, 1, 2, 1]))
    (root / "text.nii").write_text("hello")
    cut(one_slice(root / "cut.dcm", [0, 0, 0]), 0.95)
    cut(one_slice(root / "header.dcm", [0, 0, 0]), 0.25)
    one_slice(root / "empty.dcm", [0, 0, 0], PixelData=None)
    series(root / "gap", (0, 2, 6, 8))
    series(root / "twice", (0, 2, 2, 4))
    series(root / "nowhere", ImagePositionPatient=None)
    series(root / "no-uids", SeriesInstanceUID=None, SOPInstanceUID=None, StudyInstanceUID=None)
    series(root / "turned")
    one_slice(root / "turned" / "other.dcm", [0, 0, 9], ImageOrientationPatient=list(CORONAL))
    series(root / "sizes")
    one_slice(root / "sizes" / "other.dcm", [0, 0, 8], shape=(6, 5))
    cut(series(root / "one-cut")[2], 0.95)
    (root / "empty").mkdir()
    (root / "up").symlink_to(root, target_is_directory=True)
    return {
        "cut.nii": "the image data are truncated",
        "cut.nii.gz": "truncated or broken",
        "forms.nii": "sform (code 1) and qform (code 1) contradict each other",
        "text.nii": "not an image: the file is a text file",
        "cut.dcm": "the pixel data are truncated",
        "header.dcm": "truncated",
        "empty.dcm": "it holds no pixels",
        "gap": "1 slice is missing: the gap between 1.dcm and 2.dcm is 4.00 mm",
        "twice": "1 place holds more than one slice, such as 1.dcm and 2.dcm",
        "nowhere": "no usable ImagePositionPatient",
        "no-uids": "without a SeriesInstanceUID each file stands for itself",
        "turned": "2 stacks, which differ in orientation",
        "sizes": "2 stacks, which differ in matrix",
        "one-cut": "the pixel data are truncated",
        "empty": "no DICOM file lies directly in this folder",
        "up/empty": "no DICOM file lies directly in this folder",
        "gone.nii": "the file does not exist",
    }


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A table with 24 good volumes, odd ones that are good too, and bad ones; and what is said of the bad ones."""
    root = tmp_path / "data"
    root.mkdir()
    rows = [(f"{k:02d}.nii.gz", k) for k in range(24)]
    rows.append((ODD, 24))
    for name, k in rows:
        volume(root / name, 60 if k % 2 else 160)
    copies = series(root / "copied")
    shutil.copy(copies[0], root / "copied" / "again.dcm")
    bad = bad_images(root)
    rows += [(name, 25 + k) for k, name in enumerate(["copied", *bad])]
    with (root / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "label", "patient"))
        table.writerows((name, ["light", "dark"][k % 2], f"p{k}") for name, k in rows)
    return root, bad


def recipe(root: Path) -> Path:
    path = root.parent / "recipe.yaml"
    path.write_text(RECIPE.format(root=root), encoding="utf-8")
    return path


def reasons(path: Path, key: str = "case") -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row[key]: row["reason"] for row in csv.DictReader(file)}


def test_a_run_lists_every_bad_image_and_trains_on_the_rest(
    medcnn_command: Command, cohort: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    root, bad = cohort
    out = tmp_path / "run"
    done = medcnn_command("run", recipe(root), "--out", out)
    assert done.code == 0, done.err
    assert "Traceback" not in done.out + done.err
    found = reasons(out / "exclusions.csv")
    assert sorted(found) == sorted(bad)
    for name, said in bad.items():
        assert said in found[name], name
    with (out / "cases.csv").open(encoding="utf-8", newline="") as file:
        used = {row["case"] for row in csv.DictReader(file)}
    assert len(used) == 26
    assert {ODD, "copied"} < used
    assert f"{len(bad)} of {26 + len(bad)} images were not used: see {out / 'exclusions.csv'}" in done.out
    for setting, said in (("data.on_error=stop", "data.on_error=stop: "), ("data.max_unusable=0.05", "cannot be used")):
        done = medcnn_command("run", recipe(root), setting, "--out", tmp_path / "other")
        assert done.code == 2, done
        assert done.err.count("error:") == 1, done.err
        assert said in done.err
        assert not (tmp_path / "other").exists()


def test_a_file_that_changes_while_it_is_read_is_one_case(
    medcnn_command: Command, cohort: tuple[Path, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = cohort
    load = reading.registry.load

    def growing(kind: Any, name: str, **more: Any) -> Any:
        reader = load(kind, name, **more)

        def read(ref: Any, *options: Any) -> Any:
            image = reader(ref, *options)
            if ref.paths[0].endswith("07.nii.gz"):
                with open(ref.paths[0], "ab") as file:
                    file.write(b"more")
            return image

        return read if kind == "readers" else reader

    monkeypatch.setattr(reading.registry, "load", growing)
    # Read in this process, where the reader is ours.
    monkeypatch.setattr("medcnn.workflow.prepare.available_cores", lambda: 0)
    done = medcnn_command("run", recipe(root), "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert reasons(tmp_path / "run" / "exclusions.csv")["07.nii.gz"] == "the file changed while it was read"


def test_an_audit_names_every_bad_image(
    medcnn_command: Command, cohort: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    root, bad = cohort
    done = medcnn_command("data", "audit", recipe(root), "--out", tmp_path / "audit")
    assert done.code == 0, done.err
    assert "Traceback" not in done.out + done.err
    text = (tmp_path / "audit" / "audit.json").read_text(encoding="utf-8")
    for name, said in bad.items():
        assert said in text, name


def test_an_audit_of_too_many_bad_images_shows_what_it_found_first(medcnn_command: Command, tmp_path: Path) -> None:
    root = tmp_path / "films"
    root.mkdir()
    Image.fromarray(np.arange(81, dtype=np.uint8).reshape(9, 9)).save(root / "good.png")
    (root / "bad.png").write_bytes(b"hello")
    done = medcnn_command("data", "audit", root, "--out", tmp_path / "out")
    assert done.code == 2, done
    assert "films: 1 case\n" in done.out
    assert str(tmp_path / "out" / "audit.html") in done.out
    assert done.err.count("error:") == 1
    assert "1 of 2 cases (50.0%) cannot be used, such as " in done.err
    assert f"{root / 'bad.png'}: not an image" in done.err


@pytest.mark.parametrize("command", ["audit", "series"])
def test_a_folder_without_images_is_refused(medcnn_command: Command, tmp_path: Path, command: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for content in (None, "hello"):
        if content:
            (folder / "a.txt").write_text(content)
        os.symlink(folder, folder / f"up{len(os.listdir(folder))}", target_is_directory=True)
        out = tmp_path / ("out.html" if command == "series" else "out")
        done = medcnn_command("data", command, folder, "--out", out)
        assert done.code == 2, done
        assert done.err.count("error:") == 1, done.err
        assert str(folder) in done.err
        assert not out.exists()
