"""Lines over one axis: measured values with their intervals, in panels, named at their ends."""

from collections.abc import Mapping, Sequence
from itertools import product
from math import log
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from contrastlib.plotting.rows import chosen, distinct, floats, only, ordered
from contrastlib.plotting.style import (
    AGAINST,
    CONTRAST_COLOURS,
    FAINT,
    FOR,
    INK,
    WIDTH,
    BookFigure,
    columns_of,
    fit,
    fitted,
    in_order,
    page,
    style,
)
from contrastlib.tables import MEASURED, RUN, pick

PUBLISHED_NORMS = (4.245, 0.1864, 0.00883)
"""Constant, linear and quadratic term of the review's fit for VGG-16 on ImageNet, measured from its Figure 6."""

_CNN_METHODS = {"linear_approximation": "Linear approximation", "grad_cam": "Grad-CAM", "xgrad_cam": "XGradCAM"}
"""Methods in the order of the review's tables, as figures call them."""

_MARKS: tuple[tuple[str, Any], ...] = (
    ("o", "-"), ("s", (0, (4, 2))), ("^", (0, (1, 1.5))), ("D", (0, (5, 1.5, 1, 1.5))), ("v", "-"))
_MANY = 8  # points of a line; more have no marks
_NAME = 10.5  # points of a line's name


def lines(rows: pd.DataFrame, *, x: str, line: str = "contrast", across: str = "", down: str = "", bars: bool = False,
          xlabel: str = "", ylabel: str = "", width: float = WIDTH, height: float = 2.0, **where: object) -> Figure:
    """Measured values over one axis, with 95 % intervals; each line has its name at its end.

    Args:
        rows: a table of measured rows, of one run unless runs are told apart.
        x: the column along the horizontal axis; rows without a number in it are left out.
        line: the column that tells lines apart.
        across: the column with a panel for each of its values, side by side; without `down` at most three in a row.
        down: the column with a row of panels for each of its values.
        bars: whether intervals are bars at marks instead of bands.
        xlabel: label of the horizontal axis; the column's name by default.
        ylabel: label of the vertical axis.
        width: inches of the figure.
        height: inches of a panel.
        where: further columns that pick the rows, such as ``classifier="birds_vgg"``.

    Returns:
        the figure.

    Raises:
        ValueError: a column is missing, nothing has these values, or rows differ in a column that nothing tells apart.
    """
    keys = [name for name in (x, line, across, down) if name]
    table = chosen(rows, (*keys, "value"), where, run=not set(RUN) & set(keys))
    table = table.assign(**{x: pd.to_numeric(table[x], errors="coerce")}).dropna(subset=[x])
    if table.empty:
        raise ValueError(f"no rows have a number in {x!r}")
    twice = table[table.duplicated(keys, keep=False)]
    for column in twice.columns.difference([*keys, *MEASURED, "n", "against"], sort=False) if len(twice) else ():
        only(twice, column)
    table = table.drop_duplicates([*keys, "value"])  # one value may be compared with several others
    with style():
        figure, panels = _draw(table, x, line, across=across, down=down, bars=bars, width=width)
        figure.supxlabel(xlabel or x)
        figure.supylabel(ylabel)
        _finish(figure, panels, height)
    return figure


def curves(x: ArrayLike, panels: Mapping[str, Mapping[str, ArrayLike]], *, xlabel: str, logarithmic: str = "",
           width: float = WIDTH) -> Figure:
    """Curves over the same axis, in panels side by side.

    Args:
        x: (P,).
        panels: for each panel, by the label of its vertical axis, its curves (P,) by name; one curve needs no name.
        xlabel: label of the horizontal axis.
        logarithmic: which axes are: ``x``, ``y``, ``xy`` or none.
        width: inches.

    Returns:
        the figure.

    Raises:
        ValueError: a curve has another length than x.
    """
    at, tables = np.asarray(x, float), []
    for panel, own in panels.items():
        for name, curve in own.items():
            y = np.asarray(curve, float)
            if y.shape != at.shape:
                raise ValueError(f"curve {name!r} has shape {y.shape}, the horizontal axis {at.shape}")
            tables.append(pd.DataFrame({"x": at, "value": y, "curve": name, "panel": panel}))
    with style():
        figure, axes = _draw(pd.concat(tables), "x", "curve", across="panel", sharey=False,
                             words=dict.fromkeys(panels, ""), width=width)
        for ax, panel in zip(axes, panels):
            ax.set(ylabel=panel, **{f"{axis}scale": "log" for axis in logarithmic})
            for axis in logarithmic:
                getattr(ax, f"{axis}axis").set(major_formatter="{x:g}", minor_formatter="")
        figure.supxlabel(xlabel)
        _finish(figure, axes, 2.2)
    return figure


