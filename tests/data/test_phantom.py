"""The generated cohort on disk: valid DICOM, aligned masks, boxes that equal the masks, the same bytes each time."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from medcnn.data import phantom as module
from medcnn.data.images import read_image
from medcnn.data.phantom import VERSION, make_phantom
from medcnn.data.phantom.jobs import run_jobs
from medcnn.errors import DataError, RunError
from medcnn.progress import Silent
from medcnn.types import ImageRef

PATIENTS = 5
BONE, LUNGS, LIVER = 8, 2, 4


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The place is that of the adapter's tests too: whoever comes first makes it.
    folder = tmp_path_factory.getbasetemp() / "phantoms" / f"phantom-v{VERSION}-small-{PATIENTS}-3"
    return make_phantom(folder, patients=PATIENTS, seed=3, workers=1)


class Log(Silent):
    """Counts what a progress is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int | None, str]] = []
        self.done = 0

    def start(self, name: str, total: int | None, unit: str = "") -> None:
        self.steps.append((name, total, unit))

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def volume(cohort: Path, row: dict[str, str]) -> Any:
    files = tuple(str(p) for p in sorted((cohort / row["path"]).glob("*.dcm")))
    return read_image(ImageRef(files, "dicom"))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(cohort: Path, tmp_path: Path) -> None:
    logs = Log(), Log()
    one = digests(make_phantom(tmp_path / "one", patients=2, seed=8, workers=1, progress=logs[0]))
    two = digests(make_phantom(tmp_path / "two", patients=2, seed=8, workers=2, progress=logs[1]))
    assert one == two
    assert not {v for k, v in digests(cohort).items() if k.endswith(".dcm")} & set(one.values())
    for log in logs:
        assert log.steps == [("making the phantom", 2, "patients")]
        assert log.done == 2


def test_everything_named_in_the_tables_is_there(cohort: Path) -> None:
    series, images = rows(cohort / "series.csv"), rows(cohort / "images.csv")
    assert {p.name for p in cohort.iterdir()} == {
        "dicom",
        "masks",
        "series.csv",
        "images.csv",
        "lesions.coco.json",
        "phantom.json",
    }
    found = {str(p.relative_to(cohort).as_posix()) for p in cohort.rglob("*.dcm")}
    assert {row["file"] for row in images} == found
    assert len(found) == len(images)
    assert Counter(row["series"] for row in images) == {row["series"]: int(row["images"]) for row in series}
    masks = {row[k] for row in series for k in ("organ_mask", "lesion_mask") if row[k]}
    assert masks == {f"masks/{p.name}" for p in (cohort / "masks").iterdir()}
    kinds = {(row["kind"], row["body_part"]) for row in series}
    assert {("ct", "head"), ("ct", "chest"), ("ct", "abdomen"), ("ct", "pelvis"), ("film", "hand")} <= kinds


def test_headers_are_consistent_and_identifiers_unique(cohort: Path) -> None:
    instances: set[str] = set()
    for row in rows(cohort / "series.csv"):
        files = [pydicom.dcmread(p) for p in (cohort / row["path"]).glob("*.dcm")]
        for file in files:
            assert (file.PatientID, file.PatientSex, file.Modality) == (row["patient"], row["sex"], row["modality"])
            assert file.StudyInstanceUID == row["study_uid"]
            assert file.SeriesInstanceUID == row["series_uid"]
            assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID
            assert file.file_meta.MediaStorageSOPClassUID == file.SOPClassUID
            assert file.pixel_array.shape == (int(row["rows"]), int(row["columns"]))
            assert file.SOPInstanceUID.is_valid
            assert int(file.PatientAge[:-1]) == int(row["age"])
            if row["body_part_in_header"] == "1":
                assert file.BodyPartExamined == row["filed"].upper()
            instances.add(file.SOPInstanceUID)
        assert len({f.InstanceNumber for f in files}) == len(files)
    assert len(instances) == len(rows(cohort / "images.csv"))


