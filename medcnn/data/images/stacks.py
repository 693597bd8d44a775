"""Stacks: what one acquisition of a series is, found from headers alone.

A series of DICOM may hold a localizer beside the scan, two echoes, twenty time points or five b-values under one UID.
Slices are first divided by what always differs between stacks (orientation, matrix, pixel spacing, kind of object,
StackID, echo, temporal position, b-value), then, only where slices would still share a place or lie unevenly, by
what may also vary inside one stack (echo time, acquisition number, trigger time, ...).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.dicom_header import Header, Slice
from medcnn.data.images.dicom_stack import NoStackError, Order, along, order_slices, places, single_affine
from medcnn.data.images.dicom_tags import FIRM, LOOSE, MOMENTS
from medcnn.geometry.affines import plane_of, spacing_of
from medcnn.types import ImageRef

_SAME_DIRECTION = 1e-3
# SOP classes whose files are slices of something; of others each file is an image by itself.
_SLICED = ("CT", "MR", "PT")
# Projections: some writers give them a position, and still they are no slices of one another.
_PROJECTIONS = ("CR", "DX", "IO", "MG", "PX", "RG")

Member = tuple[Header, Slice]


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices of one series that belong together, or one image.

    Attributes:
        headers: Headers of the files, each once.
        slices: The slices, sorted along their normal where they form a stack.
        kind: ``image``, ``localizer``, ``secondary capture``, ...
        derived: Whether ImageType says that the pixels were computed from other images.
        affine: 4x4 to RAS mm of axes (column, row, slice); ``None`` without a world frame.
        spacing: mm along column, row (and slice); ``None`` where there is none.
        tilt: Gantry tilt in degrees; the affine is sheared.
        copies: Files left out as copies of an instance.
        differing: What tells this stack from others of its series, by name.
        problem: Why the slices form no volume; empty where they do.
        where: The file that ``problem`` is about.
        todo: What can be done about it.
    """

    headers: tuple[Header, ...]
    slices: tuple[Slice, ...]
    kind: str
    derived: bool
    affine: NDArray[np.float64] | None
    spacing: tuple[float, ...] | None
    tilt: float
    copies: int
    differing: tuple[tuple[str, str], ...]
    problem: str = ""
    where: str = ""
    todo: str = ""

    @property
    def header(self) -> Header:
        """The header of the first slice."""
        return self.headers[0]

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, in the order of the slices."""
        return tuple(dict.fromkeys(s.path for s in self.slices)) or tuple(h.path for h in self.headers)

    @property
    def plane(self) -> str:
        """``axial``, ``coronal`` or ``sagittal``, the nearest; empty without a world frame.

        Slices that form no volume have the plane that they would have, so that a rule finds what is wrong with them.
        """
        if self.affine is not None:
            return plane_of(self.affine)
        turn = self.slices[0].orientation if self.problem and self.slices else None
        return "" if turn is None else plane_of(np.column_stack([turn[:3], turn[3:], (0.0, 0.0, 0.0)]))

    @property
    def flat(self) -> bool:
        """Whether this is one image that stands for itself, such as a radiograph, rather than a stack of slices."""
        return len(self.slices) == 1 and self.header.frames == 1 and not _is_stackable(self.header)

    @property
    def matrix(self) -> tuple[int, int]:
        """Columns and rows."""
        return self.header.shape[1], self.header.shape[0]

    @property
    def key(self) -> str:
        """The name by which an :class:`ImageRef` chooses this stack among those of its files."""
        return "; ".join(f"{name}={value}" for name, value in self.differing)

    def ref(self) -> ImageRef:
        """The reference that reads this stack."""
        several = len(self.headers) == 1 and self.header.frames > len(self.slices) and self.header.frames > 1
        return ImageRef(self.paths, "dicom", self.key if several else None)

    def describe(self) -> str:
        """One line for lists and messages: no patient, date or UID."""
        header = self.header
        columns, rows = self.matrix
        count = len(self.slices)
        parts = [
            " ".join(p for p in (header.modality, self.plane, f"{columns}x{rows}") if p),
            f"{count} slice{'s' if count != 1 else ''}" if header.frames else "no pixels",
        ]
        if self.spacing is not None:
            parts.append("x".join(f"{s:.3g}" for s in self.spacing) + " mm")
        if self.kind != "image":
            parts.append(self.kind)
        if self.derived:
            parts.append("derived")
        if header.description:
            parts.append(f"'{header.description}'")
        parts += [f"{name} {value}" for name, value in self.differing if name not in _SHOWN]
        return ", ".join(parts) + (f" ({self.problem})" if self.problem else "")


_SHOWN = ("matrix", "kind", "derived", "orientation", "spacing")


def stacks_of(headers: Iterable[Header]) -> list[Stack]:
    """Divide files into stacks.

    Args:
        headers: Of any number of series and patients, in any order.

    Returns:
        Stacks by series in the order of the first file's name; what forms no volume has a ``problem``. Objects
        without pixels are stacks of no slices, so that nothing is lost.
    """
    by_series: dict[Hashable, list[Header]] = defaultdict(list)
    for header in sorted(headers, key=lambda h: h.path):
        # Without a series UID each file stands for itself.
        by_series[(header.patient, header.study, header.series) if header.series else header.path].append(header)
    return [stack for group in by_series.values() for stack in _series(group)]


def _series(headers: list[Header]) -> list[Stack]:
    kept, copies = _without_copies(headers)
    found: list[Stack] = []
    members: list[Member] = []
    for header in kept:
        if header.frames == 0:
            found.append(Stack((header,), (), header.kind, False, None, None, 0.0, 0, ()))
        elif _is_stackable(header):
            members += [(header, one) for one in header.slices]
        else:
            found.append(_alone(header, copies.get(header.path, 0)))
    parts = _divide(members)
    told = _telling(parts)
    for part, differing in zip(parts, told, strict=True):
        found.append(_stack(part, differing, sum(copies.get(p, 0) for p in {h.path for h, _ in part})))
    return found


def _alone(header: Header, copies: int) -> Stack:
    """A file that is no slice: one image, or frames that are not places."""
    if header.frames == 1:
        return _stack([(header, header.slices[0])], (), copies)
    one = header.slices[0]
    spacing = None if one.spacing is None else (one.spacing[1], one.spacing[0])
    return Stack(
        (header,), header.slices, header.kind, _derived(header), None, spacing, 0.0, copies, (),
        f"the file holds {header.frames} frames of {header.modality or 'an unnamed modality'} without a position for "
        "each: they are no volume",
        header.path,
        f"choose one frame by index, from 0 to {header.frames - 1}",
    )  # fmt: skip


def _is_stackable(header: Header) -> bool:
    """Whether the frames of a file are slices: they have places, or are of a kind that should have."""
    placed = all(s.position is not None and s.orientation is not None for s in header.slices)
    if header.frames > 1:
        return placed
    if header.modality in _PROJECTIONS:
        return False
    return placed or (header.modality in _SLICED and header.kind == "image")


def _without_copies(headers: list[Header]) -> tuple[list[Header], dict[str, int]]:
    """Files without further copies of one SOP instance, and how many copies each had.

    A UID that files share although they lie elsewhere is a fault of the writer, not a copy.
    """
    seen: dict[Hashable, str] = {}
    kept: list[Header] = []
    copies: dict[str, int] = defaultdict(int)
    for header in headers:
        places_ = tuple((s.position, s.orientation, s.firm) for s in header.slices)
        identity = (header.sop, header.shape, header.frames, header.instance, places_)
        if header.sop and identity in seen:
            copies[seen[identity]] += 1
            continue
        seen.setdefault(identity, header.path)
        kept.append(header)
    return kept, copies


def _divide(members: list[Member]) -> list[list[Member]]:
    plain: dict[Hashable, list[Member]] = defaultdict(list)
    for member in members:
        plain[_plain(member)].append(member)
    parts = list(plain.values())
    for same in (_same_orientation, _same_spacing):
        parts = [piece for part in parts for piece in _cluster(part, same)]
    return [piece for part in parts for piece in _divide_loosely(part, range(len(LOOSE)))]


def _cluster(members: list[Member], same: Callable[[Member, Member], bool]) -> list[list[Member]]:
    """Groups by likeness to a group's first member: headers round, so that equality would tear stacks apart."""
    groups: list[list[Member]] = []
    for member in members:
        for group in groups:
            if same(group[0], member):
                group.append(member)
                break
        else:
            groups.append([member])
    return groups


