"""What becomes of predictions when what a map marks is masked, the wrong ones beside the right, from rows."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from contrastlib.plotting._palette import colour_of
from contrastlib.plotting._style import FAINT, WIDTH, BookFigure, style
from contrastlib.rows import Row, chosen, distinct, matching, number, only

_COLUMNS = ("method", "prediction", "map", "share", "metric", "value", "se", "n")
_MAPS = ("foil", "weighted", "original", "random")
_COLOURS = {"foil": "#3b0f70", "random": FAINT}
_BEFORE = "before"
_KINDS = {"wrong": "predicted wrongly", "right": "predicted rightly, in doubt"}
_WORDS = {
    "becomes the foil": ("becomes the true class", "becomes the runner-up", "share of images"),
    "no longer the target": ("is no longer what it was", "is no longer what it was", "share of images"),
    "margin": ("against the true class", "against the runner-up", "margin $y_t - y_s$ in logits"),
}
"""By metric what the panels of wrong and right predictions show, and the name of their axis."""

_HEIGHT = 3.0  # inches of the figure
_PANEL = 150.0  # points of a panel's height, about
_LINE = 10.5  # points between the names of lines


def flips(
    rows: Iterable[Mapping[str, object]],
    *,
    metric: str = "becomes the foil",
    width: float = WIDTH,
    **where: object,
) -> Figure:
    """What happens to predictions while more and more of what a map marks is masked, with 95 % bands.

    Wrong predictions, contrasted with the true class, stand beside right ones that were in doubt, contrasted with the
    second class: what flips those as readily does not show that a map found the cause of a mistake.

    Args:
        rows: of ``misclassified.csv``, of one run, layer and method.
        metric: ``becomes the foil``, ``no longer the target`` or ``margin``.
        width: inches.
        where: further columns that pick the rows, such as ``classifier="birds_vgg"`` or ``layer="features.27"``.

    Returns:
        the figure; a panel for each kind of prediction that there is, with a line for each map.

    Raises:
        ValueError: a column is missing, nothing has that metric or these values, the metric has no shares, or the rows
            are of several runs or methods.
    """
    table = matching(chosen(rows, _COLUMNS, where), "metric", metric)
    only(table, "method")
    if not any(row["share"] for row in table):
        raise ValueError(f"the metric {metric!r} does not depend on the share of pixels that is masked; "
                         f"choose from {', '.join(_WORDS)}")
    *titles, ylabel = _WORDS.get(metric, (metric, metric, metric))
    kinds = distinct(table, "prediction", tuple(_KINDS))
    with style():
        figure = BookFigure(figsize=(width, _HEIGHT), layout="constrained")
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for ax, kind in zip(panels, kinds):
            own = matching(table, "prediction", kind)
            words = dict(zip(_KINDS, titles)).get(kind, metric)
            ax.set_title(f"{_KINDS.get(kind, kind)} (n = {only(own, 'n')}):\n{words}", linespacing=1.3)
            _draw_panel(ax, own)
        _set_limits(panels, shares=metric != "margin")
        for ax in panels:
            _name_lines(ax)
        panels[0].set_ylabel(ylabel)
        figure.supxlabel("share of pixels masked, in %", fontsize=8.5)
    return figure


def _draw_panel(ax: Axes, table: Sequence[Row]) -> None:
    """The lines and bands of one kind of prediction; each begins where nothing is masked."""
    ax.grid(color="#ececec", linewidth=0.6)
    ax.set_axisbelow(True)
    names = [name for name in distinct(table, "map", _MAPS) if name != _BEFORE]
    for name in names:
        points = {number(row["share"]): (number(row["value"]), number(row["se"]))
                  for row in table if row["map"] in (_BEFORE, name)}
        share = np.array(sorted(points))
        value, se = np.array([points[at] for at in share]).T
        colour, first = _COLOURS.get(name, colour_of(name)), name == _MAPS[0]
        ax.fill_between(100 * share, value - 1.96 * se, value + 1.96 * se, color=colour, alpha=0.13, linewidth=0)
        ax.plot(100 * share, value, color=colour, label=name, linewidth=2.2 if first else 1.5, marker="o",
                markersize=3.6 if first else 2.6, linestyle=(0, (3, 1.5)) if name == "random" else "-",
                zorder=3 if first else 2.5, clip_on=False)
    masked = sorted({100 * number(row["share"]) for row in table})
    ax.set_xticks(masked, [f"{at:g}" for at in masked])
    ax.set_xlim(0, max(masked))


def _set_limits(panels: Sequence[Axes], *, shares: bool) -> None:
    """A common vertical axis: shares begin at 0 and end at 1 at most; a margin has a line at 0, where it flips."""
    if shares:
        panels[0].set_ylim(0, min(1.0, panels[0].get_ylim()[1]))
    for ax in panels:
        if not shares:
            ax.axhline(0, color=FAINT, linewidth=0.8, zorder=1, label="_zero")


def _name_lines(ax: Axes) -> None:
    """The names of the lines beside their ends, moved apart where they would overlap."""
    low, high = ax.get_ylim()
    lines = sorted((line for line in ax.lines if not str(line.get_label()).startswith("_")), key=_end)
    ends = [(_end(line) - low) / (high - low) * _PANEL for line in lines]
    for line, at in zip(lines, _apart(ends)):
        ax.annotate(str(line.get_label()), (1, at / _PANEL), (5, 0), xycoords="axes fraction",
                    textcoords="offset points", va="center", size=8, color=line.get_color())


def _end(line: Line2D) -> float:
    return float(np.asarray(line.get_ydata())[-1])


def _apart(ends: Sequence[float]) -> list[float]:
    """Rising places in points, a line's distance apart and none below the axis, near to those that are wanted."""
    places = list(ends)
    for _ in range(100):
        places = [max(place, _LINE / 2 + i * _LINE) for i, place in enumerate(places)]
        for i in range(len(places) - 1):
            lacking = max(0.0, _LINE - (places[i + 1] - places[i]))
            places[i], places[i + 1] = places[i] - lacking / 2, places[i + 1] + lacking / 2
    return places
