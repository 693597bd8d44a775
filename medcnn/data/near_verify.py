"""Candidates for near-duplicates compared pixel by pixel, after the turn, the crop and the grey scale are undone.

All comparisons are made on 32 x 32 means. Two pictures are the same where the structural similarity of small windows
is high *everywhere*: one region of another anatomy is enough to tell two patients apart, while strong edges (skull,
table, film border) that would carry a correlation over the whole picture count no more than their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.near_align import align, sampled
from medcnn.data.near_hash import SIDE, Candidates, Floats, halved, in_order, turned

THRESHOLD = 0.8
"""Pairs of at least this score are near-duplicates; how it was fixed is in docs/audit.md."""

PLAIN_CONTENT = 0.22
"""Pictures that show something in fewer of their windows are not compared: empty slices are all alike."""

_SURE, _DOUBTFUL, _CALM = 0.6, 0.35, 0.1
_PARTS = 4
_WINDOW, _NOISE = 5, 30.0
_LOWEST = 0.05
_BATCH, _CHUNK = 1024, 8192


class Pictures:
    """Pictures with what is needed of each again and again: about 2 kB a picture beside the picture itself.

    Args:
        pixels: ``(N, 64, 64)`` uint8; may be a memory map.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        from scipy.ndimage import gaussian_filter

        self.pixels = pixels
        half = SIDE // 2
        self.detail = np.empty((len(pixels), half, half), np.int8)
        self.smooth = np.empty((len(pixels), half, half), np.uint8)
        self.plain = np.empty(len(pixels), bool)
        for start in range(0, len(pixels), _CHUNK):
            part = slice(start, start + _CHUNK)
            means = halved(pixels[part])
            smooth = gaussian_filter(means, (0, 1, 1))
            # The band between two blurs: neither noise nor the broad shades that all images of a kind share.
            band = gaussian_filter(means, (0, 0.5, 0.5)) - gaussian_filter(means, (0, 1.5, 1.5))
            spread = np.maximum(np.abs(band).max((1, 2), keepdims=True), 1e-3)
            self.detail[part] = np.round(band / spread * 127)
            self.smooth[part] = np.clip(np.round(smooth), 0, 255)
            self.plain[part] = _content(means) < PLAIN_CONTENT


def verify(pictures: Pictures, found: Iterator[Candidates], *, threads: int = 1) -> Iterator[tuple[Candidates, Floats]]:
    """Of each block of candidates those that are near-duplicates, with their scores (up to 1).

    Args:
        pictures: The pictures that the positions of the candidates count in.
        found: Blocks of candidates.
        threads: How many batches are compared at the same time.
    """

    def check(block: Candidates) -> tuple[Candidates, Floats]:
        scores = np.concatenate(
            [_scores(pictures, _take(block, slice(k, k + _BATCH))) for k in range(0, len(block.first), _BATCH)]
            or [np.empty(0, np.float32)]
        )
        kept = scores >= THRESHOLD
        return _take(block, kept), scores[kept]

    yield from in_order(check, found, threads)


def _take(block: Candidates, rows: Any) -> Candidates:
    return Candidates(block.first[rows], block.second[rows], block.turn[rows])


def turned_second(pictures: NDArray[Any], block: Candidates) -> NDArray[Any]:
    """The second picture of each pair, turned to be like the first."""
    taken = pictures[block.second]
    for turn in np.unique(block.turn):
        if turn:
            rows = block.turn == turn
            taken[rows] = turned(taken[rows], int(turn))
    return taken


def _scores(pictures: Pictures, block: Candidates) -> Floats:
    """The score of each pair, 0 where a cheap look already shows that it is none."""
    scores = np.zeros(len(block.first), np.float32)
    looked = np.flatnonzero(~(pictures.plain[block.first] | pictures.plain[block.second]))
    block = _take(block, looked)
    if not len(looked):
        return scores
    sure, doubtful = _promising(pictures.detail[block.first], turned_second(pictures.detail, block))
    direct = _take(block, sure)
    first = pictures.pixels[direct.first]
    second = turned_second(pictures.pixels, direct)
    scores[looked[sure]] = similarity(halved(first), halved(second))
    # What fits badly may be shifted or scaled: a crop of the other one.
    doubtful &= scores[looked] < THRESHOLD
    rest = _take(block, doubtful)
    smooth = turned_second(pictures.smooth, rest)
    rows, swap, moves = align(pictures.smooth[rest.first], smooth)
    if len(rows):
        moved = _take(rest, rows)
        one, two = pictures.pixels[moved.first], turned_second(pictures.pixels, moved)
        source, goal = np.where(swap[:, None, None], two, one), np.where(swap[:, None, None], one, two)
        fitted = similarity(halved(sampled(source, moves)), halved(goal))
        places = looked[np.flatnonzero(doubtful)[rows]]
        scores[places] = np.maximum(scores[places], fitted)
    return scores


