"""Lines over one axis: measured values with their intervals, in panels, named at their ends."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from math import log
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from contrastlib.plotting.colours import AGAINST, CONTRAST_COLOURS, FAINT, FOR, INK
from contrastlib.plotting.rows import chosen, in_order, numbers, only, ordered
from contrastlib.plotting.style import WIDTH, columns_of, fit, fitted, key, page, place_of, style, write
from contrastlib.tables import RUN, pick

PUBLISHED_NORMS = (4.245, 0.1864, 0.00883)
"""Constant, linear and quadratic term of the review's fit for VGG-16 on ImageNet, measured from its Figure 6."""

_MARKS: tuple[tuple[str, Any], ...] = (
    ("o", "-"), ("s", (0, (4, 2))), ("^", (0, (1, 1.5))), ("D", (0, (5, 1.5, 1, 1.5))), ("v", "-"))
_MANY, _NAME = 8, 10.5  # values of a line, more have no marks; points of a line's name


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
    table = chosen(rows, where, *keys)
    table = table.assign(**{x: numbers(table[x])}).dropna(subset=[x])
    if table.empty:
        raise ValueError(f"no rows have a number in {x!r}")
    return _draw(table, x, line, across=across, down=down, bars=bars, xlabel=xlabel or x, ylabel=ylabel,
                 width=width, height=height)


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
    table = pd.concat([
        pd.DataFrame({"x": np.asarray(x), "value": np.asarray(curve), "curve": name, "panel": panel})
        for panel, own in panels.items() for name, curve in own.items()])

    def finish(ax: Axes, own: pd.DataFrame) -> None:
        ax.set(title="", ylabel=own["panel"].iloc[0], **{f"{axis}scale": "log" for axis in logarithmic})
        for axis in logarithmic:
            getattr(ax, f"{axis}axis").set(major_formatter="{x:g}", minor_formatter="")

    return _draw(table, "x", "curve", finish, across="panel", sharey=False, xlabel=xlabel, width=width, height=2.2)


# What becomes of predictions

_KINDS = {"wrong": "predicted wrongly (n = {n}):\nbecomes the true class",
          "right": "predicted rightly, in doubt (n = {n}):\nbecomes the runner-up"}


def flips(rows: pd.DataFrame, *, width: float = WIDTH, **where: object) -> Figure:
    """How often a prediction flips while more and more of what a map marks is masked, with 95 % bands.

    Wrong predictions, contrasted with the true class, stand beside right ones that were in doubt, contrasted with the
    second class: what flips those as readily does not show that a map found the cause of a mistake.

    Args:
        rows: of ``misclassified.csv``, of one run, layer and method.
        width: inches.
        where: further columns that pick the rows, such as ``classifier="birds_vgg"`` or ``layer="features.27"``.

    Returns:
        the figure; a panel for each kind of prediction that there is, with a line for each map.

    Raises:
        ValueError: a column is missing, nothing has these values, or the rows are of several runs or methods.
    """
    table = chosen(rows, {"metric": "becomes the foil", **where}, "prediction", "map", "share")
    words = {kind: _KINDS[kind].format(n=only(own, "n")) for kind, own in table.groupby("prediction")}
    before, after = table[table["map"] == "before"], table[table["map"] != "before"]
    table = pd.concat([*(before.assign(map=name) for name in after["map"].unique()), after])  # each begins unmasked
    table = ordered(table, _KINDS, "prediction").assign(
        percent=lambda own: 100 * numbers(own["share"]), axis="share of images")

    def finish(ax: Axes, own: pd.DataFrame) -> None:
        ax.set(xlim=(0, own["percent"].max()), ylim=(0, min(1, ax.get_ylim()[1])), xticks=own["percent"].unique())
        ax.xaxis.set_major_formatter("{x:g}")

    return _draw(table, "percent", "map", finish, across="prediction", down="axis", words=words,
                 colours={"foil": "#3b0f70", "random": FAINT}, styles={"random": (0, (3, 1.5))},
                 xlabel="share of pixels masked, in %", width=width, height=2.15)


# Removal of pixels

_FIRST = {"highest": "highest relevance removed first\n(a lower curve is better)",
          "lowest": "lowest relevance removed first\n(a higher curve is better)"}
_REMOVED = {"linear_approximation": "Linear approximation", "grad_cam": "Grad-CAM", "xgrad_cam": "XGradCAM",
            "t1": "target t₁", "t2": "target t₂", **_FIRST}
