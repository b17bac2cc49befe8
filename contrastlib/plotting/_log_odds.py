"""Measures against the log-odds of the most probable class, from rows."""

from collections.abc import Iterable, Mapping, Sequence
from math import isinf, log
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from contrastlib.plotting._grid import fitted
from contrastlib.plotting._palette import CONTRAST_COLOURS, colour_of
from contrastlib.plotting._style import FAINT, INK, WIDTH, BookFigure, style
from contrastlib.rows import GROUP, Row, chosen, distinct, matching, number

_COLUMNS = ("classifier", "from", "to", "metric", "value", "low", "high")
_BELOW, _NAME = 0.62, 0.17  # inches from a panel to the names of its lines; from one name to the next
_KINDS = ("correlation", "positive share")
_CHANCES = tuple((log(p / (1 - p)), f"{p:g}") for p in (0.001, 0.1, 0.9, 0.999, 0.99999, 0.9999999))
_LINES: tuple[tuple[str, Any], ...] = (
    ("o", "-"), ("s", (0, (4, 2))), ("^", (0, (1, 1.5))), ("D", (0, (5, 1.5, 1, 1.5))))


def by_log_odds(
    rows: Iterable[Mapping[str, object]],
    *,
    metrics: Sequence[str] | Mapping[str, Sequence[str]] = (),
    least: int = 10,
    width: float = WIDTH,
    **where: object,
) -> Figure:
    """Measures against the log-odds of the most probable class, with 95 % intervals; several runs side by side.

    Args:
        rows: of ``dominance.csv``, of one run or several.
        metrics: those drawn, by the title of their panel or as a list; correlations share a panel, and so do positive
            shares. All by default.
        least: bins with fewer images are left out, if any has more.
        width: inches.
        where: further columns that pick the rows, such as ``split="test"``.

    Returns:
        the figure; a mark stands in the middle of its bin, in an open bin as far from its edge as in its neighbour.

    Raises:
        ValueError: a column is missing, or nothing has that metric or these values.
    """
    table = _bins(chosen(rows, _COLUMNS, where, run=False), least)
    runs = _runs(table)
    panels = metrics if isinstance(metrics, Mapping) else _grouped(metrics or distinct(table, "metric"))
    most = max(map(len, panels.values()))
    height = 2.85 + (_NAME * most if most > 1 else 0) + (0.25 if len(runs) > 1 else 0)
    with style():
        figure = BookFigure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.06))
        for ax, (title, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
            for name in names:
                found = matching(table, "metric", name)
                for own, (marker, dashes) in zip(runs.values(), _LINES * len(runs)):
                    _draw_line(ax, [row for row in found if row in own], name, marker, dashes)
            _frame(ax, fitted(title, width / len(panels) - 0.36, 8.5), names)
            _probabilities(ax)
        if len(runs) > 1:
            shown = [Line2D([0, 1], [0, 0], color=FAINT, marker=marker, linestyle=dashes, markersize=4.5, label=name)
                     for name, (marker, dashes) in zip(runs, _LINES * len(runs))]
            figure.legend(handles=shown, loc="outside upper center", ncols=len(shown), handlelength=2.6)
    return figure


def _bins(table: Sequence[Row], least: int) -> list[Row]:
    """The rows of single bins, without those of too few images; the row of all images only where it is alone."""
    single = [row for row in table if not (isinf(number(row["from"])) and isinf(number(row["to"])))] or list(table)
    return [row for row in single if number(row.get("n", "")) >= least] or single


def _runs(table: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each run, by the least that tells it from the others."""
    differ = [name for name in GROUP if name in table[0] and len(distinct(table, name)) > 1]
    count = len({tuple(row[name] for name in differ) for row in table})
    for name in reversed(differ):
        fewer = [other for other in differ if other != name]
        if len({tuple(row[other] for other in fewer) for row in table}) == count:
            differ = fewer
    found: dict[str, list[Row]] = {}
    for row in table:
        found.setdefault(", ".join(row[name] for name in differ), []).append(row)
    return found


def _grouped(metrics: Sequence[str]) -> dict[str, list[str]]:
    """Metrics by the kind of measure that their names begin with."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        found.setdefault(next((kind for kind in _KINDS if metric.startswith(f"{kind} ")), metric), []).append(metric)
    return found


def _middle(row: Row, edges: Sequence[float]) -> float:
    """The middle of a bin; an open bin gets the width of the nearest closed one."""
    start, end = number(row["from"]), number(row["to"])
    if isinf(start) and isinf(end):
        return 0.0
    widths = np.diff(edges) if len(edges) > 1 else np.ones(1)
    if isinf(start):
        start = end - widths[0]
    if isinf(end):
        end = start + widths[-1]
    return (start + end) / 2


def _draw_line(ax: Axes, table: Sequence[Row], metric: str, marker: str, dashes: Any) -> None:
    if not table:
        return
    edges = sorted({edge for row in table for edge in (number(row["from"]), number(row["to"])) if not isinf(edge)})
    points = sorted((_middle(row, edges), *(number(row[name]) for name in ("value", "low", "high"))) for row in table)
    at, value, low, high = np.array(points).T
    colour = _colour(metric)
    ax.errorbar(at, value, yerr=[value - low, high - value], color=colour, marker=marker, linestyle=dashes,
                markersize=4.5, markeredgecolor="white", markeredgewidth=0.6, linewidth=1.4, elinewidth=1, zorder=3,
                label=metric)


def _colour(metric: str) -> str:
    """That of the first contrast that the metric names."""
    return next((colour_of(word) for word in metric.split() if word in CONTRAST_COLOURS), INK)


def _frame(ax: Axes, title: str, names: Sequence[str]) -> None:
    ax.set_title(title, pad=6)
    ax.set_xlabel("log-odds of the\nmost probable class", linespacing=1.2)
    ax.grid(axis="y", color="#ececec", linewidth=0.6)
    ax.set_axisbelow(True)
    if any(name.startswith("norm") for name in names):
        ax.axhline(1, color=INK, linewidth=0.7)
        ax.set_ylim(bottom=0)
    ax.margins(x=0.04)
    if len(names) > 1:
        shown = [Line2D([0, 1], [0, 0], color=_colour(name), linewidth=1.6, label=_short(name)) for name in names]
        below = ax.transAxes + ScaledTranslation(0, -_BELOW, ax.figure.dpi_scale_trans)
        ax.legend(handles=shown, fontsize=8, handlelength=1.4, handletextpad=0.5, borderaxespad=0, borderpad=0,
                  loc="upper left", bbox_to_anchor=(0, 0),
                  bbox_transform=below)


def _short(metric: str) -> str:
    """A metric without its kind: ``original, weighted`` for ``correlation original weighted``."""
    kind = next((kind for kind in _KINDS if metric.startswith(f"{kind} ")), "")
    return ", ".join(metric.removeprefix(kind).split()) if kind else metric


def _probabilities(ax: Axes) -> None:
    """The probabilities that belong to the log-odds, above the panel."""
    low, high = ax.get_xlim()
    kept: list[tuple[float, str]] = []
    for odds, text in _CHANCES:
        if low <= odds <= high and (not kept or odds - kept[-1][0] > 0.25 * (high - low)):
            kept.append((odds, text if kept else f"$p$ = {text}"))
    above = ax.secondary_xaxis("top")
    above.set_xticks([odds for odds, _ in kept], [text for _, text in kept])
    above.tick_params(labelsize=7, labelcolor=FAINT, color=FAINT, length=2)
    above.spines["top"].set(visible=True, color="#dddddd")