# What becomes of predictions

_FLIPS = ("method", "prediction", "map", "share", "metric", "value", "se", "n")
_KINDS = {"wrong": "predicted wrongly", "right": "predicted rightly, in doubt"}
_FLIPPED = {
    "becomes the foil": ("becomes the true class", "becomes the runner-up", "share of images"),
    "no longer the target": ("is no longer what it was", "is no longer what it was", "share of images"),
    "margin": ("against the true class", "against the runner-up", "margin yₜ − yₛ in logits"),
}
"""By metric what the panels of wrong and right predictions show, and the name of their axis."""


def flips(rows: pd.DataFrame, *, metric: str = "becomes the foil", width: float = WIDTH, **where: object) -> Figure:
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
    table = pick(chosen(rows, _FLIPS, where), metric=metric)
    only(table, "method")
    if not (table["share"] != "").any():
        raise ValueError(f"the metric {metric!r} does not depend on the share of pixels that is masked; "
                         f"choose from {', '.join(_FLIPPED)}")
    *titles, ylabel = _FLIPPED.get(metric, (metric, metric, metric))
    words = {kind: f"{_KINDS.get(kind, kind)} (n = {only(own, 'n')}):\n{dict(zip(_KINDS, titles)).get(kind, metric)}"
             for kind, own in table.groupby("prediction")}
    before, after = table[table["map"] == "before"], table[table["map"] != "before"]
    table = pd.concat([*(before.assign(map=name) for name in after["map"].unique()), after])  # each begins unmasked
    table = ordered(table, "prediction", tuple(_KINDS)).drop_duplicates(["prediction", "map", "share"])
    table["percent"] = 100 * floats(table["share"])
    with style():
        figure, panels = _draw(table, "percent", "map", across="prediction", words=words,
                               colours={"foil": "#3b0f70", "random": FAINT}, width=width)
        if metric != "margin":
            panels[0].set_ylim(0, min(1, panels[0].get_ylim()[1]))
        for ax in panels:
            if metric == "margin":
                ax.axhline(0, color=FAINT, linewidth=0.8, zorder=1)  # where the prediction flips
            ax.set(xlim=(0, table["percent"].max()), xticks=sorted(set(table["percent"])))
            ax.xaxis.set_major_formatter("{x:g}")
        panels[0].set_ylabel(ylabel)
        figure.supxlabel("share of pixels masked, in %")
        _finish(figure, panels, 2.15)
    return figure


# Removal of pixels

_REMOVAL = ("method", "target", "baseline", "removed", "contrast", "share", "value", "se")
_FIRST = {"highest": "highest relevance removed first\n(a lower curve is better)",
          "lowest": "lowest relevance removed first\n(a higher curve is better)"}
_TARGETS = {"t1": "target t₁", "t2": "target t₂"}


