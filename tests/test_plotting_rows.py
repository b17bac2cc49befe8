"""Figures from tidy rows: marks stand where the rows say, and rows that do not fit are refused by name."""

import math
from itertools import pairwise

import numpy as np
import pytest
from figure_parts import RUN, clipped, legend_of, lines, saved
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb

from contrastlib import plotting

OTHER = {"classifier": "birds_vit"}


def marks(ax) -> dict[str, tuple[float, float, float]]:
    """By contrast and number of steps: where a mark stands across and down, and half its interval."""
    drawn = {one.get_label(): one for one in ax.collections}
    bars = {round(line[0][1], 6): (line[1][0] - line[0][0]) / 2 for line in drawn["mean, 95 %"].get_segments()}
    names = [label.get_text() for label in ax.figure.axes[0].get_yticklabels()]
    places = drawn["mean"].get_offsets().tolist()
    steps = {name: sorted(y for _, y in places if round(y) == i) for i, name in enumerate(names)}
    return {f"{names[round(y)]}, {(1, 2, 10)[steps[names[round(y)]].index(y)]}": (x, y, bars[round(y, 6)])
            for x, y in places}


# Steps along the gradient's sign

STRENGTH = {"original": 1.0, "mean": 1.1, "weighted": 2.0, "max": 1.5}


def sign_rows(contrasts=tuple(STRENGTH), epsilons=(0.003, 0.001), **run):
    rows = []
    for metric, scale in (("accuracy", 0.1), ("p_t", 0.2), ("y_t", 4.0)):
        common = {**RUN, **run, "metric": metric, "difference": "", "low": "", "high": "", "n": 100}
        rows.append({**common, "contrast": "before", "epsilon": "", "steps": "", "value": 2 * scale, "se": 0.01})
        rows += [{**common, "contrast": contrast, "epsilon": epsilon, "steps": steps, "se": scale / 50,
                  "value": scale * STRENGTH[contrast] * (1 - 0.5 / steps) * epsilon / 0.003}
                 for epsilon in epsilons for contrast in contrasts for steps in (1, 2, 10)]
    return rows


def papers_signs():
    return [{"figure": "fig1", "epsilon": "0.003", "network": f"net{i}", "contrast": contrast, "iterations": steps,
             "quantity": quantity, "delta": str((i + 1) * scale * STRENGTH[contrast] * int(steps))}
            for i in range(3) for contrast in ("original", "weighted") for steps in ("1", "10")
            for quantity, scale in (("p_t", 0.01), ("accuracy", 0.02), ("y_t", 1.0))]