def _promising(a: NDArray[np.int8], b: NDArray[np.int8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A cheap look at the detail of pairs: which may be alike as they lie, and which at all, after a move.

    The picture is divided in 4 x 4 parts, of which all but one have to agree; calm parts agree with anything.
    """
    one, two = a.astype(np.float32), b.astype(np.float32)
    own, other, common = (_parts(x) for x in (one * one, two * two, one * two))
    total_own, total_other = (np.maximum(x.sum(1, keepdims=True), 1e-6) for x in (own, other))
    likeness = common.sum(1, keepdims=True) / np.sqrt(total_own * total_other)
    calm = _CALM / _PARTS**2
    agree = common / np.sqrt(total_own * total_other) + calm
    agree /= (own / total_own + other / total_other) / 2 + calm
    return np.partition(agree, 1, axis=1)[:, 1] > _SURE, likeness[:, 0] > _DOUBTFUL


def _parts(pictures: Floats) -> Floats:
    n, side, _ = pictures.shape
    size = side // _PARTS
    sums: Floats = pictures.reshape(n, _PARTS, size, _PARTS, size).sum((2, 4)).reshape(n, _PARTS**2)
    return sums


def similarity(a: Floats, b: Floats) -> Floats:
    """How alike pictures are in their least alike windows, whichever of the two is the other's copy.

    Structural similarity (Wang et al., IEEE TIP 2004) of windows of 5 x 5 px after the grey values of one picture
    are mapped to those of the other in their order, which undoes any window or gamma; the 5th percentile over the
    windows. A copy may have lost grey values that its source still has, so that the better direction counts.

    Args:
        a: ``(P, S, S)`` in 0..255.
        b: ``(P, S, S)``.

    Returns:
        ``(P,)``, 1 for equal pictures, about 0 for unrelated ones.
    """
    if not len(a):
        return np.empty(0, np.float32)
    size = a.shape[1] * a.shape[2]
    flat_a, flat_b = a.reshape(-1, size), b.reshape(-1, size)
    order_a, order_b = _order(flat_a), _order(flat_b)
    sorted_a, sorted_b = (np.take_along_axis(f, o, 1) for f, o in ((flat_a, order_a), (flat_b, order_b)))
    mapped = np.empty_like(flat_a)
    np.put_along_axis(mapped, order_a, sorted_b, 1)
    forward = _lowest_window(mapped.reshape(a.shape), b)
    np.put_along_axis(mapped, order_b, sorted_a, 1)
    backward = _lowest_window(mapped.reshape(a.shape), a)
    best: Floats = np.maximum(forward, backward)
    return best


def _order(flat: Floats) -> NDArray[np.int64]:
    """Positions by rising value, in steps of 1/16 grey level: numbers of 16 bits are sorted six times as fast."""
    steps = np.rint(flat * np.float32(16)).astype(np.uint16)
    return np.argsort(steps, axis=1, kind="stable")


def _lowest_window(a: Floats, b: Floats) -> Floats:
    mean_a, mean_b = _mean(a), _mean(b)
    spread_a, spread_b = _mean(a * a) - mean_a**2, _mean(b * b) - mean_b**2
    common = _mean(a * b) - mean_a * mean_b
    windows = (2 * common + _NOISE) / (spread_a + spread_b + _NOISE)
    windows *= (2 * mean_a * mean_b + _NOISE) / (mean_a**2 + mean_b**2 + _NOISE)
    # Background is like background: only windows that show something in either picture are asked.
    shows = np.maximum(spread_a, spread_b) > _NOISE
    ordered = np.sort(np.where(shows, windows, np.inf).reshape(len(windows), -1), axis=1)
    place = (_LOWEST * shows.sum((1, 2))).astype(np.int64)
    lowest: Floats = np.take_along_axis(ordered, place[:, None], 1)[:, 0]
    return np.where(np.isfinite(lowest), lowest, 0)


def _mean(pictures: Floats) -> Floats:
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(pictures, (0, _WINDOW, _WINDOW)), np.float32)


def _content(means: Floats) -> NDArray[np.float64]:
    """Share of the windows that show anything: a picture of background alone is like any other such picture."""
    mean = _mean(means)
    spread: Floats = _mean(means * means) - mean**2
    share: NDArray[np.float64] = (spread > _NOISE).mean((1, 2))
    return share
