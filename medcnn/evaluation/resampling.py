"""Resampling by weights: how often each cluster was drawn, never a network or a metric run again over cases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MIN_CLUSTERS = 20
_BLOCK = 8_000_000
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Resampler:
    """Weights of clusters in resamples, with what an interval must say about them.

    Attributes:
        codes: ``(N,)`` cluster of each case, from 0.
        count: Number of clusters.
        weights: ``(G, B)`` float32: multiplicities, or with too few clusters the identity (one cluster at a time).
        kind: ``bootstrap``, or ``range`` over the clusters one by one.
        resampled: ``patient``, ``cluster`` or ``image``.
        noun: What the clusters are, in the plural.
        strata: What the draws keep, in words; empty where nothing.
        caution: Added to the method where patients are unknown.
    """

    codes: NDArray[np.intp]
    count: int
    weights: NDArray[np.float32]
    kind: Literal["bootstrap", "range"]
    resampled: str
    noun: str
    strata: str = ""
    caution: str = ""

    @property
    def single(self) -> bool:
        """Whether each cluster is one case."""
        return self.count == len(self.codes)

    def restrict(self, rows: NDArray[Any]) -> Resampler:
        """The same draws for some of the cases; with too few clusters among them, the clusters one by one."""
        present, codes = np.unique(self.codes[rows], return_inverse=True)
        count = len(present)
        if count < MIN_CLUSTERS:
            return replace(
                self, codes=codes.reshape(-1), count=count, weights=np.eye(count, dtype=np.float32), kind="range"
            )
        return replace(self, codes=codes.reshape(-1), count=count, weights=self.weights[present])

    def gather(self, values: NDArray[Any]) -> Array:
        """Sums by cluster, ``(G, K)``, of ``(N, K)``."""
        if self.single:
            out = np.empty((self.count, values.shape[1]))
            out[self.codes] = values
            return out
        return np.stack([np.bincount(self.codes, weights=v, minlength=self.count) for v in values.T], axis=1)

    def sums(self, gathered: Array) -> Array:
        """Resampled sums ``(K, B)`` of sums by cluster ``(G, K)``."""
        return np.asarray(gathered.astype(np.float32).T @ self.weights, np.float64)

    def case_weights(self, rows: NDArray[Any], most: int | None = None) -> NDArray[np.float32]:
        """``(R, B)`` weights of the cases in these rows, of the first ``most`` resamples."""
        weights = self.weights if most is None else self.weights[:, :most]
        return np.asarray(weights[self.codes[rows]])


def make_resampler(
    clusters: NDArray[Any],
    *,
    resamples: int,
    seed: int,
    patients_known: bool,
    patients: NDArray[Any] | None = None,
    fold: NDArray[Any] | None = None,
    classes: NDArray[Any] | None = None,
    noun: str = "images",
) -> Resampler:
    """Draw clusters with replacement, within strata where they are given and no cluster spans two of them.

    Args:
        clusters: ``(N,)``.
        resamples: B.
        seed: Fixes the draws.
        patients_known: Whether patients are known, so that the interval may say so.
        patients: ``(N,)``, to tell patients from other clusters.
        fold: ``(N,)``; each fold keeps its number of clusters.
        classes: ``(N,)``; each class keeps its size, where the design fixed it.
        noun: What a case is, in the plural.
    """
    names, codes = np.unique(clusters, return_inverse=True)
    codes, count = codes.reshape(-1).astype(np.intp), len(names)
    kept, strata = [], np.zeros(count, np.int64)
    for label, column in (("fold", fold), ("class", classes)):
        part = _by_cluster(codes, count, column)
        if part is not None and len(np.unique(part)) > 1:
            strata = strata * (part.max() + 1) + part
            kept.append(label)
    resampled, word, caution = _describe(codes, count, patients_known, patients, noun)
    few = count < MIN_CLUSTERS
    weights = np.eye(count, dtype=np.float32) if few else _draw(strata, resamples, np.random.default_rng(seed))
    text = f"stratified by {' and '.join(kept)}" if kept else ""
    return Resampler(codes, count, weights, "range" if few else "bootstrap", resampled, word, text, caution)


def _by_cluster(codes: NDArray[np.intp], count: int, column: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """The value of a column for each cluster; ``None`` where a cluster holds two values."""
    if column is None or not count:
        return None
    values = np.unique(column, return_inverse=True)[1].reshape(-1)
    out = np.zeros(count, np.int64)
    out[codes] = values
    return out if bool((out[codes] == values).all()) else None


def _describe(
    codes: NDArray[np.intp], count: int, patients_known: bool, patients: NDArray[Any] | None, noun: str
) -> tuple[str, str, str]:
    single = count == len(codes)
    if patients_known and (patients is None or _same(codes, patients)):
        return "patient", "patients", ""
    if patients_known:
        return "cluster", "clusters", ""
    if single:
        return "image", noun, "image level: too narrow if patients repeat"
    return "cluster", "clusters", "cluster level: too narrow if patients span clusters"


def _same(codes: NDArray[np.intp], patients: NDArray[Any]) -> bool:
    """Whether clusters and patients divide the cases alike."""
    other = np.unique(patients, return_inverse=True)[1].reshape(-1)
    pairs = len(np.unique(np.stack([codes, other]), axis=1).T)
    return pairs == len(np.unique(codes)) == len(np.unique(other))


def _draw(strata: NDArray[np.int64], resamples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    weights = np.zeros((len(strata), resamples), np.float32)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        size = len(rows)
        block = max(1, _BLOCK // size)
        for start in range(0, resamples, block):
            columns = min(block, resamples - start)
            drawn = rng.integers(0, size, (columns, size)) + np.arange(columns)[:, None] * size
            times = np.bincount(drawn.ravel(), minlength=columns * size).reshape(columns, size)
            weights[rows, start : start + columns] = times.T
    return weights