def test_some_films_are_monochrome1_and_read_bright_bones_all_the_same(cohort: Path) -> None:
    films = [row for row in rows(cohort / "series.csv") if row["kind"] == "film"]
    inverted = [row for row in films if row["inverted"] == "1"]
    assert inverted
    for row in films:
        (path,) = (cohort / row["path"]).glob("*.dcm")
        kind = "MONOCHROME1" if row in inverted else "MONOCHROME2"
        assert pydicom.dcmread(path).PhotometricInterpretation == kind
        if row["body_part"] == "hand":
            image = read_image(ImageRef((str(path),), "dicom")).array[0]
            mask = np.asarray(nibabel.load(cohort / row["organ_mask"]).dataobj)
            assert image[mask == BONE].mean() > image[mask == 0].mean()


def test_masks_lie_where_the_series_lie(cohort: Path) -> None:
    tilts = set()
    for row in (r for r in rows(cohort / "series.csv") if r["kind"] == "ct"):
        image = volume(cohort, row)
        for kind in ("organ_mask", "lesion_mask"):
            mask = nibabel.load(cohort / row[kind])
            assert mask.shape == image.array.shape[1:]
            assert np.allclose(mask.affine, image.affine, atol=2e-3 * image.array.shape[3])
        tilts.add(float(row["tilt"]) > 0)
    assert tilts == {True, False}


def test_organs_have_the_hounsfield_units_of_their_kind(cohort: Path) -> None:
    seen: dict[int, list[float]] = {}
    for row in (r for r in rows(cohort / "series.csv") if r["kind"] == "ct"):
        image = volume(cohort, row)
        mask = nibabel.load(cohort / row["organ_mask"])
        labels = np.asarray(mask.dataobj)
        # Through the world: voxels of the mask are looked up in the image by their place in space.
        for label in (1, LUNGS, LIVER, BONE):
            where = labels == label
            voxels = np.argwhere(where if label == BONE else ndimage.binary_erosion(where, iterations=2))
            if len(voxels) < 30:
                continue
            world = nibabel.affines.apply_affine(mask.affine, voxels)
            place = np.rint(nibabel.affines.apply_affine(np.linalg.inv(image.affine), world)).astype(int)
            seen.setdefault(label, []).append(float(np.median(image.array[0][tuple(place.T)])))
    assert all(-930 < v < -700 for v in seen[LUNGS])
    assert all(20 < v < 140 for v in seen[LIVER])
    assert all(v > 120 for v in seen[BONE])
    assert all(10 < v < 60 for v in seen[1])


def test_slices_are_evenly_spaced_as_the_table_says(cohort: Path) -> None:
    for row in (r for r in rows(cohort / "series.csv") if r["kind"] == "ct"):
        files = [pydicom.dcmread(p, stop_before_pixels=True) for p in (cohort / row["path"]).glob("*.dcm")]
        heights = np.sort([f.ImagePositionPatient[2] for f in files])
        assert np.allclose(np.diff(heights), float(row["spacing_z"]), atol=1e-3)
        assert float(files[0].PixelSpacing[0]) == pytest.approx(float(row["spacing"]), abs=1e-4)


def test_boxes_are_those_of_the_connected_components_of_the_masks(cohort: Path) -> None:
    coco = json.loads((cohort / "lesions.coco.json").read_text())
    shapes = {row["series"]: row for row in rows(cohort / "series.csv")}
    boxes: dict[str, list[tuple[int, ...]]] = {}
    for lesion in coco["lesions"]:
        boxes.setdefault(lesion["series"], []).append(tuple(lesion["box"]))
    assert boxes
    for name, row in shapes.items():
        if row["kind"] == "localizer":
            assert name not in boxes
            continue
        mask = np.asarray(nibabel.load(cohort / row["lesion_mask"]).dataobj)
        assert set(np.unique(mask)) <= {0, 1}
        labelled, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
        parts = ndimage.find_objects(labelled)
        derived = [tuple(s.start for s in part) + tuple(s.stop for s in part) for part in parts]
        if row["kind"] == "ct":  # in a film lesions may overlap
            assert sorted(boxes.get(name, [])) == sorted(derived)
        assert len(boxes.get(name, [])) == int(row["lesions"])