"""Methods and targets in the order of the review's tables, as figures call them."""


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
    table = ordered(chosen(rows, where, *by, "removed", "contrast", "share"), _REMOVED, *by, "removed")
    table["place"] = ["\n".join(_REMOVED.get(value, value) for value in own) for own in table[[*by]].to_numpy()]
    keys = ["place", "removed", "contrast"]
    areas, table = table[table["share"] == "area"].set_index(keys), table[table["share"] != "area"]
    notes = {place: f"{value:.3f}" + ("" if np.isnan(se) else f" ± {1.96 * se:.3f}")
             for place, value, se in zip(areas.index, areas["value"], areas["se"])}
    table = table.assign(share=numbers(table["share"]), note=[
        notes.get(place, "") for place in table[keys].itertuples(index=False, name=None)])

    def finish(ax: Axes, _: pd.DataFrame) -> None:
        ax.set(xlim=(0, 1), ylim=(0, 1))
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
        ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
        ax.label_outer()

    return _draw(table, "share", "contrast", finish, across="removed",
                 down="place", words=_FIRST, ylabel="relative probability of the target", width=width, height=1.35,
                 xlabel="share of pixels removed" + ("; beside each curve the area under it" if len(areas) else ""))


# Measures against the log-odds

_CHANCES = (0.001, 0.1, 0.9, 0.999, 0.99999, 0.9999999)


def by_log_odds(rows: pd.DataFrame, *, metrics: Mapping[str, Sequence[str]], least: int = 10,
                width: float = WIDTH, **where: object) -> Figure:
    """Measures against the log-odds of the most probable class, with 95 % intervals; several runs side by side.

    Args:
        rows: of ``dominance.csv``, of one run or several.
        metrics: those drawn, by the title of their panel.
        least: bins with fewer images are left out, if any has more.
        width: inches.
        where: further columns that pick the rows, such as ``split="test"``.

    Returns:
        the figure; a mark stands in the middle of its bin, in an open bin as far from its edge as in its neighbour.

    Raises:
        ValueError: a column is missing, or nothing has that metric or these values.
    """
    table = _bins(pick(rows, **where), least)
    table["run"] = _run_names(table)
    drawn = pd.concat([_middles(own).assign(panel=title) for title, names in metrics.items() for name in names
                       for _, own in pick(table, metric=name).groupby("run", sort=False)])
    colours = {name: next((CONTRAST_COLOURS[word] for word in name.split() if word in CONTRAST_COLOURS), INK)
               for name in drawn["metric"].unique()}  # that of the first contrast in its name

    def finish(ax: Axes, own: pd.DataFrame) -> None:
        if own["metric"].str.startswith("norm").any():
            ax.axhline(1, color=INK, linewidth=0.7)
            ax.set_ylim(bottom=0)
        ax.margins(x=0.04)
        above = ax.secondary_xaxis("top")  # the probabilities that belong to the log-odds
        above.set_xticks([log(p / (1 - p)) for p in _CHANCES], [f"p = {p:g}" for p in _CHANCES])
        above.tick_params(labelsize=7, labelcolor=FAINT, color=FAINT, length=2)
        above.spines["top"].set(visible=True, color="#dddddd")

    return _draw(drawn, "odds", "metric", finish, across="panel", marks="run", bars=True, sharey=False,
                 colours=colours, xlabel="log-odds of the most probable class", width=width, height=1.75)


def _bins(table: pd.DataFrame, least: int) -> pd.DataFrame:
    """The rows of single bins, without those of too few images; the row of all images only where it is alone."""
    table = table.assign(**{name: numbers(table[name]) for name in ("from", "to")})
    single = table[np.isfinite(table[["from", "to"]]).any(axis=1)]
    for fewer in (single, single[single["n"] >= least]):
        table = table if fewer.empty else fewer
    return table.copy()


def _run_names(table: pd.DataFrame) -> list[str]:
    """The run of each row, by the least that tells it from the others."""
    there = table.columns.intersection(RUN, sort=False)
    names = [[", ".join(row) for row in table[[*columns]].to_numpy()]
             for count in range(len(there) + 1) for columns in combinations(there, count)]
    return next(told for told in names if len(set(told)) == len(set(names[-1])))