def test_changes_stand_where_the_rows_say():
    figure = plotting.changes(saved(sign_rows()))
    assert [ax.get_title() for ax in figure.axes] == ["change of probability pₜ", "change of accuracy",
                                                      "change of logit yₜ"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["original", "mean", "weighted", "max"]
    found = marks(figure.axes[0])
    assert len(found) == 4 * 3
    x, y, half = found["weighted, 2"]
    assert (x, y, half) == pytest.approx((0.2 * 2 * 0.75, 2, 1.96 * 0.004))
    assert found["weighted, 1"][1] < y < found["weighted, 10"][1] < found["max, 1"][1]
    assert marks(figure.axes[2])["max, 10"][0] == pytest.approx(4 * 1.5 * 0.95)
    assert [ax.texts[0].get_text() for ax in figure.axes] == ["from 0.4 before", "from 0.2 before", "from 8 before"]
    assert legend_of(figure) == ["1 step", "2 steps", "10 steps"]
    assert not clipped(figure)


def test_more_steps_are_darker():
    ax = plotting.changes(saved(sign_rows())).axes[0]
    (drawn,) = [one for one in ax.collections if one.get_label() == "mean"]
    drawn = dict(zip(marks(ax), (colour[:3] for colour in drawn.get_facecolor())))
    assert sum(drawn["max, 1"]) > sum(drawn["max, 2"]) > sum(drawn["max, 10"])
    assert to_hex(drawn["max, 10"]) == plotting.CONTRAST_COLOURS["max"]


def test_the_other_epsilon_and_fewer_contrasts():
    figure = plotting.changes(saved(sign_rows(("weighted", "original"))), epsilon=1e-3)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["original", "weighted"]
    assert marks(figure.axes[1])["weighted, 10"][0] == pytest.approx(0.1 * 2 * 0.95 / 3)


def test_the_papers_networks_are_ticks_and_their_logits_are_on_our_scale():
    figure = plotting.changes(saved(sign_rows()), reference=saved(papers_signs()))
    ticks = [{group.get_label(): [segment[0][0] for segment in group.get_segments()] for group in ax.collections
              if str(group.get_label()).startswith("papers")} for ax in figure.axes]
    assert ticks[0]["papers weighted"] == pytest.approx([0.2, 0.4, 0.6])  # at ten steps
    ours = marks(figure.axes[2])["original, 10"][0]
    assert ticks[2]["papers original"] == pytest.approx([ours] * 3)
    assert ticks[2]["papers weighted"] == pytest.approx([2 * ours] * 3)  # twice their own original
    assert legend_of(figure)[-1] == "the review, 3 networks, 10 steps; their yₜ scaled to our original"
    assert not clipped(figure)


def test_logits_without_an_original_have_no_ticks():
    figure = plotting.changes(saved(sign_rows(("weighted",))), reference=saved(papers_signs()))
    assert legend_of(figure)[-1] == "the review, 3 networks, 10 steps"
    assert not [g for g in figure.axes[2].collections if str(g.get_label()).startswith("papers")]


def gained(low=0.01):
    rows = [row | {"difference": row["value"] / 10, "low": low, "high": 9.0} for row in sign_rows()]
    return saved([*rows, *(row | OTHER | {"low": -9.0} for row in rows)])


def test_gains_stand_by_network_and_are_hollow_where_zero_is_in_the_interval():
    figure = plotting.gains(gained(), of=("weighted", "max"), epsilon=0.001, steps=2)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["birds_vgg, n = 100", "birds_vit, n = 100"]
    assert [ax.get_title() for ax in figure.axes] == ["gain of probability pₜ", "gain of accuracy", "gain of logit yₜ"]
    dots = [one for one in figure.axes[0].collections if isinstance(one, PathCollection) and len(one.get_offsets())]
    found = {(to_hex(one.get_edgecolor()[0]), to_hex(one.get_facecolor()[0])): one.get_offsets()[0].tolist()
             for one in dots}
    for contrast, aside in (("weighted", -0.22), ("max", 0.22)):
        colour = plotting.CONTRAST_COLOURS[contrast]
        gain = 0.2 * STRENGTH[contrast] * 0.75 / 3 / 10
        assert found[colour, colour] == pytest.approx([gain, aside])
        assert found[colour, "#ffffff"] == pytest.approx([gain, 1 + aside])
    assert not clipped(figure)


def test_gains_of_the_review_are_those_over_its_original():
    figure = plotting.gains(gained(), reference=saved(papers_signs()))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][2:] == ["net0", "net1", "net2"]
    (diamonds,) = [one for one in figure.axes[1].collections if len(one.get_offsets()) == 3]
    assert diamonds.get_offsets()[:, 0].tolist() == pytest.approx([0.2, 0.4, 0.6])  # twice the original's, minus it
    assert legend_of(figure) == ["mean", "max", "weighted", "the review's"]


