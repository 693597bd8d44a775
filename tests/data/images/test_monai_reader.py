"""The readers inside MONAI's LoadImage and LoadImaged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.transforms import Compose, LoadImage, LoadImaged, Orientationd
from PIL import Image as Pillow
from pydicom.data import get_testdata_file

from medcnn.data.images import StackRule, read_image, series_files
from medcnn.data.images.monai_reader import MedcnnReader
from medcnn.errors import ImageError
from medcnn.types import ImageRef

AFFINE = np.array([[0, -2, 0, 10], [1.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])


def test_a_folder_is_a_volume_with_its_affine(write: Callable[..., list[str]], tmp_path: Path) -> None:
    write("a", [6, 0, 3])
    found = LoadImaged(keys="image", reader=MedcnnReader(), ensure_channel_first=True)({"image": str(tmp_path)})
    expected = read_image(ImageRef(series_files(str(tmp_path))))
    np.testing.assert_array_equal(found["image"].numpy(), expected.array)
    np.testing.assert_allclose(found["image"].affine.numpy(), expected.affine)
    assert found["image"].meta["modality"] == "CT"
    assert found["image"].meta["space"] == "RAS"


def test_a_rule_chooses_a_stack_of_a_folder(write: Callable[..., list[str]], tmp_path: Path) -> None:
    write("a", [0, 3, 6], SeriesInstanceUID="1", EchoNumbers=1)
    write("b", [0, 3, 6], SeriesInstanceUID="1", EchoNumbers=2, first=10)
    # MONAI's own readers, to which it would turn, mix the two.
    with pytest.raises(ImageError, match="2 stacks"):
        LoadImage(reader=MedcnnReader())(str(tmp_path))
    reader = MedcnnReader(stack=StackRule(echo=2))
    assert LoadImage(reader=reader, image_only=True)(str(tmp_path)).max() == 12


def test_nifti_is_as_monais_own_reader_gives_it(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "a.nii.gz")
    path = {"image": str(tmp_path / "a.nii.gz")}
    steps = [
        Compose([LoadImaged("image", reader=r, ensure_channel_first=True), Orientationd("image", axcodes="RAS")])(path)
        for r in (MedcnnReader(), "NibabelReader")
    ]
    ours, theirs = (s["image"] for s in steps)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    np.testing.assert_allclose(ours.affine.numpy(), theirs.affine.numpy(), atol=1e-5)


def test_pictures_frames_and_channels(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    for name in ("a", "b"):
        Pillow.fromarray(colour[..., 0]).save(tmp_path / f"{name}.png")
    Pillow.fromarray(colour).save(tmp_path / "c.png")
    load = LoadImage(reader=MedcnnReader(), image_only=True, ensure_channel_first=True)
    assert load(str(tmp_path / "c.png")).shape == (3, 6, 4)
    assert load([str(tmp_path / "a.png"), str(tmp_path / "b.png")]).shape == (2, 6, 4)
    frame = LoadImage(reader=MedcnnReader(index=2, grey=True), image_only=True, ensure_channel_first=True)
    assert frame(str(get_testdata_file("examples_ybr_color.dcm"))).shape == (1, 320, 240)


def test_the_package_is_free_of_torch() -> None:
    code = (
        "import sys, medcnn.data.images as i\n"
        "i.stacks_of, i.scan_file, i.read_stack, i.StackRule\n"
        "import medcnn.data.images.itk, medcnn.data.images.gdcm_worker\n"
        "print([m for m in ('torch', 'monai', 'SimpleITK', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
