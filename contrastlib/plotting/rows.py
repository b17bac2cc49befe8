"""The rows that a figure is drawn from."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd

from contrastlib import tables


def chosen(rows: pd.DataFrame, columns: Sequence[str], where: Mapping[str, object], *,
           run: bool = True) -> pd.DataFrame:
    """The rows that have the values in `where`, from a table or fresh from a run; see :func:`contrastlib.tables.pick`.

    Measured columns hold floats, all others text. Raises ValueError if there are no rows, one of these columns is
    missing, a value does not occur, or the rows are of several runs.
    """
    table = pd.DataFrame(rows)
    if table.empty:
        raise ValueError("there are no rows to draw")
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"the rows have no column {', '.join(map(repr, missing))}; they have {', '.join(table)}")
    table = tables.pick(table, **where)
    table = table.assign(**{name: floats(table[name]) if name in tables.MEASURED else table[name].map(tables.cell)
                            for name in table})
    differ = {name: distinct(table, name) for name in tables.RUN if name in table and table[name].nunique() > 1}
    if run and differ:
        there = "; ".join(f"{name}: {', '.join(values)}" for name, values in differ.items())
        name, values = next(iter(differ.items()))
        raise ValueError(f"the rows are of several runs ({there}); choose one, such as {_example(name, values)}")
    return table


def floats(column: "pd.Series[Any]") -> "pd.Series[float]":
    """The numbers in a column, NaN for an empty cell."""
    return column.map(_float).astype(float)


def _float(value: Any) -> float:
    try:
        return float("nan") if value in ("", None) else float(value)
    except ValueError:
        raise ValueError(f"a cell holds {value!r} where a figure needs a number") from None


def only(table: pd.DataFrame, column: str) -> str:
    """The value of a column that must be the same in all rows."""
    there = distinct(table, column)
    if len(there) > 1:
        raise ValueError(f"the rows differ in {column}: {', '.join(there)}; choose one, such as "
                         f"{_example(column, there)}")
    return there[0]


def distinct(table: pd.DataFrame, column: str, order: Sequence[str] = ()) -> list[str]:
    """The values of a column: first those in `order`, then numbers by size, other texts as they occur."""
    there = list(table[column].unique())
    rest = [value for value in there if value not in order]
    with suppress(ValueError):
        rest = sorted(rest, key=float)
    return [value for value in order if value in there] + rest


def ordered(table: pd.DataFrame, column: str, order: Iterable[str]) -> pd.DataFrame:
    """The rows sorted by a column as :func:`distinct` does."""
    ranks = {value: i for i, value in enumerate(distinct(table, column, tuple(order)))}
    return table.sort_values(column, key=lambda values: values.map(ranks), kind="stable")


def _example(column: str, values: Sequence[str]) -> str:
    return f"{column.replace(' ', '_')}={values[0]!r}"
