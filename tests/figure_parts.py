"""What tests of figures from tidy rows share: a run's columns, and what is written on a figure and where."""

RUN = {"classifier": "birds_vgg", "data set": "drawn_birds", "split": "hard", "images": "all", "precision": "float32"}


def as_text(rows):
    return [{name: str(value) for name, value in row.items()} for row in rows]


def legend_of(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def written(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def clipped(figure) -> list[str]:
    """Texts that do not lie on the page."""
    figure.draw_without_rendering()
    page = figure.bbox.padded(1)
    every = [*figure.texts, *(text for ax in figure.axes for text in [*ax.texts, ax.title, *ax.get_yticklabels()])]
    every += [text for legend in figure.legends for text in legend.get_texts()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in every if text.get_text() and text.get_visible()]
    return [words for words, box in boxes if not (page.x0 <= box.x0 and box.x1 <= page.x1
                                                  and page.y0 <= box.y0 and box.y1 <= page.y1)]
