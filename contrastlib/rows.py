"""Picking from tidy rows, whether they come as text from a table or as numbers from a live run."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real

GROUP = ("classifier", "data set", "split", "images", "precision", "layer")
"""The columns that tell runs apart, as far as a table has them."""

Row = dict[str, str]


def pick(rows: Iterable[Mapping[str, object]], **where: object) -> list[Row]:
    """The rows that have given values.

    Args:
        rows: tidy rows, as :func:`contrastlib.results.load` gives them or fresh from a run.
        where: the wanted values by column; an underscore stands for a space in the column's name.

    Returns:
        at least one row, each cell as text.

    Raises:
        ValueError: a column is missing, or a value does not occur; lists those that do.
    """
    return chosen(rows, (), where, run=False)


def chosen(
    rows: Iterable[Mapping[str, object]], columns: Sequence[str], where: Mapping[str, object], *, run: bool = True,
) -> list[Row]:
    """The rows that a figure is drawn from, each cell as text.

    Args:
        rows: tidy rows, the cells text or numbers.
        columns: those that the figure needs.
        where: for some columns the wanted value; an underscore stands for a space in the column's name.
        run: whether the rows must be of one run.

    Returns:
        the rows that have these values.

    Raises:
        ValueError: there are no rows, a column is missing, a value does not occur, or the rows are of several runs.
    """
    table = [{name: cell(value) for name, value in row.items()} for row in rows]
    if not table:
        raise ValueError("there are no rows to draw")
    picked = {name if name in table[0] else name.replace("_", " "): value for name, value in where.items()}
    missing = [name for name in (*columns, *picked) if any(name not in row for row in table)]
    if missing:
        raise ValueError(f"the rows have no column {', '.join(map(repr, missing))}; they have {', '.join(table[0])}")
    for name, value in picked.items():
        table = matching(table, name, value)
    if run:
        _one_run(table)
    return table


def matching(table: Sequence[Row], column: str, value: object) -> list[Row]:
    """The rows with a value in a column.

    Args:
        table: rows of :func:`chosen`.
        column: one of theirs.
        value: text or a number.

    Returns:
        at least one row.

    Raises:
        ValueError: the value does not occur; lists those that do.
    """
    found = [row for row in table if row[column] == cell(value)]
    if not found:
        there = ", ".join(filter(None, distinct(table, column))) or "none"
        raise ValueError(f"no rows have {column} {cell(value)!r}; there are: {there}")
    return found


def only(table: Sequence[Row], column: str) -> str:
    """The value of a column that must be the same in all rows.

    Args:
        table: rows of :func:`chosen`.
        column: one of theirs.

    Returns:
        the value.

    Raises:
        ValueError: there are several; says how to choose.
    """
    there = distinct(table, column)
    if len(there) > 1:
        raise ValueError(f"the rows differ in {column}: {', '.join(there)}; choose one, such as "
                         f"{column.replace(' ', '_')}={there[0]!r}")
    return there[0]


def distinct(table: Iterable[Row], column: str, order: Sequence[str] = ()) -> list[str]:
    """The values of a column.

    Args:
        table: rows of :func:`chosen`.
        column: one of theirs.
        order: the values that come first, in this order, where they occur.

    Returns:
        each once; the others follow by number if they are numbers, else as they occur.
    """
    there = list(dict.fromkeys(row[column] for row in table))
    rest = [value for value in there if value not in order]
    return [value for value in order if value in there] + (sorted(rest, key=float) if _numbers(rest) else rest)


def number(text: str) -> float:
    """The number in a cell.

    Args:
        text: a cell of :func:`chosen`.

    Returns:
        the number, NaN for an empty cell.

    Raises:
        ValueError: the cell holds no number.
    """
    try:
        return float(text) if text else float("nan")
    except ValueError:
        raise ValueError(f"a cell holds {text!r} where a figure needs a number") from None


def cell(value: object) -> str:
    """A cell as text, the same for a number and for any way to write it.

    Args:
        value: text, a number, or None.

    Returns:
        such as ``0.003`` for 3e-3 and ``10`` for 10.0; empty for None, NaN and blanks.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        text = value.strip()
        if text not in ("inf", "nan") and not (text[:1].isdigit() or text[:1] in tuple("+-.")):
            return text
        try:
            value = float(text)
        except ValueError:
            return text
    if not isinstance(value, Real):
        return str(value)
    exact = float(value)
    if exact != exact:
        return ""
    return str(int(exact)) if exact.is_integer() else repr(exact)


def _numbers(values: Sequence[str]) -> bool:
    try:
        return bool([float(value) for value in values])
    except ValueError:
        return False


def _one_run(table: Sequence[Row]) -> None:
    differ = [name for name in GROUP if name in table[0] and len(distinct(table, name)) > 1]
    if differ:
        there = "; ".join(f"{name}: {', '.join(distinct(table, name))}" for name in differ)
        example = f"{differ[0].replace(' ', '_')}={distinct(table, differ[0])[0]!r}"
        raise ValueError(f"the rows are of several runs ({there}); choose one, such as {example}")
