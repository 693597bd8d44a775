"""The generated cohort of lung nodules and its cases."""

from __future__ import annotations

import csv
import hashlib
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medcnn.data.adapters.phantom_nodules import phantom_nodules
from medcnn.data.images import read_case, read_image
from medcnn.data.phantom.lung_field import LungField
from medcnn.data.phantom.nodule_cohort import make_nodules
from medcnn.data.phantom.nodule_scans import Protocol, person, scan
from medcnn.data.phantom.nodules import Nodule
from medcnn.data.split import overlap
from medcnn.errors import DataError
from medcnn.geometry.boxes import boxes_to_world, centres
from medcnn.recipe.options import check_options
from medcnn.types import Boxes, Dataset, Mask

PATIENTS = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("nodules")
    phantom_nodules(found, patients=PATIENTS, workers=1)
    return found


@pytest.fixture(scope="module")
def dataset(root: Path) -> Dataset:
    return phantom_nodules(root, patients=PATIENTS, workers=1)


def table(dataset: Dataset, name: str) -> list[dict[str, str]]:
    with open(Path(str(dataset.facts["cohort"])) / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_third_of_the_patients_and_of_the_scans_has_no_nodules(dataset: Dataset) -> None:
    count = {case.id: len(found.corners) for case in dataset if (found := case.target(Boxes)) is not None}
    assert len(count) == len(dataset) == 9
    assert sum(not n for n in count.values()) == 3
    assert max(count.values()) <= 4
    without = {case.patient for case in dataset if not count[case.id]}
    assert len({case.patient for case in dataset}) == PATIENTS
    assert len(without) == 2
    assert not without & {case.patient for case in dataset if count[case.id]}


def test_nodules_and_second_scans_are_independent_in_every_block() -> None:
    for block in range(4):
        people = [person(3, 6 * block + k) for k in range(6)]
        assert Counter((p.nodules, p.scans) for p in people) == {
            (True, 1): 2, (True, 2): 2, (False, 1): 1, (False, 2): 1,
        }  # fmt: skip


def test_boxes_are_the_extents_of_the_nodules_in_the_mask(dataset: Dataset) -> None:
    for case in dataset:
        boxes, mask = case.target(Boxes), case.target(Mask)
        assert boxes is not None
        assert mask is not None
        parts, _ = ndimage.label(read_image(mask.image).array[0], np.ones((3, 3, 3)))
        found = [[s.start for s in p] + [s.stop for s in p] for p in ndimage.find_objects(parts)]
        assert sorted(found) == sorted(boxes.corners.tolist())
        assert boxes.labels.tolist() == [0] * len(found)


def test_boxes_lie_in_the_world_where_the_nodules_were_drawn(dataset: Dataset) -> None:
    rows = table(dataset, "nodules.csv")
    assert {row["kind"] for row in rows} >= {"solid", "vessel"}
    for case in dataset:
        here = [row for row in rows if row["scan"] == case.id and row["kind"] != "pleura"]
        affine = read_case(case).affine
        assert affine is not None
        for row in here:
            corners = np.array([[float(row[k]) for k in ("x1", "y1", "z1", "x2", "y2", "z2")]], np.float32)
            gap = centres(boxes_to_world(corners, affine))[0] - [float(row[k]) for k in ("x_mm", "y_mm", "z_mm")]
            # A lobe moves the middle of the hull by a part of the radius.
            assert np.abs(gap).max() < 2.5 + 0.3 * float(row["diameter_mm"])


@pytest.mark.parametrize("number", [1, 2])
def test_a_ball_is_found_where_it_was_drawn(number: int) -> None:
    # Of a patient's two scans one is shifted and turned against the other; a right lung is mirrored.
    lung = LungField("any")
    ball = Nodule("solid", (8.0, -20.0, 11.0), (5.0, 5.0, 5.0), 0.0, 40.0)
    protocol = Protocol.draw("any", number)
    found = scan(lung, (ball,), protocol, "noise", "medium")
    middle = np.array(ndimage.center_of_mass(found.marks == 1))
    lps = (found.affine @ [*middle, 1])[:3] * (-1, -1, 1) - protocol.center - protocol.shift
    angle = np.radians(protocol.roll)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ (protocol.side * 8.0, -20.0)
    np.testing.assert_allclose(lps, [*turned, 11.0], atol=0.3)
    volume = (found.marks == 1).sum() * abs(np.linalg.det(found.affine[:3, :3]))
    assert volume == pytest.approx(4 / 3 * np.pi * (5 * protocol.growth) ** 3, rel=0.06)
    inside = found.values[ndimage.binary_erosion(found.marks == 1, iterations=2)]
    assert np.median(inside) == pytest.approx(40, abs=25)


def test_scans_are_ct_numbers_with_real_spacing(dataset: Dataset) -> None:
    image = read_case(dataset.cases[0])
    assert image.array.shape == (1, 80, 80, 40)
    assert image.spacing == pytest.approx((1.25, 1.25, 2.5))
    low, middle, high = np.percentile(image.array, [1, 40, 99])
    assert -1024 <= low < -880
    assert -920 < middle < -780
    assert 200 < high < 1400


def test_nodules_are_no_brighter_than_what_is_beside_them(dataset: Dataset) -> None:
    for case in dataset:
        hu, mask = read_case(case).array[0], case.target(Mask)
        assert mask is not None
        nodule = read_image(mask.image).array[0] > 0
        if nodule.any():
            assert (hu[~nodule] > np.percentile(hu[nodule], 95)).sum() > 10 * nodule.sum()


def test_the_bytes_follow_from_the_parameters_alone(root: Path, tmp_path: Path) -> None:
    one = make_nodules(tmp_path / "one", patients=2, workers=2)
    two = make_nodules(tmp_path / "two", patients=2, workers=1)
    assert digest(one) == digest(two)
    # The first patients of a larger cohort are those of a smaller one.
    whole = digest(next(root.iterdir()))
    assert {k: v for k, v in digest(one).items() if k.endswith(".nii.gz")}.items() <= whole.items()


def test_a_cohort_is_used_again_and_of_another_seed_holds_nobody_of_it(root: Path, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    first = phantom_nodules(root, patients=PATIENTS)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    other = phantom_nodules(tmp_path, patients=1, seed=2, workers=1)
    assert not overlap(first.cases, {}, other.cases, {}).notes()


def test_scans_of_one_patient_show_the_same_lung_and_are_not_the_same(dataset: Dataset) -> None:
    twice = [p for p, n in Counter(case.patient for case in dataset).items() if n == 2]
    assert len(twice) == 3
    for patient in twice:
        first, second = (case for case in dataset if case.patient == patient)
        one, two = (read_case(case).array[0].astype(float).ravel() for case in (first, second))
        assert 0.7 < np.corrcoef(one, two)[0, 1] < 0.99
        assert first.attributes["side"] == second.attributes["side"]
        assert len({len(b.corners) for c in (first, second) if (b := c.target(Boxes)) is not None}) == 1


def test_nonsense_is_refused_and_damage_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="patients=0"):
        phantom_nodules(tmp_path, patients=0)
    cohort = next(root.iterdir())
    shutil.copytree(cohort, tmp_path / cohort.name)
    (tmp_path / cohort.name / "nodules.csv").unlink()
    with pytest.raises(DataError, match="damaged"):
        phantom_nodules(tmp_path, patients=PATIENTS)


def test_options_are_known_to_a_recipe() -> None:
    assert set(check_options("adapters", "phantom_nodules", {"patients": 30, "seed": 1, "size": "medium"})) >= {"size"}


def test_the_adapter_imports_no_drawing() -> None:
    code = "import sys, medcnn.data.phantom.nodule_cohort; print([m for m in ('numpy', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
