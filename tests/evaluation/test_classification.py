"""The evaluation of classification as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.errors import DataError
from medcnn.evaluation.classification import (
    ClassificationTable,
    case_rows,
    check_options,
    evaluate_classification,
)
from medcnn.evaluation.results import Evaluation, MatrixPanel, TablePanel
from medcnn.types import LabelClass, LabelSchema

Make = Callable[..., tuple[ClassificationTable, LabelSchema]]


def _evaluate(table: ClassificationTable, schema: LabelSchema, common: dict[str, Any], **changes: Any) -> Evaluation:
    options = {"patients_known": table.patients is not None, "resamples": 300, "validation": (), **changes}
    made = evaluate_classification(table, schema, options.pop("validation"), **common, **options)
    json.dumps(made.to_json(), allow_nan=False)
    return made


def _panel(evaluation: Evaluation, name: str) -> Any:
    return next(p for p in evaluation.panels if p.id == name)


def test_binary_figures_equal_scikit_learn(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(300, 2)
    made = _evaluate(table, schema, common, threshold="fixed", threshold_value=0.4)
    y, p = table.states[:, 1], table.probabilities[:, 1].astype(float)
    called = p >= 0.4
    expected = {
        "f1": oracle.f1_score(y, called), "sensitivity": oracle.recall_score(y, called),
        "precision": oracle.precision_score(y, called), "specificity": oracle.recall_score(1 - y, ~called),
        "auroc": oracle.roc_auc_score(y, p), "average_precision": oracle.average_precision_score(y, p),
        "brier": oracle.brier_score_loss(y, p),
    }  # fmt: skip
    for name, value in expected.items():
        assert made.find(name, "c1").value == pytest.approx(value), name
    assert made.find("accuracy").value == pytest.approx(oracle.accuracy_score(y, called))
    assert made.find("mcc").value == pytest.approx(oracle.matthews_corrcoef(y, called))
    assert made.find("log_loss").value == pytest.approx(oracle.log_loss(y, p), rel=1e-5)
    assert [h[0] for h in made.headline] == ["f1", "sensitivity", "precision", "accuracy", "auroc"]


def test_multinomial_figures_equal_scikit_learn(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(300, 4)
    made = _evaluate(table, schema, common)
    y, p = table.states.argmax(1), table.probabilities.astype(float)
    p /= p.sum(1, keepdims=True)
    called = p.argmax(1)
    assert made.find("f1", average="macro").value == pytest.approx(oracle.f1_score(y, called, average="macro"))
    assert made.find("f1", average="weighted").value == pytest.approx(oracle.f1_score(y, called, average="weighted"))
    assert made.find("balanced_accuracy").value == pytest.approx(oracle.balanced_accuracy_score(y, called))
    assert made.find("sensitivity", average="macro").value == made.find("balanced_accuracy").value
    assert made.find("kappa").value == pytest.approx(oracle.cohen_kappa_score(y, called))
    assert made.find("mcc").value == pytest.approx(oracle.matthews_corrcoef(y, called))
    auc = oracle.roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert made.find("auroc", average="macro").value == pytest.approx(auc, abs=1e-6)
    matrix = _panel(made, "confusion")
    assert isinstance(matrix, MatrixPanel)
    np.testing.assert_array_equal(matrix.counts, oracle.confusion_matrix(y, called))


def test_micro_f1_of_exclusive_classes_is_accuracy_and_shown_once(cohort: Make, common: dict[str, Any]) -> None:
    made = _evaluate(*cohort(200, 3), common)
    assert not [f for f in made.figures if f.average == "micro"]
    assert "micro" in made.find("accuracy").note


def test_multilabel_figures_equal_scikit_learn_over_known_labels(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(250, 3, multilabel=True)
    made = _evaluate(table, schema, common, threshold="fixed", threshold_value=0.5)
    known = np.isfinite(table.states)
    called = table.probabilities >= 0.5
    f1s = []
    for i, name in enumerate(schema.names):
        y, d, p = table.states[known[:, i], i], called[known[:, i], i], table.probabilities[known[:, i], i]
        assert made.find("f1", name).value == pytest.approx(oracle.f1_score(y, d))
        assert made.find("auroc", name).value == pytest.approx(oracle.roc_auc_score(y, p))
        assert made.find("accuracy", name).value == pytest.approx(oracle.accuracy_score(y, d))
        assert made.find("accuracy", name).baseline == pytest.approx(1 - y.mean())
        assert made.find("accuracy", name).n == known[:, i].sum()
        f1s.append(oracle.f1_score(y, d))
    assert made.find("f1", average="macro").value == pytest.approx(np.mean(f1s))
    assert made.find("f1", average="micro").value == pytest.approx(oracle.f1_score(table.states[known], called[known]))
    whole = known.all(1)
    exact = oracle.accuracy_score(table.states[whole] == 1, called[whole])
    assert made.find("exact_match").value == pytest.approx(exact)
    assert made.find("exact_match").n == whole.sum()
    right = (called == (table.states == 1))[known].mean()
    assert made.find("hamming_accuracy").value == pytest.approx(right)
    missing = _panel(made, "missing")
    assert [r[2] for r in missing.rows] == (~known).sum(0).tolist()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["binary", "several", "labels"]))
def test_the_order_of_cases_and_of_classes_does_not_matter(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    n, c = 120, 2 if kind == "binary" else 3
    p = rng.dirichlet(np.ones(c), n).astype(np.float32)
    states = (rng.random((n, c)) < 0.4).astype(float) if kind == "labels" else np.eye(c)[rng.integers(0, c, n)]
    names = [f"c{i}" for i in range(c)]
    patients = np.array([f"p{i % 40}" for i in range(n)])

    def figures(rows: Any, columns: Any) -> dict[Any, Any]:
        table = ClassificationTable(
            tuple(str(i) for i in rows), p[rows][:, columns], states[rows][:, columns], patients[rows], patients[rows]
        )
        schema = LabelSchema(
            tuple(LabelClass(i, names[j]) for i, j in enumerate(columns)), kind == "labels", "c1" if c == 2 else None
        )
        made = evaluate_classification(
            table,
            schema,
            (),
            title="",
            part="test",
            patients_known=True,
            gallery=0,
            seed=0,
            resamples=100,
            units=("image",),
        )
        return {(f.id, f.target, f.average): f for f in made.figures}

    first = figures(np.arange(n), list(range(c)))
    second = figures(rng.permutation(n), rng.permutation(c).tolist())
    assert first.keys() == second.keys()
    for key, figure in first.items():
        other = second[key]
        assert (figure.value is None) == (other.value is None)
        if figure.value is not None and other.value is not None:
            assert figure.value == pytest.approx(other.value, rel=1e-6, abs=1e-9), key
        assert (figure.n, figure.clusters) == (other.n, other.clusters)
        if figure.interval and other.interval:
            ends = (other.interval.low, other.interval.high)
            assert (figure.interval.low, figure.interval.high) == pytest.approx(ends, rel=1e-3, abs=1e-4), key


def test_the_same_seed_gives_the_same_evaluation(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(150, 3, patients=40)
    first, second = (_evaluate(table, schema, common).to_json() for _ in range(2))
    assert first == second
    other = _evaluate(table, schema, {**common, "seed": 1})
    assert (
        other.find("f1", average="macro").interval
        != _evaluate(table, schema, common).find("f1", average="macro").interval
    )


def test_every_defined_figure_has_an_interval_that_holds_it(cohort: Make, common: dict[str, Any]) -> None:
    for arguments in ({"classes": 2}, {"classes": 3, "patients": 60}, {"multilabel": True}):
        made = _evaluate(*cohort(300, **arguments), common)
        for f in made.figures:
            assert f.interval is not None, (f.id, f.target, f.average, f.note)
            assert f.value is not None
            assert f.interval.low <= f.value <= f.interval.high, f
            assert f.interval.low < f.interval.high
            assert f.interval.method
            assert f.n > 0


@pytest.mark.parametrize("patients", [None, 80])
@pytest.mark.parametrize("classes", [2, 3])
def test_no_interval_has_zero_width_without_an_error(
    cohort: Make, common: dict[str, Any], patients: int | None, classes: int
) -> None:
    made = _evaluate(*cohort(400, classes, skill=40.0, patients=patients), common, units=("image",))
    for f in made.figures:
        if f.id in ("brier", "ece", "log_loss"):
            assert f.interval is None or f.interval.low < f.interval.high
            continue
        assert f.value == 1
        assert f.interval is not None, (f.id, f.note)
        assert 0.8 < f.interval.low < f.interval.high == 1


def test_clustered_intervals_are_wider_where_images_of_a_patient_agree(cohort: Make, common: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(60), 8)
    label = (np.arange(60) % 2)[owner]
    logit = 1.2 * (2 * label - 1) + rng.normal(0, 1.5, 60)[owner] + rng.normal(0, 0.3, 480)
    p = 1 / (1 + np.exp(-logit))
    schema = LabelSchema((LabelClass(0, "c0"), LabelClass(1, "c1")), False, "c1")
    base = {"cases": tuple(map(str, range(480))), "probabilities": np.stack([1 - p, p], 1), "states": np.eye(2)[label]}
    clustered = _evaluate(ClassificationTable(**base, clusters=owner, patients=owner), schema, common, units=("image",))
    naive = _evaluate(ClassificationTable(**base), schema, common)
    for name, target in (("f1", "c1"), ("sensitivity", "c1"), ("auroc", "c1"), ("mcc", None), ("brier", "c1")):
        wide, narrow = clustered.find(name, target, unit="image").interval, naive.find(name, target).interval
        assert wide is not None
        assert narrow is not None
        assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low), name
    assert "image level: too narrow if patients repeat" in naive.find("f1", "c1").interval.method  # type: ignore[union-attr]
    assert any("Patients are unknown" in w for w in naive.warnings)
    assert not any("Patients are unknown" in w for w in clustered.warnings)


@pytest.mark.parametrize("count", [19, 20])
def test_under_twenty_clusters_the_range_stands_in_for_the_interval(
    cohort: Make, common: dict[str, Any], count: int
) -> None:
    made = _evaluate(*cohort(400, 3, patients=count), common, units=("image",))
    for name, average in (("f1", "macro"), ("accuracy", None), ("auroc", "macro")):
        interval = made.find(name, average=average).interval
        assert interval is not None
        assert (interval.level is None) == (count < 20)
        assert ("range over 19 patients" in interval.method) == (count < 20)
    assert any("fewer than 20" in w for w in made.warnings) == (count < 20)


def test_a_figure_outside_the_range_over_clusters_says_so(common: dict[str, Any]) -> None:
    # Within each patient the order is right, between patients it is not.
    label = np.tile([0, 0, 1, 1], 6)
    level = np.repeat(np.arange(6) / 10, 4)
    p = level + np.tile([0.1, 0.12, 0.13, 0.2], 6)
    p[2] = 0.11
    owner = np.repeat(np.arange(6), 4)
    states, schema = np.eye(2)[label], LabelSchema((LabelClass(0, "c0"), LabelClass(1, "c1")), False, "c1")
    table = ClassificationTable(tuple(map(str, range(24))), np.stack([1 - p, p], 1), states, owner, owner)
    area = _evaluate(table, schema, common, units=("image",)).find("auroc", "c1")
    assert area.value == pytest.approx(oracle.roc_auc_score(label, p.astype(np.float32)))
    assert area.interval is not None
    assert area.interval.level is None
    assert area.value is not None
    assert area.value < area.interval.low
    assert "outside the range over single patients" in area.note
    accuracy = _evaluate(table, schema, common, units=("image",)).find("accuracy")
    assert "outside" not in accuracy.note


def test_methods_of_a_table_hold_no_numbers_of_single_classes(cohort: Make, common: dict[str, Any]) -> None:
    made = _evaluate(*cohort(400, 6, patients=60), common, units=("image",))
    for name, most in (("classes", 2), ("classes-more", 4)):
        figures = [v for row in _panel(made, name).rows for v in row[2:]]
        assert len({f.interval.method for f in figures}) <= most, name
    effects = {(e["id"], e["target"]): e for e in made.details["design_effects"]}
    assert {t for _, t in effects} == {None, *(f"c{i}" for i in range(6))}
    one = effects[("sensitivity", "c0")]
    assert one["n"] == made.find("sensitivity", "c0").n
    assert one["effective_n"] == pytest.approx(one["n"] / one["design_effect"], abs=0.01)
    assert "Design effects" in _panel(made, "classes").caption
    assert not _evaluate(*cohort(100, 3), common).details["design_effects"]


def test_single_cases_keep_formulas_below_twenty_and_lose_the_bootstrap(cohort: Make, common: dict[str, Any]) -> None:
    made = _evaluate(*cohort(15, 2, skill=1.0), common)
    accuracy, loss = made.find("accuracy"), made.find("log_loss")
    assert accuracy.interval is not None
    assert accuracy.interval.method.startswith("Wilson")
    assert loss.interval is None
    assert "fewer than 20" in loss.note


def test_a_class_without_reference_is_undefined_and_left_out_of_averages(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(200, 3)
    rows = table.states[:, 2] == 0
    made = _evaluate(table.take(rows), schema, common)
    assert made.find("sensitivity", "c2").value is None
    assert "no positive case" in made.find("sensitivity", "c2").note
    assert made.find("f1", "c2").value == 0
    assert made.find("auroc", "c2").value is None
    macro = made.find("f1", average="macro")
    assert "2 of 3 classes" in macro.note
    mean = np.mean([made.find("f1", c).value for c in ("c0", "c1")])  # type: ignore[arg-type]
    assert macro.value == pytest.approx(mean)
    assert any("No case of c2" in w for w in made.warnings)


def test_an_interval_is_withheld_where_many_resamples_are_undefined(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(200, 3)
    few = np.flatnonzero(table.states[:, 2] == 1)[2:]
    made = _evaluate(table.take(np.setdiff1d(np.arange(200), few)), schema, common)
    macro = made.find("f1", average="macro")
    assert macro.value is not None
    assert macro.interval is None
    assert "withheld" in macro.note
    assert "resamples" in macro.note
    assert any("withheld" in w for w in made.warnings)
    fixed = _evaluate(table.take(np.setdiff1d(np.arange(200), few)), schema, common, fixed_class_sizes=True)
    interval = fixed.find("f1", average="macro").interval
    assert interval is not None
    assert "stratified by class" in interval.method


def test_patients_are_evaluated_beside_images(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(240, 3, patients=60, pure=True)
    made = _evaluate(table, schema, common, patient_rule="max")
    by_image, by_patient = (made.find("accuracy", unit=u) for u in ("image", "patient"))
    assert (by_image.n, by_patient.n) == (240, 60)
    assert by_patient.value is not None
    assert by_image.value is not None
    assert by_patient.value > by_image.value
    assert "highest of the images' probabilities" in _panel(made, "units").caption
    alone = _evaluate(table, schema, common, units=("patient",))
    assert {f.unit for f in alone.figures} == {"patient"}
    assert alone.headline[0][3] == "patient"


def test_decisions_alone_have_no_rank_figures(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(120, 3)
    decided = np.eye(3)[table.probabilities.argmax(1)] == 1
    alone = ClassificationTable(table.cases, np.full((120, 3), np.nan), table.states, decisions=decided)
    made, full = _evaluate(alone, schema, common), _evaluate(table, schema, common)
    assert made.find("f1", average="macro") == full.find("f1", average="macro")
    assert not [f for f in made.figures if f.id in ("auroc", "average_precision", "brier", "ece", "log_loss")]
    assert any("decisions alone" in w for w in made.warnings)


def test_missing_labels_are_counted_and_left_out(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(100, 3)
    states = table.states.copy()
    states[:7] = np.nan
    made = _evaluate(ClassificationTable(table.cases, table.probabilities, states), schema, common)
    assert made.find("accuracy").n == 93
    assert _panel(made, "missing").rows[0][1] == 7
    with pytest.raises(DataError, match="no case"):
        _evaluate(ClassificationTable(table.cases, table.probabilities, states * np.nan), schema, common)


def test_accuracy_stands_beside_the_majority(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(100, 3)
    accuracy = _evaluate(table, schema, common).find("accuracy")
    assert accuracy.baseline == pytest.approx(table.states.sum(0).max() / 100)
    assert accuracy.baseline_label == f"always c{table.states.sum(0).argmax()}"


def test_subgroups_hold_their_own_figures_and_small_cells_are_marked(cohort: Make, common: dict[str, Any]) -> None:
    table, schema = cohort(200, 2)
    table.attributes["site"] = ["small" if i < 12 else "large" for i in range(200)]  # type: ignore[index]
    made = _evaluate(table, schema, common, subgroups=("site",))
    panel = _panel(made, "subgroup-site")
    assert isinstance(panel, TablePanel)
    rows = {r[0]: r for r in panel.rows}
    assert (rows["small"][1], rows["large"][1]) == (12, 188)
    assert "fewer than 20 cases" in rows["small"][-1]
    assert rows["large"][-1] == ""
    alone = _evaluate(table.take(np.arange(200) >= 12), schema, common, subgroups=())
    figure = rows["large"][3]
    assert figure.value == alone.find(figure.id, figure.target).value
    assert figure.interval is not None


def test_rows_of_cases_hold_reference_decision_and_probabilities(cohort: Make) -> None:
    table, schema = cohort(30, 3)
    columns, rows = case_rows(table, schema, [{}])
    row = dict(zip(columns, rows[0], strict=True))
    assert row["reference"] == schema.names[table.states[0].argmax()]
    assert row["predicted"] == schema.names[table.probabilities[0].argmax()]
    assert row["correct"] == int(row["reference"] == row["predicted"])
    assert row["p_c0"] == pytest.approx(table.probabilities[0, 0])


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"level": 1.0}, "evaluation.level"),
        ({"resamples": 10}, "evaluation.resamples"),
        ({"threshold": "youden"}, "evaluation.threshold"),
        ({"units": ()}, "evaluation.units"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_and_in_the_evaluation(
    cohort: Make, common: dict[str, Any], options: dict[str, Any], where: str
) -> None:
    table, schema = cohort(30, 3)
    for call in (lambda: check_options(schema, options), lambda: _evaluate(table, schema, common, **options)):
        with pytest.raises(DataError) as caught:
            call()
        assert caught.value.where == where


def test_the_recipe_knows_the_options_and_nothing_else() -> None:
    from medcnn.recipe.options import check_options as check

    known = check("evaluators", "classification", {"threshold": "youden", "subgroups": ["sex"]})
    assert known["threshold"] == "youden"
    assert known["subgroups"] == ("sex",)
    assert known["units"] == ("image", "patient")
    assert not {"gallery", "seed", "title", "part", "table", "patients_known"} & known.keys()
