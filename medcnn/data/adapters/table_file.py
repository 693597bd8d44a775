"""The rows of a table file, as text, each with its line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from medcnn.data.adapters.common import elsewhere
from medcnn.errors import DataError
from medcnn.registry import suggest

Numbered = list[tuple[int, dict[str, str]]]


def read_table(path: Path) -> tuple[list[str], Numbered]:
    """The columns, and each row with its line (in Parquet its number).

    Raises:
        DataError: If the table is missing, is no table, or has a broken line.
    """
    if not path.is_file():
        todo = elsewhere(path.parent, (path.name,)) or "set data.root=FOLDER, or the option file"
        raise DataError("the table is not there", where=str(path), todo=todo)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    read = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_delimiter(path, file.readline()), strict=True)
            file.seek(0)
            header = [c.strip() for c in next(reader, [])]
            rows: Numbered = []
            read = reader.line_num
            for row in reader:
                read = reader.line_num
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"the line has {len(row)} entries, the heading {len(header)}",
                        where=f"{path}:{reader.line_num}",
                        todo="put text that holds a comma into double quotes",
                    )
                rows.append((reader.line_num, dict(zip(header, (c.strip() for c in row), strict=True))))
    except csv.Error as error:
        # A quote that is never closed swallows the rest: the line after the last whole one is where it opens.
        raise DataError(
            f"the line is broken: {error}", where=f"{path}:{read + 1}", todo="check its double quotes"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError("the table is not UTF-8 text", where=str(path), todo="save it as CSV UTF-8") from error
    except OSError as error:
        todo = "check that you may read it"
        raise DataError(f"the table cannot be read: {error.strerror}", where=str(path), todo=todo) from error
    if not rows:
        raise DataError("the table has no rows", where=str(path), todo="give it a heading and a line a case")
    return header, rows


def _delimiter(path: Path, heading: str) -> str:
    """Tab for ``.tsv``; spreadsheets of many countries separate by semicolons."""
    if path.suffix == ".tsv":
        return "\t"
    return ";" if ";" in heading and "," not in heading else ","


def _read_parquet(path: Path) -> tuple[list[str], Numbered]:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise DataError("Parquet needs the package pyarrow", where=str(path), todo="install it, or use CSV") from error
    except (OSError, ValueError) as error:
        todo = "save it anew, as Parquet or as CSV"
        raise DataError(f"the table cannot be read: {error}", where=str(path), todo=todo) from error
    header = [str(c) for c in frame.columns]
    texts = [["" if pd.isna(v) else _plain(v) for v in row] for row in frame.itertuples(index=False)]
    return header, [(n, dict(zip(header, row, strict=True))) for n, row in enumerate(texts, 1)]


def _plain(value: object) -> str:
    # A column of whole numbers with gaps comes as floats: 1.0 is the label 1.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def require_columns(wanted: Sequence[tuple[str, str]], header: Sequence[str], path: Path) -> None:
    """Check that columns are there, once each.

    Args:
        wanted: Each column after the option that names it.
        header: The columns of the table.
        path: The table.

    Raises:
        DataError: If one is missing, or stands twice.
    """
    for option, name in wanted:
        if name not in header:
            raise DataError(
                f"there is no column {name!r}, which the option {option} names",
                where=str(path),
                todo=suggest(name, header),
            )
        if header.count(name) > 1:
            todo = "give each column a name of its own"
            raise DataError(f"there are {header.count(name)} columns {name!r}", where=str(path), todo=todo)
