"""Random numbers as a pure function of (seed, epoch, case, draw): no generator, no state.

The counter is hashed by SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014), vectorised over cases.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def hashes(seed: int, epoch: int, index: NDArray[Any], draws: int) -> NDArray[np.uint64]:
    """``(B, draws)`` 64-bit hashes for ``(B,)`` positions of cases."""
    with np.errstate(over="ignore"):
        state = _mix(np.array([seed], np.uint64) * _GOLDEN + np.uint64(epoch) + np.uint64(1))
        state = _mix(state + (np.asarray(index, np.int64).astype(np.uint64) + np.uint64(1)) * _GOLDEN)
        return _mix(state[:, None] + np.arange(1, draws + 1, dtype=np.uint64)[None] * _GOLDEN)


def uniforms(seed: int, epoch: int, index: NDArray[Any], draws: int) -> NDArray[np.float32]:
    """``(B, draws)`` float32 in [0, 1)."""
    return ((hashes(seed, epoch, index, draws) >> np.uint64(40)).astype(np.float32)) * np.float32(2**-24)
