"""Stored values of a mask to positions of labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.adapters.mask_labels import ABSENT, BACKGROUND, IGNORED, Names
from medcnn.errors import DataError, ImageError
from medcnn.geometry.resample import IGNORE
from medcnn.types import LabelSchema

_UNKNOWN = 254
# A value that was stored with a scale may miss its whole number by rounding, never by so much.
_WHOLE = 1e-3
_LISTED = 5
_TABLE = 2**16


def value_table(schema: LabelSchema, names: Names) -> dict[int, tuple[int, ...]]:
    """Positions of the labels that each stored value stands for; -1 is not annotated, nothing is background.

    Args:
        schema: The labels.
        names: A stored value and the label (or ``background``, ``ignore``) that it stands for, where the values are
            not those of the schema.

    Raises:
        DataError: If a name is no label, or a value no whole number.
    """
    found: dict[int, set[int]] = defaultdict(set, {0: set()})
    if not names:
        for position, label in enumerate(schema.classes, 1):
            found[label.value].add(position)
    for text, name in names:
        if text == ABSENT:
            continue
        try:
            value = int(text)
        except ValueError as error:
            todo = "name the values that the file holds"
            raise DataError(f"{text!r} is no value of a mask", where=f"mask label {name}", todo=todo) from error
        if name == IGNORED:
            found[value].add(-1)
        elif name == BACKGROUND:
            found[value] |= set()
        elif name in schema.names:
            found[value].add(schema.index(name) + 1)
        else:
            raise DataError(f"{name!r} is no label of the schema", todo=f"it has {', '.join(schema.names)}")
    return {value: tuple(sorted(positions)) for value, positions in found.items()}


def whole_values(values: NDArray[Any], where: str) -> NDArray[np.integer[Any]]:
    """The values as whole numbers.

    Raises:
        ImageError: If one is not finite, or lies between two whole numbers.
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        return values
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ImageError(
            f"the mask holds {count:,} values that are not finite (NaN or infinite)",
            where=where,
            todo="a mask holds whole numbers: write 0 where there is no label",
        )
    rounded = np.rint(values)
    between = np.abs(values - rounded) > _WHOLE
    if between.any():
        sample = ", ".join(f"{v:g}" for v in np.unique(values[between])[:_LISTED])
        raise ImageError(
            f"the mask holds {int(between.sum()):,} values between labels, such as {sample}",
            where=where,
            todo="it was interpolated, or holds probabilities: resample masks by nearest neighbour, or apply a "
            "threshold to probabilities",
        )
    if rounded.size and float(np.abs(rounded).max()) >= 2**31:
        raise ImageError(
            f"the mask holds the value {float(np.abs(rounded).max()):g}, which is no label",
            where=where,
            todo="a mask holds whole numbers",
        )
    return np.asarray(rounded, np.int32)


def to_positions(values: NDArray[np.integer[Any]], schema: LabelSchema, names: Names, where: str) -> NDArray[np.uint8]:
    """The label map of stored values.

    Args:
        values: ``(X, Y[, Z])`` whole numbers.
        schema: The labels.
        names: As of :func:`value_table`.
        where: For messages.

    Returns:
        ``(X, Y[, Z])``, or ``(L, X, Y[, Z])`` where labels may overlap.

    Raises:
        ImageError: If a value is outside the schema.
    """
    table = value_table(schema, names)
    if not schema.multilabel:
        codes = {value: IGNORE if -1 in found else (found or (0,))[0] for value, found in table.items()}
        return _looked_up(values, codes, schema, names, where)
    result = np.empty((len(schema.classes), *values.shape), np.uint8)
    for position in range(1, len(schema.classes) + 1):
        codes = {value: IGNORE if -1 in found else int(position in found) for value, found in table.items()}
        result[position - 1] = _looked_up(values, codes, schema, names, where)
    return result


def _looked_up(
    values: NDArray[np.integer[Any]], codes: Mapping[int, int], schema: LabelSchema, names: Names, where: str
) -> NDArray[np.uint8]:
    if values.size == 0:
        raise ImageError("the mask has no voxels", where=where)
    low, high = int(values.min()), int(values.max())
    if high - low < _TABLE:
        table = np.full(high - low + 1, _UNKNOWN, np.uint8)
        for value, code in codes.items():
            if low <= value <= high:
                table[value - low] = code
        # In 64 bits, so that no difference leaves the type of the values.
        result = table[values] if low == 0 else table[values.astype(np.int64) - low]
    else:
        present, inverse = np.unique(values, return_inverse=True)
        result = np.array([codes.get(int(v), _UNKNOWN) for v in present], np.uint8)[inverse].reshape(values.shape)
    unknown = result == _UNKNOWN
    if unknown.any():
        raise outside(np.unique(values[unknown]).tolist(), schema, names, where)
    return result


def outside(found: Sequence[int], schema: LabelSchema, names: Names, where: str) -> ImageError:
    """The error for stored values that the schema does not know."""
    shown = ", ".join(map(str, found[:_LISTED])) + (f" and {len(found) - _LISTED} more" if len(found) > _LISTED else "")
    pairs = names or tuple((str(c.value), c.name) for c in schema.classes)
    listed = ", ".join(f"{value} = {name}" for value, name in pairs[:12]) + (", ..." if len(pairs) > 12 else "")
    many = len(found) > _LISTED * 4
    advice = (
        "it looks like a picture or a JPEG: store masks without loss, as PNG or NIfTI"
        if many
        else ("name it in the option mask_labels, as a label, as background or as ignore")
    )
    return ImageError(
        f"the mask holds the value{'s' if len(found) > 1 else ''} {shown}, outside the schema ({listed})",
        where=where,
        todo=advice,
    )
