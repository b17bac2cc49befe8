"""Figures: what is drawn, where, and what is refused. How they look was judged by eye."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from figure_parts import clipped, lines, saved, written
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from contrastlib import plotting

PHOTO = np.random.default_rng(0).random((20, 20, 3))
MAP = np.linspace(-1, 3, 400).reshape(20, 20)
MASK = np.zeros((20, 20), bool)
MASK[5:9, 5:9] = True


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def halfranges(figure: Figure) -> list[float]:
    """The strongest relevance of each map, in the order in which the maps were drawn."""
    drawn = [ax.images[1] for ax in figure.axes if len(ax.images) == 2]
    return [round(image.norm.halfrange, 6) for image in drawn]


def size(figure: Figure) -> tuple[float, float]:
    return tuple(figure.get_size_inches())


# One map


def test_zero_is_in_the_middle_of_the_colours():
    ax = Figure().subplots()
    drawn = plotting.overlay(ax, PHOTO, MAP)
    assert (drawn.norm.vcenter, drawn.norm.halfrange) == (0, 3)
    assert drawn.norm(0) == 0.5
    assert (drawn.get_cmap().name, drawn.get_alpha()) == ("bwr", 0.5)
    assert not ax.axison
    blue, white, red = drawn.get_cmap()([0.0, 0.5, 1.0])[:, :3]
    assert blue.tolist() == [0, 0, 1]
    assert white.min() > 0.98
    assert red.tolist() == [1, 0, 0]


def test_a_given_limit_is_kept_and_a_map_of_zeros_is_white():
    ax = Figure().subplots()
    assert plotting.overlay(ax, PHOTO, MAP, limit=7).norm.halfrange == 7
    assert plotting.overlay(ax, PHOTO, 0 * MAP).norm.halfrange == 1


def test_a_coarse_map_covers_the_photograph():
    ax = Figure().subplots()
    drawn = plotting.overlay(ax, PHOTO, MAP[:4, :4])
    assert tuple(drawn.get_extent()) == tuple(ax.images[0].get_extent()) == (-0.5, 19.5, 19.5, -0.5)
    assert (drawn.get_interpolation(), plotting.overlay(ax, PHOTO, MAP).get_interpolation()) == ("bilinear", "nearest")


def test_pictures_and_maps_come_with_or_without_their_axes():
    for form in (PHOTO, PHOTO.transpose(2, 0, 1), PHOTO.transpose(2, 0, 1)[None], PHOTO[None]):
        assert np.array_equal(plotting.as_picture(form), PHOTO)
    for form in (MAP, MAP[None], MAP[None, None]):
        assert np.array_equal(plotting.as_map(form), MAP)


@pytest.mark.parametrize(("picture", "relevance", "message"), [
    (PHOTO[..., 0], MAP, r"a photograph must be .* got shape \(20, 20\)"),
    (np.stack([PHOTO, PHOTO]), MAP, r"got shape \(2, 20, 20, 3\)"),
    (PHOTO, MAP[0], r"a relevance map must be .* got shape \(20,\)"),
    (PHOTO, np.stack([MAP, MAP]), r"got shape \(2, 20, 20\)"),
    (PHOTO, np.where(MAP > 2, np.nan, MAP), "must be finite"),
])
def test_what_is_no_picture_or_map_is_refused(picture, relevance, message):
    with pytest.raises(ValueError, match=message):
        plotting.overlay(Figure().subplots(), picture, relevance)


# Rows and columns


@pytest.mark.parametrize(("options", "panels"), [
    ({}, 1 + 6 + 1), ({"photographs": False}, 6 + 1), ({"colour_bar": False}, 1 + 6),
    ({"by": "row"}, 2 + 6 + 1), ({"by": "column"}, 6 + 1),
])
def test_the_grid_has_its_photographs_maps_and_bar(options, panels):
    images = PHOTO if "by" not in options else [PHOTO] * (2 if options["by"] == "row" else 3)
    figure = plotting.map_grid(images, [[MAP] * 3] * 2, **options)
    assert len(figure.axes) == panels
    assert size(figure)[0] <= plotting.WIDTH + 1e-9
    for ax in figure.axes:
        box = ax.get_position()
        assert min(box.x0, box.y0) > -1e-9
        assert max(box.x1, box.y1) < 1 + 1e-9


def test_each_map_lies_over_its_own_photograph():
    other = 1 - PHOTO
    figure = plotting.map_grid([PHOTO, other], [[MAP] * 3] * 2, by="row", photographs=False, colour_bar=False)
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert all(np.array_equal(a, PHOTO) for a in shown[:3])
    assert all(np.array_equal(a, other) for a in shown[3:])


def test_maps_keep_their_places_and_do_not_overlap():
    figure = plotting.map_grid(PHOTO, [[MAP] * 3] * 2, photographs=False, colour_bar=False,
                               panel_titles=[["a", "b", "c"], ["d", "e", "f"]])
    boxes = [ax.get_position() for ax in figure.axes]
    assert boxes[0].x0 < boxes[1].x0 < boxes[2].x0
    assert boxes[0].y0 > boxes[3].y1
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    figure.draw_without_rendering()
    title = figure.axes[3].title.get_window_extent()
    assert boxes[3].y1 * figure.bbox.height < title.y0 < title.y1 < boxes[0].y0 * figure.bbox.height  # between the rows
    assert titles(figure) == list("abcdef")


@pytest.mark.parametrize(("shape", "options"), [((20, 20), {}), ((20, 30), {"photographs": False}),
                                                ((30, 20), {"by": "row", "row_labels": ["one", "two"]})])
def test_panels_have_the_shape_of_their_photographs_and_the_page_no_more(shape, options):
    photo = np.zeros((*shape, 3))
    figure = plotting.map_grid([photo] * 2 if "by" in options else photo, [[MAP] * 3] * 2, **options)
    width, height = size(figure)
    for ax in (ax for ax in figure.axes if len(ax.images) == 2):
        box = ax.get_position(original=True)
        assert box.height * height / (box.width * width) == pytest.approx(shape[0] / shape[1], rel=0.01)
    assert max(ax.get_position().x1 for ax in figure.axes) == pytest.approx(1, abs=0.01)
    assert not clipped(figure)


@pytest.mark.parametrize(("limits", "expected"), [
    ("panel", [1, 2, 3, 8]), ("all", [8, 8, 8, 8]),
])
def test_scales_are_shared_as_asked(limits, expected):
    unit = MAP / np.abs(MAP).max()
    figure = plotting.map_grid(PHOTO, [[unit, -2 * unit], [3 * unit, 8 * unit]], limits=limits)
    assert halfranges(figure) == expected


def test_the_bar_says_what_colours_mean():
    assert {"against", "for"} <= set(written(plotting.map_grid(PHOTO, [[MAP]])))
    assert {"against (−3)", "for (+3)"} <= set(written(plotting.map_grid(PHOTO, [[MAP]], limits="all")))


def test_labels_and_titles_are_written():
    figure = plotting.map_grid(PHOTO, [[MAP] * 2] * 2, row_labels=["original", "weighted"], photo_title="Chelsea",
                               column_titles=[plotting.titled("tiger cat", 0.3906), plotting.titled("tabby", 0.17)])
    assert {"original", "weighted"} <= set(written(figure))
    assert set(titles(figure)) == {"Chelsea", "tiger cat\np = 0.39", "tabby\np = 0.17"}
    assert not clipped(figure)


def test_titles_of_columns_stand_above_those_of_panels():
    own = [["a", "b"], ["", "d"]]
    figure = plotting.map_grid(PHOTO, [[MAP] * 2] * 2, column_titles=["one", "two"], panel_titles=own)
    assert titles(figure) == ["one\na", "two\nb", "d"]


def test_long_titles_stay_over_their_panel():
    name = "a class with a name so long that nobody would want to read all of it in a title, were it there or not"
    for columns in (2, 8):
        figure = plotting.map_grid(PHOTO, [[MAP] * columns], column_titles=[name] * columns, photographs=False)
        assert not clipped(figure)
        for ax in figure.axes[:columns]:
            assert ax.get_title().count("\n") == 1
            assert ax.get_title().endswith("…")
            assert ax.title.get_window_extent().width <= 1.02 * ax.get_window_extent().width


def test_a_long_word_is_broken_and_cut():
    (title, *_) = titles(plotting.map_grid(PHOTO, [[MAP] * 8], column_titles=["Donaudampfschifffahrtskapitän"] * 8))
    first, second = title.split("\n")
    assert "Donaudampfschifffahrtskapitän".startswith(first + second.removesuffix("…"))
    assert second.endswith("…")


@pytest.mark.parametrize("name", ["from $_{5$", "cash $\\alpha$ machine"])
def test_a_dollar_in_a_name_is_a_dollar(name):
    """Neither mathematics nor an error, wherever a name may stand."""
    named = {name: 1.0, "other": -2.0}
    rows = [{"contrast": name, "share": share, "value": share, "classifier": name} for share in (0, 1)]
    rows += [{**row, "contrast": "b"} for row in rows]
    for figure in (plotting.compare(PHOTO, [MAP], [name], photo_title=name),
                   plotting.map_grid(PHOTO, [[MAP]], row_labels=[name], panel_titles=[[name]]),
                   plotting.gallery([PHOTO], [name], row_labels=[name]),
                   plotting.weights_bar([1, -1], [name, "b"], target=0),
                   plotting.adds_up([named], [-1.0], titles=[name]),
                   plotting.curves([1, 2], {name: {name: [1, 2], "b": [2, 1]}}, xlabel=name),
                   plotting.lines(saved(rows), x="share", across="classifier", ylabel=name)):
        figure.savefig(io.BytesIO())
        found = [text for text in figure.findobj(Text) if name in text.get_text().replace("\n", " ")]
        assert found
        assert not any(text.get_parse_math() for text in found)


@pytest.mark.parametrize(("options", "message"), [
    ({"maps": [[MAP], [MAP, MAP]]}, r"rows of equally many, got rows of \[1, 2\]"), ({"maps": []}, "equally many"),
    ({"row_labels": ["a"]}, "1 titles or labels for 2 panels: a"),
    ({"column_titles": ["a"]}, "1 titles or labels for 3"),
    ({"panel_titles": [["a"] * 3]}, "3 titles or labels for 6"),
    ({"panel_titles": [["a"] * 3, ["a"]]}, "4 titles or labels for 6 panels: a, a, a, a"),
    ({"by": "rows"}, "by is 'row', 'column' or None, .*; got 'rows'"),
    ({"limits": "row"}, "limits 'panel' or 'all'; got None and 'row'"),
    ({"images": [PHOTO], "by": "row"}, "1 photographs for 2 rows and 3 columns of maps, one for each row"),
])
def test_numbers_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plotting.map_grid(**{"images": PHOTO, "maps": [[MAP] * 3] * 2, **options})


def test_compare_is_one_row():
    figure = plotting.compare(PHOTO, [MAP, -MAP], ["original", "weighted"], photo_title="photograph")
    assert len(figure.axes) == 4
    assert set(titles(figure)) == {"photograph", "original", "weighted"}


# Pictures side by side


def test_pictures_stand_in_rows_with_their_titles():
    figure = plotting.gallery([PHOTO] * 5, list("abcde"), columns=3, row_labels=["up", "down"])
    assert titles(figure) == list("abcde")
    assert written(figure) == ["up", "down"]
    assert not clipped(figure)
    left, top = zip(*[(round(ax.get_position().x0, 3), round(ax.get_position().y0, 3)) for ax in figure.axes])
    assert left[:2] == left[3:]
    assert len(set(top)) == 2
    assert top[0] > top[3]


def test_a_mark_is_an_outline_and_an_empty_one_draws_nothing():
    figure = plotting.gallery([PHOTO] * 3, marks=[MASK, np.zeros_like(MASK), None], columns=3)
    assert [len(ax.collections) for ax in figure.axes] == [2, 0, 0]


def test_a_table_of_confusions_shows_counts_and_pictures_at_both_edges():
    counts = np.array([[8, 2, 0], [0, 9, 0], [1, 0, 7]])
    figure = plotting.confusion(counts, [PHOTO] * 3, groups=["a", "a", "b"])
    (table,) = figure.axes
    places = [((-1.5, -0.55, i + 0.475, i - 0.475), (i - 0.475, i + 0.475, -0.55, -1.5)) for i in range(3)]
    assert [tuple(image.get_extent()) for image in table.images[1:]] == [place for pair in places for place in pair]
    assert {(text.get_text(), *text.get_position()) for text in table.texts if text.get_text().isdecimal()} == {
        ("8", 0, 0), ("2", 1, 0), ("9", 1, 1), ("1", 0, 2), ("7", 2, 2)}
    assert table.images[0].get_array().tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]
    strong = [line for line in table.lines if line.get_linewidth() > 0.5]
    assert [line.get_ydata()[0] for line in strong][:1] == [1.5]


def test_a_table_without_mistakes_is_white():
    figure = plotting.confusion(np.eye(2, dtype=int), [PHOTO] * 2)
    assert (figure.axes[0].images[0].get_array() == 0).all()


@pytest.mark.parametrize(("call", "says"), [
    (lambda: plotting.gallery([]), "Number of rows must be a positive integer"),
    (lambda: plotting.gallery([PHOTO], ["a", "b"]), "2 titles or labels for 1 panels: a, b"),
    (lambda: plotting.gallery([PHOTO], marks=[MASK[:5]]), r"must be \(20, 20\) like its picture, got \(5, 20\)"),
    (lambda: plotting.confusion(np.zeros((2, 3)), [PHOTO] * 2), r"shapes \(2,3\) \(2,2\)"),
    (lambda: plotting.confusion(np.eye(2), [PHOTO]), "shorter"),
])
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# The weights of contrasts


def test_bars_show_the_target_first_and_then_the_strongest():
    weights = np.array([-0.1, 1.0, -0.6, -0.3, 0.0])
    figure = plotting.weights_bar(weights, ["a", "b", "c", "d", "e"], target=1, n=2)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "d"]
    assert [bar.get_width() for bar in ax.patches] == [1.0, -0.6, -0.3]
    assert [text.get_text() for text in ax.texts] == ["+1.00", "−0.60", "−0.30"]
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor() == ax.patches[2].get_facecolor()


def test_small_weights_stay_legible():
    weights = [1, -1 / 999, -2e-4, -1e-9, 0]
    figure = plotting.weights_bar(weights, list("abcde"), target=0)
    assert [text.get_text() for text in figure.axes[0].texts] == ["+1.00", "−0.001", "−0.0002", "≈ 0", "0"]


def test_bars_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 weights for 2 class names"):
        plotting.weights_bar([1, 0, 0], ["a", "b"], target=0)
    with pytest.raises(IndexError, match="index 2 is out of bounds"):
        plotting.weights_bar([1, 0], ["a", "b"], target=2)


# Figures as such


def test_a_figure_shows_itself():
    figure = plotting.compare(PHOTO, [MAP], ["map"])
    shown = Image.open(io.BytesIO(figure._repr_png_()))
    assert shown.format == "PNG"
    assert shown.size == pytest.approx(size(figure) * np.array([150, 150]), abs=1)


def test_the_style_is_put_back():
    before = dict(mpl.rcParams)
    with plotting.style():
        assert mpl.rcParams["axes.spines.top"] is False
    plotting.compare(PHOTO, [MAP], ["map"])
    assert dict(mpl.rcParams) == before


def test_texts_are_shortened():
    assert plotting.shorten("tabby", 5) == "tabby"
    assert plotting.shorten("tiger cat", 7) == "tiger…"


def test_curves_in_panels():
    figure = plotting.curves([1, 10], {"left": {"a": [0, 1], "b": [1, 0]}, "right": {"": [2, 3]}},
                             xlabel="T", logarithmic="x")
    left, right = figure.axes
    assert {name: points.tolist() for name, points in lines(left).items()} == {"a": [[1, 0], [10, 1]],
                                                                              "b": [[1, 1], [10, 0]]}
    assert [text.get_text() for text in left.texts] == ["b", "a"]  # from the bottom, at the lines' ends
    assert left.get_xscale() == "log"
    assert left.get_yscale() == "linear"
    assert right.get_ylabel() == "right"
    assert not right.texts
    assert not clipped(figure)


def test_a_curve_of_another_length():
    with pytest.raises(ValueError, match="same length"):
        plotting.curves([1, 2, 3], {"y": {"a": [1, 2]}}, xlabel="x")
