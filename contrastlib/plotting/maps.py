"""Relevance maps over their photographs, pictures side by side, and a table of confusions."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from contrastlib.plotting.style import AGAINST, FOR, INK, WIDTH, fit, fitted, page, style

Limits = Literal["panel", "row", "column", "all"]
Picture = NDArray[Any]

CMAP, ALPHA = "bwr", 0.5
"""The diverging colours and the opacity that the review draws maps with."""

_WIDEST = 2.4  # inches of a panel, where there are few
_APART = 0.05  # of a panel's width: between photographs and maps
_BAR = 0.24  # inches of the row with the colour bar
_SIZE, _SMALL = 8.5, 7.5  # points of text; over pictures, and over maps narrower than an inch
_COUNTS = LinearSegmentedColormap.from_list("counts", ["#ffffff", "#e9b8b1", FOR])


def overlay(ax: Axes, image: ArrayLike, relevance: ArrayLike, *, cmap: str = CMAP, alpha: float = ALPHA,
            limit: float | None = None) -> AxesImage:
    """Draw a relevance map over its photograph, zero in the middle of the colours.

    Args:
        ax: where to draw.
        image: (H, W, 3), (3, H, W) or (1, 3, H, W), floats in [0, 1] or uint8.
        relevance: (h, w), (1, h, w) or (1, 1, h, w), signed; a coarser map is stretched over the image.
        cmap: a diverging colour map.
        alpha: opacity of the map, in [0, 1].
        limit: relevance of the strongest colour, positive; None for the largest absolute value of this map.

    Returns:
        the image of the map, for a colour bar.

    Raises:
        ValueError: the shapes are not those of a picture and a map, or the map is not finite.
    """
    picture, values = as_picture(image), as_map(relevance)
    height, width = picture.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(picture, extent=extent)
    smooth = "nearest" if values.shape == (height, width) else "bilinear"
    norm = CenteredNorm(0, halfrange=_largest(values) if limit is None else limit)
    drawn = ax.imshow(values, cmap=cmap, alpha=alpha, norm=norm, extent=extent, interpolation=smooth)
    ax.set_axis_off()
    return drawn


def as_picture(image: ArrayLike) -> Picture:
    """A photograph as matplotlib wants it.

    Args:
        image: (H, W, 3), (3, H, W) or (1, 3, H, W), floats in [0, 1] or uint8.

    Returns:
        (H, W, 3), the same values.

    Raises:
        ValueError: another shape.
    """
    array = np.asarray(image)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        array = np.moveaxis(array, 0, -1)
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
    while array.ndim > 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 2:
        raise ValueError(f"a relevance map must be (h, w) or (1, 1, h, w), got shape {np.shape(relevance)}")
    if not np.isfinite(array).all():
        raise ValueError("a relevance map must be finite, this one has NaN or infinite values")
    return array


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
        photographs: whether the photographs stand at the left of the maps, or above them if each column has one.
        photo_title: title of the (first) photograph.
        limits: which maps share a scale of colours; ``panel`` gives each its own, as the review draws them.
        colour_bar: whether a bar says what the colours mean.
        width: inches at most; few panels take less.

    Returns:
        the figure.

    Raises:
        ValueError: the numbers of images, labels or titles do not fit the maps.
    """
    values = [[as_map(m) for m in row] for row in maps]
    _check_counts(values, row_labels, column_titles, panel_titles)
    rows, columns = len(values), len(values[0])
    pictures, scale = _pictures(images, rows, columns, by), _scales(values, limits)
    aspect = max(p.shape[0] / p.shape[1] for row in pictures for p in row)
    above = int(photographs and by == "column")
    beside = {None: min(rows, 2), "row": 1}.get(by, 0) if photographs else 0  # in panels
    ratios = [1.0] * beside + [_APART] * bool(beside) + [1.0] * columns
    cell = min(_WIDEST, width / sum(ratios))
    size = _SIZE if cell > 1 else _SMALL
    with style():
        figure = page(rows + above, width=width, gap=0.03)
        heights = [1.0] * (above + rows) + [_BAR / (cell * aspect)] * colour_bar
        grid = figure.add_gridspec(len(heights), len(ratios), width_ratios=ratios, height_ratios=heights)
        panels = [[figure.add_subplot(grid[above + r, c - columns]) for c in range(columns)] for r in range(rows)]
        for r, c in np.ndindex(rows, columns):
            overlay(panels[r][c], pictures[r][c], values[r][c], limit=scale[r][c])
        places = ([] if not photographs else [grid[0, c] for c in range(columns)] if above
                  else [grid[r, 0] for r in range(rows)] if by == "row" else [grid[:beside, :beside]])
        photos = [figure.add_subplot(place, anchor="N") for place in places]
        for ax, picture in zip(photos, pictures[0] if above else [row[0] for row in pictures]):
            _show(ax, picture)
        _write(_label if above else _title, photos[:1], [photo_title], cell * max(beside, 1), size)
        _write(_title, photos if above else panels[0], column_titles, cell, size)
        for row, texts in zip(panels, panel_titles):
            _write(_title, row, texts, cell, size)
        _write(_label, photos if by == "row" and photographs else [row[0] for row in panels], row_labels, cell, size)
        if colour_bar:
            _draw_colour_bar(figure.add_subplot(grid[-1, -columns:]), cell * columns,
                             f" (−{scale[0][0]:.2g})" if limits == "all" else "")
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
    rows = -(-len(pictures) // columns) if columns > 0 else 0
    for given, wanted, what in ((titles, len(pictures), "titles"), (marks, len(pictures), "marks"),
                                (row_labels, rows, "row_labels")):
        _check_count(given, wanted, what)
    if not rows:
        raise ValueError(f"a gallery needs pictures and columns, got {len(pictures)} and {columns}")
    with style():
        figure = page(rows, width=width, gap=0.04)
        grid = figure.add_gridspec(rows, columns)
        panels = [figure.add_subplot(grid[divmod(i, columns)]) for i in range(len(pictures))]
        for ax, picture, mark in zip(panels, pictures, marks or [None] * len(pictures)):
            _show(ax, picture, mark)
        _write(_title, panels, titles, width / columns, _SMALL)
        _write(_label, panels[::columns], row_labels, width / columns, _SMALL)
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
    classes = len(table)
    if table.shape != (classes, classes) or not classes:
        raise ValueError(f"counts must be (C, C), got shape {table.shape}")
    if len(pictures) != classes or len(groups) not in (0, classes):
        raise ValueError(f"{len(pictures)} pictures and {len(groups)} groups for {classes} classes")
    with style():
        figure = page(width=width, gap=0.02)
        ax = figure.add_subplot()
        _draw_counts(ax, table, groups)
        for i, picture in enumerate(map(as_picture, pictures)):
            near, far = i - 0.475, i + 0.475
            ax.imshow(picture, extent=(-1.5, -0.55, far, near))
            ax.imshow(picture, extent=(near, far, -0.55, -1.5))
        ax.set(xlim=(-1.5, classes - 0.5), ylim=(classes - 0.5, -1.5), title="taken for")
        _label(ax, "is", _SIZE)
        fit(figure, ax, aspect=1)
    return figure


def _largest(values: NDArray[Any]) -> float:
    """The largest absolute value of a map; 1 for a map of zeros, which is white on any scale."""
    return float(np.abs(values).max()) or 1.0


def _pictures(images: Any, rows: int, columns: int, by: str | None) -> list[list[Picture]]:
    """The photograph of each panel."""
    if by is None:
        return [[as_picture(images)] * columns] * rows
    if by not in ("row", "column"):
        raise ValueError(f"by must be 'row', 'column' or None, got {by!r}")
    own = [as_picture(image) for image in images]
    if len(own) != (rows if by == "row" else columns):
        raise ValueError(f"{len(own)} photographs for {rows} rows and {columns} columns of maps, one for each {by}")
    return [[picture] * columns for picture in own] if by == "row" else [own] * rows


def _check_counts(values: list[list[Picture]], rows: Sequence[str], columns: Sequence[str],
                  panels: Sequence[Sequence[str]]) -> None:
    if not values or not values[0] or len({len(row) for row in values}) > 1:
        raise ValueError(f"maps must be rows of equally many, got rows of {[len(row) for row in values]}")
    _check_count(rows, len(values), "row_labels")
    _check_count(columns, len(values[0]), "column_titles")
    _check_count(panels, len(values), "rows of panel_titles")
    if any(len(row) != len(values[0]) for row in panels):
        raise ValueError(f"each row of panel_titles needs {len(values[0])} titles")


def _check_count(given: Sequence[object], wanted: int, what: str) -> None:
    if len(given) not in (0, wanted):
        raise ValueError(f"{len(given)} {what} for {wanted}")


def _scales(values: list[list[Picture]], limits: Limits) -> list[list[float]]:
    """The relevance of the strongest colour in each panel."""
    scale = np.array([[_largest(panel) for panel in row] for row in values])
    axis: dict[str, Any] = {"panel": (), "row": 1, "column": 0, "all": (0, 1)}
    if limits not in axis:
        raise ValueError(f"limits must be one of {', '.join(axis)}, got {limits!r}")
    return np.broadcast_to(scale.max(axis=axis[limits], keepdims=True), scale.shape).tolist()


def _show(ax: Axes, picture: Picture, mark: ArrayLike | None = None) -> None:
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


def _write(how: Callable[[Axes, str, float], object], panels: Sequence[Axes], texts: Sequence[str], inches: float,
           size: float) -> None:
    """Titles above panels or labels at their left, wrapped to these inches."""
    for ax, text in zip(panels, texts):
        how(ax, fitted(text, inches, size), size)


def _title(ax: Axes, text: str, size: float) -> None:
    """A title above a panel, below the one that it has already."""
    ax.set_title("\n".join(filter(None, [ax.get_title(), text])), size=size, y=1)


def _label(ax: Axes, text: str, size: float) -> None:
    """A text at the left of a panel, from below."""
    ax.annotate(text, (0, 0.5), (-3, 0), xycoords="axes fraction", textcoords="offset points", rotation=90,
                ha="right", va="center", multialignment="center", size=size)


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


def _draw_counts(ax: Axes, table: NDArray[Any], groups: Sequence[str]) -> None:
    wrong = np.where(np.eye(len(table), dtype=bool), 0, table)
    ax.imshow(wrong, cmap=_COUNTS, vmin=0, vmax=max(wrong.max(), 1))
    ax.set_axis_off()
    for r, c in np.argwhere(table):
        strong = r != c and table[r, c] > 0.6 * wrong.max()
        ax.text(c, r, str(table[r, c]), ha="center", va="center", size=_SMALL,
                color="white" if strong else "#9a9a9a" if r == c else INK)
    ends = (-0.5, len(table) - 0.5)
    for i in range(1, len(table)):
        apart = bool(groups) and groups[i] != groups[i - 1]
        colour, thick = (INK, 0.9) if apart else ("#e4e4e4", 0.4)
        ax.plot(ends, (i - 0.5, i - 0.5), color=colour, linewidth=thick)
        ax.plot((i - 0.5, i - 0.5), ends, color=colour, linewidth=thick)
