"""The figure of masked images: which values are joined, who is better, and what is refused."""

import pytest
from figure_parts import RUN, clipped, legend_of, saved, written
from matplotlib.colors import to_hex

from contrastlib import plotting

BASELINES = ("black", "channel mean", "blur", "mean colour")


def mask_rows(advantage=0.1, *, spread=0.02, methods=("grad_cam", "linear_approximation"), **run):
    """The other contrast is better by `advantage` in both senses; for t2 of a method by nothing."""
    rows = []
    for method in methods:
        for target in ("t1", "t2"):
            common = {**RUN, "layer": "features.25", **run, "method": method, "target": target, "se": 0.01, "n": 100}
            rows.append({**common, "budget": "none", "baseline": "", "keep": "", "contrast": "", "kept": 1.0,
                         "value": 0.7 if target == "t1" else 0.3, "difference": "", "low": "", "high": ""})
            for budget, other in (("published", "probability"), ("swapped", "weighted")):
                better = advantage * (target == "t1") * (1 if budget == "published" else -1)
                for baseline in BASELINES:
                    for keep, start, sign in (("positive", 0.6, 1), ("negative", 0.4, -1)):
                        cells = {**common, "budget": budget, "baseline": baseline, "keep": keep, "kept": 0.25}
                        change = sign * better
                        rows.append({**cells, "contrast": "original", "value": start, "difference": None,
                                     "low": None, "high": None})
                        rows.append({**cells, "contrast": other, "value": start + change, "difference": change,
                                     "low": change - spread, "high": change + spread})
    return rows


def papers_masks():
    return [{"table": table, "method": "GC", "target": "t1", "p_target": "0.7", "baseline": "zeros",
             "kept_features": keep, "contrast": contrast, "relative_probability": str(value)}
            for table, more in (("table1", 0), ("table2", 0.1))
            for keep, start in (("positive", 0.7), ("negative", 0.3))
            for contrast, value in (("original", start), ("weighted", start + 0.05 + more))]


def panels(figure):
    """The panels of a masking figure, without the bars above them."""
    return [ax for ax in figure.axes if not ax.patches or ax.collections]


def labelled(ax, name):
    """What was drawn under a name."""
    return next(one for one in ax.collections if one.get_label() == name)


def segments(ax, name) -> list[tuple[float, float, float]]:
    """From where to where the lines of this name run across, and their height."""
    return [(line[0][0], line[1][0], line[0][1]) for line in labelled(ax, name).get_segments()]


def tallies(figure):
    counts = [[text.get_text() for text in ax.texts if text.get_text().isdecimal()] for ax in figure.axes]
    return [own for own in counts if own]


def pairs(ax) -> list[tuple[float, float, str]]:
    """The two values that each line joins, and its colour, from the top."""
    drawn = zip(segments(ax, "joined"), map(to_hex, labelled(ax, "joined").get_colors()))
    return [(*ends, colour) for (*ends, _), colour in sorted(drawn, key=lambda pair: pair[0][2])]


def test_pairs_are_joined_in_the_colour_of_the_better():
    positive, negative = panels(figure := plotting.masked(saved(mask_rows())))
    winner = plotting.CONTRAST_COLOURS["probability"]
    found = pairs(positive)
    assert len(found) == 2 * 2 * 4
    assert {pair[2] for pair in found[:4]} == {winner}
    assert [pair[:2] for pair in found[:4]] == [pytest.approx((0.6, 0.7))] * 4
    assert pairs(negative)[0][:2] == pytest.approx((0.4, 0.3))
    assert pairs(negative)[0][2] == winner
    pale = {pair[2] for pair in found[4:8]}  # t2: the interval holds zero
    assert len(pale) == 1
    assert winner not in pale
    assert tallies(figure) == [["8", "8"]] * 2


def test_lines_are_ordered_and_named():
    figure = plotting.masked(saved(mask_rows()))
    upper, lower = panels(figure)
    names = [label.get_text() for label in upper.get_yticklabels()]
    assert names == ["blur", "mean colour", "channel mean", "black"] * 4
    assert upper.get_yticks() == pytest.approx(sorted(upper.get_yticks()))
    assert {"Linear\napproximation", "Grad-CAM", "t₁", "t₂", "as published",
            "25 % of pixels kept", "higher is better"} <= set(written(figure))
    height = {text.get_text(): text.xy[1] for text in upper.texts}
    assert height["Linear\napproximation"] < height["Grad-CAM"]  # from the top
    assert [label.get_text() for label in lower.get_yticklabels()] == names
    assert not clipped(figure)


def test_the_verdict_may_change_with_the_budget():
    figure = plotting.masked(saved(mask_rows()), budgets=("published", "swapped"))
    assert [len(pairs(ax)) for ax in panels(figure)] == [16] * 4
    colours = [pairs(ax)[0][2] for ax in panels(figure)]
    names = plotting.CONTRAST_COLOURS
    assert colours == [names["probability"], names["original"]] * 2
    assert {"as published", "signs put right", "positive kept", "negative kept"} <= set(written(figure))
    assert legend_of(figure) == ["original", "weighted", "probability", "undecided (95 %)", "unmasked"]
    assert not clipped(figure)


def test_marks_have_their_interval_and_the_unmasked_value_its_line():
    positive = panels(plotting.masked(saved(mask_rows(methods=("grad_cam",)))))[0]
    at = min(labelled(positive, "probability").get_offsets().tolist(), key=lambda mark: mark[1])
    start, end, height = min(segments(positive, "probability, 95 %"), key=lambda line: line[2])
    assert (start, end) == pytest.approx((0.7 - 0.0196, 0.7 + 0.0196))
    assert at == pytest.approx([0.7, height])
    assert [start for start, _, _ in segments(positive, "unmasked")] == [0.7, 0.3]
    low, high = positive.get_xlim()
    assert low < 0.3
    assert high > 0.72


def test_the_papers_pairs_are_hollow_marks_on_their_line():
    for table, value in (("table1", 0.75), ("table2", 0.85)):
        figure = plotting.masked(saved(mask_rows()), reference=saved(papers_masks()), table=table)
        positive = panels(figure)[0]
        theirs = [one for one in positive.collections if str(one.get_label()).startswith("the review")]
        assert {one.get_label(): one.get_offsets()[0][0] for one in theirs} == pytest.approx(
            {"the review original": 0.7, "the review weighted": value})
        assert {to_hex(colour) for one in theirs for colour in one.get_facecolor()} == {"#ffffff"}
        second = sorted(height for *_, height in segments(positive, "joined"))[9]
        assert 0 < theirs[0].get_offsets()[0][1] - second < 0.5  # Grad-CAM, t1: below the second line, mean colour
        assert legend_of(figure)[-1] == "the review"


@pytest.mark.parametrize(("rows", "options", "message"), [
    (mask_rows(), {"budgets": "half"}, "no rows have budget 'half'; there are: none, published, swapped"),
    (mask_rows() + mask_rows(layer="features.13"), {}, "the rows differ in layer: features.25, features.13"),
    ([r for r in mask_rows() if r["contrast"] != "probability"], {}, "needs 'original' and one other contrast"),
    ([r for r in mask_rows() if (r["baseline"], r["contrast"]) != ("blur", "original")], {},
     "budget 'published', keep 'positive' needs .* it has {'probability': 16, 'original': 12}"),
    (mask_rows(), {"reference": saved(papers_masks()), "table": "table3"}, "have table 'table3'; there are: table1"),
])
def test_masks_that_cannot_be_drawn(rows, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.masked(saved(rows), **options)
