"""``auto`` in a recipe: planned from the training part of each fold, kept in the run's recipe, used ever after."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

import medcnn
from medcnn.data.images import read_case
from medcnn.errors import ModelError, RecipeError
from medcnn.inference.hardware import choose_hardware
from medcnn.inference.predictor import predict_cases
from medcnn.recipe.auto import concrete
from medcnn.recipe.load import resolved
from medcnn.recipe.schema import PlanSection, Recipe
from medcnn.types import Case, ImageRef, MapPrediction
from medcnn.workflow import planning
from medcnn.workflow.evaluate import load_run_models
from medcnn.workflow.folder import Run
from tests.workflow.test_segmentation import AFFINE, ball


def write_images(root: Path, count: int = 8) -> Path:
    """Volumes of two spacings, so that the medians of the folds may differ."""
    root.mkdir(parents=True)
    rows = ["image,mask,patient"]
    for k in range(count):
        shape = (16 + k % 3, 18, 12)
        mask = ball(k, shape)
        image = np.random.default_rng(k).normal(0, 8, shape) + 60 * mask
        affine = AFFINE @ np.diag([1, 1, 1 + k / 10, 1])
        for kind, array in (("image", image.astype(np.float32)), ("mask", mask)):
            nibabel.save(nibabel.Nifti1Image(array, affine), root / f"{kind}{k}.nii.gz")  # type: ignore[no-untyped-call]
        rows.append(f"image{k}.nii.gz,mask{k}.nii.gz,p{k}")
    (root / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def write_recipe(
    folder: Path, seen: str = "auto", model: str = "{name: auto, network: small_unet, work: 4.0e+8}", **more: str
) -> Path:
    path = folder / "recipe.yaml"
    split = more.get("split", "{by: folds, folds: 2, validation: 0.25}")
    path.write_text(
        f"task: {more.get('task', '{name: segmentation, overlap: 0.25}')}\n"
        f"data:\n  root: {folder / 'data'}\n  split: {split}\n  cache: {folder / 'cache'}\n"
        "  adapter: {name: table, image: image, patient: patient, mask: mask, mask_labels: {ball: 1, core: 2}}\n"
        f"input: {seen}\nmodel: {model}\n"
        f"training: {{epochs: 1, optimizer: adam, precision: '32', memory_gb: 0.3{more.get('training', '')}}}\n"
        "evaluation: {resamples: 100}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("planning")
    write_images(made / "data")
    write_recipe(made)
    return made


@pytest.fixture(scope="module")
def planned(folder: Path) -> Run:
    done = medcnn.run(folder / "recipe.yaml", out=folder / "run")
    assert isinstance(done, Run)
    return done


def thickness(run: Run, fold: int) -> list[float]:
    cases = [run.cases[i] for i in run.split.part(fold, "training")]
    return [float(read_case(case).spacing[2]) for case in cases]  # type: ignore[index]


@pytest.mark.slow
def test_each_fold_is_planned_from_its_own_training_part(planned: Run) -> None:
    assert planned.recipe.model.name == "auto"
    assert len(planned.recipe.plan) == 2
    for fold, plan in enumerate(planned.recipe.plan):
        assert plan.input["spacing"][2] == pytest.approx(np.median(thickness(planned, fold)), abs=1e-3)
        assert plan.model is not None
        assert plan.model.name == "small_unet"
        assert any("median" in reason for reason in plan.reasons)
    spacings = [plan.input["spacing"] for plan in planned.recipe.plan]
    assert spacings[0] != spacings[1]
    for model, plan in zip(load_run_models(planned), planned.recipe.plan, strict=True):
        assert list(model.preprocess.section.size) == plan.input["size"]
        assert list(model.preprocess.section.spacing or ()) == plan.input["spacing"]
        assert plan.model is not None
        assert model.description["network"]["options"]["filters"] == plan.model.options["filters"]


@pytest.mark.slow
def test_the_report_shows_the_plan_and_its_reasons(planned: Run) -> None:
    text = planned.report.read_text(encoding="utf-8")
    assert "The plan" in text
    assert planned.recipe.plan[0].reasons[0].split(" over ")[0] in text


@pytest.mark.slow
def test_the_folds_are_averaged_in_the_images_own_grid(planned: Run) -> None:
    models = load_run_models(planned)
    case = Case("x", (ImageRef((planned.cases[planned.split.part(0, "test")[0]].images[0].paths[0],)),))
    hardware = choose_hardware("cpu", "32", 1)
    shape = read_case(case).array.shape[1:]
    kept: dict[str, Any] = {}

    def keep(_: Case, prediction: Any, placement: Any) -> Any:
        kept["placement"] = placement
        return prediction

    both = predict_cases(models, [case], hardware, keep=keep)[0]["x"]
    assert isinstance(both, MapPrediction)
    assert both.probabilities.shape[1:] == shape
    np.testing.assert_array_equal(kept["placement"].matrix, np.eye(4))
    single = []
    for model in models:
        own = predict_cases([model], [case], hardware, keep=keep)[0]["x"]
        placed = model.task.placed(own, kept["placement"])
        assert isinstance(placed, MapPrediction)
        single.append(placed.probabilities)
    assert single[0].shape[1:] == shape
    np.testing.assert_allclose(both.probabilities, (single[0] + single[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(both.probabilities.sum(0), 1, atol=1e-4)


@pytest.mark.slow
def test_a_resumed_run_uses_the_stored_plan(
    planned: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(planned.folder, copy)
    for left in (copy / "fold-1", copy / "report.html", copy / "evaluation"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("planned anew")

    monkeypatch.setattr(planning, "plan", never)
    done = medcnn.run(folder / "recipe.yaml", out=copy, resume=True)
    assert isinstance(done, Run)
    assert done.recipe.plan == planned.recipe.plan
    first, second = (torch.load(r.models[1], weights_only=True)["state_dict"] for r in (planned, done))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.slow
def test_the_resolved_recipe_is_run_again_with_its_plan(
    planned: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "plan", lambda *_, **__: pytest.fail("planned anew"))
    changed = ["data.split.only=[0]", "training.balanced_sampling=true", "input.patches.per_case=2"]
    again = medcnn.train(planned.folder / "recipe.yaml", out=tmp_path / "run", overrides=changed)
    assert again.recipe.plan == planned.recipe.plan


@pytest.mark.slow
def test_pictures_are_windowed_as_planned(planned: Run, tmp_path: Path) -> None:
    assert planned.window == (None, None)
    window = PlanSection(input={"intensity": {"method": "window", "low": -50.0, "high": 250.0}})
    text = resolved(planned.recipe.model_copy(update={"plan": (window, window)}))
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    assert Run(tmp_path).window == (-50, 250)


@pytest.mark.slow
def test_a_plan_for_other_folds_is_refused(planned: Run, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds 2 plans, the split has 3 folds"):
        medcnn.train(planned.folder / "recipe.yaml", out=tmp_path / "run", overrides=["data.split.folds=3"])
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_network_of_a_planned_run_is_described_and_an_unplanned_one_says_what_to_do(
    planned: Run, folder: Path
) -> None:
    layers = medcnn.describe(planned.folder / "recipe.yaml")
    assert layers[-1].output_shape[0] == 3 or any(layer.output_shape[:1] == (3,) for layer in layers)
    with pytest.raises(RecipeError, match="planned from the training part") as caught:
        medcnn.describe(folder / "recipe.yaml")
    assert "folder of a run" in str(caught.value)


@pytest.mark.parametrize(
    ("seen", "model", "training", "kept"),
    [
        ("{size: [16, 16, 8], fit: patches}", "{name: auto, network: small_unet}", "", {"size": (16, 16, 8)}),
        ("{size: auto, spacing: [2, 2, 4]}", "auto", "", {"spacing": (2.0, 2.0, 4.0)}),
        ("{size: auto, spacing: null}", "auto", "", {"spacing": None}),
        ("auto", "{name: unet, channels: [4, 8]}", ", batch_size: 3", {"model": "unet", "batch_size": 3}),
        ("{size: auto, intensity: {method: percentiles}}", "auto", "", {"method": "percentiles"}),
    ],
)
def test_what_is_given_is_kept(
    folder: Path, tmp_path: Path, seen: str, model: str, training: str, kept: dict[str, Any]
) -> None:
    (tmp_path / "data").symlink_to(folder / "data")
    path = write_recipe(tmp_path, seen, model, training=training, split="{validation: 0.25, test: 0.25}")
    recipe = medcnn.load_recipe(path)
    assert isinstance(recipe, Recipe)
    run = prepared(recipe, tmp_path)
    own = concrete(run.recipe, 0)
    assert own.input.fit == "patches"
    found = {
        "size": own.input.size,
        "spacing": own.input.spacing,
        "model": own.model.name,
        "batch_size": own.training.batch_size,
        "method": own.input.intensity.method,
    }
    assert {key: found[key] for key in kept} == kept
    assert own.training.batch_size >= 2
    assert own.input.size


def prepared(recipe: Recipe, folder: Path) -> Run:
    from medcnn.progress import Silent
    from medcnn.workflow.prepare import prepare

    (folder / "run").mkdir()
    return prepare(recipe, folder / "run", choose_hardware("cpu", "32", 1), Silent()).run


def test_ct_is_clipped_to_the_labelled_voxels_of_the_training_part(folder: Path) -> None:
    from dataclasses import replace

    from medcnn.data.dataset import load_dataset
    from medcnn.tasks.segmentation import SegmentationTask

    recipe = medcnn.load_recipe(folder / "recipe.yaml")
    assert isinstance(recipe, Recipe)
    dataset = replace(load_dataset(recipe.data), facts={"modality": "CT"})
    found = planning.intensities_of(dataset, dataset.cases[:3], SegmentationTask.create(dataset))
    values = []
    for k in range(3):
        image, mask = (np.asarray(nibabel.load(folder / "data" / f"{n}{k}.nii.gz").dataobj) for n in ("image", "mask"))  # type: ignore[attr-defined]
        values.append(image[mask > 0])
    low, high = np.percentile(np.concatenate(values), (0.5, 99.5))
    assert found.hounsfield
    assert (found.low, found.high) == (np.floor(low), np.ceil(high))


def test_a_task_that_plans_nothing_says_so_before_anything_is_read(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "auto", "auto", task="classification")
    with pytest.raises(RecipeError, match="classification plans nothing by itself"):
        medcnn.train(path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_budget_that_is_too_small_says_what_is_enough(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"training\.memory_gb=0\.\d+"):
        medcnn.train(folder / "recipe.yaml", out=tmp_path / "run", overrides=["training.memory_gb=0.05"])
