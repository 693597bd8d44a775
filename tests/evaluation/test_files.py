"""metrics.json and cases.csv as files: their form, and that they hold what they should."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Callable
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from medcnn.evaluation import results
from medcnn.evaluation.classification import evaluate_classification
from medcnn.evaluation.files import write_evaluation
from medcnn.evaluation.inputs import RegressionTable
from medcnn.evaluation.regression import evaluate_regression

Make = Callable[..., Any]
KINDS: dict[str, dict[str, Any]] = {
    "binary": {"classes": 2, "patients": 50},
    "folds": {"classes": 2, "folds": 3},
    "multinomial": {"classes": 4},
    "multilabel": {"classes": 5, "multilabel": True},
    "few": {"classes": 3, "n": 8},
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    text = files("medcnn.evaluation").joinpath("metrics.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(loaded)
    return loaded


def classified(cohort: Make, common: dict[str, Any], kind: str) -> results.Evaluation:
    table, labels = cohort(**{"n": 150, **KINDS[kind]})
    return evaluate_classification(
        table, labels, (), patients_known=table.patients is not None, resamples=120, **common
    )


def regressed(common: dict[str, Any]) -> results.Evaluation:
    rng = np.random.default_rng(0)
    values = rng.normal(100, 20, 60)
    values[3] = np.nan
    table = RegressionTable(tuple(map(str, range(60))), rng.normal(100, 20, 60), values)
    return evaluate_regression(table, patients_known=False, unit="months", resamples=120, **common)


@pytest.mark.parametrize("kind", [*KINDS, "regression"])
def test_every_kind_of_evaluation_keeps_the_schema(
    schema: dict[str, Any], cohort: Make, common: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    made = regressed(common) if kind == "regression" else classified(cohort, common, kind)
    write_evaluation(tmp_path, made)
    written = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    jsonschema.validate(written, schema, cls=jsonschema.Draft202012Validator)
    assert "cases" not in written


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("figures", 0, "value"), "0.9"),
        (("figures", 0, "n"), None),
        (("panels", 0, "kind"), "pie"),
        (("headline", 0), ["f1"]),
        (("warnings",), "none"),
    ],
)
def test_the_schema_refuses_what_has_another_form(
    schema: dict[str, Any], cohort: Make, common: dict[str, Any], path: tuple[Any, ...], value: Any
) -> None:
    broken = copy.deepcopy(json.loads(json.dumps(classified(cohort, common, "binary").to_json())))
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema, cls=jsonschema.Draft202012Validator)


def test_the_schema_names_every_field(schema: dict[str, Any]) -> None:
    assert set(schema["properties"]) == {f.name for f in fields(results.Evaluation)} - {"cases"}
    for name, definition in schema["$defs"].items():
        assert set(definition["properties"]) == {f.name for f in fields(getattr(results, name))}, name
        assert all(p.get("description") for p in definition["properties"].values()), name


def test_cases_are_written_beside_the_figures(cohort: Make, common: dict[str, Any], tmp_path: Path) -> None:
    made = classified(cohort, common, "binary")
    write_evaluation(tmp_path / "deep", made, cases="evaluated.csv")
    with open(tmp_path / "deep" / "evaluated.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", "patient", "cluster", "fold", "reference", "predicted", "correct", "p_c0", "p_c1"]
    assert len(rows) == 150
    assert sum(int(r["correct"]) for r in rows) / 150 == pytest.approx(made.find("accuracy", unit="image").value)
    assert all((float(r["p_c1"]) >= 0.5) == (r["predicted"] == "c1") for r in rows)
    alone = results.Evaluation("other", "t", [], [], [])
    write_evaluation(tmp_path / "alone", alone)
    assert [p.name for p in (tmp_path / "alone").iterdir()] == ["metrics.json"]


def test_regression_rows_hold_the_error(common: dict[str, Any], tmp_path: Path) -> None:
    write_evaluation(tmp_path, regressed(common))
    with open(tmp_path / "cases.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[3]["reference"] == rows[3]["error"] == ""
    assert float(rows[0]["error"]) == pytest.approx(float(rows[0]["predicted"]) - float(rows[0]["reference"]))
