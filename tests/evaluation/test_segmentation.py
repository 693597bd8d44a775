"""The evaluation of segmentation over many cases."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import sklearn.metrics as oracle

from medcnn.errors import DataError
from medcnn.evaluation.files import write_evaluation
from medcnn.evaluation.results import Evaluation, GalleryPanel
from medcnn.evaluation.segmentation import (
    SegmentationTable,
    check_segmentation_options,
    evaluate_segmentation,
    measure_options,
    read_measures,
    write_measures,
)
from medcnn.evaluation.segmentation_case import LabelMeasures, measure_case
from medcnn.evaluation.segmentation_sums import agreement_limit, weighted_quantile
from medcnn.types import LabelClass, LabelSchema

TWO = LabelSchema((LabelClass(1, "anterior", "#00aa00"), LabelClass(2, "posterior")))
ONE = LabelSchema((LabelClass(1, "tumour"),))


def single(dice: float | None, **changes: Any) -> LabelMeasures:
    """A label of 100 reference voxels with this Dice, or of two empty masks."""
    if dice is None:
        made = LabelMeasures(True, 0, 0, 0, 1000, 0.0, 0.0, None, None, None, None, None, 0, 0, 0, "mm", 3)
        return replace(made, **changes)
    tp = round(100 * dice)
    far = math.inf if tp == 0 else 10 * (1 - dice)
    fp, fn = (0, 100) if tp == 0 else (100 - tp, 100 - tp)
    return replace(
        LabelMeasures(
            True, tp, fp, fn, 900 - fp, 100.0, float(tp + fp), dice, dice / (2 - dice), far, far / 2, dice, int(tp > 0),
            0, int(tp == 0), "mm", 3,
        ),
        **changes,
    )  # fmt: skip


def table_of(rows: list[list[float | None]], **facts: Any) -> SegmentationTable:
    return SegmentationTable.of(
        [f"case {i:03d}" for i in range(len(rows))], [[single(d) for d in row] for row in rows], **facts
    )


def evaluate(table: SegmentationTable, schema: LabelSchema = ONE, **changes: Any) -> Evaluation:
    options: dict[str, Any] = {"title": "made up", "part": "test", "patients_known": False, "gallery": 3, "seed": 0}
    made = evaluate_segmentation(table, schema, **{**options, "baseline": None, "resamples": 200, **changes})
    json.dumps(made.to_json(), allow_nan=False)
    return made


def panel(made: Evaluation, name: str) -> Any:
    return next(p for p in made.panels if p.id == name)


def random_table(n: int = 40, labels: int = 2, **facts: Any) -> SegmentationTable:
    rng = np.random.default_rng(3)
    return table_of([[float(np.round(v, 2)) for v in row] for row in rng.beta(8, 2, (n, labels))], **facts)


def test_the_headline_is_the_mean_over_cases_of_each_label_and_over_labels() -> None:
    table = random_table()
    made = evaluate(table, TWO)
    dice = table.measures["dice"]
    for place, name in enumerate(TWO.names):
        figure = made.find("dice", name)
        assert figure.value == pytest.approx(dice[:, place].mean())
        assert made.find("dice_median", name).value == pytest.approx(np.median(dice[:, place]))
        assert figure.interval is not None
        assert figure.interval.low < figure.value < figure.interval.high
        assert (figure.n, figure.unit) == (40, "image")
    assert made.find("dice", None, "macro").value == pytest.approx(dice.mean())
    assert made.headline[0] == ("dice", None, "macro", "image")
    assert [made.find(*key).id for key in made.headline] == [
        "dice",
        "dice",
        "dice",
        "nsd",
        "hd95_median",
        "sensitivity",
    ]


def test_the_bootstrap_agrees_with_theory() -> None:
    table = random_table(200, 1)
    interval = evaluate(table, resamples=2000).find("dice", "tumour").interval
    assert interval is not None
    half = 1.96 * table.measures["dice"].std(ddof=1) / math.sqrt(200)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.1)
    assert "bootstrap" in interval.method
    assert "too narrow" in interval.method


def test_each_patient_counts_once() -> None:
    # Twenty patients with one case of 0.9, and one with ten cases of 0.2.
    rows: list[list[float | None]] = [[0.9]] * 20 + [[0.2]] * 10
    patients = np.array([*map(str, range(20)), *["many"] * 10])
    table = table_of(rows, patients=patients, clusters=patients)
    made = evaluate(table, patients_known=True)
    assert made.find("dice", "tumour").value == pytest.approx((20 * 0.9 + 0.2) / 21)
    assert (made.find("dice", "tumour").n, made.find("dice", "tumour").clusters) == (30, 21)
    assert made.find("dice_median", "tumour").value == pytest.approx(0.9)
    assert evaluate(table).find("dice", "tumour").value == pytest.approx((20 * 0.9 + 10 * 0.2) / 30)


def test_infinite_distances_rank_last_and_leave_the_mean_undefined() -> None:
    rows: list[list[float | None]] = [[0.8]] * 21 + [[0.0]] * 10
    made = evaluate(table_of(rows))
    mean, median = made.find("hd95", "tumour"), made.find("hd95_median", "tumour")
    assert mean.value is None
    assert "infinite in 10 of 31 cases" in mean.note
    assert median.value == pytest.approx(2.0)
    assert made.find("dice", "tumour").value == pytest.approx(21 * 0.8 / 31)
    surfaces = panel(made, "surfaces")
    assert surfaces.rows[0][-1] == 10
    assert surfaces.rows[0][3] == "2.000 to ∞"
    assert any("In 10 of 31 cases one mask" in w for w in made.warnings)
    most = evaluate(table_of([[0.8]] * 9 + [[0.0]] * 22)).find("hd95_median", "tumour")
    assert most.value is None
    assert "half of the cases" in most.note


def test_two_empty_masks_are_undefined_and_counted() -> None:
    made = evaluate(table_of([[0.5]] * 25 + [[None]] * 5))
    assert made.find("dice", "tumour").value == pytest.approx(0.5)
    assert made.find("dice", "tumour").n == 25
    assert panel(made, "presence").rows == [["tumour", 25, 0, 0, 5, 0]]
    nothing = evaluate(table_of([[None]] * 25))
    assert nothing.find("dice", "tumour").value is None
    assert "empty in all cases" in nothing.find("dice", "tumour").note
    assert any("No case has tumour" in w for w in nothing.warnings)


def test_cases_by_whether_a_mask_is_empty() -> None:
    invented = single(0.0, fp=50, fn=0, tn=950, reference_volume=0.0, predicted_volume=50.0, lesion_fp=1, lesion_fn=0)
    absent = single(None, annotated=False, tn=0)
    measured = [[single(0.7)]] * 20 + [[single(0.0)]] * 3 + [[invented]] * 2 + [[single(None)]] * 4 + [[absent]]
    made = evaluate(SegmentationTable.of([str(i) for i in range(30)], measured))
    assert panel(made, "presence").rows == [["tumour", 20, 3, 2, 4, 1]]
    assert made.find("sensitivity", "tumour", unit="image").n == 23
    assert made.find("accuracy", "tumour", unit="image").n == 29
    with pytest.raises(DataError, match="no case of the evaluated part has a reference mask"):
        evaluate(SegmentationTable.of(["a"], [[absent]]))


def test_a_label_that_no_case_has_is_left_out_of_the_average_and_named() -> None:
    made = evaluate(table_of([[0.5 + i / 100, None] for i in range(30)]), TWO)
    average = made.find("dice", None, "macro")
    assert average.value == made.find("dice", "anterior").value
    assert "over 1 of 2 labels (without posterior)" in average.note


def test_pooled_voxels_equal_scikit_learn_and_stand_beside_the_all_background_baseline() -> None:
    rng = np.random.default_rng(0)
    masks = [(rng.random((9, 9)) < 0.2, rng.random((9, 9)) < 0.2) for _ in range(25)]
    measured = [measure_case(a.astype(np.uint8), b.astype(np.uint8), 1, None) for a, b in masks]
    made = evaluate(SegmentationTable.of([str(i) for i in range(25)], measured))
    truth, called = (np.concatenate([m[k].ravel() for m in masks]) for k in (0, 1))
    expected = {
        "f1": oracle.f1_score(truth, called),
        "sensitivity": oracle.recall_score(truth, called),
        "precision": oracle.precision_score(truth, called),
        "accuracy": oracle.accuracy_score(truth, called),
        "foreground_share": truth.mean(),
    }
    for name, value in expected.items():
        assert made.find(name, "tumour", unit="voxel").value == pytest.approx(value), name
    pooled = made.find("accuracy", "tumour", unit="voxel")
    assert pooled.baseline == pytest.approx(1 - truth.mean())
    assert (pooled.baseline_label, pooled.n) == ("all background", 25 * 81)
    by_case = made.find("accuracy", "tumour", unit="image")
    assert by_case.value == pytest.approx(np.mean([(a == b).mean() for a, b in masks]))
    assert by_case.baseline == pytest.approx(np.mean([1 - a.mean() for a, _ in masks]))
    assert not any(key[0] == "accuracy" for key in made.headline)
    assert made.details["length_unit"] == "px"
    assert "[px]" in made.find("hd95_median", "tumour").label
    assert "pixels" in panel(made, "surfaces").caption


def test_lesions_are_counted_over_cases_with_intervals_on_clusters() -> None:
    measured = [[single(0.8, lesion_tp=3, lesion_fn=1, lesion_fp=2)]] * 30
    made = evaluate(SegmentationTable.of([str(i) for i in range(30)], measured))
    found = {k: made.find(k, "tumour", unit="object") for k in ("sensitivity", "precision", "f1")}
    assert (found["sensitivity"].value, found["sensitivity"].n) == (0.75, 120)
    assert (found["precision"].value, found["precision"].n) == (0.6, 150)
    assert found["f1"].value == pytest.approx(2 * 90 / (2 * 90 + 60 + 30))
    assert all(f.interval and "Wilson" in f.interval.method for f in found.values())
    assert panel(made, "lesions").rows[0][1:4] == [90, 30, 60]


def test_volumes_agree_as_bland_and_altman_say() -> None:
    rng = np.random.default_rng(1)
    reference, gap = rng.uniform(1000, 3000, 40), rng.normal(20, 80, 40)
    measured = [[single(0.8, reference_volume=v, predicted_volume=v + g)] for v, g in zip(reference, gap, strict=True)]
    # Single measurements agree or not: a patient with nineteen of them counts nineteen times.
    patients = np.array([f"p{max(0, i - 18)}" for i in range(40)])
    table = SegmentationTable.of([str(i) for i in range(40)], measured, patients=patients, clusters=patients)
    made = evaluate(table, patients_known=True)
    assert made.find("volume_difference", "tumour").value == pytest.approx(gap.mean())
    assert made.find("volume_loa_low", "tumour").value == pytest.approx(gap.mean() - 1.96 * gap.std(ddof=1))
    assert made.find("volume_loa_high", "tumour").value == pytest.approx(gap.mean() + 1.96 * gap.std(ddof=1))
    relative = made.find("relative_volume_difference", "tumour")
    assert relative.value == pytest.approx(100 * (gap / reference).mean())
    assert "[mm³]" in made.find("volume_difference", "tumour").label
    drawn = panel(made, "volumes-0").series
    assert drawn[0].x == pytest.approx(reference + gap / 2, rel=1e-5)
    assert [s.name for s in drawn] == ["cases", "upper limit", "mean", "lower limit"]
    large = [[single(0.8, reference_volume=1e6 + v, predicted_volume=1e6 + v + 500)] for v in reference]
    litres = evaluate(SegmentationTable.of([str(i) for i in range(40)], large)).find("volume_difference", "tumour")
    assert litres.value == pytest.approx(0.5)
    assert "[ml]" in litres.label


def test_cases_in_pixels_are_left_out_of_distances_in_mm() -> None:
    measured = [[single(0.8)]] * 25 + [[single(0.5, unit="px")]] * 4
    made = evaluate(SegmentationTable.of([str(i) for i in range(29)], measured))
    assert made.find("dice", "tumour").n == 29
    assert made.find("hd95", "tumour").n == made.find("volume_difference", "tumour").n == 25
    assert "without 4 cases in another unit" in made.find("hd95_median", "tumour").note
    assert any("4 cases are in another unit" in w for w in made.warnings)


def test_the_trivial_baseline_stands_beside_dice() -> None:
    table, trivial = random_table(), table_of([[0.25, 0.35]] * 40)
    made = evaluate(table, TWO, baseline=trivial)
    assert made.find("dice", "anterior").baseline == pytest.approx(0.25)
    assert made.find("dice", None, "macro").baseline == pytest.approx(0.3)
    assert made.find("dice", "anterior").baseline_label == "mean training mask"
    with pytest.raises(ValueError, match="baseline of other cases"):
        evaluate(table, TWO, baseline=trivial.take(np.arange(3)))
    with pytest.raises(ValueError, match="1 labels"):
        evaluate(table, ONE)


def test_folds_and_subgroups_have_tables_of_their_own() -> None:
    table = random_table(60, fold=np.arange(60) % 3, attributes={"sex": ["F", "M"] * 30})
    made = evaluate(table, TWO)
    assert made.find("dice", "anterior").part == "out-of-fold"
    folds = panel(made, "folds")
    assert [r[0] for r in folds.rows] == [
        "fold 0", "fold 1", "fold 2", "mean of the folds", "standard deviation", "lowest", "highest"
    ]  # fmt: skip
    by_fold = [float(np.mean(table.measures["dice"][f::3])) for f in range(3)]
    assert [r[2].value for r in folds.rows[:3]] == pytest.approx(by_fold)
    assert folds.rows[4][2] == pytest.approx(np.std(by_fold, ddof=1))
    sex = panel(made, "subgroup-sex")
    assert [(r[0], r[1]) for r in sex.rows] == [("F", 30), ("M", 30)]
    assert sex.rows[0][3].value == pytest.approx(table.measures["dice"][::2, 0].mean())
    by_posterior = table.measures["dice"][:, 1].mean()
    assert made.find("dice", "posterior").value == pytest.approx(by_posterior)
    joined = SegmentationTable.joined([table.take(table.fold == f) for f in range(3)])
    again = evaluate(joined, TWO)
    assert again.find("dice", "posterior").value == pytest.approx(by_posterior)
    assert [row[:2] for row in panel(again, "subgroup-sex").rows] == [["F", 30], ["M", 30]]


def test_the_order_of_the_cases_does_not_matter() -> None:
    table = random_table()
    here, there = evaluate(table, TWO), evaluate(table.take(np.random.default_rng(0).permutation(40)), TWO)
    for a, b in zip(here.figures, there.figures, strict=True):
        assert a.value == (b.value if b.value is None else pytest.approx(b.value))
        assert (a.interval is None) == (b.interval is None)
        if a.interval and b.interval:
            assert a.interval.low == pytest.approx(b.interval.low, rel=1e-5, abs=1e-6)


def test_few_clusters_get_a_range_and_no_interval() -> None:
    patients = np.array([f"p{i % 6}" for i in range(30)])
    made = evaluate(random_table(30, 1, patients=patients, clusters=patients), patients_known=True)
    interval = made.find("dice", "tumour").interval
    assert interval is not None
    assert interval.level is None
    assert "range over 6 patients" in interval.method


def test_worst_cases_by_name_and_galleries() -> None:
    rows: list[list[float | None]] = [[0.5 + i / 100, 0.6 + i / 100] for i in range(20)]
    rows[7], rows[4], rows[11] = [0.0, 0.9], [0.3, 0.3], [None, None]
    made = evaluate(table_of(rows), TWO, gallery=3)
    worst = panel(made, "worst-cases")
    assert [r[0] for r in worst.rows[:2]] == ["case 004", "case 007"]
    assert worst.rows[1][2:5] == ["anterior", 0.0, "∞"]
    galleries = {p.id: p for p in made.panels if isinstance(p, GalleryPanel)}
    assert [i.case for i in galleries["worst"].items] == ["case 004", "case 007", "case 000"]
    assert galleries["worst"].items[1].text == "Dice anterior 0.000, posterior 0.900; HD95 ∞"
    assert [i.case for i in galleries["best"].items] == ["case 019"]
    assert len(galleries["median"].items) == 1
    assert galleries["best"].contours == {"anterior": "#00aa00", "posterior": None}
    assert not [p for p in evaluate(table_of(rows), TWO, gallery=0).panels if isinstance(p, GalleryPanel)]


def test_files_keep_the_schema_and_hold_a_row_a_case_and_label(tmp_path: Path) -> None:
    schema = json.loads(files("medcnn.evaluation").joinpath("metrics.schema.json").read_text("utf-8"))
    table = random_table(24, fold=np.arange(24) % 2, attributes={"site": list("ab") * 12})
    write_evaluation(tmp_path, evaluate(table, TWO, baseline=table))
    written = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    jsonschema.validate(written, schema, cls=jsonschema.Draft202012Validator)
    lines = (tmp_path / "cases.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + 24 * 2
    assert lines[0].startswith("case,patient,cluster,fold,label,annotated,tp,fp,fn,tn,reference_volume")
    assert lines[1].startswith("case 000,,case 000,0,anterior,1,")


def test_measures_come_back_from_their_file(tmp_path: Path) -> None:
    measured = [[single(0.123456789), single(None)], [single(0.0), single(1.0, unit="px", dims=2)]]
    path = write_measures(tmp_path / "m.csv", ["a", "b, c"], measured, ("x", "y"))
    assert read_measures(path) == (("a", "b, c"), ("x", "y"), measured)
    text = path.read_text("utf-8")
    for broken, message in (
        (text.replace("hd95", "other"), "column"),
        (text.replace(",px,", ",ell,"), "'ell' is no unit"),
        (text.rsplit("\n", 2)[0] + "\n", "lacks y"),
        (text.replace("a,x,1,12,", "a,x,1,twelve,"), "row 1: 'twelve' in the column tp"),
    ):
        path.write_text(broken, "utf-8")
        with pytest.raises(DataError, match=message):
            read_measures(path)


@pytest.mark.parametrize(
    ("options", "key"),
    [({"tolerance": -1}, "tolerance"), ({"match_iou": 0}, "match_iou"), ({"match_iou": 1.1}, "match_iou"),
     ({"resamples": 3}, "resamples"), ({"level": 95}, "level"), ({"tolerance": math.inf}, "tolerance")],
)  # fmt: skip
def test_options_out_of_range_are_named(options: dict[str, Any], key: str) -> None:
    with pytest.raises(DataError) as caught:
        check_segmentation_options(ONE, options)
    assert caught.value.where == f"evaluation.{key}"
    with pytest.raises(DataError):
        evaluate(random_table(20, 1), **options)


def test_options_of_single_cases() -> None:
    assert measure_options({}) == {"tolerance": 1.0, "match_iou": 0.1}
    assert measure_options({"tolerance": 2, "level": 0.9}) == {"tolerance": 2.0, "match_iou": 0.1}


def test_quantiles_by_weight() -> None:
    values = np.array([1.0, 2.0, 4.0, np.inf])
    even = np.ones((4, 1))
    assert weighted_quantile(values, even, 0.5) == pytest.approx([3.0])
    assert weighted_quantile(values[:3], even[:3], 0.5) == pytest.approx([2.0])
    # Drawn twice, once, never, once: 1 1 2 inf.
    assert weighted_quantile(values, np.array([[2.0], [1.0], [0.0], [1.0]]), 0.5) == pytest.approx([1.5])
    assert np.isinf(weighted_quantile(values, np.array([[0.0], [0.0], [0.0], [1.0]]), 0.5))[0]
    assert np.isnan(weighted_quantile(values, np.zeros((4, 1)), 0.5))[0]
    rng = np.random.default_rng(0)
    many = np.sort(rng.normal(size=101))
    for share in (0.25, 0.5, 0.75):
        expected = np.quantile(many, share, method="averaged_inverted_cdf")
        assert weighted_quantile(many, np.full((101, 1), 1 / 3), share) == pytest.approx([expected])


def test_limits_of_agreement_need_two_cases() -> None:
    assert np.isnan(agreement_limit(np.array([[1.0], [0.0], [0.0]]), 1))[0]
