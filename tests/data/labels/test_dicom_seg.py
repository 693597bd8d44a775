"""DICOM segmentations written by highdicom, read back to the same voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless

from medcnn.data.adapters.mask_labels import mask_schema
from medcnn.data.labels import read_label_map, read_mask
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef, LabelClass, LabelSchema, Mask

TWO = mask_schema(["liver", "tumour"])
OVERLAPPING = mask_schema(["liver", "tumour"], overlapping=True)


@pytest.fixture(scope="module")
def both(make: Any) -> Any:
    return [make.segment(1, "Liver"), make.segment(2, "Tumour", "AUTOMATIC", codes.SCT.Neoplasm)]


@pytest.fixture(scope="module")
def labels(make: Any) -> np.ndarray:
    found = np.zeros(make.shape, np.uint8)
    found[2:9, 3:8, 1:4] = 1
    found[4:6, 4:7, 2] = 2
    found[11, 0, 5] = 1
    return found


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_the_same_voxels_come_back(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any, kind: str) -> None:
    mask = make.seg(tmp_path / "s.dcm", series, labels, both, kind)
    assert pydicom.dcmread(tmp_path / "s.dcm").SegmentationType == kind
    found = read_label_map(mask, TWO, series.image)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.notes == ("1 of the labels were made by a program (AUTOMATIC): Tumour",)
    # The reading of another library, in the world's coordinates.
    volume = hd.seg.segread(tmp_path / "s.dcm").get_volume(combine_segments=True, skip_overlap_checks=True)
    index = np.argwhere(labels == 2)
    places = np.c_[index, np.ones(len(index))] @ np.asarray(series.image.affine).T @ np.diag([-1, -1, 1, 1])
    back = np.rint(places @ np.linalg.inv(volume.affine).T)[:, :3].astype(int)
    assert (volume.array[tuple(back.T)] == 2).all()


def test_segments_that_overlap(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any) -> None:
    pixels = np.stack([labels > 0, labels == 2], -1).astype(np.uint8)
    mask = make.seg(tmp_path / "s.dcm", series, pixels, both)
    np.testing.assert_array_equal(read_mask(mask, OVERLAPPING, series.image), np.moveaxis(pixels, -1, 0))
    with pytest.raises(ImageError, match=r"'liver' and 'tumour' of the mask overlap in 6 voxels") as error:
        read_mask(mask, TWO, series.image)
    assert "overlapping: true" in error.value.todo
    merged = Mask(mask.image, (("*", "lesion"),))
    np.testing.assert_array_equal(read_mask(merged, mask_schema(["lesion"]), series.image), labels > 0)


@pytest.mark.parametrize("fraction", ["PROBABILITY", "OCCUPANCY"])
@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_fractions_count_from_their_threshold(
    tmp_path: Path, series: Any, make: Any, fraction: str, syntax: Any
) -> None:
    values = np.zeros(make.shape, np.float32)
    values[1:5, 2, 3] = [0.1, 0.45, 0.5, 1.0]
    options: dict[str, Any] = {} if syntax is None else {"transfer_syntax_uid": syntax}
    mask = make.seg(
        tmp_path / "s.dcm", series, values, [make.segment(1, "Liver")], "FRACTIONAL",
        fractional_type=fraction, max_fractional_value=200, **options,
    )  # fmt: skip
    schema = mask_schema(["liver"])
    found = read_label_map(mask, schema, series.image)
    np.testing.assert_array_equal(found.labels, values >= 0.5)
    assert found.notes == (f"fractional ({fraction}, maximum 200): present from 0.5 of it on",)
    low = Mask(ImageRef(mask.image.paths, key="threshold=0.4"))
    np.testing.assert_array_equal(read_mask(low, schema, series.image), values >= 0.4)
    for key in ("threshold=2", "threshold=x", "volume"):
        with pytest.raises(ImageError, match="means nothing for a segmentation"):
            read_mask(Mask(ImageRef(mask.image.paths, key=key)), schema, series.image)


def test_segments_on_a_part_of_the_slices(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any) -> None:
    mask = make.seg(tmp_path / "s.dcm", series, labels[..., 1:4], both, slices=[1, 2, 3], omit_empty_frames=True)
    expected = labels.copy()
    expected[..., [0, 4, 5]] = 0
    np.testing.assert_array_equal(read_mask(mask, TWO, series.image), expected)


def test_a_segment_that_is_not_listed_is_not_annotated(tmp_path: Path, series: Any, make: Any, labels: Any) -> None:
    mask = make.seg(tmp_path / "s.dcm", series, (labels == 1).astype(np.uint8), [make.segment(1, "Liver")])
    np.testing.assert_array_equal(read_mask(mask, TWO, series.image), np.where(labels == 1, 1, 255))
    channels = read_mask(mask, OVERLAPPING, series.image)
    np.testing.assert_array_equal(channels[0], labels == 1)
    assert (channels[1] == 255).all()
    # Said to be absent where it is not listed.
    absent = Mask(mask.image, (("liver", "liver"), ("tumour", "tumour"), ("", "tumour")))
    np.testing.assert_array_equal(read_mask(absent, TWO, series.image), labels == 1)


def test_a_listed_segment_without_frames_is_absent(tmp_path: Path, series: Any, make: Any, both: Any) -> None:
    pixels = np.zeros((*make.shape, 2), np.uint8)
    pixels[3, 4, 2, 0] = 1
    found = read_mask(make.seg(tmp_path / "s.dcm", series, pixels, both), TWO, series.image)
    assert np.argwhere(found).tolist() == [[3, 4, 2]]


def test_segments_are_found_by_name_number_and_code(tmp_path: Path, series: Any, make: Any, labels: Any) -> None:
    segments = [make.segment(1, "Organ 5"), make.segment(2, "Thing", code=codes.SCT.Neoplasm)]
    mask = make.seg(tmp_path / "s.dcm", series, labels, segments)
    value = codes.SCT.Neoplasm.value
    for names in (
        (("organ*", "liver"), ("thing", "tumour")),
        (("1", "liver"), ("2", "tumour")),
        (("1", "liver"), (f"SCT:{value}", "tumour")),
        (("1", "liver"), (value, "tumour")),
    ):
        np.testing.assert_array_equal(read_mask(Mask(mask.image, names), TWO, series.image), labels)
    coded = LabelSchema((LabelClass(1, "x", code="SCT:10200004:Liver"), LabelClass(2, "y", code=f"SCT:{value}")))
    np.testing.assert_array_equal(read_mask(mask, coded, series.image), labels)
    by_number = mask_schema({"y": 2, "x": 1})
    np.testing.assert_array_equal(read_mask(mask, by_number, series.image), np.choose(labels, [0, 2, 1]))
    chosen = read_label_map(Mask(mask.image, (("organ*", "liver"),)), mask_schema(["liver"]), series.image)
    np.testing.assert_array_equal(chosen.labels, labels == 1)
    assert chosen.notes == ("segments left aside: Thing",)
    unsure = Mask(mask.image, (("organ*", "liver"), ("thing", "ignore")))
    np.testing.assert_array_equal(
        read_mask(unsure, mask_schema(["liver"]), series.image), np.choose(labels, [0, 1, 255])
    )


def test_names_that_fit_nothing_or_too_much(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any) -> None:
    mask = make.seg(tmp_path / "s.dcm", series, labels, both)
    with pytest.raises(ImageError, match="no segment of the mask is one of the labels spleen: it holds 'Liver', 'Tum"):
        read_mask(Mask(mask.image, (("spl*", "spleen"),)), mask_schema(["spleen"]), series.image)
    with pytest.raises(ImageError, match="the segment 'Liver' of the mask stands for 'liver' and 'tumour'"):
        read_mask(Mask(mask.image, (("l*", "liver"), ("*", "tumour"))), TWO, series.image)


def test_a_mask_of_another_series_grid(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any) -> None:
    mask = make.seg(tmp_path / "s.dcm", series, labels, both)
    affine = np.array(series.image.affine)
    away = Image(series.image.array, affine + np.eye(4, k=3) * 5, series.image.spacing)
    with pytest.raises(ImageError, match="the mask lies in another grid than its image") as error:
        read_mask(mask, TWO, away)
    assert "it lies up to 5 mm beside the image" in error.value.what
    assert "task.resample" in error.value.todo
    # Twice as fine in the plane, over the same region.
    fine = affine @ np.diag([0.5, 0.5, 1, 1])
    fine[:3, 3] += affine[:3, :3] @ [-0.25, -0.25, 0]
    target = Image(np.zeros((1, 24, 20, 6)), fine, (0.4, 0.625, 2.5))
    found = read_label_map(mask, TWO, target, resample=True)
    np.testing.assert_array_equal(found.labels, labels.repeat(2, 0).repeat(2, 1))
    assert found.notes[-1].startswith("the mask was resampled: ")


def test_a_flipped_image_is_named(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any) -> None:
    pixels = labels.copy()
    pixels[0, 0, 0] = 1  # on the first and the last slice
    mask = make.seg(tmp_path / "s.dcm", series, pixels, both)
    flip = np.diag([1.0, -1, 1, 1])
    flip[1, 3] = make.shape[1] - 1
    turned = Image(series.image.array[:, :, ::-1], np.asarray(series.image.affine) @ flip, series.image.spacing)
    with pytest.raises(ImageError, match="it is flipped along axis 1"):
        read_mask(mask, TWO, turned)
    np.testing.assert_array_equal(read_mask(mask, TWO, turned, resample=True), pixels[:, ::-1])


def test_frames_outside_of_the_series(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any) -> None:
    mask = make.seg(tmp_path / "s.dcm", series, labels, both)
    part = Image(series.image.array[..., :3], series.image.affine, series.image.spacing)
    with pytest.raises(ImageError, match=r"frames of the mask lie outside of the image's 3 slices"):
        read_mask(mask, TWO, part)


def test_one_slice_takes_its_own_frames(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any) -> None:
    mask = make.seg(tmp_path / "s.dcm", series, labels, both)
    affine = np.array(series.image.affine)
    affine[:3, 3] += affine[:3, 2] * 2
    one = Image(series.image.array[..., 2], affine, series.image.spacing[:2])
    np.testing.assert_array_equal(read_mask(mask, TWO, one), labels[..., 2])


def test_a_segmentation_without_places(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any) -> None:
    make.seg(tmp_path / "s.dcm", series, labels[..., 2:3], both, slices=[2])
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    for item in dataset.PerFrameFunctionalGroupsSequence:
        del item.PlanePositionSequence
    dataset.save_as(tmp_path / "t.dcm")
    mask = Mask(ImageRef((str(tmp_path / "t.dcm"),)))
    flat = Image(np.zeros((1, *make.shape[:2])))
    np.testing.assert_array_equal(read_mask(mask, TWO, flat), labels[..., 2])
    with pytest.raises(ImageError, match="another grid than its image: it has 12x10, the image 10x12"):
        read_mask(mask, TWO, Image(np.zeros((1, 10, 12))))
    with pytest.raises(ImageError, match="do not say where they lie"):
        read_mask(mask, TWO, series.image)


def test_the_liver_of_pydicoms_own_file() -> None:
    path = get_testdata_file("liver_1frame.dcm")
    dataset = pydicom.dcmread(path)
    names = [s.SegmentLabel for s in dataset.SegmentSequence]
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine[:, [2, 1, 0, 3]]
    array = volume.array.transpose(2, 1, 0)
    image = Image(np.zeros((1, *array.shape)), affine, tuple(np.linalg.norm(affine[:3, :3], axis=0)))
    if array.shape[2] == 1:
        image = Image(image.array[..., 0], affine, image.spacing)
    found = read_mask(
        Mask(ImageRef((str(path),))), mask_schema({"organ": dataset.SegmentSequence[0].SegmentNumber}), image
    )
    assert found.any(), names
    np.testing.assert_array_equal(found.reshape(array.shape) == 1, array == dataset.SegmentSequence[0].SegmentNumber)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: setattr(d, "SegmentationType", "VOXELS"), "the segmentation is of the kind VOXELS"),
        (lambda d: setattr(d.SegmentSequence[1], "SegmentNumber", 1), "two segments have the number 1"),
        (lambda d: delattr(d.SegmentSequence[0], "SegmentNumber"), "a segment of the mask has no number"),
        (lambda d: d.SegmentSequence.pop(1), "names the segment 2, which is not listed"),
        (lambda d: setattr(d, "PixelData", d.PixelData[:4]), "mask cannot be read"),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, series: Any, make: Any, both: Any, labels: Any, change: Any, words: str
) -> None:
    make.seg(tmp_path / "s.dcm", series, labels, both)
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    change(dataset)
    dataset.save_as(tmp_path / "t.dcm")
    with pytest.raises(ImageError, match=words) as error:
        read_mask(Mask(ImageRef((str(tmp_path / "t.dcm"),))), TWO, series.image)
    assert error.value.where == str(tmp_path / "t.dcm")


def test_several_files_add_up_to_one_mask(tmp_path: Path, series: Any, make: Any, labels: Any) -> None:
    liver = make.seg(tmp_path / "a.dcm", series, (labels == 1).astype(np.uint8), [make.segment(1, "Liver")])
    tumour = make.seg(tmp_path / "b.dcm", series, (labels == 2).astype(np.uint8), [make.segment(1, "Tumour")])
    other = make.seg(tmp_path / "c.dcm", series, (labels == 2).astype(np.uint8), [make.segment(1, "Rib")])
    paths = [*liver.image.paths, *tumour.image.paths, *other.image.paths]
    np.testing.assert_array_equal(read_mask(Mask(ImageRef(tuple(paths[:2]))), TWO, series.image), labels)
    # What none of the files lists is not annotated.
    three = read_mask(Mask(ImageRef(tuple(paths[:2]))), mask_schema(["liver", "tumour", "vein"]), series.image)
    np.testing.assert_array_equal(three, np.where(labels == 0, 255, labels))
    # A file that holds none of the labels is passed over; if all are so, that is an error.
    names = (("liver", "liver"), ("tumour", "tumour"))
    np.testing.assert_array_equal(read_mask(Mask(ImageRef(tuple(paths)), names), TWO, series.image), labels)
    with pytest.raises(ImageError, match="no segment of the mask is one of the labels liver, tumour: it holds 'Rib'"):
        read_mask(Mask(ImageRef((paths[2], paths[2])), names), TWO, series.image)
    again = make.seg(tmp_path / "d.dcm", series, (labels > 0).astype(np.uint8), [make.segment(1, "Liver")])
    with pytest.raises(ImageError, match="overlap in 6 voxels"):
        read_mask(Mask(ImageRef((*again.image.paths, paths[1]))), TWO, series.image)
    found = read_mask(Mask(ImageRef((*again.image.paths, paths[1]))), OVERLAPPING, series.image)
    np.testing.assert_array_equal(found, [labels > 0, labels == 2])


def test_a_mask_of_another_series_is_refused(tmp_path: Path, series: Any, make: Any, both: Any, labels: Any) -> None:
    mask = make.seg(tmp_path / "s.dcm", series, labels, both)
    np.testing.assert_array_equal(read_mask(mask, TWO, series.image, drawn_on=series.ref), labels)
    sister = make.series(tmp_path / "sister", series="1.2.826.0.1.3680043.8.498.77")
    with pytest.raises(ImageError, match="refers to another series than that of the image") as error:
        read_mask(mask, TWO, sister.image, drawn_on=sister.ref)
    assert "task.resample: true" in error.value.todo
    found = read_label_map(mask, TWO, sister.image, drawn_on=sister.ref, resample=True)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.notes[0] == "the mask was drawn on another series in the same frame of reference"
    stranger = make.series(
        tmp_path / "stranger", series="1.2.826.0.1.3680043.8.498.78", frame="1.2.826.0.1.3680043.8.498.79"
    )
    for resample in (False, True):
        with pytest.raises(ImageError, match="another frame of reference"):
            read_mask(mask, TWO, stranger.image, drawn_on=stranger.ref, resample=resample)


def test_an_ordinary_dicom_series_is_a_mask_too(tmp_path: Path, series: Any) -> None:
    values = np.asarray(series.image.array[0]).astype(int)
    names = tuple((str(v), "odd" if v % 2 else "background") for v in np.unique(values))
    found = read_mask(Mask(series.ref, names), mask_schema(["odd"]), series.image)
    np.testing.assert_array_equal(found, values % 2)
