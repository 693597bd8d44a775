"""Memory-mapped rows of a cache file: all of one shape, or each of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RowArrays:
    """Rows that lie one after the other in a file.

    Attributes:
        path: The file.
        dtype: Of its values.
        shape: ``(C, *spatial)`` of every row; ``None`` where each has a shape of its own.
        shapes: Of each row, where they differ.
        count: Number of rows.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...] | None
    shapes: tuple[tuple[int, ...], ...]
    count: int

    def __post_init__(self) -> None:
        values = self.values
        flat: NDArray[Any] = (
            np.memmap(self.path, self.dtype, "r", shape=(values,)) if values else np.zeros(0, self.dtype)
        )
        object.__setattr__(self, "_flat", flat)
        if self.shape is None:
            ends = np.cumsum([int(np.prod(s)) for s in self.shapes], dtype=np.int64)
            object.__setattr__(self, "_starts", np.concatenate([np.zeros(1, np.int64), ends]))

    @property
    def values(self) -> int:
        """Values of all rows."""
        if self.shape is not None:
            return self.count * int(np.prod(self.shape))
        return int(sum(int(np.prod(s)) for s in self.shapes))

    @property
    def bytes(self) -> int:
        """Size that the file must have."""
        return self.values * np.dtype(self.dtype).itemsize

    def __getstate__(self) -> dict[str, Any]:
        # Other processes map the file themselves; pickling the map would copy every image.
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    @property
    def whole(self) -> NDArray[Any]:
        """``(N, C, *spatial)``, where all rows have one shape."""
        assert self.shape is not None
        flat: NDArray[Any] = self.__dict__["_flat"]
        return flat.reshape(self.count, *self.shape)

    def row(self, row: int) -> NDArray[Any]:
        """``(C, *spatial)`` of one row, a view of the file."""
        if self.shape is not None:
            found: NDArray[Any] = self.whole[row]
            return found
        starts, flat = self.__dict__["_starts"], self.__dict__["_flat"]
        view: NDArray[Any] = flat[starts[row] : starts[row + 1]].reshape(self.shapes[row])
        return view

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """``(B, C, *spatial)`` in the order of ``rows``; the file is read in its own order.

        Rows of different shapes cannot be taken together: one at a time then.
        """
        if self.shape is None:
            return np.stack([self.row(int(row)) for row in rows])
        order = np.argsort(rows, kind="stable")
        taken = np.empty((len(rows), *self.shape), self.dtype)
        taken[order] = self.whole[rows[order]]
        return taken


def row_arrays(path: Path, dtype: str, channels: int, shapes: Sequence[Sequence[int]], count: int) -> RowArrays:
    """Rows of ``channels`` on spatial shapes: one for all, or one a row."""
    full = tuple((channels, *(int(n) for n in shape)) for shape in shapes)
    if len(full) == 1:
        return RowArrays(path, dtype, full[0], (), count)
    return RowArrays(path, dtype, None, full, count)
