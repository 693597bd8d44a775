"""From class logits and box codes to boxes: decoding, suppression, windows that slide, and views that are merged."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import batched_nms, nms

from medcnn.geometry.boxes import clip_boxes, intersections, volumes
from medcnn.geometry.nms import keep_best, merge_boxes
from medcnn.models.detection_loss_modules import box_coder
from medcnn.types import BoxesPrediction

# Boxes of each image that are looked at before suppression.
_CANDIDATES = 1000
# Above this overlap boxes of several views are one object.
_SAME = 0.3


@dataclass(frozen=True, slots=True)
class Decoding:
    """What becomes of the outputs of a detector.

    Attributes:
        least: Lowest score that is kept.
        nms: Intersection over union above which the lower score goes.
        exclusive: A place has one class: boxes of different classes suppress each other.
        most: Boxes an image, at most.
        overlap: Share by which tiles of a large image overlap.
        window_batch: Tiles predicted at a time.
        window: Size of a tile; empty: that of the network's input.
    """

    least: float = 0.02
    nms: float = 0.3
    exclusive: bool = False
    most: int = 100
    overlap: float = 0.5
    window_batch: int = 4
    window: tuple[int, ...] = ()

    def chosen(self, found: BoxesPrediction) -> BoxesPrediction:
        """Boxes after non-maximum suppression, the best of them."""
        kept = _suppressed(found, self.nms, exclusive=self.exclusive)[: self.most]
        return replace(found, corners=found.corners[kept], labels=found.labels[kept], scores=found.scores[kept])


def _suppressed(found: BoxesPrediction, threshold: float, *, exclusive: bool) -> NDArray[np.int64]:
    """Positions of the boxes that non-maximum suppression keeps, by falling score."""
    if found.corners.shape[1] != 4:
        return keep_best(found.corners, found.scores, threshold, labels=None if exclusive else found.labels)
    # Hundreds of boxes in 2D: torchvision's loop in C++ takes less time than a search tree takes to be built.
    corners, scores = torch.from_numpy(found.corners), torch.from_numpy(found.scores)
    kept: Tensor = (
        nms(corners, scores, threshold)
        if exclusive
        else batched_nms(corners, scores, torch.from_numpy(found.labels), threshold)
    )
    result: NDArray[np.int64] = kept.numpy()
    return result


def candidates(
    logits: Tensor, codes: Tensor, anchors: Tensor, shape: Sequence[int], decoding: Decoding
) -> list[BoxesPrediction]:
    """The boxes of each image before suppression, cut at its edges, from the highest score.

    Args:
        logits: ``(B, N, C)`` float32.
        codes: ``(B, N, 2*D)`` float32.
        anchors: ``(N, 2*D)``.
        shape: Spatial shape of the images.
        decoding: The lowest score that is kept.
    """
    scores, kinds = logits.sigmoid(), logits.shape[2]
    coder = box_coder(len(shape))
    found = []
    for own, code in zip(scores, codes, strict=True):
        values, places = own.flatten().topk(min(_CANDIDATES, own.numel()))
        places = places[values >= decoding.least]
        values = values[: len(places)]
        rows = places // kinds
        corners = coder.decode_single(code[rows], anchors[rows]).cpu().numpy()
        inside = clip_boxes(corners.astype(np.float32), shape)
        dims = len(shape)
        solid = (inside[:, dims:] > inside[:, :dims]).all(1)
        labels, points = (places % kinds).cpu().numpy(), values.cpu().numpy()
        found.append(BoxesPrediction(inside[solid], labels[solid].astype(np.int64), points[solid].astype(np.float32)))
    return found


Detect = Callable[[Tensor], list[BoxesPrediction]]


def sliding_boxes(detect: Detect, image: Tensor, window: Sequence[int], decoding: Decoding) -> list[BoxesPrediction]:
    """Boxes of images of any size: of the image at once, or of tiles whose boxes are merged.

    A box that touches an inner edge of its tile may be cut: where another tile shows it whole, it is left out. What
    remains is merged by weighted clustering, a box counting as many views as tiles hold it whole.

    Args:
        detect: Boxes before suppression of ``(B, C, *window)``.
        image: ``(B, C, *spatial)``.
        window: Spatial size that the network takes.
        decoding: Overlap, suppression and batch.
    """
    shape = tuple(image.shape[2:])
    if all(n <= w for n, w in zip(shape, window, strict=True)):
        return [decoding.chosen(found) for found in detect(image)]
    starts = [_starts(n, w, decoding.overlap) for n, w in zip(shape, window, strict=True)]
    corners_of_tiles = list(itertools.product(*starts))
    return [_tiled(detect, one, corners_of_tiles, window, decoding) for one in image]


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """First voxel of each tile along an axis: evenly spread, overlapping by the share or more."""
    if length <= window:
        return [0]
    count = int(np.ceil((length - window) / max(1.0, window * (1 - overlap)))) + 1
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def _tiled(
    detect: Detect, image: Tensor, starts: Sequence[tuple[int, ...]], window: Sequence[int], decoding: Decoding
) -> BoxesPrediction:
    shape = tuple(image.shape[1:])
    tiles = _Tiles.of(starts, window, shape)
    parts: list[BoxesPrediction] = []
    for first in range(0, len(starts), decoding.window_batch):
        some = range(first, min(first + decoding.window_batch, len(starts)))
        shown = torch.stack([image[(slice(None), *_slices(starts[k], window, shape))] for k in some])
        for found, k in zip(detect(shown), some, strict=True):
            own = decoding.chosen(found)
            corners = own.corners + np.array([*starts[k], *starts[k]], np.float32)
            parts.append(BoxesPrediction(corners, own.labels, own.scores))
    joined = joined_boxes(parts, len(shape))
    origin = np.repeat(np.arange(len(parts)), [len(p.scores) for p in parts])
    held = tiles.hold(joined.corners)
    whole = held[np.arange(len(origin)), origin]
    kept = whole | ~_seen_whole(joined.corners, whole)
    chosen = BoxesPrediction(joined.corners[kept], joined.labels[kept], joined.scores[kept])
    return decoding.chosen(merged(chosen, np.maximum(held[kept].sum(1), 1)))


def _slices(start: Sequence[int], window: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(s, min(s + w, n)) for s, w, n in zip(start, window, shape, strict=True))


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Where boxes lie whole in tiles: a voxel within the edges that are not the image's own; each ``(T, D)``."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, starts: Sequence[tuple[int, ...]], window: Sequence[int], shape: Sequence[int]) -> _Tiles:
        low = np.array(starts, np.float64)
        high = np.minimum(low + np.array(window), np.array(shape))
        return cls(low + (low > 0), high - (high < np.array(shape)))

    def hold(self, corners: NDArray[np.float32]) -> NDArray[np.bool_]:
        """``(N, T)`` whether each tile holds each box whole."""
        dims = self.low.shape[1]
        inside = (corners[:, None, :dims] >= self.low) & (corners[:, None, dims:] <= self.high)
        return np.asarray(inside.all(2))


def _seen_whole(corners: NDArray[np.float32], whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``(N,)`` whether more than half of a box lies in one that a tile holds whole."""
    if not whole.any():
        return np.zeros(len(corners), bool)
    shared = intersections(corners, corners[whole]).max(1)
    return np.asarray(shared > 0.5 * volumes(corners))


