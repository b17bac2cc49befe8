"""Dots with their intervals, a row for each setting: what steps along a gradient change, and what masking leaves."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from contrastlib.plotting.colours import FAINT, INK, colour_of, paler
from contrastlib.plotting.rows import chosen, in_order, numbers, ordered
from contrastlib.plotting.style import WIDTH, fit, from_zero, key, page, place_of, style, write
from contrastlib.tables import pick

_STRIPE = "#f6f6f4"

# Steps along the gradient's sign

_METRICS = {"p_t": "change of probability pₜ", "accuracy": "change of accuracy", "y_t": "change of logit yₜ"}
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
    table = chosen(rows, where, "contrast", "epsilon", "steps", "metric")
    drawn = pick(table[table["contrast"] != "before"], epsilon=epsilon)
    before = table[table["contrast"] == "before"].set_index("metric")["value"]
    contrasts, steps = in_order(drawn["contrast"]), in_order(drawn["steps"])
    metrics = in_order(drawn["metric"], _METRICS)
    last = len(steps) - 1
    aside = {step: _REACH * (2 * i - last) / max(last, 1) for i, step in enumerate(steps)}
    strength = {step: 1 - 0.55 * (last - i) / max(last, 1) for i, step in enumerate(steps)}
    drawn = drawn.assign(
        at=drawn["contrast"].map(contrasts.index) + drawn["steps"].map(aside),
        colour=[paler(colour_of(name), strength[step]) for name, step in zip(drawn["contrast"], drawn["steps"])])
    keys = [key(f"{step} step{'' if step == '1' else 's'}", paler("#4d4d4d", strength[step]), marker="o", markersize=5,
                linewidth=1.3, markeredgecolor="white", markeredgewidth=0.6) for step in steps]
    with style():
        figure = page(width=width)
        panels: dict[str, Axes] = dict(zip(metrics, figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]))
        for metric, ax in panels.items():
            _frame_changes(ax, _METRICS.get(metric, metric), before.get(metric), len(contrasts))
            own = drawn[drawn["metric"] == metric]
            ax.hlines(own["at"], 0, own["value"], colors=[paler(colour, 0.6) for colour in own["colour"]],
                      linewidth=1.1, zorder=2.5)
            _draw_dots(ax, own["value"], own["se"], own["at"], list(own["colour"]), 5, "mean")
        first = panels[metrics[0]]
        first.set(ylim=(len(contrasts) - 0.5, -0.5), yticks=range(len(contrasts)), yticklabels=contrasts)
        for label, contrast in zip(first.get_yticklabels(), contrasts):
            label.set(color=colour_of(contrast), fontweight="bold")
        if reference is not None:
            keys.append(_draw_ticks(panels, _ticks(reference, epsilon, drawn, steps[-1]), contrasts, steps[-1]))
        _write_legend_below(figure, keys)
        fit(figure, first, height=(0.15 + 0.11 * len(steps)) * len(contrasts))
    return figure


def _frame_changes(ax: Axes, title: str, before: Any, contrasts: int) -> None:
    ax.set_title(title, pad=15)
    if before is not None:
        write(ax, (0.5, 1), (0, 4), f"from {before:.3g} before", ha="center", size=7.5, color=FAINT)
    for i in range(0, contrasts, 2):
        ax.axhspan(i - 0.5, i + 0.5, color=_STRIPE, linewidth=0, zorder=0)
    from_zero(ax)


def _ticks(reference: pd.DataFrame, epsilon: float, drawn: pd.DataFrame, steps: str) -> pd.DataFrame:
    """The papers' changes at these steps, those of y_t on our scale."""
    rows = pick(reference, epsilon=epsilon, iterations=steps).assign(delta=lambda rows: numbers(rows["delta"]))
    ours = drawn[(drawn[["contrast", "metric", "steps"]] == ["original", "y_t", steps]).all(axis=1)]["value"]
    logits = rows["quantity"] == "y_t"
    theirs = rows[logits & (rows["contrast"] == "original")].set_index("network")["delta"].replace(0, np.nan)
    rows.loc[logits, "delta"] *= rows["network"].map((ours.iloc[0] if len(ours) else np.nan) / theirs)
    return rows.dropna(subset=["delta"])


