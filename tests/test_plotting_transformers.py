"""Figures of transformers' blocks and of terms that add up: what is drawn is what the numbers say."""

from itertools import pairwise

import numpy as np
import pytest
from figure_parts import RUN, clipped, legend_of, saved
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer

from contrastlib import plotting

METRIC = "positive share on the bird"
METHODS = ("grad_cam", "grad_cam norm1", "grad_cam attention", "rollout", "rollout relu", "relevance",
           "relevance signed", "full_grad", "gradient_x_input")


def value_of(method: str, block: str, contrast: str) -> float:
    at = {"all": 9, "input": 10, "embedding": 11}.get(block) or int(block)
    return 0.9 - 0.05 * at - 0.01 * METHODS.index(method) - 0.02 * (contrast == "original")


def block_rows(n=12, methods=METHODS, metric=METRIC, **run):
    common = {**RUN, **run, "metric": metric, "against": "", "difference": "", "low": "", "high": "", "n": 100}
    rows = [{**common, "target": target, "method": "chance", "block": "", "contrast": "", "value": 0.2, "se": 0.001}
            for target in ("t2", "t1")]
    blocks = {"grad_cam": range(n - 1), "full_grad": [*range(n), "all"], "gradient_x_input": ["input", "embedding"]}
    return rows + [
        {"target": target, "method": method, "block": str(block), "contrast": contrast, "se": 0.01,
         **common, "value": value_of(method, str(block), contrast) - 0.1 * (target == "t2")}
        for target in ("t1", "t2") for contrast in ("weighted", "original") for method in methods
        for block in reversed(blocks.get(method, range(n)))]


def drawn(ax) -> dict[str, np.ndarray]:
    """By label the marks (x, y) with half their bars (n, 3), NaN where a block has none."""
    found = {}
    for one in ax.containers:
        if isinstance(one, ErrorbarContainer):
            x, y = one[0].get_data()
            segments = {round(s[0][0], 6): (s[1][1] - s[0][1]) / 2 for s in one[2][0].get_segments() if len(s)}
            found[one.get_label()] = np.array([[a, b, segments.get(round(a, 6), np.nan)] for a, b in zip(x, y)])
    return found


def named(ax) -> dict[str, float]:
    return {label.get_text(): at for label, at in zip(ax.get_xticklabels(), ax.get_xticks())}


# Blocks


@pytest.mark.parametrize("n", [4, 12])
def test_each_method_has_a_panel_with_a_line_for_each_contrast(n):
    figure = plotting.by_block(saved(block_rows(n)), metric=METRIC, target="t1")
    assert [ax.get_title() for ax in figure.axes] == [
        "Grad-CAM, block output", "Grad-CAM, before attention", "Grad-CAM, attention output",
        "Attention rollout, signed", "Attention rollout, ReLU", "FullGrad", "Attention relevance, signed",
        "Attention relevance, ReLU", "Gradient × input"]
    found = drawn(figure.axes[1])
    assert list(found) == ["original", "weighted"]
    for contrast, marks in found.items():
        assert marks[:, 0] == pytest.approx(np.arange(n), abs=0.2)
        assert marks[:, 1] == pytest.approx([value_of("grad_cam norm1", str(i), contrast) for i in range(n)])
        assert marks[:, 2] == pytest.approx([0.0196] * n)
    lines = {line.get_label(): line for line in figure.axes[1].lines if line.get_label() == "chance"}
    assert lines["chance"].get_ydata() == pytest.approx([0.2, 0.2])
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["no gradient"] + ["chance"] * 3
    assert figure.get_supylabel() == METRIC
    assert legend_of(figure) == ["original", "weighted"]
    colours = {c.get_label(): to_hex(c[0].get_color()) for c in figure.axes[1].containers}
    assert colours == {name: plotting.CONTRAST_COLOURS[name] for name in ("original", "weighted")}
    assert not clipped(figure)


def test_maps_of_no_block_stand_apart_by_their_names():
    rows = saved(block_rows())
    figure = plotting.by_block(rows, metric=METRIC, target="t1", methods=["full_grad", "gradient_x_input"])
    full, pixels = figure.axes
    assert list(drawn(full)) == ["original", "weighted"]
    x, y, half = drawn(full)["weighted"][-1]
    assert (y, half) == pytest.approx((value_of("full_grad", "all", "weighted"), 0.0196))
    assert x == pytest.approx(named(full)["all"], abs=0.2)
    assert named(full)["all"] > 12
    assert np.isnan(drawn(full)["weighted"][12, 1])  # no line leads from the blocks to it
    assert len(drawn(full)["weighted"]) == 14
    assert list(named(pixels)) == ["embedding", "input"]
    marks = drawn(pixels)["original"]
    assert marks[1::2, 1] == pytest.approx(
        [value_of("gradient_x_input", b, "original") for b in ("embedding", "input")])
    assert np.isnan(marks[::2, 1]).all()
    assert (full.get_xlabel(), pixels.get_xlabel()) == ("block whose biases count", "")


