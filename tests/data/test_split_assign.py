"""The division of groups: balance measured apart from the code that makes it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.data.split_assign import Lot, divide

SHARES = (0.6, 0.25, 0.15)
CLASSES = 3


def table(lots: Sequence[Lot], where: Sequence[int], parts: int) -> list[list[float]]:
    """Cases by part and column (classes, then the total)."""
    counts = [[0.0] * (CLASSES + 1) for _ in range(parts)]
    for lot, part in zip(lots, where, strict=True):
        for position, count in (*lot.classes, (CLASSES, lot.size)):
            counts[part][position] += count
    return counts


def chi_square(lots: Sequence[Lot], where: Sequence[int], shares: Sequence[float]) -> float:
    counts = table(lots, where, len(shares))
    total = [sum(row[c] for row in counts) for c in range(CLASSES + 1)]
    goals = [[share * t for t in total] for share in shares]
    return sum(
        (n - g) ** 2 / g for row, goal in zip(counts, goals, strict=True) for n, g in zip(row, goal, strict=True) if g
    )


def lacking(lots: Sequence[Lot], where: Sequence[int], parts: int) -> int:
    """Classes of enough groups (and the total) that a part lacks."""
    groups = [sum(any(c == k for c, _ in lot.classes) for lot in lots) for k in range(CLASSES)]
    counts = table(lots, where, parts)
    wanted = [k for k in range(CLASSES) if groups[k] >= max(3, parts)] + [CLASSES]
    return sum(row[k] == 0 for row in counts for k in wanted)


def lot(i: int, counts: Sequence[int]) -> Lot:
    return Lot(f"g{i:03d}", sum(counts), tuple((k, n) for k, n in enumerate(counts) if n))


some_lots = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 2)).filter(any), min_size=3, max_size=40
).map(lambda rows: [lot(i, row) for i, row in enumerate(rows)])


@settings(max_examples=80, deadline=None)
@given(some_lots, st.sampled_from([SHARES, (0.9, 0.1), (0.25,) * 3 + (0.25,)]), st.integers(0, 3))
def test_no_single_move_would_balance_better(lots: list[Lot], shares: tuple[float, ...], seed: int) -> None:
    if len(lots) < len(shares):
        return
    where = divide(lots, shares, CLASSES, str(seed))
    reached, gaps = chi_square(lots, where, shares), lacking(lots, where, len(shares))
    for i in range(len(lots)):
        for part in range(len(shares)):
            moved = [*where[:i], part, *where[i + 1 :]]
            assert chi_square(lots, moved, shares) > reached - 1e-6 or lacking(lots, moved, len(shares)) > gaps


def test_a_large_group_is_made_up_for_by_the_single_cases() -> None:
    lots = [Lot("large", 30, ((0, 30),)), *(Lot(f"s{i}", 1, ((0, 1),)) for i in range(70))]
    where = divide(lots, (0.5, 0.25, 0.25), 1, "seed")
    assert [row[0] for row in table(lots, where, 3)] == [50, 25, 25]


def test_a_group_above_its_share_leaves_that_part_alone_with_it() -> None:
    lots = [Lot("large", 90, ((0, 90),)), *(Lot(f"s{i}", 1, ((0, 1),)) for i in range(10))]
    where = divide(lots, (0.8, 0.1, 0.1), 1, "seed")
    assert sorted(row[0] for row in table(lots, where, 3)) == [5, 5, 90]


def test_the_seed_decides_between_equals_and_nothing_else() -> None:
    lots = [Lot(f"g{i}", 2, ((i % 2, 2),)) for i in range(30)]
    found = {tuple(divide(lots, SHARES, 2, str(seed))) for seed in range(6)}
    assert len(found) == 6
    sizes = {tuple(where.count(p) for p in range(3)) for where in found}
    assert all(size == pytest.approx((18, 7.5, 4.5), abs=1) for size in sizes)


def test_the_division_stays_the_same_between_versions() -> None:
    lots = [Lot(f"g{i}", 1 + i % 3, ((i % 2, 1 + i % 3),)) for i in range(12)]
    assert divide(lots, SHARES, 2, "7") == [1, 0, 0, 2, 2, 0, 0, 1, 0, 1, 1, 0]


def test_every_position_has_the_same_chance_of_the_test_part() -> None:
    lots = [Lot(f"g{i}", 1, ((0, 1),)) for i in range(10)]
    hits = [0] * 10
    for seed in range(400):
        for i, part in enumerate(divide(lots, (0.5, 0.3, 0.2), 1, str(seed))):
            hits[i] += part == 2
    # Binomial(400, 0.2): mean 80, standard deviation 8.
    assert all(45 < h < 115 for h in hits)