def _middles(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with the middles of their bins as `odds`; an open bin gets the width of the nearest closed one."""
    edges = np.unique(table[["from", "to"]])
    widths = np.diff(edges[np.isfinite(edges)]) if np.isfinite(edges).sum() > 1 else np.ones(1)
    start = table["from"].where(np.isfinite, table["to"] - widths[0])
    end = table["to"].where(np.isfinite, table["from"] + widths[-1])
    return table.assign(odds=((start + end) / 2).fillna(0))  # what is open at both ends stands at zero


# Norms of gradients


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
    table = chosen(rows, where, "kind", "name", "at")
    bins, found = pick(table, kind="bin"), pick(table, kind="fit")
    bins = bins.assign(at=numbers(bins["at"]), curve="mean of a bin", note="(band: 10–90 %)")
    over = np.linspace(bins["at"].min(), bins["at"].max(), 200)
    ours = [pick(found, name=term)["value"].iloc[0] for term in ("constant", "linear", "quadratic")]
    fits = {"this network's fit": ours, "the review's fit, of VGG-16": published}
    curves = [pd.DataFrame({"at": over, "value": np.polyval(terms[::-1], over), "curve": name}).assign(
        note=_equation(*terms)) for name, terms in fits.items() if terms is not None]
    colours = dict(zip(("mean of a bin", *fits), (AGAINST, FOR, INK)))
    return _draw(pd.concat([bins, *curves]), "at", "curve", lambda ax, _: ax.set_ylim(bottom=0), colours=colours,
                 styles={"mean of a bin": "none", [*fits][-1]: (0, (4, 3))}, xlabel="logit y",
                 ylabel="norm of its gradient ‖∇ₓ y‖₂", width=width, height=2.9)


def _equation(constant: float, linear: float, quadratic: float) -> str:
    first, second = ("−" if term < 0 else "+" for term in (linear, quadratic))
    return f"{constant:.3g} {first} {abs(linear):.3g} y {second} {abs(quadratic):.3g} y²".replace("-", "−")


# Blocks of transformers

_METHODS = {
    "grad_cam": "Grad-CAM, block output", "grad_cam norm1": "Grad-CAM, before attention",
    "grad_cam attention": "Grad-CAM, attention output", "linear_approximation": "Linear approximation",
    "linear_approximation norm1": "Linear approximation, before attention",
    "rollout": "Attention rollout, signed", "rollout relu": "Attention rollout, ReLU", "full_grad": "FullGrad",
    "relevance signed": "Attention relevance, signed", "relevance": "Attention relevance, ReLU",
    "gradient_x_input": "Gradient × input"}
"""Methods in the order of their panels, as figures call them."""

_ALONG = {"rollout": "first block that takes part", "relevance": "first block that takes part",
          "full_grad": "block whose biases count"}
"""What a block is to a method, by the first word of its name."""

_CHANCE, _WHOLE = "chance", ("embedding", "input", "all")
_APART, _LABEL = 1.7, 0.23  # blocks from the last one to the first map of none; inches that a block's number needs


def by_block(rows: pd.DataFrame, *, metric: str, methods: Sequence[str] | None = None, width: float = WIDTH,
             **where: object) -> Figure:
    """One measure of a transformer's maps over its blocks, a panel for each method, with 95 % intervals.

    Args:
        rows: of ``coherence.csv``, of one run and one target.
        metric: which measure, such as ``"positive share on the bird"``.
        methods: those drawn, in this order; None for all.
        width: inches.
        where: further columns that pick the rows, such as ``classifier="birds_vit"`` or ``target="t1"``.

    Returns:
        the figure; a dashed line shows what a map that knows nothing gets, and a cross on the axis marks a block from
        which there is no map. Maps that belong to no block, such as those of the input, stand at the right end.

    Raises:
        ValueError: a column is missing, nothing has that metric, these methods or these values, or the rows are of
            several runs or targets.
    """
    table = chosen(rows, {"metric": metric, **where}, "method", "block", "contrast")
    chance, drawn = table[table["method"] == _CHANCE]["value"].dropna()[:1], table[table["method"] != _CHANCE]
    names = in_order(drawn["method"], _METHODS) if methods is None else methods
    count = max((int(block) + 1 for block in drawn["block"] if block.isdecimal()), default=0)

    def finish(ax: Axes, own: pd.DataFrame) -> None:
        _name_blocks(ax, own, _inches(columns_of(len(names)), width))
        _mark_missing(ax, own)
        for level in chance:
            ax.axhline(level, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=2, label=_CHANCE)
            if place_of(ax).is_last_col():
                write(ax, (1, level), (4, 0), _CHANCE, down="data", size=8, va="center", color=FAINT)

    return _draw(pd.concat([_placed(pick(drawn, method=name), count) for name in names]), "at", "contrast", finish,
                 across="method", marks="contrast", bars=True, dodge=0.22, words=_METHODS, ylabel=metric,
                 width=width, height=1.05)


def _placed(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The rows of a method with their place on the axis: its blocks, and apart from them the maps of no block.

    A block without a map has a row without a value, and so has the gap before each map of no block.
    """
    at = {str(i): float(i) for i in range(count if table["block"].str.isdecimal().any() else 0)}
    start = count - 1 + _APART if at else 0.0
    for i, name in enumerate(name for name in in_order(table["block"], _WHOLE) if not name.isdecimal()):
        at |= {f"before {name}": start + i - 0.5, name: start + i}
    cells = pd.MultiIndex.from_product([table["contrast"].unique(), at], names=["contrast", "block"])
    own = table.set_index(["contrast", "block"])[["value", "se"]].reindex(cells).reset_index()
    return own.assign(method=table["method"].iloc[0], at=own["block"].map(at))


def _name_blocks(ax: Axes, table: pd.DataFrame, inches: float) -> None:
    """Numbers of blocks below the axis, as many as there is room for, and the names of maps of no block."""
    at = table[~table["block"].str.startswith("before ")].drop_duplicates("block").set_index("block")["at"]
    blocks, whole = at[at.index.str.isdecimal()], at[~at.index.str.isdecimal()]
    room = 0.6 if len(blocks) else 0.75
    ax.set_xlim(-room, at.max() + room)
    step = next((n for n in (1, 2, 4, 8) if n * inches / (at.max() + 2 * room) >= _LABEL), 16)
    shown = pd.concat([blocks[::step], whole])
    ax.set_xticks(shown, shown.index)
    ax.set_xticks(blocks, minor=True)
    ax.tick_params(which="both", color=FAINT, length=2.5)
    if len(blocks):
        ax.set_xlabel(_ALONG.get(table["method"].iloc[0].split(" ")[0], "block"))
    if len(blocks) and len(whole):
        ax.axvline(whole.iloc[0] - _APART / 2, color="#cfcfcf", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)


def _mark_missing(ax: Axes, table: pd.DataFrame) -> None:
    """A cross on the axis at each block without a map, and once for those that follow each other the reason."""
    at = table["at"][table["block"].str.isdecimal() & table.groupby("at")["value"].transform("count").eq(0)].unique()
    if not len(at):
        return
    method = table["method"].iloc[0]
    # Of the linear approximation a block may also be missing because its terms cancel there.
    reason = "no gradient" if method.startswith("grad_cam") else "no map" if method.startswith("linear") else "no value"
    ax.plot(at, 0 * at, "x", color=INK, markersize=4, markeredgewidth=1, clip_on=False, zorder=4, label="missing",
            transform=ax.get_xaxis_transform())
    for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
        write(ax, (np.mean(run), 0), (0, 6), reason, across="data", size=7, rotation=90, ha="center", va="bottom",
              color=FAINT, zorder=2.5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})


