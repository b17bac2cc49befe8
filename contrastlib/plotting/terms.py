"""Bars: the terms of which a score is the sum, and the weights that contrasts put on classes."""

from collections.abc import Mapping, Sequence
from math import floor, isfinite, log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from contrastlib.plotting.colours import AGAINST, FAINT, FOR, INK
from contrastlib.plotting.style import WIDTH, columns_of, fit, fitted, from_zero, page, shorten, style

_RESIDUAL, _SCORE = "residual", "score"
_TOLERANCE = 1e-3  # of the largest term: a residual that is smaller is not drawn
_ROW, _TALL_ROW, _THICK = 0.24, 0.31, 0.62  # inches from one bar to the next, where names have two lines; a bar's share
_SIZE, _LETTER = 7.5, 0.068  # points of the numbers; inches of their widest letter
_NAME, _TICK = 1.5, 0.45  # inches that the names of the terms may take; from one number on the axis to the next
_SMALLEST, _DIGITS = 1e-4, 6  # of the largest term, smaller ones are next to nothing; at most behind the point
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")

Bar = tuple[str, float, float]  # name, where it starts, where it ends


def adds_up(terms: Sequence[Mapping[str, float]], score: ArrayLike, *, titles: Sequence[str] = (),
            width: float = WIDTH) -> Figure:
    """How terms add up to a score: bars of which each starts where the one above it ends, and the score below them.

    Args:
        terms: for each panel its signed terms by name, in the order from the top that the first panel gives; one that
            only other panels have is left out.
        score: for each panel what they add up to.
        titles: one for each panel.
        width: inches.

    Returns:
        the figure; what the terms leave of the score is drawn as ``residual`` where it is more than a thousandth of the
        largest term.

    Raises:
        ValueError: there are not as many scores or titles as panels, there are no terms, one of them is not finite or
            is called ``score`` or ``residual``.
    """
    order = dict.fromkeys(name for own in terms for name in own)
    scores = np.ravel(score).tolist()
    if len(scores) != len(terms) or not terms or not all(terms) or len(titles) not in (0, len(terms)):
        raise ValueError(f"each panel needs terms and a score, and a title if any has one; got {len(terms)} of terms, "
                         f"{sum(not own for own in terms)} of them empty, {len(scores)} scores, {len(titles)} titles")
    panels = [_bars(own, whole, [*order]) for own, whole in zip(terms, scores)]
    there = {name for bars in panels for name, _, _ in bars}
    names = [name for name in (*order, _RESIDUAL, _SCORE) if name in there]
    labels = [fitted(name, _NAME, 8) for name in names]
    row = _TALL_ROW if any("\n" in label for label in labels) else _ROW
    columns = columns_of(len(panels))
    inches = (width - min(_NAME, 0.075 * max(map(len, "\n".join(labels).split("\n")))) - 0.2) / columns - 0.15
    with style():
        figure = page(-(-len(panels) // columns), width=width, gap=0.06)
        axes = figure.subplots(-(-len(panels) // columns), columns, sharey=True, sharex=True, squeeze=False)
        for ax in axes.flat[len(panels):]:
            ax.remove()
        for ax, bars, title in zip(axes.flat[:len(panels)], panels, titles or [""] * len(panels), strict=True):
            from_zero(ax, max(3, int(inches / _TICK)))
            ax.tick_params(axis="x", color=FAINT, length=2.5, labelbottom=True)
            _draw_bars(ax, bars, names)
            ax.set_title(fitted(title, inches), pad=6)
        axes[0, 0].set_yticks(range(len(names)), labels)
        axes[0, 0].set(xlim=_limits(panels, inches), ylim=(len(names) - 0.5, -0.5))
        for ax in axes[:, 0]:
            ax.get_yticklabels()[-1].set_fontweight("bold")
        figure.supxlabel("contribution to the score")
        fit(figure, axes[0, 0], height=row * len(names))
    return figure


def _bars(terms: Mapping[str, float], score: float, order: Sequence[str]) -> list[Bar]:
    """The bars of a panel, from the top: the terms, the residual if it is large, and the score."""
    values = {name: float(terms[name]) for name in order if name in terms}
    if taken := {_RESIDUAL, _SCORE} & set(values):
        raise ValueError(f"a term cannot be called {min(taken)!r}, which is drawn beside the terms")
    rest = score - sum(values.values())
    if not isfinite(rest):
        raise ValueError(f"a term or the score is not finite: {values}, score {score}")
    if abs(rest) > _TOLERANCE * max(map(abs, values.values())):
        values[_RESIDUAL] = rest
    ends = np.cumsum(list(values.values())).tolist()
    return [*zip(values, [0.0, *ends], ends), (_SCORE, 0.0, score)]


def _draw_bars(ax: Axes, bars: Sequence[Bar], names: Sequence[str]) -> None:
    at = [names.index(name) for name, _, _ in bars]
    ax.axhline(len(names) - 1.5, color="#dddddd", linewidth=0.8, zorder=0.5)
    for row, below, (name, start, end), text in zip(at, [*at[1:], None], bars, _texts(bars)):
        hatched, sign = name == _RESIDUAL, FOR if end > start else AGAINST
        colour = INK if name == _SCORE else FAINT if hatched or end == start else sign
        bar = ax.barh(row, end - start, left=start, height=_THICK, facecolor="white" if hatched else colour, label=name,
                      edgecolor=colour, hatch="//////" if hatched else None, zorder=3,
                      linewidth=1.2)  # the edge keeps a bar visible however short it is
        ax.bar_label(bar, [text], padding=3.5, size=_SIZE, color=colour, zorder=2,
                     fontweight="bold" if name == _SCORE else "normal",
                     bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})
        if below is not None:
            ax.plot([end, end], [row + _THICK / 2, below - _THICK / 2], color=FAINT, linewidth=0.7, zorder=1.5,
                    label="connector")


def _limits(panels: Sequence[Sequence[Bar]], inches: float) -> tuple[float, float]:
    """Ends of the axis between which all bars and the numbers beside them have room."""
    ends = [(end, end >= start, len(text) * _LETTER + 0.08)
            for bars in panels for (_, start, end), text in zip(bars, _texts(bars))]
    low, high = min(0, *(end for end, _, _ in ends)), max(0, *(end for end, _, _ in ends))
    first, last = (low, high) if high > low else (-1.0, 1.0)
    for _ in range(30):  # the room that a number takes grows with the axis
        each = (last - first) / inches
        first = min([low - 0.05 * each, *(end - room * each for end, right, room in ends if not right)])
        last = max([high + 0.05 * each, *(end + room * each for end, right, room in ends if right)])
    return first, last


def _texts(bars: Sequence[Bar]) -> list[str]:
    """The numbers of one panel, all with as many digits behind the point as the smallest of them needs."""
    sizes = [abs(end - start) for _, start, end in bars]
    largest = max(sizes)
    smallest = min(size for size in sizes if size >= _SMALLEST * largest)
    digits = max(0, 2 - floor(log10(largest)), 1 - floor(log10(smallest))) if largest else 0
    return [_text(end - start, "" if name == _SCORE else "+", digits, largest) for name, start, end in bars]


def _text(value: float, sign: str, digits: int, largest: float) -> str:
    if value == 0:
        return "0"
    if abs(value) < _SMALLEST * largest:
        return "≈ 0"
    if digits <= _DIGITS and largest < 1e6:
        return format(value, f"{sign},.{digits}f").replace("-", "−")
    factor, power = format(value, f"{sign}.1e").split("e")
    return factor.replace("-", "−") + "·10" + str(int(power)).translate(_RAISED)


def weights_bar(weights: ArrayLike, class_names: Sequence[str], *, target: int, n: int = 8,
                width: float = WIDTH) -> Figure:
    """The weights that a contrast puts on the class explanations, as bars: the target and the n strongest others.

    Args:
        weights: (C,).
        class_names: C names.
        target: the class that is explained, in [0, C).
        n: how many other classes, at most C - 1.
        width: inches.

    Returns:
        the figure.

    Raises:
        ValueError: the numbers of weights and names differ.
        IndexError: the target is out of range.
    """
    row = np.ravel(weights).astype(float)
    if len(row) != len(class_names):
        raise ValueError(f"{len(row)} weights for {len(class_names)} class names")
    strength = np.abs(row)
    strength[target] = np.inf
    shown = np.argsort(-strength, kind="stable")[: n + 1]
    with style():
        figure = page(width=width)
        ax = figure.add_subplot()
        from_zero(ax, 7)
        bars = ax.barh(range(len(shown)), row[shown], color=np.where(row[shown] > 0, FOR, AGAINST), height=0.7)
        ax.bar_label(bars, [_number(weight) for weight in row[shown]], padding=3, size=7, color=INK)
        ax.margins(x=0.3)
        ax.set_yticks(range(len(shown)), [shorten(class_names[i], 26) for i in shown])
        ax.get_yticklabels()[0].set_fontweight("bold")
        ax.invert_yaxis()
        fit(figure, ax, height=0.2 * len(shown) + 0.1)
    return figure


def _number(value: float) -> str:
    """Two digits behind the point, or as many as a small weight needs to be seen, up to four."""
    digits = next((d for d in (2, 3, 4) if abs(value) >= 0.95 * 10.0**-d), 0)
    return f"{value:+.{digits}f}".replace("-", "−") if digits else "0" if value == 0 else "≈ 0"
