"""How probable a class stays when only pixels of one sign are kept."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from contrastlib.plotting.rows import Rows, chosen, distinct, floats
from contrastlib.plotting.style import FAINT, INK, WIDTH, colour_of, fit, in_order, page, paler, style
from contrastlib.tables import pick

_COLUMNS = ("method", "target", "budget", "baseline", "keep", "contrast", "kept", "value", "se", "low", "high")
_PLACE = ["method", "target", "baseline"]
_METHODS = {"linear_approximation": "Linear\napproximation", "grad_cam": "Grad-CAM", "xgrad_cam": "XGradCAM"}
_TARGETS = {"t1": "t₁", "t2": "t₂"}
_BASELINES = ("blur", "mean colour", "channel mean", "black")
_BUDGETS = {"published": "as published", "swapped": "signs put right", "caption": "as the caption says"}
_BETTER = {"positive": "higher is better", "negative": "lower is better"}
_PAPERS = ("table", "method", "target", "baseline", "kept_features", "contrast", "relative_probability")
_THEIRS = {"LA": "linear_approximation", "GC": "grad_cam", "XC": "xgrad_cam", "zeros": "mean colour",
           "mean": "channel mean"}
_EVEN, _STRIPE = "#d2d2d2", "#f6f6f4"
_BAR = 0.13  # inches of the bar above a panel
_TARGET, _METHOD = -64, -136  # points from a panel to the names of targets and methods


class Panel(NamedTuple):
    """What one panel shows: pairs of rows, the original's with their value as ``before``."""

    budget: str
    keep: str
    other: str  # the contrast that is compared with the original
    pairs: pd.DataFrame

    @property
    def kept(self) -> str:
        """The shares of pixels that are kept, as text."""
        shares = 100 * self.pairs[["kept", "kept before"]]
        low, high = f"{shares.min(axis=None):.0f}", f"{shares.max(axis=None):.0f}"
        return f"{low} % of pixels kept" if low == high else f"{low}–{high} % of pixels kept"