@pytest.mark.parametrize(("rows", "options", "message"), [
    (sign_rows()[:0], {}, "there are no rows"),
    (sign_rows(), {"epsilon": 0.002}, "no rows have epsilon '0.002'; there are: 0.003, 0.001"),
    ([{k: v for k, v in row.items() if k != "steps"} for row in sign_rows()], {}, "no column 'steps'; they have class"),
    (sign_rows() + sign_rows(**OTHER), {}, "differ in classifier: birds_vgg, birds_vit; choose one, such as class"),
    (sign_rows(), {"classifier": "vgg"}, "no rows have classifier 'vgg'; there are: birds_vgg"),
    (sign_rows(), {"layer": "a"}, "no column 'layer'"),
    (sign_rows(), {"reference": saved(papers_signs()), "epsilon": 0.001}, "have epsilon '0.001'; there are: 0.003"),
])
def test_changes_that_cannot_be_drawn(rows, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.changes(saved(rows), **options)


def test_further_columns_pick_a_run():
    rows = sign_rows() + sign_rows(**{**OTHER, "data set": "cub200"})
    for where in (OTHER, {"data_set": "cub200"}, {"data set": "cub200"}):
        assert len(marks(plotting.changes(saved(rows), **where).axes[0])) == 12


# Removal


def curve_rows(baselines=("blur",), methods=("grad_cam", "xgrad_cam"), area=True):
    common = {**RUN, "layer": "features.25", "difference": "", "low": "", "high": "", "n": 100}
    return [{**common, "method": method, "target": target, "baseline": baseline, "removed": removed,
             "contrast": contrast, "share": share, "se": 0.01,
             "value": 0.4 if share == "area" else 0.7 - 0.2 * share * (contrast == "weighted")}
            for method in methods for target in ("t1", "t2") for baseline in baselines
            for removed in ("lowest", "highest") for contrast in ("weighted", "original")
            for share in (*([] if not area else ["area"]), 0, 0.5, 0.25, 1.0)]


def test_curves_run_over_the_shares_in_order():
    figure = plotting.removal_curves(saved(curve_rows()))
    assert len(figure.axes) == 4 * 2
    assert [ax.get_title().split("\n")[0] for ax in figure.axes[:2]] == ["highest relevance removed first",
                                                                        "lowest relevance removed first"]
    assert [ax.get_ylabel() for ax in figure.axes[::2]] == [
        f"{method}\ntarget {name}" for method in ("Grad-CAM", "XGradCAM") for name in ("t₁", "t₂")]
    drawn = lines(figure.axes[3])
    assert list(drawn) == ["original", "weighted"]
    assert drawn["weighted"] == pytest.approx(np.array([[0, 0.7], [0.25, 0.65], [0.5, 0.6], [1, 0.5]]))
    band = figure.axes[3].collections[1].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.5 - 0.0196, 0.7 + 0.0196))
    assert [text.get_text() for text in figure.axes[0].texts] == ["weighted\n0.400 ± 0.020",
                                                                  "original\n0.400 ± 0.020"]
    assert not clipped(figure)


def test_panels_are_by_what_is_asked():
    rows = saved(curve_rows(("blur", "black")))
    figure = plotting.removal_curves(rows, by=("baseline",), method="grad_cam", target="t1")
    assert [ax.get_ylabel() for ax in figure.axes[::2]] == ["blur", "black"]
    alone = plotting.removal_curves(saved(curve_rows(area=False)), by=(), method="grad_cam", target="t1")
    assert len(alone.axes) == 2
    assert [text.get_text() for text in alone.axes[0].texts] == ["weighted", "original"]


@pytest.mark.parametrize(("options", "message"), [
    ({}, "the rows differ in baseline: blur, black; choose one, such as baseline='blur'"),
    ({"baseline": "zeros"}, "no rows have baseline 'zeros'; there are: blur, black"),
    ({"by": ("weather",)}, "no column 'weather'"),
])
def test_curves_that_cannot_be_drawn(options, message):
    with pytest.raises(ValueError, match=message):
        plotting.removal_curves(saved(curve_rows(("blur", "black"))), **options)


# Lines of any rows


def test_lines_of_any_rows_are_what_the_rows_say():
    rows = ([row for row in curve_rows(("blur", "black")) if row["method"] == "grad_cam" and row["target"] == "t2"])
    figure = plotting.lines(saved(rows), x="share", across="removed", down="baseline", ylabel="relative probability")
    assert [ax.get_title() for ax in figure.axes] == ["lowest", "highest", "", ""]
    assert [ax.get_ylabel() for ax in figure.axes] == ["blur", "", "black", ""]
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("share", "relative probability")
    for ax in figure.axes:
        assert lines(ax)["weighted"] == pytest.approx(np.array([[0, 0.7], [0.25, 0.65], [0.5, 0.6], [1, 0.5]]))
        assert lines(ax)["original"][:, 1] == pytest.approx([0.7] * 4)
        band = ax.collections[0].get_paths()[0].vertices
        assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.7 - 0.0196, 0.7 + 0.0196))
        assert [text.get_text() for text in ax.texts] == ["weighted", "original"]
    assert not clipped(figure)


def test_intervals_of_lines_may_be_given_and_be_bars():
    (ax,) = plotting.lines(saved(odds_rows()), x="to", line="metric", bars=True, metric=METRIC[0]).axes
    (drawn,) = ax.containers
    assert drawn[0].get_xydata()[:3] == pytest.approx(np.array([[-2, 0.5], [0, 0.6], [4, 0.7]]))
    assert drawn[2][0].get_segments()[0][:, 1] == pytest.approx([0.48, 0.53])
    runs = plotting.lines(saved(odds_rows() + odds_rows(**OTHER)), x="to", line="classifier", metric=METRIC[0])
    assert list(lines(runs.axes[0])) == ["birds_vgg", "birds_vit"]