def removal_curves(rows: pd.DataFrame, *, by: Sequence[str] = ("method", "target"), width: float = WIDTH,
                   **where: object) -> Figure:
    """Relative probability of the target over the share of pixels removed, with 95 % bands.

    Args:
        rows: of ``masking_curves.csv``, of one run.
        by: the columns whose values have panels of their own, one below the other: of method, target and baseline.
            The others must have one value.
        width: inches.
        where: further columns that pick the rows, such as ``baseline="blur"``.

    Returns:
        the figure; below each contrast's name stands the area under its whole curve with its 95 % interval.

    Raises:
        ValueError: a column is missing, nothing has these values, the rows are of several runs, or a column that is
            not in `by` has several values.
    """
    table = chosen(rows, (*_REMOVAL, *by), where)
    for column in ("method", "target", "baseline"):
        if column not in by:
            only(table, column)
    for column in reversed([*by, "removed"]):
        table = ordered(table, column, (*_CNN_METHODS, *_FIRST))
    words = {**_CNN_METHODS, **_TARGETS, **_FIRST}
    table["place"] = ["\n".join(words.get(row[name], row[name]) for name in by) for row in table.to_dict("records")]
    areas, table = table[table["share"] == "area"], table[table["share"] != "area"]
    notes = [dict(zip(own["contrast"], map(_area, own["value"], own["se"])))
             for _, own in areas.groupby(["place", "removed"], sort=False)]
    with style():
        figure, panels = _draw(table.assign(share=floats(table["share"])), "share", "contrast", across="removed",
                               down="place", words=words, width=width)
        for ax in panels:
            ax.set(xlim=(0, 1), ylim=(0, 1))
            ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
            ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
            ax.label_outer()
        figure.supxlabel("share of pixels removed" + ("; beside each curve the area under it" if len(areas) else ""))
        figure.supylabel("relative probability of the target")
        _finish(figure, panels, 1.35, notes)
    return figure


def _area(value: float, se: float) -> str:
    return f"{value:.3f}" + ("" if np.isnan(se) else f" ± {1.96 * se:.3f}")


# Measures against the log-odds

_ODDS = ("classifier", "from", "to", "metric", "value", "low", "high")
_CHANCES = (0.001, 0.1, 0.9, 0.999, 0.99999, 0.9999999)


def by_log_odds(rows: pd.DataFrame, *, metrics: Sequence[str] | Mapping[str, Sequence[str]] = (), least: int = 10,
                width: float = WIDTH, **where: object) -> Figure:
    """Measures against the log-odds of the most probable class, with 95 % intervals; several runs side by side.

    Args:
        rows: of ``dominance.csv``, of one run or several.
        metrics: those drawn, by the title of their panel, or a list with a panel for each. All by default.
        least: bins with fewer images are left out, if any has more.
        width: inches.
        where: further columns that pick the rows, such as ``split="test"``.

    Returns:
        the figure; a mark stands in the middle of its bin, in an open bin as far from its edge as in its neighbour.

    Raises:
        ValueError: a column is missing, or nothing has that metric or these values.
    """
    table = _bins(chosen(rows, _ODDS, where, run=False), least)
    table["run"] = _run_names(table)
    panels = (metrics if isinstance(metrics, Mapping) else
              {name: [name] for name in metrics or distinct(table, "metric")})
    drawn = pd.concat([_middles(own).assign(panel=title) for title, names in panels.items() for name in names
                       for _, own in pick(table, metric=name).groupby("run", sort=False)])
    with style():
        figure, axes = _draw(drawn, "odds", "metric", across="panel", marks="run", bars=True, sharey=False, width=width,
                             colours={name: _metric_colour(name) for name in drawn["metric"].unique()})
        for ax, own in zip(axes, panels.values()):
            if any(name.startswith("norm") for name in own):
                ax.axhline(1, color=INK, linewidth=0.7)
                ax.set_ylim(bottom=0)
            ax.margins(x=0.04)
            _write_probabilities(ax)
        figure.supxlabel("log-odds of the most probable class")
        _finish(figure, axes, 1.75)
    return figure


def _bins(table: pd.DataFrame, least: int) -> pd.DataFrame:
    """The rows of single bins, without those of too few images; the row of all images only where it is alone."""
    table = table.assign(**{"from": floats(table["from"]), "to": floats(table["to"])})
    single = table[np.isfinite(table["from"]) | np.isfinite(table["to"])]
    single = table if single.empty else single
    many = single[floats(single["n"]) >= least] if "n" in single else single
    return (single if many.empty else many).copy()


