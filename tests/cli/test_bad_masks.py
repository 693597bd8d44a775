"""Masks that do not fit end in one message with the file and the remedy, and nothing is lost."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

Command = Callable[..., Any]
SHAPE = (8, 9, 6)
RECIPE = """
task: segmentation
data:
  root: {root}
  adapter: {adapter}
  on_error: stop
  split: {{by: fractions}}
input: {{size: [16, 16, 16], fit: pad}}
model: small_unet
training: {{epochs: 1, batch_size: 2}}
"""
PAIRS = "{name: pairs, mask_labels: {tumour: 1}}"


def save(path: Path, values: Any, affine: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1]) if affine is None else affine, dtype=values.dtype)
    made.set_sform(made.affine, 1)
    made.set_qform(made.affine, 1)
    nibabel.save(made, path)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four good pairs."""
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    for k in range(4):
        save(tmp_path / f"images/{k}.nii.gz", np.random.default_rng(k).normal(size=SHAPE).astype(np.float32))
        mask = np.zeros(SHAPE, np.uint8)
        mask[2:5, 3:6, 1:4] = 1
        save(tmp_path / f"masks/{k}.nii.gz", mask)
    return tmp_path


def refused(command: Command, root: Path, *arguments: str, adapter: str = PAIRS) -> str:
    """Runs a recipe on the folder; exit code 2 and one message, which is returned."""
    (root / "recipe.yaml").write_text(RECIPE.format(root=root, adapter=adapter), encoding="utf-8")
    done = command("run", root / "recipe.yaml", *arguments, "--out", root / "run")
    assert done.code == 2, done
    assert done.err.count("error:") == 1, done.err
    assert "Traceback" not in done.err
    message = str(done.err[done.err.index("error:") :])
    assert len(message.strip().splitlines()) > 1, f"the message does not say what to do: {message}"
    return message


