"""Figures of images, or patients, by whether there is any finding: the four of all tasks, and the rank of scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation import metrics
from medcnn.evaluation.detection_scene import Findings
from medcnn.evaluation.detection_table import DetectionTable
from medcnn.evaluation.judging import Judge, Judged
from medcnn.evaluation.rankings import ClassRanking, rank_class
from medcnn.evaluation.resampling import Resampler, make_resampler
from medcnn.evaluation.sums import Proportion

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FindingValue:
    """A figure with what it rests on.

    Attributes:
        point: NaN where undefined.
        n: Images or patients behind it.
        clusters: Clusters behind ``n``.
        judged: Its interval.
        note: A caution.
    """

    point: float
    n: int
    clusters: int
    judged: Judged
    note: str = ""


@dataclass(frozen=True, eq=False)
class FindingFigures:
    """The figures of images, or of patients.

    Attributes:
        findings: A row each.
        resampler: The draws.
        judge: Makes the intervals.
        unit: ``image`` or ``patient``.
    """

    findings: Findings
    resampler: Resampler
    judge: Judge
    unit: str

    @cached_property
    def four(self) -> tuple[Array, Array, Array, Array]:
        """tp, fp, fn and tn, ``(N,)`` each."""
        counts = self.findings.counts
        assert counts.tn is not None
        tp, fp, fn, tn = (np.asarray(v[:, 0], np.float64) for v in (counts.tp, counts.fp, counts.fn, counts.tn))
        return tp, fp, fn, tn

    @property
    def positives(self) -> int:
        """How many hold an object."""
        return int((self.findings.positive == 1).sum())

    @property
    def negatives(self) -> int:
        """How many hold none."""
        return int((self.findings.positive == 0).sum())

    @property
    def misplaced(self) -> Array:
        """``(N,)`` 1 where one is rightly called positive, though no box of it hits an object."""
        return self.four[0] * ~self.findings.placed

    def value(self, name: str) -> FindingValue:
        """One figure; accuracy, specificity and AUROC are undefined where there is no negative one."""
        if name == "auroc":
            return self._auroc()
        tp, fp, fn, tn = self.four
        hits, totals = {
            "f1": (tp, tp + fp + fn),
            "sensitivity": (tp, tp + fn),
            "precision": (tp, tp + fp),
            "specificity": (tn, tn + fp),
            "accuracy": (tp + tn, tp + fp + fn + tn),
            "wrong_place": (self.misplaced, tp),
        }[name]
        if name == "accuracy" and not self.negatives:
            return FindingValue(np.nan, 0, 0, Judged())
        point = self._point(name)
        note = ""
        if name == "precision" and np.isfinite(point) and not self.negatives:
            note = f"no negative {self.unit}s: it could not be less than 1"
        rows = totals > 0
        judged = self.judge.proportion(Proportion(hits, totals, overlap=name == "f1"))
        return FindingValue(point, int(totals.sum()), len(np.unique(self.resampler.codes[rows])), judged, note)

    def _point(self, name: str) -> float:
        tp, fp, fn, tn = (v.sum() for v in self.four)
        found = {
            "f1": metrics.f1(tp, fp, fn),
            "sensitivity": metrics.sensitivity(tp, fn),
            "precision": metrics.precision(tp, fp),
            "specificity": metrics.specificity(tn, fp),
            "accuracy": metrics.accuracy(tp, fp, fn, tn),
            "wrong_place": metrics.ratio(self.misplaced.sum(), tp),
        }
        return float(found[name])

    @cached_property
    def ranking(self) -> ClassRanking:
        """The rows by their highest score, within folds."""
        f = self.findings
        return rank_class(f.score, f.positive, f.fold, self.resampler)

    def _auroc(self) -> FindingValue:
        known = np.isfinite(self.findings.positive)
        n, clusters = int(known.sum()), len(np.unique(self.resampler.codes[known]))
        found = self.ranking
        parts = [(f.scores, f.positive, self.resampler.codes[f.rows]) for f in found.folds]
        judged = self.judge.areas(parts, found.area_samples) if parts else Judged()
        return FindingValue(found.area, n, clusters, judged, found.note)

    def baseline(self, name: str) -> tuple[float | None, str]:
        """The trivial figure: of calling all positive, of the more frequent answer, or of chance."""
        up, down = self.positives, self.negatives
        if not up + down:
            return None, ""
        share = up / (up + down)
        every = f"every {self.unit} is called positive"
        if name == "f1":
            return 2 * share / (1 + share), every
        if name == "precision":
            return share, every
        if name == "accuracy" and down:
            return max(share, 1 - share), f"always {'positive' if share >= 0.5 else 'negative'}"
        return (0.5, "chance") if name == "auroc" and up and down else (None, "")


def patient_figures(
    table: DetectionTable, findings: Findings, judge: Judge, *, resamples: int, seed: int
) -> FindingFigures:
    """The figures by patient: a finding in any of the patient's images counts.

    Args:
        table: The images; their patients are known.
        findings: Of the images.
        judge: Of the images, for its level.
        resamples: Resamples of the bootstrap.
        seed: Fixes them.
    """
    assert table.patients is not None
    names, first, codes = np.unique(table.patients, return_index=True, return_inverse=True)
    codes = codes.reshape(-1)
    # Clusters that are finer than patients are no clusters of patients.
    own = table.clusters[first]
    whole = bool((table.clusters == own[codes]).all())
    grouped = findings.grouped(codes)
    resampler = make_resampler(
        own if whole else names, resamples=resamples, seed=seed, patients_known=True, patients=names,
        fold=grouped.fold, noun="patients",
    )  # fmt: skip
    return FindingFigures(grouped, resampler, Judge(resampler, judge.level), "patient")
