"""Masks in a tree of DICOM: matched to the series that they refer to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medcnn.data.adapters.dicom_tree import dicom_tree
from medcnn.data.images import read_case
from medcnn.data.labels import read_mask
from medcnn.errors import DataError
from medcnn.types import Case, Dataset, ImageRef, Mask

SQUARE = np.array([[1, 1], [5, 1], [5, 4], [1, 4]]) + 0.5
LABELS: dict[str, Any] = {"liver": "Liver*", "tumour": ("GTV*", "Tumour")}


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path, series: Any) -> Path:
    shutil.copytree(series.folder, tmp_path / "tree" / "ct")
    return tmp_path / "tree"


@pytest.fixture(scope="module")
def labels(make: Any) -> np.ndarray:
    found = np.zeros(make.shape, np.uint8)
    found[2:9, 3:8, 1:4] = 1
    found[4:6, 4:7, 2] = 2
    return found


def load(root: Path, **options: Any) -> Dataset:
    return dicom_tree(root, workers=0, **{"mask_labels": LABELS, **options})


def mask_of(case: Case) -> Mask:
    mask = case.target(Mask)
    assert mask is not None
    return mask


def label_map(dataset: Dataset, case: Case) -> np.ndarray:
    schema = dataset.labels["mask"]
    return read_mask(mask_of(case), schema, read_case(case), drawn_on=case.images[0])


def reasons(dataset: Dataset) -> dict[str, tuple[str, bool]]:
    return {e.case: (e.reason, e.aside) for e in dataset.exclusions}


def test_a_segmentation_finds_its_series(root: Path, series: Any, make: Any, labels: Any) -> None:
    segments = [make.segment(1, "Liver left"), make.segment(2, "Tumour", "AUTOMATIC")]
    make.seg(root / "any.dcm", series, labels, segments)
    make.series(root / "other", series="1.2.826.0.1.3680043.8.498.70")
    dataset = load(root)
    assert dataset.labels["mask"].names == ("liver", "tumour")
    assert [c.id.split("/")[0] for c in dataset] == ["ct", "other"]
    np.testing.assert_array_equal(label_map(dataset, dataset.cases[0]), labels)
    assert dataset.cases[1].target(Mask) is None
    assert not dataset.exclusions
    assert dataset.facts["notes"] == ("1 of the labels were made by a program (AUTOMATIC): Tumour (1)",)


def test_a_structure_set_finds_its_series(root: Path, series: Any, make: Any) -> None:
    rois = [
        make.roi("liver", [(SQUARE, 2)]),
        make.roi("GTV 1", [(SQUARE, 4)]),
        make.roi("Body", []),
        make.roi("X", [(SQUARE, 1)]),
    ]
    make.rtstruct(root / "rt.dcm", series, rois)
    dataset = load(root)
    found = label_map(dataset, dataset.cases[0])
    assert [int((found == k).sum()) for k in (1, 2)] == [12, 12]
    assert dataset.facts["notes"] == (
        "1 structures have no contours, as if they were not listed: Body (1)",
        "1 segments or structures are left aside: X (1)",
    )


def test_without_labels_nothing_is_looked_for(root: Path, series: Any, make: Any, labels: Any) -> None:
    make.seg(root / "any.dcm", series, labels, [make.segment(1, "Liver"), make.segment(2, "Tumour")])
    dataset = load(root, mask_labels=None)
    assert "mask" not in dataset.labels
    assert dataset.cases[0].target(Mask) is None
    assert set(reasons(dataset).values()) == {("segmentation", True)}


def test_slices_take_their_own_part(root: Path, series: Any, make: Any, labels: Any) -> None:
    make.seg(root / "any.dcm", series, labels, [make.segment(1, "Liver"), make.segment(2, "Tumour")])
    dataset = load(root, slices=6)
    found = np.stack([label_map(dataset, c) for c in dataset], -1)
    order = np.argsort([pydicom.dcmread(c.images[0].paths[0]).InstanceNumber for c in dataset])
    np.testing.assert_array_equal(found[..., order], labels)


def test_a_mask_whose_series_is_not_there(root: Path, series: Any, make: Any, labels: Any) -> None:
    segments = [make.segment(1, "Liver"), make.segment(2, "Tumour")]
    make.seg(root / "any.dcm", series, labels, segments)
    gone = make.series(root.parent / "gone", series="1.2.826.0.1.3680043.8.498.71")
    make.seg(root / "lost.dcm", gone, labels, segments)
    make.rtstruct(root / "rt.dcm", series, [make.roi("liver", [(SQUARE, 2)])], refers="1.2.3")
    dataset = load(root)
    assert reasons(dataset) == {
        "lost.dcm": ("the series that this segmentation refers to is not there", False),
        "rt.dcm": ("the series that this structure set refers to is not there", False),
    }
    (root / "any.dcm").unlink()
    with pytest.raises(DataError, match="2 masks refer to series that are not in the folder"):
        load(root)
    (root / "lost.dcm").unlink()
    (root / "rt.dcm").unlink()
    with pytest.raises(DataError, match="there is no segmentation or structure set in the folder"):
        load(root)


def test_a_mask_without_the_labels_makes_its_case_unusable(root: Path, series: Any, make: Any, labels: Any) -> None:
    two = make.series(root / "two", series="1.2.826.0.1.3680043.8.498.72")
    make.seg(root / "any.dcm", series, labels > 0, [make.segment(1, "Liver")])
    make.seg(root / "rib.dcm", two, labels > 0, [make.segment(1, "Rib")])
    dataset = load(root)
    assert [c.id.split("/")[0] for c in dataset] == ["ct"]
    (reason, aside), *_ = [v for k, v in reasons(dataset).items() if k.startswith("two")]
    assert "no segment of the mask is one of the labels liver, tumour: it holds 'Rib'" in reason
    assert not aside
    (root / "any.dcm").unlink()
    with pytest.raises(DataError, match="no image has a mask that can be used; the first: no segment of the mask"):
        load(root)


def test_another_frame_of_reference(root: Path, series: Any, make: Any) -> None:
    make.rtstruct(root / "rt.dcm", series, [make.roi("liver", [(SQUARE, 2)])], frame="1.2.3")
    with pytest.raises(DataError, match="another frame of reference"):
        load(root)


@pytest.fixture
def several(root: Path, series: Any, make: Any, labels: Any) -> Path:
    """The liver by one file, the tumour by another; a structure set of both."""
    make.seg(root / "a.dcm", series, (labels == 1).astype(np.uint8), [make.segment(1, "Liver")])
    make.seg(root / "b.dcm", series, (labels == 2).astype(np.uint8), [make.segment(1, "Tumour")])
    for k, name in enumerate(("a.dcm", "b.dcm")):
        dataset = pydicom.dcmread(root / name)
        dataset.SeriesDate = f"2020010{k + 1}"
        dataset.save_as(root / name)
        os.utime(root / name, (10**9, 10**9))
    make.rtstruct(root / "rt.dcm", series, [make.roi("liver", [(SQUARE, 2)])])
    return root


def test_several_masks_of_one_series(several: Path, labels: Any) -> None:
    with pytest.raises(DataError, match=r"3 masks are drawn on it: .*; say which by the option several_masks"):
        load(several)
    one = {"mask_kind": "segmentation"}
    merged = load(several, several_masks="merge", **one)
    np.testing.assert_array_equal(label_map(merged, merged.cases[0]), labels)
    assert reasons(merged) == {"rt.dcm": ("structure set", True)}
    readers = mask_of(load(several, several_masks="readers", **one).cases[0])
    assert [Path(r.paths[0]).name for r in (readers.image, *readers.readers)] == ["a.dcm", "b.dcm"]
    newest = load(several, several_masks="last", unlisted="absent", **one)
    np.testing.assert_array_equal(label_map(newest, newest.cases[0]), np.where(labels == 2, 2, 0))
    sets = load(several, mask_kind="structure set")
    assert Path(mask_of(sets.cases[0]).image.paths[0]).name == "rt.dcm"


def test_a_label_that_is_not_listed(root: Path, series: Any, make: Any, labels: Any) -> None:
    make.seg(root / "a.dcm", series, (labels == 1).astype(np.uint8), [make.segment(1, "Liver")])
    unsure = load(root)
    np.testing.assert_array_equal(label_map(unsure, unsure.cases[0]), np.where(labels == 1, 1, 255))
    sure = load(root, unlisted="absent")
    np.testing.assert_array_equal(label_map(sure, sure.cases[0]), labels == 1)


def test_a_threshold_goes_with_the_mask(root: Path, series: Any, make: Any) -> None:
    values = np.zeros(make.shape, np.float32)
    values[1:4, 2, 3] = [0.2, 0.4, 0.9]
    make.seg(root / "a.dcm", series, values, [make.segment(1, "Liver")], "FRACTIONAL", max_fractional_value=100)
    assert [int((label_map(d, d.cases[0]) == 1).sum()) for t in (0.5, 0.3) for d in [load(root, threshold=t)]] == [1, 2]
    with pytest.raises(DataError, match="the threshold is 0"):
        load(root, threshold=0)


def test_radiographs_of_one_series_have_masks_of_their_own(tmp_path: Path, series: Any, make: Any) -> None:
    # Single images: each mask is of the image that it names.
    root = tmp_path / "films"
    root.mkdir()
    for k in range(2):
        film = pydicom.dcmread(series.files[k])
        film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
        film.Modality, film.SOPInstanceUID = "DX", f"1.2.9.{k}"
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "FrameOfReferenceUID"):
            delattr(film, keyword)
        film.save_as(root / f"film{k}.dcm")
        pixels = np.zeros((*make.shape[:2], 1), np.uint8)
        pixels[k : k + 3, 4] = 1
        place = root / f"seg{k}.dcm"
        make.seg(place, series, pixels, [make.segment(1, "Liver")], slices=[k])
        seg = pydicom.dcmread(place)
        seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID = f"1.2.9.{k}"
        source = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
        source.ReferencedSOPInstanceUID = f"1.2.9.{k}"
        del seg.FrameOfReferenceUID
        seg.save_as(place)
    dataset = load(root, mask_labels={"liver": "Liver"})
    assert [c.id for c in dataset] == ["film0.dcm", "film1.dcm"]
    for k, case in enumerate(dataset):
        assert mask_of(case).image == ImageRef((str(root / f"seg{k}.dcm"),), "dicom")
        found = label_map(dataset, case)
        assert np.argwhere(found).tolist() == [[k, 4], [k + 1, 4], [k + 2, 4]]


@pytest.mark.parametrize("wanted", [{"liver": ()}, {"liver": " "}])
def test_labels_that_stand_for_nothing(root: Path, wanted: Any) -> None:
    with pytest.raises(DataError, match="nothing stands for the label 'liver'"):
        load(root, mask_labels=wanted)