def ones(*, at: Any = 0, value: float = 1, kind: type = np.uint8, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    found = np.zeros(shape, kind)
    found.flat[at] = value
    return found


BAD = {
    "another shape": (ones(shape=(8, 9, 5)), None, "it has 8x9x5, the image 8x9x6"),
    "a flip": (ones(), [[-1.0, 0, 0, 7], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]], "it is flipped along axis 0"),
    "another spacing": (
        ones(),
        np.diag([1.0, 1, 2.5, 1]),
        "its voxels measure 1x1x2.5 mm, those of the image 1x1x2 mm",
    ),
    "another order of axes": (
        ones(shape=(9, 8, 6)),
        [[0, 1.0, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]],
        "order",
    ),
    "a value outside the schema": (ones(value=7), None, "the mask holds the value 7, outside the schema (1 = tumour)"),
    "values between labels": (ones(value=0.4, kind=np.float32), None, "1 values between labels, such as 0.4"),
    "NaN": (ones(value=np.nan, kind=np.float32), None, "1 values that are not finite (NaN or infinite)"),
    "four axes": (ones(shape=(*SHAPE, 2)), None, "a mask has three axes at most, and this one has four"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mask_that_does_not_fit(medcnn_command: Command, root: Path, name: str) -> None:
    values, affine, words = BAD[name]
    save(root / "masks/2.nii.gz", values, affine)
    message = refused(medcnn_command, root)
    assert words in message
    assert f"1 case cannot be used; the first is {root / 'masks/2.nii.gz'}: " in message


def test_a_broken_mask_is_called_so(medcnn_command: Command, root: Path) -> None:
    (root / "masks/2.nii.gz").write_bytes((root / "masks/2.nii.gz").read_bytes()[:60])
    message = refused(medcnn_command, root)
    assert f"the first is {root / 'masks/2.nii.gz'}: the mask cannot be read: " in message


def test_images_and_masks_without_a_partner(medcnn_command: Command, root: Path) -> None:
    (root / "masks/2.nii.gz").rename(root / "masks/other.nii.gz")
    message = refused(medcnn_command, root)
    assert f"2 cases cannot be used; the first is {root / 'images/2.nii.gz'}: the image has no mask" in message
    (root / "images/2.nii.gz").unlink()
    assert "masks/other: the mask has no image" in refused(medcnn_command, root)
    for path in (root / "masks").iterdir():
        path.rename(path.with_name(f"{path.name.partition('.')[0]}_seg.nii.gz"))
    assert "no image and mask have one name" in refused(medcnn_command, root)


def test_a_table_that_names_a_mask_that_is_not_there(medcnn_command: Command, root: Path) -> None:
    rows = "".join(f"images/{k}.nii.gz,masks/{k}.nii.gz\n" for k in range(4))
    (root / "cases.csv").write_text(f"image,mask\n{rows}".replace("masks/3", "masks/33"))
    message = refused(medcnn_command, root, adapter="{name: table, mask: mask}")
    assert f"{root / 'masks/33.nii.gz'}: the mask cannot be used: the file does not exist" in message


def test_only_background_in_the_training_part(medcnn_command: Command, root: Path) -> None:
    for k in range(4):
        save(root / f"masks/{k}.nii.gz", np.zeros(SHAPE, np.uint8))
    assert "training masks has a label: nothing can be learned" in refused(medcnn_command, root)


def test_labels_that_the_dataset_does_not_have(medcnn_command: Command, root: Path) -> None:
    about = {
        "labels": {"0": "background", "1": "liver"},
        "training": [{"image": f"images/{k}.nii.gz", "label": f"masks/{k}.nii.gz"} for k in range(4)],
    }
    (root / "dataset.json").write_text(json.dumps(about))
    message = refused(medcnn_command, root, adapter="{name: decathlon, mask_labels: {tumour: livr}}")
    assert "'livr', which stands for the label 'tumour', is not there" in message
    assert "did you mean 'liver'?" in message
    message = refused(medcnn_command, root, adapter="{name: decathlon, mask_labels: {a: 1, b: 1}}")
    assert "the value 1 stands for two labels, 'a' and 'b'" in message


def test_one_bad_mask_is_listed_and_the_run_goes_on(medcnn_command: Command, root: Path) -> None:
    save(root / "masks/2.nii.gz", ones(value=7))
    (root / "recipe.yaml").write_text(RECIPE.format(root=root, adapter=PAIRS), encoding="utf-8")
    arguments = ("data.on_error=report", "data.max_unusable=0.5", "evaluation.resamples=100", "--out", root / "run")
    done = medcnn_command("run", root / "recipe.yaml", *arguments)
    assert done.code == 0, done.err
    with (root / "run/exclusions.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["case"], row["path"]) == ("2", str(root / "masks/2.nii.gz"))
    assert "the value 7, outside the schema" in row["reason"]


def test_bad_images_beside_good_masks(medcnn_command: Command, root: Path) -> None:
    save(root / "images/2.nii.gz", np.zeros((*SHAPE, 2), np.float32))
    message = refused(medcnn_command, root)
    assert f"the first is {root / 'images/2.nii.gz'}: " in message
    assert "the file holds 2 volumes, and what they are is not said" in message
    save(root / "images/2.nii.gz", np.full(SHAPE, np.nan, np.float32))
    assert "no pixel has a finite value" in refused(medcnn_command, root)


def test_nan_and_infinite_voxels_wild_scales_and_large_patches_are_trained_on(
    medcnn_command: Command, root: Path
) -> None:
    for k, scale in enumerate((1e-3, 1.0, 1e3, 1e6)):
        values = np.random.default_rng(k).normal(size=SHAPE).astype(np.float32) * np.float32(scale)
        values[0, 0, :2] = np.nan, np.inf
        save(root / f"images/{k}.nii.gz", values)
    recipe = RECIPE.format(root=root, adapter=PAIRS).replace("fit: pad", "fit: patches, intensity: {method: zscore}")
    (root / "recipe.yaml").write_text(recipe, encoding="utf-8")
    done = medcnn_command("run", root / "recipe.yaml", "evaluation.resamples=100", "--out", root / "run")
    assert done.code == 0, done.err
    assert "4 of 4 images are smaller than a patch of 16x16x16 voxels along an axis, and padded" in done.err
    log = (root / "run/training/log.csv").read_text(encoding="utf-8")
    assert "nan" not in log.lower()
    for path in (root / "run/training/predictions/test").glob("*.nii.gz"):
        assert nibabel.load(path).shape == SHAPE  # type: ignore[attr-defined]
