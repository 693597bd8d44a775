"""Small grey pictures of all cases, read from the original pixels, with the facts of each image."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.facts import ImageFacts
from medcnn.data.near_hash import SIDE
from medcnn.data.preprocess import Preprocessor
from medcnn.data.rows import Unread
from medcnn.data.workers import read_rows
from medcnn.errors import ImageError
from medcnn.geometry.affines import axis_order
from medcnn.progress import Progress, Silent
from medcnn.recipe.schema import InputSection
from medcnn.types import Case, Exclusion, Image

# 8-bit pictures that use less than a quarter of their range are stretched, as all others are.
_FULL_RANGE = 64
_TAILS = (0.5, 99.5)


@dataclass(frozen=True)
class Thumbnails:
    """What one reading of all images leaves.

    Attributes:
        cases: The readable cases, in the order of the rows.
        facts: Of each, what was learned of its original pixels.
        pixels: ``(N, 64, 64)`` uint8; a file that is gone when the array is.
        exclusions: Cases that could not be read.
    """

    cases: tuple[Case, ...]
    facts: tuple[ImageFacts, ...]
    pixels: NDArray[np.uint8]
    exclusions: tuple[Exclusion, ...]


class Thumbnailer(Preprocessor):
    """Makes thumbnails in the processes that read images."""

    def __init__(self) -> None:
        super().__init__(InputSection(size=(SIDE, SIDE), augment=None))

    def stored(self, image: Image) -> NDArray[Any]:
        """``(1, 64, 64)`` uint8."""
        return thumbnail(image)[np.newaxis]


def thumbnail(image: Image) -> NDArray[np.uint8]:
    """``(64, 64)`` uint8: the middle of a volume, the mean of the channels, squeezed to a square.

    Raises:
        ImageError: If the image has no pixels.
    """
    from PIL import Image as Pillow

    array = middle_slice(image)
    if not array.size:
        raise ImageError("the image has no pixels")
    grey = array[0] if len(array) == 1 else array.mean(0, dtype=np.float32)
    if grey.dtype != np.uint8:
        grey = _to_bytes(grey)
    small = Pillow.fromarray(np.ascontiguousarray(grey))
    if small.size != (SIDE, SIDE):
        small = small.resize((SIDE, SIDE), Pillow.Resampling.BILINEAR)
    found = np.asarray(small, np.uint8)
    low, high = int(found.min()), int(found.max())
    if low < high < low + _FULL_RANGE and image.array.dtype == np.uint8:
        return _to_bytes(found)
    return found


def middle_slice(image: Image) -> NDArray[Any]:
    """``(C, X, Y)``: an image as it is; of a volume the slice in the middle of its longest spacing.

    The axes of a volume with a world frame run to the left, to the back and to the feet, so that it is the same
    slice, lying in the same way, however the file orders its axes.
    """
    array = image.array
    if array.ndim != 4:
        return array
    if image.affine is None:
        return array[..., array.shape[-1] // 2]
    order = axis_order(image.affine)
    source = sorted(range(3), key=lambda voxel: order[voxel][0])
    lying = array.transpose(0, *(voxel + 1 for voxel in source))
    # The world's axes run to the right, the front and the head.
    lying = np.flip(lying, tuple(axis + 1 for axis, voxel in enumerate(source) if order[voxel][1] > 0))
    lengths = [float(np.linalg.norm(np.asarray(image.affine)[:3, voxel])) for voxel in source]
    axis = max(range(3), key=lambda i: (round(lengths[i], 3), i))
    found: NDArray[Any] = np.take(lying, lying.shape[axis + 1] // 2, axis + 1)
    return found


def _to_bytes(grey: NDArray[Any]) -> NDArray[np.uint8]:
    values = grey.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, _TAILS) if finite.size else (0.0, 0.0)
    if high <= low and finite.size:
        low, high = float(finite.min()), float(finite.max())
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / max(float(high - low), 1e-6)
    return np.asarray(np.clip(scaled, 0, 1) * 255, np.uint8)


def read_thumbnails(cases: Sequence[Case], *, workers: int, progress: Progress | None = None) -> Thumbnails:
    """Read every image once.

    Args:
        cases: What to read.
        workers: Processes; 0 reads in this one.
        progress: Advanced by one a case.
    """
    progress = progress or Silent()
    kept: list[Case] = []
    facts: list[ImageFacts] = []
    exclusions: list[Exclusion] = []
    by_id = {case.id: case for case in cases}
    with tempfile.TemporaryFile(prefix="medcnn-") as file:
        for rows in read_rows(cases, Thumbnailer(), workers=workers, row_bytes=SIDE**2, progress=progress):
            for row in rows:
                if isinstance(row, Unread):
                    exclusions.append(row.exclusion)
                    continue
                fact, picture, _ = row
                file.write(picture.tobytes())
                facts.append(fact)
                kept.append(by_id[fact.case])
            progress.advance(len(rows))
        file.flush()
        pixels: NDArray[np.uint8] = (
            np.memmap(file, np.uint8, "r", shape=(len(kept), SIDE, SIDE))
            if kept
            else np.empty((0, SIDE, SIDE), np.uint8)
        )
    return Thumbnails(tuple(kept), tuple(facts), pixels, tuple(exclusions))
