"""Relevance maps over their photographs, pictures side by side, and a table of confusions."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from contrastlib.plotting.colours import AGAINST, FOR, INK
from contrastlib.plotting.style import WIDTH, fit, fitted, page, style, write

Limits = Literal["panel", "all"]

CMAP, ALPHA = "bwr", 0.5
"""The diverging colours and the opacity that the review draws maps with."""

_WIDEST = 2.4  # inches of a panel, where there are few
_APART = 0.05  # of a panel's width: between photographs and maps
_BAR = 0.24  # inches of the row with the colour bar
_SIZE, _SMALL = 8.5, 7.5  # points of text; over pictures, and over maps narrower than an inch
_COUNTS = LinearSegmentedColormap.from_list("counts", ["#ffffff", "#e9b8b1", FOR])


def overlay(ax: Axes, image: ArrayLike, relevance: ArrayLike, *, limit: float | None = None) -> AxesImage:
    """Draw a relevance map over its photograph, zero in the middle of the colours.

    Args:
        ax: where to draw.
        image: (H, W, 3), (3, H, W) or (1, 3, H, W), floats in [0, 1] or uint8.
        relevance: (h, w), (1, h, w) or (1, 1, h, w), signed; a coarser map is stretched over the image.
        limit: relevance of the strongest colour, positive; None for the largest absolute value of this map.

    Returns:
        the image of the map, for a colour bar.

    Raises:
        ValueError: the shapes are not those of a picture and a map, or the map is not finite.
    """
    values, photograph = as_map(relevance), ax.imshow(as_picture(image))
    ax.set_axis_off()
    return ax.imshow(values, cmap=CMAP, alpha=ALPHA, norm=CenteredNorm(0, limit or np.abs(values).max() or 1.0),
                     extent=photograph.get_extent(),
                     interpolation="nearest" if values.shape == photograph.get_size() else "bilinear")


def as_picture(image: ArrayLike) -> NDArray[Any]:
    """A photograph as matplotlib wants it.

    Args:
        image: (H, W, 3), (3, H, W) or (1, 3, H, W), floats in [0, 1] or uint8.

    Returns:
        (H, W, 3), the same values.

    Raises:
        ValueError: another shape.
    """
    array = np.asarray(image)
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    array = np.moveaxis(array, 0, -1) if array.ndim == 3 and array.shape[0] == 3 != array.shape[2] else array
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"a photograph must be (H, W, 3) or (3, H, W), got shape {np.shape(image)}")
    return array


def as_map(relevance: ArrayLike) -> NDArray[Any]:
    """A relevance map without its leading axes of one.

    Args:
        relevance: (h, w), (1, h, w) or (1, 1, h, w).

    Returns:
        (h, w).

    Raises:
        ValueError: another shape, or a value is not finite.
    """
    array = np.asarray(relevance, dtype=float)
    if array.ndim < 2 or array.size != np.prod(array.shape[-2:]):
        raise ValueError(f"a relevance map must be (h, w) or (1, 1, h, w), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("a relevance map must be finite, this one has NaN or infinite values")
    return array.reshape(array.shape[-2:])


def map_grid(images: ArrayLike | Sequence[ArrayLike], maps: Sequence[Sequence[ArrayLike]], *,
             row_labels: Sequence[str] = (), column_titles: Sequence[str] = (),
             panel_titles: Sequence[Sequence[str]] = (), by: Literal["row", "column"] | None = None,
             photographs: bool = True, photo_title: str = "", limits: Limits = "panel", colour_bar: bool = True,
             width: float = WIDTH) -> Figure:
    """Relevance maps in rows and columns, each over its photograph; texts that are too long are wrapped and cut.

    Args:
        images: one photograph for all maps, or with `by` one for each row or column; see :func:`overlay`.
        maps: R rows of K maps each; see :func:`overlay`.
        row_labels: R labels at the left.
        column_titles: K titles on top, such as class and probability (see :func:`titled`).
        panel_titles: R x K titles, one over each map.
        by: whether each row or each column has a photograph of its own.
        photographs: whether the photographs stand at the left of the maps, unless each column has one.
        photo_title: title of the (first) photograph.
        limits: ``panel`` for a scale of colours of its own in each map, as the review draws them; ``all`` for one.
        colour_bar: whether a bar says what the colours mean.
        width: inches at most; few panels take less.

    Returns:
        the figure.

    Raises:
        ValueError: the numbers of images, labels or titles do not fit the maps.
    """
    values = [[as_map(m) for m in row] for row in maps]
    rows, columns = len(values), len(values[0]) if values else 0
    if not columns or any(len(row) != columns for row in values):
        raise ValueError(f"maps must be rows of equally many, got rows of {[len(row) for row in values]}")
    if by not in (None, "row", "column") or limits not in ("panel", "all"):
        raise ValueError(f"by is 'row', 'column' or None, and limits 'panel' or 'all'; got {by!r} and {limits!r}")
    given = cast("Sequence[ArrayLike]", [images] if by is None else images)
    own = [as_picture(image) for image in given]
    if len(own) != {None: 1, "row": rows, "column": columns}[by]:
        raise ValueError(f"{len(own)} photographs for {rows} rows and {columns} columns of maps, one for each {by}")
    pictures = [own] * rows if by == "column" else [[one] * columns for one in (own if by else own * rows)]
    limit = max(np.abs(panel).max() for row in values for panel in row) if limits == "all" else None
    aspect = max(p.shape[0] / p.shape[1] for row in pictures for p in row)
    beside = 0 if by == "column" or not photographs else 1 if by else min(rows, 2)  # panels that a photograph is wide
    ratios = [1.0] * beside + [_APART] * bool(beside) + [1.0] * columns
    cell = min(_WIDEST, width / sum(ratios))
    size = _SIZE if cell > 1 else _SMALL
    with style():
        figure = page(rows, width=width, gap=0.03)
        heights = [1.0] * rows + [_BAR / (cell * aspect)] * colour_bar
        grid = figure.add_gridspec(len(heights), len(ratios), width_ratios=ratios, height_ratios=heights)
        panels = [[figure.add_subplot(grid[r, c - columns]) for c in range(columns)] for r in range(rows)]
        for r, c in np.ndindex(rows, columns):
            overlay(panels[r][c], pictures[r][c], values[r][c], limit=limit)
        places = [] if not beside else [grid[r, 0] for r in range(rows)] if by else [grid[:beside, :beside]]
        photos = [figure.add_subplot(place, anchor="N") for place in places]
        for ax, row in zip(photos, pictures):
            _show(ax, row[0])
        _write(photos[:1], [photo_title] * min(beside, 1), cell * beside, size)
        _write(panels[0], column_titles, cell, size)
        _write([ax for row in panels for ax in row], [text for row in panel_titles for text in row], cell, size)
        _write(photos if by and beside else [row[0] for row in panels], row_labels, cell, size, aside=True)
        if colour_bar:
            _draw_colour_bar(figure.add_subplot(grid[-1, -columns:]), cell * columns,
                             "" if limit is None else f" (−{limit:.2g})")
        fit(figure, panels[0][0], aspect=aspect, widest=_WIDEST)
    return figure


def compare(image: ArrayLike, maps: Sequence[ArrayLike], titles: Sequence[str], *, photo_title: str = "",
            limits: Limits = "panel", width: float = WIDTH) -> Figure:
    """One photograph and maps of it side by side.

    Args:
        image: the photograph; see :func:`overlay`.
        maps: K maps; see :func:`overlay`.
        titles: K titles.
        photo_title: title of the photograph.
        limits: ``panel`` for a scale of its own in each map, ``all`` for one in all.
        width: inches at most.

    Returns:
        the figure.

    Raises:
        ValueError: the number of titles is not that of the maps.
    """
    return map_grid(image, [maps], column_titles=titles, photo_title=photo_title, limits=limits, width=width)


def gallery(images: Sequence[ArrayLike], titles: Sequence[str] = (), *, columns: int = 4,
            marks: Sequence[ArrayLike | None] = (), row_labels: Sequence[str] = (), width: float = WIDTH) -> Figure:
    """Pictures in rows, with titles above them.

    Args:
        images: N pictures; see :func:`overlay`.
        titles: N titles, wrapped and cut where they are too long.
        columns: pictures in a row.
        marks: N masks (H, W), each drawn as an outline, or None for no outline.
        row_labels: a label for each row, at its left.
        width: inches of the figure.

    Returns:
        the figure.

    Raises:
        ValueError: the numbers do not agree, or there is no picture.
    """
    pictures = [as_picture(image) for image in images]
    rows = -(-len(pictures) // columns)
    with style():
        figure = page(rows, width=width, gap=0.04)
        grid = figure.add_gridspec(rows, columns)
        panels = [figure.add_subplot(grid[divmod(i, columns)]) for i in range(len(pictures))]
        for ax, picture, mark in zip(panels, pictures, marks or [None] * len(pictures), strict=True):
            _show(ax, picture, mark)
        _write(panels, titles, width / columns, _SMALL)
        _write(panels[::columns], row_labels, width / columns, _SMALL, aside=True)
        fit(figure, panels[0], aspect=max(p.shape[0] / p.shape[1] for p in pictures))
    return figure


def confusion(counts: ArrayLike, pictures: Sequence[ArrayLike], *, groups: Sequence[str] = (),
              width: float = WIDTH) -> Figure:
    """A table of confusions: a row for each class as it is, a column for each as it is taken for.

    Args:
        counts: (C, C), how often class r was taken for class c.
        pictures: C pictures, which stand for the classes at both edges.
        groups: C words; a line parts neighbours that differ.
        width: inches of the figure.

    Returns:
        the figure.

    Raises:
        ValueError: the counts are not square, or the pictures or groups are not as many.
    """
    table = np.asarray(counts)
    wrong, ends = table * (1 - np.eye(len(table), dtype=int)), (-0.5, len(table) - 0.5)
    with style():
        figure = page(width=width, gap=0.02)
        ax = figure.add_subplot()
        ax.imshow(wrong, cmap=_COUNTS, vmin=0, vmax=max(wrong.max(), 1))
        for r, c in np.argwhere(table):
            strong = wrong[r, c] > 0.6 * wrong.max()
            ax.text(c, r, str(table[r, c]), ha="center", va="center", size=_SMALL,
                    color="white" if strong else "#9a9a9a" if r == c else INK)
        for i in range(1, len(table)):
            apart = bool(groups) and groups[i] != groups[i - 1]
            colour, thick = (INK, 0.9) if apart else ("#e4e4e4", 0.4)
            ax.plot(ends, (i - 0.5, i - 0.5), color=colour, linewidth=thick)
            ax.plot((i - 0.5, i - 0.5), ends, color=colour, linewidth=thick)
        for i, picture in zip(range(len(table)), map(as_picture, pictures), strict=True):
            ax.imshow(picture, extent=(-1.5, -0.55, i + 0.475, i - 0.475))
            ax.imshow(picture, extent=(i - 0.475, i + 0.475, -0.55, -1.5))
        ax.set(xlim=(-1.5, ends[1]), ylim=(ends[1], -1.5), title="taken for")
        ax.set_axis_off()
        _write([ax], ["is"], width, _SIZE, aside=True)
        fit(figure, ax, aspect=1)
    return figure


def _show(ax: Axes, picture: NDArray[Any], mark: ArrayLike | None = None) -> None:
    ax.imshow(picture)
    ax.set_axis_off()
    if mark is None:
        return
    mask = np.asarray(mark, dtype=float)
    if mask.shape != picture.shape[:2]:
        raise ValueError(f"a mark must be {picture.shape[:2]} like its picture, got {mask.shape}")
    if mask.any():
        for colour, thick in (("white", 2.2), (AGAINST, 1.1)):
            ax.contour(mask, levels=[0.5], colors=[colour], linewidths=[thick])


def _write(panels: Sequence[Axes], texts: Sequence[str], inches: float, size: float, *, aside: bool = False) -> None:
    """Titles above panels, below those that they have already, or labels at their left; wrapped to these inches."""
    if len(texts) not in (0, len(panels)):
        raise ValueError(f"{len(texts)} titles or labels for {len(panels)} panels: {', '.join(texts)}")
    for ax, text in zip(panels, (fitted(text, inches, size) for text in texts)):
        if aside:
            write(ax, (0, 0.5), (-3, 0), text, rotation=90, ha="right", va="center", multialignment="center", size=size)
        else:
            ax.set_title("\n".join(filter(None, [ax.get_title(), text])), size=size, y=1)


def _draw_colour_bar(ax: Axes, inches: float, limit: str) -> None:
    """A bar of colours in the middle of these inches, with what they mean at its ends."""
    half, thick = 0.65, 0.09
    colours = colormaps[CMAP](np.linspace(0, 1, 256))[None, :, :3]
    ax.imshow(1 - ALPHA * (1 - colours), extent=(-half, half, 0, thick))  # as they are over white
    ax.add_patch(Rectangle((-half, 0), 2 * half, thick, fill=False, edgecolor=INK, linewidth=0.4))
    for side, text, colour in ((-1, "against" + limit, AGAINST), (1, "for" + limit.replace("−", "+"), FOR)):
        ax.text(side * (half + 0.07), thick / 2, text, color=colour, size=8, va="center_baseline",
                ha="left" if side > 0 else "right")
    ax.set(xlim=(-inches / 2, inches / 2), ylim=(-0.02, _BAR - 0.02))
    ax.set_axis_off()
