"""Dividing groups between parts: balanced in size and classes, the same for the same seed in any order of cases."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

_EPSILON = 1e-9
_SWEEPS = 10


@dataclass(frozen=True, slots=True)
class Lot:
    """A group as the division sees it.

    Attributes:
        name: Unique; with the seed it decides the order, so that neither the order of cases nor a random
            generator's version does.
        size: Number of cases.
        classes: (position of the class, number of cases) for the classes it holds.
    """

    name: str
    size: int
    classes: tuple[tuple[int, int], ...] = ()


def divide(lots: Sequence[Lot], shares: Sequence[float], classes: int, seed: str) -> list[int]:
    """A part for each group, so that sizes and classes come as near to the shares as whole groups allow.

    Greedy: large groups first (by powers of two, in an order drawn from the seed within), each to the part
    where it raises chi-square = sum (count - target)^2 / target over all classes and the total least; groups of
    one case follow class by class, in the numbers that bring the parts to one level. Then
    groups move so that no part is empty and every class of at least ``max(3, parts)`` groups is in every part,
    and further as long as chi-square falls.

    Args:
        lots: The groups; at least as many as there are parts.
        shares: Positive, summing to 1.
        classes: Number of classes; 0 balances sizes alone.
        seed: Any text.

    Returns:
        The position of the part for each group.
    """
    drawn = [draw(seed, lot.name) for lot in lots]
    order = sorted(range(len(lots)), key=lambda i: (-lots[i].size.bit_length(), drawn[i]))
    state = _State(lots, shares, classes)
    several = [i for i in order if lots[i].size > 1]
    for i in several:
        state.place(i, state.cheapest(i, int.from_bytes(drawn[i]) % len(shares)))
    state.spread(order[len(several) :])
    state.fill_gaps(order)
    state.refine(order[::-1])
    return state.part


def draw(seed: str, name: str) -> bytes:
    """Eight bytes that look random, the same for the same seed and name."""
    return hashlib.blake2b(f"{seed}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


class _State:
    """Counts by part and column (the classes, then the total), and the part of each group."""

    def __init__(self, lots: Sequence[Lot], shares: Sequence[float], classes: int) -> None:
        self.items = [(*(lot.classes if classes else ()), (classes, lot.size)) for lot in lots]
        columns, parts = classes + 1, len(shares)
        total, self.groups = [0] * columns, [0] * columns
        for items in self.items:
            for column, count in items:
                total[column] += count
                self.groups[column] += 1
        self.parts = parts
        self.goal = [[share * t for t in total] for share in shares]
        self.count = [[0] * columns for _ in range(parts)]
        self.holders = [[0] * columns for _ in range(parts)]
        self.part = [-1] * len(lots)
        self.required = [n >= max(3, parts) for n in self.groups[:-1]] + [self.groups[-1] >= parts]

    def rise(self, i: int, part: int) -> float:
        """By how much chi-square rises if group ``i`` is added to a part."""
        count, goal = self.count[part], self.goal[part]
        return sum(n * (2 * (count[c] - goal[c]) + n) / goal[c] for c, n in self.items[i])

    def fall(self, i: int) -> float:
        """By how much chi-square falls if group ``i`` is taken from its part."""
        count, goal = self.count[self.part[i]], self.goal[self.part[i]]
        return sum(n * (2 * (count[c] - goal[c]) - n) / goal[c] for c, n in self.items[i])

    def cheapest(self, i: int, start: int) -> int:
        """The part where group ``i`` costs least; among equals the first from ``start`` on."""
        best, least = start, self.rise(i, start)
        for step in range(1, self.parts):
            part = (start + step) % self.parts
            cost = self.rise(i, part)
            if cost < least - _EPSILON:
                best, least = part, cost
        return best

    def place(self, i: int, part: int) -> None:
        """Put group ``i`` into a part, out of the one where it was."""
        old = self.part[i]
        for c, n in self.items[i]:
            if old >= 0:
                self.count[old][c] -= n
                self.holders[old][c] -= 1
            self.count[part][c] += n
            self.holders[part][c] += 1
        self.part[i] = part

    def spread(self, singles: Sequence[int]) -> None:
        """Put groups of one case into the parts, class by class: the same as one by one, and faster."""
        by_class: dict[int, list[int]] = defaultdict(list)
        for i in singles:
            by_class[self.items[i][0][0]].append(i)
        for column, members in sorted(by_class.items()):
            exact = self._level(column, len(members))
            whole = [int(x) for x in exact]
            for part in sorted(range(self.parts), key=lambda p: whole[p] - exact[p])[: len(members) - sum(whole)]:
                whole[part] += 1
            start = 0
            for part, count in enumerate(whole):
                for i in members[start : start + count]:
                    self.place(i, part)
                start += count

    def _level(self, column: int, count: int) -> list[float]:
        """How ``count`` cases of a class fill the parts so that none is further from its goal than the others."""
        active = list(range(self.parts))
        have, goal = [row[column] for row in self.count], [row[column] for row in self.goal]
        while True:
            level = (count + sum(have[p] for p in active)) / sum(goal[p] for p in active)
            above = [p for p in active if have[p] > level * goal[p] + _EPSILON]
            if not above:
                return [max(0.0, level * goal[p] - have[p]) if p in active else 0.0 for p in range(self.parts)]
            active = [p for p in active if p not in above]

    def spare(self, i: int) -> bool:
        """Whether group ``i`` may leave its part without taking the last of a required class with it."""
        held = self.holders[self.part[i]]
        return all(held[c] > 1 for c, _ in self.items[i] if self.required[c])

    def fill_gaps(self, order: Sequence[int]) -> None:
        """Bring every required class into every part, by the moves that cost least."""
        columns = sorted((c for c, needed in enumerate(self.required) if needed), key=lambda c: (self.groups[c], c))
        for column in columns:
            for part in range(self.parts):
                if self.holders[part][column]:
                    continue
                movable = [i for i in order if any(c == column for c, _ in self.items[i]) and self.spare(i)]
                if movable:
                    self.place(min(movable, key=lambda i: self.rise(i, part) - self.fall(i)), part)

    def refine(self, order: Sequence[int]) -> None:
        """Move single groups, small ones first, as long as chi-square falls."""
        for _ in range(_SWEEPS if self.parts > 1 else 0):
            moved = False
            # Groups of the same composition in the same part have the same moves: one of them is enough to look at.
            settled: set[tuple[int, tuple[tuple[int, int], ...]]] = set()
            for i in order:
                key = (self.part[i], self.items[i])
                if key in settled:
                    continue
                part = min((p for p in range(self.parts) if p != self.part[i]), key=lambda p: self.rise(i, p))
                if self.rise(i, part) < self.fall(i) - _EPSILON and self.spare(i):
                    self.place(i, part)
                    settled.clear()
                    moved = True
                else:
                    settled.add(key)
            if not moved:
                return
