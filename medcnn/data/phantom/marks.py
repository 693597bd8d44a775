"""Lead letters on films."""

from __future__ import annotations

import numpy as np

from medcnn.data.phantom.shapes import Array

_LETTERS = {
    "L": ("1....", "1....", "1....", "1....", "1....", "1....", "11111"),
    "R": ("1111.", "1...1", "1...1", "1111.", "1.1..", "1..1.", "1...1"),
}


def stamp(image: Array, letter: str, corner: tuple[float, float], *, brightness: float) -> Array:
    """Draw a letter into a picture in [0, 1].

    Args:
        image: ``(rows, columns)``.
        letter: ``L`` or ``R``.
        corner: Upper left corner as a share of rows and columns.
        brightness: Value of the letter.
    """
    bits = np.array([[c == "1" for c in row] for row in _LETTERS[letter]], np.float32)
    scale = max(1, round(image.shape[0] / 100))
    bits = np.kron(bits, np.ones((scale, scale), np.float32))
    row, column = (int(share * n) for share, n in zip(corner, image.shape, strict=True))
    bits = bits[: image.shape[0] - row, : image.shape[1] - column]
    found = image.copy()
    part = found[row : row + bits.shape[0], column : column + bits.shape[1]]
    part[...] = np.where(bits > 0, np.maximum(part, np.float32(brightness)), part)
    return found
