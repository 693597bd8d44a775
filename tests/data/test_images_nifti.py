"""NIfTI: values and geometry against nibabel, and headers that contradict themselves."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medcnn.data.images import read_image
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef

AFFINE = np.array([[0, -2, 0, 10], [1.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])
VALUES = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4) - 5


def read(path: Path, key: str | None = None, index: int | None = None) -> Image:
    return read_image(ImageRef((str(path),), key=key, index=index))


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = AFFINE, kind: type = nibabel.Nifti1Image) -> Path:
    nibabel.save(kind(values, affine), path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img", "renamed.bin"])
def test_values_and_geometry_are_nibabels(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "renamed.bin":
        save(tmp_path / "a.nii.gz", VALUES).rename(path)
    else:
        save(path, VALUES, kind=nibabel.Nifti1Pair if name == "a.img" else nibabel.Nifti1Image)
    image = read(path)
    np.testing.assert_array_equal(image.array, VALUES[None])
    assert image.array.dtype == np.int16
    np.testing.assert_allclose(image.affine, AFFINE)
    assert image.spacing == pytest.approx((1.5, 2, 3))


def test_nifti2_and_big_endian(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", VALUES, kind=nibabel.Nifti2Image))
    np.testing.assert_array_equal(image.array[0], VALUES)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(VALUES, AFFINE, header), tmp_path / "b.nii")
    found = read(tmp_path / "b.nii").array
    np.testing.assert_array_equal(found[0], VALUES)
    assert found.dtype.isnative


@pytest.mark.parametrize(("slope", "expected"), [(2.0, VALUES * 2 + 7), (0.0, VALUES), (np.nan, VALUES)])
def test_the_slope_is_applied_unless_it_is_none(tmp_path: Path, slope: float, expected: np.ndarray) -> None:
    path = save(tmp_path / "a.nii", VALUES)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([slope, 7.0], "<f4").tobytes()
    path.write_bytes(data)
    np.testing.assert_allclose(read(path).array[0], expected)


def test_four_axes_are_never_guessed(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    path = save(tmp_path / "a.nii", values)
    with pytest.raises(ImageError, match="5 volumes") as error:
        read(path)
    assert "key: channels" in error.value.todo
    np.testing.assert_array_equal(read(path, index=3).array, values[None, ..., 3])
    np.testing.assert_array_equal(read(path, key="channels").array, np.moveaxis(values, -1, 0))
    with pytest.raises(ImageError, match="no volume 5"):
        read(path, index=5)
    with pytest.raises(ImageError, match="means nothing"):
        read(path, key="channel")


def test_trailing_axes_of_one_are_dropped(tmp_path: Path) -> None:
    assert read(save(tmp_path / "a.nii", VALUES[..., None])).array.shape == (1, 2, 3, 4)
    plane = read(save(tmp_path / "b.nii", VALUES[..., :1]))
    assert plane.array.shape == (1, 2, 3)
    assert plane.spacing == pytest.approx((1.5, 2))


def test_rgb_has_three_channels(tmp_path: Path) -> None:
    values = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    values["R"], values["B"] = 1, 3
    image = read(save(tmp_path / "a.nii", values))
    assert image.array.shape == (3, 2, 3, 4)
    assert [int(c.max()) for c in image.array] == [1, 0, 3]


def test_sform_and_qform_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, None)
    moved = AFFINE.copy()
    moved[0, 3] += 4
    image.set_qform(AFFINE, 1)
    image.set_sform(moved, 2)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(ImageError, match=r"sform \(code 2\) and qform \(code 1\).* 4.00 mm"):
        read(tmp_path / "a.nii")
    image.set_qform(AFFINE, 0)
    nibabel.save(image, tmp_path / "b.nii")
    np.testing.assert_allclose(read(tmp_path / "b.nii").affine, moved)


def test_qform_alone_counts_and_none_is_no_world(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, None)
    image.set_qform(AFFINE, 1)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read(tmp_path / "a.nii").affine, AFFINE, atol=1e-5)
    none = nibabel.Nifti1Image(VALUES, None)
    none.header.set_zooms((1, 2, 3))
    nibabel.save(none, tmp_path / "b.nii")
    found = read(tmp_path / "b.nii")
    assert found.affine is None
    assert found.spacing == (1, 2, 3)
    assert "no world frame" in found.header["notes"][0]


def test_units_become_millimetres(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").spacing == pytest.approx((0.0015, 0.002, 0.003))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_files_are_named(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).integers(0, 999, (9, 9, 9), dtype=np.int16)
    path = save(tmp_path / name, values)
    data = path.read_bytes()
    for share in (0.2, 0.6, 0.95):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError) as error:
            read(path)
        assert error.value.where == str(path)


def test_a_flat_affine_and_half_a_pair_are_errors(tmp_path: Path) -> None:
    flat = AFFINE.copy()
    flat[:, 2] = 0
    image = nibabel.Nifti1Image(VALUES, None)
    image.set_sform(flat, 1)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(ImageError, match="plane"):
        read(tmp_path / "a.nii")
    save(tmp_path / "b.img", VALUES, kind=nibabel.Nifti1Pair)
    (tmp_path / "b.img").unlink()
    with pytest.raises(ImageError, match="pair"):
        read(tmp_path / "b.hdr")


def test_complex_values_and_other_gzip_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="complex"):
        read(save(tmp_path / "a.nii", VALUES.astype(np.complex64)))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(b"no image at all" * 50))
    with pytest.raises(ImageError, match="gzip"):
        read(tmp_path / "b.nii.gz")