def joined_boxes(parts: Sequence[BoxesPrediction], dims: int) -> BoxesPrediction:
    """The boxes of several predictions of one image."""
    if not parts:
        return BoxesPrediction(np.zeros((0, 2 * dims), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
    corners, labels, scores = (np.concatenate([getattr(p, k) for p in parts]) for k in ("corners", "labels", "scores"))
    return replace(parts[0], corners=corners, labels=labels, scores=scores)


def merged(found: BoxesPrediction, views: NDArray[np.int64] | int) -> BoxesPrediction:
    """Boxes of several views clustered (:func:`~medcnn.geometry.nms.merge_boxes`), with the number of views."""
    if not len(found.corners):
        return found
    one = merge_boxes(found.corners, found.scores, found.labels, _SAME, views=views)
    return replace(found, corners=one.corners, labels=one.labels, scores=one.scores)


def mirrored_boxes(detect: Detect, image: Tensor, axes: Sequence[int], decoding: Decoding) -> list[BoxesPrediction]:
    """Boxes of the image and its mirror images along every combination of axes, merged.

    Args:
        detect: Boxes of ``(B, C, *spatial)``, after suppression.
        image: ``(B, C, *spatial)``.
        axes: Spatial axes along which the image may be mirrored; none: ``detect`` alone.
        decoding: Suppression.
    """
    if not axes:
        return detect(image)
    dims = image.ndim - 2
    flips = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    views = [
        [_mirrored(found, chosen, image.shape[2:]) for found in detect(image.flip([a + 2 for a in chosen]))]
        for chosen in flips
    ]
    together = [joined_boxes(parts, dims) for parts in zip(*views, strict=True)]
    return [decoding.chosen(merged(found, len(flips))) for found in together]


def _mirrored(found: BoxesPrediction, axes: Sequence[int], shape: Any) -> BoxesPrediction:
    corners, dims = found.corners.copy(), len(shape)
    for axis in axes:
        corners[:, axis] = shape[axis] - found.corners[:, axis + dims]
        corners[:, axis + dims] = shape[axis] - found.corners[:, axis]
    return replace(found, corners=corners)
