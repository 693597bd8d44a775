"""FROC and average precision: by hand, by LUNA16's procedure and against pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import roc_curve

from medcnn.evaluation.detection_curves import (
    FROC_RATES,
    Candidates,
    average_precisions,
    froc_curve,
    sensitivities_at,
)
from medcnn.geometry.matching import match_boxes


def by_hand() -> Candidates:
    """Four images, five references; hits at 0.9, 0.7, 0.5, false positives at 0.8, 0.6, 0.4."""
    return Candidates.of(
        [0.4, 0.9, 0.8, 0.7, 0.6, 0.5], [3, 0, 0, 1, 2, 1], [False, True, False, True, False, True], [1, 3, 1, 0]
    )


def test_the_curve_by_hand() -> None:
    curve = froc_curve(by_hand())
    assert curve.rates.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75]
    assert np.allclose(curve.sensitivities, [0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6])
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]


def test_sensitivities_by_hand() -> None:
    """At 1/8 halfway between the points (0, 0.2) and (1/4, 0.2); flat after the last point."""
    found = sensitivities_at(by_hand(), [0.125, 0.25, 0.375, 0.5, 8])
    assert np.allclose(found, [[0.2, 0.4, 0.4, 0.6, 0.6]])


def test_per_patient_the_rate_is_divided_by_patients() -> None:
    """Two images a patient: as many false positives over half the number of units."""
    halves = np.full(4, 0.5)
    assert np.allclose(froc_curve(by_hand(), units=2).rates, 2 * froc_curve(by_hand()).rates)
    assert np.allclose(sensitivities_at(by_hand(), [0.5, 1.0], units=halves), sensitivities_at(by_hand(), [0.25, 0.5]))


def test_average_precision_by_hand() -> None:
    """Precisions 1, 2/3 and 3/5 at the recalls 0.2, 0.4, 0.6: 21, 20 and 20 of the 101 recalls."""
    expected = (21 * 1 + 20 * 2 / 3 + 20 * 3 / 5) / 101
    assert average_precisions(by_hand()) == pytest.approx([expected])


def test_equal_scores_are_taken_together() -> None:
    found = Candidates.of([0.5, 0.5], [0, 0], [True, False], [1])
    assert froc_curve(found).rates.tolist() == [0, 1]


def test_without_references_nothing_is_defined_and_without_predictions_nothing_is_found() -> None:
    none = Candidates.of([0.5], [0], [False], [0, 0])
    assert np.isnan(sensitivities_at(none)).all()
    assert np.isnan(average_precisions(none)).all()
    empty = Candidates.of([], [], [], [2, 1])
    assert sensitivities_at(empty).tolist() == [[0.0] * len(FROC_RATES)]
    assert average_precisions(empty).tolist() == [0.0]


def draw(seed: int, images: int = 8) -> list[tuple[Any, Any, Any]]:
    """Predicted boxes with scores and references of some images, of which some hold none."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        low = rng.uniform(0, 60, (rng.integers(0, 4), 2))
        reference = np.concatenate([low, low + rng.uniform(8, 20, low.shape)], 1)
        near = reference[rng.integers(0, len(reference), 3)] if len(reference) else np.zeros((0, 4))
        far = rng.uniform(0, 40, (rng.integers(0, 4), 2))
        other = np.concatenate([far, far + rng.uniform(8, 20, far.shape)], 1)
        predicted = np.concatenate([near + rng.normal(0, 1.5, near.shape), other]).astype(np.float32)
        found.append((predicted, rng.permutation(len(predicted)) / 10 + rng.uniform(0, 0.05), reference))
    return found


def matched(images: list[tuple[Any, Any, Any]], threshold: float) -> Candidates:
    scores, image, hit = [], [], []
    for place, (predicted, points, reference) in enumerate(images):
        outcome = match_boxes(predicted, points, reference.astype(np.float32), threshold=threshold)
        scores += list(points)
        image += [place] * len(points)
        hit += list(outcome.hit >= 0)
    return Candidates.of(scores, image, hit, [len(reference) for *_, reference in images])


def coco_precision(images: list[tuple[Any, Any, Any]]) -> NDArray[np.float64]:
    """pycocotools' average precision at its ten thresholds."""

    def xywh(box: Any) -> list[float]:
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    truth = COCO()
    notes = [(k, box) for k, (*_, reference) in enumerate(images) for box in reference]
    truth.dataset = {
        "images": [{"id": k} for k in range(len(images))],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": n + 1, "image_id": k, "category_id": 1, "bbox": xywh(b), "area": 400.0, "iscrowd": 0}
            for n, (k, b) in enumerate(notes)
        ],
    }
    truth.createIndex()
    results = [
        {"image_id": k, "category_id": 1, "bbox": xywh(box), "score": float(score)}
        for k, (predicted, points, _) in enumerate(images)
        for box, score in zip(predicted, points, strict=True)
    ]
    judge = COCOeval(truth, truth.loadRes(results), "bbox")
    judge.evaluate()
    judge.accumulate()
    return np.asarray(judge.eval["precision"][:, :, 0, 0, -1].mean(1))


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_equals_pycocotools(seed: int) -> None:
    images = draw(seed)
    theirs = coco_precision(images)
    for threshold, expected in zip(np.arange(0.5, 1.0, 0.05), theirs, strict=True):
        assert average_precisions(matched(images, float(threshold))) == pytest.approx([expected], abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_froc_equals_the_procedure_of_luna16(seed: int) -> None:
    """LUNA16 pools hits and false positives, gives missed nodules the lowest score, and interpolates the ROC curve."""
    found = matched(draw(seed, images=12), 0.3)
    missed = int(found.references.sum() - found.hit.sum())
    labels = np.concatenate([found.hit, np.ones(missed)])
    points = np.concatenate([found.scores, np.full(missed, -1000.0)])
    false_share, true_share, thresholds = roc_curve(labels, points)
    counted = thresholds > -1000
    rates = false_share * (~found.hit).sum() / len(found.references)
    expected = np.interp(FROC_RATES, rates[counted], true_share[counted])
    assert np.allclose(sensitivities_at(found)[0], expected)


@given(st.integers(0, 5_000))
@settings(max_examples=20, deadline=None)
def test_weights_are_repeated_images(seed: int) -> None:
    """An image of weight 2 counts as two, one of weight 0 not at all."""
    images = draw(seed, images=6)
    weights = np.random.default_rng(seed).integers(0, 3, 6)
    found = matched(images, 0.3)
    repeated = [image for image, times in zip(images, weights, strict=True) for _ in range(times)]
    columns = np.stack([np.ones(6), weights], 1)
    if not repeated or not sum(len(reference) for *_, reference in repeated):
        assert np.isnan(average_precisions(found, columns)[1])
        return
    expected = matched(repeated, 0.3)
    assert np.allclose(sensitivities_at(found, weights=columns)[1], sensitivities_at(expected)[0])
    assert average_precisions(found, columns)[1] == pytest.approx(average_precisions(expected)[0])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = matched(draw(3), 0.3)
    weights = np.random.default_rng(0).integers(0, 3, (8, 50))
    whole = sensitivities_at(found, weights=weights), average_precisions(found, weights)
    monkeypatch.setattr("medcnn.evaluation.detection_curves._BLOCK", 40)
    assert np.array_equal(sensitivities_at(found, weights=weights), whole[0])
    assert np.array_equal(average_precisions(found, weights), whole[1])
