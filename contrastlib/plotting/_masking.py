"""How probable a class stays when only pixels of one sign are kept, from rows."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from contrastlib.plotting._pairs import METHODS, Pair, Panel, Place, lines_of, panel_of, papers_pairs
from contrastlib.plotting._palette import colour_of, in_order, paler
from contrastlib.plotting._style import FAINT, INK, WIDTH, BookFigure, style
from contrastlib.rows import chosen, number

_COLUMNS = ("method", "target", "budget", "baseline", "keep", "contrast", "kept", "value", "se", "low", "high")
_BUDGETS = {"published": "as published", "swapped": "signs put right", "caption": "as the caption says"}
_BETTER = {"positive": "higher is better", "negative": "lower is better"}
_EVEN, _STRIPE = "#d2d2d2", "#f6f6f4"
_LINE, _CLOSE = 0.155, 0.115  # inches of a line; where several budgets stand side by side
_HEAD, _LEFT, _GAP, _FOOT, _KEY = 0.62, 1.9, 0.16, 0.44, 0.28  # inches


def masked(
    rows: Iterable[Mapping[str, object]],
    *,
    budgets: str | Sequence[str] = "published",
    reference: Iterable[Mapping[str, object]] | None = None,
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
    panels = [panel_of(ours, budget, keep) for keep in ("positive", "negative") for budget in names]
    lines = lines_of({pair.place for panel in panels for pair in panel.pairs})
    unmasked = {(row["method"], row["target"]): number(row["value"]) for row in ours if row["budget"] == "none"}
    theirs = {} if reference is None else papers_pairs(reference, table)
    columns = len(names) if len(names) > 1 else 2
    scale = _scale(panels, unmasked.values(), theirs.values())
    with style():
        page = _Page(width, columns, len(panels) // columns, lines)
        for i, panel in enumerate(panels):
            ax = page.panel(i, scale)
            _draw_unmasked(ax, lines, unmasked)
            for pair in panel.pairs:
                _draw_pair(ax, pair, lines[pair.place], theirs.get((pair.place, panel.keep), {}), page.mark)
            page.title(i, panel)
        page.legend(in_order(["original", *(panel.other for panel in panels)]), bool(unmasked), bool(theirs))
    return page.figure


class _Page:
    """The figure, and where its panels stand in inches."""

    def __init__(self, width: float, columns: int, rows: int, lines: Mapping[Place, float]) -> None:
        self.columns, self.rows, self.lines = columns, rows, lines
        self.line, self.mark, self.small = (_LINE, 4.6, 7.5) if rows == 1 else (_CLOSE, 4.0, 7.0)
        self.down = self.line * (max(lines.values()) + 1.2)
        self.across = (width - _LEFT - 0.12 - _GAP * (columns - 1)) / columns
        self.width, self.height = width, rows * (_HEAD + self.down) + _FOOT + _KEY
        self.figure = BookFigure(figsize=(width, self.height))

    def corner(self, i: int) -> tuple[float, float]:
        """Inches from the top left of the page to that of a panel."""
        row, column = divmod(i, self.columns)
        return _LEFT + column * (self.across + _GAP), _HEAD + row * (_HEAD + self.down)

    def axes(self, x: float, y: float, w: float, h: float) -> Axes:
        return self.figure.add_axes((x / self.width, 1 - (y + h) / self.height, w / self.width, h / self.height))

    def write(self, x: float, y: float, text: str, **options: Any) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, text, **options)

    def panel(self, i: int, scale: tuple[float, float]) -> Axes:
        """Empty axes with their scale, and at the left of a row the names of its lines."""
        x, y = self.corner(i)
        ax = self.axes(x, y, self.across, self.down)
        ax.set(xlim=scale, ylim=(max(self.lines.values()) + 0.6, -0.6), yticks=[])
        ax.xaxis.set_major_locator(MultipleLocator(0.25 if scale[1] - scale[0] > 0.6 else 0.1))
        ax.grid(axis="x", color="#e9e9e9", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines["left"].set_visible(False)
        ax.tick_params(length=0, labelbottom=i // self.columns == self.rows - 1)
        for start, end in _blocks(self.lines).values():
            ax.axhspan(start - 0.5, end + 0.5, color=_STRIPE, linewidth=0, zorder=0)
        if not i % self.columns:
            self._names(y)
        return ax

    def _names(self, y: float) -> None:
        def down(line: float) -> float:
            return y + self.line * (line + 0.6)

        for (_, _, baseline), line in self.lines.items():
            self.write(_LEFT - 0.08, down(line), baseline, ha="right", va="center", size=self.small)
        blocks = _blocks(self.lines)
        for (_, target), (start, end) in blocks.items():
            self.write(_LEFT - 0.98, down((start + end) / 2), f"${target[0]}_{{{target[1:]}}}$", ha="center",
                       va="center", size=9)
        for method in dict.fromkeys(method for method, _ in blocks):
            ends = [line for (one, _), span in blocks.items() if one == method for line in span]
            self.write(0.04, down((min(ends) + max(ends)) / 2), METHODS.get(method, method), va="center", size=8,
                       fontweight="bold", linespacing=1.2)

    def title(self, i: int, panel: Panel) -> None:
        """What a panel shows, and how often which contrast is better."""
        x, y = self.corner(i)
        sign = f"{panel.keep} kept"
        if self.rows == 1:
            self.write(x, y - 0.42, sign, fontweight="bold")
            self.write(x + self.across, y - 0.42, _BETTER[panel.keep], size=7.5, color=FAINT, ha="right")
            if not i:
                self.write(0.04, y - 0.42, _BUDGETS.get(panel.budget, panel.budget), fontweight="bold")
        else:
            if i < self.columns:
                self.write(x, y - 0.42, _BUDGETS.get(panel.budget, panel.budget), fontweight="bold")
            if not i % self.columns:
                self.write(0.04, y - 0.27, sign, fontweight="bold")
                self.write(0.04, y - 0.1, _BETTER[panel.keep], size=7.5, color=FAINT)
        self.write(x, y - 0.27, panel.kept, size=7.5, color=FAINT)
        if not i % self.columns:
            self.write(_LEFT - 0.08, y - 0.135, "settings won by", size=7.5, color=FAINT, ha="right", va="center")
        _draw_tally(self.axes(x, y - 0.2, self.across, 0.13), panel)

    def legend(self, contrasts: Sequence[str], unmasked: bool, theirs: bool) -> None:
        """The words under the panels."""
        self.write(_LEFT + (self.width - _LEFT - 0.12) / 2, self.height - _KEY - 0.08,
                   "relative probability of the target", ha="center")
        shown = [Line2D([0, 1], [0, 0], color=colour_of(name), marker="o", markersize=5, linewidth=1.8,
                        label=name) for name in contrasts]
        shown.append(Line2D([], [], color=_EVEN, linewidth=1.8, label="undecided (95 %)"))
        if unmasked:
            shown.append(Line2D([], [], color=INK, linestyle="", marker="|", markersize=10, markeredgewidth=0.8,
                                label="unmasked"))
        if theirs:
            shown.append(Line2D([0, 1], [0, 0], color=FAINT, marker="o", markersize=4, linewidth=0.7,
                                markerfacecolor="white", label="the review"))
        self.figure.legend(handles=shown, loc="lower center", ncols=len(shown), fontsize=8, handlelength=1.6,
                           columnspacing=1.4, handletextpad=0.5, borderaxespad=0.2)


def _scale(panels: Iterable[Panel], unmasked: Iterable[float], theirs: Iterable[Mapping[str, float]],
           ) -> tuple[float, float]:
    """Ends of the axis, the same in all panels: all values and some room, in steps of 0.05."""
    values = [number(row["value"]) + side * 1.96 * number(row["se"]) for panel in panels for pair in panel.pairs
              for row in (pair.original, pair.other) for side in (-1, 1)]
    values += [*unmasked, *(value for pair in theirs for value in pair.values())]
    return max(floor(20 * min(values) - 0.4) / 20, 0), min(ceil(20 * max(values) + 0.4) / 20, 1)


def _blocks(lines: Mapping[Place, float]) -> dict[tuple[str, str], tuple[float, float]]:
    """The first and the last line of each method and target."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for (method, target, _), line in lines.items():
        found[method, target] = (found.get((method, target), (line, line))[0], line)
    return found