def _run_names(table: pd.DataFrame) -> list[str]:
    """The run of each row, by the least that tells it from the others."""
    def names(columns: Sequence[str]) -> list[str]:
        return [", ".join(row[name] for name in columns) for row in table.to_dict("records")]

    differ = [name for name in RUN if name in table and table[name].nunique() > 1]
    for name in reversed(differ):
        fewer = [other for other in differ if other != name]
        differ = fewer if len(set(names(fewer))) == len(set(names(differ))) else differ
    return names(differ)


def _middles(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with the middles of their bins as `odds`; an open bin gets the width of the nearest closed one."""
    start, end = table["from"].to_numpy(), table["to"].to_numpy()
    edges = np.unique([edge for edge in (*start, *end) if np.isfinite(edge)])
    widths = np.diff(edges) if len(edges) > 1 else np.ones(1)
    everything = np.isinf(start) & np.isinf(end)
    start = np.where(np.isinf(start), end - widths[0], start)
    end = np.where(np.isinf(end), start + widths[-1], end)
    return table.assign(odds=np.where(everything, 0.0, (start + end) / 2))


def _metric_colour(metric: str) -> str:
    """That of the first contrast that the metric names."""
    return next((CONTRAST_COLOURS[word] for word in metric.split() if word in CONTRAST_COLOURS), INK)


def _write_probabilities(ax: Axes) -> None:
    """The probabilities that belong to the log-odds, above the panel."""
    above = ax.secondary_xaxis("top")
    above.set_xticks([log(p / (1 - p)) for p in _CHANCES], [f"p = {p:g}" for p in _CHANCES])
    above.tick_params(labelsize=7, labelcolor=FAINT, color=FAINT, length=2)
    above.spines["top"].set(visible=True, color="#dddddd")


# Norms of gradients

_NORMS = ("kind", "name", "at", "value", "low", "high")


def norms(rows: pd.DataFrame, *, published: Sequence[float] | None = PUBLISHED_NORMS, width: float = WIDTH,
          **where: object) -> Figure:
    """Norm of a logit's gradient against the logit: bins, their 10-90 % range, and second-degree fits.

    Args:
        rows: of ``logit_norm.csv``, of one run.
        published: constant, linear and quadratic term of another network's fit; None for no such curve.
        width: inches.
        where: further columns that pick the rows, such as ``classifier="birds_vgg"``.

    Returns:
        the figure.

    Raises:
        ValueError: a column is missing, nothing has these values, or the rows are of several runs or lack bins or a
            term of the fit.
    """
    table = chosen(rows, _NORMS, where)
    bins, fit_rows = pick(table, kind="bin"), pick(table, kind="fit")
    bins = bins.assign(at=floats(bins["at"])).sort_values("at")
    terms = [pick(fit_rows, name=name)["value"].iloc[0] for name in ("constant", "linear", "quadratic")]
    over = np.linspace(bins["at"].min(), bins["at"].max(), 200)
    with style():
        figure = page(width=width)
        ax = figure.add_subplot()
        ax.fill_between(bins["at"], bins["low"], bins["high"], color=AGAINST, alpha=0.16, linewidth=0,
                        label="10–90 % of the norms in a bin")
        ax.plot(bins["at"], bins["value"], "o", color=AGAINST, markersize=4.5, markeredgecolor="white",
                markeredgewidth=0.6, zorder=4, label="mean of a bin")
        ax.plot(over, np.polyval(terms[::-1], over), color=FOR, linewidth=1.8, zorder=3,
                label=f"this network's fit: {_equation(terms)}")
        if published is not None:
            ax.plot(over, np.polyval(published[::-1], over), color=INK, linewidth=1.2, linestyle=(0, (4, 3)),
                    zorder=2.5, label=f"the review's fit, of another network (VGG-16): {_equation(published)}")
        ax.set(xlabel="logit y", ylabel="norm of its gradient ‖∇ₓ y‖₂", xmargin=0.02)
        ax.set_ylim(bottom=0)
        ax.legend(loc="upper left", fontsize=8, borderaxespad=0.2)
        fit(figure, ax, height=2.9)
    return figure


def _equation(terms: Sequence[float]) -> str:
    constant, linear, quadratic = terms
    parts = "".join(f" {'−' if term < 0 else '+'} {abs(term):.3g} {name}"
                    for term, name in ((linear, "y"), (quadratic, "y²")))
    return f"{constant:.3g}".replace("-", "−") + parts


# Blocks of transformers

_BLOCKS = ("classifier", "target", "method", "block", "contrast", "metric", "value", "se")
_METHODS = {
    "grad_cam": "Grad-CAM, block output", "grad_cam norm1": "Grad-CAM, before attention",
    "grad_cam attention": "Grad-CAM, attention output", "linear_approximation": "Linear approximation",
    "rollout": "Attention rollout, signed", "rollout relu": "Attention rollout, ReLU", "full_grad": "FullGrad",
    "relevance signed": "Attention relevance, signed", "relevance": "Attention relevance, ReLU",
    "gradient_x_input": "Gradient × input",
}
"""Methods in the order of their panels, as figures call them."""

_ALONG = {"rollout": "first block that takes part", "relevance": "first block that takes part",
          "full_grad": "block whose biases count"}
"""What a block is to a method, by the first word of its name."""

_CHANCE, _WHOLE = "chance", ("embedding", "input", "all")
_APART = 1.7  # blocks from the last block to the first map of no block
_LABEL = 0.23  # inches that the number of a block needs


def by_block(rows: pd.DataFrame, *, metric: str, methods: Sequence[str] | None = None, against_chance: bool = True,
             width: float = WIDTH, **where: object) -> Figure:
    """One measure of a transformer's maps over its blocks, a panel for each method, with 95 % intervals.

    Args:
        rows: of ``coherence.csv``, of one run and one target.
        metric: which measure, such as ``"positive share on the bird"``.
        methods: those drawn, in this order; None for all.
        against_chance: whether a dashed line shows what a map that knows nothing gets, for measures that have such a
            level.
        width: inches.
        where: further columns that pick the rows, such as ``classifier="birds_vit"`` or ``target="t1"``.

    Returns:
        the figure; a cross on the axis marks a block from which there is no map. Maps that belong to no block, such as
        those of the input, stand at the right end.

    Raises:
        ValueError: a column is missing, nothing has that metric, these methods or these values, or the rows are of
            several runs or targets.
    """
    table = pick(chosen(rows, _BLOCKS, where), metric=metric)
    only(table, "target")
    chance = table[table["method"] == _CHANCE]["value"].dropna()
    drawn = table[table["method"] != _CHANCE]
    names = distinct(drawn, "method", tuple(_METHODS)) if methods is None else methods
    if not names:
        raise ValueError("there are no methods to draw")
    count = max((int(block) + 1 for block in drawn["block"] if block.isdecimal()), default=0)
    placed = {name: _placed(pick(drawn, method=name), count) for name in names}
    with style():
        figure, panels = _draw(pd.concat(placed.values()), "at", "contrast", across="method", marks="contrast",
                               bars=True, dodge=0.22, words=_METHODS, width=width)
        for ax, (name, own) in zip(panels, placed.items()):
            _name_blocks(ax, own, _inches(len(panels), width))
            if own["block"].str.isdecimal().any():
                ax.set_xlabel(_ALONG.get(name.split(" ")[0], "block"))
            needs_gradient = name.startswith(("grad_cam", "linear_approximation"))
            _mark_missing(ax, own, "no gradient" if needs_gradient else "no value")
            if against_chance and len(chance):
                ax.axhline(chance.iloc[0], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=2, label=_CHANCE)
                if ax in panels[columns_of(len(panels)) - 1::columns_of(len(panels))]:
                    ax.annotate(_CHANCE, (1, chance.iloc[0]), (4, 0), xycoords=("axes fraction", "data"), size=8,
                                textcoords="offset points", va="center", color=FAINT)
        figure.supylabel(fitted(metric, 2.6), linespacing=1.2, multialignment="center")
        _finish(figure, panels, 1.05, named=False)
    return figure


def _placed(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The rows of a method with their place on the axis: its blocks, and apart from them the maps of no block.

    A block without a map has a row without a value, and so has the gap before each map of no block.
    """
    blocks = [str(i) for i in range(count)] if table["block"].str.isdecimal().any() else []
    at = {name: float(i) for i, name in enumerate(blocks)}
    for i, name in enumerate(name for name in distinct(table, "block", _WHOLE) if name not in blocks):
        place = i + (count - 1 + _APART if blocks else 0)
        at |= {f"before {name}": place - 0.5, name: place}
    cells = pd.MultiIndex.from_product([table["contrast"].unique(), at], names=["contrast", "block"])
    own = table.set_index(["contrast", "block"])[["value", "se"]].reindex(cells).reset_index()
    return own.assign(method=table["method"].iloc[0], at=own["block"].map(at))


def _name_blocks(ax: Axes, table: pd.DataFrame, inches: float) -> None:
    """Numbers of blocks below the axis, as many as there is room for, and the names of maps of no block."""
    at = {name: place for name, place in zip(table["block"], table["at"]) if not name.startswith("before ")}
    blocks = [name for name in at if name.isdecimal()]
    whole = [name for name in at if name not in blocks]
    room = 0.6 if blocks else 0.75
    ax.set_xlim(-room, max(at.values()) + room)
    step = next((n for n in (1, 2, 4, 8) if n * inches / (max(at.values()) + 2 * room) >= _LABEL), 16)
    shown = [*blocks[::step], *whole]
    ax.set_xticks([at[name] for name in shown], shown)
    ax.set_xticks([at[name] for name in blocks], minor=True)
    ax.tick_params(which="both", color=FAINT, length=2.5)
    if blocks and whole:
        ax.axvline(at[whole[0]] - _APART / 2, color="#cfcfcf", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)


def _mark_missing(ax: Axes, table: pd.DataFrame, reason: str) -> None:
    """A cross on the axis at each block without a map, and once for those that follow each other the reason."""
    values = table[table["block"].str.isdecimal()].groupby("at")["value"].count()
    at = list(values.index[values == 0])
    if not at or not values.any():
        return
    ax.plot(at, [0] * len(at), "x", color=INK, markersize=4, markeredgewidth=1, clip_on=False, zorder=4,
            transform=ax.get_xaxis_transform(), label="missing")
    for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
        ax.annotate(reason, (np.mean(run), 0), (0, 6), xycoords=("data", "axes fraction"), rotation=90, ha="center",
                    textcoords="offset points", va="bottom", size=7, color=FAINT, zorder=2.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})


