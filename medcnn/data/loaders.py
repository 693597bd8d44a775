"""Batches straight from the memory map: no worker processes, and an order that is a function of the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.data.batch import BOXES, LABELS, Batch
from medcnn.data.box_moves import cropped
from medcnn.data.cache import Cache
from medcnn.data.patches import PatchDraw

# Keys of the second patch of a case, the third, ... lie beyond those of all cases.
_STRIDE = 2**32


class ImageSource(Protocol):
    """Where a loader takes its images from: a :class:`~medcnn.data.cache.Cache`, or one seen in another order."""

    @property
    def scale(self) -> float:
        """What turns stored values into the network's."""

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """``(B, C, *spatial)`` in the order of ``rows``."""

    def take_labels(self, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """``(B, K, *spatial)`` label maps in the order of ``rows``; ``None`` where there are none."""
        return None

    def volume(self, row: int) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Views of one image ``(C, *spatial)`` and its label map ``(K, *spatial)``, whatever their size."""
        return self.take(np.array([row]))[0], None


@dataclass(frozen=True, eq=False)
class OrderedImages:
    """Cached images by the place of their case in the run, whatever row of the cache they lie in.

    The order of batches and the augmentation follow from these places, so that they stay what they were when a
    lost cache is made again without the rows that the run does not use.

    Attributes:
        cache: The cached images.
        rows: ``(N,)`` row of the cache by place.
    """

    cache: Cache
    rows: NDArray[np.int64]

    @property
    def scale(self) -> float:
        """As of the cache."""
        return self.cache.scale

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """``(B, C, *spatial)`` of the cases at these places."""
        return self.cache.take(self.rows[rows])

    def take_labels(self, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """``(B, K, *spatial)`` label maps of the cases at these places."""
        return self.cache.take_labels(self.rows[rows])

    def volume(self, row: int) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Views of the image and the label map of the case at this place."""
        return self.cache.volume(int(self.rows[row]))

    @property
    def placed(self) -> bool:
        """Whether the cache knows where each image lies in the network's grid."""
        return self.cache.matrices is not None

    def placement(self, place: int) -> tuple[NDArray[np.float64], tuple[int, ...], tuple[float, ...] | None]:
        """Matrix from the original's voxel indices to the cached ones, the original's spatial shape and spacing."""
        row = int(self.rows[place])
        assert self.cache.matrices is not None
        matrix, facts = self.cache.matrices[row], self.cache.facts[row]
        dims = len(matrix) - 1
        return matrix, facts.shape[1 : 1 + dims], None if facts.spacing is None else tuple(facts.spacing[:dims])

    def __deepcopy__(self, memo: dict[int, Any]) -> OrderedImages:
        return self


class BatchLoader:
    """Iterates batches of cached cases.

    With several processes the batches of step s, taken together, are the batch of step s of one process
    with ``world_size`` times the batch size. Every process yields equally many batches.

    Args:
        images: The cached images.
        rows: ``(N,)`` rows of ``images`` to visit; batches carry them as ``index``.
        targets: Encoded targets, a row a row of ``images``.
        batch_size: Cases a batch and process.
        seed: With the epoch it fixes the order.
        shuffle: A new order each epoch. Without it the last batch is padded to its full size with
            cases whose index is -1, so that what a network says of a case does not depend on its batch.
        rank: Number of this process.
        world_size: Number of processes.
        drop_last: Leave out the last incomplete batch of an epoch; otherwise, when shuffled, it is filled
            from the beginning of the epoch's order.
        weights: ``(N,)`` chances by which rows are drawn, with replacement; ``None``: each once an epoch.
        patches: Draws a patch of each case; ``None`` takes whole images.
    """

    def __init__(
        self,
        images: ImageSource,
        rows: NDArray[np.int64],
        targets: Mapping[str, NDArray[Any]],
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        weights: NDArray[np.float64] | None = None,
        patches: PatchDraw | None = None,
    ) -> None:
        self.images = images
        self.rows = np.asarray(rows, np.int64)
        self.targets = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in targets.items()}
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.drop_last = drop_last
        self.weights = weights
        self.patches = patches
        self.epoch = 0
        self._start = 0

    def __len__(self) -> int:
        """Batches of an epoch in this process."""
        step = self.batch_size * self.world_size
        return len(self.rows) // step if self.drop_last else -(-len(self.rows) // step)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """The epoch; batches are not counted, since checkpoints are written between epochs."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on with the epoch of :meth:`state_dict`."""
        self.epoch = int(state["epoch"])

    def order(self) -> NDArray[np.int64]:
        """``(steps * world_size * batch_size,)`` rows in the order of this epoch for all processes; -1 pads."""
        size = len(self) * self.batch_size * self.world_size
        if not self.shuffle:
            return np.concatenate([self.rows, np.full(max(size - len(self.rows), 0), -1, np.int64)])[:size]
        generator = np.random.Generator(np.random.Philox(key=[self.seed, self.epoch]))
        if self.weights is not None:
            return generator.choice(self.rows, size, p=self.weights / self.weights.sum())
        order = generator.permutation(self.rows)
        return np.resize(order, size) if len(order) else order

    def __iter__(self) -> Iterator[Batch]:
        shape = (len(self), self.batch_size, self.world_size)
        order = self.order()
        keys = order if self.patches is None else order + occurrences(order) * _STRIDE
        mine = order.reshape(shape)[:, :, self.rank]
        for rows, drawn in zip(mine, keys.reshape(shape)[:, :, self.rank], strict=True):
            yield self._batch(rows, drawn)

    def _batch(self, rows: NDArray[np.int64], keys: NDArray[np.int64]) -> Batch:
        # A padded place repeats a real case; its index says that it does not count.
        real = np.where(rows < 0, max(int(rows.max(initial=0)), 0), rows)
        starts: NDArray[np.int64] | None = None
        if self.patches is None:
            taken, labels = self.images.take(real), self.images.take_labels(real)
        else:
            taken, labels, starts = self._draw(self.patches, real, keys)
        images = torch.from_numpy(taken)
        if images.dtype == torch.uint8:
            images = images.to(torch.float32).mul_(self.images.scale)
        positions = torch.from_numpy(real)
        targets = {k: v[positions] for k, v in self.targets.items()}
        if labels is not None:
            targets[LABELS] = torch.from_numpy(labels)
        if BOXES in targets and self.patches is not None and starts is not None:
            cropped(targets, starts, self.patches.size)
        return Batch(images, targets, torch.from_numpy(rows.copy()), torch.from_numpy(keys.copy()))

    def _draw(
        self, patches: PatchDraw, rows: NDArray[np.int64], keys: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.uint8] | None, NDArray[np.int64]]:
        """Patches of images and label maps, and where they begin, ``(B, D)``."""
        images, labels, starts = [], [], []
        boxes = self.targets.get(BOXES)
        for row, key in zip(rows, keys, strict=True):
            image, mask = self.images.volume(int(row))
            own = None if boxes is None else boxes[int(row)].numpy()
            start = patches.starts(int(row), mask, image.shape[1:], int(key), self.epoch, boxes=own)
            starts.append(start)
            where = (slice(None), *(slice(s, s + n) for s, n in zip(start, patches.size, strict=True)))
            images.append(image[where])
            if mask is not None:
                labels.append(mask[where])
        return np.stack(images), np.stack(labels) if labels else None, np.array(starts, np.int64)


def occurrences(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each entry has stood in the order before: 0 for the first time."""
    sorted_places = np.argsort(order, kind="stable")
    ordered = order[sorted_places]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
    found = np.empty(len(order), np.int64)
    found[sorted_places] = counts
    return found
