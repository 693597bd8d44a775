"""Who is in the generated cohort: labels are independent of scanner, sex and age by construction."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from medcnn.data.phantom.design import PLANS, cohort

PARTS = ("head", "chest", "abdomen", "pelvis")
# Made once: many tests look at the same people.
people_of = lru_cache(cohort)


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_sixty_patients_are_a_full_factorial_design(seed: int) -> None:
    people = people_of(60, seed)
    cells = Counter((p.plan, p.lesions, p.female, p.series[0].scanner) for p in people)
    with_lesions = {k: n for k, n in cells.items() if k[1]}
    without = {k: n for k, n in cells.items() if not k[1]}
    assert set(with_lesions.values()) == {2}
    assert set(without.values()) == {1}
    assert len(with_lesions) == len(without) == len(PLANS) * 2 * 2


@pytest.mark.parametrize("seed", [0, 5])
def test_each_body_part_is_seen_equally_often_by_scanner_and_sex(seed: int) -> None:
    people = people_of(60, seed)
    kinds = {(s.kind, s.part) for p in people for s in p.series if s.kind != "localizer"}
    for kind, part in kinds:
        found = [(s.scanner, p.female) for p in people for s in p.series if (s.kind, s.part) == (kind, part)]
        counts = Counter(found)
        assert len(counts) == 4, (kind, part)
        assert len(set(counts.values())) == 1, (kind, part, counts)


def _strata(seed: int, count: int) -> dict[tuple[str, str], Counter[tuple[str, bool]]]:
    """Series by kind and title of the archive, counted by scanner and sex."""
    found: dict[tuple[str, str], Counter[tuple[str, bool]]] = {}
    for person in people_of(count, seed):
        for series in (s for s in person.series if s.kind != "localizer"):
            found.setdefault((series.kind, series.title), Counter())[series.scanner, person.female] += 1
    return found


@pytest.mark.parametrize("count", [60, 120])
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_what_is_filed_is_as_balanced_as_what_was_examined(seed: int, count: int) -> None:
    strata = _strata(seed, count)
    assert set(strata) == {("ct", p) for p in ("head", "chest", "abdomen", "pelvis")} | {
        ("film", p) for p in ("chest", "hand")
    }
    for counts in strata.values():
        assert len(counts) == 4
        assert len(set(counts.values())) == 1


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_labels_do_not_tell_the_scanner_in_a_cohort_of_any_size(seed: int) -> None:
    from scipy.stats import chi2_contingency

    strata = _strata(seed, 90)
    for column in (0, 1):
        table = [[sum(n for k, n in c.items() if k[column] == v) for v in sorted({k[column] for k in c})]
                 for c in strata.values()]  # fmt: skip
        assert chi2_contingency(table).pvalue > 0.5
    people = people_of(90, seed)
    for trait in (lambda p: p.female, lambda p: p.series[0].scanner):
        counts = Counter((p.lesions, trait(p)) for p in people)
        rows = [[counts[flag, v] for v in sorted({k[1] for k in counts})] for flag in (True, False)]
        assert chi2_contingency(rows).pvalue > 0.5


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_the_age_does_not_tell_under_which_part_a_series_is_filed(seed: int) -> None:
    pairs = [(p.age, s.kind, s.title) for p in people_of(120, seed) for s in p.series if s.kind != "localizer"]
    ages = np.array([a for a, _, _ in pairs], float)
    for kind, title in {(k, t) for _, k, t in pairs}:
        here = np.array([(k, t) == (kind, title) for _, k, t in pairs], float)
        assert abs(np.corrcoef(ages, here)[0, 1]) < 0.1, (kind, title)


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_age_is_balanced_against_every_label_and_scanner(seed: int) -> None:
    people = people_of(60, seed)
    ages = np.array([p.age for p in people], float)
    assert 12 <= ages.min() < 18  # bodies that are not grown
    assert ages.max() > 89  # ages that a report must pool
    factors = [[p.lesions for p in people], [p.female for p in people], [p.series[0].scanner == "A" for p in people]]
    factors += [[p.plan == k for p in people] for k in range(len(PLANS))]
    for factor in factors:
        assert abs(np.corrcoef(ages, np.array(factor, float))[0, 1]) < 0.1


@pytest.mark.parametrize("count", [3, 6, 12, 30, 60])
def test_a_third_of_the_patients_has_no_lesions(count: int) -> None:
    assert sum(not p.lesions for p in people_of(count, 2)) == count // 3


def test_both_scanners_and_sexes_come_in_small_cohorts() -> None:
    people = people_of(4, 0)
    assert {p.female for p in people} == {True, False}
    assert {s.scanner for p in people for s in p.series} == {"A", "B"}


def test_patients_have_several_studies() -> None:
    assert all(len({s.study for s in p.series}) >= 2 for p in people_of(12, 0))


@pytest.mark.parametrize(("seed", "count"), [(4, 60), (0, 120), (1, 120)])
def test_rates_are_exact(seed: int, count: int) -> None:
    every = [s for p in people_of(count, seed) for s in p.series]
    films = [s for s in every if s.kind == "film"]
    scans = [s for s in every if s.kind == "ct"]
    heads = [s for s in scans if s.part == "head"]
    trunk = [s for s in scans if s.part != "head"]
    belly = [s for s in trunk if s.part in ("abdomen", "pelvis")]
    firsts = [s for s in scans if s.number == 1]
    counted = {
        "inverted": (sum(s.inverted for s in films), films, 0.25),
        "supine": (sum(s.supine for s in films), [s for s in films if s.part == "chest"], 0.3),
        "tilt": (sum(s.tilt > 0 for s in heads), heads, 0.25),
        "contrast": (sum(s.contrast > 0 for s in trunk), trunk, 0.6),
        "oral": (sum(s.oral for s in belly), belly, 0.3),
        "arms": (sum(s.arms == "side" for s in trunk), trunk, 0.15),
        "tight": (sum(s.tight for s in trunk), trunk, 0.12),
        "dose": (sum(s.dose < 0.5 for s in films + scans), films + scans, 0.25),
        "localizer": (sum(s.kind == "localizer" for s in every), firsts, 0.3),
        "unnamed": (sum(not s.part_known for s in films + scans), films + scans, 0.08),
    }
    assert {k: n for k, (n, _, _) in counted.items()} == {k: round(r * len(m)) for k, (_, m, r) in counted.items()}
    assert not any(s.tilt for s in every if s not in heads and s.kind != "localizer")
    assert not any(s.inverted for s in scans)
    assert all(8 <= s.tilt <= 20 for s in heads if s.tilt)


def test_some_series_go_far_beyond_their_region() -> None:
    scans = [s for p in people_of(120, 0) for s in p.series if s.kind == "ct"]
    far = {part: [s.beyond for s in scans if s.part == part and any(s.beyond)] for part in PARTS}
    assert {part: len(found) for part, found in far.items()} == {"head": 0, "chest": 4, "abdomen": 6, "pelvis": 4}
    assert all(85 <= down <= 170 and up == 0 for down, up in far["chest"])
    assert all(down == 0 and 85 <= up <= 170 for down, up in far["pelvis"])
    assert sum(down > 0 for down, _ in far["abdomen"]) == 4


@pytest.mark.parametrize("seed", [0, 1])
def test_one_series_in_forty_is_filed_under_another_part(seed: int) -> None:
    every = [s for p in people_of(120, seed) for s in p.series if s.kind != "localizer"]
    wrong = [s for s in every if s.filed]
    assert len(wrong) == 8
    assert all(s.title == s.filed != s.part for s in wrong)
    assert all(s.title == s.part for s in every if s not in wrong)
    # A scan is never filed as a film: the modality is right in any header.
    for kind, parts in (("ct", PARTS), ("film", ("chest", "hand"))):
        assert {s.filed for s in wrong if s.kind == kind} <= set(parts)


def test_the_cohort_is_a_function_of_count_and_seed() -> None:
    assert cohort(24, 9) == cohort(24, 9)
    assert cohort(24, 9) != cohort(24, 10)
    assert len({s.name for p in people_of(60, 0) for s in p.series}) == sum(len(p.series) for p in people_of(60, 0))


def test_cohorts_of_two_seeds_share_no_patient_and_no_series() -> None:
    for what in (lambda p: {p.id}, lambda p: {s.name for s in p.series}):
        names = [set().union(*map(what, people_of(24, seed))) for seed in (0, 1, 10)]
        assert len(set.union(*names)) == sum(map(len, names))
