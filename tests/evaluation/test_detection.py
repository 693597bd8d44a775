"""The evaluation of boxes: by hand, against pycocotools, and what is undefined."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from medcnn.errors import DataError
from medcnn.evaluation.detection import (
    DetectionTable,
    check_detection_options,
    choose_detection_thresholds,
    evaluate_detection,
    validation_scores_boxes,
)
from medcnn.evaluation.files import write_evaluation
from medcnn.evaluation.results import CurvePanel, Evaluation, GalleryPanel, MatrixPanel
from medcnn.types import Boxes, LabelSchema

from .detected import ONE, TWO, boxes, coco_precision, found, random_table

RATES = ("0.125", "0.25", "0.5", "1", "2", "4", "8")


def evaluate(table: DetectionTable, schema: LabelSchema = ONE, **changes: Any) -> Evaluation:
    options: dict[str, Any] = {"title": "made up", "part": "test", "patients_known": False, "gallery": 3, "seed": 0}
    options |= {"baseline": None, "thresholds": [dict.fromkeys(schema.names, 0.5)], "resamples": 200}
    made = evaluate_detection(table, schema, **{**options, **changes})
    json.dumps(made.to_json(), allow_nan=False)
    return made


def panel(made: Evaluation, name: str) -> Any:
    return next(p for p in made.panels if p.id == name)


def value(made: Evaluation, *key: str | None) -> float | None:
    name, target, average, unit = (*key, None, None, None)[:4] if len(key) < 4 else key
    found = made.find(str(name), target, average, unit)
    return None if found.value is None else float(found.value)


def by_hand() -> DetectionTable:
    """Four images: two objects of which one is found, one found twice, a false positive alone, nothing at all."""
    return DetectionTable.of(
        ["a", "b", "c", "d"],
        [
            found((10, 10, 30, 30, 0.9), (100, 100, 120, 120, 0.3)),
            found((50, 50, 70, 70, 0.8), (50, 50, 71, 71, 0.6)),
            found((5, 5, 15, 15, 0.7)),
            found(),
        ],
        [boxes((10, 10, 30, 30), (150, 150, 170, 170)), boxes((50, 50, 70, 70)), boxes(), boxes()],
    )


def test_froc_by_hand() -> None:
    """Hits at 0.9 and 0.8; false positives at 0.7, 0.6 and 0.3: 1/4, 1/2 and 3/4 an image."""
    made = evaluate(by_hand())
    for rate in RATES:
        assert value(made, f"sensitivity_at_{rate}", None, None, "object") == pytest.approx(2 / 3)
    assert value(made, "froc", None, None, "object") == pytest.approx(2 / 3)
    assert made.details["curve_end"] == pytest.approx(0.75)
    assert any("flat after its last one, which lies at 0.75." in n for n in made.notes)
    first = made.find("sensitivity_at_1", None, None, "object")
    assert (first.n, first.clusters, first.label) == (3, 2, "Sensitivity at 1 false positive an image")


def test_objects_and_images_by_hand() -> None:
    made = evaluate(by_hand())
    # Called from 0.5 on: two hits, a duplicate and one in an empty image.
    assert value(made, "sensitivity", None, None, "object") == pytest.approx(2 / 3)
    assert value(made, "precision", None, None, "object") == pytest.approx(2 / 4)
    assert value(made, "f1", None, None, "object") == pytest.approx(4 / 7)
    assert panel(made, "objects").rows[0][1:4] == [2, 1, 2]
    assert value(made, "accuracy", None, None, "image") == pytest.approx(3 / 4)
    assert value(made, "precision", None, None, "image") == pytest.approx(2 / 3)
    assert value(made, "sensitivity", None, None, "image") == 1
    assert value(made, "specificity", None, None, "image") == 0.5
    # Scores 0.9 and 0.8 against 0.7 and 0.
    assert value(made, "auroc", None, None, "image") == 1
    assert value(made, "wrong_place", None, None, "image") == 0
    with pytest.raises(KeyError):
        made.find("accuracy", None, None, "object")


def test_a_second_hit_may_be_left_out() -> None:
    made = evaluate(by_hand(), duplicates="ignored")
    assert value(made, "precision", None, None, "object") == pytest.approx(2 / 3)
    assert made.details["curve_end"] == pytest.approx(0.5)
    # Average precision counts it in any case: a second hit stands before the next first one.
    twice = DetectionTable.of(
        ["a"],
        [found((0, 0, 9, 9, 0.9), (0, 0, 9, 9, 0.8), (50, 50, 59, 59, 0.7))],
        [boxes((0, 0, 9, 9), (50, 50, 59, 59))],
    )
    for rule in ("false_positive", "ignored"):
        average = value(evaluate(twice, duplicates=rule), "average_precision_50", None, None, "object")
        assert average == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_the_middle_in_the_reference_is_another_rule() -> None:
    table = DetectionTable.of(["a"], [found((0, 0, 100, 100, 0.9))], [boxes((45, 45, 56, 56))])
    assert value(evaluate(table), "sensitivity", None, None, "object") == 0
    assert value(evaluate(table, hit_rule="centre"), "sensitivity", None, None, "object") == 1


def test_right_for_the_wrong_place() -> None:
    table = DetectionTable.of(
        ["a", "b"], [found((150, 150, 170, 170, 0.9)), found((10, 10, 30, 30, 0.9))], [boxes((10, 10, 30, 30))] * 2
    )
    made = evaluate(table)
    assert value(made, "sensitivity", None, None, "image") == 1
    assert value(made, "wrong_place", None, None, "image") == 0.5
    assert panel(made, "outcomes").rows[0] == ["images", 2, 1, 0, 0, 0, 0]
    assert any("In 1 of 2 images that are rightly called positive no box hits an object" in w for w in made.warnings)


def test_without_negative_images_figures_are_not_defined_and_say_so() -> None:
    table = random_table(30, negatives=0)
    made = evaluate(table)
    for name in ("specificity", "accuracy", "auroc"):
        figure = made.find(name, None, None, "image")
        assert figure.value is None
        assert figure.note == "not defined: no negative images"
    assert made.find("f1", None, None, "image").value is not None
    # Calling every image positive would be right each time.
    assert made.find("f1", None, None, "image").baseline == 1
    assert any("No image is without findings" in w and "FROC" in w for w in made.warnings)
    assert "No image is without findings" in panel(made, "froc-table").caption
    assert not any("No image is without findings" in w for w in evaluate(random_table(30)).warnings)


def test_without_any_object_curves_are_not_defined() -> None:
    made = evaluate(random_table(25, negatives=1))
    for name in ("sensitivity_at_1", "average_precision_50", "froc", "sensitivity"):
        figure = made.find(name, None, None, "object")
        assert (figure.value, figure.note) == (None, "not defined: no object in the reference")
    assert made.find("specificity", None, None, "image").value is not None
    assert made.find("sensitivity", None, None, "image").note == "not defined: no positive images"
    assert "No image has an object in the reference." in made.warnings
    assert "froc" not in [p.id for p in made.panels]


def test_nothing_predicted() -> None:
    table = DetectionTable.of(["a", "b"], [found(), found()], [boxes((1, 1, 9, 9)), boxes()])
    made = evaluate(table)
    assert value(made, "sensitivity_at_1", None, None, "object") == 0
    assert value(made, "average_precision_50", None, None, "object") == 0
    assert made.find("precision", None, None, "object").note == "not defined: no box is called a finding"
    assert value(made, "f1", None, None, "object") == 0
    assert value(made, "auroc", None, None, "image") == 0.5


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(DataError, match="no image"):
        evaluate(DetectionTable.of([], [], []))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("crowd", [0.0, 0.3])
def test_average_precision_equals_pycocotools_by_class_and_whatever_the_class(seed: int, crowd: float) -> None:
    table = random_table(30, 2, seed=seed, crowd=crowd)
    made = evaluate(table, TWO, resamples=100)
    for agnostic in (False, True):
        theirs = coco_precision(table, 2, agnostic=agnostic)
        targets: tuple[str | None, ...] = (None,) if agnostic else TWO.names
        for place, target in enumerate(targets):
            column = theirs[:, place]
            assert value(made, "average_precision_50", target, None, "object") == pytest.approx(column[0], abs=1e-9)
            assert value(made, "average_precision_50_95", target, None, "object") == pytest.approx(
                column.mean(), abs=1e-9
            )
        if not agnostic:
            assert value(made, "average_precision_50", None, "macro", "object") == pytest.approx(theirs[0].mean())


def test_the_best_boxes_of_an_image_are_kept_as_in_pycocotools() -> None:
    table = random_table(30, 2, false=8)
    made = evaluate(table, TWO, most=3)
    theirs = coco_precision(table, 2, most=3)
    assert value(made, "average_precision_50", None, "macro", "object") == pytest.approx(theirs[0].mean())
    agnostic = coco_precision(table, 2, most=3, agnostic=True)
    assert value(made, "average_precision_50", None, None, "object") == pytest.approx(agnostic[0, 0])
    assert any("boxes beyond the 3 of their image are left out" in n for n in made.notes)


def test_figures_of_training_are_those_of_the_evaluation() -> None:
    table = random_table(40, 2)
    made, scores = evaluate(table, TWO), validation_scores_boxes(table.predictions, table.references, TWO.names)
    assert scores["average_precision"] == pytest.approx(value(made, "average_precision_50", None, "macro", "object"))
    assert scores["average_precision_mass"] == pytest.approx(value(made, "average_precision_50", "mass", None))
    assert scores["sensitivity"] == pytest.approx(value(made, "sensitivity_at_1", None, None, "object"))
    none = validation_scores_boxes([found()], [boxes()], TWO.names)
    assert list(none) == ["average_precision", "average_precision_nodule", "average_precision_mass", "sensitivity"]
    assert np.isnan(list(none.values())).all()


def test_ignored_regions_count_neither_way() -> None:
    table = DetectionTable.of(
        ["a", "b", "c"],
        [found((10, 10, 30, 30, 0.9)), found((10, 10, 30, 30, 0.8)), found()],
        [boxes((0, 0, 100, 100), crowd=[True]), boxes((10, 10, 30, 30)), boxes()],
    )
    made = evaluate(table)
    assert value(made, "precision", None, None, "object") == 1
    assert made.find("sensitivity", None, None, "object").n == 1
    # An image of ignored regions alone is neither positive nor negative.
    assert made.find("accuracy", None, None, "image").n == 2
    assert panel(made, "outcomes").rows[0][-1] == 1
    assert made.details["ignored_regions"] == 1
    assert "1 regions of the reference are ignored: boxes in them count neither way." in made.notes


def test_an_ignored_region_of_no_class_is_one_of_every_class() -> None:
    predicted = found((10, 10, 30, 30, 0.9), (40, 40, 60, 60, 0.8), labels=[0, 1])
    for label, false in ((-1, [0, 0]), (0, [0, 1])):
        region = boxes((0, 0, 100, 100), labels=[label], crowd=[True])
        made = evaluate(DetectionTable.of(["a"], [predicted], [region]), TWO)
        assert [row[3] for row in panel(made, "objects").rows[3:]] == false
        assert panel(made, "objects").rows[0][3] == 0


def test_false_positives_per_patient() -> None:
    """Two images a patient: twice as many false positives for each."""
    table = random_table(40, patients=np.arange(40) // 2, clusters=np.arange(40) // 2)
    by_image, by_patient = evaluate(table, patients_known=True), evaluate(table, patients_known=True, per="patient")
    for one, two in (("0.25", "0.5"), ("0.5", "1"), ("1", "2")):
        assert value(by_patient, f"sensitivity_at_{two}", None, None, "object") == pytest.approx(
            value(by_image, f"sensitivity_at_{one}", None, None, "object")
        )
    assert panel(by_patient, "froc").x_label == "False positives a patient"
    unknown = evaluate(table, per="patient")
    assert "False positives are counted per image: the patients are not known." in unknown.warnings
    assert unknown.details["per"] == "image"
    assert "False positives are counted per image: the studies are not known." in evaluate(table, per="study").warnings
    studies = random_table(40, studies=np.arange(40) // 2)
    assert value(evaluate(studies, per="study"), "sensitivity_at_1", None, None, "object") == pytest.approx(
        value(by_patient, "sensitivity_at_1", None, None, "object")
    )


def test_figures_by_patient() -> None:
    patients = np.array(["p", "p", "q", "q"])
    table = by_hand()
    table = DetectionTable.of(table.cases, table.predictions, table.references, patients=patients, clusters=patients)
    made = evaluate(table, patients_known=True)
    # One patient has both images with objects, the other the false positive.
    assert made.find("sensitivity", None, None, "patient").n == 1
    assert value(made, "sensitivity", None, None, "patient") == 1
    assert value(made, "specificity", None, None, "patient") == 0
    assert value(made, "accuracy", None, None, "patient") == 0.5
    assert [row[0] for row in panel(made, "findings").rows] == ["images", "patients"]
    with pytest.raises(KeyError):
        evaluate(table).find("accuracy", None, None, "patient")


def test_folds_rank_within_themselves_and_pool_counts_at_their_own_thresholds() -> None:
    table = random_table(60, fold=np.arange(60) % 2)
    made = evaluate(table, thresholds=[{"nodule": 0.3}, {"nodule": 0.7}])
    parts = [table.take(table.fold == k) for k in range(2)]
    alone = [evaluate(p, thresholds=[{}, {}, {}]) for p in parts]
    for name in ("sensitivity_at_1", "average_precision_50", "froc"):
        mean = np.mean([value(one, name, None, None, "object") for one in alone])
        assert value(made, name, None, None, "object") == pytest.approx(mean)
    assert value(made, "auroc", None, None, "image") == pytest.approx(
        np.mean([value(one, "auroc", None, None, "image") for one in alone])
    )
    counts = np.zeros(3)
    for part, threshold in zip(parts, (0.3, 0.7), strict=True):
        own = DetectionTable.of(part.cases, part.predictions, part.references)
        counts += panel(evaluate(own, thresholds=[{"nodule": threshold}]), "objects").rows[0][1:4]
    assert panel(made, "objects").rows[0][1:4] == counts.tolist()
    assert made.find("f1", None, None, "object").part == "out-of-fold"
    assert [row[0] for row in panel(made, "folds").rows[:3]] == ["fold 0", "fold 1", "mean of the folds"]
    assert panel(made, "thresholds").columns == ["Class", "Fold 0", "Fold 1"]


def test_a_fold_without_objects_is_left_out_of_curves() -> None:
    first, second = random_table(30), random_table(10, negatives=1, seed=1)
    table = DetectionTable.of(
        [*first.cases, *(f"other {i}" for i in range(10))], [*first.predictions, *second.predictions],
        [*first.references, *second.references], fold=np.repeat([0, 1], [30, 10]),
    )  # fmt: skip
    made = evaluate(table)
    figure = made.find("sensitivity_at_1", None, None, "object")
    assert figure.value == pytest.approx(value(evaluate(first), "sensitivity_at_1", None, None, "object"))
    assert "defined in 1 of 2 folds" in figure.note


def test_intervals_hold_the_figure_narrow_with_images_and_respect_patients() -> None:
    narrow, wide = (evaluate(random_table(n), resamples=400) for n in (240, 60))
    for name in ("sensitivity_at_1", "average_precision_50", "froc", "f1"):
        widths = []
        for made in (narrow, wide):
            figure = made.find(name, None, None, "object")
            assert figure.interval is not None
            assert figure.interval.low < figure.value < figure.interval.high  # type: ignore[operator]
            widths.append(figure.interval.high - figure.interval.low)
        assert widths[1] > 1.4 * widths[0]
    # Every image four times over says no more than once where its patient is known.
    table = random_table(60)
    rows = np.repeat(np.arange(60), 4)
    copies = table.take(rows)
    copies = DetectionTable.of(
        [f"{c} {i}" for i, c in enumerate(copies.cases)], copies.predictions, copies.references, patients=rows,
        clusters=rows,
    )  # fmt: skip
    one, four = evaluate(table, resamples=600), evaluate(copies, patients_known=True, resamples=600)
    for name in ("sensitivity_at_1", "average_precision_50"):
        first, second = (made.find(name, None, None, "object") for made in (one, four))
        assert second.value == pytest.approx(first.value)
        assert first.interval is not None
        assert second.interval is not None
        assert second.interval.high - second.interval.low == pytest.approx(
            first.interval.high - first.interval.low, rel=0.25
        )
        assert "bootstrap over patients" in second.interval.method


def test_an_interval_is_that_of_evaluations_of_drawn_images() -> None:
    """Weights give what evaluating the drawn images anew would give."""
    table = random_table(30, seed=5)
    interval = evaluate(table, resamples=2000).find("average_precision_50", None, None, "object").interval
    rng = np.random.default_rng(1)
    values = []
    for _ in range(120):
        rows = rng.integers(0, 30, 30)
        drawn = [table.predictions[i] for i in rows], [table.references[i] for i in rows]
        values.append(validation_scores_boxes(*drawn, ONE.names)["average_precision"])
    low, high = np.nanquantile(values, [0.025, 0.975])
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.05)


def test_all_found_has_an_interval_too() -> None:
    table = DetectionTable.of(
        [str(i) for i in range(30)], [found((10, 10, 30, 30, 0.9))] * 30, [boxes((10, 10, 30, 30))] * 30
    )
    made = evaluate(table)
    for name in ("sensitivity_at_1", "average_precision_50", "f1", "froc"):
        figure = made.find(name, None, None, "object")
        assert figure.value == 1
        assert figure.interval is not None
        assert figure.interval.low < 0.95
        assert "Wilson" in figure.interval.method


def test_of_few_misses_resamples_know_too_little() -> None:
    """Four of forty objects are missed: Wilson's interval of 36 in 40 images; of five the bootstrap's."""
    for missed, method in ((4, "Wilson on the number of images with an object"), (5, "bootstrap over images")):
        rows = [found((10, 10, 30, 30, 0.9))] * (40 - missed) + [found()] * missed
        table = DetectionTable.of([str(i) for i in range(40)], rows, [boxes((10, 10, 30, 30))] * 40)
        interval = evaluate(table).find("sensitivity_at_1", None, None, "object").interval
        assert interval is not None
        assert interval.method.startswith(method)
        if missed == 4:
            assert (interval.low, interval.high) == pytest.approx((0.769, 0.960), abs=0.001)


def test_few_clusters_get_a_range_and_no_interval() -> None:
    patients = np.arange(30) % 6
    made = evaluate(random_table(30, patients=patients, clusters=patients), patients_known=True)
    for name in ("sensitivity_at_1", "average_precision_50", "f1"):
        interval = made.find(name, None, None, "object").interval
        assert interval is not None
        assert interval.level is None
        assert "range over 6 patients" in interval.method


def test_thresholds_are_those_of_the_highest_f1_of_each_class() -> None:
    table = random_table(60, 2, seed=3)
    chosen = choose_detection_thresholds(table, TWO, {})
    assert set(chosen) == set(TWO.names)

    def objects_f1(name: str, threshold: float) -> float:
        made = evaluate(table, TWO, thresholds=[{**chosen, name: threshold}], resamples=100, subgroups=(), gallery=0)
        return value(made, "f1", name, None, "object") or 0.0

    for name in TWO.names:
        best = objects_f1(name, chosen[name])
        assert all(objects_f1(name, t) <= best for t in (0.25, 0.45, 0.7))


def test_thresholds_by_a_rate_of_false_positives() -> None:
    table = random_table(60, 2, seed=3)
    chosen = choose_detection_thresholds(table, TWO, {"operating_point": "rate", "rate": 0.5})
    assert len(set(chosen.values())) == 1
    rate = panel(evaluate(table, TWO, thresholds=[chosen]), "objects").rows[0][3] / 60
    lower = {name: t - 0.02 for name, t in chosen.items()}
    assert rate <= 0.5 < panel(evaluate(table, TWO, thresholds=[lower]), "objects").rows[0][3] / 60


def test_without_a_choice_half_is_the_threshold_and_a_warning_says_so() -> None:
    assert choose_detection_thresholds(DetectionTable.of([], [], []), ONE, {}) == {}
    assert choose_detection_thresholds(random_table(20, negatives=1), ONE, {}) == {}
    only = DetectionTable.of(["a"], [found((1, 1, 9, 9, 0.8))], [boxes((1, 1, 9, 9))])
    assert list(choose_detection_thresholds(only, TWO, {})) == ["nodule"]
    made = evaluate(by_hand(), thresholds=[{}], threshold=0.85)
    assert "No threshold was chosen on validation for nodule: a box is called a finding from 0.85 on." in made.warnings
    assert value(made, "sensitivity", None, None, "object") == pytest.approx(1 / 3)
    assert any("no threshold was chosen on validation" in n for n in made.notes)


def test_the_baseline_stands_beside_the_headline() -> None:
    table = random_table(40)
    same = DetectionTable.of(table.cases, [found((60, 60, 90, 90, 0.2))] * 40, table.references)
    made, alone = evaluate(table, baseline=same), evaluate(same)
    for name in ("sensitivity_at_1", "average_precision_50"):
        figure = made.find(name, None, None, "object")
        assert figure.baseline == pytest.approx(value(alone, name, None, None, "object"))
        assert figure.baseline_label == "heat map of the training boxes"
    best = evaluate(same, thresholds=[choose_detection_thresholds(same, ONE, {})])
    assert made.find("f1", None, None, "object").baseline == pytest.approx(
        value(best, "f1", None, None, "object"), abs=1e-9
    )
    with pytest.raises(ValueError, match="other images"):
        evaluate(table, baseline=same.take(np.arange(5)))


def test_objects_by_size() -> None:
    """Edges of 10, 20 and 40 px are 5, 10 and 20 mm; the small one is missed."""
    wanted = boxes((0, 0, 10, 8), (50, 50, 70, 60), (100, 100, 140, 140))
    table = DetectionTable.of(["a"], [found((50, 50, 70, 60, 0.9), (100, 100, 140, 140, 0.8))], [wanted])
    rows = panel(evaluate(table, sizes=(6, 15)), "by-size").rows
    assert [row[:2] for row in rows] == [["small", "up to 6 mm"], ["medium", "6 mm to 15 mm"], ["large", "above 15 mm"]]
    assert [(row[2].value, row[2].n) for row in rows] == [(0, 1), (1, 1), (1, 1)]
    assert [row[3].value for row in rows] == [0, 1, 1]
    made = panel(evaluate(random_table(60)), "by-size")
    assert "terciles" in made.caption
    assert max(abs(row[2].n - sum(r[2].n for r in made.rows) / 3) for row in made.rows) <= 1
    plain = DetectionTable.of(["a"], [found(spacing=None)], [wanted])
    assert panel(evaluate(plain, sizes=(12, 30)), "by-size").rows[0][1] == "up to 12 px"


def test_confusion_of_classes_with_misses_and_inventions() -> None:
    table = DetectionTable.of(
        ["a", "b"],
        [found((10, 10, 30, 30, 0.9), (100, 100, 120, 120, 0.8), labels=[1, 0]), found((5, 5, 9, 9, 0.9), labels=[1])],
        [boxes((10, 10, 30, 30), (100, 100, 120, 120), (150, 150, 170, 170), labels=[0, 0, 1]), boxes()],
    )
    made = evaluate(table, TWO)
    matrix = panel(made, "confusion")
    assert isinstance(matrix, MatrixPanel)
    assert list(matrix.counts) == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    # Whatever the class both are found; with the right class one is.
    assert value(made, "sensitivity", None, None, "object") == pytest.approx(2 / 3)
    assert value(made, "sensitivity", None, "micro", "object") == pytest.approx(1 / 3)
    assert value(made, "f1", "nodule", None, "object") == pytest.approx(2 / 3)
    assert value(made, "f1", None, "macro", "object") == pytest.approx(1 / 3)
    assert "confusion" not in [p.id for p in evaluate(by_hand()).panels]


def test_boxes_of_volumes() -> None:
    made = evaluate(random_table(30, dims=3))
    assert 0.5 < (value(made, "sensitivity_at_1", None, None, "object") or 0) < 1
    assert [p.id for p in made.panels if p.id.startswith("place")] == ["place-xy", "place-xz"]


def test_curves_rise_within_their_bands() -> None:
    made = evaluate(random_table(60))
    froc = panel(made, "froc")
    assert isinstance(froc, CurvePanel)
    assert froc.x_log
    line = froc.series[0]
    assert (np.diff(line.y) >= 0).all()
    assert line.low is not None
    assert line.high is not None
    assert (np.array(line.low) <= np.array(line.high)).all()
    x, y, text = line.marks[0]
    assert text == "operating point"
    assert y == pytest.approx(value(made, "sensitivity", None, None, "object"))
    assert np.interp(x, line.x, line.y) == pytest.approx(y, abs=0.02)
    precision = panel(made, "pr").series[0]
    assert (np.diff(precision.y) <= 1e-9).all()
    assert np.mean(precision.y) == pytest.approx(value(made, "average_precision_50", None, None, "object"), abs=1e-4)
    assert "The curve ends at" in panel(evaluate(by_hand()), "froc").caption


def test_galleries_show_false_positives_misses_and_hits() -> None:
    made = evaluate(by_hand())
    galleries = {p.id: p for p in made.panels if isinstance(p, GalleryPanel)}
    assert [i.case for i in galleries["false-positives"].items] == ["c", "b"]
    assert galleries["false-positives"].items[0].text == "0 found, 0 missed, 1 false: 0.70 false"
    assert [i.case for i in galleries["misses"].items] == ["a"]
    assert "hits" not in galleries
    assert galleries["misses"].contours == {"nodule": "#00aa00"}
    assert [p for p in evaluate(random_table(30), gallery=6).panels if p.id == "hits"]
    assert not [p for p in evaluate(by_hand(), gallery=0).panels if isinstance(p, GalleryPanel)]


def test_subgroups_and_their_floor() -> None:
    made = evaluate(random_table(60, attributes={"site": ["a"] * 50 + ["b"] * 10}))
    rows = panel(made, "subgroup-site").rows
    assert [row[:2] for row in rows] == [["a", 50], ["b", 10]]
    assert "fewer than 20 cases" in rows[1][-1]


def test_files_keep_the_schema_and_hold_a_row_an_image(tmp_path: Path) -> None:
    schema = json.loads(files("medcnn.evaluation").joinpath("metrics.schema.json").read_text("utf-8"))
    table = random_table(24, 2, fold=np.arange(24) % 2)
    write_evaluation(tmp_path, evaluate(table, TWO, baseline=table))
    written = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    jsonschema.validate(written, schema, cls=jsonschema.Draft202012Validator)
    lines = (tmp_path / "cases.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + 24
    assert lines[0] == (
        "case,patient,cluster,fold,objects,boxes,tp,fp,fn,score,reference,predicted,correct,placed,"
        "tp_nodule,fp_nodule,fn_nodule,tp_mass,fp_mass,fn_mass"
    )
    assert lines[1].startswith("case 000,,case 000,0,")


def test_the_headline_comes_first() -> None:
    made = evaluate(random_table(30, 2), TWO)
    assert [(f.id, f.average, f.unit) for f in (made.find(*key) for key in made.headline)] == [
        ("sensitivity_at_1", None, "object"), ("average_precision_50", None, "object"),
        ("average_precision_50", "macro", "object"), ("f1", None, "object"), ("f1", None, "image"),
        ("sensitivity", None, "image"), ("precision", None, "image"), ("accuracy", None, "image"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "key"),
    [({"match_iou": 0}, "match_iou"), ({"most": 0}, "most"), ({"rate": 0}, "rate"), ({"threshold": 1.5}, "threshold"),
     ({"sizes": (5, 5)}, "sizes"), ({"sizes": (0, 5)}, "sizes"), ({"resamples": 3}, "resamples"),
     ({"level": 95}, "level")],
)  # fmt: skip
def test_options_out_of_range_are_named(options: dict[str, Any], key: str) -> None:
    with pytest.raises(DataError) as caught:
        check_detection_options(ONE, options)
    assert caught.value.where == f"evaluation.{key}"


def test_tables_are_joined_taken_and_refused() -> None:
    table = random_table(10, attributes={"site": list("ab") * 5})
    joined = DetectionTable.joined([table.take(np.arange(4)), table.take(np.arange(4, 10))])
    assert joined.cases == table.cases
    assert joined.attributes == table.attributes
    mixed = Boxes(np.zeros((1, 6), np.float32), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="axes"):
        DetectionTable.of(["a"], [found((0, 0, 1, 1, 0.5))], [mixed])
    with pytest.raises(ValueError, match="other numbers"):
        DetectionTable.of(["a"], [found()], [])
    # Boxes that do not come by falling score are put in order.
    shuffled = DetectionTable.of(["a"], [found((0, 0, 1, 1, 0.2), (2, 2, 3, 3, 0.9))], [boxes()])
    assert shuffled.predictions[0].scores.tolist() == pytest.approx([0.9, 0.2])
