"""What steps along the gradient's sign change, from rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from contrastlib.plotting._palette import colour_of, in_order, paler
from contrastlib.plotting._style import FAINT, INK, WIDTH, BookFigure, style
from contrastlib.rows import Row, chosen, distinct, matching, number

_METRICS = {"p_t": "change of probability $p_t$", "accuracy": "change of accuracy", "y_t": "change of logit $y_t$"}
_COLUMNS = ("contrast", "epsilon", "steps", "metric", "value", "se")
_PAPERS = ("network", "epsilon", "iterations", "contrast", "quantity", "delta")
_REACH = 0.27  # rows between the marks of the first and of the middle number of steps
_TICK = "#c4c4c4"


def changes(
    rows: Iterable[Mapping[str, object]],
    *,
    epsilon: float = 0.003,
    reference: Iterable[Mapping[str, object]] | None = None,
    width: float = WIDTH,
    **where: object,
) -> Figure:
    """How far steps along each contrast's gradient sign change p_t, accuracy and y_t, with 95 % intervals.

    Args:
        rows: of ``gradient_sign.csv``, of one run.
        epsilon: the largest change of a pixel, for images in [0, 1].
        reference: rows of the review's ``review_gradient_sign_digitised.csv``, drawn as a tick for each network at the
            largest number of steps. Logits of networks differ in scale, so a network's ticks of y_t are scaled to put
            its original contrast on ours; without that contrast y_t has no ticks.
        width: inches.
        where: further columns that pick the rows, such as ``classifier="birds_vgg"``.

    Returns:
        the figure.

    Raises:
        ValueError: a column is missing, nothing has that epsilon or these values, or the rows are of several runs.
    """
    table = chosen(rows, _COLUMNS, where)
    drawn = matching([row for row in table if row["contrast"] != "before"], "epsilon", epsilon)
    before = {row["metric"]: number(row["value"]) for row in table if row["contrast"] == "before"}
    contrasts, steps = in_order(row["contrast"] for row in drawn), distinct(drawn, "steps")
    metrics = distinct(drawn, "metric", tuple(_METRICS))
    ticks, networks = ([], 0) if reference is None else _ticks(reference, epsilon, drawn, steps[-1])
    with style():
        height = 0.95 + (0.15 + 0.11 * len(steps)) * len(contrasts)
        figure = BookFigure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.06))
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for ax, metric in zip(panels, metrics):
            _frame(ax, _METRICS.get(metric, metric), before.get(metric), len(contrasts))
            _draw_ticks(ax, [row for row in ticks if row["quantity"] == metric], contrasts)
            for row in (row for row in drawn if row["metric"] == metric):
                _draw_change(ax, row, contrasts.index(row["contrast"]), steps)
        panels[0].set_yticks(range(len(contrasts)), contrasts)
        for label, contrast in zip(panels[0].get_yticklabels(), contrasts):
            label.set(color=colour_of(contrast), fontweight="bold")
        _legend(figure, steps, networks, any(row["quantity"] == "y_t" for row in ticks))
    return figure


def _frame(ax: Axes, title: str, before: float | None, contrasts: int) -> None:
    ax.set_title(title, pad=15)
    if before is not None:
        ax.annotate(f"from {before:.3g} before", (0.5, 1), (0, 4), xycoords="axes fraction", ha="center",
                    textcoords="offset points", size=7.5, color=FAINT)
    for i in range(0, contrasts, 2):
        ax.axhspan(i - 0.5, i + 0.5, color="#f6f6f4", linewidth=0, zorder=0)
    ax.axvline(0, color=INK, linewidth=0.7, zorder=1)
    ax.set_ylim(contrasts - 0.5, -0.5)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def _draw_change(ax: Axes, row: Row, at: int, steps: Sequence[str]) -> None:
    place = steps.index(row["steps"])
    y = at + _offset(place, len(steps))
    value, spread = number(row["value"]), 1.96 * number(row["se"])
    colour = _shade(colour_of(row["contrast"]), place, len(steps))
    ax.plot([0, value], [y, y], color=paler(colour, 0.6), linewidth=1.1, solid_capstyle="butt", zorder=2.5)
    ax.errorbar([value], [y], xerr=None if np.isnan(spread) else [spread], fmt="o", color=colour, markersize=5,
                markeredgecolor="white", markeredgewidth=0.6, ecolor=paler(colour, 0.5), elinewidth=3.5, zorder=4,
                label=f"{row['contrast']}, {row['steps']}")


def _offset(place: int, steps: int) -> float:
    return _REACH * (2 * place / (steps - 1) - 1) if steps > 1 else 0.0


def _shade(colour: str, place: int, steps: int) -> str:
    return paler(colour, 1 if steps == 1 else 0.45 + 0.55 * place / (steps - 1))


def _ticks(
    reference: Iterable[Mapping[str, object]], epsilon: float, drawn: Sequence[Row], steps: str,
) -> tuple[list[Row], int]:
    """The papers' changes at these steps, those of y_t on our scale, and how many networks they are of."""
    rows = matching(matching(chosen(reference, _PAPERS, {}), "epsilon", epsilon), "iterations", steps)
    ours = [number(row["value"]) for row in drawn
            if (row["contrast"], row["metric"], row["steps"]) == ("original", "y_t", steps)]
    theirs = {row["network"]: number(row["delta"]) for row in rows
              if (row["contrast"], row["quantity"]) == ("original", "y_t")}
    found = []
    for row in rows:
        if row["quantity"] != "y_t":
            found.append(row)
        elif ours and theirs.get(row["network"]):
            scale = ours[0] / theirs[row["network"]]
            found.append({**row, "delta": repr(scale * number(row["delta"]))})
    return found, len(distinct(rows, "network"))


def _draw_ticks(ax: Axes, ticks: Sequence[Row], contrasts: Sequence[str]) -> None:
    for i, contrast in enumerate(contrasts):
        values = [number(row["delta"]) for row in ticks if row["contrast"] == contrast]
        if values:
            ax.vlines(values, i - 0.42, i + 0.42, color=_TICK, linewidth=1, zorder=1.5, label=f"papers {contrast}")


def _legend(figure: Figure, steps: Sequence[str], networks: int, scaled: bool) -> None:
    shown: list[Any] = [
        Line2D([0, 1], [0, 0], color=_shade("#4d4d4d", i, len(steps)), marker="o", markersize=5, linewidth=1.3,
               markeredgecolor="white", markeredgewidth=0.6, label=f"{n} step{'' if n == '1' else 's'}")
        for i, n in enumerate(steps)]
    if networks:
        shown.append(Line2D([], [], color=_TICK, marker="|", markersize=9, markeredgewidth=1.2, linestyle="",
                            label=f"the review, {networks} networks, {steps[-1]} steps"
                            + ("; their $y_t$ scaled to our original" if scaled else "")))
    figure.legend(handles=shown, loc="outside lower center", ncols=len(shown), handlelength=1.6, columnspacing=1.6,
                  handletextpad=0.6, fontsize=8)
