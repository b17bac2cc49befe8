"""What tests of figures from tidy rows share: a run's columns, and what is written on a figure and where."""

import pandas as pd
from matplotlib.container import ErrorbarContainer

from contrastlib import tables

RUN = {"classifier": "birds_vgg", "data set": "drawn_birds", "split": "hard", "images": "all", "precision": "float32"}


def saved(rows) -> pd.DataFrame:
    """The rows as they come back from a file, where all but measured columns are text."""
    return tables.typed([{name: "" if value is None else str(value) for name, value in row.items()} for row in rows])


def lines(ax) -> dict:
    """By name the points (n, 2) of each line of measured values."""
    return {one.get_label(): one[0].get_xydata() for one in ax.containers if isinstance(one, ErrorbarContainer)}


def legend_of(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def written(figure) -> list[str]:
    return [text.get_text() for part in (figure, *figure.axes) for text in part.texts]


def tick_labels(ax) -> list:
    """The numbers and names on both axes, as far as they are drawn."""
    return [] if not ax.axison else [
        label for axis in (ax.xaxis, ax.yaxis) for at, label in zip(axis.get_ticklocs(), axis.get_ticklabels())
        if min(axis.get_view_interval()) <= at <= max(axis.get_view_interval())]


def clipped(figure) -> list[str]:
    """Texts that do not lie on the page."""
    figure.draw_without_rendering()
    page = figure.bbox.padded(1)
    every = [*figure.texts, *(text for ax in figure.axes for text in [*ax.texts, ax.title, *tick_labels(ax)])]
    every += [text for legend in figure.legends for text in legend.get_texts()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in every if text.get_text() and text.get_visible()]
    return [words for words, box in boxes if not (page.x0 <= box.x0 and box.x1 <= page.x1
                                                  and page.y0 <= box.y0 and box.y1 <= page.y1)]
