"""Masks from the cells of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcnn.data.adapters.mask_labels import Names, Wanted, choose_labels
from medcnn.types import Exclusion, ImageRef, LabelSchema, Mask


@dataclass(frozen=True, slots=True)
class Masks:
    """How a row's mask is found.

    Attributes:
        columns: One column a reader.
        schema: The labels.
        names: What the files call them.
    """

    columns: tuple[str, ...]
    schema: LabelSchema
    names: Names

    @classmethod
    def of(cls, columns: Sequence[str], wanted: Wanted | None, overlapping: bool) -> Masks | None:
        """From the options of the adapter; ``None`` where the table has no masks.

        Raises:
            DataError: If the labels do not fit each other.
        """
        if not columns:
            return None
        known = {"foreground": (1,)} if wanted is None else None
        schema, names = choose_labels(wanted, known, overlapping=overlapping, where="mask_labels")
        return cls(tuple(columns), schema, names)

    def read(
        self, root: Path, name: str, row: Mapping[str, str], find: Callable[[Path, str], ImageRef | str]
    ) -> Mask | Exclusion | None:
        """The mask of a row; ``None`` where its cells are blank: not annotated."""
        refs = []
        for column in self.columns:
            if not row[column]:
                continue
            found = find(root, row[column])
            if isinstance(found, str):
                return Exclusion(name, f"the mask cannot be used: {found}", str(root / row[column]))
            refs.append(found)
        return Mask(refs[0], self.names, tuple(refs[1:])) if refs else None
