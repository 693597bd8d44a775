"""Near-duplicates: images that show the same pixels after a turn, a crop, another size, encoding or window.

Candidates come from a perceptual hash (:mod:`medcnn.data.near_hash`), and each is verified by its pixels
(:mod:`medcnn.data.near_verify`). Neighbouring slices of one volume that are as alike as a copy are found too: to a
network they are copies. Groups are stars: every member was verified against the group's centre, so that a volume
of slowly changing slices is no one group. ``docs/audit.md`` says how the thresholds were fixed and what they miss.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medcnn.data.near_hash import candidates, hashes
from medcnn.data.near_verify import Pictures, verify
from medcnn.progress import Progress, Silent

TURNS = (
    "as it lies",
    "flipped along the second axis",
    "flipped along the first axis",
    "turned by 180 degrees",
    "transposed",
    "turned by a quarter",
    "turned by a quarter the other way",
    "transposed along the other diagonal",
)
"""What was done to the second image of a pair to lie like the first."""


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two cases that were verified.

    Attributes:
        first: Id of the earlier case.
        second: Id of the later one.
        score: How alike their least alike windows are, from the threshold to 1.
        turn: Position in :data:`TURNS`.
    """

    first: str
    second: str
    score: float
    turn: int


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """What a search found.

    Attributes:
        pairs: Verified pairs, one case for each set of identical images, in the order of the cases.
        groups: Case id -> id of the group's centre, for groups of two and more; copies of a member with identical
            pixels are members too.
        components: Sizes, in cases, of what chains of pairs would join, the largest first.
        compared: Different images that were compared.
        plain: Cases that show too little to be compared.
    """

    pairs: tuple[NearPair, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    components: tuple[int, ...] = ()
    compared: int = 0
    plain: tuple[str, ...] = ()

    @property
    def divided(self) -> int:
        """Pairs whose cases are in two groups: a chain was not followed."""
        return sum(self.groups.get(p.first) != self.groups.get(p.second) for p in self.pairs)


@dataclass(frozen=True, slots=True)
class Matches:
    """Verified pairs by position among different images.

    Attributes:
        first: ``(P,)`` positions, each smaller than ``second``, in rising order.
        second: ``(P,)``.
        turn: ``(P,)`` positions in :data:`TURNS`.
        score: ``(P,)``.
        plain: ``(N,)`` whether an image shows too little to be compared.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    turn: NDArray[np.int8]
    score: NDArray[np.float32]
    plain: NDArray[np.bool_]


def find_near_duplicates(
    cases: Sequence[str],
    digests: Sequence[str],
    pixels: NDArray[np.uint8],
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> NearDuplicates:
    """Search for near-duplicates.

    Time grows with the square of the number of images (53,000 take about two minutes of one core), memory with the
    number (about 3 kB an image beside its thumbnail).

    Args:
        cases: Ids.
        digests: Of each case's original pixels; of identical ones the first stands for all.
        pixels: ``(N, 64, 64)`` thumbnails, in the order of the cases.
        threads: How many blocks are compared at the same time; the result does not depend on it.
        progress: Advanced by one an image.
    """
    rows = distinct(digests)
    found = match(pixels[rows] if len(rows) < len(cases) else pixels, threads=threads, progress=progress)
    return describe(cases, digests, found)


def distinct(digests: Sequence[str]) -> list[int]:
    """Position of the first of each set of equal digests."""
    first: dict[str, int] = {}
    for row, digest in enumerate(digests):
        first.setdefault(digest, row)
    return list(first.values())


def match(pixels: NDArray[np.uint8], *, threads: int = 1, progress: Progress | None = None) -> Matches:
    """Verified pairs of different images.

    Args:
        pixels: ``(N, 64, 64)`` thumbnails; may be a memory map.
        threads: How many blocks are compared at the same time.
        progress: Advanced by one an image.
    """
    from threadpoolctl import threadpool_limits

    progress = progress or Silent()
    progress.start("comparing images", len(pixels), "images")
    pictures, blocks, done = Pictures(pixels), [], 0
    # The threads are ours: those of the BLAS beside them wait for each other and cost twenty times the work.
    with threadpool_limits(1, user_api="blas"):
        for block, scores in verify(pictures, candidates(hashes(pixels), threads=threads), threads=threads):
            if len(block.first):
                blocks.append((block.first, block.second, block.turn, scores))
                # Each image is compared with those behind it alone: the first ones take longest.
                left = 1 - int(block.first[-1]) / len(pixels)
                progress.advance(int(len(pixels) * (1 - left**2)) - done)
                done = int(len(pixels) * (1 - left**2))
    progress.advance(len(pixels) - done)
    progress.finish()
    kinds = (np.int64, np.int64, np.int8, np.float32)
    columns = [np.concatenate([np.empty(0, kind), *(b[i] for b in blocks)]) for i, kind in enumerate(kinds)]
    return Matches(columns[0], columns[1], columns[2], columns[3], pictures.plain)


def describe(cases: Sequence[str], digests: Sequence[str], found: Matches) -> NearDuplicates:
    """Pairs, groups and chains of cases.

    Args:
        cases: Ids.
        digests: Of each case's pixels, in the order of the cases.
        found: What was matched among the :func:`distinct` ones.
    """
    same: dict[str, list[str]] = defaultdict(list)
    for case, digest in zip(cases, digests, strict=True):
        same[digest].append(case)
    copies = {members[0]: members for members in same.values()}
    names = list(copies)
    pairs = tuple(
        NearPair(names[i], names[j], round(float(score), 4), int(turn))
        for i, j, turn, score in zip(found.first, found.second, found.turn, found.score, strict=True)
    )
    centres = star_groups(names, [(p.first, p.second) for p in pairs])
    groups = {case: centre for name, centre in centres.items() for case in copies[name]}
    plain = tuple(case for name, flat in zip(names, found.plain, strict=True) if flat for case in copies[name])
    return NearDuplicates(pairs, groups, _components(pairs, copies), len(names) - int(found.plain.sum()), plain)


def star_groups(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Groups in which every member is paired with the centre: the name with most partners takes them first.

    Args:
        names: In the order in which the first of several with as many partners becomes the centre.
        pairs: Two names each.

    Returns:
        Name -> centre, for names in groups of two and more.
    """
    partners: dict[str, list[str]] = defaultdict(list)
    for first, second in pairs:
        partners[first].append(second)
        partners[second].append(first)
    place = {name: i for i, name in enumerate(names)}
    found: dict[str, str] = {}
    for centre in sorted(partners, key=lambda name: (-len(partners[name]), place[name])):
        if centre in found:
            continue
        members = [name for name in partners[centre] if name not in found]
        if members:
            found.update(dict.fromkeys([centre, *members], centre))
    return {name: found[name] for name in names if name in found}


def _components(pairs: Sequence[NearPair], same: Mapping[str, Sequence[str]]) -> tuple[int, ...]:
    """Sizes of the connected components of the pairs, in cases."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for pair in pairs:
        parent[find(pair.first)] = find(pair.second)
    sizes: Counter[str] = Counter()
    for name in list(parent):
        sizes[find(name)] += len(same[name])
    return tuple(sorted(sizes.values(), reverse=True))
