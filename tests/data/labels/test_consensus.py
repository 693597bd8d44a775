"""One reference from the masks of several readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medcnn.data.adapters.mask_labels import mask_schema
from medcnn.data.labels import read_mask, read_readers
from medcnn.data.labels.consensus import agree
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef, Mask

ONE = mask_schema(["tumour"])
TWO = mask_schema(["liver", "tumour"])


def staple(masks: np.ndarray, steps: int = 200) -> np.ndarray:
    """Warfield et al. 2004, equations 13 to 19, with one prior for all voxels: an implementation of its own."""
    votes = masks.reshape(len(masks), -1).astype(float)
    prior = votes.mean()
    p, q = np.full(len(votes), 0.99999), np.full(len(votes), 0.99999)
    for _ in range(steps):
        a = np.prod(np.where(votes > 0, p[:, None], 1 - p[:, None]), 0) * prior
        b = np.prod(np.where(votes > 0, 1 - q[:, None], q[:, None]), 0) * (1 - prior)
        weight = a / (a + b)
        p, q = (votes @ weight) / weight.sum(), ((1 - votes) @ (1 - weight)) / (1 - weight).sum()
    return (weight >= 0.5).reshape(masks.shape[1:])


@pytest.fixture
def readers() -> np.ndarray:
    """A disc as drawn by three careful readers and two who draw far too much, each in the same direction."""
    x, y = np.indices((40, 40))
    careful = [(x - 20 - dx) ** 2 + (y - 20) ** 2 < 81 for dx in (-1, 0, 1)]
    careless = [(x - 24) ** 2 + (y - 20) ** 2 < r for r in (200, 210)]
    return np.array([*careful, *careless])


def test_the_majority_by_hand() -> None:
    maps = [np.array([m], np.uint8) for m in ([0, 1, 1, 2, 1], [0, 1, 2, 2, 2], [1, 0, 2, 0, 0])]
    assert agree(maps, TWO, "majority").tolist() == [[0, 1, 2, 2, 0]]
    # Two readers: what one says alone is not more than half.
    assert agree(maps[:2], TWO, "majority").tolist() == [[0, 1, 0, 2, 0]]


def test_who_did_not_look_has_no_vote() -> None:
    maps = [np.array([m], np.uint8) for m in ([255, 255, 255, 1], [255, 1, 1, 1], [255, 255, 0, 0])]
    assert agree(maps, ONE, "majority").tolist() == [[255, 1, 0, 1]]
    # STAPLE over the voxels that all have seen, the majority elsewhere.
    found = agree(maps, ONE, "staple")
    assert found[0, :3].tolist() == [255, 1, 0]


def test_staple_is_that_of_the_paper(readers: np.ndarray) -> None:
    maps = [m.astype(np.uint8) for m in readers]
    np.testing.assert_array_equal(agree(maps, ONE, "staple") == 1, staple(readers))
    assert (agree(maps, ONE, "majority") == 1).tolist() == (readers.sum(0) > 2).tolist()


def test_staple_of_several_labels(readers: np.ndarray) -> None:
    values = [np.where(m, np.where(np.arange(40) > 20, 2, 1), 0).astype(np.uint8) for m in readers]
    found = agree(values, TWO, "staple")
    assert set(np.unique(found)) == {0, 1, 2}
    assert (found[:, :21] != 2).all()
    assert (found[20, 15], found[20, 25], found[0, 0]) == (1, 2, 0)


def test_overlapping_labels_agree_one_by_one(readers: np.ndarray) -> None:
    schema = mask_schema(["whole", "core"], overlapping=True)
    maps = [np.stack([m, np.zeros_like(m)]).astype(np.uint8) for m in readers]
    found = agree(maps, schema, "staple")
    np.testing.assert_array_equal(found[0] == 1, staple(readers))
    assert not found[1].any()


@pytest.mark.parametrize("rule", ["majority", "staple"])
def test_readers_who_agree_are_all_right(rule: Any) -> None:
    for value in (0, 1, 255):
        same = [np.full((3, 4), value, np.uint8)] * 3
        assert (agree(same, ONE, rule) == value).all()


def test_masks_of_readers_are_read_from_files(tmp_path: Path) -> None:
    refs = []
    for k, values in enumerate(([[1, 1, 0]], [[1, 0, 0]], [[1, 1, 1]])):
        Pillow.fromarray(np.array(values, np.uint8).T).save(tmp_path / f"{k}.png")
        refs.append(ImageRef((str(tmp_path / f"{k}.png"),)))
    mask = Mask(refs[0], readers=tuple(refs[1:]))
    image = Image(np.zeros((1, 1, 3), np.uint8))
    assert read_mask(mask, ONE, image, consensus="majority").tolist() == [[1, 1, 0]]
    assert [one.labels.sum() for one in read_readers(mask, ONE, image)] == [2, 1, 3]
    Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "2.png")
    with pytest.raises(ImageError) as error:
        read_mask(mask, ONE, image)
    assert error.value.where == str(tmp_path / "2.png")
