"""Preprocessing: channels, intensity, geometry and the matrix between original and network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medcnn.data.preprocess import Preprocessor
from medcnn.errors import ImageError, ModelError
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
    stored = make((6, 8)).stored(Image(colour, header={"photometric": "RGB"}))
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


@pytest.mark.parametrize("header", [{}, {"photometric": "MONOCHROME2"}])
def test_a_stack_of_three_is_not_turned_to_grey(header: dict[str, Any]) -> None:
    # Three sequences of an MR study are no red, green and blue.
    with pytest.raises(ImageError, match="3 channels that are no colours"):
        make((6, 8)).stored(Image(grey(np.uint16, (3, 6, 8)).array, header=header))


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL_422", "PALETTE COLOR"])
def test_colour_as_dicom_calls_it(kind: str) -> None:
    colour = grey(np.uint8, (3, 6, 8))
    assert make((6, 8)).stored(Image(colour.array, header={"photometric": kind})).shape == (1, 6, 8)


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


@pytest.mark.parametrize(
    ("dtype", "header", "low", "high"),
    [
        (np.uint16, {}, 0, 65535),
        (np.uint16, {"bits": 16}, 0, 65535),
        (np.uint16, {"bits": 12}, 0, 4095),
        (np.int16, {"bits": 12}, -2048, 2047),
        (np.int16, {"bits": 12, "range": (-1024.0, 3071.0)}, -1024, 3071),
        (np.uint8, {"bits": 8}, 0, 255),
        (np.uint8, {"bits": 6}, 0, 63),
        # A picture of one bit holds 0 and 255.
        (np.uint8, {"bits": 1}, 0, 255),
        (np.float32, {"bits": 32}, 0, 1),
    ],
)
def test_range_is_that_of_the_bits_in_use(dtype: Any, header: dict[str, Any], low: float, high: float) -> None:
    values = np.array([low, low + (high - low) / 4, high]).astype(dtype).reshape(1, 3, 1)
    found = make((3, 1), intensity={"method": "range"})(Image(values, header=header)).image
    expected = (values.astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(found, expected, atol=0.5 / 255 if dtype == np.uint8 else 1e-6)
    assert (found.min(), found.max()) == (0, 1)


def test_numbers_without_a_range_are_not_cut_in_silence() -> None:
    with pytest.raises(ImageError, match="no range"):
        make((6, 8), intensity={"method": "range"})(grey(np.float32))


@pytest.mark.parametrize("method", ["percentiles", "zscore"])
def test_channels_are_scaled_each_by_itself(method: str) -> None:
    # T1 in hundreds and a map around 1: together the second would be flat.
    first, second = RANDOM.random((1, 20, 20)) * 900, RANDOM.random((1, 20, 20))
    steps, one = make((20, 20), channels=2, intensity={"method": method}), make((20, 20), intensity={"method": method})
    found = steps.stored(Image(np.concatenate([first, second])))
    np.testing.assert_array_equal(found[:1], one.stored(Image(first)))
    np.testing.assert_array_equal(found[1:], one.stored(Image(second)))


@pytest.mark.parametrize("method", ["percentiles", "zscore"])
def test_colours_keep_their_hue(method: str) -> None:
    colour = np.stack([RANDOM.random((20, 20)) * top for top in (200, 100, 50)]).astype(np.uint16)
    steps = make((20, 20), channels=3, intensity={"method": method})
    found = steps.stored(Image(colour, header={"photometric": "RGB"}))
    place = np.unravel_index(np.argsort(colour, axis=None), colour.shape)
    # One scale for all three: the order of all values together stays.
    assert (np.diff(found[place]) >= 0).all()


@pytest.mark.parametrize(
    ("dtype", "header", "expected"),
    [
        (np.int16, {"modality": "CT"}, "window"),
        (np.int16, {}, "window"),
        (np.int16, {"modality": "MR"}, "percentiles"),
        (np.uint16, {"modality": "CR"}, "percentiles"),
        (np.uint8, {}, "range"),
        (np.uint8, {"modality": "US"}, "range"),
    ],
)
def test_the_window_of_auto_is_for_ct_and_what_may_be_ct(dtype: Any, header: dict[str, Any], expected: str) -> None:
    image = Image(grey(dtype).array, header=header)
    limits = {"low": 20, "high": 90}
    found = make((6, 8), intensity=limits).stored(image)
    options = {"method": expected, **(limits if expected == "window" else {})}
    np.testing.assert_array_equal(found, make((6, 8), intensity=options).stored(image))
    # Whoever wants it for every image says so.
    always = make((6, 8), intensity={"method": "window", **limits}).stored(image) / (255 if dtype == np.uint8 else 1)
    np.testing.assert_allclose(always, np.clip((image.array - 20.0) / 70, 0, 1), atol=0.5 / 255)


@pytest.mark.parametrize("options", [{}, {"fit": "pad"}, {"intensity": {"method": "percentiles"}}])
def test_bytes_at_another_size_stay_bytes_within_half_a_step(options: dict[str, Any]) -> None:
    image = grey(shape=(1, 20, 31))
    stored = make((12, 14), **options).stored(image)
    assert stored.dtype == np.uint8
    # The same values as 16 bit take the way of the floats.
    wide = Image(image.array.astype(np.uint16), header={"bits": 8})
    exact = make((12, 14), **{"intensity": {"method": "range"}, **options}).stored(wide)
    assert exact.dtype == np.float32
    assert np.abs(stored / 255 - exact).max() <= 0.5 / 255 + 1e-6
    assert make((12, 14), intensity={"method": "zscore"}).stored(image).dtype == np.float32


def test_a_picture_by_hand() -> None:
    # Columns are the first axis: pairs of columns are averaged by a triangle over two new pixels' width.
    image = Image(np.array([[[0], [0], [100], [100], [200], [200]]], np.uint8))
    found = make((3, 1)).stored(image)[0, :, 0]
    # Centres at 0.5, 2.5 and 4.5; weights by distance 0.5 and 1.5 of 2: 3/4 and 1/4, cut at the edge.
    left = (0.75 * 0 + 0.75 * 0 + 0.25 * 100) / 1.75
    middle = (0.25 * 0 + 0.75 * 100 + 0.75 * 100 + 0.25 * 200) / 2
    right = (0.25 * 100 + 0.75 * 200 + 0.75 * 200) / 1.75
    np.testing.assert_array_equal(found, np.rint([left, middle, right]))


def test_a_volume_by_hand() -> None:
    # A CT of 2 x 1 x 3 voxels of 1 x 1 x 2 mm, brought to 1 mm and cropped to the middle 2 x 1 x 3 mm.
    hu = np.array([[[[-1000, 0, 1000]], [[1000, 0, -1000]]]], np.int16)
    steps = make((2, 1, 3), spacing=(1, 1, 1), fit="crop", intensity={"method": "window", "low": -1000, "high": 1000})
    affine = np.diag([1.0, 1, 2, 1])
    sample = steps(Image(hu, affine, (1.0, 1.0, 2.0), {"modality": "CT"}))
    # Along z the new centres lie at 0.5, 1 and 1.5 of the old voxels.
    np.testing.assert_allclose(sample.image[0, :, 0], [[0.25, 0.5, 0.75], [0.75, 0.5, 0.25]], atol=1e-6)
    np.testing.assert_allclose(sample.matrix @ [0, 0, 1, 1], [0, 0, 1, 1], atol=1e-9)
    np.testing.assert_allclose(sample.matrix @ [1, 0, 2, 1], [1, 0, 3, 1], atol=1e-9)


@pytest.mark.parametrize("fit", ["resize", "pad"])
def test_a_spacing_costs_no_second_interpolation(fit: str) -> None:
    volume = Image(RANDOM.random((1, 12, 10, 8)), np.diag([1.0, 1, 1, 1]), (1.0, 1.0, 1.0))
    options = {"fit": fit, "intensity": {"method": "none"}}
    with_spacing = make((12, 10, 8), spacing=(3.0, 3.0, 3.0), **options).stored(volume)
    np.testing.assert_array_equal(with_spacing, volume.array.astype(np.float32))


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


def test_pixels_of_another_version_are_refused() -> None:
    state = make((6, 8)).state()
    with pytest.raises(ModelError, match="version 1"):
        Preprocessor.restore({**state, "version": 1})


def test_a_copy_in_another_process_does_the_same() -> None:
    import pickle

    steps = make((5, 7), fit="pad", intensity={"low": 0, "high": 80})
    data = pickle.dumps(steps)
    assert b"pydantic" not in data
    image = grey(np.int16)
    np.testing.assert_array_equal(pickle.loads(data).stored(image), steps.stored(image))
