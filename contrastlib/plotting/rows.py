"""The rows that a figure is drawn from, as :func:`contrastlib.tables.load` gives them."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import pandas as pd

from contrastlib.plotting.colours import CONTRAST_COLOURS
from contrastlib.tables import MEASURED, pick


def chosen(rows: pd.DataFrame, where: Mapping[str, object], *keys: str) -> pd.DataFrame:
    """The rows that have the values in `where`, one for each value of the keys; see :func:`contrastlib.tables.pick`.

    One value may be compared with several others. Raises ValueError if rows of the same keys differ in what they are
    about.
    """
    table = pick(rows, **where)
    if missing := [name for name in keys if name not in table]:
        raise ValueError(f"the rows have no column {missing[0]!r}; they have {', '.join(table)}")
    twice = table[table.duplicated([*keys], keep=False)]
    for column in twice.columns.difference([*keys, *MEASURED, "n", "against"], sort=False) if len(twice) else ():
        only(twice, column)
    return table.drop_duplicates([*keys])


def numbers(column: "pd.Series[Any]") -> "pd.Series[float]":
    """The numbers in a column of text, NaN for other cells."""
    return pd.to_numeric(column, errors="coerce")


def only(table: pd.DataFrame, column: str) -> Any:
    """The value of a column that must be the same in all rows."""
    first, *others = in_order(table[column])
    if others:
        raise ValueError(f"the rows differ in {column}: {', '.join([first, *others])}; choose one, such as "
                         f"{column.replace(' ', '_')}={first!r}")
    return first


def in_order(values: Iterable[Any], first: Iterable[Any] = CONTRAST_COLOURS) -> list[Any]:
    """Values, each once: those that come first, then numbers by size, others as they occur."""
    there, known = list(dict.fromkeys(values)), list(first)
    others = [value for value in there if value not in known]
    with suppress(ValueError):
        others = sorted(others, key=float)
    return [value for value in known if value in there] + others


def ordered(table: pd.DataFrame, first: Iterable[str], *columns: str) -> pd.DataFrame:
    """The rows sorted by columns, in the order of :func:`in_order`."""
    return table.sort_values([*columns], key=lambda values: values.map(in_order(values, first).index), kind="stable")
