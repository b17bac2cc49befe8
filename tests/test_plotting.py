"""Figures: what is drawn, where, and what is refused. How they look was judged by eye."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from contrastlib import plotting

PHOTO = np.random.default_rng(0).random((20, 20, 3))
MAP = np.linspace(-1, 3, 400).reshape(20, 20)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


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
    ({"by": "row"}, 2 + 6 + 1), ({"by": "column"}, 3 + 6 + 1),
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
    place = {text.get_text(): text.get_position() for text in figure.texts}
    assert boxes[3].y1 < place["d"][1] < boxes[0].y0  # between the rows
    assert place["b"][0] == pytest.approx((boxes[1].x0 + boxes[1].x1) / 2)


@pytest.mark.parametrize(("limits", "expected"), [
    ("panel", [1, 2, 3, 8]), ("row", [2, 2, 8, 8]), ("column", [3, 8, 3, 8]), ("all", [8, 8, 8, 8]),
])
def test_scales_are_shared_as_asked(limits, expected):
    unit = MAP / np.abs(MAP).max()
    figure = plotting.map_grid(PHOTO, [[unit, -2 * unit], [3 * unit, 8 * unit]], limits=limits)
    assert halfranges(figure) == expected


def test_the_bar_says_what_colours_mean():
    assert {"against", "for"} <= set(texts(plotting.map_grid(PHOTO, [[MAP]])))
    assert {"against (−3)", "for (+3)"} <= set(texts(plotting.map_grid(PHOTO, [[MAP]], limits="all")))


def test_labels_and_titles_are_written():
    figure = plotting.map_grid(PHOTO, [[MAP] * 2] * 2, row_labels=["original", "weighted"], photo_title="Chelsea",
                               column_titles=[plotting.titled("tiger cat", 0.3906), plotting.titled("tabby", 0.17)])
    written = texts(figure)
    assert {"original", "weighted", "Chelsea", "tiger cat", "p = 0.39", "tabby", "p = 0.17"} <= set(written)
    heights = {text.get_text(): text.get_position()[1] for text in figure.texts}
    assert heights["p = 0.39"] == heights["Chelsea"]  # on one line


def test_long_titles_stay_over_their_panel():
    name = "a class with a name so long that nobody would want to read all of it in a title, were it there or not"
    for columns in (2, 8):
        figure = plotting.map_grid(PHOTO, [[MAP] * columns], column_titles=[name] * columns, photographs=False)
        panel = figure.axes[0].get_window_extent()
        lines = [text for text in figure.texts if text.get_position()[1] > figure.axes[0].get_position().y1]
        assert len(lines) == 2 * columns
        assert max(line.get_window_extent().width for line in lines) <= 1.02 * panel.width
        assert lines[0].get_text().endswith("…")
        assert max(line.get_window_extent().y1 for line in lines) <= figure.bbox.y1


def test_a_long_word_is_cut():
    figure = plotting.map_grid(PHOTO, [[MAP] * 8], column_titles=["Donaudampfschifffahrtsgesellschaft"] * 8)
    assert any(text.startswith("Donaudampf") and text.endswith("…") for text in texts(figure))


@pytest.mark.parametrize(("options", "message"), [
    ({"maps": [[MAP], [MAP, MAP]]}, r"rows of equally many, got rows of \[1, 2\]"), ({"maps": []}, "equally many"),
    ({"row_labels": ["a"]}, "1 row_labels for 2"), ({"column_titles": ["a"]}, "1 column_titles for 3"),
    ({"panel_titles": [["a"] * 3]}, "1 rows of panel_titles for 2"),
    ({"panel_titles": [["a"] * 3, ["a"]]}, "each row of panel_titles needs 3 titles"),
    ({"images": [PHOTO], "by": "row"}, "1 photographs for 2 rows and 3 columns of maps, one for each row"),
    ({"by": "diagonal"}, "by must be 'row', 'column' or None"), ({"limits": "none"}, "limits must be one of panel"),
])
def test_numbers_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plotting.map_grid(**{"images": PHOTO, "maps": [[MAP] * 3] * 2, **options})


def test_compare_is_one_row():
    figure = plotting.compare(PHOTO, [MAP, -MAP], ["original", "weighted"], photo_title="photograph")
    assert len(figure.axes) == 4
    assert {"photograph", "original", "weighted"} <= set(texts(figure))


# The weights of contrasts


def test_bars_show_the_target_first_and_then_the_strongest():
    weights = np.array([-0.1, 1.0, -0.6, -0.3, 0.0])
    figure = plotting.weights_bar(weights, ["a", "b", "c", "d", "e"], target=1, n=2)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "d"]
    assert [bar.get_width() for bar in ax.patches] == [1.0, -0.6, -0.3]
    assert [text.get_text() for text in ax.texts] == ["+1.00", "−0.60", "−0.30"]
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor() == ax.patches[2].get_facecolor()


def test_contrasts_stand_side_by_side_over_the_same_classes():
    rows = {"mean": [1, -1 / 3, -1 / 3, -1 / 3], "max": [1, 0, 0, -1.0]}
    figure = plotting.weights_bar(rows, list("abcd"), target=0, n=2)
    assert [ax.get_title() for ax in figure.axes] == ["mean", "max"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "d", "b"]


def test_small_weights_stay_legible():
    weights = [1, -1 / 999, -2e-4, -1e-9, 0]
    figure = plotting.weights_bar(weights, list("abcde"), target=0)
    assert [text.get_text() for text in figure.axes[0].texts] == ["+1.00", "−0.001", "−0.0002", "≈ 0", "0"]


def test_bars_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 weights 'max' for 2 class names"):
        plotting.weights_bar({"max": [1, 0, 0]}, ["a", "b"], target=0)
    with pytest.raises(ValueError, match=r"target must lie in \[0, 2\), got 2"):
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
    assert [line.get_label() for line in left.lines] == ["a", "b"]
    assert left.get_xscale() == "log"
    assert left.get_yscale() == "linear"
    assert right.get_ylabel() == "right"
    assert right.get_legend() is None


def test_a_curve_of_another_length():
    with pytest.raises(ValueError, match="'a' has shape"):
        plotting.curves([1, 2, 3], {"y": {"a": [1, 2]}}, xlabel="x")
