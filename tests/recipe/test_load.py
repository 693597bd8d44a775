"""Loading recipes: all problems at once, overrides, suites, and the resolved recipe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medcnn.errors import MedcnnError, RecipeError
from medcnn.recipe.load import load_members, load_recipe, recipe_names, resolved
from medcnn.recipe.problems import Problem
from medcnn.recipe.schema import Recipe, Suite

Write = Callable[..., Path]


def problems(source: Path | str, *overrides: str, **options: object) -> list[str]:
    """The problems of a recipe, with the folder of the file left out."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, overrides, **options)  # type: ignore[arg-type]
    folder = f"{Path(source).parent}/"
    return [p.replace(folder, "") for p in caught.value.problems]


def loaded(source: Path | str, *overrides: str) -> Recipe:
    recipe = load_recipe(source, overrides)
    assert isinstance(recipe, Recipe)
    return recipe


def test_there_are_shipped_recipes() -> None:
    assert len(recipe_names()) > 0
    assert "quickstart" in recipe_names()


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid_and_has_a_title(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.title
    assert recipe.description


@pytest.mark.parametrize("name", recipe_names())
def test_a_resolved_recipe_loads_back_to_the_equal_recipe(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "again.yaml").write_text(resolved(recipe), encoding="utf-8")
    again = load_recipe(tmp_path / "again.yaml")
    assert again == recipe
    assert resolved(again) == resolved(recipe)


def test_a_resolved_recipe_writes_out_the_defaults_of_options_too(write: Write) -> None:
    recipe = loaded(write())
    assert recipe.model.options["kernel_size"] == 3
    assert recipe.training.optimizer.options["betas"] == (0.9, 0.999)
    text = resolved(recipe)
    for line in ("kernel_size: 3", "betas: [0.9, 0.999]", "  resamples: 2000", "seed: 0"):
        assert line in text


def test_loading_a_recipe_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from medcnn.recipe.load import load_recipe; load_recipe('quickstart')\n"
        "print([m for m in ('torch', 'monai', 'lightning', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_problems_are_listed_at_once_with_line_key_and_nearest_name(write: Write) -> None:
    text = """\
task: clasification
titel: x
data: {dataset: mednist, split: {by: fractions, validation: 0.6, test: 0.5}}
input:
  size: [64]
  augment: {rotat: 3, zoom: 2}
model:
  name: basic_cnn
  filtres: [8, 16]
  kernel_size: big
  activation: rellu
epochs: 3
training:
  epochs: 0
  optimizer: {name: adamx}
  devices: many
  loss: 3
  learning_rate:
report: [1]
"""
    expected = [
        "recipe.yaml:1: task.name: unknown name 'clasification' among the tasks (did you mean 'classification'?)",
        "recipe.yaml:2: titel: unknown key (did you mean 'title'?)",
        "recipe.yaml:3: data.split.test: validation and test leave nothing for training (0.6 + 0.5)",
        "recipe.yaml:5: input.size: should have 2 or 3 entries, not 1",
        "recipe.yaml:6: input.augment.rotat: unknown key (did you mean 'rotate'?)",
        "recipe.yaml:6: input.augment.zoom: should be less than 1, not 2",
        "recipe.yaml:9: model.filtres: unknown key (did you mean 'filters'?)",
        "recipe.yaml:10: model.kernel_size: should be a whole number or a list, not 'big'",
        "recipe.yaml:12: epochs: unknown key (did you mean 'training.epochs'?)",
        "recipe.yaml:14: training.epochs: should be greater than or equal to 1, not 0",
        "recipe.yaml:15: training.optimizer.name: unknown name 'adamx' among the optimizers (did you mean 'adam'?)",
        "recipe.yaml:16: training.devices: should be a whole number or 'auto', not 'many'",
        "recipe.yaml:17: training.loss: should be a name, or a mapping with a name and its options, not 3",
        "recipe.yaml:18: training.learning_rate: should be a number, not empty",
        "recipe.yaml:19: report: should be a mapping with keys title, gallery, not [1]",
    ]
    found = problems(write(text))
    activation = [p for p in found if "model.activation" in p]
    assert sorted(p for p in found if p not in activation) == sorted(expected)
    assert len(activation) == 1
    assert activation[0].endswith("not 'rellu' (did you mean 'relu'?)")
    lines = [int(p.split(":")[1]) for p in found]
    assert lines == sorted(lines)


def test_missing_keys_are_named(write: Write) -> None:
    found = problems(write("task: classification\nmodel: {filters: [8]}\n"))
    assert found == [
        "recipe.yaml:1: data: is missing",
        "recipe.yaml:1: input: is missing",
        "recipe.yaml:2: model.name: is missing",
    ]


def test_a_key_that_stands_twice_is_listed_with_the_rest(write: Write, recipe_text: str) -> None:
    found = problems(write(recipe_text + "title: B\nsed: 3\n"))
    assert found == [
        "recipe.yaml:10: title: stands twice (first in line 1)",
        "recipe.yaml:11: sed: unknown key (did you mean 'seed'?)",
    ]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text\n"])
def test_a_file_that_is_no_mapping_says_what_a_recipe_is(text: str, write: Write) -> None:
    (found,) = problems(write(text))
    assert "a recipe is a mapping with the keys title, description, task, data" in found


def test_the_evaluators_options_are_checked_by_the_task(write: Write, recipe_text: str) -> None:
    found = problems(write(recipe_text + "evaluation: {resample: 100, level: high}\n"))
    assert found == [
        "recipe.yaml:10: evaluation.level: should be a number, not 'high'",
        "recipe.yaml:10: evaluation.resample: unknown key (did you mean 'resamples'?)",
    ]


def test_checks_of_other_rooms_join_the_list_also_where_something_else_is_wrong(write: Write) -> None:
    def check(recipe: Recipe) -> Iterator[Problem]:
        yield Problem(("data", "dataset"), f"no {recipe.data.dataset}")

    found = problems(write(), "training.epochs=0", "data.split.by=folds", checks=(check,))
    assert "recipe.yaml:4: data.dataset: no mednist" in found
    assert "override: training.epochs: should be greater than or equal to 1, not 0" in found
    assert "recipe.yaml:3: data.split.folds: is missing: by: folds needs their number" in found


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("training.epochs=5", lambda r: r.training.epochs == 5),
        ("training.learning_rate=1e-3", lambda r: r.training.learning_rate == 0.001),
        ("title=a = b == c", lambda r: r.title == "a = b == c"),
        ("input.size=[32, 48]", lambda r: r.input.size == (32, 48)),
        ("model.filters=[4, 8, 16]", lambda r: r.model.options["filters"] == (4, 8, 16)),
        ("model=small_resnet", lambda r: (r.model.name, "filters" in r.model.options) == ("small_resnet", False)),
        ("model={name: small_resnet, width: 8}", lambda r: r.model.options["width"] == 8),
        ("training.optimizer.weight_decay=0.1", lambda r: r.training.optimizer.options["weight_decay"] == 0.1),
        ("input.augment=null", lambda r: r.input.augment is None),
        ("input.augment=", lambda r: r.input.augment is None),
        ("data.options.recursive=false", lambda r: r.data.options == {"recursive": False}),
        ("evaluation.resamples=50", lambda r: r.evaluation["resamples"] == 50),
        ("training.precision=32", lambda r: r.training.precision == "32"),
    ],
)
def test_overrides_set_values_in_yaml(override: str, read: Callable[[Recipe], bool], write: Write) -> None:
    text = write().read_text(encoding="utf-8") + "training:\n  optimizer: sgd\n"
    assert read(loaded(write(text), override))


