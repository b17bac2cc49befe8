"""Bars: the terms of which a score is the sum, and the weights that contrasts put on classes."""

from collections.abc import Mapping, Sequence
from math import floor, isfinite, log10
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from contrastlib.plotting.style import AGAINST, FAINT, FOR, INK, WIDTH, columns_of, fit, fitted, page, shorten, style

_RESIDUAL, _SCORE = "residual", "score"
_TOLERANCE = 1e-3  # of the largest term: a residual that is smaller is not drawn
_ROW, _TALL_ROW, _THICK = 0.24, 0.31, 0.62  # inches from one bar to the next, where names have two lines; a bar's share
_SIZE, _LETTER = 7.5, 0.068  # points of the numbers; inches of their widest letter
_NAME, _TICK = 1.5, 0.45  # inches that the names of the terms may take; from one number on the axis to the next
_SMALLEST = 1e-4  # of the largest term: smaller ones are written as next to nothing
_DIGITS = 6  # at most behind the point
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")

Bar = tuple[str, float, float]  # name, where it starts, where it ends


def adds_up(terms: Sequence[Mapping[str, float]], score: ArrayLike, *, titles: Sequence[str] = (),
            limits: Literal["shared", "panel"] = "shared", width: float = WIDTH) -> Figure:
    """How terms add up to a score: bars of which each starts where the one above it ends, and the score below them.

    Args:
        terms: for each panel its signed terms by name, in the order from the top that the first panel gives; one that
            only other panels have is left out.
        score: for each panel what they add up to.
        titles: one for each panel.
        limits: ``shared`` for one scale in all panels, ``panel`` for one in each.
        width: inches.

    Returns:
        the figure; what the terms leave of the score is drawn as ``residual`` where it is more than a thousandth of the
        largest term.

    Raises:
        ValueError: there are not as many scores or titles as panels, there are no terms, one of them is not finite or
            is called ``score`` or ``residual``, or `limits` is something else.
    """
    if len(titles) not in (0, len(terms)):
        raise ValueError(f"{len(titles)} titles for {len(terms)} panels")
    if limits not in ("shared", "panel"):
        raise ValueError(f"limits must be 'shared' or 'panel', got {limits!r}")
    panels = _panels(terms, score)
    there = dict.fromkeys(name for bars in panels for name, _, _ in bars)
    names = [name for name in there if name not in (_RESIDUAL, _SCORE)]
    names += [name for name in (_RESIDUAL, _SCORE) if name in there]
    labels = [fitted(name, _NAME, 8) for name in names]
    row = _TALL_ROW if any("\n" in label for label in labels) else _ROW
    columns = columns_of(len(panels))
    inches = (width - min(_NAME, 0.075 * max(map(len, "\n".join(labels).split("\n")))) - 0.2) / columns - 0.15
    with style():
        figure = page(-(-len(panels) // columns), width=width, gap=0.06)
        axes = figure.subplots(-(-len(panels) // columns), columns, sharey=True, sharex=limits == "shared",
                               squeeze=False)
        for ax, bars in zip(axes.flat, panels):
            _draw_bars(ax, bars, names)
            ax.xaxis.set_major_locator(MaxNLocator(max(3, int(inches / _TICK)), steps=[1, 2, 2.5, 5, 10]))
            ax.set_xlim(_limits(panels if limits == "shared" else [bars], inches))
        for ax, text in zip(axes.flat, titles):
            ax.set_title(fitted(text, inches), pad=6)
        for ax in axes.flat[len(panels):]:
            ax.remove()
        axes[0, 0].set_yticks(range(len(names)), labels)
        axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
        for ax in axes[:, 0]:
            ax.get_yticklabels()[-1].set_fontweight("bold")
        figure.supxlabel("contribution to the score")
        fit(figure, axes[0, 0], height=row * len(names))
    return figure


def _panels(terms: Sequence[Mapping[str, float]], score: ArrayLike) -> list[list[Bar]]:
    """The bars of each panel, from the top: the terms, the residual if it is large, and the score."""
    scores = np.asarray(score, float).reshape(-1).tolist()
    if not terms:
        raise ValueError("there are no terms to draw")
    if len(scores) != len(terms):
        raise ValueError(f"{len(scores)} scores for {len(terms)} panels of terms")
    panels, names = [], dict.fromkeys(name for own in terms for name in own)
    for own, whole in zip(terms, scores):
        if not own:
            raise ValueError("a panel has no terms")
        if taken := {_RESIDUAL, _SCORE} & set(own):
            raise ValueError(f"a term cannot be called {min(taken)!r}, which is drawn beside the terms")
        values = {name: float(own[name]) for name in names if name in own}
        rest = whole - sum(values.values())
        if abs(rest) > _TOLERANCE * max(map(abs, values.values())):
            values[_RESIDUAL] = rest
        odd = [name for name, value in values.items() if not isfinite(value)]
        if odd:
            raise ValueError(f"{odd[0]!r} is not finite")
        ends = np.cumsum(list(values.values())).tolist()
        panels.append([*zip(values, [0.0, *ends], ends), (_SCORE, 0.0, whole)])
    return panels


def _draw_bars(ax: Axes, bars: Sequence[Bar], names: Sequence[str]) -> None:
    at = [names.index(name) for name, _, _ in bars]
    ax.axvline(0, color=INK, linewidth=0.7, zorder=1)
    ax.axhline(len(names) - 1.5, color="#dddddd", linewidth=0.8, zorder=0.5)
    for row, below, (name, start, end), text in zip(at, [*at[1:], None], bars, _texts(bars)):
        colour, hatched = _colour(name, end - start), name == _RESIDUAL
        bar = ax.barh(row, end - start, left=start, height=_THICK, facecolor="white" if hatched else colour, label=name,
                      edgecolor=colour, hatch="//////" if hatched else None, zorder=3,
                      linewidth=1.2)  # the edge keeps a bar visible however short it is
        ax.bar_label(bar, [text], padding=3.5, size=_SIZE, color=colour, zorder=2,
                     fontweight="bold" if name == _SCORE else "normal",
                     bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})
        if below is not None:
            ax.plot([end, end], [row + _THICK / 2, below - _THICK / 2], color=FAINT, linewidth=0.7, zorder=1.5,
                    label="connector")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", color=FAINT, length=2.5)


def _colour(name: str, value: float) -> str:
    if name == _SCORE:
        return INK
    return FAINT if name == _RESIDUAL or value == 0 else FOR if value > 0 else AGAINST


def _limits(panels: Sequence[Sequence[Bar]], inches: float) -> tuple[float, float]:
    """Ends of the axis between which all bars and the numbers beside them have room."""
    ends = [(min(0, start, end), max(0, start, end), end, len(text) * _LETTER + 0.08, end >= start)
            for bars in panels for (_, start, end), text in zip(bars, _texts(bars))]
    low, high = min(one[0] for one in ends), max(one[1] for one in ends)
    first, last = (low, high) if high > low else (-1.0, 1.0)
    for _ in range(30):  # the room that a number takes grows with the axis
        each = (last - first) / inches
        first = min(low, *(end - room * each for _, _, end, room, right in ends if not right), low - 0.05 * each)
        last = max(high, *(end + room * each for _, _, end, room, right in ends if right), high + 0.05 * each)
    return first, last


def _texts(bars: Sequence[Bar]) -> list[str]:
    """The numbers of one panel, all with as many digits behind the point as the smallest of them needs."""
    sizes = [abs(end - start) for _, start, end in bars]
    largest = max(sizes)
    if not largest:
        return ["0"] * len(bars)
    smallest = min(size for size in sizes if size >= _SMALLEST * largest)
    digits = max(0, 2 - floor(log10(largest)), 1 - floor(log10(smallest)))
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


def weights_bar(weights: ArrayLike | Mapping[str, ArrayLike], class_names: Sequence[str], *, target: int, n: int = 8,
                width: float = WIDTH) -> Figure:
    """The weights that a contrast puts on the class explanations, as bars: the target and the n strongest others.

    Args:
        weights: (C,), or several of them by the name of their contrast, drawn side by side.
        class_names: C names.
        target: the class that is explained, in [0, C).
        n: how many other classes, at most C - 1; the strongest in any of the contrasts.
        width: inches.

    Returns:
        the figure.

    Raises:
        ValueError: the numbers of weights and names differ, or the target is out of range.
    """
    named = weights if isinstance(weights, Mapping) else {"": weights}
    rows = {k: np.asarray(v, float).reshape(-1) for k, v in named.items()}
    for name, row in rows.items():
        if len(row) != len(class_names):
            raise ValueError(f"{len(row)} weights {name!r} for {len(class_names)} class names")
    if not 0 <= target < len(class_names):
        raise ValueError(f"target must lie in [0, {len(class_names)}), got {target}")
    strength = np.max([np.abs(row) for row in rows.values()], axis=0)
    strength[target] = np.inf
    shown = np.argsort(-strength, kind="stable")[: n + 1]
    with style():
        figure = page(width=width)
        axes = figure.subplots(1, len(rows), sharey=True, sharex=True, squeeze=False)[0]
        for ax, (name, row) in zip(axes, rows.items()):
            _bars(ax, row[shown], name)
        axes[0].set_yticks(range(len(shown)), [shorten(class_names[i], 26) for i in shown])
        axes[0].get_yticklabels()[0].set_fontweight("bold")
        axes[0].invert_yaxis()
        fit(figure, axes[0], height=0.2 * len(shown) + 0.1)
    return figure


def _bars(ax: Axes, values: NDArray[Any], title: str) -> None:
    bars = ax.barh(range(len(values)), values, color=[FOR if v > 0 else AGAINST for v in values], height=0.7)
    ax.bar_label(bars, [_number(value) for value in values], padding=3, size=7, color=INK)
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.set_title(title)
    ax.margins(x=0.3)
    ax.spines["left"].set_visible(False)
    ax.tick_params(left=False)


def _number(value: float) -> str:
    """Two digits behind the point, or as many as a small weight needs to be seen, up to four."""
    digits = next((d for d in (2, 3, 4) if abs(value) >= 0.95 * 10.0**-d), 0)
    return f"{value:+.{digits}f}".replace("-", "−") if digits else "0" if value == 0 else "≈ 0"