# What all of them share


def _draw(table: pd.DataFrame, x: str, line: str, finish: Callable[[Axes, pd.DataFrame], object] = lambda *_: None, *,
          across: str = "", down: str = "", marks: str = "", bars: bool = False, dodge: float = 0, sharey: bool = True,
          words: Mapping[str, str] = {}, colours: Mapping[str, str] = {}, styles: Mapping[str, Any] = {},
          xlabel: str = "", ylabel: str = "", width: float, height: float) -> Figure:
    """A page with a panel for each value of `across` and of `down`, and in each its lines with their 95 % intervals.

    What `marks` tells apart has a mark of its own, and a word above the panels. `dodge` is the distance between lines.
    `finish` gets each panel and its rows when all are drawn. In the table, `se` or `low` and `high` are the interval of
    `value`, and `note` stands below the name of a line.
    """
    table = table.assign(**{"": "", "note": table.get("note", "")})  # by "", nothing is told apart
    if "se" in table or "low" not in table:
        spread = 1.96 * table.get("se", 0.0)
        table = table.assign(low=table["value"] - spread, high=table["value"] + spread)
    beside, below, names, marked = table[across].unique(), table[down].unique(), *(
        in_order(table[column]) for column in (line, marks))
    columns, places = len(beside) if down else columns_of(len(beside)), list(product(below, beside))
    looks = {mark: (marker, "-" if marks == line else dashes) for mark, (marker, dashes) in zip(marked, _MARKS * 9)}
    others = [name for name in names if name not in CONTRAST_COLOURS]
    colours = {name: f"C{i}" for i, name in enumerate(others)} | CONTRAST_COLOURS | {**colours}
    with style():
        figure = page(len(places), width=width)
        axes = figure.subplots(-(-len(places) // columns), columns, sharey=sharey, squeeze=False).flat
        panels = [(ax, table[(table[down] == row) & (table[across] == column)].sort_values(x))
                  for ax, (row, column) in zip(axes, places)]
        for ax in axes[len(places):]:
            ax.remove()
        for i, ((ax, own), (row, column)) in enumerate(zip(panels, places)):
            ax.grid(axis="y" if bars else "both")
            if i < columns or not down:
                ax.set_title(fitted(words.get(column, column), _inches(columns, width)), linespacing=1.3)
            if not i % columns:
                ax.set_ylabel(row, linespacing=1.3)
            for (name, mark), part in ordered(own, [*names, *marked], line, marks).groupby([line, marks], sort=False):
                marker, dashes = looks[mark]
                _draw_line(ax, part, part[x] + dodge * (names.index(name) - (len(names) - 1) / 2), bars, label=name,
                           color=colours[name], linestyle=styles.get(name, dashes),
                           marker=marker if bars or len(part) <= _MANY or styles.get(name) == "none" else "")
        if len(marked) > 1:
            keys = [key(name, colours.get(name, FAINT), marker=marker, markersize=4.5, linestyle=dashes)
                    for name, (marker, dashes) in looks.items()]
            figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), handlelength=2.6)
        for ax, own in panels:
            finish(ax, own)
            if marks != line:
                _name_lines(ax, own, x, line, colours, 72 * height)
        figure.supxlabel(xlabel)
        figure.supylabel(fitted(ylabel, 2.6), linespacing=1.2, multialignment="center")
        fit(figure, panels[0][0], height=height)
    return figure


