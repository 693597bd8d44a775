"""Candidates for near-duplicates: a perceptual hash of small pictures, compared under the 8 turns of the square.

The hash of a picture are the lowest frequencies of its discrete cosine transform, without the mean, weighted towards
detail and compressed (so that brightness, contrast and gamma matter little), as a vector of length 1. A flip changes
signs of its entries and a transposition their order, so that the likeness of two pictures under all 8 turns comes from
two matrix products instead of eight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

SIDE = 64
"""Side of a picture in px."""

FREQUENCIES = 12
_DETAIL, _COMPRESS = 1.5, 0.5
LIKENESS = 0.75
"""Candidates are pairs above this likeness; chosen by how often made copies reach it (docs/audit.md)."""

MOST_PARTNERS = 64
"""Of each picture the most alike are kept, so that time and memory stay bounded where all pictures are alike."""

_ROWS, _COLUMNS = 256, 1024
_CHUNK = 8192
Floats = NDArray[np.float32]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of pictures, in the order of ``first`` and ``second``.

    Attributes:
        first: ``(P,)`` positions, each smaller than ``second``.
        second: ``(P,)``.
        turn: ``(P,)`` which of the 8 turns of the second one is like the first one.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    turn: NDArray[np.int8]


def turned(pictures: NDArray[Any], turn: int) -> NDArray[Any]:
    """Pictures ``(..., S, S)`` transposed (turn & 4), then flipped along the first (& 2) and second axis (& 1)."""
    if turn & 4:
        pictures = np.swapaxes(pictures, -1, -2)
    if turn & 2:
        pictures = pictures[..., ::-1, :]
    return pictures[..., ::-1] if turn & 1 else pictures


def halved(pictures: NDArray[Any]) -> Floats:
    """``(N, S, S)`` to ``(N, S/2, S/2)``: means of 2 x 2 px."""
    wide: NDArray[Any] = pictures.astype(np.float32 if pictures.dtype.kind == "f" else np.uint16)
    total = wide[:, ::2, ::2] + wide[:, 1::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, 1::2]
    means: Floats = total.astype(np.float32) / np.float32(4)
    return means


def hashes(pictures: NDArray[np.uint8]) -> Floats:
    """``(N, F*F)`` hashes of pictures ``(N, 64, 64)``; zero for a picture without any contrast."""
    from scipy.fft import dctn

    u = np.arange(FREQUENCIES, dtype=np.float32)
    weight = np.hypot(u[:, None], u[None]) ** _DETAIL
    found = np.empty((len(pictures), FREQUENCIES**2), np.float32)
    for start in range(0, len(pictures), _CHUNK):
        part = slice(start, start + _CHUNK)
        waves = dctn(halved(pictures[part]), axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES] * weight
        # Rounding leaves a trace of waves even in a flat picture.
        waves[np.abs(waves) < 1e-3] = 0
        waves = np.sign(waves) * np.abs(waves) ** _COMPRESS
        flat = waves.reshape(len(waves), -1)
        found[part] = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return found


def candidates(hashed: Floats, *, threads: int = 1) -> Iterator[Candidates]:
    """Pairs whose hashes are alike under some turn, in blocks of 256 first pictures.

    Args:
        hashed: ``(N, F*F)`` as :func:`hashes` gives them.
        threads: How many blocks are compared at the same time; the result does not depend on it.
    """
    parity = _parities()
    across = np.ascontiguousarray(hashed.reshape(-1, FREQUENCIES, FREQUENCIES).swapaxes(1, 2)).reshape(hashed.shape)
    left = [np.ascontiguousarray(hashed[:, p]) for p in parity]
    right = [[np.ascontiguousarray(side[:, p]) for p in parity] for side in (hashed, across)]

    def block_row(start: int) -> Candidates | None:
        rows = [p[start : start + _ROWS] for p in left]
        found: list[NDArray[Any]] = []
        for begin in range(start - start % _COLUMNS, len(hashed), _COLUMNS):
            found += _block(rows, [[p[begin : begin + _COLUMNS] for p in side] for side in right], start, begin)
        return _best(np.concatenate(found)) if found else None

    for block in in_order(block_row, range(0, len(hashed), _ROWS), threads):
        if block is not None:
            yield block


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """The function of each item, in the order of the items, from several threads.

    Unlike ``Executor.map`` it takes the next item only when there is room for it: what is made of a large set is
    used up on the way and never held as a whole.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _parities() -> list[NDArray[np.int64]]:
    """Entries by whether their frequency along each axis is odd: what flips turn the sign of together."""
    u, v = np.divmod(np.arange(FREQUENCIES**2), FREQUENCIES)
    return [np.flatnonzero((u % 2 == a) & (v % 2 == b)) for a in (0, 1) for b in (0, 1)]


_PAIR = np.dtype([("first", np.int64), ("second", np.int64), ("turn", np.int8), ("likeness", np.float32)])


def _block(rows: list[Floats], sides: list[list[Floats]], start: int, begin: int) -> list[NDArray[Any]]:
    """Pairs of one block of rows and columns, each under its best flip; once as stored and once transposed."""
    found = []
    for transposed, side in enumerate(sides):
        ee, eo, oe, oo = (a @ b.T for a, b in zip(rows, side, strict=True))
        # Flip 2 turns the sign of what is odd along the first axis, flip 1 along the second: the four likenesses
        # are (ee + oo) +- (oe + eo) and (ee - oo) +- (oe - eo), of which the larger of each two matters.
        even, odd = ee + oo, oe + eo
        np.subtract(ee, oo, out=ee)
        np.subtract(oe, eo, out=oe)
        kept = np.maximum(even + np.abs(odd), ee + np.abs(oe))
        where = np.flatnonzero(kept.ravel() > LIKENESS)
        i, j = np.divmod(where, kept.shape[1])
        later = j + begin > i + start
        if not later.any():
            continue
        i, j = i[later], j[later]
        pairs = np.empty(len(i), _PAIR)
        pairs["first"], pairs["second"], pairs["likeness"] = i + start, j + begin, kept[i, j]
        whole = even[i, j] + np.abs(odd[i, j]) >= kept[i, j]
        flips = np.where(whole, np.where(odd[i, j] >= 0, 0, 3), np.where(oe[i, j] >= 0, 1, 2))
        pairs["turn"] = 4 * transposed + flips
        found.append(pairs)
    return found


def _best(pairs: NDArray[Any]) -> Candidates:
    """Each pair once, under the turn in which it is most alike, and of each picture the most alike partners."""
    pairs = pairs[np.lexsort((pairs["turn"], -pairs["likeness"], pairs["second"], pairs["first"]))]
    new = np.ones(len(pairs), bool)
    new[1:] = (pairs["first"][1:] != pairs["first"][:-1]) | (pairs["second"][1:] != pairs["second"][:-1])
    pairs = pairs[new]
    pairs = pairs[np.lexsort((pairs["second"], -pairs["likeness"], pairs["first"]))]
    _, starts, counts = np.unique(pairs["first"], return_index=True, return_counts=True)
    rank = np.arange(len(pairs)) - np.repeat(starts, counts)
    pairs = pairs[rank < MOST_PARTNERS]
    pairs = pairs[np.lexsort((pairs["second"], pairs["first"]))]
    return Candidates(pairs["first"].copy(), pairs["second"].copy(), pairs["turn"].copy())