def _plain(member: Member) -> tuple[Any, ...]:
    header, one = member
    # A multi-frame file is a stack, or several, by itself.
    file = header.path if header.frames > 1 else ""
    return (header.shape, header.samples > 1, header.kind, _derived(header), header.modality, one.firm, file)


def _derived(header: Header) -> bool:
    return header.image_type[:1] == ("DERIVED",)


def _same_orientation(first: Member, second: Member) -> bool:
    a, b = first[1].orientation, second[1].orientation
    if a is None or b is None:
        # A slice that does not say how it lies stays with the others, and is named there.
        return True
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= _SAME_DIRECTION


def _same_spacing(first: Member, second: Member) -> bool:
    a, b = first[1].spacing, second[1].spacing
    if a is None or b is None:
        return True
    return all(abs(x - y) <= 1e-3 * max(x, y) for x, y in zip(a, b, strict=True))


def _divide_loosely(members: list[Member], keys: Iterable[int]) -> list[list[Member]]:
    """Divide by elements that may vary inside a stack, only where that makes stacks of what was none."""
    slices = [one for _, one in members]
    if len(members) < 2 or _order(slices) is not None:
        return [members]
    repeats = len(slices) - len(places(slices))
    remaining = list(keys)
    for key in remaining:
        groups: dict[str, list[Member]] = defaultdict(list)
        for member in members:
            groups[member[1].loose[key]].append(member)
        parts = list(groups.values())
        if len(parts) < 2 or (min(map(len, parts)) < 2 and len(places(slices)) > 1):
            continue
        left = sum(len(p) - len(places([one for _, one in p])) for p in parts)
        evenly = all(_order([one for _, one in p]) is not None for p in parts)
        if (repeats and left < repeats) or (evenly and not _joinable(parts)):
            later = [k for k in remaining if k != key]
            return [piece for part in parts for piece in _divide_loosely(part, later)]
    return [members]