@pytest.mark.parametrize(("options", "message"), [
    ({}, "the rows differ in method: grad_cam, xgrad_cam; choose one, such as method='grad_cam'"),
    ({"method": "grad_cam", "across": "target"}, "the rows differ in removed: lowest, highest; choose one"),
    ({"across": "weather"}, "no column 'weather'; they have classifier, "),
    ({"x": "contrast", "line": "share", "across": "removed", "method": "grad_cam", "target": "t1"},
     "no rows have a number in 'contrast'"),
])
def test_lines_that_cannot_be_drawn(options, message):
    with pytest.raises(ValueError, match=message):
        plotting.lines(saved(curve_rows()), **{"x": "share", **options})


# Norms


def norm_rows(kinds=("fit", "bin", "ratio")):
    rows = [{"kind": "fit", "name": name, "at": "", "value": value, "low": value - 1, "high": value + 1, "n": 9}
            for name, value in (("constant", 3.0), ("linear", -0.5), ("quadratic", 0.25))]
    rows += [{"kind": "bin", "name": "", "at": at, "value": at + 5, "low": at + 4, "high": at + 8, "n": 9}
             for at in (2.0, -2.0, 0.0, 10.0)]
    rows.append({"kind": "ratio", "name": "first over second", "at": "", "value": 2, "low": 1, "high": 3, "n": 9})
    return [{**RUN, **row} for row in rows if row["kind"] in kinds]


def test_bins_and_fits_of_norms():
    (ax,) = plotting.norms(saved(norm_rows())).axes
    found = lines(ax)
    assert list(found) == ["mean of a bin", "this network's fit", "the review's fit, of VGG-16"]
    assert found["mean of a bin"].tolist() == [[-2, 3], [0, 5], [2, 7], [10, 15]]
    band = ax.collections[0].get_paths()[0].vertices
    assert {(-2.0, 2.0), (-2.0, 6.0), (10.0, 18.0)} <= {tuple(point) for point in band}
    y, fit = found["this network's fit"].T
    assert (y[0], y[-1]) == (-2, 10)
    assert fit == pytest.approx(3 - 0.5 * y + 0.25 * y**2)
    assert found["the review's fit, of VGG-16"][:, 1] == pytest.approx(4.245 + 0.1864 * y + 0.00883 * y**2)
    assert [one[0].get_linestyle() for one in ax.containers] == ["None", "-", "--"]
    assert {text.get_text() for text in ax.texts} == {
        "mean of a bin\n(band: 10–90 %)", "this network's fit\n3 − 0.5 y + 0.25 y²",
        "the review's fit, of\nVGG-16\n4.25 + 0.186 y + 0.00883 y²"}
    assert not clipped(ax.figure)


def test_no_published_fit():
    (ax,) = plotting.norms(saved(norm_rows()), published=None).axes
    assert list(lines(ax)) == ["mean of a bin", "this network's fit"]


