"""Every file that pydicom and nibabel install: read as they and SimpleITK read it, or refused by name."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from medcnn.data.images import ReadOptions, read_image, scan_file
from medcnn.data.images.dicom_header import Header
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef

PYDICOM = Path(pydicom.__file__).parent / "data"
NIBABEL = Path(nibabel.__file__).parent
# Lossy colour JPEG: decoders round differently, by a few grey levels of 255.
LOSSY = {"JPEGBaseline8Bit", "JPEGExtended12Bit", "JPEG2000", "JPEGLSNearLossless"}


def shipped() -> list[Path]:
    found = [p for p in PYDICOM.rglob("*") if p.is_file()]
    found += [p for folder in NIBABEL.rglob("tests/data") for p in folder.rglob("*") if p.is_file()]
    return sorted(p for p in found if "__pycache__" not in p.parts)


@cache
def ending(path: Path) -> tuple[Image | None, str]:
    """The image and how it was read, or the reason."""
    try:
        return read_image(ImageRef((str(path),))), "read"
    except ImageError as error:
        if "by index" not in error.todo:
            named = str(path) in error.where and error.what.strip() and "\n" not in error.what
            return None, error.what if named else f"not named: {error}"
    return read_image(ImageRef((str(path),), index=1)), "read by index"


def foreign(path: Path) -> bool:
    """Whether pydicom, SimpleITK or nibabel's NIfTI make pixels of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(pydicom.dcmread(path, force=True).pixel_array.size)
        except Exception:
            SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            return bool(SimpleITK.ReadImage(str(path)).GetNumberOfPixels())
        except Exception:
            return False


def test_every_file_ends_in_pixels_or_in_one_named_reason() -> None:
    endings = {path: ending(path)[1] for path in shipped()}
    table = Counter(re.split(r"[:(]", text)[0].strip() for text in endings.values())
    print("\n".join(f"{count:4d}  {reason}" for reason, count in table.most_common()))
    assert table["read"] >= 100
    assert table["read by index"] >= 4
    assert table["not named"] == 0
    assert len(table) <= 20, "reasons are few and say the same of the same"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test.mgz", "a FreeSurfer volume: convert it to NIfTI"),
        ("T1.PAR", "a Philips PAR or REC file: convert it to NIfTI"),
        ("scaled+tlrc.HEAD", "an AFNI volume: convert it to NIfTI"),
        ("tinypet.v", "an ECAT volume: convert it to NIfTI"),
        ("analyze.hdr", "an Analyze 7.5 header"),
        ("tiny.mnc", "a netCDF file (MINC 1)"),
        ("ascii.gii", "GIfTI holds surfaces, not images"),
        ("siemens_dwi_0.dcm.gz", "a gzip archive that holds a DICOM file: unpack it"),
    ],
)
def test_other_formats_are_called_by_their_names(name: str, said: str) -> None:
    (path,) = (p for p in shipped() if p.name == name)
    assert said in ending(path)[1]


@pytest.mark.slow
def test_no_file_is_refused_that_others_read() -> None:
    lost = [str(p) for p in shipped() if ending(p)[0] is None and foreign(p)]
    assert lost == []


def dicoms() -> list[Path]:
    return [p for p in shipped() if PYDICOM in p.parents and ending(p)[0] is not None]


@pytest.mark.parametrize("path", dicoms(), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_values_are_pydicoms_after_the_same_steps(path: Path) -> None:
    image, how = ending(path)
    assert image is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        try:
            stored = dataset.pixel_array
        except Exception:
            pytest.skip("pydicom has no decoder for it; SimpleITK is asked elsewhere")
        expected = stored
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            expected = apply_color_lut(stored, dataset) >> 8
        elif dataset.SamplesPerPixel == 1:
            expected = apply_modality_lut(stored, dataset)
    if how == "read by index":
        expected, stored = expected[1], stored[1]
    if dataset.get("Modality") == "RTDOSE":
        expected = expected * float(dataset.DoseGridScaling)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        ends = np.array([0, 2**dataset.BitsStored - 1]) * dataset.RescaleSlope + dataset.RescaleIntercept
        expected = ends.sum() - expected
    found = image.array.T[..., 0] if image.array.shape[0] == 1 else image.array.T
    padded = stored == dataset.PixelPaddingValue if "PixelPaddingValue" in dataset else np.zeros(found.shape, bool)
    lossy = any(getattr(pydicom.uid, name) == dataset.file_meta.get("TransferSyntaxUID") for name in LOSSY)
    np.testing.assert_allclose(found[~padded], expected[~padded], rtol=1e-6, atol=3 if lossy else 0)
    assert not padded.any() or (found[padded] == expected[~padded].min()).all()


def lps_of(image: SimpleITK.Image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.parametrize("path", dicoms(), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_geometry_is_simpleitks(path: Path) -> None:
    image, _ = ending(path)
    assert image is not None
    if image.affine is None:
        header = scan_file(str(path))
        assert isinstance(header, Header)
        placed = [s.position is not None and s.spacing_source == "PixelSpacing" for s in header.slices]
        assert not (placed[0] and len(placed) == 1), "a file with a place has a world frame"
        return
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        expected = lps_of(SimpleITK.ReadImage(str(path)))
    except RuntimeError:
        pytest.skip("SimpleITK does not read it")
    columns = [0, 1, 2, 3] if image.array.ndim == 4 else [0, 1, 3]
    np.testing.assert_allclose(image.affine[:3, columns], expected[:3, columns], atol=1e-4)


def niftis() -> list[Path]:
    names = (p for p in shipped() if NIBABEL in p.parents and ending(p)[0] is not None)
    return [p for p in names if ".nii" in p.name]


def test_nifti_files_are_nibabels() -> None:
    assert len(niftis()) >= 4
    for path in niftis():
        image, how = ending(path)
        assert image is not None
        expected = nibabel.load(path)
        values = np.asanyarray(expected.dataobj)
        np.testing.assert_allclose(image.affine, expected.affine, atol=1e-4)
        np.testing.assert_allclose(image.array[0], values[..., 1] if how == "read by index" else values, rtol=1e-6)


@pytest.mark.parametrize("path", [p for p in shipped() if p.suffix == ".mnc"], ids=lambda p: p.name)
def test_minc_files_are_simpleitks_or_refused(path: Path) -> None:
    image, how = ending(path)
    if image is None:
        assert "MINC" in how
        return
    expected = SimpleITK.ReadImage(str(path))
    values = SimpleITK.GetArrayFromImage(expected)
    np.testing.assert_array_equal(image.array[0].T, values[..., 1] if how == "read by index" else values)
    np.testing.assert_allclose(image.affine, lps_of(expected), atol=1e-6)


@pytest.mark.parametrize("path", dicoms()[::3], ids=lambda p: p.name)
def test_a_scan_agrees_with_the_reading(path: Path) -> None:
    header = scan_file(str(path))
    image, _ = ending(path)
    assert isinstance(header, Header)
    assert image is not None
    assert image.array.shape[1:3] == header.shape[::-1]
    assert header.frames == len(header.slices)
    grey = read_image(ImageRef((str(path),), index=0), ReadOptions(grey=True))
    assert grey.array.shape == (1, *header.shape[::-1])