# What all of them share


def _draw(
    table: pd.DataFrame, x: str, line: str, *, across: str = "", down: str = "", marks: str = "", bars: bool = False,
    dodge: float = 0, sharey: bool = True, words: Mapping[str, str] = {}, colours: Mapping[str, str] = {},
    width: float = WIDTH,
) -> tuple[BookFigure, list[Axes]]:
    """A page with a panel for each value of `across` and of `down`, and in each its lines.

    What `marks` tells apart has a mark of its own, and a word above the panels. `dodge` is the distance between lines.
    """
    table = table.assign(**{"": ""})  # the column by which nothing is told apart
    beside, below, marked = list(table[across].unique()), list(table[down].unique()), in_order(table[marks])
    columns = len(beside) if down else columns_of(len(beside))
    figure = page(len(beside) * len(below), width=width)
    rows = -(-len(beside) * len(below) // columns)
    axes = list(figure.subplots(rows, columns, sharey=sharey, squeeze=False).flat)
    panels, names = axes[:len(beside) * len(below)], in_order(table[line])
    looks = dict(zip(marked, _MARKS * len(marked)))
    others = [name for name in names if name not in CONTRAST_COLOURS]
    colours = {name: f"C{i}" for i, name in enumerate(others)} | CONTRAST_COLOURS | {**colours}
    for ax in axes[len(panels):]:
        ax.remove()
    for i, (ax, (row, column)) in enumerate(zip(panels, product(below, beside))):
        ax.grid(axis="y" if bars else "both")
        if i < columns or not down:
            ax.set_title(fitted(words.get(column, column), _inches(columns, width)), linespacing=1.3)
        if not i % columns:
            ax.set_ylabel(words.get(row, row), linespacing=1.3)
        panel = table[(table[across] == column) & (table[down] == row)].sort_values(x)
        for (place, name), mark in product(enumerate(names), marked):
            own, (marker, dashes) = panel[(panel[line] == name) & (panel[marks] == mark)], looks[mark]
            if len(own):
                _draw_line(ax, own, own[x] + dodge * (place - (len(names) - 1) / 2), bars, color=colours[name],
                           label=words.get(name, name), marker=marker if bars or len(own) <= _MANY else "",
                           linestyle="-" if marks == line else (0, (3, 1.5)) if name == "random" else dashes)
    if len(marked) > 1:
        keys = [Line2D([0, 1], [0, 0], color=colours.get(name, FAINT), marker=marker, markersize=4.5, label=name,
                       linestyle="-" if marks == line else dashes) for name, (marker, dashes) in looks.items()]
        figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), handlelength=2.6)
    return figure, panels


