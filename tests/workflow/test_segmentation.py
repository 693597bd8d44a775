"""Segmentation the whole way: from images and masks to a report, and to masks in the images' own grid."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import medcnn
from medcnn.errors import DataError, RunError
from medcnn.evaluation.results import TablePanel
from medcnn.tasks.segmentation import SegmentationTask
from medcnn.workflow.folder import Run

COUNT = 12
# Voxels of 2 x 2 x 3 mm, the first axis running to the left.
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])


def ball(k: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A ball of label 1 with a core of label 2, somewhere near the middle."""
    centre = np.array(shape) / 2 + np.random.default_rng(k).uniform(-2, 2, len(shape))
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    distance = np.linalg.norm(places - centre, axis=-1)
    return ((distance < min(shape) / 3).astype(np.uint8) + (distance < min(shape) / 6)).astype(np.uint8)


def write_volumes(root: Path, count: int = COUNT, first: int = 0) -> Path:
    """Volumes of different sizes with their masks, and ``cases.csv``."""
    root.mkdir(parents=True)
    rows = ["image,mask,patient"]
    for k in range(first, first + count):
        shape = (16 + k % 3, 18, 12 + k % 2)
        mask = ball(k, shape)
        image = np.random.default_rng(k).normal(0, 8, shape) + 60 * mask
        for kind, array in (("image", image.astype(np.float32)), ("mask", mask)):
            made = nibabel.Nifti1Image(array, AFFINE)  # type: ignore[no-untyped-call]
            nibabel.save(made, root / f"{kind}{k}.nii.gz")
        rows.append(f"image{k}.nii.gz,mask{k}.nii.gz,p{k}")
    (root / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def write_pictures(root: Path) -> Path:
    root.mkdir(parents=True)
    rows = ["image,mask,second"]
    for k in range(COUNT):
        mask = (ball(k, (40, 36)) > 0).astype(np.uint8) * 255
        image = np.clip(np.random.default_rng(k).normal(80, 10, mask.shape) + mask / 4, 0, 255).astype(np.uint8)
        Image.fromarray(image.T).save(root / f"i{k}.png")
        Image.fromarray(mask.T).save(root / f"m{k}.png")
        Image.fromarray(np.roll(mask, 1, 0).T).save(root / f"n{k}.png")
        rows.append(f"i{k}.png,m{k}.png,n{k}.png")
    (root / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def recipe(folder: Path, root: Path, labels: str, size: str, extra: str = "", training: str = "") -> Path:
    path = folder / "recipe.yaml"
    patient = "patient: patient, " if "core" in labels else ""
    path.write_text(
        f"task: {{name: segmentation, overlap: 0.25}}\ndata:\n  root: {root}\n"
        f"  adapter: {{name: table, image: image, {patient}mask: mask, mask_labels: {labels}}}\n"
        "  split: {validation: 0.25, test: 0.25}\n"
        f"input: {{size: {size}, intensity: {{method: zscore}}{extra}}}\n"
        "model: {name: unet, channels: [4, 8]}\n"
        f"training: {{epochs: 6, batch_size: 3, optimizer: adam, learning_rate: 0.02, precision: '32'{training}}}\n"
        "evaluation: {resamples: 100}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on patches of volumes."""
    folder = tmp_path_factory.mktemp("segmentation")
    root = write_volumes(folder / "data")
    path = recipe(folder, root, "{ball: 1, core: 2}", "[12, 12, 8]", ", fit: patches, patches: {per_case: 2}")
    done = medcnn.run(path, out=folder / "run", overrides=[f"data.cache={folder / 'cache'}"])
    assert isinstance(done, Run)
    return done


def test_masks_are_written_in_the_grid_of_their_images(volumes: Run) -> None:
    written = sorted((volumes.folder / "training" / "predictions" / "test").glob("*.nii.gz"))
    assert len(written) == len(volumes.split.part(0, "test"))
    for path in written:
        case = next(c for c in volumes.cases.values() if c.id.startswith(path.name.split(".")[0]))
        image, mask = (nibabel.load(p) for p in (case.images[0].paths[0], path))  # type: ignore[attr-defined]
        assert mask.shape == image.shape
        np.testing.assert_allclose(mask.affine, image.affine)
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1, 2}


def test_the_figures_are_those_of_the_masks_on_disk(volumes: Run) -> None:
    evaluation = medcnn.evaluate(volumes)
    dice = []
    for name in volumes.split.part(0, "test"):
        case = volumes.cases[name]
        index = Path(case.images[0].paths[0]).name.removeprefix("image").split(".")[0]
        found = next((volumes.folder / "training" / "predictions" / "test").glob(f"image{index}.nii.gz"))
        reference = np.asarray(nibabel.load(Path(case.images[0].paths[0]).parent / f"mask{index}.nii.gz").dataobj)  # type: ignore[attr-defined]
        predicted = np.asarray(nibabel.load(found).dataobj)  # type: ignore[attr-defined]
        both = ((reference == 1) & (predicted == 1)).sum()
        dice.append(2 * both / ((reference == 1).sum() + (predicted == 1).sum()))
    figure = evaluation.find("dice", "ball")
    assert figure.value == pytest.approx(np.mean(dice), abs=1e-9)
    assert figure.value > 0.5
    assert figure.interval is not None or figure.note
    assert figure.baseline is not None


def test_the_report_shows_the_run(volumes: Run) -> None:
    text = volumes.report.read_text(encoding="utf-8")
    for word in ("Dice", "ball", "core", "Surface"):
        assert word in text
    log = (volumes.folder / "training" / "log.csv").read_text(encoding="utf-8")
    assert "validation_dice_core" in log


def test_prediction_writes_masks_and_volumes(volumes: Run, tmp_path: Path) -> None:
    new = write_volumes(tmp_path / "new", 2, first=50)
    (new / "cases.csv").unlink()
    (new / "broken.nii.gz").write_bytes(b"no image")
    for k in (50, 51):
        (new / f"mask{k}.nii.gz").unlink()
    table = medcnn.predict(volumes, [new], out=tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open(encoding="utf-8")))
    assert len(rows) == len(table) == 3
    good = [row for row in rows if not row["error"]]
    assert len(good) == 2
    assert {row["mask"] for row in good} == {"image50.nii.gz", "image51.nii.gz"}
    for row in good:
        mask = nibabel.load(tmp_path / "out" / row["mask"])  # type: ignore[attr-defined]
        voxels = int((np.asarray(mask.dataobj) == 1).sum())
        assert float(row["ball_mm3"]) == pytest.approx(12 * voxels)
        np.testing.assert_allclose(mask.affine, AFFINE)


def test_validation_chooses_the_post_processing(volumes: Run, tmp_path: Path) -> None:
    copied = tmp_path / "training" / "predictions"
    shutil.copytree(volumes.folder / "training" / "predictions", copied)
    for path in (copied / "validation").glob("*.nii.gz"):
        mask = nibabel.load(path)  # type: ignore[attr-defined]
        labels = np.asarray(mask.dataobj).copy()
        labels[0, 0, :2] = 1  # a speck that lies on nothing
        nibabel.save(nibabel.Nifti1Image(labels, mask.affine), path)  # type: ignore[no-untyped-call]
    task = SegmentationTask.create(volumes.dataset, postprocess="auto")
    found = task.thresholds(copied, volumes.cases, {})
    assert {key for key in found if key.endswith(":ball")} & {"largest component:ball", "least volume:ball"}
    assert SegmentationTask.create(volumes.dataset).thresholds(copied, volumes.cases, {}) == {}


def test_masks_need_a_folder(volumes: Run, tmp_path: Path) -> None:
    for out in (None, tmp_path / "table.csv"):
        with pytest.raises(RunError, match="folder"):
            medcnn.predict(volumes, [tmp_path], out=out)


def test_pictures_resized_and_back(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data")
    path = recipe(tmp_path, root, "{disc: 255}", "[24, 24]", ", symmetric_axes: [0]")
    done = medcnn.run(path, out=tmp_path / "run", overrides=[f"data.cache={tmp_path / 'cache'}", "task.mirror=true"])
    assert isinstance(done, Run)
    for file in (tmp_path / "run" / "training" / "predictions" / "test").glob("*.png"):
        found = np.asarray(Image.open(file))
        assert found.shape == (36, 40)
        assert set(np.unique(found)) <= {0, 255}
    assert medcnn.evaluate(done).find("dice", "disc").value > 0.6
    assert "Agreement between readers" not in done.report.read_text(encoding="utf-8")


def test_two_readers_of_a_run_are_compared(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data")
    path = recipe(tmp_path, root, "{disc: 255}", "[24, 24]")
    changed = [f"data.cache={tmp_path / 'cache'}", "data.adapter.mask=[mask, second]", "training.epochs=1"]
    done = medcnn.run(path, out=tmp_path / "run", overrides=[*changed, "task.consensus=majority"])
    assert isinstance(done, Run)
    panel = next(p for p in medcnn.evaluate(done).panels if p.title == "Agreement between readers")
    assert isinstance(panel, TablePanel)
    assert panel.rows[0][:2] == ["1 and 2", "disc"]
    # The second reader drew the same, one pixel further.
    assert 0.8 < panel.rows[0][2].value < 1
    assert panel.rows[0][5].value == 0
    assert "Agreement between readers" in done.report.read_text(encoding="utf-8")


def test_masks_without_any_label_stop_before_training(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data")
    for file in root.glob("m*.png"):
        Image.fromarray(np.zeros((36, 40), np.uint8)).save(file)
    path = recipe(tmp_path, root, "{disc: 255}", "[24, 24]")
    with pytest.raises(DataError, match=r"no voxel of the .* training masks has a label"):
        medcnn.run(path, out=tmp_path / "run", overrides=[f"data.cache={tmp_path / 'cache'}"])
