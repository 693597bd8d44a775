"""Which stack is meant: a small rule, and an error that lists the stacks where it does not decide."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal

from medcnn.data.images.dicom_tags import FIRM
from medcnn.data.images.stacks import Stack
from medcnn.errors import DataError, ImageError

_LISTED = 8


@dataclass(frozen=True, slots=True)
class StackRule:
    """What a stack must be; what is ``None`` does not matter.

    Attributes:
        kind: Kind of object; localizers, secondary captures and the like count only where they are asked for.
        modality: DICOM's code, such as ``CT`` or ``MR``.
        plane: ``axial``, ``coronal`` or ``sagittal``, the nearest.
        description: Regular expression, found anywhere in SeriesDescription or ProtocolName, without regard to case.
        series_number: SeriesNumber.
        image_type: A value that ImageType must hold, such as ``ORIGINAL`` or ``ADC``.
        derived: Whether the pixels may (``True``: must) be computed from other images.
        echo: EchoNumbers.
        temporal: TemporalPositionIdentifier or index.
        b_value: Diffusion b-value in s/mm².
        least_slices: Smallest number of slices.
        prefer: Which one where several fit: the one with the ``most_slices``, the ``first`` or the ``last`` by series
            and position; ``None`` makes that an error.
    """

    kind: str | None = "image"
    modality: str | None = None
    plane: Literal["axial", "coronal", "sagittal"] | None = None
    description: str | None = None
    series_number: int | None = None
    image_type: str | None = None
    derived: bool | None = None
    echo: int | None = None
    temporal: int | None = None
    b_value: float | None = None
    least_slices: int = 1
    prefer: Literal["most_slices", "first", "last"] | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.description or "")
        except re.error as error:
            raise DataError(
                f"the description {self.description!r} of a stack rule is no regular expression: {error}",
                where="stack.description",
            ) from error

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> StackRule:
        """A rule from the plain values of a recipe.

        Raises:
            DataError: If a name is unknown or a value has the wrong type.
        """
        names = [f.name for f in fields(cls)]
        for name, value in values.items():
            if name not in names:
                close = get_close_matches(str(name), names, 1)
                raise DataError(
                    f"a stack rule has no {name!r}",
                    where=f"stack.{name}",
                    todo=f"did you mean {close[0]!r}?" if close else f"the names are: {', '.join(names)}",
                )
            kinds = _KINDS.get(name, (str,))
            if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) != (bool in kinds))):
                raise DataError(f"{value!r} is no value for {name}", where=f"stack.{name}")
            allowed = _ALLOWED.get(name)
            if value is not None and allowed and value not in allowed:
                raise DataError(f"{name} is one of {', '.join(allowed)}, not {value!r}", where=f"stack.{name}")
        return cls(**values)

    def matches(self, stack: Stack) -> bool:
        """Whether a stack is as the rule says."""
        header = stack.header
        text = f"{header.description}\n{header.protocol}"
        return all(
            (
                self.kind is None or stack.kind == self.kind,
                self.modality is None or header.modality.upper() == self.modality.upper(),
                self.plane is None or stack.plane == self.plane,
                self.description is None or re.search(self.description, text, re.IGNORECASE) is not None,
                self.series_number is None or header.series_number == self.series_number,
                self.image_type is None or self.image_type.upper() in header.image_type,
                self.derived is None or stack.derived == self.derived,
                _is(stack, "EchoNumbers", self.echo),
                _is(stack, "TemporalPositionIdentifier", self.temporal),
                _is(stack, "DiffusionBValue", self.b_value),
                len(stack.slices) >= self.least_slices,
            )
        )


_KINDS: dict[str, tuple[type, ...]] = {
    "series_number": (int,),
    "echo": (int,),
    "temporal": (int,),
    "b_value": (int, float),
    "least_slices": (int,),
    "derived": (bool,),
}
_ALLOWED = {"plane": ("axial", "coronal", "sagittal"), "prefer": ("most_slices", "first", "last")}
ANY = StackRule()


def _is(stack: Stack, name: str, wanted: float | None) -> bool:
    if wanted is None:
        return True
    try:
        return bool(stack.slices) and float(stack.slices[0].firm[FIRM.index(name)]) == float(wanted)
    except ValueError:
        return False


def pick(stacks: Sequence[Stack], rule: StackRule | None = None, where: str = "") -> Stack:
    """The one stack that a rule means.

    Args:
        stacks: Of one case.
        rule: ``None`` takes the only image there is; where nothing is of kind ``image``, the only one with pixels.
        where: How messages call the whole.

    Raises:
        ImageError: If no stack fits, or several do; the message lists them.
    """
    fitting = [s for s in stacks if (rule or ANY).matches(s)]
    if rule is None and not fitting:
        fitting = [s for s in stacks if s.slices]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        lead = "there is no stack" if not stacks else "none of the stacks fits the rule"
        raise ImageError(f"{lead}: {_listed(stacks)}" if stacks else lead, where=where, todo="change the rule")
    if rule is not None and rule.prefer is not None:
        return _preferred(fitting, rule.prefer, where)
    names = sorted({name for s in fitting for name, _ in s.differing})
    apart = f", which differ in {', '.join(names)}" if names else ""
    if not any(s.header.series for s in fitting):
        apart = ", for without a SeriesInstanceUID each file stands for itself"
    raise ImageError(
        f"there are {len(fitting)} stacks{apart}: {_listed(fitting)}",
        where=where,
        todo="say which by a rule for stacks (in a recipe data.stack: modality, plane, description, series_number, "
        "echo, b_value, ...), or give the files of one alone",
    )


def _preferred(stacks: list[Stack], prefer: str, where: str) -> Stack:
    if prefer == "most_slices":
        most = max(len(s.slices) for s in stacks)
        longest = [s for s in stacks if len(s.slices) == most]
        if len(longest) > 1:
            raise ImageError(
                f"{len(longest)} stacks have {most} slices: {_listed(longest)}",
                where=where,
                todo="make the rule narrower",
            )
        return longest[0]
    ordered = sorted(stacks, key=lambda s: (s.header.series_number or 0, s.header.instance or 0, s.header.path))
    return ordered[0 if prefer == "first" else -1]


def _listed(stacks: Sequence[Stack]) -> str:
    lines = [f"[{i}] {s.describe()}" for i, s in enumerate(stacks[:_LISTED], 1)]
    more = len(stacks) - _LISTED
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")
