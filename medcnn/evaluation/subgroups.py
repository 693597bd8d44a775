"""Cases by the values of their attributes: sex, age, site, scanner, view."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medcnn.types import Attribute

MIN_CASES = 20
MIN_POSITIVES = 5
MAX_VALUES = 20
MAX_NUMBERS = 8
# An attribute with more values than MAX_FEW divides cases only if each holds so many of them on the average.
MAX_FEW, MIN_MEAN = 5, 3
# The highest group is open upwards, so that no age above 89 can be told.
AGE_LIMITS = (18, 40, 60, 80)
UNKNOWN = "not known"
_DATE = re.compile(r"(19|20)\d\d(?P<dash>-?)(0[1-9]|1[0-2])(?P=dash)(0[1-9]|[12]\d|3[01])([T ].*)?")


@dataclass(frozen=True, slots=True, eq=False)
class Subgroup:
    """Cases that share a value of an attribute.

    Attributes:
        attribute: Its name.
        value: The value, or the range of values, in words.
        rows: ``(N,)`` mask of the cases.
    """

    attribute: str
    value: str
    rows: NDArray[np.bool_]


def is_age(name: str) -> bool:
    """Whether an attribute is an age, by its name."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return "age" in words or "ages" in words


def find_subgroups(
    attributes: Mapping[str, Sequence[Attribute]], wanted: Sequence[str] | Literal["all"] = "all"
) -> tuple[list[Subgroup], list[str]]:
    """Divide the cases by each attribute.

    Numbers with more than eight different values are divided at their quartiles, ages always at 18, 40, 60 and
    80 years (whatever lies above 89 is pooled by that), dates by their years. Attributes with one value are passed
    over, and so are those that hardly repeat, such as a number of the case.

    Args:
        attributes: Values by attribute, ``(N,)`` each, ``None`` where unknown.
        wanted: The attributes, or ``all``.

    Returns:
        The subgroups, and sentences about attributes that could not be divided.
    """
    names = list(attributes) if wanted == "all" else list(wanted)
    groups, notes = [], []
    for name in names:
        if name not in attributes:
            known = ", ".join(attributes) or "none"
            notes.append(f"No subgroups by {name}: the cases have no such attribute (they have: {known}).")
            continue
        found = list(_divide(name, attributes[name]))
        if len(found) > MAX_VALUES + 1:
            notes.append(f"No subgroups by {name}: it has {len(found):,} values, more than {MAX_VALUES}.")
        elif not is_age(name) and len(found) > max(MAX_FEW, len(attributes[name]) / MIN_MEAN):
            notes.append(f"No subgroups by {name}: its {len(found):,} values hardly repeat.")
        elif len(found) > 1:
            groups += found
        elif wanted != "all":
            notes.append(f"No subgroups by {name}: all cases have the same value.")
    return groups, notes


def _divide(name: str, values: Sequence[Attribute]) -> Iterator[Subgroup]:
    cleaned = _years([_clean(v) for v in values])
    numbers = _numbers(cleaned)
    age = is_age(name)
    if numbers is not None and (age or len(np.unique(numbers[np.isfinite(numbers)])) > MAX_NUMBERS):
        yield from _bins(name, numbers, age)
        return
    texts = np.array(["" if v is None else _text(v) for v in cleaned], dtype=np.str_)
    for value in sorted(set(texts.tolist()) - {""}, key=_natural):
        yield Subgroup(name, value, texts == value)
    if (texts == "").any():
        yield Subgroup(name, UNKNOWN, texts == "")


def _clean(value: Attribute) -> Attribute:
    """Blank and NaN are unknown."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return (value.strip() or None) if isinstance(value, str) else value


def _years(values: Sequence[Attribute]) -> Sequence[Attribute]:
    """Dates (``2021-03-14``, ``20210314``) as years, which are shared; other values as they are."""
    known = [str(v) for v in values if v is not None]
    if not known or not all(_DATE.fullmatch(text) for text in known):
        return values
    return [None if v is None else str(v)[:4] for v in values]


def _numbers(values: Sequence[Attribute]) -> NDArray[np.float64] | None:
    """The values as numbers, NaN where unknown; ``None`` where one is no number, or none is known."""
    out = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if value is None:
            continue
        try:
            out[i] = float(value)
        except ValueError:
            return None
    return out if np.isfinite(out).any() else None


def _bins(name: str, numbers: NDArray[np.float64], age: bool) -> Iterator[Subgroup]:
    known = np.isfinite(numbers)
    if age:
        limits = np.array([-np.inf, *AGE_LIMITS, np.inf])
        below = [f"under {AGE_LIMITS[0]}", *(f"{a}–{b - 1}" for a, b in itertools.pairwise(AGE_LIMITS))]
        labels = [*below, f"{AGE_LIMITS[-1]} and over"]
    else:
        limits = np.unique(np.quantile(numbers[known], [0, 0.25, 0.5, 0.75, 1]))
        labels = [f"{a:.4g} to {b:.4g}" for a, b in itertools.pairwise(limits)]
        limits = np.array([-np.inf, *limits[1:-1], np.inf])
    index = np.clip(np.searchsorted(limits, numbers, side="right") - 1, 0, len(labels) - 1)
    for i, label in enumerate(labels):
        rows = known & (index == i)
        if rows.any():
            yield Subgroup(name, label, rows)
    if not known.all():
        yield Subgroup(name, UNKNOWN, ~known)


def _text(value: Attribute) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers by size, before texts by alphabet."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def floor_note(cases: int, positives: int | None) -> str:
    """Why a cell is under its floor; empty where it is not.

    Args:
        cases: Cases of the cell.
        positives: Positive cases of it; ``None`` where there is no one positive class.
    """
    parts = [f"fewer than {MIN_CASES} cases"] if cases < MIN_CASES else []
    if positives is not None and positives < MIN_POSITIVES:
        parts.append(f"fewer than {MIN_POSITIVES} positive cases")
    return "under the floor: " + " and ".join(parts) if parts else ""
