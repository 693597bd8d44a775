"""Predictions that some other program wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.errors import DataError
from medcnn.evaluation.classification import evaluate_classification
from medcnn.evaluation.files import write_evaluation
from medcnn.evaluation.foreign import read_classification, read_regression


def _write(folder: Path, text: str, name: str = "predictions.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_one_table_with_labels_and_probabilities(tmp_path: Path) -> None:
    text = "image,p_no,p_yes,label,patient,site\n1.png,0.8,0.2,no,A,x\n2.png,0.3,0.7,yes,A,y\n3.png,0.4,0.6,,,x\n"
    found = read_classification(_write(tmp_path, text))
    assert found.schema.names == ("no", "yes")
    assert found.schema.positive == "yes"
    assert found.patients_known
    assert found.table.patients is not None
    assert found.table.patients.tolist() == ["A", "A", "3.png"]
    np.testing.assert_array_equal(found.table.states, [[1, 0], [0, 1], [np.nan, np.nan]])
    assert found.table.attributes == {"site": ["x", "y", "x"]}


@pytest.mark.parametrize("header", ["id,prob_a,prob_b,prob_c", "case,a,b,c", "ID,p_a,p_b,p_c"])
def test_columns_are_found_by_any_of_their_names(tmp_path: Path, header: str) -> None:
    predictions = _write(tmp_path, f"{header}\n1,0.2,0.3,0.5\n2,1,0,0\n")
    references = _write(tmp_path, "case,target\n2,a\n1,c\n", "labels.csv")
    found = read_classification(predictions, references, classes=("a", "b", "c"))
    np.testing.assert_array_equal(found.table.states, [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(found.table.probabilities[0], [0.2, 0.3, 0.5], rtol=1e-6)
    assert not found.patients_known


def test_one_probability_is_enough_for_two_classes(tmp_path: Path) -> None:
    found = read_classification(_write(tmp_path, "case,p_1,label\na,0.9,1\nb,0.2,0\n"), classes=("0", "1"))
    np.testing.assert_allclose(found.table.probabilities, [[0.1, 0.9], [0.8, 0.2]], rtol=1e-6)


def test_decisions_alone(tmp_path: Path) -> None:
    found = read_classification(_write(tmp_path, "case,prediction,label\na,cat,cat\nb,dog,cat\nc,dog,dog\n"))
    assert found.schema.names == ("cat", "dog")
    assert found.table.decisions is not None
    np.testing.assert_array_equal(found.table.decisions.argmax(1), [0, 1, 1])
    assert not found.table.ranked
    assert any("no rank figures" in n for n in found.notes)


def test_several_labels_by_column_and_by_name(tmp_path: Path) -> None:
    predictions = _write(tmp_path, "case,p_a,p_b\n1,0.9,0.8\n2,0.1,0.4\n")
    by_column = _write(tmp_path, "case,label_a,label_b\n1,1,\n2,-1,0\n", "columns.csv")
    by_name = _write(tmp_path, "case,label\n1,a|b\n2,none\n", "names.csv")
    first = read_classification(predictions, by_column, multilabel=True)
    np.testing.assert_array_equal(first.table.states, [[1, np.nan], [np.nan, 0]])
    second = read_classification(predictions, by_name, multilabel=True, classes=("a", "b"))
    np.testing.assert_array_equal(second.table.states[0], [1, 1])


def test_folds_and_clusters_are_taken_from_the_table(tmp_path: Path) -> None:
    text = "case,p_a,p_b,label,fold,cluster\n1,0.9,0.1,a,2,r1\n2,0.1,0.9,b,5,r1\n"
    found = read_classification(_write(tmp_path, text))
    assert found.table.fold.tolist() == [0, 1]
    assert found.table.clusters.tolist() == ["r1", "r1"]
    assert found.table.attributes == {}


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ("case,p_a,p_b\n1,0.5,0.5\n2,0.5,0.5\n", "case,label\n1,a\n", "'2' has no reference"),
        ("case,p_a,p_b\n1,0.5,0.5\n", "case,label\n1,a\n2,b\n", "1 cases have a reference but no prediction"),
        ("case,p_a,p_b\n1,0.5,0.5\n", "case,label\n1,c\n", "'c' is not one of the classes"),
        ("case,p_a,p_b\n1,0.5,0.5\n", "case,size\n1,3\n", "no column holds the label"),
        ("case,size\n1,0.5\n", "case,label\n1,a\n", "cannot be told"),
        ("case,p_a,p_b\n1,0.5,0.5\n", "case,label_a,label_b\n1,2,0\n", "no state of a label"),
        ("case,p_a,p_b\n1,0.7,0.7\n", "case,label\n1,a\n", "sum to 1.400"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, predictions: str, references: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_classification(_write(tmp_path, predictions), _write(tmp_path, references, "labels.csv"))


def test_an_unknown_positive_class_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'yes'"):
        read_classification(_write(tmp_path, "case,p_no,p_yes,label\na,0.5,0.5,no\n"), positive="yess")


def test_values_of_another_program(tmp_path: Path) -> None:
    text = "case,prediction,label,patient\na,1.5,2,p\nb,3,,q\n"
    table, known = read_regression(_write(tmp_path, text))
    np.testing.assert_array_equal(table.values, [2, np.nan])
    np.testing.assert_array_equal(table.predicted, [1.5, 3])
    assert known
    with pytest.raises(DataError, match="no column holds the label"):
        read_regression(_write(tmp_path, "case,prediction\na,1.5\n"))


def test_decisions_beside_probabilities_are_taken_where_they_are_classes(tmp_path: Path) -> None:
    text = "case,p_no,p_yes,prediction,label\n1,0.8,0.2,yes,yes\n2,0.3,0.7,yes,no\n"
    found = read_classification(_write(tmp_path, text))
    assert found.table.ranked
    assert found.table.decisions is not None
    np.testing.assert_array_equal(found.table.decisions[:, 1], [True, True])
    assert any("column prediction" in n for n in found.notes)
    scored = read_classification(_write(tmp_path, text.replace("0.2,yes", "0.2,0.2")))
    assert scored.table.decisions is None
    assert any("does not name classes" in n for n in scored.notes)


@pytest.mark.parametrize("more", [{"classes": 2}, {"classes": 3, "patients": 40}, {"classes": 3, "multilabel": True}])
def test_the_table_of_cases_gives_the_same_figures_again(
    tmp_path: Path, cohort: Callable[..., Any], common: dict[str, Any], more: dict[str, Any]
) -> None:
    table, schema = cohort(120, **more)
    options: dict[str, Any] = {"patients_known": table.patients is not None, "resamples": 100, "units": ("image",)}
    stored = [{"c1": 0.31, "c0": 0.6}] if schema.binary or schema.multilabel else ()
    made = evaluate_classification(table, schema, stored, **common, **options)
    write_evaluation(tmp_path, made)
    found = read_classification(tmp_path / "cases.csv", multilabel=schema.multilabel)
    assert found.table.attributes == {}
    again = evaluate_classification(found.table, found.schema, (), **common, **options)
    for figure in made.figures:
        assert again.find(figure.id, figure.target, figure.average).value == pytest.approx(figure.value), figure.id
    assert not any("Thresholds:" in n for n in again.notes)
    assert not [p for p in again.panels if p.id == "thresholds"]
