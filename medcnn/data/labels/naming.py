"""Which label of the schema a segment or structure is, by its name, number or code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from medcnn.data.adapters.mask_labels import ABSENT, BACKGROUND, IGNORED, Names
from medcnn.errors import ImageError
from medcnn.types import LabelSchema


class NoLabelError(ImageError):
    """A file of segments or structures that holds none of the labels."""


@dataclass(frozen=True, slots=True)
class Named:
    """A segment of a SEG or a structure of an RTSTRUCT.

    Attributes:
        number: SegmentNumber or ROINumber.
        label: SegmentLabel or ROIName.
        code: ``SCHEME:VALUE`` of the segmented property type; empty where there is none.
        algorithm: ``AUTOMATIC``, ``SEMIAUTOMATIC``, ``MANUAL``; empty where it is not said.
    """

    number: int
    label: str
    code: str = ""
    algorithm: str = ""

    def matches(self, text: str) -> bool:
        """Whether a number, a pattern of names (``*`` and ``?``, any case) or a code stands for it."""
        plain = text.strip().casefold()
        if plain.isdigit() and int(plain) == self.number:
            return True
        if self.code and plain in (self.code.casefold(), self.code.rpartition(":")[2].casefold()):
            return True
        return fnmatchcase(self.label.strip().casefold(), plain)


@dataclass(frozen=True, slots=True)
class Naming:
    """What each segment or structure becomes.

    Attributes:
        positions: Positions of its labels by number; several where labels overlap.
        ignored: Numbers of what marks voxels as not annotated.
        listed: Positions of all labels that the file speaks of.
        aside: Names of what no label takes.
    """

    positions: dict[int, tuple[int, ...]]
    ignored: frozenset[int]
    listed: frozenset[int]
    aside: tuple[str, ...]

    @classmethod
    def of(cls, found: Sequence[Named], schema: LabelSchema, names: Names, where: str, noun: str) -> Naming:
        """Match what a file lists with the labels.

        Args:
            found: What the file lists.
            schema: The labels.
            names: Numbers, patterns or codes with the label that each stands for; without any a label takes what
                carries its code, its name or its value as number.
            where: For messages.
            noun: What one of ``found`` is called, for messages.

        Raises:
            NoLabelError: If nothing fits.
            ImageError: If a thing fits two labels that exclude each other.
        """
        positions: dict[int, tuple[int, ...]] = {}
        ignored, aside = set(), []
        for one in found:
            wanted = _wanted(one, schema, names)
            labels = sorted({schema.index(name) + 1 for name in wanted if name not in (BACKGROUND, IGNORED)})
            if len(labels) > 1 and not schema.multilabel:
                both = " and ".join(repr(schema.names[p - 1]) for p in labels[:2])
                raise ImageError(
                    f"the {noun} {one.label!r} of the mask stands for {both}",
                    where=where,
                    todo="make the names in mask_labels narrower, or let labels overlap with overlapping: true",
                )
            if labels:
                positions[one.number] = tuple(labels)
            elif IGNORED in wanted:
                ignored.add(one.number)
            elif not wanted:
                aside.append(one.label)
        absent = {schema.index(name) + 1 for text, name in names if text == ABSENT}
        listed = {p for labels in positions.values() for p in labels} | absent
        if not listed:
            shown = ", ".join(repr(one.label) for one in found[:12]) + (", ..." if len(found) > 12 else "")
            raise NoLabelError(
                f"no {noun} of the mask is one of the labels {', '.join(schema.names)}: it holds {shown or 'none'}",
                where=where,
                todo="say in mask_labels what they are called; * stands for any letters, and case does not matter",
            )
        return cls(positions, frozenset(ignored), frozenset(listed), tuple(aside))


def _wanted(one: Named, schema: LabelSchema, names: Names) -> set[str]:
    if names:
        return {name for text, name in names if text != ABSENT and one.matches(text)}
    for same in (
        [c.name for c in schema.classes if c.code and _same_code(c.code, one.code)],
        [c.name for c in schema.classes if c.name.casefold() == one.label.strip().casefold()],
        [c.name for c in schema.classes if c.value == one.number],
    ):
        if same:
            return {same[0]}
    return set()


def _same_code(wanted: str, found: str) -> bool:
    """Whether ``SCHEME:VALUE[:MEANING]``, or a value alone, is the code of a segment."""
    scheme, _, value = found.casefold().partition(":")
    parts = wanted.casefold().split(":")
    return bool(found) and (parts[0] == value if len(parts) == 1 else parts[:2] == [scheme, value])
