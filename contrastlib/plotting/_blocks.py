"""Where maps of transformers lie, block by block, from rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from contrastlib.plotting._grid import fitted
from contrastlib.plotting._palette import colour_of, in_order
from contrastlib.plotting._style import FAINT, INK, WIDTH, BookFigure, style
from contrastlib.rows import Row, chosen, distinct, matching, number, only

_COLUMNS = ("classifier", "target", "method", "block", "contrast", "metric", "value", "se")
_CHANCE = "chance"
_METHODS = {
    "grad_cam": "Grad-CAM, block output", "grad_cam norm1": "Grad-CAM, before attention",
    "grad_cam attention": "Grad-CAM, attention output", "linear_approximation": "Linear approximation",
    "rollout": "Attention rollout, signed",
    "rollout relu": "Attention rollout, ReLU", "full_grad": "FullGrad",
    "relevance signed": "Attention relevance, signed", "relevance": "Attention relevance, ReLU",
    "gradient_x_input": "Gradient × input",
}
"""Methods in the order of their panels, three in a row, as figures call them."""

_ALONG = {"rollout": "first block that takes part", "relevance": "first block that takes part",
          "full_grad": "block whose biases count"}
"""What a block is to a method, by the first word of its name."""

_WHOLE = ("embedding", "input", "all")
_APART = 1.7  # blocks from the last block to the first mark of a whole
_DODGE = 0.11  # blocks from the middle to a contrast's marks
_MANY = 16  # blocks; more have smaller marks
_LABEL = 0.23  # inches that the number of a block needs
_LOW = 0.3  # of a panel's height: a level of chance below it has the reason for a gap above it
_MARKERS = "osD^v"


@dataclass(frozen=True)
class _Scale:
    """What all panels have in common: the blocks, the contrasts, the level of chance and the inches of a panel."""

    blocks: list[str]
    contrasts: list[str]
    chance: float | None
    inches: float


def by_block(
    rows: Iterable[Mapping[str, object]],
    *,
    metric: str,
    methods: Sequence[str] | None = None,
    against_chance: bool = True,
    width: float = WIDTH,
    **where: object,
) -> Figure:
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
    table = matching(chosen(rows, _COLUMNS, where), "metric", metric)
    only(table, "target")
    drawn = [row for row in table if row["method"] != _CHANCE]
    names = list(methods if methods is not None else distinct(drawn, "method", tuple(_METHODS)))
    panels = {name: matching(drawn, "method", name) for name in names}
    if not panels:
        raise ValueError("there are no methods to draw")
    columns = columns_of(len(panels))
    lines = -(-len(panels) // columns)
    scale = _Scale(_blocks(drawn), in_order(row["contrast"] for rows in panels.values() for row in rows),
                   _chance(table) if against_chance else None, (width - 0.75) / columns - 0.15)
    with style():
        height = 0.45 + (1.75 if lines > 1 else 2.0) * lines
        figure = BookFigure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05))
        axes = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for ax, (name, found) in zip(axes.flat, panels.items()):
            _draw_panel(ax, name, found, scale)
        for ax, (name, found) in zip(axes.flat, panels.items()):  # now that the axes have their limits
            _mark_missing(ax, name, found, scale)
        _name_chance(axes, len(panels), scale.chance)
        figure.supylabel(fitted(metric, height - 0.9, 8.5), fontsize=8.5, linespacing=1.2, multialignment="center")
        figure.legend(handles=[_key(contrast, place) for place, contrast in enumerate(scale.contrasts)],
                      loc="outside upper center", ncols=len(scale.contrasts), handlelength=2.2)
    return figure


def columns_of(panels: int) -> int:
    """How many panels stand side by side.

    Args:
        panels: how many there are.

    Returns:
        at most three.
    """
    return 2 if panels == 4 else min(panels, 3)


def _blocks(table: Sequence[Row]) -> list[str]:
    """All blocks of the network, so far as any method has a map from them."""
    found = [int(row["block"]) for row in table if row["block"].isdecimal()]
    return [str(block) for block in range(max(found, default=-1) + 1)]


def _chance(table: Sequence[Row]) -> float | None:
    found = [number(row["value"]) for row in table if row["method"] == _CHANCE]
    return found[0] if found and np.isfinite(found[0]) else None


def _key(contrast: str, place: int) -> Line2D:
    return Line2D([0, 1], [0, 0], color=colour_of(contrast), marker=_MARKERS[place % len(_MARKERS)], markersize=4,
                  linewidth=1.4, markeredgecolor="white", markeredgewidth=0.5, label=contrast)


def _draw_panel(ax: Axes, method: str, table: Sequence[Row], scale: _Scale) -> None:
    there = distinct(table, "block", (*scale.blocks, *_WHOLE))
    blocks = scale.blocks if any(block in scale.blocks for block in there) else []
    whole = [block for block in there if block not in blocks]
    start = len(blocks) - 1 + _APART if blocks else 0.0
    _frame(ax, method, scale)
    for place, contrast in enumerate(scale.contrasts):
        own = {row["block"]: row for row in table if row["contrast"] == contrast}
        aside = (place - (len(scale.contrasts) - 1) / 2) * 2 * _DODGE
        if blocks:
            _draw_marks(ax, aside, blocks, own, _key(contrast, place))
        if whole:
            _draw_marks(ax, start + aside * (1 if blocks else 0.4), whole, own, _key(contrast, place), joined=False)
    _name_blocks(ax, blocks, whole, scale.inches)
    if blocks:
        ax.set_xlabel(_ALONG.get(method.split(" ")[0], "block"))


def _draw_marks(
    ax: Axes, start: float, blocks: Sequence[str], rows: Mapping[str, Row], key: Line2D, *, joined: bool = True,
) -> None:
    """The marks of one contrast with their bars; a line between blocks that follow each other."""
    cells = [[number(rows[block][name]) if block in rows else np.nan for name in ("value", "se")] for block in blocks]
    value, se = np.array(cells).T
    ax.errorbar(start + np.arange(len(blocks)), value, yerr=1.96 * se, color=key.get_color(), marker=key.get_marker(),
                linestyle="-" if joined else "none", markersize=3.8 if len(blocks) <= _MANY else 2.8, zorder=3,
                markeredgecolor="white", markeredgewidth=0.5, linewidth=1.3, elinewidth=1,
                label=str(key.get_label()) + ("" if joined else ", whole"))


def _frame(ax: Axes, method: str, scale: _Scale) -> None:
    ax.set_title(fitted(_METHODS.get(method, method), scale.inches, 8.5), pad=5)
    ax.grid(axis="y", color="#ececec", linewidth=0.6)
    ax.set_axisbelow(True)
    if scale.chance is not None:
        ax.axhline(scale.chance, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=2, label=_CHANCE)


def _name_blocks(ax: Axes, blocks: Sequence[str], whole: Sequence[str], inches: float) -> None:
    """Numbers of blocks below the axis, as many as there is room for, and the names of wholes."""
    first = len(blocks) - 1 + _APART if blocks else 0.0
    end = first + len(whole) - 1 if whole else len(blocks) - 1
    before, after = (0.6, 0.6) if blocks else (0.75, 0.75)
    ax.set_xlim(-before, end + after)
    step = next((n for n in (1, 2, 4, 8) if n * inches / (end + before + after) >= _LABEL), 16)
    at = [*range(0, len(blocks), step), *(first + i for i in range(len(whole)))]
    ax.set_xticks(at, [*blocks[::step], *whole])
    ax.set_xticks(range(len(blocks)), minor=True)
    ax.tick_params(which="both", color=FAINT, length=2.5)
    if blocks and whole:
        ax.axvline(first - _APART / 2, color="#cfcfcf", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)


def _mark_missing(ax: Axes, method: str, table: Sequence[Row], scale: _Scale) -> None:
    """A cross on the axis at each block without a map, and once for those that follow each other the reason."""
    known = {row["block"] for row in table if not np.isnan(number(row["value"]))}
    at = [int(block) for block in scale.blocks if block not in known]
    if not at or known.isdisjoint(scale.blocks):
        return
    ax.plot(at, [0] * len(at), "x", color=INK, markersize=4, markeredgewidth=1, clip_on=False, zorder=4,
            transform=ax.get_xaxis_transform(), label="missing")
    low, high = ax.get_ylim()
    level = 0.0 if scale.chance is None else (scale.chance - low) / (high - low)
    for block in (block for block in at if block - 1 not in at):
        last = next(end for end in at if end >= block and end + 1 not in at)
        ax.annotate("no gradient" if method.startswith(("grad_cam", "linear_approximation")) else "no value",
                    ((block + last) / 2, level if level < _LOW else 0), (0, 6), xycoords=("data", "axes fraction"),
                    textcoords="offset points", rotation=90, ha="center", va="bottom", size=7, color=FAINT, zorder=2.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})


def _name_chance(axes: NDArray[Any], panels: int, level: float | None) -> None:
    """The name of the dashed line, beside the last panel of each row; cells without a panel become empty."""
    for place, ax in enumerate(axes.flat):
        last = place % axes.shape[1] == axes.shape[1] - 1
        if place >= panels:
            ax.remove()
        elif level is not None and (last or place == panels - 1):
            name = ax.annotate(_CHANCE, (1, level), (4, 0), xycoords=("axes fraction", "data"), color=FAINT,
                               textcoords="offset points", va="center", size=8)
            name.set_in_layout(last)  # elsewhere it has an empty cell to itself
