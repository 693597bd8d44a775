"""Tables that set parts of an evaluation side by side: subgroups and folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.evaluation.results import Figure, TablePanel
from medcnn.evaluation.subgroups import Subgroup

_GROUPS = "Intervals are of each group by itself; a difference between groups needs more than two that do not meet."
_FOLDS = "Each fold's network on the cases that it did not see. The spread mixes networks and cases."


def subgroup_tables(
    groups: Sequence[Subgroup],
    row_of: Callable[[NDArray[np.bool_]], list[Any]],
    heads: Sequence[str],
    *,
    tag: str = "",
    words: str = "",
) -> list[TablePanel]:
    """A table an attribute; cells under their floor are shown and marked.

    Args:
        groups: The rows of each value of each attribute.
        row_of: The cells of some rows, the last one a caution or nothing.
        heads: What stands over the cells, the caution left out.
        tag: Behind the panels' names.
        words: Behind their titles.
    """
    panels = []
    for attribute in dict.fromkeys(g.attribute for g in groups):
        rows = [[g.value, *row_of(g.rows)] for g in groups if g.attribute == attribute]
        header = [attribute, *heads, "Caution"]
        if not any(row[-1] for row in rows):
            header, rows = header[:-1], [row[:-1] for row in rows]
        title = f"By {attribute}{words}"
        panels.append(TablePanel(f"subgroup-{attribute}{tag}", title, header, rows, _GROUPS, "subgroups"))
    return panels


def folds_table(
    folds: NDArray[np.int64],
    row_of: Callable[[NDArray[np.bool_]], tuple[int, Sequence[Figure | str]]],
    heads: Sequence[str],
) -> TablePanel:
    """A row a fold, then mean, standard deviation and range of the folds' figures.

    Args:
        folds: ``(N,)`` the fold of each row.
        row_of: How many cases some rows are, and their figures; words stand for those that are withheld.
        heads: Names of the figures.
    """
    rows: list[list[Any]] = []
    values = []
    for fold in np.unique(folds):
        cases, found = row_of(folds == fold)
        rows.append([f"fold {fold}", cases, *found])
        values.append([np.nan if isinstance(f, str) or f.value is None else float(f.value) for f in found])
    columns = [np.array(v)[np.isfinite(v)] for v in zip(*values, strict=True)]
    # Cases of a mean are not undefined: their place stays empty.
    rows.append(["mean of the folds", "", *(float(c.mean()) if len(c) else None for c in columns)])
    rows.append(["standard deviation", "", *(float(c.std(ddof=1)) if len(c) > 1 else None for c in columns)])
    rows.append(["lowest", "", *(float(c.min()) if len(c) else None for c in columns)])
    rows.append(["highest", "", *(float(c.max()) if len(c) else None for c in columns)])
    return TablePanel("folds", "Figures by fold", ["Fold", "Cases", *heads], rows, _FOLDS, "folds")