def _draw_line(ax: Axes, table: pd.DataFrame, at: "pd.Series[float]", bars: bool, **look: Any) -> None:
    """One line with its band, or with its bars."""
    value, (low, high) = table["value"], _interval(table)
    if not bars:
        ax.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)
    ax.errorbar(at, value, yerr=[(value - low).clip(lower=0), (high - value).clip(lower=0)] if bars else None,
                linewidth=1.5, elinewidth=1, markersize=3.8, markeredgecolor="white", markeredgewidth=0.5, zorder=3,
                clip_on=bars, **look)


def _interval(table: pd.DataFrame) -> tuple[Any, Any]:
    """The 95 % interval: of the value where there is a standard error, else as it is given, if it is."""
    if "se" in table:
        return table["value"] - 1.96 * table["se"], table["value"] + 1.96 * table["se"]
    return (table["low"], table["high"]) if "low" in table else (table["value"], table["value"])


def _finish(figure: Figure, panels: Sequence[Axes], height: float, notes: Sequence[Mapping[str, str]] = (), *,
            named: bool = True) -> None:
    """Name the lines of each panel, perhaps with a note below the name, and lay out the page for their height."""
    for i, ax in enumerate(panels if named else ()):
        _name_lines(ax, 72 * height, notes[i] if notes else {})
    fit(figure, panels[0], height=height)


