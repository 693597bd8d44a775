"""Affines: against nibabel, and by hand."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medcnn.geometry import affines

CODES = ["".join(p) for order in itertools.permutations(["RL", "AP", "SI"]) for p in itertools.product(*order)]


def affine_of(seed: int, degrees: float = 180.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    matrix = np.eye(4)
    turn = Rotation.from_rotvec(generator.uniform(-1, 1, 3) * np.deg2rad(degrees))
    matrix[:3, :3] = turn.as_matrix() * generator.uniform(0.3, 4, 3)
    matrix[:3, 3] = generator.uniform(-100, 100, 3)
    return matrix


@pytest.mark.parametrize("codes", CODES)
def test_reorienting_agrees_with_nibabel(codes: str) -> None:
    array, affine = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5), affine_of(3, 15)
    moved, found = affines.reorient(array, affine, codes)
    change = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(tuple(codes))
    )
    expected = nibabel.orientations.apply_orientation(array[1], change)
    np.testing.assert_array_equal(moved[1], expected)
    np.testing.assert_allclose(found, affine @ nibabel.orientations.inv_ornt_aff(change, array.shape[1:]), atol=1e-9)
    assert affines.axis_codes(found) == codes
    back, again = affines.reorient(moved, found, affines.axis_codes(affine))
    np.testing.assert_array_equal(back, array)
    np.testing.assert_allclose(again, affine, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_grid_has_three_different_axes(seed: int) -> None:
    affine = affine_of(seed)
    assert sorted(w for w, _ in affines.axis_order(affine)) == [0, 1, 2]
    np.testing.assert_allclose(affines.spacing_of(affine), nibabel.affines.voxel_sizes(affine))
    np.testing.assert_allclose(affines.lps_to_ras(affines.lps_to_ras(affine)), affine)
    points = np.random.default_rng(seed).random((4, 3))
    np.testing.assert_allclose(affines.apply_affine(affine, points), nibabel.affines.apply_affine(affine, points))
    assert affines.shear_degrees(affine) == pytest.approx(0, abs=1e-3)


def test_a_dicom_affine_by_hand() -> None:
    found = affines.dicom_affine([1, 0, 0, 0, 1, 0], [10, 20, 30], [0.5, 0.7], [0, 0, 2])
    # Column index goes with the spacing between columns, which DICOM names second; x and y change sign.
    np.testing.assert_allclose(found @ [3, 5, 1, 1], [-(10 + 3 * 0.7), -(20 + 5 * 0.5), 32, 1])


def test_the_normal_is_row_times_column() -> None:
    np.testing.assert_allclose(affines.slice_normal([0, 1, 0, 0, 0, -1]), [-1, 0, 0])
    for wrong in ([1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0], [0] * 6, [1, 0, 0]):
        with pytest.raises(ValueError, match="orientation"):
            affines.slice_normal(wrong)


def test_shear_and_shift_by_hand() -> None:
    tilted = np.eye(4)
    tilted[1, 2] = np.tan(np.deg2rad(12))
    assert affines.shear_degrees(tilted) == pytest.approx(12)
    moved = np.eye(4)
    moved[0, 0] = 1.1
    assert affines.largest_shift(np.eye(4), moved, (11, 3)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "matrix",
    [np.eye(3), np.diag([1, 1, 0, 1.0]), np.diag([1, 1, np.nan, 1.0]), np.ones((4, 4)), np.diag([1, 1, 1, 2.0])],
)
def test_what_is_no_affine_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"affine"):
        affines.check_affine(matrix)


@pytest.mark.parametrize("codes", ["", "RA", "RAR", "RASS", "XYZ"])
def test_wrong_codes_are_refused(codes: str) -> None:
    with pytest.raises(ValueError, match="axis codes"):
        affines.parse_codes(codes)


def test_a_plane_cannot_be_reoriented() -> None:
    with pytest.raises(ValueError, match="volumes"):
        affines.reorient(np.zeros((3, 4)), np.eye(4), "RAS")


@pytest.mark.parametrize(("normal", "plane"), [(0, "sagittal"), (1, "coronal"), (2, "axial")])
def test_the_plane_is_that_of_the_first_two_axes(normal: int, plane: str) -> None:
    axes = [a for a in range(3) if a != normal]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    affine[axes[0], 0], affine[axes[1], 1] = -0.5, 0.7
    affine[:3, 2] = [0.4, 0.4, 0.4]
    affine[normal, 2] = 3
    assert affines.plane_of(affine) == plane


def test_the_tilt_of_a_sheared_stack_is_in_voxels_of_its_plane() -> None:
    affine = np.diag([2.0, 0.5, 3.0, 1.0])
    assert affines.tilt_of(affine) == pytest.approx((0, 0))
    affine[1, 2], affine[0, 2] = 1.0, -3.0
    assert affines.tilt_of(affine) == pytest.approx((-1.5, 2.0))
