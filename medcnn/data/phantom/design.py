"""Who is in the cohort and what is done to them: every label balanced against scanner, sex and age.

Blocks of twelve patients hold each pairing of sex and scanner three times, once without lesions. The plan of
examinations goes round in fives, so that 60 patients are one full factorial design of plan, lesions (one third
without), sex and scanner. The second study of a patient is done on the other scanner, in every plan.

As in a hospital's archive, some series are filed under an examination that they do not show. They change places
within a scanner and a sex, so that what is filed is as balanced as what was examined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medcnn.data.phantom.body import generator

BODY_PARTS = ("head", "chest", "abdomen", "pelvis", "hand")
SIZES = ("small", "medium", "large")

# Studies of each plan; every plan has a CT, and every part of the body comes equally often in CT.
PLANS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("ct head",), ("film chest",)),
    (("ct chest",), ("film chest", "film hand")),
    (("ct abdomen", "ct pelvis"), ("film chest",)),
    (("ct chest", "ct abdomen"), ("film hand",)),
    (("ct head",), ("ct pelvis", "film hand")),
)
BLOCK = 12
YOUNGEST, OLDEST = 12, 94

# Share of series that go far beyond their region, and how far at most (mm): below their lower end, above their upper.
BEYOND: tuple[tuple[str, float, float, float], ...] = (
    ("chest", 0.08, 170.0, 0.0),
    ("abdomen", 0.08, 220.0, 0.0),
    ("abdomen", 0.04, 0.0, 180.0),
    ("pelvis", 0.08, 0.0, 170.0),
)
MISFILED = 0.025


@dataclass(frozen=True, slots=True)
class Series:
    """One series to be made.

    Attributes:
        name: Unique among the cohorts, such as ``P007-CT2``.
        kind: ``ct``, ``film`` or ``localizer``.
        part: The part of the body.
        study: Number of the study within the patient, from 1.
        number: Number of the series within the study, from 1.
        scanner: ``A`` or ``B``.
        tilt: Gantry tilt in degrees.
        contrast: Strength of the contrast medium, 0 for none.
        oral: Contrast medium in the bowel.
        arms: ``up``, ``side`` or ``none``.
        dose: Relative dose; noise grows with its inverse root.
        tight: The field of view cuts the body.
        inverted: MONOCHROME1.
        supine: A chest film taken lying, anteroposterior.
        part_known: BodyPartExamined is filled in.
        filed: The part of the body under which the series is filed; empty where it is filed rightly.
        beyond: How far the series goes below and above its region, in mm.
    """

    name: str
    kind: str
    part: str
    study: int
    number: int
    scanner: str
    tilt: float = 0.0
    contrast: float = 0.0
    oral: bool = False
    arms: str = "up"
    dose: float = 1.0
    tight: bool = False
    inverted: bool = False
    supine: bool = False
    part_known: bool = True
    filed: str = ""
    beyond: tuple[float, float] = (0.0, 0.0)

    @property
    def title(self) -> str:
        """The part of the body that the archive names."""
        return self.filed or self.part


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient with the planned series."""

    id: str
    female: bool
    age: int
    lesions: bool
    plan: int
    series: tuple[Series, ...] = ()