def masked(
    rows: Rows,
    *,
    budgets: str | Sequence[str] = "published",
    reference: Rows | None = None,
    table: str = "table1",
    width: float = WIDTH,
    **where: object,
) -> Figure:
    """Relative probability of the target when only pixels of one sign are kept, original against another contrast.

    A line joins the two values of a setting in the colour of the better one, pale where the 95 % interval of their
    paired difference holds zero; the bar above a panel counts them. Bars at the marks are 95 % intervals.

    Args:
        rows: of ``masking.csv``, of one run; with the budget ``none``, a line marks the unmasked images.
        budgets: how many pixels are kept; several stand side by side as columns, one has its two signs side by side.
        reference: rows of the review's ``review_masking_tables.csv``, drawn as hollow marks.
        table: which of the review's tables.
        width: inches.
        where: further columns that pick the rows, such as ``classifier="birds_vgg"``.

    Returns:
        the figure.

    Raises:
        ValueError: a column is missing, nothing has that budget or these values, the rows are of several runs, or not
            exactly one contrast stands beside the original.
    """
    ours = chosen(rows, _COLUMNS, where)
    names = (budgets,) if isinstance(budgets, str) else tuple(budgets)
    panels = [_panel(ours, budget, keep) for keep in ("positive", "negative") for budget in names]
    places = pd.concat([panel.pairs[_PLACE] for panel in panels]).drop_duplicates()
    lines = _lines(list(places.itertuples(index=False, name=None)))
    whole = ours[ours["budget"] == "none"]
    theirs = None if reference is None else _review(reference, table)
    values = [*whole["value"], *([] if theirs is None else theirs["value"]),
              *(end for panel in panels for end in _ends(panel.pairs))]
    scale = max(floor(20 * min(values) - 0.4) / 20, 0), min(ceil(20 * max(values) + 0.4) / 20, 1)
    columns = len(names) if len(names) > 1 else 2
    line, mark, small = (0.155, 4.6, 7.5) if len(names) == 1 else (0.115, 4.0, 7.0)
    height = line * (max(lines.values()) + 1.2)
    with style():
        figure = page(len(panels) // columns, width=width, gap=0.04)
        axes = figure.subplots(2 * len(panels) // columns, columns, squeeze=False,
                               height_ratios=[_BAR, height] * (len(panels) // columns))
        for i, panel in enumerate(panels):
            row, column = divmod(i, columns)
            bar, ax = axes[2 * row, column], axes[2 * row + 1, column]
            _frame(ax, lines, scale, small)
            ax.tick_params(length=0, labelleft=not column, labelbottom=i + columns >= len(panels))
            own = theirs if theirs is None else theirs[theirs["keep"] == panel.keep]
            _draw_unmasked(ax, lines, whole)
            _draw_pairs(ax, panel, lines, own, mark)
            _draw_tally(bar, panel)
            _write_head(bar, panel, alone=len(names) == 1, first=not column, top=not row)
            if not column:
                _name_blocks(ax, lines)
        _write_legend(figure, in_order(["original", *(p.other for p in panels)]), len(whole) > 0, theirs is not None)
        fit(figure, axes[1, 0], height=height)
    return figure


def _panel(table: pd.DataFrame, budget: str, keep: str) -> Panel:
    """The pairs of one budget and sign, each with the contrast that serves the intent better, if one does."""
    rows = pick(table, budget=budget, keep=keep)
    others = [name for name in distinct(rows, "contrast") if name != "original"]
    if len(others) != 1:
        raise ValueError(f"budget {budget!r} must have one contrast beside 'original', it has "
                         f"{', '.join(others) or 'none'}")
    before = rows[rows["contrast"] == "original"][[*_PLACE, "kept", "value", "se"]]
    pairs = rows[rows["contrast"] != "original"].merge(before, "outer", _PLACE, suffixes=("", " before"),
                                                       indicator=True)
    alone = pairs[pairs["_merge"] != "both"]
    if len(alone):
        name = others[0] if alone["_merge"].iloc[0] == "left_only" else "original"
        raise ValueError(f"budget {budget!r}, keep {keep!r} has only {name!r} at {', '.join(alone[_PLACE].iloc[0])}; "
                         f"a pair needs 'original' and {others[0]!r}")
    more, less = pairs["low"] > 0, pairs["high"] < 0
    better, worse = (more, less) if keep == "positive" else (less, more)
    pairs["winner"] = np.select([better, worse], [others[0], "original"], "")
    return Panel(budget, keep, others[0], pairs)


def _lines(places: Sequence[tuple[str, str, str]]) -> dict[tuple[str, ...], float]:
    """By method, target and baseline the distance from the first, in lines, with gaps between methods and targets."""
    def rank(names: Sequence[str], name: str) -> tuple[int, str]:
        return (list(names).index(name) if name in names else len(names), name)

    found: dict[tuple[str, ...], float] = {}
    before, at = None, -1.0
    for place in sorted(places, key=lambda p: (rank(tuple(_METHODS), p[0]), p[1], rank(_BASELINES, p[2]))):
        at += 1.0 if before is None or place[:2] == before[:2] else 1.9 if place[0] != before[0] else 1.45
        found[place], before = at, place
    return found


def _blocks(lines: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], tuple[float, float]]:
    """The first and the last line of each method and target."""
    found: dict[tuple[str, ...], tuple[float, float]] = {}
    for place, line in lines.items():
        found[place[:2]] = (found.get(place[:2], (line, line))[0], line)
    return found


def _review(reference: Rows, table: str) -> pd.DataFrame:
    """The review's relative probabilities in the words of our rows."""
    rows = chosen(reference, _PAPERS, {"table": table}, run=False)
    return rows.replace({"method": _THEIRS, "baseline": _THEIRS}).assign(
        keep=rows["kept_features"], value=floats(rows["relative_probability"]))


def _ends(pairs: pd.DataFrame) -> list[float]:
    """The ends of all intervals."""
    return [end for kind in ("", " before") for side in (-1.96, 1.96)
            for end in pairs[f"value{kind}"] + side * pairs[f"se{kind}"]]


def _frame(ax: Axes, lines: Mapping[tuple[str, ...], float], scale: tuple[float, float], size: float) -> None:
    """Empty axes with their scale, a stripe for each block and the names of the lines."""
    ax.set(xlim=scale, ylim=(max(lines.values()) + 0.6, -0.6))
    ax.set_yticks(list(lines.values()), [baseline for *_, baseline in lines], size=size)
    ax.xaxis.set_major_locator(MultipleLocator(0.25 if scale[1] - scale[0] > 0.6 else 0.1))
    ax.grid(axis="x", color="#e9e9e9")
    ax.spines["left"].set_visible(False)
    for start, end in _blocks(lines).values():
        ax.axhspan(start - 0.5, end + 0.5, color=_STRIPE, linewidth=0, zorder=0)


def _draw_unmasked(ax: Axes, lines: Mapping[tuple[str, ...], float], whole: pd.DataFrame) -> None:
    values = {(row["method"], row["target"]): row["value"] for _, row in whole.iterrows()}
    for block, (start, end) in _blocks(lines).items():
        if block in values:
            ax.vlines([values[block]], start - 0.5, end + 0.5, color=INK, linewidth=0.8, zorder=2, label="unmasked")


def _draw_pairs(
    ax: Axes, panel: Panel, lines: Mapping[tuple[str, ...], float], theirs: pd.DataFrame | None, size: float,
) -> None:
    """Both values of each pair with their intervals, joined in the colour of the better; the review's below them."""
    pairs, at = panel.pairs, _at(panel.pairs, lines)
    if theirs is not None:
        below = _at(theirs, lines) + 0.3
        joined = theirs.groupby(below)["value"].agg(["min", "max"])
        ax.hlines(joined.index, joined["min"], joined["max"], colors=FAINT, linewidth=0.6, zorder=2.5)
        for contrast, own in theirs.groupby("contrast"):
            ax.scatter(own["value"], below[own.index], s=(0.65 * size) ** 2, facecolors="white", linewidths=0.8,
                       edgecolors=colour_of(contrast), zorder=3, label=f"the review {contrast}")
        at = at - 0.1 * (at + 0.3).isin(below)
    ax.hlines(at, pairs["value before"], pairs["value"], linewidth=1.8, zorder=3.5, label="joined",
              colors=[colour_of(winner) if winner else _EVEN for winner in pairs["winner"]])
    for name, kind in (("original", " before"), (panel.other, "")):
        value, spread = pairs[f"value{kind}"], 1.96 * pairs[f"se{kind}"]
        colours = [paler(colour_of(name), 1 if winner else 0.45) for winner in pairs["winner"]]
        ax.hlines(at, value - spread, value + spread, colors=[paler(colour, 0.5) for colour in colours],
                  linewidth=0.65 * size, zorder=4, label=f"{name}, 95 %")
        ax.scatter(value, at, c=colours, s=size**2, edgecolors="white", linewidths=0.5, zorder=4.5, label=name)


def _at(table: pd.DataFrame, lines: Mapping[tuple[str, ...], float]) -> "pd.Series[float]":
    """The line of each row, NaN where the page has none for it."""
    places = table[_PLACE].itertuples(index=False, name=None)
    return pd.Series([lines.get(place, float("nan")) for place in places], table.index)


def _draw_tally(ax: Axes, panel: Panel) -> None:
    """A bar of three parts: how many lines each contrast wins, and how many are undecided."""
    winners, left = list(panel.pairs["winner"]), 0
    ax.set(xlim=(0, len(winners)), ylim=(0, 1))
    ax.set_axis_off()
    for name, colour in ((panel.other, colour_of(panel.other)), ("", _EVEN), ("original", colour_of("original"))):
        count = winners.count(name)
        if count:
            ax.barh([0.5], [count], left=left, height=1, color=colour, edgecolor="white", linewidth=0.8)
            ax.text(left + count / 2, 0.46, str(count), ha="center", va="center_baseline", size=7,
                    color="white" if name else INK)
        left += count


def _write_head(ax: Axes, panel: Panel, *, alone: bool, first: bool, top: bool) -> None:
    """What a panel shows, above and at the left of its bar; one budget has its signs side by side, several below."""
    sign, budget = f"{panel.keep} kept", _BUDGETS.get(panel.budget, panel.budget)
    better = _BETTER[panel.keep]
    title, note, head, aside = (sign, f"{panel.kept}; {better}", budget, "") if alone else (
        budget if top else "", panel.kept, sign, better)
    _write(ax, (0, 1), (0, 15), title, fontweight="bold")
    _write(ax, (0, 1), (0, 4), note, size=7.5, color=FAINT)
    if first:
        _write(ax, (0, 0.5), (-6, 0), "settings won by", size=7.5, color=FAINT, ha="right", va="center")
        _write(ax, (0, 1), (_METHOD, 4), head, fontweight="bold")
        _write(ax, (0, 0.5), (_METHOD, 0), aside, size=7.5, color=FAINT, va="center")


def _name_blocks(ax: Axes, lines: Mapping[tuple[str, ...], float]) -> None:
    """Methods and targets at the left of their lines."""
    blocks = _blocks(lines)
    for (_, target), span in blocks.items():
        _write(ax, (0, sum(span) / 2), (_TARGET, 0), _TARGETS.get(target, target), coords="data", size=9, va="center",
               ha="center")
    for method in dict.fromkeys(method for method, _ in blocks):
        ends = [line for (one, _), span in blocks.items() if one == method for line in span]
        _write(ax, (0, (min(ends) + max(ends)) / 2), (_METHOD, 0), _METHODS.get(method, method), coords="data", size=8,
               va="center", fontweight="bold", linespacing=1.2)


def _write(
    ax: Axes, at: tuple[float, float], aside: tuple[float, float], text: str, *, coords: str = "axes fraction",
    **options: Any,
) -> None:
    """A text some points aside of a place, whose height is a share of the axes or in data."""
    ax.annotate(text, at, aside, xycoords=("axes fraction", coords), textcoords="offset points", **options)


def _write_legend(figure: Figure, contrasts: Sequence[str], unmasked: bool, theirs: bool) -> None:
    shown = [Line2D([0, 1], [0, 0], color=colour_of(name), marker="o", markersize=5, linewidth=1.8, label=name)
             for name in contrasts]
    shown.append(Line2D([], [], color=_EVEN, linewidth=1.8, label="undecided (95 %)"))
    if unmasked:
        shown.append(Line2D([], [], color=INK, linestyle="", marker="|", markersize=10, markeredgewidth=0.8,
                            label="unmasked"))
    if theirs:
        shown.append(Line2D([0, 1], [0, 0], color=FAINT, marker="o", markersize=4, linewidth=0.7,
                            markerfacecolor="white", label="the review"))
    figure.legend(handles=shown, title="relative probability of the target", loc="outside lower center", ncols=len(shown), fontsize=8, handlelength=1.6,
                  columnspacing=1.4, handletextpad=0.5, borderaxespad=0.2)
