"""The evaluation of a detection: FROC, average precision, objects, images and patients, in the images' own grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from medcnn.errors import DataError
from medcnn.evaluation.detection_cases import case_rows, galleries
from medcnn.evaluation.detection_curves import average_precisions, sensitivities_at
from medcnn.evaluation.detection_drawings import confusion_panel, curve_end, curve_panels, map_panels
from medcnn.evaluation.detection_figures import Detections
from medcnn.evaluation.detection_findings import patient_figures
from medcnn.evaluation.detection_matches import Hits, Matcher, Per, lowest_scores, unit_shares
from medcnn.evaluation.detection_panels import folds_table, headline_keys, main_tables, subgroup_panels
from medcnn.evaluation.detection_remarks import notes, rule_words, warnings
from medcnn.evaluation.detection_scene import LOOSE_IOU, USUAL_IOU, Matched, Settings, make_scene
from medcnn.evaluation.detection_sizes import find_sizes, size_table
from medcnn.evaluation.detection_table import DetectionTable
from medcnn.evaluation.detection_thresholds import DEFAULT_THRESHOLD, OperatingPoint, choose_thresholds
from medcnn.evaluation.judging import Judge
from medcnn.evaluation.remarks import check_settings, interval_warnings
from medcnn.evaluation.resampling import make_resampler
from medcnn.evaluation.results import CaseTable, Evaluation, Panel
from medcnn.evaluation.subgroups import find_subgroups
from medcnn.geometry.matching import Duplicates, HitRule
from medcnn.types import Boxes, BoxesPrediction, LabelSchema

__all__ = [
    "DetectionTable",
    "check_detection_options",
    "choose_detection_thresholds",
    "evaluate_detection",
    "validation_scores_boxes",
]

_PER = ("image", "patient", "study")


def evaluate_detection(
    table: DetectionTable, schema: LabelSchema, *,
    title: str, part: str, patients_known: bool, gallery: int, seed: int, baseline: DetectionTable | None,
    thresholds: Sequence[Mapping[str, float]],
    hit_rule: HitRule = "iou", match_iou: float = 0.1, duplicates: Duplicates = "false_positive", most: int = 100,
    per: Per = "image", operating_point: OperatingPoint = "f1", rate: float = 1.0, threshold: float = 0.5,
    sizes: tuple[float, float] | None = None, resamples: int = 2000, level: float = 0.95,
    subgroups: tuple[str, ...] | Literal["all"] = "all",
) -> Evaluation:  # fmt: skip
    """Figures with intervals, and what a report draws of them; docs/metrics.md has all definitions.

    Args:
        table: Predictions beside references; several folds are pooled.
        schema: The classes.
        title: What is evaluated.
        part: Name of the evaluated part; ``test`` of several folds becomes ``out-of-fold``.
        patients_known: Whether patients are known, so that intervals may say so and figures by patient be made.
        gallery: Pictures in a gallery; 0 for none.
        seed: Fixes resamples and random pictures.
        baseline: What the trivial baseline predicts in the same images, the heat map of the training boxes; ``None``
            where there is none.
        thresholds: By fold, the lowest score of each class at which a box is called a finding, as validation chose it.
        hit_rule: When a box hits: iou (it overlaps the reference by match_iou) or centre (its middle lies in it).
        match_iou: Least intersection over union of a hit, under iou.
        duplicates: A second hit of a reference is a false_positive, or ignored. Average precision always counts it.
        most: The boxes with the highest scores that are kept of an image; class by class where classes are apart.
        per: What false positives are counted per: image, patient or study.
        operating_point: How validation chose thresholds: f1 (of each class the highest F1 of its objects) or rate
            (one threshold for all classes, with rate false positives an image).
        rate: False positives an image (patient, study) at the operating point, under rate.
        threshold: The threshold of a class for which validation could choose none.
        sizes: The longest edges between small and medium and between medium and large objects, in mm (px without
            spacing); absent: the terciles of the references.
        resamples: Resamples of the bootstrap.
        level: Nominal coverage of intervals, between 0 and 1.
        subgroups: Attributes whose values get figures of their own, or all of them.

    Raises:
        DataError: If there is no image, or an option is out of range.
        ValueError: If the baseline is of other images.
    """
    options = {"match_iou": match_iou, "most": most, "rate": rate, "threshold": threshold, "sizes": sizes}
    check_detection_options(schema, {**options, "resamples": resamples, "level": level})
    if baseline is not None and baseline.cases != table.cases:
        raise ValueError("the baseline is of other images")
    if not len(table):
        raise DataError("the evaluated part has no image with annotated boxes", todo="check the split and the labels")
    known = unit_shares(table, per) is not None and (per != "patient" or patients_known)
    words = rule_words(operating_point, rate, per if known else "image", chosen=any(thresholds))
    settings = Settings(Hits(hit_rule, match_iou, duplicates, most), per if known else "image", level, words, threshold)
    detections, matched = _computed(table, schema, settings, thresholds, part, resamples, seed, patients_known)
    if baseline is not None:
        detections.baseline = _baseline(baseline, detections)
    return _gathered(detections, matched, thresholds, title, gallery, seed, sizes, subgroups, per)


def check_detection_options(schema: LabelSchema, options: Mapping[str, Any]) -> None:
    """Refuse options of a recipe's ``evaluation`` section that are out of range, before training.

    Raises:
        DataError: Naming the key.
    """
    check_settings(options.get("resamples", 2000), options.get("level", 0.95), 2, 1, ("image",))
    least, score = options.get("match_iou", 0.1), options.get("threshold", DEFAULT_THRESHOLD)
    most, rate, sizes = options.get("most", 100), options.get("rate", 1.0), options.get("sizes")
    problems = [
        (not 0 < least <= 1, "match_iou", f"{least:g} is no intersection over union", "a share above 0 and up to 1"),
        (not 0 <= score <= 1, "threshold", f"{score:g} is no score", "a number from 0 to 1"),
        (most < 1, "most", f"{most} boxes an image are none", "1 at least, 100 as a rule"),
        (not 0 < rate < float("inf"), "rate", f"{rate:g} is no rate of false positives", "a number above 0"),
        (
            sizes is not None and (len(sizes) != 2 or not 0 < sizes[0] < sizes[1] < float("inf")),
            "sizes",
            f"{sizes} are no limits between small, medium and large",
            "two rising lengths, as in [8, 20]",
        ),
    ]
    for wrong, key, what, todo in problems:
        if wrong:
            raise DataError(what, where=f"evaluation.{key}", todo=f"give {todo}")


def choose_detection_thresholds(
    table: DetectionTable, schema: LabelSchema, options: Mapping[str, Any]
) -> dict[str, float]:
    """The thresholds of a validation part, as the ``evaluation`` section says.

    Args:
        table: Predictions beside references of the validation part; without images none is chosen.
        schema: The classes.
        options: The section; what is absent has the defaults of :func:`evaluate_detection`.
    """
    hits = Hits(
        options.get("hit_rule", "iou"), options.get("match_iou", 0.1), options.get("duplicates", "false_positive"),
        options.get("most", 100),
    )  # fmt: skip
    return choose_thresholds(
        table, schema, hits, options.get("operating_point", "f1"), rate=options.get("rate", 1.0),
        per=options.get("per", "image"),
    )  # fmt: skip


def validation_scores_boxes(
    predictions: Sequence[BoxesPrediction], references: Sequence[Boxes], names: Sequence[str]
) -> dict[str, float]:
    """The figures by which the training of a detection is followed; NaN where undefined.

    Args:
        predictions: ``(N,)`` of each image.
        references: ``(N,)``.
        names: The classes.

    Returns:
        ``average_precision``: COCO's average precision at IoU 0.5, the mean over the classes that have an object; that
        of each class as ``average_precision_<name>``; and ``sensitivity``: the share of objects that is found at one
        false positive an image, at IoU 0.1 and whatever the class.
    """
    matcher = Matcher(DetectionTable.of([str(i) for i in range(len(references))], predictions, references))
    objects, by_class = matcher.objects, {}
    aware = matcher.match(Hits("iou", USUAL_IOU), aware=True)
    for place, name in enumerate(names):
        found = aware.candidates(objects.counts(objects.label == place), place)
        by_class[f"average_precision_{name}"] = float(average_precisions(found)[0])
    known = [v for v in by_class.values() if np.isfinite(v)]
    anywhere = matcher.match(Hits("iou", LOOSE_IOU), aware=False).candidates(objects.counts())
    return {
        "average_precision": float(np.mean(known)) if known else float("nan"),
        **by_class,
        "sensitivity": float(sensitivities_at(anywhere, (1.0,))[0, 0]),
    }


def _computed(
    table: DetectionTable, schema: LabelSchema, settings: Settings, thresholds: Sequence[Mapping[str, float]],
    part: str, resamples: int, seed: int, patients_known: bool,
) -> tuple[Detections, Matched]:  # fmt: skip
    lowest = lowest_scores(table.fold, schema.names, thresholds, settings.fallback)
    scene, matched = make_scene(table, schema, settings, lowest)
    resampler = make_resampler(
        table.clusters, resamples=resamples, seed=seed, patients_known=patients_known, patients=table.patients,
        fold=table.fold,
    )  # fmt: skip
    judge = Judge(resampler, settings.level)
    patients = None
    if patients_known and table.patients is not None and len(np.unique(table.patients)) < len(table):
        patients = patient_figures(table, scene.findings, judge, resamples=resamples, seed=seed)
    part = "out-of-fold" if len(np.unique(table.fold)) > 1 and part == "test" else part
    return Detections(table, schema, scene, settings, resampler, judge, part, patients), matched


def _baseline(table: DetectionTable, main: Detections) -> Detections:
    """The baseline's figures without intervals, at the thresholds that suit it best on the evaluated part itself."""
    settings, names = main.settings, main.schema.names
    chosen = [
        choose_thresholds(table.take(main.table.fold == fold), main.schema, settings.hits)
        for fold in range(int(main.table.fold.max()) + 1)
    ]
    scene, _ = make_scene(table, main.schema, settings, lowest_scores(main.table.fold, names, chosen, 1.0))
    resampler = replace(main.resampler, weights=main.resampler.weights[:, :0])
    return Detections(main.table, main.schema, scene, settings, resampler, Judge(resampler, settings.level), main.part)


