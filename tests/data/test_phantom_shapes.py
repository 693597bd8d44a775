"""The solids of the phantom: distances against worked values, coverage at the edge, painting order."""

from __future__ import annotations

import numpy as np
import pytest

from medcnn.data.phantom.body import Traits, smooth
from medcnn.data.phantom.shapes import Canvas, Profile, Shape, capsule, depths, ellipsoid, loft, plate


def test_a_sphere_gives_true_distances() -> None:
    found, _ = ellipsoid((1, 2, 3), (10, 10, 10))
    assert depths(found, [(1, 2, 18), (1, 2, 13), (1, 7, 3), (11, 2, 3)]) == pytest.approx([5, 0, -5, 0], abs=1e-4)


def test_a_turned_ellipsoid_points_where_it_was_turned() -> None:
    found, box = ellipsoid((0, 0, 0), (20, 5, 5), turn=90)
    assert depths(found, [(0, 20, 0), (5, 0, 0)]) == pytest.approx([0, 0], abs=1e-3)
    assert box[2] <= -20
    assert box[3] >= 20


def test_a_capsule_has_round_ends_and_a_changing_radius() -> None:
    found, box = capsule((0, 0, 0), (0, 0, 10), 4, 2)
    assert depths(found, [(0, 0, -4), (0, 0, 12), (3, 0, 5), (10, 0, 0)]) == pytest.approx([0, 0, 0, 6], abs=1e-5)
    assert box == (-4, 4, -4, 4, -4, 14)


def test_a_loft_follows_its_knots_and_ends_at_them() -> None:
    found, _ = loft([(0, 0, 0, 10, 10), (10, 5, 0, 20, 20)])
    assert depths(found, [(10, 0, 0), (20, 0, 5), (5, 0, 15)]) == pytest.approx([0, 2.5, 5], abs=1e-4)


@pytest.mark.parametrize("point", [(40.0, 0.0, 5.0), (25.0, 25.0, 5.0), (0.0, -30.0, 5.0)])
def test_nothing_lies_inside_far_beyond_a_squared_loft(point: tuple[float, float, float]) -> None:
    found, _ = loft([(0, 0, 0, 10, 8), (10, 0, 0, 10, 8)], square=0.9)
    assert depths(found, [point])[0] > 0


def test_a_plate_is_as_thick_as_it_says() -> None:
    found, _ = plate([(0, -10, 0, 10, 0, 2), (10, -10, 0, 10, 0, 2)])
    assert depths(found, [(0, 2, 5), (0, 0, 5), (13, 0, 5)]) == pytest.approx([0, -2, 1], abs=1e-5)


def test_a_profile_holds_its_last_values_beyond_its_ends() -> None:
    profile = Profile([(0, 1.0), (10, 2.0)])
    assert profile(np.float32([[[-5]], [[5]], [[50]]]))[0].ravel() == pytest.approx([1.0, 1.5, 2.0])


def _canvas(n: int = 20) -> Canvas:
    axis = np.arange(n, dtype=np.float32) - (n - 1) / 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return Canvas(x.astype(np.float32), y.astype(np.float32), np.ascontiguousarray(z[:, :, :1]), 1.0)


def test_partial_volume_keeps_the_volume_of_a_sphere() -> None:
    canvas = _canvas()
    canvas.paint(Shape(*ellipsoid((0.3, -0.2, 0.1), (6, 6, 6)), hu=0, label=1, layer="ball"))
    assert canvas.layers["ball"].sum() == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.01)
    edge = canvas.hu[(canvas.hu > -990) & (canvas.hu < -10)]
    assert edge.size > 100
    assert (canvas.labels == 1).sum() == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)


def test_what_is_painted_later_covers_what_was_there() -> None:
    canvas = _canvas()
    canvas.paint(Shape(*ellipsoid((0, 0, 0), (8, 8, 8)), hu=50, label=1))
    canvas.paint(Shape(*ellipsoid((0, 0, 0), (3, 3, 3)), hu=300, label=None))
    canvas.paint(Shape(*ellipsoid((5, 0, 0), (2, 2, 2)), hu=-100, label=0))
    assert canvas.hu[10, 10, 10] == pytest.approx(300)
    assert canvas.labels[10, 10, 10] == 1
    assert canvas.labels[10, 10, 15] == 0


def test_a_shape_beside_the_grid_changes_nothing() -> None:
    canvas = _canvas()
    canvas.paint(Shape(*ellipsoid((100, 0, 0), (8, 8, 8)), hu=50, label=1))
    assert (canvas.hu == -1000).all()


def test_a_smooth_curve_passes_through_its_points() -> None:
    points = [(0.0, 0.0, 0.0), (1.0, 2.0, 3.0), (4.0, 4.0, 4.0)]
    assert np.allclose(smooth(points, 5)[::2], points)


def test_traits_of_a_person_do_not_change_between_calls() -> None:
    assert Traits.draw("a", female=True, age=50) == Traits.draw("a", female=True, age=50)
    assert Traits.draw("a", female=True, age=50) != Traits.draw("b", female=True, age=50)
