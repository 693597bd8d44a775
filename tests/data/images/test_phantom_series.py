"""The phantom's series: stacks, values and geometry against SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medcnn.data.images import Header, ReadOptions, read_image, read_stack, scan_file, stacks_of
from medcnn.data.phantom import VERSION, make_phantom


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> list[Header]:
    # The place is that of the phantom's own tests: whoever comes first makes it.
    folder = tmp_path_factory.getbasetemp() / "phantoms" / f"phantom-v{VERSION}-small-5-3"
    make_phantom(folder, patients=5, seed=3, workers=1)
    found = [scan_file(str(p)) for p in sorted(folder.rglob("*.dcm"))]
    return [h for h in found if isinstance(h, Header)]


def test_every_series_is_simpleitks(headers: list[Header]) -> None:
    volumes = [s for s in stacks_of(headers) if len(s.slices) > 1]
    assert len(volumes) >= 3
    for stack in volumes:
        assert stack.problem == ""
        reader = SimpleITK.ImageSeriesReader()
        folder = str(Path(stack.paths[0]).parent)
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder, stack.header.series))
        expected = reader.Execute()
        image = read_stack(stack, ReadOptions(padding="keep"))
        np.testing.assert_array_equal(image.array[0].T, SimpleITK.GetArrayFromImage(expected))
        affine = np.eye(4)
        affine[:3, :3] = np.array(expected.GetDirection()).reshape(3, 3) * expected.GetSpacing()
        affine[:3, 3] = expected.GetOrigin()
        # SimpleITK stacks at right angles; the slices of a tilted gantry lie along the table, and stay sheared here.
        columns = [0, 1, 3] if "tilt_degrees" in image.header else [0, 1, 2, 3]
        assert image.affine is not None
        np.testing.assert_allclose(image.affine[:, columns], (np.diag([-1, -1, 1, 1]) @ affine)[:, columns], atol=1e-4)
        np.testing.assert_allclose(stack.spacing, expected.GetSpacing(), rtol=1e-5)
        again = read_image(stack.ref(), ReadOptions(padding="keep"))
        np.testing.assert_array_equal(again.array, image.array)


def test_nothing_is_lost(headers: list[Header]) -> None:
    found = stacks_of(headers)
    placed = sorted(p for s in found for p in s.paths)
    assert placed == sorted(h.path for h in headers)
    assert {s.kind for s in found} <= {"image", "localizer"}