def test_coco_boxes_of_slices_join_to_the_boxes_of_the_series(cohort: Path) -> None:
    coco = json.loads((cohort / "lesions.coco.json").read_text())
    image = {entry["id"]: entry for entry in coco["images"]}
    assert len(image) == len(coco["images"])
    for lesion in coco["lesions"]:
        pieces = [a for a in coco["annotations"] if a["lesion"] == lesion["lesion"]]
        assert {image[a["image_id"]]["series"] for a in pieces} == {lesion["series"]}
        found = np.array([a["bbox"] for a in pieces])
        corners = np.hstack([found[:, :2], found[:, :2] + found[:, 2:]])
        half = len(lesion["box"]) // 2
        assert corners[:, :2].min(axis=0).tolist() == lesion["box"][:2]
        assert corners[:, 2:].max(axis=0).tolist() == lesion["box"][half : half + 2]
        assert sum(a["area"] for a in pieces) == lesion["voxels"]
        if half == 3:
            index = [image[a["image_id"]]["index"] for a in pieces]
            assert (min(index), max(index) + 1) == (lesion["box"][2], lesion["box"][5])


def test_the_file_of_an_image_is_the_slice_of_the_mask_with_its_index(cohort: Path) -> None:
    row = next(r for r in rows(cohort / "series.csv") if r["kind"] == "ct")
    affine = nibabel.load(cohort / row["organ_mask"]).affine
    for image in (r for r in rows(cohort / "images.csv") if r["series"] == row["series"]):
        position = pydicom.dcmread(cohort / image["file"], stop_before_pixels=True).ImagePositionPatient
        world = affine @ (0, 0, int(image["index"]), 1)
        assert np.allclose(world[:3], np.multiply(position, (-1, -1, 1)), atol=0.01)


def test_patients_without_lesions_have_none(cohort: Path) -> None:
    series = rows(cohort / "series.csv")
    free = {row["patient"] for row in series if row["patient_lesions"] == "0"}
    assert len(free) == PATIENTS // 3
    assert all(row["lesions"] == "0" for row in series if row["patient"] in free)
    assert any(int(row["lesions"]) for row in series if row["patient"] not in free)


def test_a_person_looks_alike_in_two_series(tmp_path: Path) -> None:
    from medcnn.data.phantom.body import Build, Traits, everything

    traits = Traits.draw("someone", female=False, age=70)

    def solids(**options: Any) -> list[Any]:
        shapes = list(everything(Build(traits, **options), (-400, 600)))
        return [s.box for s in shapes if s.label in (LUNGS, LIVER, BONE)]

    plain = solids(arms="none")
    assert plain == solids(arms="none", contrast=0.8, oral=True, early=True)
    assert set(plain) <= set(solids(arms="side", contrast=0.8))


def test_an_existing_cohort_is_used_again(cohort: Path) -> None:
    before = (cohort / "phantom.json").stat().st_mtime_ns
    assert make_phantom(cohort, patients=PATIENTS, seed=3, workers=1) == cohort
    assert (cohort / "phantom.json").stat().st_mtime_ns == before


def test_another_cohort_or_a_foreign_folder_is_never_overwritten(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="another phantom cohort"):
        make_phantom(cohort, patients=PATIENTS, seed=4)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="something else"):
        make_phantom(tmp_path, patients=1)
    assert (tmp_path / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"seed": -1}, {"size": "huge"}])
def test_parameters_that_make_no_sense_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="no such cohort"):
        make_phantom(tmp_path / "cohort", **wrong)


def test_a_cohort_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(target: str, jobs: list[dict[str, Any]], folder: Path, **_: Any) -> None:
        (Path(jobs[0]["folder"]) / "half").write_text("done")
        raise RunError("stopped")

    monkeypatch.setattr(module, "run_jobs", broken)
    with pytest.raises(RunError, match="stopped"):
        make_phantom(tmp_path / "cohort", patients=1, workers=1)
    assert not list(tmp_path.iterdir())


def test_what_a_worker_cannot_write_becomes_one_message(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file, not a folder")
    jobs = [{"folder": str(taken), "index": k, "patients": 2, "seed": 0, "size": "small"} for k in range(2)]
    with pytest.raises(RunError, match="cannot write"):
        run_jobs("medcnn.data.phantom.patient:work", jobs, tmp_path, workers=2, progress=Silent(), what="")


def test_the_module_is_cheap_to_import() -> None:
    heavy = ("numpy", "scipy", "pydicom", "torch")
    code = f"import sys, medcnn.data.phantom; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_dciodvfy_finds_no_errors(cohort: Path) -> None:
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    checked = 0
    for row in rows(cohort / "series.csv"):
        path = sorted((cohort / row["path"]).glob("*.dcm"))[0]
        done = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in done.stderr + done.stdout, (row["series"], done.stderr)
        checked += 1
    assert checked >= 10