def test_a_block_without_a_map_leaves_a_gap():
    rows = [row for row in block_rows() if (row["method"], row["block"]) not in {("rollout", "3"), ("rollout", "4")}]
    last, middle = plotting.by_block(saved(rows), metric=METRIC, target="t1", methods=["grad_cam", "rollout"]).axes
    crosses = [{line.get_label(): line for line in ax.lines}["missing"] for ax in (last, middle)]
    assert [line.get_xydata().tolist() for line in crosses] == [[[11, 0]], [[3, 0], [4, 0]]]
    assert [ax.texts[0].get_text() for ax in (last, middle)] == ["no gradient", "no value"]
    assert np.isnan(drawn(last)["weighted"][:, 1]).tolist() == [False] * 11 + [True]
    assert np.isnan(drawn(middle)["weighted"][:, 1]).nonzero()[0].tolist() == [3, 4]


def test_the_level_of_chance_may_be_missing():
    without = [row for row in block_rows(4) if row["method"] != "chance"]
    (ax,) = plotting.by_block(saved(without), metric=METRIC, target="t1", methods=("rollout",)).axes
    assert not [line for line in ax.lines if line.get_label() == "chance"]
    assert not ax.texts


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8])
def test_any_number_of_panels_fits_the_page(count):
    figure = plotting.by_block(saved(block_rows(24)), metric=METRIC, target="t1", methods=METHODS[-count:])
    assert len(figure.axes) == count
    assert not clipped(figure)
    for ax in figure.axes:
        boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_a_method_and_a_contrast_without_a_name_of_their_own_are_drawn():
    rows = [{**row, "method": "score_cam" if row["method"] == "rollout" else row["method"],
             "contrast": "foil" if row["contrast"] == "original" else row["contrast"]} for row in block_rows(4)]
    (ax,) = plotting.by_block(saved(rows), metric=METRIC, target="t1", methods=["score_cam"]).axes
    assert ax.get_title() == "score_cam"
    assert list(drawn(ax)) == ["weighted", "foil"]


