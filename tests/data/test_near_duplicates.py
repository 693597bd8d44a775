"""Near-duplicates: planted copies of every kind are found, other images of the same look are not."""

from __future__ import annotations

import csv
import io
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

from medcnn.data.near_align import align, sampled
from medcnn.data.near_duplicates import NearDuplicates, distinct, find_near_duplicates, star_groups
from medcnn.data.near_hash import LIKENESS, candidates, halved, hashes, in_order, turned
from medcnn.data.near_verify import THRESHOLD, Pictures, similarity
from medcnn.data.thumbnails import thumbnail
from medcnn.types import Image

Picture = NDArray[np.uint8]


def body(seed: int, side: int = 128) -> Picture:
    """A bright ellipse with a texture of its own on a dark ground, as slices of bodies are."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*[np.linspace(-1, 1, side)] * 2, indexing="ij")
    a, b = rng.uniform(0.6, 0.85, 2)
    inside = (x / a) ** 2 + (y / b) ** 2 < 1
    texture = sum(
        w * gaussian_filter(rng.standard_normal((side, side)), s * side / 64) * s for w, s in ((1.0, 2), (1.5, 5))
    )
    texture = 120 + 55 * texture / texture.std()
    found = np.where(inside, texture, 12)
    rim = np.abs((x / a) ** 2 + (y / b) ** 2 - 1) < 0.08
    return np.clip(np.where(rim, 235, found), 0, 255).astype(np.uint8)


def jpeg(picture: Picture, quality: int = 60) -> Picture:
    file = io.BytesIO()
    Pillow.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file))


def resized(picture: Picture, size: tuple[int, int]) -> Picture:
    return np.asarray(Pillow.fromarray(picture).resize(size, Pillow.Resampling.BICUBIC))


def small(picture: NDArray[np.generic]) -> Picture:
    return thumbnail(Image(np.asarray(picture)[np.newaxis]))


COPIES: dict[str, Callable[[Picture], NDArray[np.generic]]] = {
    "mirrored": lambda p: p[::-1],
    "upside down": lambda p: p[:, ::-1],
    "half a turn": lambda p: np.rot90(p, 2),
    "a quarter turn": lambda p: np.rot90(p),
    "a quarter turn back": lambda p: np.rot90(p, 3),
    "transposed": lambda p: p.T,
    "transposed the other way": lambda p: np.rot90(p, 2).T,
    "smaller": lambda p: resized(p, (80, 80)),
    "half the size": lambda p: resized(p, (64, 64)),
    "larger": lambda p: resized(p, (300, 300)),
    "squeezed": lambda p: resized(p, (128, 90)),
    "JPEG 60": jpeg,
    "JPEG 30": lambda p: jpeg(p, 30),
    "gamma 0.6": lambda p: (255 * (p / 255.0) ** 0.6).astype(np.uint8),
    "gamma 1.7": lambda p: (255 * (p / 255.0) ** 1.7).astype(np.uint8),
    "a narrower window": lambda p: np.clip((p.astype(float) - 30) * 1.3, 0, 255).astype(np.uint8),
    "less contrast": lambda p: (100 + p * 0.2).astype(np.uint8),
    "16 bit": lambda p: p.astype(np.uint16) * 11 + 1000,
    "cropped by 3 %": lambda p: p[4:-4, 4:-4],
    "cropped on one side": lambda p: p[6:, :],
    "turned, smaller and JPEG": lambda p: jpeg(resized(np.ascontiguousarray(np.rot90(p)), (96, 96))),
    "mirrored, darker and cropped": lambda p: (p[::-1] * 0.7).astype(np.uint8)[3:-3, 3:-3],
}


def search(pictures: list[NDArray[np.generic]], digests: list[str] | None = None) -> NearDuplicates:
    names = [f"c{i:03d}" for i in range(len(pictures))]
    return find_near_duplicates(names, digests or names, np.stack([small(p) for p in pictures]))


@pytest.fixture(scope="module")
def cohort() -> list[NDArray[np.generic]]:
    return [body(seed) for seed in range(60)]


@pytest.mark.parametrize("kind", COPIES)
def test_a_planted_copy_is_found(cohort: list[NDArray[np.generic]], kind: str) -> None:
    found = search([*cohort, *(COPIES[kind](np.asarray(cohort[i], np.uint8)) for i in range(5))])
    assert {(p.first, p.second) for p in found.pairs} == {(f"c{i:03d}", f"c{i + 60:03d}") for i in range(5)}
    assert all(THRESHOLD <= p.score <= 1.0001 for p in found.pairs)
    assert found.groups == {f"c{i + k:03d}": f"c{i:03d}" for i in range(5) for k in (0, 60)}


def test_other_images_of_the_same_look_are_not(cohort: list[NDArray[np.generic]]) -> None:
    found = search([*cohort, *(body(seed) for seed in range(100, 160))])
    assert (found.pairs, found.groups, found.divided, found.components) == ((), {}, 0, ())
    assert found.compared == 120


def test_one_other_region_tells_two_images_apart(cohort: list[NDArray[np.generic]]) -> None:
    other = np.array(cohort[0])
    other[40:80, 40:80] = cohort[1][40:80, 40:80]
    assert search([*cohort, other]).pairs == ()


def test_images_that_show_nothing_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 4, (64, 64)).astype(np.uint8) + np.uint8(100 * (i % 2)) for i in range(4)]
    table = np.zeros((64, 64), np.uint8)
    table[50:52] = 200
    shifted = np.roll(table, 1, 0)
    found = search([np.zeros((64, 64), np.uint8), table, shifted, *(n * np.uint8(0) for n in noise), body(1)])
    assert found.pairs == ()
    assert found.plain == tuple(f"c{i:03d}" for i in range(7))
    assert found.compared == 1


def test_identical_images_stand_for_each_other(cohort: list[NDArray[np.generic]]) -> None:
    pictures = [cohort[0], cohort[0], cohort[1], np.ascontiguousarray(np.asarray(cohort[0])[::-1])]
    found = search(pictures, ["same", "same", "other", "mirrored"])
    assert [(p.first, p.second) for p in found.pairs] == [("c000", "c003")]
    assert found.groups == {"c000": "c000", "c001": "c000", "c003": "c000"}
    assert found.components == (3,)
    assert found.compared == 3


def test_slices_that_change_slowly_are_no_giant_group() -> None:
    """Each slice is like the next one, and the first unlike the last: a chain that a component would follow."""
    ends = [body(seed).astype(float) for seed in range(7)]
    slices = [
        np.clip((1 - t) * a + t * b, 0, 255).astype(np.uint8)
        for a, b in itertools.pairwise(ends)
        for t in np.arange(0, 1, 0.1)
    ]
    found = search(slices)
    sizes = [list(found.groups.values()).count(c) for c in set(found.groups.values())]
    assert found.components[0] > 20
    assert max(sizes) < 20
    assert found.divided > 0
    verified = {frozenset((p.first, p.second)) for p in found.pairs}
    assert all(frozenset((case, centre)) in verified for case, centre in found.groups.items() if case != centre)


def test_star_groups_take_the_best_connected_first() -> None:
    pairs = [("a", "b"), ("b", "c"), ("b", "d"), ("d", "e"), ("e", "f")]
    assert star_groups("abcdefg", pairs) == {"a": "b", "b": "b", "c": "b", "d": "b", "e": "e", "f": "e"}
    assert star_groups("ab", []) == {}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7), st.floats(0.6, 1.7), st.integers(50, 95))
def test_a_copy_by_turn_gamma_and_encoding_is_found_whatever_the_image(
    seed: int, turn: int, gamma: float, quality: int
) -> None:
    picture = body(seed)
    copy = jpeg((255 * (np.ascontiguousarray(turned(picture, turn)) / 255.0) ** gamma).astype(np.uint8), quality)
    (pair,) = search([picture, copy]).pairs
    assert np.array_equal(turned(turned(picture, turn), pair.turn), picture)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_hashes_follow_the_turns(seed: int, turn: int) -> None:
    """The four products of the search are the likeness under each turn."""
    pictures = np.stack([small(body(seed)), small(turned(body(seed), turn))])
    direct = hashes(np.stack([pictures[0], turned(pictures[1], _back(turn))]))
    assert direct[0] @ direct[1] > 0.99
    (block,) = candidates(hashes(pictures))
    assert (block.first[0], block.second[0], block.turn[0]) == (0, 1, _back(turn))


def _back(turn: int) -> int:
    """The turn that undoes another."""
    probe = np.arange(16).reshape(4, 4)
    return next(t for t in range(8) if np.array_equal(turned(turned(probe, turn), t), probe))


def test_the_search_equals_comparing_every_pair() -> None:
    """Against the plain way: all 8 turns of all pairs, one by one."""
    pictures = np.stack([small(body(s)) for s in range(12)] + [small(body(s)[::-1, ::-1]) for s in range(3)])
    hashed = hashes(pictures)
    expected = {}
    for i in range(len(pictures)):
        for j in range(i + 1, len(pictures)):
            all_turns = [float(hashed[i] @ hashes(turned(pictures[j : j + 1], t))[0]) for t in range(8)]
            if max(all_turns) > LIKENESS:
                expected[i, j] = int(np.argmax(all_turns))
    found = {
        (int(i), int(j)): int(t)
        for block in candidates(hashed, threads=3)
        for i, j, t in zip(block.first, block.second, block.turn, strict=True)
    }
    assert found == expected
    assert len(found) >= 3


@pytest.mark.parametrize("threads", [1, 3])
def test_a_stream_is_worked_off_in_order_and_never_far_ahead(threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(40):
            taken.append(i)
            yield i

    def slow_first(i: int) -> int:
        time.sleep(0.002 * (i % 5 == 0))
        return i * i

    found = []
    for value in in_order(slow_first, items(), threads):
        found.append(value)
        assert len(taken) <= len(found) + 2 * threads + 1
    assert found == [i * i for i in range(40)]


def test_of_identical_images_the_first_is_compared() -> None:
    assert distinct(["a", "b", "a", "c", "b"]) == [0, 1, 3]


def test_the_alignment_finds_a_known_crop() -> None:
    large = np.stack([small(body(s)) for s in range(8)])
    moves = np.tile(np.array([[0.6, -0.5, -0.06, -0.04]], np.float32), (8, 1))
    crops = sampled(large, moves).astype(np.uint8)
    a, b = Pictures(large).smooth, Pictures(crops).smooth
    rows, swap, found = align(a, b)
    assert list(rows) == list(range(8))
    assert not swap.any()
    assert np.abs(found - moves).max() < 0.1
    rows, swap, found = align(b, a)
    assert swap.all()
    assert np.abs(found - moves).max() < 0.1


def test_similarity_knows_order_of_grey_values_and_not_their_scale() -> None:
    a = halved(np.stack([small(body(1))]))
    b = halved(np.stack([small(body(2))]))
    assert similarity(a, a)[0] == pytest.approx(1)
    assert similarity(a, np.sqrt(a) * 15)[0] > 0.99
    assert similarity(a, b)[0] < 0.4
    assert similarity(a, 255 - a)[0] < 0.4
    clipped = np.minimum(a, np.percentile(a, 80))
    assert similarity(a, clipped)[0] == pytest.approx(similarity(clipped, a)[0])


@pytest.mark.realdata
def test_near_duplicates_of_the_brain_tumours_are_neighbouring_slices(realdata: Any) -> None:
    root = realdata("brain_tumor_mri")
    with (root / "cases.csv").open(encoding="utf-8", newline="") as file:
        blocks = {row["image"]: row["block"] for row in csv.DictReader(file)}
    names = list(blocks)
    pixels = np.stack([small(np.asarray(Pillow.open(root / name).convert("L")).T) for name in names])
    found = find_near_duplicates(names, names, pixels, threads=2)
    assert 10 < len(found.pairs) < 60
    # One patient's slices lie in two blocks: the blocks are cut by file number, since patients are not known.
    apart = [(p.first, p.second) for p in found.pairs if blocks[p.first] != blocks[p.second]]
    assert apart == [("images/1989.jpg", "images/2352.jpg")]
    assert found.components[0] <= 10