def _name_lines(ax: Axes, height: float, notes: Mapping[str, str]) -> None:
    """The names of the lines beside their ends, moved apart where they would overlap; a line alone needs none."""
    found: dict[str, tuple[float, str]] = {}
    ax.get_ylim()  # settles the limits
    for drawn, name in reversed([*zip(*ax.get_legend_handles_labels())]):
        ends = drawn[0].get_xydata()
        place = ax.transAxes.inverted().transform(ax.transData.transform(ends[np.isfinite(ends).all(axis=1)][-1:]))
        if len(place):
            found[name] = (float(place[0, 1]) * height, drawn[0].get_color())
    if len(found) < 2:
        return
    names = sorted(found, key=lambda name: found[name][0])
    texts = ["\n".join(filter(None, [fitted(name, 1.5, 8), notes.get(name)])) for name in names]
    places = _apart([found[name][0] for name in names], [_NAME * (text.count("\n") + 1) for text in texts], height)
    for name, text, place in zip(names, texts, places):
        ax.annotate(text, (1, place / height), (5, 0), xycoords="axes fraction", textcoords="offset points", size=8,
                    va="center", color=found[name][1], linespacing=1.1)


def _apart(wanted: Sequence[float], sizes: Sequence[float], room: float) -> NDArray[Any]:
    """Rising places, near to those that are wanted, for things of these sizes, none of them outside of the room."""
    places, half = np.array(wanted), np.array(sizes) / 2
    lowest = np.cumsum(sizes) - half
    for _ in range(100):
        places = np.clip(places, lowest, np.maximum(lowest, room - sum(sizes) + lowest))
        for i, wide in enumerate(half[1:] + half[:-1]):
            lacking = max(0.0, wide - (places[i + 1] - places[i]))
            places[i:i + 2] += (-lacking / 2, lacking / 2)
    return places


def _inches(panels: int, width: float) -> float:
    """About how wide a panel is, of so many on a page."""
    return (width - 0.75) / columns_of(panels) - 0.15
