"""How probable a class stays when only pixels of one sign are kept."""

from collections.abc import Sequence
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from contrastlib.plotting.rows import chosen, distinct, floats, ordered
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


def masked(rows: pd.DataFrame, *, budgets: str | Sequence[str] = "published", reference: pd.DataFrame | None = None,
           table: str = "table1", width: float = WIDTH, **where: object) -> Figure:
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
    places = _places(pd.concat([panel.pairs[_PLACE] for panel in panels]).drop_duplicates())
    blocks = places.groupby(_PLACE[:2], sort=False)["line"].agg(["min", "max"]).reset_index()
    whole = ours[ours["budget"] == "none"].merge(blocks, on=_PLACE[:2])
    theirs = _review(reference, table) if reference is not None else ours[:0]
    values = [*whole["value"], *theirs["value"], *(end for panel in panels for end in _ends(panel.pairs))]
    scale = max(floor(20 * min(values) - 0.4) / 20, 0), min(ceil(20 * max(values) + 0.4) / 20, 1)
    columns = len(names) if len(names) > 1 else 2
    down = len(panels) // columns
    inches, mark, small = (0.155, 4.6, 7.5) if len(names) == 1 else (0.115, 4.0, 7.0)  # of a line; points
    height = inches * (places["line"].max() + 1.2)
    with style():
        figure = page(down, width=width, gap=0.04)
        axes = figure.subplots(2 * down, columns, squeeze=False, height_ratios=[_BAR, height] * down)
        for i, panel in enumerate(panels):
            row, column = divmod(i, columns)
            bar, ax = axes[2 * row, column], axes[2 * row + 1, column]
            _frame(ax, places, blocks, scale, small)
            ax.tick_params(length=0, labelleft=not column, labelbottom=row == down - 1)
            ax.vlines(whole["value"], whole["min"] - 0.5, whole["max"] + 0.5, color=INK, linewidth=0.8, zorder=2,
                      label="unmasked")
            _draw_pairs(ax, panel, places, theirs[theirs["keep"] == panel.keep].merge(places, on=_PLACE), mark)
            _draw_tally(bar, panel)
            _write_head(bar, panel, alone=len(names) == 1, first=not column, top=not row)
            if not column:
                _name_blocks(ax, blocks)
        _write_legend(figure, in_order(["original", *(p.other for p in panels)]), len(whole) > 0, len(theirs) > 0)
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


def _places(places: pd.DataFrame) -> pd.DataFrame:
    """Methods, targets and baselines in order, each with its distance from the first in lines, with gaps between."""
    for column, order in (("baseline", _BASELINES), ("target", ()), ("method", _METHODS)):
        places = ordered(places, column, order)
    method, target = (places[name] != places[name].shift() for name in _PLACE[:2])
    return places.assign(line=(1 + 0.9 * method + 0.45 * (target & ~method)).cumsum() - 1.9)


def _review(reference: pd.DataFrame, table: str) -> pd.DataFrame:
    """The review's relative probabilities in the words of our rows."""
    rows = chosen(reference, _PAPERS, {"table": table}, run=False)
    return rows.replace({"method": _THEIRS, "baseline": _THEIRS}).assign(
        keep=rows["kept_features"], value=floats(rows["relative_probability"]))


def _ends(pairs: pd.DataFrame) -> list[float]:
    """The ends of all intervals."""
    return [end for kind in ("", " before") for side in (-1.96, 1.96)
            for end in pairs[f"value{kind}"] + side * pairs[f"se{kind}"]]


def _frame(ax: Axes, places: pd.DataFrame, blocks: pd.DataFrame, scale: tuple[float, float], size: float) -> None:
    """Empty axes with their scale, a stripe for each block and the names of the lines."""
    ax.set(xlim=scale, ylim=(places["line"].max() + 0.6, -0.6))
    ax.set_yticks(places["line"], places["baseline"], size=size)
    ax.xaxis.set_major_locator(MultipleLocator(0.25 if scale[1] - scale[0] > 0.6 else 0.1))
    ax.grid(axis="x", color="#e9e9e9")
    ax.spines["left"].set_visible(False)
    for start, end in zip(blocks["min"], blocks["max"]):
        ax.axhspan(start - 0.5, end + 0.5, color=_STRIPE, linewidth=0, zorder=0)


def _draw_pairs(ax: Axes, panel: Panel, places: pd.DataFrame, theirs: pd.DataFrame, size: float) -> None:
    """Both values of each pair with their intervals, joined in the colour of the better; the review's below them."""
    joined = theirs.groupby("line")["value"].agg(["min", "max"])
    ax.hlines(joined.index + 0.3, joined["min"], joined["max"], colors=FAINT, linewidth=0.6, zorder=2.5)
    for contrast, own in theirs.groupby("contrast"):
        ax.scatter(own["value"], own["line"] + 0.3, s=(0.65 * size) ** 2, facecolors="white", linewidths=0.8,
                   edgecolors=colour_of(contrast), zorder=3, label=f"the review {contrast}")
    pairs = panel.pairs.merge(places, on=_PLACE)
    at = pairs["line"] - 0.1 * pairs["line"].isin(joined.index)
    ax.hlines(at, pairs["value before"], pairs["value"], linewidth=1.8, zorder=3.5, label="joined",
              colors=[colour_of(winner) if winner else _EVEN for winner in pairs["winner"]])
    for name, kind in (("original", " before"), (panel.other, "")):
        value, spread = pairs[f"value{kind}"], 1.96 * pairs[f"se{kind}"]
        colours = [paler(colour_of(name), 1 if winner else 0.45) for winner in pairs["winner"]]
        ax.hlines(at, value - spread, value + spread, colors=[paler(colour, 0.5) for colour in colours],
                  linewidth=0.65 * size, zorder=4, label=f"{name}, 95 %")
        ax.scatter(value, at, c=colours, s=size**2, edgecolors="white", linewidths=0.5, zorder=4.5, label=name)


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


def _name_blocks(ax: Axes, blocks: pd.DataFrame) -> None:
    """Methods and targets at the left of their lines."""
    for target, start, end in zip(blocks["target"], blocks["min"], blocks["max"]):
        _write(ax, (0, (start + end) / 2), (_TARGET, 0), _TARGETS.get(target, target), "data", size=9, va="center",
               ha="center")
    for method, own in blocks.groupby("method"):
        _write(ax, (0, (own["min"].min() + own["max"].max()) / 2), (_METHOD, 0), _METHODS.get(method, method), "data",
               size=8, va="center", fontweight="bold", linespacing=1.2)


def _write(ax: Axes, at: tuple[float, float], aside: tuple[float, float], text: str, coords: str = "axes fraction",
           **options: Any) -> None:
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
    figure.legend(handles=shown, title="relative probability of the target", loc="outside lower center", fontsize=8,
                  ncols=len(shown), handlelength=1.6, columnspacing=1.4, handletextpad=0.5, borderaxespad=0.2)
