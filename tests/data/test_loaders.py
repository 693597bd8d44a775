"""Batches: every case once an epoch, the same for one process and for several."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.data.cache import Cache
from medcnn.data.facts import ImageFacts
from medcnn.data.loaders import BatchLoader, OrderedImages
from medcnn.data.row_arrays import row_arrays
from medcnn.types import Case, ImageRef

COUNT = 23


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tmp_path_factory.mktemp("cache")
    images = np.arange(COUNT, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 1, 2, 3), np.uint8)
    (folder / "images.bin").write_bytes(images.tobytes())
    cases = tuple(Case(f"c{i}", (ImageRef((str(i),)),)) for i in range(COUNT))
    facts = tuple(ImageFacts(c.id, c.id, (1, 2, 3), "uint8", None, 0, 1) for c in cases)
    return Cache(folder, cases, facts, (), row_arrays(folder / "images.bin", "uint8", 1, [(2, 3)], COUNT))


def loader(cache: Cache, rows: np.ndarray, size: int, **options: object) -> BatchLoader:
    targets = {"class": np.arange(COUNT) * 10, "valid": np.arange(COUNT) % 2 == 0}
    return BatchLoader(cache, rows, targets, size, **{"seed": 3, "shuffle": True, **options})  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, COUNT),
    size=st.integers(1, 7),
    world=st.integers(1, 4),
    shuffle=st.booleans(),
    drop=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_the_ranks_together_are_the_single_process(
    cache: Cache, count: int, size: int, world: int, shuffle: bool, drop: bool, epoch: int
) -> None:
    rows = np.random.default_rng(count).permutation(COUNT)[:count]
    options = {"shuffle": shuffle, "drop_last": drop}
    single = loader(cache, rows, size * world, **options)
    ranks = [loader(cache, rows, size, rank=r, world_size=world, **options) for r in range(world)]
    for each in (single, *ranks):
        each.set_epoch(epoch)
    whole, parts = list(single), [list(r) for r in ranks]
    assert {len(p) for p in parts} == {len(whole)} == {len(single)}
    for step, batch in enumerate(whole):
        together = torch.cat([p[step].index for p in parts])
        assert Counter(together.tolist()) == Counter(batch.index.tolist())
        assert len(batch.index) == size * world
    seen = Counter(i for batch in whole for i in batch.index.tolist())
    if not drop:
        assert set(seen) - {-1} == set(rows.tolist())
    if not shuffle or drop:
        assert all(n == 1 for i, n in seen.items() if i != -1)
    if shuffle:
        assert -1 not in seen


def test_images_and_targets_belong_to_the_index(cache: Cache) -> None:
    for batch in loader(cache, np.arange(COUNT), 5):
        assert batch.image.dtype == torch.float32
        torch.testing.assert_close(batch.image[:, 0, 1, 2], batch.index / 255)
        assert (batch.targets["class"] == batch.index * 10).all()
        assert (batch.targets["valid"] == (batch.index % 2 == 0)).all()


def test_without_shuffling_the_order_stays_and_the_end_is_padded(cache: Cache) -> None:
    rows = np.array([7, 3, 9, 1, 0])
    batches = list(loader(cache, rows, 3, shuffle=False))
    assert [b.index.tolist() for b in batches] == [[7, 3, 9], [1, 0, -1]]
    assert all(b.image.shape == (3, 1, 2, 3) for b in batches)


def test_padding_may_fill_a_whole_rank(cache: Cache) -> None:
    last = list(loader(cache, np.array([4]), 2, shuffle=False, rank=1, world_size=2))
    assert [b.index.tolist() for b in last] == [[-1, -1]]


def test_the_order_is_a_function_of_seed_and_epoch(cache: Cache) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        one = loader(cache, np.arange(COUNT), 4, seed=seed)
        one.set_epoch(epoch)
        return one.order().tolist()

    state = np.random.get_state()[1].tolist()
    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert np.random.get_state()[1].tolist() == state


def test_a_state_goes_on_with_its_epoch(cache: Cache) -> None:
    first, second = loader(cache, np.arange(COUNT), 4), loader(cache, np.arange(COUNT), 4)
    first.set_epoch(5)
    second.load_state_dict(first.state_dict())
    assert first.order().tolist() == second.order().tolist()


def test_weights_set_the_chances(cache: Cache) -> None:
    weights = np.array([0.0, 3.0, 1.0])
    one = loader(cache, np.array([4, 5, 6]), 3, weights=weights)
    drawn: Counter[int] = Counter()
    for epoch in range(300):
        one.set_epoch(epoch)
        drawn.update(one.order().tolist())
    assert set(drawn) == {5, 6}
    assert drawn[5] / drawn[6] == pytest.approx(3, rel=0.3)


def test_no_rows_are_no_batches(cache: Cache) -> None:
    for shuffle in (True, False):
        assert list(loader(cache, np.array([], np.int64), 4, shuffle=shuffle)) == []


def test_the_order_does_not_depend_on_the_rows_of_the_cache(cache: Cache) -> None:
    rows = np.array([9, 4, 20, 11, 0, 7])
    targets = {"class": np.arange(len(rows)) * 10}
    direct = BatchLoader(OrderedImages(cache, rows), np.array([1, 2, 4, 5]), targets, 2, seed=3, shuffle=True)
    other = BatchLoader(OrderedImages(cache, np.sort(rows)), np.array([1, 2, 4, 5]), targets, 2, seed=3, shuffle=True)
    for one, two in zip(direct, other, strict=True):
        assert torch.equal(one.index, two.index)
        torch.testing.assert_close(one.image[:, 0, 0, 0], torch.from_numpy(rows)[one.index] / 255)
        assert torch.equal(one.targets["class"], one.index * 10)
