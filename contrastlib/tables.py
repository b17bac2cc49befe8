"""Measured rows as tables, and what made them; no torch.

A table is a CSV file that is read as a :class:`pandas.DataFrame`: the columns that say what a row is about hold text,
the measured ones numbers. Beside it lies a JSON file of the same name that says, for each group of rows, which
versions, weights and data they came from. Measuring again replaces a group's rows and leaves the others.
"""

import csv
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd

from contrastlib import store

# The columns that hold measured numbers, as floats with six significant digits; ``n`` holds a count.
MEASURED = ("kept", "value", "se", "difference", "low", "high")
# The columns that tell runs apart, as far as a table has them.
RUN = ("classifier", "data set", "split", "images", "precision", "layer")

def load(path: str | Path) -> pd.DataFrame:
    """The rows of a table.

    Args:
        path: a CSV file with a header.

    Returns:
        for each line a row; measured columns are float64, NaN where a cell is empty, ``n`` is int64, the rest is text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table: a row has more or fewer cells than the header, a column is there twice, or a
            measured cell is no number; names the file, and the line where one is at fault.
    """
    with Path(path).open(encoding="utf8", newline="") as file:
        reader = csv.reader(file)
        try:
            header, rows = next(reader, []), []
            for cells in reader:
                if len(cells) != len(header):
                    raise ValueError(f"line {reader.line_num}: {len(cells)} cells for {len(header)} columns")
                rows.append(cells)
            return typed(pd.DataFrame(rows, columns=header))
        except (ValueError, OverflowError, csv.Error) as error:
            raise ValueError(f"{path}, {error}") from error


def typed(rows: pd.DataFrame | Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Rows as a table holds them, wherever they come from.

    Args:
        rows: a table, or dictionaries with the same keys.

    Returns:
        measured columns as float64, rounded to six significant digits; ``n`` as int64; all others as text.
    """
    table = pd.DataFrame(rows).copy()
    for name in table.columns:
        if name in MEASURED:
            table[name] = [float(f"{float(cell):.6g}") if cell not in ("", None) else float("nan")
                           for cell in table[name]]
        else:
            table[name] = table[name].astype("int64" if name == "n" else str)
    return table.replace("\r\n?", "\n", regex=True)  # Python before 3.13 does not quote a carriage return


def save(path: str | Path, rows: pd.DataFrame | Sequence[Mapping[str, object]], group: Sequence[str],
         provenance: Mapping[str, Any]) -> None:
    """Put rows into a table, in the place of those of the same groups.

    Both files are written beside and then renamed: killed at any moment, it leaves the old rows or the new ones. Two
    processes that save into one table wait for each other.

    Args:
        path: a CSV file, which need not exist; the provenance goes to the JSON file of the same name.
        rows: at least one, all with the same columns.
        group: the columns that tell groups apart.
        provenance: what made the rows; see :func:`provenance`. It is noted for each of their groups.

    Raises:
        ValueError: there are no rows, they differ in columns or lack one of the group, or the table has other columns.
    """
    path = Path(path)
    if not isinstance(rows, pd.DataFrame) and any(list(row) != list(rows[0]) for row in rows):
        raise ValueError("rows must all have the same columns")
    table, beside = typed(rows), path.with_suffix(".json")
    if table.empty:
        raise ValueError("there must be at least one row")
    if missing := [name for name in group if name not in table]:
        raise ValueError(f"the rows have no column {missing[0]!r}; they have {', '.join(table.columns)}")
    made = {key: dict(provenance) for key in table[list(group)].itertuples(index=False, name=None)}
    with store.lock(path):
        if path.is_file():
            kept = load(path)
            if list(kept.columns) != list(table.columns):
                raise ValueError(f"{path} has the columns {', '.join(kept.columns)}, "
                                 f"the new rows have {', '.join(table.columns)}")
            keys = kept[list(group)].itertuples(index=False, name=None)
            others = kept.loc[[key not in made for key in keys]]
            table = pd.concat([others, table]).sort_values(list(group), kind="stable")
        about = store.read_json(beside) if beside.is_file() else {}
        about |= {", ".join(key): its for key, its in made.items()}
        store.replace_json(beside, dict(sorted(about.items())))
        store.replace_text(path, as_csv(table))


def as_csv(table: pd.DataFrame) -> str:
    """A table as the text of a CSV file: measured numbers with six significant digits, NaN as an empty cell."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def pick(rows: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows that have given values.

    Args:
        rows: a table, as :func:`load` gives it or fresh from a run.
        where: the wanted values by column; an underscore stands for a space in the column's name. A number is found
            however it is written: ``epsilon=3e-3`` finds ``0.003``.

    Returns:
        at least one row.

    Raises:
        ValueError: there are no rows, a column is missing, or a value does not occur; lists those that do.
    """
    if rows.empty:
        raise ValueError("there are no rows")
    for name, value in where.items():
        column = name if name in rows else name.replace("_", " ")
        if column not in rows:
            raise ValueError(f"the rows have no column {column!r}; they have {', '.join(rows.columns)}")
        found = rows[rows[column].map(cell) == cell(value)]
        if found.empty:
            there = ", ".join(filter(None, map(cell, rows[column].unique()))) or "none"
            raise ValueError(f"no rows have {column} {cell(value)!r}; there are: {there}")
        rows = found
    return rows


def cell(value: object) -> str:
    """A cell as text, the same for a number and any way to write it, such as ``0.003`` for 3e-3."""
    text = "" if value is None else str(value).strip()
    if isinstance(value, Real) or text[:1].isdigit() or text[:1] in tuple("+-."):
        try:
            exact = float(text)
        except ValueError:
            return text
        if exact != exact:
            return ""
        return str(int(exact)) if exact.is_integer() else repr(exact)
    return text


def provenance(**more: object) -> dict[str, Any]:
    """What ran: versions, the commit where the code is a checkout, and what the caller adds.

    Args:
        more: such as digests of weights and data, a device, or seconds.

    Returns:
        values for :func:`save`.
    """
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in ("contrastlib", "torch", "torchvision", "timm", "numpy", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    commit = _commit()
    return {**found, **({"commit": commit} if commit else {}), **more}


def _commit() -> str | None:
    """The commit of the checkout that this file lies in, with a plus where files differ from it."""
    try:
        ran = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12"], cwd=Path(__file__).parent,
                             capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()