def _draw_ticks(panels: Mapping[str, Axes], ticks: pd.DataFrame, contrasts: Sequence[str], steps: str) -> Line2D:
    """The papers' changes as ticks, and what the legend says of them."""
    for (metric, contrast), own in ticks.groupby(["quantity", "contrast"]):
        if metric in panels and contrast in contrasts:
            at = contrasts.index(contrast)
            panels[metric].vlines(own["delta"], at - 0.42, at + 0.42, color=_TICK, linewidth=1, zorder=1.5,
                                  label=f"papers {contrast}")
    scaled = "; their yₜ scaled to our original" if (ticks["quantity"] == "y_t").any() else ""
    return key(f"the review, {ticks['network'].nunique()} networks, {steps} steps{scaled}", _TICK, marker="|",
               markersize=9, markeredgewidth=1.2, linestyle="")


def gains(rows: pd.DataFrame, *, of: Sequence[str] = ("mean", "max", "weighted"), epsilon: float = 0.003,
          steps: int = 10, reference: pd.DataFrame | None = None, width: float = WIDTH, **where: object) -> Figure:
    """What contrasts gain over the original, image by image, on network after network, with 95 % intervals.

    A dot is filled where its interval excludes zero.

    Args:
        rows: of ``gradient_sign.csv``.
        of: which contrasts.
        epsilon: the largest change of a pixel, for images in [0, 1].
        steps: their number.
        reference: rows of the review's ``review_gradient_sign_digitised.csv``: its networks stand below ours, with
            diamonds and without intervals, since nothing is known of single images.
        width: inches.
        where: further columns that pick the rows, such as ``data_set="drawn_birds"``.

    Returns:
        the figure; a panel for each of p_t, accuracy and y_t, a line for each network.

    Raises:
        ValueError: a column is missing, or nothing has these values.
    """
    ours = chosen(rows, {"epsilon": epsilon, "steps": steps, **where}, "classifier", "contrast", "metric")
    ours = ours.assign(network=ours["classifier"] + ", n = " + ours["n"].astype(str))
    theirs = ours[:0] if reference is None else _gains_of_review(reference, epsilon, steps)
    table = pd.concat([ours, theirs])
    table = table[table["contrast"].isin(of)]
    networks, aside = in_order(table["network"], ()), dict(zip(of, np.linspace(-0.22, 0.22, len(of))))
    table = table.assign(at=table["network"].map(networks.index) + table["contrast"].map(aside))
    with style():
        figure = page(width=width)
        panels = dict(zip(_METRICS, figure.subplots(1, len(_METRICS), sharey=True)))
        for metric, ax in panels.items():
            _frame_changes(ax, _METRICS[metric].replace("change", "gain"), None, len(networks))
            for contrast, own in table[table["metric"] == metric].groupby("contrast"):
                _draw_gains(ax, own, colour_of(contrast))
        panels["p_t"].set(ylim=(len(networks) - 0.5, -0.5), yticks=range(len(networks)), yticklabels=networks)
        keys = [key(name, colour_of(name), marker="o", markersize=5, linewidth=1.3) for name in of]
        if len(theirs):
            keys.append(key("the review's", FAINT, marker="D", markersize=4, linestyle=""))
        _write_legend_below(figure, keys)
        fit(figure, panels["p_t"], height=0.27 * len(networks))
    return figure


def _gains_of_review(reference: pd.DataFrame, epsilon: float, steps: int) -> pd.DataFrame:
    """The review's changes minus those along its original, in the words of our rows."""
    rows = pick(reference, epsilon=epsilon, iterations=steps)
    wide = rows.assign(delta=numbers(rows["delta"])).pivot_table(
        "delta", ["network", "quantity"], "contrast", sort=False)
    gained = wide.drop(columns="original").sub(wide["original"], axis=0)
    return gained.stack().rename("difference").reset_index().rename(columns={"quantity": "metric"})


