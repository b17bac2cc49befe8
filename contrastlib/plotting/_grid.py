"""Relevance maps in rows and columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from numpy.typing import ArrayLike, NDArray

from contrastlib.plotting._overlay import ALPHA, CMAP, as_map, as_picture, largest, overlay
from contrastlib.plotting._style import AGAINST, FOR, WIDTH, BookFigure, style

Limits = Literal["panel", "row", "column", "all"]
Picture = NDArray[Any]

_WIDEST = 2.4  # inches of a panel, where there are few
_GAP, _WIDE_GAP = 0.06, 0.16  # inches between panels; between photographs and maps
_LINE = 0.15  # inches of a line of text
_SIZE, _SMALL = 8.5, 7.0  # points of text; over panels narrower than an inch


def map_grid(
    images: ArrayLike | Sequence[ArrayLike],
    maps: Sequence[Sequence[ArrayLike]],
    *,
    row_labels: Sequence[str] = (),
    column_titles: Sequence[str] = (),
    panel_titles: Sequence[Sequence[str]] = (),
    by: Literal["row", "column"] | None = None,
    photographs: bool = True,
    photo_title: str = "",
    limits: Limits = "panel",
    colour_bar: bool = True,
    width: float = WIDTH,
) -> Figure:
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
    pictures = _pictures(images, len(values), len(values[0]), by)
    texts = _Texts(list(row_labels), list(column_titles), [list(row) for row in panel_titles], photo_title)
    with style():
        page = _page(pictures, texts, by if photographs else "none", width, colour_bar)
        scale = _scales(values, limits)
        for r, row in enumerate(values):
            for c, panel in enumerate(row):
                overlay(page.cell(r, c), pictures[r][c], panel, limit=scale[r][c])
        if photographs:
            _draw_photographs(page, pictures, by)
        _draw_labels(page, above=photographs and by == "column")
        if colour_bar:
            _draw_colour_bar(page, limits, scale[0][0])
    return page.figure


def compare(
    image: ArrayLike,
    maps: Sequence[ArrayLike],
    titles: Sequence[str],
    *,
    photo_title: str = "",
    limits: Limits = "panel",
    width: float = WIDTH,
) -> Figure:
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


@dataclass(frozen=True)
class _Texts:
    """What is written on a page: labels of rows, titles of columns, of panels and of the first photograph."""

    rows: list[str]
    columns: list[str]
    panels: list[list[str]]
    photo: str

    def fitted(self, across: float, down: float, photo: float, size: float) -> "_Texts":
        """The same texts, wrapped to the inches that there are across and down a panel and across a photograph."""
        return _Texts([fitted(t, down, size) for t in self.rows], [fitted(t, across, size) for t in self.columns],
                      [[fitted(t, across, size) for t in row] for row in self.panels],
                      fitted(self.photo, photo, size))


@dataclass(frozen=True)
class _Page:
    """Where things stand on a figure, in inches from its top left corner."""

    figure: Figure
    texts: _Texts
    panel: tuple[float, float]  # width and height
    origin: tuple[float, float]  # of the first map
    step: tuple[float, float]  # from one map to the next
    photo: tuple[float, float, float]  # left, top and width of the first photograph
    size: float  # of the text, in points

    def axes(self, x: float, y: float, w: float, h: float) -> Axes:
        width, height = self.figure.get_size_inches()
        return self.figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))

    def write(self, x: float, y: float, text: str, **options: Any) -> None:
        width, height = self.figure.get_size_inches()
        self.figure.text(x / width, 1 - y / height, text, **{"size": self.size, **options})

    def title(self, x: float, y: float, text: str) -> None:
        # Line by line, so that titles of one row stand on one line whatever letters they have.
        for i, line in enumerate(reversed(text.split("\n"))):
            self.write(x, y - 0.07 - i * _LINE, line, ha="center", va="baseline")

    def cell(self, row: int, column: int) -> Axes:
        x, y = self.origin[0] + column * self.step[0], self.origin[1] + row * self.step[1]
        return self.axes(x, y, *self.panel)


def _page(pictures: list[list[Picture]], texts: _Texts, photos: str | None, width: float, bar: bool) -> _Page:
    rows, columns = len(pictures), len(pictures[0])
    label = (0.36 if max(map(len, texts.rows)) > 14 else 0.2) if texts.rows else 0.0
    beside = {None: min(rows, 2), "row": 1}.get(photos, 0)  # the width of the photographs, in panels
    gaps = _GAP * (columns - 1 + max(beside - 1, 0)) + _WIDE_GAP * bool(beside)
    w = min(_WIDEST, (width - label - gaps) / (columns + beside))
    h = w * max(p.shape[0] / p.shape[1] for row in pictures for p in row)
    size = _SIZE if w > 1 else _SMALL
    texts = texts.fitted(w, h, w * max(beside, 1), size)
    top = _text_height([*texts.columns, texts.photo])
    above = h + _WIDE_GAP if photos == "column" else 0.0
    title = _text_height([t for row in texts.panels for t in row])
    height = top + above + rows * (h + title) + (rows - 1) * _GAP + (0.34 if bar else 0.0)
    figure = BookFigure(figsize=(label + gaps + w * (columns + beside), height))
    left = label + (beside * w + (beside - 1) * _GAP + _WIDE_GAP if beside else 0.0)
    photo = (label, top + title if beside else top, w * beside + _GAP * max(beside - 1, 0) if beside else w)
    return _Page(figure, texts, (w, h), (left, top + above + title), (w + _GAP, h + title + _GAP), photo, size)


def _draw_photographs(page: _Page, pictures: list[list[Picture]], by: str | None) -> None:
    shown = {None: [pictures[0][0]], "row": [row[0] for row in pictures], "column": pictures[0]}[by]
    x, y, w = page.photo
    dx, dy = page.step
    for i, picture in enumerate(shown):
        ax = page.axes(x + i * dx * (by == "column"), y + i * dy * (by == "row"), w, w * page.panel[1] / page.panel[0])
        ax.imshow(picture)
        ax.set_axis_off()
    if by == "column":
        page.write(x - 0.06, y + page.panel[1] / 2, page.texts.photo, ha="right", va="center", rotation=90)
    else:
        page.title(x + w / 2, y, page.texts.photo)


def _draw_labels(page: _Page, above: bool) -> None:
    (x, y), (w, h), (dx, dy) = page.origin, page.panel, page.step
    top = page.photo[1] if above else y - _text_height([t for row in page.texts.panels for t in row])
    for c, text in enumerate(page.texts.columns):
        page.title(x + c * dx + w / 2, top, text)
    for r, row in enumerate(page.texts.panels):
        for c, text in enumerate(row):
            page.title(x + c * dx + w / 2, y + r * dy, text)
    for r, text in enumerate(page.texts.rows):
        page.write(page.photo[0] - 0.06, y + r * dy + h / 2, text, ha="right", va="center", rotation=90,
                   multialignment="center", linespacing=1.15)


def _draw_colour_bar(page: _Page, limits: Limits, limit: float) -> None:
    width, height = page.figure.get_size_inches()
    (x, _), length, thick = page.origin, 1.3, 0.09
    middle = (x + width) / 2
    ax = page.axes(middle - length / 2, height - 0.2, length, thick)
    ax.imshow(np.linspace(-1, 1, 256)[None], cmap=CMAP, alpha=ALPHA, aspect="auto", norm=CenteredNorm(0, 1))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set(visible=True, linewidth=0.4)
    ends = (f"against (−{limit:.2g})", f"for (+{limit:.2g})") if limits == "all" else ("against", "for")
    for side, text, colour in ((-1, ends[0], AGAINST), (1, ends[1], FOR)):
        page.write(middle + side * (length / 2 + 0.07), height - 0.2 + thick / 2, text, color=colour, size=8,
                   ha="right" if side < 0 else "left", va="center_baseline")


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


def _check_counts(
    values: list[list[Picture]], rows: Sequence[str], columns: Sequence[str], panels: Sequence[Sequence[str]],
) -> None:
    if not values or not values[0] or len({len(row) for row in values}) > 1:
        raise ValueError(f"maps must be rows of equally many, got rows of {[len(row) for row in values]}")
    for texts, wanted, what in ((rows, len(values), "row_labels"), (columns, len(values[0]), "column_titles"),
                                (panels, len(values), "rows of panel_titles")):
        if len(texts) not in (0, wanted):
            raise ValueError(f"{len(texts)} {what} for {wanted}")
    if any(len(row) != len(values[0]) for row in panels):
        raise ValueError(f"each row of panel_titles needs {len(values[0])} titles")


def _scales(values: list[list[Picture]], limits: Limits) -> list[list[float]]:
    """The relevance of the strongest colour in each panel."""
    scale = np.array([[largest(panel) for panel in row] for row in values])
    axis: dict[str, Any] = {"panel": (), "row": 1, "column": 0, "all": (0, 1)}
    if limits not in axis:
        raise ValueError(f"limits must be one of {', '.join(axis)}, got {limits!r}")
    return np.broadcast_to(scale.max(axis=axis[limits], keepdims=True), scale.shape).tolist()


def fitted(text: str, inches: float, size: float) -> str:
    """Each line of a text in at most two lines, the second cut where it must be.

    Args:
        text: any.
        inches: how long a line may be.
        size: of the letters, in points.

    Returns:
        the text with more line breaks.
    """
    return "\n".join(part for line in text.split("\n") for part in _in_two(line, inches, size))


def _in_two(line: str, inches: float, size: float) -> list[str]:
    if _inches(line, size) <= inches:
        return [line]
    words = line.split(" ")
    first = max((n for n in range(1, len(words)) if _inches(" ".join(words[:n]), size) <= inches), default=0)
    if not first:
        return [_cut(line, inches, size)]
    return [" ".join(words[:first]), _cut(" ".join(words[first:]), inches, size)]


def _cut(line: str, inches: float, size: float) -> str:
    if _inches(line, size) <= inches:
        return line
    return next((cut for n in range(len(line) - 1, 0, -1) if _inches(cut := line[:n].rstrip() + "…", size) <= inches),
                "…")


def _inches(text: str, size: float) -> float:
    return sum(map(_advance, text)) * size / 72


@cache
def _advance(letter: str) -> float:
    """How far a letter moves the pen, in sizes of the font; laying texts out to measure them takes seconds a page."""
    font = get_font(findfont("DejaVu Sans"))
    if not font.get_char_index(ord(letter)):
        return 1.0  # drawn as a box
    font.set_size(100, 72)
    return float(font.load_char(ord(letter)).linearHoriAdvance) / 65536 / 100


def _text_height(texts: list[str]) -> float:
    lines = max((text.count("\n") + 1 for text in texts if text), default=0)
    return lines * _LINE + 0.07 if lines else 0.0