def test_an_option_of_a_component_that_is_absent_needs_its_name(write: Write) -> None:
    assert problems(write(), "training.loss.gamma=1") == ["recipe.yaml:1: training.loss.name: is missing"]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("training.epoch=5", "override: training.epoch: unknown key (did you mean 'epochs'?)"),
        ("epochs=5", "override: epochs: unknown key (did you mean 'training.epochs'?)"),
        ("trainin.epochs=5", "override: trainin.epochs: unknown key (did you mean 'training'?)"),
        ("seed.x=5", "override: seed.x: unknown key (nothing can stand below this key)"),
        ("model.filter=[3]", "override: model.filter: unknown key (did you mean 'filters'?)"),
        ("quick", "override: quick: an override is written key=value, such as training.epochs=5"),
        ("=5", "override: an override is written key=value, such as training.epochs=5"),
        ("seed=[1", "override: seed: the value is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("seed=many", "override: seed: should be a whole number, not 'many'"),
        ("training.optimizer={name: sgd, momentum: 3}", "override: training.optimizer.momentum: should be less than 1"),
    ],
)
def test_wrong_overrides_are_named_as_such(override: str, problem: str, write: Write) -> None:
    (found,) = problems(write(), override)
    assert found.startswith(problem)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(MedcnnError, match="did you mean 'quickstart'"):
        load_recipe("quickstrat")