def _draw_gains(ax: Axes, own: pd.DataFrame, colour: str) -> None:
    """Dots with intervals, hollow where these hold zero; diamonds where there is no interval."""
    ax.hlines(own["at"], own["low"], own["high"], color=colour, linewidth=1.3)
    unsure, theirs = (own["low"] <= 0) & (own["high"] >= 0), own["low"].isna()
    for marker, size, which, face in (("o", 22, ~theirs & ~unsure, colour), ("o", 22, unsure, "white"),
                                      ("D", 14, theirs, paler(colour, 0.6))):
        ax.scatter(own["difference"][which], own["at"][which], s=size, marker=marker, zorder=3, facecolors=face,
                   edgecolors=colour, linewidths=1)


# Pixels of one sign

_PLACE = ["method", "target", "baseline"]
_WORDS = {"linear_approximation": "Linear\napproximation", "grad_cam": "Grad-CAM", "xgrad_cam": "XGradCAM", "t1": "t₁",
          "t2": "t₂"}
_ORDER = (*_WORDS, "blur", "mean colour", "channel mean", "black")
_BUDGETS = {"published": "as published", "swapped": "signs put right", "caption": "as the caption says"}
_BETTER = {"positive": "higher is better", "negative": "lower is better"}
_THEIRS = {"LA": "linear_approximation", "GC": "grad_cam", "XC": "xgrad_cam", "zeros": "mean colour",
           "mean": "channel mean"}
_EVEN = "#d2d2d2"
_BAR, _LINE, _DOT = 0.13, 0.115, 4.0  # inches of the bar above a panel and of a line; points of a mark
_TARGET, _METHOD = -64, -136  # points from a panel to the names of targets and methods


def masked(rows: pd.DataFrame, *, budgets: str | Sequence[str] = "published", reference: pd.DataFrame | None = None,
           table: str = "table1", width: float = WIDTH, **where: object) -> Figure:
    """Relative probability of the target when only pixels of one sign are kept, original against another contrast.

    A line joins the two values of a setting in the colour of the better one, pale where the 95 % interval of their
    paired difference holds zero; the bar above a panel counts them. Bars at the marks are 95 % intervals.

    Args:
        rows: of ``masking.csv``, of one run; with the budget ``none``, a line marks the unmasked images.
        budgets: how many pixels are kept; several stand side by side as columns, and the two signs below each other.
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
    ours = chosen(rows, where, *_PLACE, "budget", "keep", "contrast")
    names = [budgets] if isinstance(budgets, str) else [*budgets]
    panels = [_pairs(ours, budget, keep) for keep in _BETTER for budget in names]
    places = _places(pd.concat(panels)[_PLACE].drop_duplicates())
    blocks = places.groupby(_PLACE[:2], sort=False)["line"].agg(["min", "max"]).reset_index()
    whole = ours[ours["budget"] == "none"].merge(blocks, on=_PLACE[:2])
    theirs = ours[:0] if reference is None else _review(reference, table)
    ends = pd.concat([whole["value"], theirs["value"], *(
        own[f"value{kind}"] + side * own[f"se{kind}"]
        for own in panels for kind in ("", " before") for side in (-1.96, 1.96))])
    scale = max(floor(20 * ends.min() - 0.4) / 20, 0), min(ceil(20 * ends.max() + 0.4) / 20, 1)
    height = _LINE * (places["line"].max() + 1.2)
    with style():
        figure = page(2, width=width, gap=0.04)
        axes = figure.subplots(4, len(names), squeeze=False, height_ratios=[_BAR, height] * 2)
        for bar, ax, pairs in zip(axes[::2].flat, axes[1::2].flat, panels):
            _frame_pairs(ax, places, blocks, scale)
            ax.vlines(whole["value"], whole["min"] - 0.5, whole["max"] + 0.5, color=INK, linewidth=0.8, zorder=2,
                      label="unmasked")
            _draw_pairs(ax, pairs, places, theirs)
            _draw_tally(bar, pairs)
            _write_head(bar, pairs)
        _write_legend(figure, in_order(["original", *pd.concat(panels)["contrast"]]), not whole.empty, not theirs.empty)
        fit(figure, axes[1, 0], height=height)
    return figure


def _pairs(table: pd.DataFrame, budget: str, keep: str) -> pd.DataFrame:
    """The pairs of one budget and sign, each with the contrast that serves the intent better, if one does."""
    rows = pick(table, budget=budget, keep=keep)
    original, counts = rows["contrast"] == "original", rows["contrast"].value_counts().to_dict()
    pairs = rows[~original].merge(rows[original][[*_PLACE, "kept", "value", "se"]], "outer", _PLACE,
                                  suffixes=("", " before"))
    if len(counts) != 2 or pairs[["value", "value before"]].isna().any(axis=None):
        raise ValueError(f"budget {budget!r}, keep {keep!r} needs 'original' and one other contrast in each setting, "
                         f"it has {counts}")
    more, less = pairs["low"] > 0, pairs["high"] < 0
    better, worse = (more, less) if keep == "positive" else (less, more)
    return pairs.assign(winner=np.select([better, worse], [pairs["contrast"], "original"], ""))


def _places(places: pd.DataFrame) -> pd.DataFrame:
    """Methods, targets and baselines in order, each with its distance from the first in lines, with gaps between."""
    places = ordered(places, _ORDER, *_PLACE)
    method, target = (places[name] != places[name].shift() for name in _PLACE[:2])
    return places.assign(line=(1 + 0.9 * method + 0.45 * (target & ~method)).cumsum() - 1.9)


def _review(reference: pd.DataFrame, table: str) -> pd.DataFrame:
    """The review's relative probabilities in the words of our rows."""
    rows = pick(reference, table=table).replace({"method": _THEIRS, "baseline": _THEIRS})
    return rows.assign(keep=rows["kept_features"], value=numbers(rows["relative_probability"]))


