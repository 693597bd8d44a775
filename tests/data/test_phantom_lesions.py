"""Lesions of the phantom: their size tells nothing about the person, and their masks lie where they are seen."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy import ndimage

from medcnn.data.phantom.body import KIDNEY, LIVER, LUNG, Build, Traits, everything
from medcnn.data.phantom.design import Series
from medcnn.data.phantom.hand import hand_film
from medcnn.data.phantom.lesions import Lesion, draw_lesions, lesion_shapes
from medcnn.data.phantom.scan import Volume, lesion_marks, scan
from medcnn.data.phantom.scanner import SCANNERS, degrade, stored_values
from medcnn.data.phantom.shapes import Canvas, depths

PARTS = ("head", "chest", "abdomen", "pelvis", "hand")
NODULE = Lesion("lung nodule", "chest", (-80.0, 20.0, 170.0), (15.0, 15.0, 15.0), 0.0, 1.0)
PERSON = Traits("someone", False, 50, (1.0, 1.0, 1.0), 15.0)


def _series(**changes: object) -> Series:
    plain = Series("P001-CT1", "ct", "chest", 1, 1, "A")
    return replace(plain, **changes)  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _scanned() -> Volume:
    """A chest with one obvious nodule of 30 mm."""
    return scan("k", _series(), PERSON, (NODULE,), "small")


@pytest.mark.parametrize("key", ["a", "b", "c", "d"])
def test_lesions_do_not_depend_on_sex_and_age(key: str) -> None:
    young = draw_lesions(key, Traits.draw(key, female=True, age=20), PARTS)
    assert young
    assert young == draw_lesions(key, Traits.draw(key, female=False, age=90), PARTS)


def test_lesions_have_the_same_size_in_small_and_large_bodies() -> None:
    lesion = replace(NODULE, radii=(10.0, 14.0, 12.0))
    sizes = []
    for scale in ((0.8, 0.8, 0.75), (1.1, 1.1, 1.2)):
        (shape,) = lesion_shapes([lesion], Build(replace(PERSON, scale=scale)))
        x1, x2, y1, y2, z1, z2 = shape.box
        sizes.append(((x2 - x1) * scale[0], (y2 - y1) * scale[1], (z2 - z1) * scale[2]))
        # Near enough to the surface that the waves on it do not matter.
        place = (lesion.center[0], lesion.center[1], lesion.center[2] + 12.0 / scale[2])
        assert abs(float(depths(shape.distance, [place])[0])) < 0.2 * 10
    assert sizes[0] == pytest.approx(sizes[1], rel=0.03)
    assert sizes[0][2] >= 24


def test_cysts_of_the_hand_have_the_same_size_in_small_and_large_hands() -> None:
    cyst = Lesion("bone cyst", "hand", (2.0, 1.0, 0.5), (9.0, 9.0, 9.0), 0.0, 1.0)
    widths = []
    for scale in (0.85, 1.15):
        made = hand_film("k", _series(kind="film", part="hand"), replace(PERSON, scale=(scale,) * 3), (cyst,), "small")
        widths.append(np.sqrt(float((made.lesions > 0).sum())) * made.pixel)
    # The same pixels cover both hands; a circle of 9 px has a coarse edge.
    assert widths[0] == pytest.approx(widths[1], rel=0.08)


def test_an_obvious_nodule_is_seen_where_its_mask_is_and_nowhere_beside_it() -> None:
    made = _scanned()
    hu = made.values.astype(float) - 1024
    mask = made.lesions > 0
    assert made.kinds == (NODULE,)
    assert np.median(hu[mask]) > -100
    ring = ndimage.binary_dilation(mask, iterations=4) & ~ndimage.binary_dilation(mask, iterations=2)
    assert np.median(hu[ring]) < -600
    # A mask that is moved by one voxel along any axis sees more of the lung.
    here = hu[mask].mean()
    for axis in (0, 1, 2):
        for step in (-1, 1):
            assert hu[np.roll(mask, step, axis)].mean() < here - 20, (axis, step)
    volume = mask.sum() * made.pixel**2 * made.gap
    assert volume == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.15)


def test_organ_masks_lie_on_the_organs() -> None:
    made = _scanned()
    hu = made.values.astype(float) - 1024
    mask = (made.organs == LUNG) & (made.lesions == 0)
    here = hu[mask].mean()
    assert np.median(hu[mask]) == pytest.approx(-800, abs=60)
    for axis in (0, 1, 2):
        for step in (-1, 1):
            assert hu[np.roll(mask, step, axis)].mean() > here + 2, (axis, step)


def test_voxels_are_placed_in_ras_with_the_shear_of_a_tilted_gantry() -> None:
    c, s = np.cos(np.radians(10.0)), np.sin(np.radians(10.0))
    made = replace(_scanned(), corner=(10.0, 20.0, -30.0), column=(0.0, float(c), float(-s)), pixel=2.0, gap=5.0)
    assert made.affine() @ (0, 0, 0, 1) == pytest.approx((-10, -20, -30, 1))
    assert made.affine() @ (1, 0, 0, 1) == pytest.approx((-12, -20, -30, 1))
    assert made.affine() @ (0, 1, 0, 1) == pytest.approx((-10, -20 - 2 * c, -30 - 2 * s, 1))
    assert made.affine() @ (0, 0, 1, 1) == pytest.approx((-10, -20, -25, 1))


def test_a_lesion_is_marked_where_it_covers_half_of_what_it_covers_at_most() -> None:
    lesions = (NODULE, replace(NODULE, center=(0.0, 0.0, 0.0)), replace(NODULE, center=(1.0, 0.0, 0.0)))
    layers = {
        "lesion-0": np.array([[[0.0, 0.39, 0.4, 0.8]]], np.float32),
        "lesion-1": np.array([[[0.29, 0.0, 0.0, 0.0]]], np.float32),
        "lesion-2": np.array([[[1.0, 0.5, 0.0, 0.0]]], np.float32),
    }
    marks, kinds = lesion_marks(layers, lesions, (1, 1, 4))
    assert marks.tolist() == [[[2, 2, 1, 1]]]
    assert kinds == (lesions[0], lesions[2])


def _painted(contrast: float) -> Canvas:
    """A few slices of the upper abdomen without noise."""
    axis = np.linspace(-200, 200, 90, dtype=np.float32)
    z = np.linspace(-45, 15, 4, dtype=np.float32)[:, None, None]
    x, y = np.broadcast_to(axis[None, None, :], (4, 90, 90)), np.broadcast_to(axis[None, :, None], (4, 90, 90))
    canvas = Canvas(np.array(x), np.array(y), z + 0 * axis[None, :, None], 4.5)
    for shape in everything(Build(PERSON, contrast), (canvas.limits[4], canvas.limits[5])):
        canvas.paint(shape)
    return canvas


def test_tissues_have_their_hounsfield_units_and_contrast_medium_raises_them() -> None:
    plain, late = _painted(0.0), _painted(1.0)
    fat = plain.hu[(plain.hu > -160) & (plain.hu < -50)]
    assert np.median(fat) == pytest.approx(-100, abs=4)
    muscle = plain.hu[(plain.labels == 0) & (plain.hu > 35) & (plain.hu < 75)]
    assert np.median(muscle) == pytest.approx(56, abs=4)  # this person's own
    for label, native, rise in ((LIVER, 58, 52), (KIDNEY, 32, 125)):
        inside = ndimage.binary_erosion(plain.labels == label, np.ones((1, 5, 5)))
        assert np.median(plain.hu[inside]) == pytest.approx(native, abs=8)
        assert np.median(late.hu[inside] - plain.hu[inside]) == pytest.approx(rise, abs=15)
    assert (plain.hu < -990).mean() > 0.3


@pytest.mark.parametrize("name", ["A", "B"])
def test_noise_is_as_strong_as_the_scanner_says_and_falls_with_the_dose(name: str) -> None:
    scanner = SCANNERS[name]
    # 250 mm of water, the thickness for which the scanner's noise is given.
    water = np.full((4, 96, 96), -1000, np.float32)
    water[:, 18:78, 18:78] = 0
    pixel = 250 / 60

    def spread(dose: float) -> float:
        noisy = degrade(water, None, scanner, np.random.default_rng(0), pixel=pixel, dose=dose, sharp=1.0, thickness=8)
        assert float(noisy[:, 30:66, 30:66].mean()) == pytest.approx(0, abs=3)
        return float(noisy[:, 30:66, 30:66].std())

    usual = spread(1.0)
    assert usual == pytest.approx(scanner.noise, rel=0.25)
    assert spread(0.25) == pytest.approx(2 * usual, rel=0.1)


def test_stored_values_are_those_of_the_scanner() -> None:
    volume = np.zeros((1, 8, 8), np.float32)
    volume[0, 4, 4], volume[0, 4, 5] = 40.4, 9000
    signed, padding = stored_values(volume, SCANNERS["A"])
    assert (signed.dtype, padding) == (np.int16, -2000)
    assert (signed[0, 4, 4], signed[0, 4, 5], signed[0, 0, 0]) == (1064, 4095, -2000)
    plain, padding = stored_values(volume, SCANNERS["B"])
    assert (plain.dtype, padding) == (np.uint16, None)
    assert (plain[0, 4, 4], plain[0, 0, 0]) == (1064, 1024)


def test_a_series_that_goes_beyond_its_region_is_longer_and_keeps_the_rest_in_place() -> None:
    usual = _scanned()
    longer = scan("k", _series(beyond=(100.0, 0.0)), PERSON, (), "small")
    assert usual.corner[2] - longer.corner[2] == pytest.approx(100, abs=0.01)
    assert len(longer.values) - len(usual.values) == pytest.approx(100 / usual.gap, abs=1)
