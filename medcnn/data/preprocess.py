"""The deterministic part of the input: from an image as read to the array that the network takes.

Every step looks at the case alone; what is fitted over cases comes after the cache.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.batch import Sample
from medcnn.errors import ImageError
from medcnn.files import digest
from medcnn.geometry.grids import Grid, fit_to_size, reorient, resample_to_spacing
from medcnn.recipe.schema import InputSection
from medcnn.types import Image

VERSION = 1
CT_WINDOW = (-1000.0, 1000.0)
# ITU-R BT.601 luma, as Pillow's conversion to grey.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Preprocessor:
    """Channels, orientation, spacing, intensity and size, in this order.

    Args:
        section: The recipe's input section.
    """

    def __init__(self, section: InputSection) -> None:
        self.section = section
        self.size = tuple(section.size)
        self.dims = len(self.size)

    def state(self) -> dict[str, Any]:
        """Plain values from which :meth:`restore` makes the same preprocessing."""
        return {"version": VERSION, "input": json.loads(self.section.model_dump_json(exclude={"augment"}))}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Preprocessor:
        """The preprocessing of a checkpoint or model file."""
        return cls(InputSection.model_validate(state["input"]))

    def digest(self) -> str:
        """Changes with every parameter that changes an array."""
        state = self.state()
        state["input"].pop("symmetric_axes", None)
        return digest(json.dumps(state, sort_keys=True).encode())

    def __call__(self, image: Image) -> Sample:
        """One image as the network sees it.

        Raises:
            ImageError: If the image has not the axes, channels or geometry that the recipe needs.
        """
        stored, grid = self._run(image)
        array = stored.astype(np.float32) * np.float32(1 / 255) if stored.dtype == np.uint8 else stored
        return Sample(np.ascontiguousarray(array, np.float32), {}, grid.matrix, grid.original_shape)

    def stored(self, image: Image) -> NDArray[Any]:
        """The array as the cache keeps it: uint8 where nothing but a division by 255 is left, else float32."""
        return self._run(image)[0]

    def _run(self, image: Image) -> tuple[NDArray[Any], Grid]:
        array, image = self._spatial(image)
        array = self._channels(array)
        grid = Grid.of(array, image.affine, image.spacing)
        method = self._method(image)
        as_stored = self.section.orientation is None and self.section.spacing is None
        if as_stored and array.dtype == np.uint8 and method == "range" and array.shape[1:] == self.size:
            return np.ascontiguousarray(array), grid
        grid = grid.with_array(self._intensity(_finite(array), image, method))
        if self.section.orientation is not None:
            grid = reorient(grid, self.section.orientation)
        if self.section.spacing is not None:
            grid = resample_to_spacing(grid, self.section.spacing)
        return (grid := fit_to_size(grid, self.size, self.section.fit)).array, grid

    def _spatial(self, image: Image) -> tuple[NDArray[Any], Image]:
        array = image.array
        found = array.ndim - 1
        if found == 3 and self.dims == 2 and array.shape[3] == 1:
            return array[..., 0], Image(array[..., 0], None, (image.spacing or ())[:2] or None, image.header)
        if found != self.dims:
            raise ImageError(
                f"the image has {found} spatial axes {array.shape[1:]}, the recipe's input.size has {self.dims}",
                todo="give input.size as many entries as the images have axes"
                + (", or make a case of each slice" if found > self.dims else ""),
            )
        return array, image

    def _channels(self, array: NDArray[Any]) -> NDArray[Any]:
        have, want = array.shape[0], self.section.channels
        if have == want:
            return array
        if want == 1 and have == 3:
            grey = np.tensordot(LUMA, array.astype(np.float32), axes=1)[None]
            return np.rint(grey).astype(array.dtype) if array.dtype.kind in "ui" else grey
        if have == 1:
            return np.repeat(array, want, axis=0)
        raise ImageError(
            f"the image has {have} channels, the recipe's input.channels says {want}",
            todo="set input.channels, or name the right files as channels",
        )

    def _method(self, image: Image) -> str:
        intensity = self.section.intensity
        if intensity.method != "auto":
            return intensity.method
        if intensity.low is not None:
            return "window"
        if image.array.dtype == np.uint8:
            return "range"
        return "window" if image.header.get("modality") == "CT" else "percentiles"

    def _intensity(self, array: NDArray[Any], image: Image, method: str) -> NDArray[np.float32]:
        values = array.astype(np.float32)
        section = self.section.intensity
        if method == "none":
            return values
        if method == "zscore":
            deviation = float(values.std(dtype=np.float64))
            centred = values - np.float32(values.mean(dtype=np.float64))
            return np.asarray(centred / np.float32(deviation or 1.0), np.float32)
        if method == "range":
            kind = image.array.dtype
            low, high = (float(np.iinfo(kind).min), float(np.iinfo(kind).max)) if kind.kind in "ui" else (0.0, 1.0)
        elif method == "window":
            low = CT_WINDOW[0] if section.low is None else section.low
            high = CT_WINDOW[1] if section.high is None else section.high
        else:
            low, high = (float(v) for v in np.percentile(values, section.percentiles))
        if high <= low:
            # A constant image: nothing to scale, and no division by zero.
            return np.zeros_like(values)
        scaled = (values - np.float32(low)) / np.float32(high - low)
        return np.asarray(np.clip(scaled, 0, 1), np.float32)


def _finite(array: NDArray[Any]) -> NDArray[Any]:
    """NaN and infinity become the smallest finite value; an image without any is refused."""
    if array.dtype.kind != "f":
        return array
    good = np.isfinite(array)
    if good.all():
        return array
    if not good.any():
        raise ImageError("no pixel has a finite value", todo="leave the image out, or export it again")
    return np.where(good, array, array[good].min())