def _frame_pairs(ax: Axes, places: pd.DataFrame, blocks: pd.DataFrame, scale: tuple[float, float]) -> None:
    """Empty axes with their scale, a stripe for each block, and the names of lines and blocks at the left."""
    ax.set(xlim=scale, ylim=(places["line"].max() + 0.6, -0.6))
    ax.set_yticks(places["line"], places["baseline"], size=7)
    ax.xaxis.set_major_locator(MultipleLocator(0.25 if scale[1] - scale[0] > 0.6 else 0.1))
    ax.grid(axis="x", color="#e9e9e9")
    ax.spines["left"].set_visible(False)
    ax.tick_params(length=0)
    ax.label_outer()
    for start, end in zip(blocks["min"], blocks["max"]):
        ax.axhspan(start - 0.5, end + 0.5, color=_STRIPE, linewidth=0, zorder=0)
    if not place_of(ax).is_first_col():
        return
    bold: dict[str, Any] = {"size": 8, "fontweight": "bold", "linespacing": 1.2}
    centred: dict[str, Any] = {"size": 9, "ha": "center"}
    for depth, aside, look in ((1, _METHOD, bold), (2, _TARGET, centred)):
        for names, own in blocks.groupby(_PLACE[:depth]):
            write(ax, (0, (own["min"].min() + own["max"].max()) / 2), (aside, 0), _WORDS.get(names[-1], names[-1]),
                  down="data", va="center", **look)


