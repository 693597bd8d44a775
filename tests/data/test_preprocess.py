"""Preprocessing: channels, intensity, geometry and the matrix between original and network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medcnn.data.preprocess import Preprocessor
from medcnn.errors import ImageError
from medcnn.recipe.schema import InputSection
from medcnn.types import Image

RANDOM = np.random.default_rng(0)
AFFINE = np.array([[0, 0, 3.0, 5], [-1.0, 0, 0, 7], [0, 2.0, 0, -4], [0, 0, 0, 1]])


def make(size: tuple[int, ...], **options: Any) -> Preprocessor:
    return Preprocessor(InputSection.model_validate({"size": size, **options}))


def grey(dtype: Any = np.uint8, shape: tuple[int, ...] = (1, 6, 8)) -> Image:
    return Image((RANDOM.random(shape) * 200).astype(dtype))


def test_bytes_of_the_right_size_stay_bytes() -> None:
    image = grey()
    stored = make((6, 8)).stored(image)
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, image.array)
    sample = make((6, 8))(image)
    assert sample.image.dtype == np.float32
    np.testing.assert_allclose(sample.image, image.array / 255, atol=1e-6)
    np.testing.assert_array_equal(sample.matrix, np.eye(3))


@pytest.mark.parametrize("options", [{"intensity": {"method": "zscore"}}, {"channels": 3}, {"fit": "pad"}])
def test_what_is_stored_is_what_the_network_sees(options: dict[str, Any]) -> None:
    image, steps = grey(), make((7, 8), **options)
    stored = steps.stored(image)
    scaled = stored / 255 if stored.dtype == np.uint8 else stored
    np.testing.assert_allclose(steps(image).image, scaled, atol=1e-6)


def test_the_short_way_gives_what_the_long_way_gives() -> None:
    image = grey()
    explicit = make((6, 8), intensity={"method": "window", "low": 0, "high": 255})
    np.testing.assert_allclose(make((6, 8))(image).image, explicit(image).image, atol=1e-6)


def test_colour_to_grey_is_pillows() -> None:
    from PIL import Image as Pillow

    colour = (RANDOM.random((3, 6, 8)) * 255).astype(np.uint8)
    stored = make((6, 8)).stored(Image(colour))
    assert stored.dtype == np.uint8
    expected = np.asarray(Pillow.fromarray(colour.transpose(2, 1, 0)).convert("L")).T
    assert np.abs(stored[0].astype(int) - expected.astype(int)).max() <= 1


def test_grey_to_colour_repeats() -> None:
    image = grey()
    found = make((6, 8), channels=3)(image).image
    assert found.shape == (3, 6, 8)
    np.testing.assert_array_equal(found[0], found[2])


def test_channels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ImageError, match="2 channels"):
        make((6, 8))(Image(np.zeros((2, 6, 8))))
    with pytest.raises(ImageError, match="3 spatial axes"):
        make((6, 8))(Image(np.zeros((1, 6, 8, 4))))
    with pytest.raises(ImageError, match="2 spatial axes"):
        make((6, 8, 4))(Image(np.zeros((1, 6, 8))))


def test_a_volume_of_one_slice_is_a_plane() -> None:
    array = (RANDOM.random((1, 6, 8, 1)) * 255).astype(np.uint8)
    np.testing.assert_array_equal(make((6, 8)).stored(Image(array, np.eye(4), (1.0, 1.0, 5.0))), array[..., 0])


def test_methods_by_hand() -> None:
    values = np.array([[[-2000, -1000, 0, 1000, 3000]] * 2], np.int16)
    ct = Image(values, header={"modality": "CT"})
    row = make((2, 5))(ct).image[0, 0]
    np.testing.assert_allclose(row, [0, 0, 0.5, 1, 1], atol=1e-6)
    window = make((2, 5), intensity={"low": 0, "high": 2000})(ct).image[0, 0]
    np.testing.assert_allclose(window, [0, 0, 0, 0.5, 1], atol=1e-6)
    whole = make((2, 5), intensity={"method": "range"})(ct).image[0, 0]
    np.testing.assert_allclose(whole, (values[0, 0] + 32768.0) / 65535, atol=1e-6)
    share = make((2, 5), intensity={"method": "percentiles", "percentiles": (0, 100)})(ct).image[0, 0]
    np.testing.assert_allclose(share, (values[0, 0] + 2000.0) / 5000, atol=1e-6)
    score = make((2, 5), intensity={"method": "zscore"})(ct).image
    assert score.mean() == pytest.approx(0, abs=1e-6)
    assert score.std() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(make((2, 5), intensity={"method": "none"})(ct).image, values)


def test_auto_takes_percentiles_without_a_unit() -> None:
    mr = Image((RANDOM.random((1, 20, 20)) * 4000).astype(np.uint16), header={"modality": "MR"})
    expected = make((20, 20), intensity={"method": "percentiles"})(mr).image
    np.testing.assert_array_equal(make((20, 20))(mr).image, expected)


@pytest.mark.parametrize("method", ["auto", "zscore", "percentiles"])
def test_a_constant_image_is_zero(method: str) -> None:
    found = make((3, 3), intensity={"method": method})(Image(np.full((1, 3, 3), 7.5))).image
    np.testing.assert_array_equal(found, 0)


def test_values_that_are_not_finite() -> None:
    array = np.arange(9.0).reshape(1, 3, 3)
    array[0, 1, 1], array[0, 2, 2] = np.nan, np.inf
    found = make((3, 3), intensity={"method": "none"})(Image(array)).image
    assert found[0, 1, 1] == found[0, 2, 2] == 0
    with pytest.raises(ImageError, match="finite"):
        make((3, 3))(Image(np.full((1, 3, 3), np.nan)))


@pytest.mark.parametrize("fit", ["resize", "pad", "crop"])
@pytest.mark.parametrize("orientation", [None, "RAS", "LPI"])
@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 1.5)])
def test_a_dot_in_a_volume(fit: str, orientation: str | None, spacing: tuple[float, ...] | None) -> None:
    dot = (7, 9, 6)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in (16, 18, 14)], indexing="ij"), -1)
    array = np.exp(-0.5 * ((places - np.array(dot)) ** 2).sum(-1) / 1.2**2).astype(np.float32)[None]
    steps = make(
        (24, 24, 24), fit=fit, orientation=orientation, spacing=spacing, intensity={"method": "none"}, channels=1
    )
    sample = steps(Image(array, AFFINE, (1.0, 2.0, 3.0)))
    assert sample.original_shape == (16, 18, 14)
    weights = sample.image[0].astype(np.float64)
    grid = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), -1)
    mass = (grid * weights[..., None]).reshape(-1, 3).sum(0) / weights.sum()
    np.testing.assert_allclose(mass, (sample.matrix @ [*dot, 1])[:3], atol=0.2)


def test_geometry_that_is_not_there_is_named() -> None:
    with pytest.raises(ImageError, match="spacing"):
        make((6, 8), spacing=(1, 1))(grey())
    with pytest.raises(ImageError, match="oriented"):
        make((6, 8, 4), orientation="RAS")(grey(shape=(1, 6, 8, 4)))


def test_state_and_digest() -> None:
    steps = make((6, 8), intensity={"low": 0, "high": 80}, symmetric_axes=(0,))
    again = Preprocessor.restore(steps.state())
    assert again.digest() == steps.digest()
    image = grey(np.int16)
    np.testing.assert_array_equal(again(image).image, steps(image).image)
    assert make((6, 8), intensity={"low": 0, "high": 81}).digest() != steps.digest()
    # What only concerns augmentation does not make a cache anew.
    assert make((6, 8), intensity={"low": 0, "high": 80}, augment=None).digest() == steps.digest()