@pytest.mark.parametrize(("rows", "options", "message"), [
    (block_rows()[:0], {}, "there are no rows"),
    (block_rows(), {}, "the rows differ in target: t2, t1; choose one, such as target='t2'"),
    (block_rows() + block_rows(classifier="birds_vit"), {"target": "t1"},
     "the rows differ in classifier: birds_vgg, birds_vit; choose one, such as classifier='birds_vgg'"),
    (block_rows(), {"metric": "size", "target": "t1"}, f"no rows have metric 'size'; there are: {METRIC}"),
    (block_rows(methods=("rollout",)), {"methods": ["lime"], "target": "t1"},
     "no rows have method 'lime'; there are: rollout"),
    ([{k: v for k, v in row.items() if k != "block"} for row in block_rows()], {}, "no column 'block'"),
])
def test_blocks_that_cannot_be_drawn(rows, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.by_block(saved(rows), **{"metric": METRIC, **options})


# Terms that add up

ORIGINAL = {"input": 3.214, "convolution biases": -1.52, "BatchNorm": 8.77, "linear biases": 0.41, "contrast": 0.0}
WEIGHTED = {"input": 1.1, "convolution biases": 2.52, "BatchNorm": -6.77, "linear biases": 0.021, "contrast": -1.2}
LARGE = {"input": 1234.5, "convolution biases": 1.2, "BatchNorm": -1230.9, "linear biases": -3.1, "contrast": 0.7}


def bars(ax) -> dict[str, tuple[float, float, str]]:
    """By name where a bar starts and ends and the colour of its edge, from the top."""
    found = {}
    for one in sorted(ax.containers, key=lambda c: c.patches[0].get_y()):
        (patch,) = one.patches
        found[one.get_label()] = (patch.get_x(), patch.get_x() + patch.get_width(), to_hex(patch.get_edgecolor()))
    return found


def numbers(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def outside(figure) -> list[str]:
    """Numbers that do not lie within their panel."""
    figure.draw_without_rendering()
    return [text.get_text() for ax in figure.axes for text in ax.texts
            if not ax.bbox.x0 - 1 <= text.get_window_extent().x0 <= text.get_window_extent().x1 <= ax.bbox.x1 + 1]


def test_each_bar_starts_where_the_one_above_it_ends():
    figure = plotting.adds_up([ORIGINAL, WEIGHTED], [sum(ORIGINAL.values()), sum(WEIGHTED.values())],
                              titles=["original", "weighted"])
    for ax, terms in zip(figure.axes, (ORIGINAL, WEIGHTED)):
        found = bars(ax)
        assert list(found) == [*terms, "score"]
        ends = np.cumsum(list(terms.values()))
        assert [end for _, end, _ in found.values()] == pytest.approx([*ends, ends[-1]])
        assert [start for start, _, _ in found.values()] == pytest.approx([0, *ends[:-1], 0])
        links = [line.get_xydata() for line in ax.lines if line.get_label() == "connector"]
        assert [link[:, 0].tolist() for link in links] == [[pytest.approx(end)] * 2 for end in ends]
    assert [colour for _, _, colour in bars(figure.axes[1]).values()] == [
        plotting.FOR, plotting.FOR, plotting.AGAINST, plotting.FOR, plotting.AGAINST, plotting.INK]
    assert numbers(figure.axes[0]) == ["+3.21", "−1.52", "+8.77", "+0.41", "0", "10.87"]
    assert numbers(figure.axes[1]) == ["+1.100", "+2.520", "−6.770", "+0.021", "−1.200", "−4.329"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*ORIGINAL, "score"]
    assert [ax.get_title() for ax in figure.axes] == ["original", "weighted"]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert not clipped(figure) + outside(figure)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_term_that_is_a_thousand_times_another_leaves_both_readable(sign):
    terms = {name: sign * value for name, value in LARGE.items()}
    figure = plotting.adds_up([terms, ORIGINAL], [sign * 2.4, sum(ORIGINAL.values())])
    assert numbers(figure.axes[0]) == [text if sign == 1 else text.translate(str.maketrans("+−", "−+")) for text in (
        "+1,234.50", "+1.20", "−1,230.90", "−3.10", "+0.70")] + ["2.40" if sign == 1 else "−2.40"]
    assert all(one.patches[0].get_linewidth() > 1 for one in figure.axes[0].containers)  # however short a bar is
    assert not clipped(figure) + outside(figure)


def test_what_the_terms_leave_is_a_residual():
    figure = plotting.adds_up([ORIGINAL, WEIGHTED], [12.0, sum(WEIGHTED.values()) + 0.006])
    found = bars(figure.axes[0])
    assert list(found) == [*ORIGINAL, "residual", "score"]
    start, end, colour = found["residual"]
    assert (start, end, colour) == (pytest.approx(10.874), pytest.approx(12), plotting.FAINT)
    (patch,) = next(c for c in figure.axes[0].containers if c.get_label() == "residual").patches
    assert patch.get_hatch()
    assert "residual" not in bars(figure.axes[1])  # less than a thousandth of 6.77
    assert "residual" in bars(plotting.adds_up([WEIGHTED], sum(WEIGHTED.values()) + 0.007).axes[0])


def test_panels_may_have_terms_of_their_own():
    small = {"LayerNorm": -2e-5, "input": 5e-5}
    figure = plotting.adds_up([ORIGINAL, small], [sum(ORIGINAL.values()), 3e-5])
    assert list(bars(figure.axes[1])) == ["input", "LayerNorm", "score"]
    assert numbers(figure.axes[1]) == ["+5.0·10⁻⁵", "−2.0·10⁻⁵", "3.0·10⁻⁵"]
    assert not clipped(figure) + outside(figure)


def test_next_to_nothing_is_said_to_be_so():
    (ax,) = plotting.adds_up([{"input": 2.0, "linear biases": 1e-9, "contrast": 0}], [2.0]).axes
    assert numbers(ax) == ["+2.00", "≈ 0", "0", "2.00"]
    (ax,) = plotting.adds_up([{"input": 0.0}], np.zeros(1)).axes
    assert numbers(ax) == ["0", "0"]


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5])
def test_any_number_of_panels_with_long_names_fits_the_page(panels):
    terms = {"patch embedding and positions": -52.0, "biases of the attention's projections": 1087.0, "LayerNorm": -3.0}
    figure = plotting.adds_up([terms] * panels, [1032.0] * panels, titles=["a long title of one panel"] * panels)
    assert len(figure.axes) == panels
    assert not clipped(figure) + outside(figure)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(a.y0 > b.y1 for a, b in pairwise(boxes))


@pytest.mark.parametrize(("terms", "score", "options", "message"), [
    ([], [], {}, "got 0 of terms"), ([{}], [1], {}, "got 1 of terms, 1 of them empty"),
    ([ORIGINAL], [1, 2], {}, "got 1 of terms, 0 of them empty, 2 scores"),
    ([ORIGINAL], [1], {"titles": ["a", "b"]}, "1 scores, 2 titles"),
    ([{"input": 1, "residual": 2}], [3], {}, "a term cannot be called 'residual'"),
    ([{"input": 1, "score": 2}], [3], {}, "a term cannot be called 'score'"),
    ([{"input": np.nan}], [3], {}, "a term or the score is not finite: {'input': nan}, score 3"),
    ([{"input": 1.0}], [np.inf], {}, "score inf"),
])
def test_terms_that_cannot_be_drawn(terms, score, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.adds_up(terms, score, **options)