def _draw_pairs(ax: Axes, pairs: pd.DataFrame, places: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Both values of each pair with their intervals, joined in the colour of the better; the review's below them."""
    pairs = pairs.merge(places, on=_PLACE)
    theirs = theirs[theirs["keep"] == pairs["keep"].iloc[0]].merge(places, on=_PLACE)
    joined = theirs.groupby("line")["value"].agg(["min", "max"])
    ax.hlines(joined.index + 0.3, joined["min"], joined["max"], colors=FAINT, linewidth=0.6, zorder=2.5)
    for contrast, own in theirs.groupby("contrast"):
        ax.scatter(own["value"], own["line"] + 0.3, s=(0.65 * _DOT) ** 2, facecolors="white", linewidths=0.8,
                   edgecolors=colour_of(contrast), zorder=3, label=f"the review {contrast}")
    at = pairs["line"] - 0.1 * pairs["line"].isin(joined.index)
    ax.hlines(at, pairs["value before"], pairs["value"], linewidth=1.8, zorder=3.5, label="joined",
              colors=[colour_of(winner) if winner else _EVEN for winner in pairs["winner"]])
    for name, kind in (("original", " before"), (pairs["contrast"].iloc[0], "")):
        colours = [paler(colour_of(name), 1 if winner else 0.45) for winner in pairs["winner"]]
        _draw_dots(ax, pairs[f"value{kind}"], pairs[f"se{kind}"], at, colours, _DOT, name)


def _draw_tally(ax: Axes, pairs: pd.DataFrame) -> None:
    """A bar of three parts: how many lines each contrast wins, and how many are undecided."""
    counts = pairs["winner"].value_counts().reindex([pairs["contrast"].iloc[0], "", "original"]).dropna().astype(int)
    bars = ax.barh([0.5] * len(counts), counts, left=counts.cumsum() - counts, height=1, edgecolor="white",
                   linewidth=0.8, color=[colour_of(name) if name else _EVEN for name in counts.index])
    for text, name in zip(ax.bar_label(bars, label_type="center", size=7), counts.index):
        text.set_color("white" if name else INK)
    ax.set(xlim=(0, len(pairs)), ylim=(0, 1))
    ax.set_axis_off()


def _write_head(ax: Axes, pairs: pd.DataFrame) -> None:
    """What a panel shows, above and at the left of its bar: its budget above the columns, its sign beside the rows."""
    budget, keep = pairs[["budget", "keep"]].iloc[0]
    shares = 100 * pairs[["kept", "kept before"]]
    kept = "–".join(dict.fromkeys(f"{share:.0f}" for share in (shares.min(axis=None), shares.max(axis=None))))
    faint: dict[str, Any] = {"size": 7.5, "color": FAINT}
    write(ax, (0, 1), (0, 4), f"{kept} % of pixels kept", **faint)
    if place_of(ax).is_first_row():
        write(ax, (0, 1), (0, 15), _BUDGETS.get(budget, budget), fontweight="bold")
    if place_of(ax).is_first_col():
        write(ax, (0, 0.5), (-6, 0), "settings won by", ha="right", va="center", **faint)
        write(ax, (0, 1), (_METHOD, 4), f"{keep} kept", fontweight="bold")
        write(ax, (0, 0.5), (_METHOD, 0), _BETTER[keep], va="center", **faint)


def _write_legend(figure: Figure, contrasts: Sequence[str], unmasked: bool, theirs: bool) -> None:
    keys = [key(name, colour_of(name), marker="o", markersize=5, linewidth=1.8) for name in contrasts]
    keys.append(key("undecided (95 %)", _EVEN, linewidth=1.8))
    if unmasked:
        keys.append(key("unmasked", INK, linestyle="", marker="|", markersize=10, markeredgewidth=0.8))
    if theirs:
        keys.append(key("the review", FAINT, marker="o", markersize=4, linewidth=0.7, markerfacecolor="white"))
    _write_legend_below(figure, keys, "relative probability of the target")


# What both share


def _draw_dots(ax: Axes, values: "pd.Series[float]", se: "pd.Series[float]", at: "pd.Series[float]",
               colours: Sequence[str], size: float, label: str) -> None:
    """Values at their heights, as dots of this size in points, with 95 % intervals as paler bars behind them."""
    ax.hlines(at, values - 1.96 * se, values + 1.96 * se, colors=[paler(colour, 0.5) for colour in colours],
              linewidth=0.65 * size, zorder=4, label=f"{label}, 95 %")
    ax.scatter(values, at, s=size**2, c=colours, edgecolors="white", linewidths=0.5, zorder=4.5, label=label)


def _write_legend_below(figure: Figure, keys: Sequence[Line2D], title: str | None = None) -> None:
    """A legend in one row below the panels."""
    figure.legend(handles=keys, title=title, loc="outside lower center", fontsize=8, ncols=len(keys), handlelength=1.6,
                  columnspacing=1.4, handletextpad=0.5, borderaxespad=0.2)
