"""The labels of masks: schemas, and how a recipe chooses, merges and renames what the files hold.

Every adapter with masks has the option ``mask_labels`` in the same words: names of labels with what stands for each
in the files, as in ``{liver: 1, tumour: [2, 3]}``. Two names are no labels: ``background`` takes what is not wanted,
``ignore`` what is not annotated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medcnn.errors import DataError
from medcnn.registry import suggest
from medcnn.types import LabelClass, LabelSchema

BACKGROUND = "background"
IGNORED = "ignore"
# Stands for the label that a file of segments or structures need not list where there is none of it.
ABSENT = ""
MOST_LABELS = 253

Names = tuple[tuple[str, str], ...]
Source = int | str
Wanted = Mapping[str, Source | tuple[Source, ...]]


def mask_schema(labels: Sequence[str] | Mapping[str, int], *, overlapping: bool = False) -> LabelSchema:
    """The schema of masks: labels of the foreground in their order; the background is none of them.

    Args:
        labels: Names, whose stored values are 1, 2, ...; or names with their stored values.
        overlapping: Whether a voxel may have several labels (a channel each).

    Raises:
        DataError: If a name repeats or is reserved, a value repeats or is 0, or there are too many.
    """
    values = dict(labels) if isinstance(labels, Mapping) else {name: k for k, name in enumerate(labels, 1)}
    if not isinstance(labels, Mapping) and len(values) < len(labels):
        raise DataError(f"names of mask labels repeat: {', '.join(labels)}", todo="give each label a name of its own")
    for name, value in values.items():
        if name in (BACKGROUND, IGNORED):
            raise DataError(f"{name!r} is no label of a mask", todo="name the labels of the foreground alone")
        if value < 1:
            raise DataError(f"the label {name!r} has the value {value}", todo="0 is background: begin at 1")
    if len(set(values.values())) < len(values):
        raise DataError("two labels of a mask have one value", todo="give each label a value of its own")
    if not 1 <= len(values) <= MOST_LABELS:
        raise DataError(f"a mask has 1 to {MOST_LABELS} labels, not {len(values)}", todo="name its labels")
    return LabelSchema(tuple(LabelClass(value, name) for name, value in values.items()), multilabel=overlapping)


def choose_labels(
    wanted: Wanted | None, known: Mapping[str, Sequence[int]] | None = None, *, overlapping: bool = False, where: str
) -> tuple[LabelSchema, Names]:
    """The schema that a recipe asks for, and what the files call its labels.

    Args:
        wanted: The option ``mask_labels``: what stands for each label, a stored value or a name that the dataset
            knows; ``None`` takes the labels as the dataset names them.
        known: The dataset's own labels, with the stored values of each; ``None`` where it names none.
        overlapping: Whether a voxel may have several labels.
        where: For messages: the file or option that names the labels.

    Returns:
        The schema, and pairs of a stored value and a label as :class:`~medcnn.types.Mask` holds them; no pairs where
        the stored values are those of the schema. What the dataset knows and the recipe does not name is background.

    Raises:
        DataError: If a label stands for nothing or for what is not there, or one value for two exclusive labels.
    """
    plain = {name: tuple(values) for name, values in (known or {}).items()}
    if wanted is None:
        sources = plain
    else:
        sources = {name: tuple(_values(given, plain, name, where)) for name, given in wanted.items()}
        if IGNORED in plain and IGNORED not in sources:
            # What nobody annotated stays so, whatever is chosen of the rest.
            sources[IGNORED] = plain[IGNORED]
        rest = {v for values in plain.values() for v in values} - {v for values in sources.values() for v in values}
        if rest:
            sources[BACKGROUND] = (*sources.get(BACKGROUND, ()), *sorted(rest))
    if not overlapping:
        _check_exclusive(sources, where)
    labels = {name: values for name, values in sources.items() if name not in (BACKGROUND, IGNORED)}
    singles = [values[0] for values in labels.values() if len(values) == 1 and values[0] > 0]
    own = len(singles) == len(labels) and len(set(singles)) == len(singles)
    try:
        schema = mask_schema(
            {name: values[0] for name, values in labels.items()} if own else tuple(labels), overlapping=overlapping
        )
    except DataError as error:
        raise DataError(error.what, where=where, todo=error.todo) from error
    if own and len(labels) == len(sources):
        return schema, ()
    return schema, tuple((str(value), name) for name, values in sources.items() for value in values)


def _values(
    given: Source | tuple[Source, ...], known: Mapping[str, Sequence[int]], label: str, where: str
) -> list[int]:
    sources = given if isinstance(given, tuple) else (given,)
    if not sources:
        raise DataError(f"nothing stands for the label {label!r}", where=where, todo="give a value, or several")
    found: list[int] = []
    for source in sources:
        text = str(source).strip()
        if text in known:
            found += known[text]
        elif text.isdigit():
            found.append(int(text))
        else:
            todo = suggest(text, known) if known else "give the value that the files hold"
            raise DataError(f"{source!r}, which stands for the label {label!r}, is not there", where=where, todo=todo)
        if known and text.isdigit() and not any(int(text) in values for values in known.values()) and int(text):
            listed = ", ".join(f"{name} ({'+'.join(map(str, values))})" for name, values in known.items())
            raise DataError(f"no label of the dataset has the value {text}", where=where, todo=f"it has {listed}")
    return found


def _check_exclusive(sources: Mapping[str, Sequence[int]], where: str) -> None:
    owner: dict[int, str] = {}
    for name, values in sources.items():
        for value in values:
            if owner.setdefault(value, name) != name:
                raise DataError(
                    f"the value {value} stands for two labels, {owner[value]!r} and {name!r}",
                    where=where,
                    todo="give it to one of them, or let labels overlap with the option overlapping: true",
                )
