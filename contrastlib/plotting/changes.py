"""What steps along the gradient's sign change."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from contrastlib.plotting.rows import chosen, distinct, floats
from contrastlib.plotting.style import FAINT, INK, WIDTH, colour_of, fit, in_order, page, paler, style
from contrastlib.tables import pick

_METRICS = {"p_t": "change of probability pₜ", "accuracy": "change of accuracy", "y_t": "change of logit yₜ"}
_COLUMNS = ("contrast", "epsilon", "steps", "metric", "value", "se")
_PAPERS = ("network", "epsilon", "iterations", "contrast", "quantity", "delta")
_REACH = 0.27  # rows between the marks of the first and of the middle number of steps
_TICK = "#c4c4c4"


def changes(rows: pd.DataFrame, *, epsilon: float = 0.003, reference: pd.DataFrame | None = None, width: float = WIDTH,
            **where: object) -> Figure:
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
    drawn = pick(table[table["contrast"] != "before"], epsilon=epsilon)
    before = table[table["contrast"] == "before"].set_index("metric")["value"]
    contrasts, steps = in_order(drawn["contrast"]), distinct(drawn, "steps")
    metrics = distinct(drawn, "metric", tuple(_METRICS))
    drawn = drawn.assign(contrast_at=drawn["contrast"].map(contrasts.index), step=drawn["steps"].map(steps.index))
    ticks = None if reference is None else _ticks(reference, epsilon, drawn, steps[-1])
    with style():
        figure = page(width=width)
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for ax, metric in zip(panels, metrics):
            _frame(ax, _METRICS.get(metric, metric), before.get(metric), len(contrasts))
            if ticks is not None:
                for contrast, own in ticks[ticks["quantity"] == metric].groupby("contrast"):
                    if contrast in contrasts:
                        at = contrasts.index(contrast)
                        ax.vlines(own["delta"], at - 0.42, at + 0.42, color=_TICK, linewidth=1, zorder=1.5,
                                  label=f"papers {contrast}")
            _draw_changes(ax, drawn[drawn["metric"] == metric], len(steps))
        panels[0].set_yticks(range(len(contrasts)), contrasts)
        for label, contrast in zip(panels[0].get_yticklabels(), contrasts):
            label.set(color=colour_of(contrast), fontweight="bold")
        _write_legend(figure, steps, ticks)
        fit(figure, panels[0], height=(0.15 + 0.11 * len(steps)) * len(contrasts))
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


def _draw_changes(ax: Axes, table: pd.DataFrame, steps: int) -> None:
    """A mark with its interval for each contrast and number of steps, joined to zero."""
    value, spread = table["value"], 1.96 * table["se"]
    y = table["contrast_at"] + (_REACH * (2 * table["step"] / (steps - 1) - 1) if steps > 1 else 0)
    colours = [_shade(colour_of(contrast), step, steps) for contrast, step in zip(table["contrast"], table["step"])]
    ax.hlines(y, 0, value, colors=[paler(colour, 0.6) for colour in colours], linewidth=1.1, zorder=2.5)
    ax.hlines(y, value - spread, value + spread, colors=[paler(colour, 0.5) for colour in colours], linewidth=3.5,
              zorder=3.5, label="95 %")
    ax.scatter(value, y, c=colours, s=25, edgecolors="white", linewidths=0.6, zorder=4, label="mean")


def _shade(colour: str, step: int, steps: int) -> str:
    return paler(colour, 1 if steps == 1 else 0.45 + 0.55 * step / (steps - 1))


def _ticks(reference: pd.DataFrame, epsilon: float, drawn: pd.DataFrame, steps: str) -> pd.DataFrame:
    """The papers' changes at these steps, those of y_t on our scale."""
    rows = pick(chosen(reference, _PAPERS, {}, run=False), epsilon=epsilon, iterations=steps)
    rows = rows.assign(delta=floats(rows["delta"]))
    ours = drawn[(drawn["contrast"] == "original") & (drawn["metric"] == "y_t") & (drawn["steps"] == steps)]["value"]
    logits = rows["quantity"] == "y_t"
    theirs = rows[logits & (rows["contrast"] == "original")].set_index("network")["delta"].replace(0, np.nan)
    scale = rows["network"].map((ours.iloc[0] if len(ours) else np.nan) / theirs)
    rows.loc[logits, "delta"] *= scale
    return rows.dropna(subset=["delta"])


def _write_legend(figure: Figure, steps: Sequence[str], ticks: pd.DataFrame | None) -> None:
    shown = [Line2D([0, 1], [0, 0], color=_shade("#4d4d4d", i, len(steps)), marker="o", markersize=5, linewidth=1.3,
                    markeredgecolor="white", markeredgewidth=0.6, label=f"{n} step{'' if n == '1' else 's'}")
             for i, n in enumerate(steps)]
    if ticks is not None:
        scaled = "; their yₜ scaled to our original" if (ticks["quantity"] == "y_t").any() else ""
        shown.append(Line2D([], [], color=_TICK, marker="|", markersize=9, markeredgewidth=1.2, linestyle="",
                            label=f"the review, {ticks['network'].nunique()} networks, {steps[-1]} steps{scaled}"))
    figure.legend(handles=shown, loc="outside lower center", ncols=len(shown), handlelength=1.6, columnspacing=1.6,
                  handletextpad=0.6, fontsize=8)