def _draw_unmasked(ax: Axes, lines: Mapping[Place, float], unmasked: Mapping[tuple[str, str], float]) -> None:
    for block, (start, end) in _blocks(lines).items():
        if block in unmasked:
            ax.vlines([unmasked[block]], start - 0.5, end + 0.5, color=INK, linewidth=0.8, zorder=2, label="unmasked")


def _draw_pair(ax: Axes, pair: Pair, line: float, theirs: Mapping[str, float], size: float) -> None:
    if theirs:
        at = line + 0.3
        ax.plot(list(theirs.values()), [at] * len(theirs), color=FAINT, linewidth=0.6, zorder=2.5)
        for contrast, value in theirs.items():
            ax.plot([value], [at], "o", markersize=0.65 * size, markerfacecolor="white", markeredgewidth=0.8,
                    color=colour_of(contrast), zorder=3, label=f"the review {contrast}")
    up = 0.1 if theirs else 0.0
    winner = pair.winner
    values = [number(row["value"]) for row in (pair.original, pair.other)]
    ax.plot(values, [line - up] * 2, color=colour_of(winner) if winner else _EVEN, linewidth=1.8, zorder=3.5,
            label="joined")
    for row, value in zip((pair.original, pair.other), values):
        colour = paler(colour_of(row["contrast"]), 1 if winner else 0.45)
        ax.errorbar([value], [line - up], xerr=[1.96 * number(row["se"])], fmt="o", markersize=size, color=colour,
                    ecolor=paler(colour, 0.5), elinewidth=0.65 * size, zorder=4, markeredgecolor="white",
                    markeredgewidth=0.5, label=row["contrast"])


def _draw_tally(ax: Axes, panel: Panel) -> None:
    """A bar of three parts: how many lines each contrast wins, and how many are undecided."""
    winners, left = [pair.winner for pair in panel.pairs], 0
    ax.set(xlim=(0, len(winners)), ylim=(0, 1))
    ax.set_axis_off()
    for name, colour in ((panel.other, colour_of(panel.other)), (None, _EVEN), ("original", colour_of("original"))):
        count = winners.count(name)
        if count:
            ax.barh([0.5], [count], left=left, height=1, color=colour, edgecolor="white", linewidth=0.8)
            ax.text(left + count / 2, 0.46, str(count), ha="center", va="center_baseline", size=7,
                    color="white" if name else INK)
        left += count
