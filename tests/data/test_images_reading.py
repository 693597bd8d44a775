"""All channels of a case, and readers that fail in ways nobody foresaw."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medcnn import registry
from medcnn.data.images import read_case, read_image
from medcnn.errors import ImageError, MedcnnError
from medcnn.types import Case, Image, ImageRef


def png(path: Path, shape: tuple[int, ...], value: int) -> ImageRef:
    Pillow.fromarray(np.full(shape, value, np.uint8)).save(path)
    return ImageRef((str(path),))


def test_channels_are_stacked_in_their_order(tmp_path: Path) -> None:
    refs = (
        png(tmp_path / "b.png", (3, 4), 2),
        png(tmp_path / "a.png", (3, 4), 1),
        png(tmp_path / "c.png", (3, 4, 3), 9),
    )
    image = read_case(Case("x", refs))
    assert image.array.shape == (5, 4, 3)
    assert image.array[:, 0, 0].tolist() == [2, 1, 9, 9, 9]


def test_channels_of_two_sizes_are_refused(tmp_path: Path) -> None:
    refs = (png(tmp_path / "a.png", (3, 4), 1), png(tmp_path / "b.png", (4, 3), 1))
    with pytest.raises(ImageError, match="3x4 here, 4x3 in") as error:
        read_case(Case("x", refs))
    assert error.value.where.endswith("b.png")


def test_channels_in_two_places_are_refused(tmp_path: Path) -> None:
    refs = []
    for name, offset in (("a", 0.0), ("b", 0.4), ("c", 5.0)):
        affine = np.eye(4)
        affine[1, 3] = offset
        nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), affine), tmp_path / f"{name}.nii")
        refs.append(ImageRef((str(tmp_path / f"{name}.nii"),)))
    assert read_case(Case("x", (refs[0], refs[1]))).array.shape == (2, 3, 3, 3)
    with pytest.raises(ImageError, match=r"different places: up to 5\.0 mm"):
        read_case(Case("x", (refs[0], refs[2])))


def test_a_case_without_an_image_is_named() -> None:
    with pytest.raises(ImageError, match="no image") as error:
        read_case(Case("case-7", ()))
    assert error.value.where == "case-7"


def test_an_unforeseen_failure_is_the_errors_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_ref: ImageRef) -> Image:
        raise ZeroDivisionError("odd header")

    module = types.ModuleType("odd_reader")
    module.read = broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "odd_reader", module)
    monkeypatch.setitem(registry._BUILT_IN["readers"], "odd", "odd_reader:read")
    with pytest.raises(ImageError, match="ZeroDivisionError: odd header") as error:
        read_image(ImageRef(("x.odd",), "odd"))
    assert error.value.where == "x.odd"


def test_an_unknown_reader_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(MedcnnError, match="did you mean 'nifti'"):
        read_image(ImageRef((str(tmp_path / "a"),), "nifty"))
