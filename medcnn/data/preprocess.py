"""The deterministic part of the input: from an image as read to the array that the network takes.

Every step looks at the case alone; what is fitted over cases comes after the cache. No torch is imported
before a sample is made, so that the processes that fill the cache stay small.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import ImageError, ModelError
from medcnn.files import digest
from medcnn.geometry.grids import Grid, reorient
from medcnn.geometry.resample import IGNORE, Axis, Fit, plan_axes, sample, sample_labels
from medcnn.types import Boxes, Image, LabelSchema, Mask, Target

if TYPE_CHECKING:
    from medcnn.data.batch import Sample
    from medcnn.recipe.schema import InputSection

# To be raised with every change of this module that changes a pixel: caches are made anew, and a model file
# that was trained on the pixels of another version is refused.
VERSION = 2
CT_WINDOW = (-1000.0, 1000.0)
# ITU-R BT.601 luma, as Pillow's conversion to grey.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Settings that concern augmentation alone.
_NO_PIXELS = ("augment", "symmetric_axes", "patches")


@dataclass(frozen=True, slots=True)
class _Steps:
    """What of the input section makes pixels, as plain values."""

    channels: int
    spacing: tuple[float, ...] | None
    orientation: str | None
    fit: Fit
    method: str
    low: float | None
    high: float | None
    percentiles: tuple[float, float]

    @classmethod
    def of(cls, section: InputSection) -> _Steps:
        scale = section.intensity
        return cls(
            section.channels,
            section.spacing,
            section.orientation,
            section.fit,
            scale.method,
            scale.low,
            scale.high,
            scale.percentiles,
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """One case as the cache keeps it.

    Attributes:
        array: ``(C, *spatial)``, uint8 or float32.
        labels: ``(K, *spatial)`` uint8 positions of labels on the same grid; ``None`` where no mask is asked for.
        matrix: ``(D+1, D+1)``, voxel indices of the original image to those of ``array``.
    """

    array: NDArray[Any]
    labels: NDArray[np.uint8] | None
    matrix: NDArray[np.float64]

    def labels_or_ignored(self, channels: int) -> NDArray[np.uint8]:
        """The label map; where there is none, one in which no voxel is annotated."""
        if self.labels is not None:
            return self.labels
        return np.full((channels, *self.array.shape[1:]), IGNORE, np.uint8)


@dataclass(frozen=True, slots=True)
class MaskReading:
    """How the masks of cases become label maps beside their images.

    Attributes:
        schema: The labels.
        resample: Bring a mask of another grid to its image's, where both have geometry.
        consensus: The rule where several persons drew a mask: ``staple`` or ``majority``.
        instances: Keep which of the case's boxes each voxel belongs to, counted from 1, instead of its label.
    """

    schema: LabelSchema
    resample: bool = False
    consensus: Literal["majority", "staple"] = "staple"
    instances: bool = False

    @property
    def channels(self) -> int:
        """Channels of the label map: one, or one a label where labels may overlap."""
        return len(self.schema.classes) if self.overlapping else 1

    @property
    def overlapping(self) -> bool:
        """Whether a voxel of the label map may have several labels."""
        return self.schema.multilabel and not self.instances


class Preprocessor:
    """Channels, intensity, orientation, then spacing and size by one interpolation.

    Args:
        section: The recipe's input section.
        masks: How masks are read beside the images; ``None`` where the task needs none.
        places: Keep where each image lies in the network's grid, as it always is with masks.
    """

    def __init__(self, section: InputSection, masks: MaskReading | None = None, *, places: bool = False) -> None:
        self.section = section
        self.masks = masks
        self.places = places or masks is not None
        self.size = tuple(section.size)
        self._steps = _Steps.of(section)

    def __getstate__(self) -> dict[str, Any]:
        # The processes that read need the plain values alone, and start faster without the schema's library.
        return {"size": self.size, "_steps": self._steps, "masks": self.masks, "places": self.places}

    @property
    def target_kinds(self) -> tuple[type[Target], ...]:
        """Kinds of targets that are needed to read a case."""
        if self.masks is None:
            return ()
        return (Mask, Boxes) if self.masks.instances else (Mask,)

    @property
    def uniform(self) -> bool:
        """Whether all images come to one size."""
        return self._steps.fit != "patches"

    def state(self) -> dict[str, Any]:
        """Plain values from which :meth:`restore` makes the same preprocessing."""
        return {"version": VERSION, "input": json.loads(self.section.model_dump_json(exclude={"augment"}))}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Preprocessor:
        """The preprocessing of a checkpoint or model file.

        Raises:
            ModelError: If it was made by another version of the preprocessing, whose pixels differ.
        """
        if state.get("version") != VERSION:
            raise ModelError(
                f"the model was trained on images of preprocessing version {state.get('version')}, this is {VERSION}",
                todo="use the medcnn that trained it, or train it again",
            )
        from medcnn.recipe.schema import InputSection

        return cls(InputSection.model_validate(state["input"]))

    def digest(self) -> str:
        """Changes with every parameter that changes an array, and with the version of this code."""
        steps = json.loads(self.section.model_dump_json(exclude=set(_NO_PIXELS)))
        found: dict[str, Any] = {"version": VERSION, "input": steps}
        if self.masks is not None:
            found["masks"] = asdict(self.masks)
        elif self.places:
            found["places"] = True
        return digest(json.dumps(found, sort_keys=True).encode())

    def __call__(self, image: Image) -> Sample:
        """One image as the network sees it, with the values that the cache would hold.

        Raises:
            ImageError: If the image has not the axes, channels or geometry that the recipe needs.
        """
        from medcnn.data.batch import Sample

        stored, grid, _ = self._run(image)
        array = stored.astype(np.float32) * np.float32(1 / 255) if stored.dtype == np.uint8 else stored
        spacing = None if image.spacing is None else tuple(image.spacing[: len(grid.original_shape)])
        return Sample(np.ascontiguousarray(array, np.float32), {}, grid.matrix, grid.original_shape, spacing)

    def stored(self, image: Image) -> NDArray[Any]:
        """The array as the cache keeps it: uint8, to be divided by 255, for images of 8 bit, else float32.

        Of an 8-bit image at another size the values are rounded to 1/255: by half of that at most, which is
        no more than its own steps leave open, and a quarter of the memory.
        """
        return self._run(image)[0]

    def pair(self, image: Image, labels: NDArray[np.uint8] | None) -> Stored:
        """The array of :meth:`stored` with a label map on the same grid, and where the voxels went.

        Args:
            image: As read.
            labels: ``(X, Y[, Z])`` positions, or ``(L, X, Y[, Z])`` where labels overlap, in the image's grid.

        Raises:
            ImageError: As :meth:`__call__`.
        """
        stored, grid, axes = self._run(image)
        if labels is None:
            return Stored(stored, None, grid.matrix)
        overlapping = self.masks is not None and self.masks.overlapping
        channels = labels if overlapping else labels[None]
        if channels.ndim - 1 > len(self.size):
            channels = channels[..., 0]
        same = Grid.of(channels, image.affine, (image.spacing or ())[: channels.ndim - 1] or None)
        if self._steps.orientation is not None:
            same = reorient(same, self._steps.orientation)
        return Stored(stored, sample_labels(same.array, axes, overlapping=overlapping), grid.matrix)

    def _run(self, image: Image) -> tuple[NDArray[Any], Grid, list[Axis] | None]:
        array, image = self._spatial(image)
        array = self._channels(array, image)
        method = self._method(image)
        grid = Grid.of(array, image.affine, image.spacing)
        # Bytes over their whole range need no arithmetic as long as no voxel is interpolated.
        plain = method == "range" and array.dtype == np.uint8 and _limits(image) == (0.0, 255.0)
        if not plain:
            grid = grid.with_array(self._intensity(_finite(array), image, method))
        if self._steps.orientation is not None:
            grid = reorient(grid, self._steps.orientation)
        axes = plan_axes(grid, self.size, self._steps.fit, self._steps.spacing)
        if axes is not None:
            grid = sample(grid, axes)
        if grid.array.dtype != np.uint8 and image.array.dtype == np.uint8 and method not in ("zscore", "none"):
            scale = np.float32(1 if plain else 255)
            grid = grid.with_array(np.rint(grid.array * scale).astype(np.uint8))
        return np.ascontiguousarray(grid.array), grid, axes

    def _spatial(self, image: Image) -> tuple[NDArray[Any], Image]:
        array = image.array
        found = array.ndim - 1
        if found == 3 and len(self.size) == 2 and array.shape[3] == 1:
            return array[..., 0], Image(array[..., 0], None, (image.spacing or ())[:2] or None, image.header)
        if found != len(self.size):
            raise ImageError(
                f"the image has {found} spatial axes {array.shape[1:]}, the recipe's input.size has {len(self.size)}",
                todo="give input.size as many entries as the images have axes"
                + (", or make a case of each slice" if found > len(self.size) else ""),
            )
        return array, image

    def _channels(self, array: NDArray[Any], image: Image) -> NDArray[Any]:
        have, want = array.shape[0], self._steps.channels
        if have == want:
            return array
        if want == 1 and _is_colour(image):
            grey = np.tensordot(LUMA, array.astype(np.float32), axes=1)[None]
            return np.rint(grey).astype(array.dtype) if array.dtype.kind in "ui" else grey
        if have == 1:
            return np.repeat(array, want, axis=0)
        raise ImageError(
            f"the image has {have} channels{'' if _is_colour(image) else ' that are no colours'}, "
            f"the recipe's input.channels says {want}",
            todo="set input.channels, or name the right files as channels",
        )

    def _method(self, image: Image) -> str:
        """What ``auto`` means for this image; the limits of a window are for CT and what does not say what it is."""
        if self._steps.method != "auto":
            return self._steps.method
        if image.array.dtype == np.uint8:
            return "range"
        modality = image.header.get("modality")
        if modality == "CT" or (modality is None and self._steps.low is not None):
            return "window"
        return "percentiles"

    def _intensity(self, array: NDArray[Any], image: Image, method: str) -> NDArray[np.float32]:
        values = array.astype(np.float32)
        steps = self._steps
        if method == "none":
            return values
        if method == "range":
            return _scaled(values, *_limits(image))
        if method == "window":
            low = CT_WINDOW[0] if steps.low is None else steps.low
            high = CT_WINDOW[1] if steps.high is None else steps.high
            return _scaled(values, low, high)
        one = _standardised if method == "zscore" else self._between_percentiles
        # Red, green and blue share one scale, or the hue would be lost; other channels are in units of their own.
        if _is_colour(image):
            return one(values)
        return np.stack([one(channel) for channel in values])

    def _between_percentiles(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        low, high = (float(v) for v in np.percentile(values, self._steps.percentiles))
        return _scaled(values, low, high)


def _is_colour(image: Image) -> bool:
    """Whether the three channels are red, green and blue of one picture, by what its reader says."""
    kind = str(image.header.get("photometric") or "").upper()
    return image.array.shape[0] == 3 and kind.startswith(("RGB", "YBR", "PALETTE"))


def _limits(image: Image) -> tuple[float, float]:
    """The range that the values may have: as its reader says, else that of the bits in use.

    Raises:
        ImageError: For floating-point numbers outside of [0, 1], which have no range.
    """
    array, header = image.array, image.header
    if "range" in header:
        low, high = header["range"]
        return float(low), float(high)
    if array.dtype.kind not in "ui":
        good = array[np.isfinite(array)]
        if good.size and (good.min() < 0 or good.max() > 1):
            raise ImageError(
                "the pixels are floating-point numbers outside of [0, 1]: their type has no range to scale by",
                todo="set input.intensity.method to window, percentiles or zscore",
            )
        return 0.0, 1.0
    kind, bits = np.iinfo(array.dtype), header.get("bits")
    # Pictures of one bit are read as 0 and 255.
    if not bits or not 1 < int(bits) < kind.bits:
        return float(kind.min), float(kind.max)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if kind.min < 0 else (0.0, 2.0**bits - 1)


def _scaled(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    if high <= low:
        # A constant image: nothing to scale, and no division by zero.
        return np.zeros_like(values)
    return np.asarray(np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    deviation = float(values.std(dtype=np.float64))
    centred = values - np.float32(values.mean(dtype=np.float64))
    return np.asarray(centred / np.float32(deviation or 1.0), np.float32)


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