def _joinable(parts: list[list[Member]]) -> bool:
    """Whether two neighbours are one stack: what divides these, such as the turn of the gantry, divides no stack."""
    ordered = sorted(parts, key=lambda part: min(along(one) for _, one in part))
    return any(_order([one for _, one in (*a, *b)]) is not None for a, b in pairwise(ordered))


def _order(slices: Sequence[Slice]) -> Order | None:
    if len(slices) < 2:
        return Order((0,), np.eye(4), 0.0)
    try:
        return order_slices(slices)
    except (NoStackError, ValueError):
        return None


def _telling(parts: list[list[Member]]) -> list[tuple[tuple[str, str], ...]]:
    """What tells each part of a series from the others, in words."""
    if len(parts) < 2:
        return [() for _ in parts]
    facts = [_facts(part) for part in parts]
    for name in MOMENTS:
        moments = sorted({fact[name] for fact in facts} - {""})
        for fact in facts:
            fact[name] = f"{moments.index(fact[name]) + 1} of {len(moments)}" if fact[name] else ""
    names = [name for name in facts[0] if len({fact[name] for fact in facts}) > 1]
    return [tuple((name, fact[name]) for name in names if fact[name]) for fact in facts]


def _facts(part: list[Member]) -> dict[str, str]:
    header, one = part[0]
    facts = {
        "matrix": f"{header.shape[1]}x{header.shape[0]}",
        "colour": "RGB" if header.samples > 1 else "",
        "kind": header.kind,
        "derived": "yes" if _derived(header) else "",
        "orientation": "" if one.orientation is None else "\\".join(f"{v:.3f}" for v in one.orientation),
        "spacing": "" if one.spacing is None else "x".join(f"{v:g}" for v in one.spacing),
    }
    facts.update(zip(FIRM, one.firm, strict=True))
    for at, name in enumerate(LOOSE):
        values = {member[1].loose[at] for member in part}
        facts[name] = next(iter(values)) if len(values) == 1 else ""
    return facts


def _stack(members: list[Member], differing: tuple[tuple[str, str], ...], copies: int) -> Stack:
    header = members[0][0]
    slices = [one for _, one in members]
    problem = where = todo = ""
    affine, tilt, order = None, 0.0, tuple(range(len(slices)))
    spacing: tuple[float, ...] | None = None
    if len(slices) == 1:
        affine = single_affine(slices[0])
        spacing = None if slices[0].spacing is None else (slices[0].spacing[1], slices[0].spacing[0])
    else:
        try:
            found = order_slices(slices)
            affine, tilt, order = found.affine, found.tilt, found.order
            spacing = spacing_of(affine)
        except NoStackError as error:
            problem, where, todo = error.what, error.where, error.todo
        except ValueError as error:
            problem, where = str(error), slices[0].path
    if problem and header.frames > 1:
        # Frames of one file: there are no files to give apart.
        todo = f"choose one frame by index, from 0 to {header.frames - 1}"
    by_path = {h.path: h for h, _ in members}
    ordered = tuple(slices[i] for i in order)
    headers = tuple(dict.fromkeys(by_path[s.path] for s in ordered)) if len(by_path) > 1 else (header,)
    return Stack(
        headers, ordered, header.kind, _derived(header), affine, spacing, tilt, copies, differing, problem, where, todo
    )