def _draw_line(ax: Axes, own: pd.DataFrame, at: "pd.Series[float]", bars: bool, **look: Any) -> None:
    """One line with its band, or with its bars."""
    value, low, high = own["value"], own["low"], own["high"]
    if not bars:
        ax.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)
    ax.errorbar(at, value, yerr=[(value - low).clip(lower=0), (high - value).clip(lower=0)] if bars else None,
                linewidth=1.5, elinewidth=1, markersize=3.8, markeredgecolor="white", markeredgewidth=0.5, zorder=3,
                clip_on=bars, **look)


def _name_lines(ax: Axes, own: pd.DataFrame, x: str, line: str, colours: Mapping[str, str], height: float) -> None:
    """The names of the lines beside their ends, moved apart where they would overlap; a line alone needs none."""
    ends = own.dropna(subset=["value"]).groupby(line)[[x, "value", "note"]].last()
    if len(ends) < 2:
        return
    ax.get_ylim()  # settles the limits
    ends["at"] = height * (ax.transScale + ax.transLimits).transform(ends[[x, "value"]].to_numpy())[:, 1]
    ends = ends.loc[in_order(ends.index)[::-1]].sort_values("at", kind="stable")
    texts = ["\n".join(filter(None, [fitted(name, 1.5, 8), note])) for name, note in ends["note"].items()]
    for name, text, place in zip(ends.index, texts, _apart(
            ends["at"].to_numpy(), _NAME * (np.char.count(texts, "\n") + 1), height)):
        write(ax, (1, place / height), (5, 0), text, size=8, va="center", color=colours[name], linespacing=1.1)


def _apart(wanted: NDArray[Any], sizes: NDArray[Any], room: float) -> NDArray[Any]:
    """Rising places, near to those that are wanted, for things of these sizes, none of them outside of the room."""
    lowest = np.cumsum(sizes) - sizes / 2
    spare = wanted - lowest  # what is left below each: where it falls, two would overlap
    spare = (np.maximum.accumulate(spare) + np.minimum.accumulate(spare[::-1])[::-1]) / 2
    return lowest + np.clip(spare, 0, max(0, room - sum(sizes)))


def _inches(columns: int, width: float) -> float:
    """About how wide a panel is, of so many side by side."""
    return (width - 0.75) / columns - 0.15