def cohort(count: int, seed: int) -> tuple[Patient, ...]:
    """All patients of a cohort; a function of the two arguments."""
    people: list[Patient] = []
    scanners: list[int] = []
    for block in range(-(-count // BLOCK)):
        for cell, (free, female, scanner) in enumerate(_block(seed, block)):
            name = patient_id(seed, block * BLOCK + cell + 1)
            people.append(Patient(name, female, 0, not free, _plan(block, cell)))
            scanners.append(scanner)
    ages = _ages(people, scanners, seed)
    people = [replace(p, age=a, series=_series(p, s)) for p, s, a in zip(people, scanners, ages, strict=True)][:count]
    return _vary(people, seed)


def patient_id(seed: int, number: int) -> str:
    """``P007``, of another seed than 0 ``C3P007``: cohorts of two seeds are two sets of patients."""
    return f"C{seed}P{number:03d}" if seed else f"P{number:03d}"


def _plan(block: int, cell: int) -> int:
    # Cells are numbered by what they hold, not by their order, so five blocks give each cell every plan once.
    return (block + cell) % len(PLANS)


def _block(seed: int, block: int) -> list[tuple[bool, bool, int]]:
    """Twelve cells (without lesions, female, scanner), any three of a row with one that is without lesions.

    The order is the same in each block, so that a cell meets every plan; the seed chooses it once.
    """
    del block
    rng = generator(seed, "block")
    pairs = [(bool(sex), int(scanner)) for sex in (0, 1) for scanner in (0, 1)]
    order = rng.permutation(4)
    cells: list[tuple[bool, bool, int]] = []
    for triple in range(4):
        three = [(k == 0, *pairs[order[(triple + k) % 4]]) for k in range(3)]
        cells += [three[k] for k in rng.permutation(3)]
    return cells


def _ages(people: Sequence[Patient], scanners: Sequence[int], seed: int) -> list[int]:
    """Ages that spread evenly in each block, in the best balanced of many random orders (rerandomisation)."""
    factors = [np.array([p.female for p in people]), np.array([not p.lesions for p in people]), np.array(scanners)]
    factors += [np.array([p.plan == k for p in people]) for k in range(len(PLANS))]
    columns = np.stack([f - f.mean() for f in factors]).astype(float)
    rng = generator(seed, "ages")
    blocks = len(people) // BLOCK
    slots = np.linspace(YOUNGEST, OLDEST, BLOCK + 1)
    best, least = np.zeros(0), np.inf
    for _ in range(400):
        ages = np.concatenate([rng.permutation(rng.uniform(slots[:-1], slots[1:])) for _ in range(blocks)])
        cost = float(np.square(columns @ (ages - ages.mean())).sum())
        if cost < least:
            best, least = ages, cost
    return [int(a) for a in best]


def _series(patient: Patient, first: int) -> tuple[Series, ...]:
    found: list[Series] = []
    counts: dict[str, int] = {}
    for study, examinations in enumerate(PLANS[patient.plan], start=1):
        scanner = "AB"[(first + study - 1) % 2]
        for number, examination in enumerate(examinations, start=1):
            kind, part = examination.split()
            letters = "CT" if kind == "ct" else "XR"
            counts[letters] = counts.get(letters, 0) + 1
            found.append(Series(f"{patient.id}-{letters}{counts[letters]}", kind, part, study, number, scanner))
    return tuple(found)


def _chosen(seed: int, what: str, among: Sequence[str], rate: float, least: int = 1) -> frozenset[str]:
    """A random share of names, its size exact (at least ``least``), the same whatever else is drawn."""
    order = generator(seed, "rate", what).permutation(len(among))
    return frozenset(among[k] for k in order[: max(least, round(rate * len(among)))])


def _vary(people: Sequence[Patient], seed: int) -> tuple[Patient, ...]:
    """Tilt, contrast, arms, dose, fields, inverted films, localizers and what goes wrong, at fixed rates."""
    every = [s for p in people for s in p.series]
    trunk = [s.name for s in every if s.kind == "ct" and s.part != "head"]
    films = [s.name for s in every if s.kind == "film"]
    chests = [s.name for s in every if s.kind == "film" and s.part == "chest"]
    tilted = _chosen(seed, "tilt", [s.name for s in every if s.kind == "ct" and s.part == "head"], 0.25)
    contrast = _chosen(seed, "contrast", trunk, 0.6)
    oral = _chosen(seed, "oral", [s.name for s in every if s.kind == "ct" and s.part in ("abdomen", "pelvis")], 0.3)
    beside = _chosen(seed, "arms", trunk, 0.15)
    low = _chosen(seed, "dose", [s.name for s in every], 0.25)
    tight = _chosen(seed, "tight", trunk, 0.12)
    inverted = _chosen(seed, "inverted", films, 0.25)
    supine = _chosen(seed, "supine", chests, 0.3)
    unnamed = _chosen(seed, "unnamed", [s.name for s in every], 0.08)
    scouts = _chosen(seed, "scout", [s.name for s in every if s.kind == "ct" and s.number == 1], 0.3)
    filed, beyond = _misfiled(people, seed), _beyond(every, seed)

    def varied(series: Series) -> Series:
        rng = generator(seed, series.name, "protocol")
        name = series.name
        tilt = float(np.round(rng.uniform(8, 20), 1)) if name in tilted else 0.0
        strength = float(rng.uniform(0.45, 1.0)) if name in contrast else 0.0
        arms = "none" if series.part == "head" else "side" if name in beside else "up"
        dose = float(rng.uniform(0.2, 0.4)) if name in low else float(rng.uniform(0.6, 1.4))
        return replace(
            series, tilt=tilt, contrast=strength, oral=name in oral, arms=arms, dose=dose, tight=name in tight,
            inverted=name in inverted, supine=name in supine, part_known=name not in unnamed,
            filed=filed.get(name, ""), beyond=beyond.get(name, (0.0, 0.0)),
        )  # fmt: skip

    found = []
    for person in people:
        series: list[Series] = []
        for one in person.series:
            series.append(varied(one))
            if one.name in scouts:
                scout = replace(one, name=one.name.replace("-CT", "-LOC"), kind="localizer", number=90)
                series.append(replace(scout, part_known=True, arms="none" if one.part == "head" else "up"))
        found.append(replace(person, series=tuple(series)))
    return tuple(found)


def _beyond(every: Sequence[Series], seed: int) -> dict[str, tuple[float, float]]:
    """Series that cover much of a neighbouring region too, such as an abdomen down to the hips."""
    found: dict[str, tuple[float, float]] = {}
    for part, rate, down, up in BEYOND:
        names = [s.name for s in every if s.kind == "ct" and s.part == part and s.name not in found]
        for name in _chosen(seed, f"{part} {down} {up}", names, rate, 0):
            far = float(generator(seed, name, "beyond").uniform(0.5, 1.0))
            found[name] = (far * down, far * up)
    return found


def _misfiled(people: Sequence[Patient], seed: int) -> dict[str, str]:
    """Series that change places in the archive: the part under which each is filed instead of its own."""
    strata: dict[tuple[str, str, bool], list[Series]] = {}
    for person in people:
        for series in person.series:
            strata.setdefault((series.kind, series.scanner, person.female), []).append(series)
    found: dict[str, str] = {}
    for key, members in strata.items():
        rng = generator(seed, "misfiled", *key)
        left = [members[k] for k in rng.permutation(len(members))]
        wrong = 2 * round(MISFILED * len(members) / 2)
        while wrong >= 2:
            # A ring of series of different parts: each takes the title of the next.
            ring = list({s.part: s for s in left}.values())[:wrong]
            if len(ring) < 2:
                break
            for one, other in zip(ring, ring[1:] + ring[:1], strict=True):
                found[one.name] = other.part
            left = [s for s in left if s.name not in found]
            wrong -= len(ring)
    return found