def _gathered(
    detections: Detections, matched: Matched, thresholds: Sequence[Mapping[str, float]], title: str, gallery: int,
    seed: int, edges: tuple[float, float] | None, subgroups: tuple[str, ...] | Literal["all"], wanted: Per,
) -> Evaluation:  # fmt: skip
    """The figures with their panels, warnings and notes."""
    table, settings = detections.table, detections.settings
    folds, end = len(np.unique(table.fold)), curve_end(detections)
    sizes = find_sizes(table, matched.objects.counted, edges)
    groups, group_notes = find_subgroups(table.attributes, subgroups)
    figures = [detections.figure(key) for key in detections.every_key()]
    panels: list[Panel | None] = [*main_tables(detections, thresholds), size_table(detections, matched, sizes)]
    panels += [confusion_panel(detections, matched), *curve_panels(detections), *map_panels(table, matched, sizes)]
    panels += [*subgroup_panels(detections, groups), folds_table(detections) if folds > 1 else None]
    panels += galleries(detections, matched, sizes, gallery, seed)
    return Evaluation(
        task="detection",
        title=title,
        figures=figures,
        headline=headline_keys(detections),
        panels=[p for p in panels if p is not None],
        warnings=[
            *interval_warnings(detections.resampler, folds, figures),
            *warnings(detections, thresholds, wanted),
        ],
        notes=[*notes(detections, matched, end), *group_notes],
        details={
            "cases": len(table),
            "clusters": detections.resampler.count,
            "resampled": detections.resampler.resampled,
            "folds": folds,
            "classes": list(detections.schema.names),
            "objects": int(matched.objects.counted.sum()),
            "ignored_regions": int((~matched.objects.counted).sum()),
            "hit_rule": settings.hits.rule,
            "match_iou": settings.hits.least,
            "duplicates": settings.hits.duplicates,
            "most": settings.hits.most,
            "per": settings.per,
            "curve_end": end,
            "thresholds": [dict(chosen) for chosen in thresholds],
            "threshold": settings.fallback,
            "sizes": list(sizes.edges),
            "size_unit": sizes.unit,
        },
        cases=CaseTable(*case_rows(detections)),
    )
