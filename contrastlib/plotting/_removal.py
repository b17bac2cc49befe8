"""What is left of a class while the most or the least relevant pixels are removed, from rows."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from contrastlib.plotting._pairs import METHODS
from contrastlib.plotting._palette import colour_of, in_order
from contrastlib.plotting._style import FAINT, WIDTH, BookFigure, style
from contrastlib.rows import Row, chosen, distinct, number, only

_COLUMNS = ("method", "target", "baseline", "removed", "contrast", "share", "value", "se")
_PLACES = ("method", "target", "baseline")
_STEP, _HALF = 21.0, 11.0  # points between the names of curves; of one line
_FIRST = {"highest": "highest relevance removed first\n(a lower curve is better)",
          "lowest": "lowest relevance removed first\n(a higher curve is better)"}


def removal_curves(
    rows: Iterable[Mapping[str, object]],
    *,
    by: Sequence[str] = ("method", "target"),
    width: float = WIDTH,
    **where: object,
) -> Figure:
    """Relative probability of the target over the share of pixels removed, with 95 % bands.

    Args:
        rows: of ``masking_curves.csv``, of one run.
        by: the columns whose values have panels of their own, one below the other: of method, target and baseline.
            The others must have one value.
        width: inches.
        where: further columns that pick the rows, such as ``baseline="blur"``.

    Returns:
        the figure; beside each contrast's name stands the area under its whole curve with its 95 % interval.

    Raises:
        ValueError: a column is missing, nothing has these values, the rows are of several runs, or a column that is
            not in `by` has several values.
    """
    table = chosen(rows, (*_COLUMNS, *by), where)
    for column in _PLACES:
        if column not in by:
            only(table, column)
    orders = {"method": tuple(METHODS)}
    every = product(*(distinct(table, column, orders.get(column, ())) for column in by))
    places = [place for place in every if any(_at(row, by) == place for row in table)]
    ends = distinct(table, "removed", tuple(_FIRST))
    with style():
        layout = ConstrainedLayoutEngine(hspace=0.05, wspace=0.04)
        figure = BookFigure(figsize=(width, 0.8 + 1.5 * len(places)), layout=layout)
        panels = figure.subplots(len(places), len(ends), sharex=True, sharey=True, squeeze=False)
        for place, line in zip(places, panels):
            for end, ax in zip(ends, line):
                _draw_panel(ax, [row for row in table if _at(row, by) == place and row["removed"] == end])
            line[0].set_ylabel("\n".join(_words(name) for name in place), linespacing=1.3)
        for end, ax in zip(ends, panels[0]):
            ax.set_title(_FIRST.get(end, end), linespacing=1.3)
        figure.supxlabel("share of pixels removed", fontsize=8.5)
        figure.supylabel("relative probability of the target", fontsize=8.5)
    return figure


def _at(row: Row, by: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[column] for column in by)


def _words(name: str) -> str:
    if name in ("t1", "t2"):
        return f"target $t_{name[1]}$"
    return METHODS.get(name, name).replace("\n", " ")


def _draw_panel(ax: Axes, table: Sequence[Row]) -> None:
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    ax.grid(color="#ececec", linewidth=0.6)
    contrasts = in_order(row["contrast"] for row in table)
    for contrast in contrasts:
        line = sorted((number(row["share"]), number(row["value"]), 1.96 * number(row["se"])) for row in table
                      if row["contrast"] == contrast and row["share"] != "area")
        share, value, spread = np.array(line).reshape(-1, 3).T
        ax.fill_between(share, value - spread, value + spread, color=colour_of(contrast), alpha=0.18, linewidth=0)
        ax.plot(share, value, color=colour_of(contrast), linewidth=2 if contrast == "weighted" else 1.5,
                label=contrast, zorder=3 if contrast == "weighted" else 2.5)
    _write_areas(ax, {row["contrast"]: row for row in table if row["share"] == "area"}, contrasts)


def _write_areas(ax: Axes, areas: Mapping[str, Row], contrasts: Sequence[str]) -> None:
    """The names of the curves with the areas under them, beside the panel."""
    top = _STEP * len(contrasts) / 2 - (_HALF if areas else 0)
    lines = [("area", top + _HALF, FAINT)] if areas else []
    lines += [(_named(contrast, areas.get(contrast)), top - _STEP * i, colour_of(contrast))
              for i, contrast in enumerate(contrasts)]
    for text, above, colour in lines:
        ax.annotate(text, (1, 0.5), (6, above), color=colour, size=7.5, va="top", xycoords="axes fraction",
                    textcoords="offset points", linespacing=1.1)


def _named(contrast: str, area: Row | None) -> str:
    if area is None:
        return contrast
    spread = 1.96 * number(area["se"])
    return f"{contrast}\n{number(area['value']):.3f}" + ("" if np.isnan(spread) else f" ± {spread:.3f}")