@pytest.mark.parametrize(("rows", "options", "message"), [
    (norm_rows(("fit",)), {}, "no rows have kind 'bin'; there are: fit"),
    ([r for r in norm_rows() if r["name"] != "linear"], {}, "no rows have name 'linear'; there are: constant, quadr"),
])
def test_norms_that_cannot_be_drawn(rows, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.norms(saved(rows), **options)


# Log-odds


METRIC = ["positive share weighted"]


def odds_rows(**run):
    edges = [-math.inf, -2.0, 0.0, 4.0, math.inf]
    return [{**RUN, **run, "from": start, "to": end, "metric": metric, "value": 0.1 * i + place, "n": 9,
             "low": 0.1 * i + place - 0.02, "high": 0.1 * i + place + 0.03}
            for place, metric in ((0.2, "correlation original weighted"), (0.3, "correlation probability weighted"),
                                  (0.4, "norm of the others over the target"), (0.5, "positive share weighted"))
            for i, (start, end) in enumerate(pairwise(edges))]


def test_measures_stand_in_the_middle_of_their_bins():
    figure = plotting.by_log_odds(saved(odds_rows()), metrics={
        "correlation": ["correlation original weighted", "correlation probability weighted"],
        "norm of the others": ["norm of the others over the target"], "positive share": METRIC})
    assert [ax.get_title() for ax in figure.axes] == ["correlation", "norm of the others", "positive share"]
    first, second = figure.axes[0].containers
    assert first[0].get_xydata() == pytest.approx(np.array([[-3, 0.2], [-1, 0.3], [2, 0.4], [6, 0.5]]))
    assert first[2][0].get_segments()[0][:, 1] == pytest.approx([0.18, 0.23])
    assert to_hex(first[0].get_color()) == plotting.CONTRAST_COLOURS["original"]
    assert to_hex(second[0].get_color()) == plotting.CONTRAST_COLOURS["probability"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["correlation original\nweighted",
                                                                  "correlation\nprobability weighted"]
    assert not figure.axes[1].texts  # a line alone is named by its panel
    (above,) = figure.axes[0].child_axes
    shown = dict(zip((tick.get_text() for tick in above.get_xticklabels()), above.get_xticks()))
    assert shown["p = 0.9"] == pytest.approx(math.log(9))
    assert not clipped(figure)


def test_classifiers_differ_in_their_marks():
    figure = plotting.by_log_odds(saved(odds_rows() + odds_rows(**OTHER)), metrics={"": METRIC})
    (ax,) = figure.axes
    assert [c[0].get_marker() for c in ax.containers] == ["o", "s"]
    assert legend_of(figure) == ["birds_vgg", "birds_vit"]
    assert not clipped(figure)


def test_runs_are_called_by_what_tells_them_apart():
    rows = saved(odds_rows() + odds_rows(split="test") + odds_rows(**OTHER))
    figure = plotting.by_log_odds(rows, metrics={"": METRIC})
    assert legend_of(figure) == ["birds_vgg, hard", "birds_vgg, test", "birds_vit, hard"]


def test_small_bins_and_the_row_of_all_images_are_left_out():
    rows = odds_rows()
    everything = [{**row, "from": -math.inf, "to": math.inf, "n": 99} for row in rows]
    for i, row in enumerate(rows):
        row["n"] = 100 if i % 4 else 3
    (line,) = plotting.by_log_odds(saved(rows + everything), metrics={"": METRIC}).axes[0].containers
    assert list(line[0].get_xdata()) == pytest.approx([-1, 2, 6])
    (line,) = plotting.by_log_odds(saved(rows), metrics={"": METRIC}, least=1).axes[0].containers
    assert list(line[0].get_xdata()) == pytest.approx([-3, -1, 2, 6])


def test_panels_may_be_named():
    named = {"left": ["positive share weighted"], "right": ["correlation original weighted"]}
    assert [ax.get_title() for ax in plotting.by_log_odds(saved(odds_rows()), metrics=named).axes] == ["left", "right"]


def test_a_bin_over_everything_stands_at_zero():
    rows = saved([{**row, "from": -math.inf, "to": math.inf} for row in odds_rows()[-1:]])
    assert plotting.by_log_odds(rows, metrics={"": METRIC}).axes[0].containers[0][0].get_xdata() == [0]


@pytest.mark.parametrize(("rows", "options", "message"), [
    (odds_rows(), {"metrics": {"": ["size"]}}, "no rows have metric 'size'; there are: correlation original weighted"),
    (odds_rows(), {"metrics": {"": METRIC}, "classifier": "vit"}, "no rows have classifier 'vit'"),
])
def test_measures_that_cannot_be_drawn(rows, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.by_log_odds(saved(rows), **options)


# Colours

# How red, green and blue (linear) reach an eye without red or without green cones: Machado et al. 2009, severity 1.
EYES = {
    "all": np.eye(3),
    "no red": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                        [-0.003882, -0.048116, 1.051998]]),
    "no green": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                          [-0.011820, 0.042940, 0.968881]]),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, eye: np.ndarray) -> np.ndarray:
    """CIELAB of a colour as an eye sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    f = np.cbrt(XYZ @ np.clip(eye @ linear, 0, 1) / XYZ.sum(1))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
def test_contrasts_are_told_apart_by_every_eye(eye):
    seen = [lab(colour, EYES[eye]) for colour in plotting.CONTRAST_COLOURS.values()]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(apart) > 10  # 2.3 is just noticeable
    assert max(colour[0] for colour in seen) < 80  # dark enough for white paper


def test_an_unknown_contrast_has_a_colour_and_comes_last():
    rows = [{**row, "contrast": "foil"} if row["contrast"] == "max" else row for row in sign_rows()]
    figure = plotting.changes(saved(rows))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][-1] == "foil"
    assert plotting.colour_of("foil") == plotting.CONTRAST_COLOURS["normalised"]
