"""RT structure sets: which voxels a contour encloses, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.path import Path as Polygon
from pydicom.data import get_testdata_file

from medcnn.data.adapters.mask_labels import mask_schema
from medcnn.data.labels import read_label_map, read_mask
from medcnn.data.labels.contours import fill
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef, Mask

SQUARE = np.array([[1, 1], [5, 1], [5, 4], [1, 4]]) + 0.5
HOLE = np.array([[2, 2], [4, 2], [4, 3], [2, 3]]) + 0.5
LIVER = mask_schema(["liver"])


def named(mask: Mask, *names: tuple[str, str]) -> Mask:
    return Mask(mask.image, names)


def test_a_voxel_is_inside_if_its_centre_is() -> None:
    found = fill([np.array([[1.4, 0.6], [3.6, 0.6], [3.6, 2.4], [1.4, 2.4]])], (6, 5))
    assert np.argwhere(found).tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]
    assert not fill([np.array([[1.1, 1.1], [1.9, 1.1], [1.5, 1.9]])], (6, 5)).any()
    assert fill([np.array([[-9.0, -9], [99, -9], [99, 99], [-9, 99]])], (6, 5)).all()


def test_neighbours_that_share_an_edge_share_no_voxel() -> None:
    first = np.array([[0.0, 0], [2, 0], [2, 3], [0, 3]])
    second = np.array([[2.0, 0], [4, 0], [4, 3], [2, 3]])
    a, b = fill([first], (6, 5)), fill([second], (6, 5))
    assert a.sum() == b.sum() == 6
    assert not (a & b).any()
    # As one: their common edge cancels.
    np.testing.assert_array_equal(fill([first, second], (6, 5)), a | b)


def test_holes_by_xor_and_by_keyhole_are_the_same() -> None:
    xor = fill([SQUARE, HOLE], (8, 7))
    assert xor.sum() == 12 - 2
    corner, inner = SQUARE[:1], HOLE[:1]
    keyhole = np.concatenate([SQUARE, corner, inner, HOLE[::-1], corner])
    np.testing.assert_array_equal(fill([keyhole], (8, 7)), xor)
    # An island inside of the hole is inside again.
    island = np.array([[2.6, 2.6], [3.4, 2.6], [3.4, 3.4], [2.6, 3.4]])
    assert fill([SQUARE, HOLE, island], (8, 7)).sum() == 11


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(3, 9), st.just(2)),
        elements=st.floats(-2, 14, width=32, allow_subnormal=False),
    )
)
def test_simple_polygons_are_matplotlibs(points: np.ndarray) -> None:
    # Sorted by angle around its middle a polygon does not cross itself.
    middle = points.mean(0)
    order = np.argsort(np.arctan2(*(points - middle).T), kind="stable")
    points = points[order] + 0.000137
    grid = np.stack(np.meshgrid(np.arange(12), np.arange(11), indexing="ij"), -1).reshape(-1, 2)
    wanted = Polygon(np.concatenate([points, points[:1]]), closed=True)
    inside = wanted.contains_points(grid).reshape(12, 11)
    # A centre on an edge belongs to one side, and which one is each library's own choice.
    start, end = points, np.roll(points, -1, 0)
    along = end - start
    share = ((grid[:, None] - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
    nearest = start + np.clip(share, 0, 1)[..., None] * along
    near = (np.linalg.norm(grid[:, None] - nearest, axis=-1) < 1e-3).any(1)
    differing = (fill([points], (12, 11)) != inside) & ~near.reshape(12, 11)
    assert not differing.any()


def test_contours_lie_on_their_slices_and_axes(tmp_path: Path, series: Any, make: Any) -> None:
    mask = make.rtstruct(tmp_path / "s.dcm", series, [make.roi("Liver", [(SQUARE, 2), (HOLE, 2), (SQUARE, 4)])])
    found = read_mask(mask, LIVER, series.image)
    expected = np.zeros(make.shape, np.uint8)
    expected[2:6, 2:5, [2, 4]] = 1
    expected[3:5, 3, 2] = 0
    np.testing.assert_array_equal(found, expected)


def test_names_by_patterns_and_what_is_left_aside(tmp_path: Path, series: Any, make: Any) -> None:
    rois = [
        make.roi("GTV_primary", [(HOLE, 1)], algorithm="AUTOMATIC"),
        make.roi("gtv node 2", [(HOLE, 3)]),
        make.roi("BODY", [(SQUARE, 1)]),
        make.roi("Heart", []),
        make.roi("Couch", [([[0, 0, 0], [1, 1, 1]], 0)], kind="OPEN_PLANAR"),
    ]
    mask = make.rtstruct(tmp_path / "s.dcm", series, rois)
    found = read_label_map(named(mask, ("GTV*", "tumour")), mask_schema(["tumour"]), series.image)
    assert found.labels.sum() == 4
    assert sorted(set(np.argwhere(found.labels)[:, 2].tolist())) == [1, 3]
    assert (
        found.notes
        == (
            "structures without contours, as if not listed: Heart",
            "1 of the labels were made by a program (AUTOMATIC): GTV_primary",
            "structures left aside: BODY, Couch",
            "gtv node 2 is drawn" if False else "structures left aside: BODY, Couch",
        )[:3]
    )
    # A structure that was never drawn is not annotated.
    both = named(mask, ("body", "body"), ("heart", "heart"))
    labels = read_mask(both, mask_schema(["body", "heart"]), series.image)
    assert set(np.unique(labels)) == {1, 255}
    channels = read_mask(both, mask_schema(["body", "heart"], overlapping=True), series.image)
    assert (channels[1] == 255).all()
    assert set(np.unique(channels[0])) == {0, 1}


def test_structures_that_overlap(tmp_path: Path, series: Any, make: Any) -> None:
    rois = [make.roi("Liver", [(SQUARE, 2)]), make.roi("Tumour", [(HOLE, 2)])]
    mask = make.rtstruct(tmp_path / "s.dcm", series, rois)
    with pytest.raises(ImageError, match="'liver' and 'tumour' of the mask overlap in 2 voxels"):
        read_mask(mask, mask_schema(["liver", "tumour"]), series.image)
    found = read_mask(mask, mask_schema(["liver", "tumour"], overlapping=True), series.image)
    assert found.reshape(2, -1).sum(1).tolist() == [12, 2]


def test_repeated_names(tmp_path: Path, series: Any, make: Any) -> None:
    rois = [make.roi("Liver", [(SQUARE, 2)]), make.roi("Liver", [(HOLE, 2)]), make.roi("Liver", [])]
    mask = make.rtstruct(tmp_path / "s.dcm", series, rois)
    with pytest.raises(ImageError, match=r"several structures are called 'Liver' \(numbers 1, 2\)") as error:
        read_mask(mask, LIVER, series.image)
    assert "by its number" in error.value.todo
    assert read_mask(named(mask, ("2", "liver")), LIVER, series.image).sum() == 2


@pytest.mark.parametrize(
    ("contours", "kind", "words"),
    [
        ([([[1, 1, 2]], 2)], "POINT", "contour of the type POINT, which encloses nothing"),
        ([(SQUARE, 2)], "OPEN_PLANAR", "contour of the type OPEN_PLANAR"),
        ([(SQUARE, 2)], "OPEN_NONPLANAR", "contour of the type OPEN_NONPLANAR"),
        ([(SQUARE, 2.4)], "CLOSED_PLANAR", r"off the slices of the image \(1\.00 mm beside one\)"),
        ([(SQUARE, 6)], "CLOSED_PLANAR", "outside of the image's 6 slices"),
        ([(SQUARE, -1)], "CLOSED_PLANAR", "outside of the image's 6 slices"),
        (
            [([[1, 1, 1], [5, 1, 1], [5, 1, 3], [1, 1, 3]], 0)],
            "CLOSED_PLANAR",
            r"across the slices of the image \(5\.0 mm\)",
        ),
    ],
)
def test_contours_that_cannot_be_used(
    tmp_path: Path, series: Any, make: Any, contours: Any, kind: str, words: str
) -> None:
    mask = make.rtstruct(tmp_path / "s.dcm", series, [make.roi("Liver", contours, kind)])
    with pytest.raises(ImageError, match=words):
        read_mask(mask, LIVER, series.image)


def test_rounded_positions_are_on_the_slice(tmp_path: Path, series: Any, make: Any) -> None:
    mask = make.rtstruct(tmp_path / "s.dcm", series, [make.roi("Liver", [(SQUARE, 2.1)])])
    assert read_mask(mask, LIVER, series.image)[..., 2].sum() == 12


def test_every_second_slice_is_said(tmp_path: Path, series: Any, make: Any) -> None:
    mask = make.rtstruct(tmp_path / "s.dcm", series, [make.roi("Liver", [(SQUARE, 1), (SQUARE, 3), (SQUARE, 5)])])
    notes = read_label_map(mask, LIVER, series.image).notes
    assert notes == ("Liver is drawn on one slice in 2 alone: the others are empty",)


def test_one_slice_takes_its_own_contours(tmp_path: Path, series: Any, make: Any) -> None:
    mask = make.rtstruct(tmp_path / "s.dcm", series, [make.roi("Liver", [(SQUARE, 2), (HOLE, 3)])])
    affine = np.array(series.image.affine)
    affine[:3, 3] += affine[:3, 2] * 3
    one = Image(series.image.array[..., 3], affine, series.image.spacing[:2])
    assert read_mask(mask, LIVER, one).sum() == 2
    with pytest.raises(ImageError, match="does not say where it lies, so that contours cannot"):
        read_mask(mask, LIVER, Image(one.array))


def test_the_series_and_the_frame_of_reference_are_checked(tmp_path: Path, series: Any, make: Any) -> None:
    rois = [make.roi("Liver", [(SQUARE, 2)])]
    mask = make.rtstruct(tmp_path / "s.dcm", series, rois)
    assert read_mask(mask, LIVER, series.image, drawn_on=series.ref).sum() == 12
    other = make.rtstruct(tmp_path / "t.dcm", series, rois, refers="1.2.3")
    for resample in (False, True):
        with pytest.raises(ImageError, match="refers to another series"):
            read_mask(other, LIVER, series.image, drawn_on=series.ref, resample=resample)
    elsewhere = make.rtstruct(tmp_path / "u.dcm", series, rois, frame="1.2.3")
    with pytest.raises(ImageError, match="another frame of reference"):
        read_mask(elsewhere, LIVER, series.image, drawn_on=series.ref)


def test_pydicoms_own_structure_set() -> None:
    # A box of 400 x 300 mm on three slices 10 mm apart, and two points.
    mask = Mask(ImageRef((get_testdata_file("rtstruct.dcm"),)))
    affine = np.diag([-1.0, -1, 10, 1])
    affine[:3, 3] = [209.5, 159.5, -210]
    image = Image(np.zeros((1, 420, 320, 5)), affine, (1.0, 1.0, 10.0))
    found = read_label_map(named(mask, ("patient", "body")), mask_schema(["body"]), image)
    expected = np.zeros((420, 320, 5), np.uint8)
    expected[10:410, 10:310, 1:4] = 1
    np.testing.assert_array_equal(found.labels, expected)
    assert found.notes == ("structures left aside: Isocenter 1, Isocenter 2",)
    with pytest.raises(ImageError, match="'Isocenter 1' has a contour of the type POINT"):
        read_mask(named(mask, ("Isocenter 1", "x")), mask_schema(["x"]), image)
    with pytest.raises(ImageError, match="no structure of the mask is one of the labels x: it holds 'patient', 'Iso"):
        read_mask(named(mask, ("nothing", "x")), mask_schema(["x"]), image)
