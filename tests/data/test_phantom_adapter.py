"""The generated cohort as cases of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medcnn.data.adapters.phantom import CLASSES, evenly, phantom
from medcnn.data.dataset import load_dataset
from medcnn.data.images import read_case
from medcnn.data.labels import read_mask
from medcnn.data.phantom import make_phantom
from medcnn.data.split import overlap
from medcnn.errors import DataError, RecipeError
from medcnn.progress import Silent
from medcnn.recipe.options import check_options
from medcnn.recipe.schema import DataSection
from medcnn.types import Boxes, Case, ClassLabel, Dataset, Mask, Value

OPTIONS = {"patients": 5, "seed": 3, "workers": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The place is that of the cohort's tests too: whoever comes first makes it.
    found = tmp_path_factory.getbasetemp() / "phantoms"
    phantom(found, **OPTIONS)  # type: ignore[arg-type]
    return found


def load(root: Path, **options: object) -> Dataset:
    return phantom(root, **{**OPTIONS, **options})  # type: ignore[arg-type]


def label(dataset: Dataset, case: Case) -> str:
    found = case.target(ClassLabel)
    assert found is not None
    assert found.index is not None
    return dataset.labels["class"].names[found.index]


def test_slices_and_films_become_cases_with_a_body_part(root: Path) -> None:
    dataset = load(root)
    assert dataset.labels["class"].names == CLASSES
    assert {label(dataset, c) for c in dataset} == set(CLASSES)
    assert dataset.patients_known
    assert len({c.id for c in dataset}) == len(dataset)
    per_series: dict[str, int] = {}
    for case in dataset:
        assert case.patient == case.id.split("-")[0]
        assert len(case.images) == 1
        assert len(case.images[0].paths) == 1
        assert set(case.attributes) == {"sex", "age", "scanner", "modality"}
        per_series["-".join(case.id.split("-")[:2])] = per_series.get("-".join(case.id.split("-")[:2]), 0) + 1
    assert all(n == (4 if "CT" in name else 1) for name, n in per_series.items())


def test_cases_can_be_read(root: Path) -> None:
    dataset = load(root, slices=1)
    for case in dataset:
        image = read_case(case)
        assert image.array.ndim == 3
        assert image.header["modality"] == case.attributes["modality"]


def test_a_cohort_of_another_seed_holds_nobody_of_the_first(root: Path, tmp_path: Path) -> None:
    one, two = load(root), load(tmp_path, patients=1, seed=4)
    assert not overlap(one.cases, {}, two.cases, {}).notes()
    assert overlap(one.cases, {}, one.cases, {}).studies


def test_localizers_are_listed_not_used(root: Path) -> None:
    dataset = load(root)
    assert dataset.exclusions
    assert {e.reason for e in dataset.exclusions} == {"localizer"}
    assert all(Path(e.path).is_dir() for e in dataset.exclusions)
    assert not any("LOC" in c.id for c in dataset)


def test_the_binary_label_is_one_where_the_series_is_of_the_abdomen(root: Path) -> None:
    parts, dataset = load(root), load(root, label="abdomen")
    assert dataset.labels["class"].names == ("other", "abdomen")
    assert dataset.labels["class"].positive == "abdomen"
    for a, b in zip(parts, dataset, strict=True):
        assert a.id == b.id
        assert (label(parts, a) == "abdomen") == (label(dataset, b) == "abdomen")


def test_a_slice_has_a_lesion_where_its_mask_has_one(root: Path) -> None:
    dataset = load(root, label="lesion", slices=None, images="ct")
    volumes = {c.id: c for c in load(root, label="lesion", volumes=True, images="ct")}
    masks = {name: _lesion_mask(case) for name, case in volumes.items()}
    assert {label(dataset, c) for c in dataset} == {"none", "lesion"}
    for case in dataset:
        series, index = case.id.rsplit("-", 1)
        assert (label(dataset, case) == "lesion") == bool(masks[series][..., int(index)].any())


def _lesion_mask(case: Case) -> np.ndarray:
    found = case.target(Mask)
    assert found is not None
    return np.asarray(nibabel.load(found.image.paths[0].replace("-organs", "-lesions")).dataobj)


def test_volumes_carry_masks_and_boxes_in_their_own_grid(root: Path) -> None:
    dataset = load(root, volumes=True, images="ct")
    labels = dataset.labels["mask"]
    assert [(c.value, c.name) for c in labels.classes[:2]] == [(1, "brain"), (2, "lungs")]
    boxed = 0
    for case in dataset:
        mask, boxes = case.target(Mask), case.target(Boxes)
        assert mask is not None
        assert boxes is not None
        assert boxes.corners.dtype == np.float32
        assert boxes.corners.shape == (len(boxes.labels), 6)
        boxed += len(boxes.labels)
        stored = np.asarray(nibabel.load(mask.image.paths[0]).dataobj)
        shape = stored.shape
        assert shape[2] == len(case.images[0].paths)
        np.testing.assert_array_equal(read_mask(mask, labels, read_case(case)), stored)
        assert (boxes.corners[:, 3:] <= shape).all()
        assert (boxes.corners[:, :3] >= 0).all()
    assert boxed > 0


def test_organs_are_chosen_and_merged(root: Path) -> None:
    options = {"volumes": True, "images": "ct"}
    whole, chosen = (
        load(root, **options),
        load(root, mask_labels={"belly": ("liver", "spleen"), "bone": "bone"}, **options),
    )
    assert chosen.labels["mask"].names == ("belly", "bone")
    first, second = whole.cases[0], chosen.cases[0]
    image = read_case(first)
    before = read_mask(first.target(Mask), whole.labels["mask"], image)  # type: ignore[arg-type]
    after = read_mask(second.target(Mask), chosen.labels["mask"], image)  # type: ignore[arg-type]
    names = ("", *whole.labels["mask"].names)
    lookup = np.array([{"liver": 1, "spleen": 1, "bone": 2}.get(name, 0) for name in names])
    np.testing.assert_array_equal(after, lookup[before])


def test_films_carry_flat_boxes(root: Path) -> None:
    for case in load(root, images="radiographs"):
        boxes = case.target(Boxes)
        assert boxes is not None
        assert boxes.corners.shape[1] == 4


def test_the_width_of_the_body_is_a_value_seen_in_the_image(root: Path) -> None:
    dataset = load(root, label="body_width", images="ct")
    assert "class" not in dataset.labels
    assert dataset.facts["unit"] == "mm"
    for case in dataset:
        found = case.target(Value)
        assert found is not None
        assert found.value is not None
        image = read_case(case)
        assert image.spacing is not None
        assert 0 < found.value <= image.spacing[0] * image.array.shape[1] + 0.1


def test_options_are_derived_from_the_adapter(root: Path) -> None:
    found = check_options("adapters", "phantom", {"label": "abdomen", "slices": 2})
    assert found["label"] == "abdomen"
    assert found["patients"] == 60


def test_the_title_of_the_archive_or_what_was_examined_is_the_label(root: Path, tmp_path: Path) -> None:
    (made,) = root.iterdir()
    copy = tmp_path / made.name
    shutil.copytree(made, copy, ignore=shutil.ignore_patterns("dicom", "masks"))
    text = (copy / "series.csv").read_text()
    name = next(row.split(",")[0] for row in text.splitlines() if ",ct,CT,abdomen,abdomen," in row)
    assert text.count(f"{name},") == 1
    lines = [s.replace(",abdomen,abdomen,", ",abdomen,head,") if s.startswith(name) else s for s in text.splitlines()]
    (copy / "series.csv").write_text("\n".join(lines) + "\n")
    for options, found in (({}, ("head", "other")), ({"as_filed": False}, ("abdomen", "abdomen"))):
        for kind, wanted in zip(("body_part", "abdomen"), found, strict=True):
            dataset = load(tmp_path, label=kind, **options)
            assert {label(dataset, c) for c in dataset if c.id.startswith(name)} == {wanted}


def test_the_progress_of_a_dataset_is_that_of_the_making(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def made(folder: Path, **options: Any) -> Path:
        seen.append(options["progress"])
        return make_phantom(folder, **options)

    monkeypatch.setattr("medcnn.data.adapters.phantom.make_phantom", made)
    section = DataSection.model_validate({"dataset": "phantom", "root": str(root), "options": OPTIONS})
    mine = Silent()
    assert len(load_dataset(section, mine)) > 0
    assert seen == [mine]
    assert len(load_dataset(section)) > 0


def test_the_progress_is_no_option_of_a_recipe() -> None:
    with pytest.raises(RecipeError, match="progress"):
        check_options("adapters", "phantom", {"progress": None})


def test_no_slices_make_no_sense(root: Path) -> None:
    with pytest.raises(DataError, match="slices"):
        load(root, slices=0)


def test_a_damaged_cohort_says_so(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    next((tmp_path / "copy").rglob("images.csv")).unlink()
    with pytest.raises(DataError, match="damaged"):
        load(tmp_path / "copy")


@pytest.mark.parametrize(
    ("count", "wanted", "found"),
    [(10, 2, [2, 7]), (4, 4, [0, 1, 2, 3]), (3, 8, [0, 1, 2]), (5, None, [0, 1, 2, 3, 4]), (9, 1, [4])],
)
def test_slices_are_taken_at_even_distances(count: int, wanted: int | None, found: list[int]) -> None:
    assert evenly(count, wanted) == found
