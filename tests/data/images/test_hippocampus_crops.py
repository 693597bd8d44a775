"""The hippocampus crops among the real DICOM series look like the cases of Task04, which are NIfTI."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import zoom

from medcnn.data.images import Header, read_image, read_stack, scan_file, stacks_of
from medcnn.geometry.affines import reorient
from medcnn.types import Image, ImageRef

FLIPS = [axes for count in range(4) for axes in itertools.combinations(range(3), count)]


def ranked(image: Image) -> np.ndarray:
    """Grey values by rank (scanners differ in their scale) on 24^3 voxels along R, A and S."""
    values = reorient(image.array, image.affine, "RAS")[0][0].astype(float)
    small = zoom(values, [24 / n for n in values.shape], order=1)
    ranks = small.ravel().argsort().argsort().reshape(small.shape).astype(float)
    return ranks - ranks.mean()


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.realdata
def test_crops_from_dicom_lie_and_look_as_the_cases_of_task04(realdata: Any) -> None:
    names = sorted((realdata("Task04_Hippocampus") / "imagesTr").glob("hippocampus_*.nii.gz"))[:30]
    cases = [read_image(ImageRef((str(name),))) for name in names]
    headers = [scan_file(str(p)) for p in sorted(Path(realdata("mr_dicom_series")).rglob("*.dcm"))]
    stacks = stacks_of(h for h in headers if isinstance(h, Header))
    crops = [read_stack(s) for s in stacks if "HippoCrop" in s.header.description]
    assert len(crops) == 3
    sizes = np.array([c.array.shape[1:] for c in cases])
    mean = np.mean([ranked(case) for case in cases], axis=0)
    for crop in crops:
        assert crop.spacing == pytest.approx((1, 1, 1))
        assert (np.array(crop.array.shape[1:]) >= sizes.min(0) - 2).all()
        assert (np.array(crop.array.shape[1:]) <= sizes.max(0) + 2).all()
        found = {axes: likeness(np.flip(ranked(crop), axes), mean) for axes in FLIPS}
        assert found[()] > 0.55, "as alike as the cases are among themselves"
        assert max(value for axes, value in found.items() if axes) < 0.4, "and no mirror image is"
