"""NIfTI as it is written: read back the same by our reader, nibabel and SimpleITK."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medcnn.data.images import read_image
from medcnn.data.images.nifti_write import write_nifti
from medcnn.errors import ImageError
from medcnn.geometry.affines import spacing_of
from medcnn.types import Image, ImageRef

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


def written(path: Path, image: Image, **more: Any) -> Any:
    write_nifti(path, image, **more)
    return nibabel.load(path)


def oblique(spacing: tuple[float, float, float], angles: tuple[float, float, float]) -> np.ndarray:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        one = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        one[i, i], one[i, j], one[j, i], one[j, j] = c, -s, s, c
        turn = turn @ one
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = (-100.25, 33.5, 7.125)
    return affine


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(TYPES),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.tuples(*[st.floats(0.2, 6)] * 3),
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.booleans(),
)
def test_values_and_places_come_back(
    tmp_path: Path, kind: str, shape: tuple[int, ...], spacing: Any, angles: Any, mirrored: bool
) -> None:
    values = np.arange(np.prod(shape)).reshape(1, *shape).astype(kind)
    affine = oblique(spacing, angles)
    if mirrored:
        affine[:3, 0] *= -1
    path = tmp_path / "a.nii.gz"
    write_nifti(path, Image(values, affine, spacing))
    found = read_image(ImageRef((str(path),)))
    np.testing.assert_array_equal(found.array.reshape(shape), values[0])
    assert found.array.dtype == values.dtype
    np.testing.assert_allclose(found.affine, affine, atol=1e-4)
    header = nibabel.load(path).header
    np.testing.assert_allclose(header.get_qform(), affine, atol=1e-3)
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)


def test_simpleitk_reads_the_same_grid(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
    affine = oblique((0.5, 0.7, 3.0), (0.1, 0.2, -0.3))
    written(tmp_path / "a.nii.gz", Image(values, affine, spacing_of(affine)))
    found = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found).T, values[0])
    np.testing.assert_allclose(found.GetSpacing(), (0.5, 0.7, 3.0), rtol=1e-5)
    np.testing.assert_allclose(found.GetOrigin(), affine[:3, 3] * (-1, -1, 1), rtol=1e-5)


def test_a_sheared_grid_has_an_sform_alone(tmp_path: Path) -> None:
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    affine[1, 2] = 0.8
    image = written(tmp_path / "a.nii.gz", Image(np.zeros((1, 4, 4, 9), np.int16), affine, spacing_of(affine)))
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    np.testing.assert_allclose(image.header.get_zooms(), spacing_of(affine), rtol=1e-6)
    np.testing.assert_allclose(read_image(ImageRef((str(tmp_path / "a.nii.gz"),))).affine, affine, atol=1e-6)


def test_a_shear_of_rounding_keeps_both_forms(tmp_path: Path) -> None:
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    affine[1, 2] = 1e-5
    image = written(tmp_path / "a.nii.gz", Image(np.zeros((1, 4, 4, 9), np.int16), affine, spacing_of(affine)))
    assert int(image.header["qform_code"]) == 1


def test_colour_is_rgb_and_one_slice_is_flat(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(3, 4, 2)
    image = written(tmp_path / "a.nii.gz", Image(values, None, (0.1, 0.2)))
    assert image.header.get_data_dtype().names == ("R", "G", "B")
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (0, 0)
    np.testing.assert_allclose(image.header.get_zooms(), (0.1, 0.2, 1.0), rtol=1e-6)
    found = read_image(ImageRef((str(tmp_path / "a.nii.gz"),)))
    np.testing.assert_array_equal(found.array, values)
    assert found.affine is None


def test_types_that_nifti_lacks_become_wider_or_are_refused(tmp_path: Path) -> None:
    truth = np.eye(3, dtype=bool)[np.newaxis]
    assert written(tmp_path / "a.nii.gz", Image(truth)).get_data_dtype() == np.uint8
    assert written(tmp_path / "b.nii.gz", Image(truth.astype(np.float16))).get_data_dtype() == np.float32
    assert written(tmp_path / "c.nii.gz", Image(truth.astype(">i2"))).get_data_dtype() == np.int16
    with pytest.raises(ImageError, match="3 channels of uint16"):
        write_nifti(tmp_path / "d.nii.gz", Image(np.zeros((3, 2, 2), np.uint16)))
    assert not (tmp_path / "d.nii.gz").exists()


def test_a_long_axis_makes_it_nifti_2(tmp_path: Path) -> None:
    values = np.arange(40000, dtype=np.int32).reshape(1, 40000, 1)
    image = written(tmp_path / "a.nii.gz", Image(values))
    assert isinstance(image, nibabel.Nifti2Image)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[:, 0, 0], values[0, :, 0])


def test_the_bytes_tell_neither_the_name_of_the_file_nor_the_time(tmp_path: Path) -> None:
    image = Image(np.zeros((1, 4, 4, 4), np.int16), np.eye(4), (1.0, 1.0, 1.0))
    first, second = tmp_path / "Doe^Jane.nii.gz", tmp_path / "b.nii.gz"
    written(first, image, description="made by hand")
    written(second, image, description="made by hand")
    assert first.read_bytes() == second.read_bytes()
    assert b"Doe" not in first.read_bytes()
    header = gzip.decompress(first.read_bytes())[:352]
    assert b"made by hand" in header
    assert header[348:] == b"\0\0\0\0"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Doe^Jane.nii.gz", "b.nii.gz"]