def test_a_run_folder_stands_for_its_recipe(write: Write, tmp_path: Path) -> None:
    path = write()
    assert load_recipe(tmp_path) == load_recipe(path)


def test_missing_files_and_folders_without_a_recipe_are_named(tmp_path: Path) -> None:
    with pytest.raises(MedcnnError, match="does not exist"):
        load_recipe("absent/recipe.yaml")
    with pytest.raises(MedcnnError, match=r"holds no recipe\.yaml"):
        load_recipe(tmp_path)


def test_a_suite_finds_members_by_name_and_beside_itself(write: Write) -> None:
    write(name="mine.yaml")
    suite = load_recipe(write("suite: [mine.yaml, quickstart_abdomen]\n", "suite.yaml"), ["training.epochs=2"])
    assert isinstance(suite, Suite)
    assert Path(suite.suite[0]).is_file()
    members = load_members(suite, ["training.epochs=2"])
    assert [m.training.epochs for m in members] == [2, 2]
    assert members[0].title == "A trial"


def test_a_suites_problems_are_those_of_all_its_members(write: Write, recipe_text: str) -> None:
    write(recipe_text + "sed: 3\n", "a.yaml")
    write(recipe_text + "sead: 3\n", "b.yaml")
    found = problems(write("suite: [a.yaml, b.yaml]\n", "suite.yaml"), "training.epochs=0")
    assert found == [
        "a.yaml:10: sed: unknown key (did you mean 'seed'?)",
        "override: training.epochs: should be greater than or equal to 1, not 0",
        "b.yaml:10: sead: unknown key (did you mean 'seed'?)",
    ]


def test_a_suite_of_suites_and_unknown_members_are_refused(write: Write) -> None:
    found = problems(write("title: x\nsuite:\n  - quickstart\n  - quickstrat\n  - gone.yaml\n", "suite.yaml"))
    assert found[0] == "suite.yaml:3: suite.0: 'quickstart' is a suite itself: list its recipes here instead"
    assert found[1].startswith("suite.yaml:4: suite.1: there is no recipe 'quickstrat'")
    assert found[2].startswith("suite.yaml:5: suite.2: gone.yaml: the recipe file does not exist")


def test_code_beside_the_recipe_needs_permission(
    write: Write, recipe_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_net_beside.py").write_text(
        "class Net:\n    def __init__(self, in_channels: int, outputs: int, width: int = 8): ...\n", encoding="utf-8"
    )
    text = recipe_text.replace("  name: basic_cnn\n  filters: [8, 16]\n", "  name: own_net_beside:Net\n  width: 4\n")
    path = write(text)
    (found,) = problems(path)
    assert "not an installed package" in found
    assert "--allow-code" in found
    recipe = load_recipe(path, allow_code=True)
    assert isinstance(recipe, Recipe)
    assert recipe.model.options == {"width": 4, "weights": None, "strict_weights": True}
    (found,) = problems(path, "model.widht=3", allow_code=True)
    assert found == "override: model.widht: unknown key (did you mean 'width'?)"
