"""The figure of flipped predictions: what is drawn is what the rows say."""

from itertools import pairwise

import pytest
from figure_parts import RUN, clipped, lines, saved
from matplotlib.colors import to_hex

from contrastlib import plotting

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
MAPS = ("random", "original", "weighted", "foil")
METRICS = ("becomes the foil", "margin")


def value_of(kind: str, name: str, share: float, metric: str) -> float:
    if metric == "margin":
        return 2 - (3 if kind == "wrong" else 1) * share * (1 + MAPS.index(name))
    return round((0.2 if kind == "wrong" else 0.1) * (1 + MAPS.index(name)) * share**0.5, 5)


def flip_rows(kinds=("right", "wrong"), metrics=METRICS, layer="features.27", methods=("grad_cam",), se=0.01):
    found = []
    for method in methods:
        for kind in kinds:
            common = {**RUN, "layer": layer, "method": method, "prediction": kind, "difference": "", "low": "",
                      "high": "", "n": 26 if kind == "wrong" else 80}
            for metric in metrics:
                own = {**common, "metric": metric}
                found += [{**own, "map": name, "share": share, "against": against, "se": se,
                           "value": value_of(kind, name, share, metric)}
                          for name in MAPS for share in reversed(SHARES)
                          for against in (("random", "original") if name in ("foil", "weighted") else ("",))]
                found.append({**own, "map": "before", "share": 0, "against": "", "se": 0,
                              "value": 2 if metric == "margin" else 0})
            found.append({**common, "metric": "positive share on the other bird", "map": "foil", "share": "",
                          "against": "random", "value": 0.3, "se": 0.01})
    return found


def test_a_line_for_each_map_beside_wrong_predictions_the_right_ones():
    figure = plotting.flips(saved(flip_rows()))
    assert len(figure.axes) == 2
    for ax, kind in zip(figure.axes, ("wrong", "right")):
        assert list(lines(ax)) == ["original", "weighted", "random", "foil"]
        for name, found in lines(ax).items():
            assert found[:, 0] == pytest.approx([0, 5, 10, 20, 30, 50])
            assert found[:, 1] == pytest.approx([0, *(value_of(kind, name, share, METRICS[0]) for share in SHARES)])
        band = ax.collections[-1].get_paths()[0].vertices
        ends = sorted(y for x, y in band if x == pytest.approx(50))
        value = value_of(kind, "foil", 0.5, METRICS[0])
        assert (ends[0], ends[-1]) == pytest.approx((value - 0.0196, value + 0.0196))
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "5", "10", "20", "30", "50"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert not clipped(figure)


def test_panels_say_what_they_show_of_how_many_images():
    figure = plotting.flips(saved(flip_rows()))
    assert [ax.get_title() for ax in figure.axes] == [
        "predicted wrongly (n = 26):\nbecomes the true class",
        "predicted rightly, in doubt (n = 80):\nbecomes the runner-up"]
    assert figure.axes[0].get_ylabel() == "share of images"
    assert figure.get_supxlabel() == "share of pixels masked, in %"


def test_maps_keep_their_colours_and_the_foil_has_its_own():
    ax = plotting.flips(saved(flip_rows())).axes[0]
    colours = {one.get_label(): to_hex(one[0].get_color()) for one in ax.containers}
    assert colours["random"] == plotting.FAINT
    assert all(colours[name] == plotting.CONTRAST_COLOURS[name] for name in ("weighted", "original"))
    assert colours["foil"] not in plotting.CONTRAST_COLOURS.values()
    assert {text.get_text(): to_hex(text.get_color()) for text in ax.texts} == colours


def test_names_stand_at_the_ends_of_lines_in_their_order_and_do_not_touch():
    close = [{**row, "value": 0.01 * row["value"] if row["prediction"] == "right" else row["value"]}
             for row in flip_rows(metrics=("becomes the foil",))]
    figure = plotting.flips(saved(close))
    assert not clipped(figure)
    for ax in figure.axes:
        by_end = sorted(lines(ax), key=lambda name: lines(ax)[name][-1, 1])
        boxes = sorted(((text.get_text(), text.get_window_extent()) for text in ax.texts), key=lambda box: box[1].y0)
        assert [name for name, _ in boxes] == by_end
        assert all(above.y0 >= below.y1 - 2 for (_, below), (_, above) in pairwise(boxes))
        assert all(box.x0 >= ax.bbox.x1 for _, box in boxes)
        assert boxes[0][1].y0 >= ax.bbox.y0 - 2


def test_one_kind_of_prediction_and_one_image_can_be_drawn():
    (ax,) = plotting.flips(saved(flip_rows(kinds=("wrong",), se=float("nan")))).axes
    assert ax.get_title().startswith("predicted wrongly")
    assert len(lines(ax)) == 4
    (ax,) = plotting.flips(saved(flip_rows()), prediction="right").axes
    assert ax.get_title().startswith("predicted rightly")


@pytest.mark.parametrize(("rows", "message"), [
    (flip_rows()[:0], "there are no rows"),
    (flip_rows(metrics=("margin",)), "no rows have metric 'becomes the foil'; there are: margin, "),
    (flip_rows() + flip_rows(layer="features.13"), "the rows differ in layer: features.27, features.13; choose one"),
    (flip_rows(methods=("grad_cam", "xgrad_cam")), "the rows differ in method: grad_cam, xgrad_cam; choose one"),
    ([{k: v for k, v in row.items() if k != "map"} for row in flip_rows()], "no column 'map'; they have classifier, "),
])
def test_flips_that_cannot_be_drawn(rows, message):
    with pytest.raises(ValueError, match=message):
        plotting.flips(saved(rows))


def test_further_columns_pick_a_run():
    rows = flip_rows() + [{**row, "value": 0.0} for row in flip_rows(layer="features.13")]
    assert lines(plotting.flips(saved(rows), layer="features.27").axes[0])["foil"][-1, 1] > 0
