"""Who is in the generated cohort: labels are independent of scanner, sex and age by construction."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from medcnn.data.phantom.design import PLANS, cohort


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_sixty_patients_are_a_full_factorial_design(seed: int) -> None:
    people = cohort(60, seed)
    cells = Counter((p.plan, p.lesions, p.female, p.series[0].scanner) for p in people)
    with_lesions = {k: n for k, n in cells.items() if k[1]}
    without = {k: n for k, n in cells.items() if not k[1]}
    assert set(with_lesions.values()) == {2}
    assert set(without.values()) == {1}
    assert len(with_lesions) == len(without) == len(PLANS) * 2 * 2


@pytest.mark.parametrize("seed", [0, 5])
def test_each_body_part_is_seen_equally_often_by_scanner_and_sex(seed: int) -> None:
    people = cohort(60, seed)
    kinds = {(s.kind, s.part) for p in people for s in p.series if s.kind != "localizer"}
    for kind, part in kinds:
        found = [(s.scanner, p.female) for p in people for s in p.series if (s.kind, s.part) == (kind, part)]
        counts = Counter(found)
        assert len(counts) == 4, (kind, part)
        assert len(set(counts.values())) == 1, (kind, part, counts)


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_age_is_balanced_against_every_label_and_scanner(seed: int) -> None:
    people = cohort(60, seed)
    ages = np.array([p.age for p in people], float)
    assert ages.min() >= 13
    assert ages.max() > 89  # ages that a report must pool
    factors = [[p.lesions for p in people], [p.female for p in people], [p.series[0].scanner == "A" for p in people]]
    factors += [[p.plan == k for p in people] for k in range(len(PLANS))]
    for factor in factors:
        assert abs(np.corrcoef(ages, np.array(factor, float))[0, 1]) < 0.1


@pytest.mark.parametrize("count", [3, 6, 12, 30, 60])
def test_a_third_of_the_patients_has_no_lesions(count: int) -> None:
    assert sum(not p.lesions for p in cohort(count, 2)) == count // 3


def test_both_scanners_and_sexes_come_in_small_cohorts() -> None:
    people = cohort(4, 0)
    assert {p.female for p in people} == {True, False}
    assert {s.scanner for p in people for s in p.series} == {"A", "B"}


def test_patients_have_several_studies() -> None:
    assert all(len({s.study for s in p.series}) >= 2 for p in cohort(12, 0))


def test_rates_are_exact() -> None:
    every = [s for p in cohort(60, 4) for s in p.series]
    films = [s for s in every if s.kind == "film"]
    heads = [s for s in every if s.kind == "ct" and s.part == "head"]
    assert sum(s.inverted for s in films) == round(0.25 * len(films))
    assert sum(s.tilt > 0 for s in heads) == round(0.25 * len(heads))
    assert not any(s.tilt for s in every if s.part != "head")
    assert sum(s.kind == "localizer" for s in every) > 0


def test_the_cohort_is_a_function_of_count_and_seed() -> None:
    assert cohort(24, 9) == cohort(24, 9)
    assert cohort(24, 9) != cohort(24, 10)
    assert len({s.name for p in cohort(60, 0) for s in p.series}) == sum(len(p.series) for p in cohort(60, 0))
