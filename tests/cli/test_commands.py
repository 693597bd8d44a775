"""What each command asks of the API, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from medcnn.evaluation.results import Evaluation
from medcnn.recipe.load import load_recipe, recipe_names

Command = Callable[..., Any]
Fake = Callable[..., list[Any]]


def test_recipes_lists_names_tasks_and_titles(medcnn_command: Command) -> None:
    done = medcnn_command("recipes")
    assert done.code == 0
    for name in recipe_names():
        assert f"\n{name} " in done.out
    rows = json.loads(medcnn_command("recipes", "--json").out)
    assert {row["name"] for row in rows} == set(recipe_names())


def test_cp_copies_and_does_not_overwrite(medcnn_command: Command, tmp_path: Path) -> None:
    goal = tmp_path / "mine.yaml"
    assert medcnn_command("cp", "quickstart_abdomen", goal).out == f"{goal}\n"
    done = medcnn_command("cp", "quickstart_abdomen", goal)
    assert done.code == 2
    assert "--force" in done.err
    assert medcnn_command("cp", "quickstart_abdomen", goal, "--force").code == 0
    assert medcnn_command("validate", goal).code == 0


def test_validate_knows_recipes_suites_overrides_and_the_catalog(medcnn_command: Command) -> None:
    assert medcnn_command("validate", "quickstart_abdomen").out == "quickstart_abdomen: a valid recipe\n"
    assert medcnn_command("validate", "quickstart").out == "quickstart: a valid suite of 4 recipes\n"
    done = medcnn_command("validate", "quickstart_abdomen", "training.epochs=0", "data.dataset=phantm")
    assert done.code == 2
    assert "override: training.epochs: should be greater than or equal to 1, not 0" in done.err
    assert "override: data.dataset: there is no dataset 'phantm' in the catalog (did you mean 'phantom'?)" in done.err
    done = medcnn_command("validate", "quickstart_abdomen", "data.options.lable=x")
    assert "override: data.options.lable: unknown key (did you mean 'label'?)" in done.err
    done = medcnn_command("validate", "quickstart_abdomen", "task=regression")
    assert "task: the dataset 'phantom_abdomen' serves classification" in done.err


def test_validate_prints_the_resolved_recipe(medcnn_command: Command, tmp_path: Path) -> None:
    done = medcnn_command("validate", "quickstart_abdomen", "training.epochs=3", "--resolved")
    (tmp_path / "resolved.yaml").write_text(done.out, encoding="utf-8")
    assert load_recipe(tmp_path / "resolved.yaml") == load_recipe("quickstart_abdomen", ["training.epochs=3"])


def test_schema_prints_json(medcnn_command: Command) -> None:
    assert "$defs" in json.loads(medcnn_command("schema").out)


def test_run_hands_everything_on_and_prints_the_summary(
    medcnn_command: Command, fake_api: Fake, run_folder: Path
) -> None:
    calls = fake_api(run=SimpleNamespace(folder=run_folder))
    done = medcnn_command("run", "quickstart_abdomen", "training.epochs=2", "--out", "o", "--resume", "--allow-code")
    assert done.code == 0
    ((name, arguments, keywords),) = calls
    assert keywords.pop("progress") is not None
    assert (name, arguments) == ("run", ("quickstart_abdomen",))
    assert keywords == {"out": Path("o"), "overrides": ["training.epochs=2"], "resume": True, "allow_code": True}
    assert done.out == (
        "\nA trial\n"
        "  F1, macro   0.912  (95 % interval 0.810–0.970)  120 images · 24 patients\n"
        "  AUROC           –  one class only               120 images\n"
        "  caution: few patients\n"
        f"  3 of 5,000 images were not used: see {run_folder / 'exclusions.csv'}\n"
        f"report: {run_folder / 'report.html'}\n"
    )


def test_a_suite_prints_a_summary_for_each_run(medcnn_command: Command, fake_api: Fake, run_folder: Path) -> None:
    fake_api(run=[SimpleNamespace(folder=run_folder)] * 2)
    assert medcnn_command("run", "quickstart").out.count("report: ") == 2


def test_a_wrong_recipe_never_reaches_the_api(medcnn_command: Command, fake_api: Fake) -> None:
    calls = fake_api(run=None, train=None)
    for command in ("run", "train"):
        assert medcnn_command(command, "quickstart", "training.epochs=0").code == 2
    assert calls == []


def test_the_other_processes_of_a_launcher_are_silent(
    medcnn_command: Command, fake_api: Fake, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    fake_api(run=SimpleNamespace(folder=run_folder))
    done = medcnn_command("run", "quickstart_abdomen")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_train_names_the_next_step(medcnn_command: Command, fake_api: Fake) -> None:
    calls = fake_api(train=SimpleNamespace(folder=Path("runs/x")))
    done = medcnn_command("train", "quickstart_abdomen", "training.epochs=2")
    assert done.out == "run folder: runs/x\nnext: medcnn evaluate runs/x\n"
    assert calls[0][2]["overrides"] == ["training.epochs=2"]


def test_evaluate_prints_figures_of_a_run_or_of_another_dataset(
    medcnn_command: Command, fake_api: Fake, evaluation: Evaluation
) -> None:
    calls = fake_api(evaluate=evaluation)
    done = medcnn_command("evaluate", "runs/x")
    assert "F1, macro   0.912" in done.out
    assert done.out.endswith("next: medcnn report runs/x\n")
    medcnn_command("evaluate", "runs/x", "--data", "mednist", "--root", "d", "--labels", "ct=CT", "--labels", "mr=MR")
    assert calls[0][1] == (Path("runs/x"),)
    assert {k: calls[0][2][k] for k in ("data", "root", "labels")} == {"data": None, "root": None, "labels": None}
    assert {k: calls[1][2][k] for k in ("data", "root", "labels")} == {
        "data": "mednist",
        "root": Path("d"),
        "labels": {"ct": "CT", "mr": "MR"},
    }


def test_evaluate_gives_options_to_another_dataset(
    medcnn_command: Command, fake_api: Fake, evaluation: Evaluation
) -> None:
    calls = fake_api(evaluate=evaluation)
    medcnn_command("evaluate", "runs/x", "--data", "phantom", "--option", "seed=1", "--option", "classes=[a, b]")
    assert calls[0][2]["options"] == {"seed": 1, "classes": ["a", "b"]}
    for wrong in ("seed", "=1", "seed=[1"):
        done = medcnn_command("evaluate", "runs/x", "--data", "phantom", "--option", wrong)
        assert done.code == 2
        assert "--option" in done.err
    assert len(calls) == 1


@pytest.mark.parametrize("labels", [("ct",), ("=CT",), ("ct=",), ("ct=CT", "ct=MR")])
def test_evaluate_refuses_a_broken_map_of_labels(
    labels: tuple[str, ...], medcnn_command: Command, fake_api: Fake
) -> None:
    calls = fake_api(evaluate=None)
    options = [part for pair in labels for part in ("--labels", pair)]
    done = medcnn_command("evaluate", "runs/x", "--data", "mednist", *options)
    assert done.code == 2
    assert "--labels" in done.err
    assert calls == []


def test_evaluate_takes_the_table_of_any_program(
    medcnn_command: Command, fake_api: Fake, evaluation: Evaluation
) -> None:
    calls = fake_api(evaluate_table=evaluation)
    done = medcnn_command("evaluate", "--predictions", "p.csv", "--references", "r.csv")
    name, positional, named = calls[0]
    assert (name, positional) == ("evaluate_table", (Path("p.csv"), Path("r.csv")))
    assert {k: named[k] for k in ("out", "task", "labels")} == {
        "out": Path("p-evaluation"),
        "task": "classification",
        "labels": None,
    }
    assert done.out.endswith(f"report: {Path('p-evaluation/report.html')}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("runs/x", "--predictions", "p.csv"),
        ("runs/x", "--references", "r.csv"),
        ("runs/x", "--out", "o"),
        ("runs/x", "--labels", "a=b"),
        ("runs/x", "--option", "a=b"),
        ("--predictions", "p.csv", "--data", "mednist"),
    ],
)
def test_evaluate_refuses_what_does_not_go_together(
    arguments: tuple[str, ...], medcnn_command: Command, fake_api: Fake
) -> None:
    calls = fake_api(evaluate=None, evaluate_table=None)
    assert medcnn_command("evaluate", *arguments).code == 2
    assert calls == []


def test_predict_prints_a_table_or_writes_it(medcnn_command: Command, fake_api: Fake) -> None:
    table = pd.DataFrame({"case": ["a", "b"], "p_x": [0.5, None], "error": ["", "cut off"]})
    calls = fake_api(predict=table)
    assert medcnn_command("predict", "m.pt", "a.png", "b.png").out == "case,p_x,error\na,0.5,\nb,,cut off\n"
    done = medcnn_command("predict", "m.pt", "a.png", "b.png", "--out", "o.csv")
    assert done.out == "o.csv: 1 predictions; 1 could not be read, see the column error\n"
    assert calls[1][1] == (Path("m.pt"), [Path("a.png"), Path("b.png")])
    assert calls[1][2]["out"] == Path("o.csv")


def test_report_says_where_it_is(medcnn_command: Command, fake_api: Fake) -> None:
    fake_api(report=Path("runs/x/report.html"))
    assert medcnn_command("report", "runs/x").out == f"report: {Path('runs/x/report.html')}\n"


def test_data_phantom_hands_everything_on(medcnn_command: Command, fake_api: Fake) -> None:
    calls = fake_api(make_phantom=Path("f"))
    medcnn_command("data", "phantom", "f", "--patients", "5", "--seed", "3", "--size", "medium")
    keywords = calls[0][2]
    assert (keywords["patients"], keywords["seed"], keywords["size"]) == (5, 3, "medium")
    assert medcnn_command("data", "phantom", "f", "--patients", "0").code == 2


def test_data_list_and_show_tell_what_the_catalog_knows(
    medcnn_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCNN_DATA", str(tmp_path))
    assert "\nmednist " in medcnn_command("data", "list").out
    done = medcnn_command("data", "show", "mednist_abdomen")
    for name in (
        "title",
        "tasks",
        "modality",
        "classes",
        "patients",
        "source",
        "size",
        "checksum",
        "licence",
        "folder",
    ):
        assert f"\n{name} " in done.out
    assert "(positive)" in done.out
    assert f"{tmp_path / 'MedNIST'} (not there)" in done.out
    (tmp_path / "MedNIST").mkdir()
    assert f"{tmp_path / 'MedNIST'} (there)" in medcnn_command("data", "show", "mednist_abdomen").out


def test_data_show_answers_an_unknown_name_with_the_nearest(medcnn_command: Command) -> None:
    done = medcnn_command("data", "show", "mednst")
    assert done.code == 2
    assert "did you mean 'mednist'" in done.err


def test_a_catalog_of_ones_own_joins_the_list(medcnn_command: Command, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "ours:\n  title: Our films\n  tasks: [classification]\n  adapter: {name: image_folder}\n"
        "  patient: Known.\n  folder: ours\n  unit: mm\n  size: 1500\n",
        encoding="utf-8",
    )
    assert "ours" in medcnn_command("data", "list", "--catalog", own).out
    out = medcnn_command("data", "show", "ours", "--catalog", own).out
    assert "1.5 kB" in out
    assert "(not there)" in out


def test_models_lists_networks_with_their_options(medcnn_command: Command) -> None:
    listed = medcnn_command("models").out
    assert listed == medcnn_command("models", "list").out
    (line,) = [line for line in listed.splitlines() if line.startswith("basic_cnn")]
    assert "filters, kernel_size, stride" in line


def test_models_describe_draws_the_layers(medcnn_command: Command, fake_api: Fake) -> None:
    from medcnn.models.describe import LayerInfo

    calls = fake_api(describe=[LayerInfo("conv", "Conv2d", (8, 64, 64), 1224, (1, 1), (3, 3), 99)])
    done = medcnn_command("models", "describe", "quickstart_abdomen", "input.size=[64, 64]")
    assert calls == [("describe", ("quickstart_abdomen", ["input.size=[64, 64]"]), {"allow_code": False})]
    assert done.out.splitlines()[1].split() == ["conv", "Conv2d", "8", "x", "64", "x", "64", "1,224", "1", "3", "99"]
    assert done.out.endswith("1,224 parameters in 1 layers\n")


def test_doctor_tells_versions_devices_codecs_and_places(medcnn_command: Command) -> None:
    done = medcnn_command("doctor")
    assert done.code == 0
    for text in ("torch", "precision", "JPEG 2000", "cache"):
        assert text in done.out
    assert "failed" not in done.out


def test_doctor_goes_on_where_something_is_broken(medcnn_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "medcnn.inference.hardware", None)
    done = medcnn_command("doctor")
    assert done.code == 0
    assert "failed" in done.out
    assert "JPEG 2000" in done.out
