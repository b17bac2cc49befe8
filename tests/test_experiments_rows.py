"""The tables that the experiments' numbers become, from numbers small enough to be added up by hand."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from contrastlib.evaluation import averages, resampled_counts, summarise
from contrastlib.experiments import dominance, gradient_sign, logit_norm, masking, masking_curves

ENDS = ("difference", "low", "high")


def f32(*rows: list[float]) -> Tensor:
    return torch.tensor(np.array(rows), dtype=torch.float32)


Row = dict[str, Any]


def find(rows: pd.DataFrame, **cells: str) -> Row:
    """The only row with these cells."""
    (row,) = [row for row in rows.to_dict("records") if all(row[name] == value for name, value in cells.items())]
    return row


def numbers(row: Row, *names: str) -> list[float]:
    return [float(row[name]) for name in names]


def compared_with_nothing(row: Row) -> bool:
    return all(math.isnan(row[name]) for name in ENDS)


def bootstrapped(values: list[float]) -> list[float]:
    """The ends of the interval, from the same draws, one after the other."""
    counts = resampled_counts(len(values)).tolist()
    means = [sum(c * v for c, v in zip(row, values, strict=True)) / len(values) for row in counts]
    return np.percentile(means, [2.5, 97.5]).tolist()


# --- what all of them share ------------------------------------------------------------------------------------------


def test_a_summary_by_hand():
    one, two = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 1.0, 1.0])
    rows = summarise({("a", "x"): one, ("b", "x"): two, ("a", "y"): one}, ("who", "where"), compare="who", to="b")
    assert list(rows.columns) == ["who", "where", "value", "se", *ENDS, "n"]
    assert rows[["who", "where"]].to_numpy().tolist() == [["a", "x"], ["b", "x"], ["a", "y"]]
    compared, reference, alone = rows.to_dict("records")
    assert numbers(alone, "value", "se", "n") == pytest.approx([3, math.sqrt(14 / 2 / 3), 3], rel=1e-5)
    assert compared_with_nothing(alone)  # there is no b at y
    assert compared_with_nothing(reference)
    # The difference is this one minus the reference: 0, 1, 5.
    assert numbers(compared, "value", "difference", "n") == pytest.approx([3, 2, 3], rel=1e-5)
    assert numbers(compared, "low", "high") == pytest.approx(bootstrapped([0, 1, 5]), rel=1e-5)


def test_a_summary_leaves_out_what_one_of_the_two_does_not_know():
    values = {("a",): torch.tensor([1.0, math.nan, 3.0, 5.0]), ("b",): torch.tensor([0.0, 0.0, math.inf, 1.0]),
              ("c",): torch.full((4,), math.nan)}
    rows = summarise(values, ("who",), compare="who", to="b")
    assert rows["who"].tolist() == ["a", "b"]
    assert numbers(find(rows, who="a"), "value", "difference", "n") == [3, 2.5, 2]
    assert numbers(find(rows, who="b"), "value", "n") == pytest.approx([1 / 3, 3], rel=1e-5)
    assert summarise({("c",): values["c",]}, ("who",)).empty


def test_the_partner_of_a_row_differs_in_one_cell_only():
    names = [(a, b, c) for a in "xy" for b in ("", "pushed") for c in "pq"]
    values = {cells: torch.tensor([float(i), 10.0 * i]) for i, cells in enumerate(names)}
    for row in summarise(values, ("from", "how", "metric"), compare="how").to_dict("records"):
        cells = (row["from"], row["how"], row["metric"])
        if cells[1] == "":
            assert compared_with_nothing(row)
        else:
            partner = values[cells[0], "", cells[2]]
            assert row["difference"] == (values[cells] - partner).mean().item()


def test_references_may_be_anything():
    one, two = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([2.0, 2.0, 2.0])
    row = find(summarise({("a",): one}, ("who",), references={("a",): two}))
    assert numbers(row, "value", "difference") == [3, 1]


def test_averages_have_intervals_of_their_own():
    row = find(averages({("a",): torch.tensor([1.0, 2.0, 6.0])}, ("who",)))
    assert list(row) == ["who", "value", "low", "high", "n"]
    assert numbers(row, "value", "low", "high") == pytest.approx([3, *bootstrapped([1, 2, 6])], rel=1e-5)


# --- gradient-sign ---------------------------------------------------------------------------------------------------

BEFORE = f32([1, 0.5, 2], [0, 0.25, 1])
PUSHED = {("before", "", ""): BEFORE, ("original", "0.003", "1"): f32([1, 0.75, 4], [0, 0.25, 2]),
          ("weighted", "0.003", "1"): f32([1, 0.875, 3], [1, 0.75, 1.5]), ("original", "0.001", "2"): BEFORE,
          ("weighted", "0.001", "2"): f32([1, 0.5, 2], [0, 0.5, 1])}


def test_pushes_become_rows():
    rows = gradient_sign.rows(PUSHED)
    assert len(rows) == 5 * 3
    assert list(rows.columns) == ["contrast", "epsilon", "steps", "metric", "value", "se", *ENDS, "n"]
    assert set(zip(rows["contrast"], rows["epsilon"], rows["steps"])) == set(PUSHED)
    assert (rows["n"] == 2).all()


def test_pushes_are_changes_and_what_was_before_is_not():
    rows = gradient_sign.rows(PUSHED)
    before = find(rows, contrast="before", metric="p_t")
    assert numbers(before, "value", "se") == pytest.approx([0.375, 0.125], rel=1e-5)
    assert compared_with_nothing(before)
    expected = {("original", "accuracy"): [0, 0], ("original", "p_t"): [0.125, 0.125], ("original", "y_t"): [1.5, 0.5],
                ("weighted", "accuracy"): [0.5, 0.5], ("weighted", "p_t"): [0.4375, 0.0625],
                ("weighted", "y_t"): [0.75, 0.25]}
    for (name, metric), (value, se) in expected.items():
        row = find(rows, contrast=name, epsilon="0.003", metric=metric)
        assert numbers(row, "value", "se") == pytest.approx([value, se], rel=1e-5)


def test_pushes_are_compared_with_original_image_by_image():
    rows = gradient_sign.rows(PUSHED)
    row = find(rows, contrast="weighted", epsilon="0.003", metric="p_t")  # 0.875 - 0.75, 0.75 - 0.25
    assert numbers(row, *ENDS) == pytest.approx([0.3125, 0.125, 0.5], rel=1e-5)
    row = find(rows, contrast="weighted", epsilon="0.003", metric="y_t")  # 3 - 4, 1.5 - 2
    assert numbers(row, *ENDS) == pytest.approx([-0.75, -1, -0.5], rel=1e-5)
    row = find(rows, contrast="weighted", epsilon="0.001", steps="2", metric="p_t")  # its own setting: 0, 0.25
    assert numbers(row, *ENDS) == pytest.approx([0.125, 0, 0.25], rel=1e-5)
    assert rows.loc[rows["contrast"] == "original", [*ENDS]].isna().all(axis=None)


# --- masking and its curves ------------------------------------------------------------------------------------------

MASKED = {
    ("last", "grad_cam", "t1", "none", "", "", ""): f32([0.75, 1], [0.25, 1]),
    ("last", "grad_cam", "t1", "published", "blur", "positive", "original"): f32([0.5, 0.25], [0.25, 0.75]),
    ("last", "grad_cam", "t1", "published", "blur", "positive", "probability"): f32([1, 0.5], [0.25, 1]),
    ("last", "grad_cam", "t1", "caption", "blur", "positive", "original"): f32([0, 0.25], [0.25, 0.75]),
    ("last", "grad_cam", "t1", "caption", "blur", "positive", "weighted"): f32([0.25, 0.5], [1, 1]),
}


def test_masks_become_rows():
    rows = masking.rows(MASKED)
    columns = ["layer", "method", "target", "budget", "baseline", "keep", "contrast", "kept", "value", "se", *ENDS, "n"]
    assert list(rows.columns) == columns
    assert list(rows[columns[:7]].itertuples(index=False, name=None)) == list(MASKED)
    assert (rows["n"] == 2).all()
    assert rows["kept"].tolist() == [1, 0.5, 0.75, 0.5, 0.75]
    assert rows["value"].tolist() == [0.5, 0.375, 0.625, 0.125, 0.625]
    assert rows["se"].tolist() == [0.25, 0.125, 0.375, 0.125, 0.375]


def test_masks_are_compared_with_original_of_their_own_budget():
    rows = masking.rows(MASKED)
    assert rows["difference"].fillna(-1).tolist() == [-1, -1, 0.25, -1, 0.5]
    assert numbers(find(rows, contrast="probability"), "low", "high") == [0, 0.5]   # 1 - 0.5, 0.25 - 0.25
    assert numbers(find(rows, contrast="weighted"), "low", "high") == [0.25, 0.75]  # 0.25 - 0, 1 - 0.25


def test_curves_become_rows_with_their_area():
    shares = np.array(masking_curves.SHARES)
    falling, level = [1 - shares, 0.5 - 0.5 * shares], [0 * shares + 0.5, 0 * shares + 0.75]
    names = [("last", "grad_cam", "t2", "blur", "lowest", which) for which in ("original", "normalised")]
    rows = masking_curves.rows({names[0]: f32(*falling), names[1]: f32(*level)})
    columns = ["layer", "method", "target", "baseline", "removed", "contrast", "share", "value", "se", *ENDS, "n"]
    assert list(rows.columns) == columns
    assert rows["share"].tolist() == 2 * [*map(str, shares.tolist()), "area"]
    assert set(rows[columns[:6]].itertuples(index=False, name=None)) == set(names)
    # Areas of the falling lines: 1/2 and 1/4. Their average falls from 3/4 to 0, so that its area is 3/8.
    area = find(rows, contrast="original", share="area")
    assert numbers(area, "value", "se") == pytest.approx([0.375, 0.125], rel=1e-5)
    assert compared_with_nothing(area)
    other = find(rows, contrast="normalised", share="area")
    assert numbers(other, "value", *ENDS) == pytest.approx([0.625, 0.25, 0, 0.5], rel=1e-5, abs=1e-6)
    place = find(rows, contrast="normalised", share="0.3")  # 0.5 - 0.7 and 0.75 - 0.35
    assert numbers(place, "value", *ENDS) == pytest.approx([0.625, 0.1, -0.2, 0.4], rel=1e-5)


# --- logit-norm ------------------------------------------------------------------------------------------------------


def cloud(n: int = 6, r: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = (8 * torch.randn(n, r, generator=generator)).sort(-1, descending=True).values
    norms = 4 + 0.2 * logits + 0.01 * logits**2 + torch.rand(n, r, generator=generator)
    return logits.double(), norms.double()


def test_the_fit_is_that_of_numpy():
    logits, norms = cloud()
    c, b, a = np.polyfit(logits.flatten().numpy(), norms.flatten().numpy(), 2)
    torch.testing.assert_close(logit_norm.fit(logits, norms), torch.tensor([[a, b, c]]))
    once = torch.ones(2, 6, dtype=torch.float64)
    torch.testing.assert_close(logit_norm.fit(logits, norms, once), torch.tensor([[a, b, c], [a, b, c]]))


def test_the_fit_of_a_parabola_is_the_parabola():
    logits = torch.tensor([[-1.0, 0.0, 1.0, 2.0]])
    torch.testing.assert_close(logit_norm.fit(logits, 4 - logits + 3 * logits**2),
                               torch.tensor([[4, -1, 3]], dtype=torch.float64))


def test_an_image_that_counts_twice_is_there_twice():
    logits, norms = cloud()
    counts = torch.tensor([[0.0, 2.0, 1.0, 0.0, 0.0, 3.0]], dtype=torch.float64)
    drawn = [1, 1, 2, 5, 5, 5]
    c, b, a = np.polyfit(logits[drawn].flatten().numpy(), norms[drawn].flatten().numpy(), 2)
    torch.testing.assert_close(logit_norm.fit(logits, norms, counts), torch.tensor([[a, b, c]]))


def norm_rows() -> pd.DataFrame:
    return logit_norm.rows({logit_norm.POINTS: torch.cat(cloud(), dim=1)})


def test_norms_become_rows():
    rows = norm_rows()
    assert list(rows.columns) == ["kind", "name", "at", "value", "low", "high", "n"]
    assert rows["kind"].tolist() == 4 * ["fit"] + 24 * ["bin"] + 2 * ["ratio"]
    assert rows.loc[rows["kind"] != "bin", "name"].tolist() == [
        "constant", "linear", "quadratic", "share explained", "first over second", "first over tenth"]


def test_the_fit_has_intervals_over_images():
    rows, (logits, norms) = norm_rows(), cloud()
    fits = []
    for row in resampled_counts(6).tolist():
        drawn = [i for i, times in enumerate(row) for _ in range(int(times))]
        fits.append(np.polyfit(logits[drawn].flatten().numpy(), norms[drawn].flatten().numpy(), 2)[::-1])
    low, high = np.percentile(fits, [2.5, 97.5], axis=0)
    best = np.polyfit(logits.flatten().numpy(), norms.flatten().numpy(), 2)[::-1]
    for i, name in enumerate(("constant", "linear", "quadratic")):
        row = find(rows, kind="fit", name=name)
        assert numbers(row, "value", "low", "high", "n") == pytest.approx([best[i], low[i], high[i], 60], rel=1e-4)
    fitted = np.polyval(best[::-1], logits.numpy())
    share = 1 - ((norms.numpy() - fitted) ** 2).sum() / ((norms.numpy() - norms.numpy().mean()) ** 2).sum()
    row = find(rows, name="share explained")
    assert float(row["value"]) == pytest.approx(share, rel=1e-4)
    assert math.isnan(row["low"] + row["high"])
    assert row["n"] == 60


def test_bins_have_equally_many_points():
    rows, (logits, norms) = norm_rows(), cloud()
    bins = rows[rows["kind"] == "bin"].to_dict("records")
    assert [int(row["n"]) for row in bins] == 12 * [3] + 12 * [2]
    points = sorted(zip(logits.flatten().tolist(), norms.flatten().tolist(), strict=True))
    for row in bins:
        here, points = points[:int(row["n"])], points[int(row["n"]):]
        at, values = np.mean([y for y, _ in here]), [v for _, v in here]
        assert numbers(row, "at", "value", "low", "high") == pytest.approx(
            [at, np.mean(values), *np.percentile(values, [10, 90])], rel=1e-5)
    assert points == []


def test_fewer_points_than_bins_are_a_bin_each():
    rows = logit_norm.rows({logit_norm.POINTS: f32([3, 1, 2, 4, 2, 5])})
    bins = rows[rows["kind"] == "bin"].to_dict("records")
    assert [numbers(row, "at", "value", "low", "high", "n") for row in bins] == [
        [1, 2, 2, 2, 1], [2, 5, 5, 5, 1], [3, 4, 4, 4, 1]]


def test_ratios_are_taken_image_by_image():
    rows, (_, norms) = norm_rows(), cloud()
    for name, rank in (("first over second", 1), ("first over tenth", 9)):
        ratios = [row[0] / row[rank] for row in norms.tolist()]
        row = find(rows, kind="ratio", name=name)
        assert numbers(row, "value", "low", "high", "n") == pytest.approx(
            [sum(ratios) / 6, *bootstrapped(ratios), 6], rel=1e-5)


def test_there_is_no_tenth_of_three_classes():
    rows = logit_norm.rows({logit_norm.POINTS: f32([3, 1, 2, 4, 2, 5])})
    ratios = rows[rows["kind"] == "ratio"]
    assert ratios[["name", "value"]].to_numpy().tolist() == [["first over second", 2]]


# --- dominance -------------------------------------------------------------------------------------------------------


def test_dominance_goes_bin_by_bin_and_over_all():
    log_odds = f32([-1.0], [0.0], [0.5], [20.0])
    found = torch.arange(28, dtype=torch.float32).view(4, 7)
    rows = dominance.rows({dominance.LOG_ODDS: log_odds, dominance.FOUND: found})
    assert list(rows.columns) == ["from", "to", "metric", "value", "low", "high", "n"]
    places = list(dict.fromkeys(zip(rows["from"], rows["to"])))
    assert places == [("-inf", "0"), ("0", "1"), ("17", "inf"), ("-inf", "inf")]
    assert rows["metric"].tolist() == 4 * list(dominance.METRICS)
    for m, metric in enumerate(dominance.METRICS):
        column = [float(m), 7.0 + m, 14.0 + m, 21.0 + m]
        for place, drawn in zip(places, (column[:1], column[1:3], column[3:], column), strict=True):
            row = find(rows, metric=metric, **dict(zip(("from", "to"), place, strict=True)))
            assert numbers(row, "value", "low", "high", "n") == pytest.approx(
                [sum(drawn) / len(drawn), *bootstrapped(drawn), len(drawn)], rel=1e-5)


def test_every_log_odds_is_in_one_bin():
    log_odds = torch.linspace(-40, 40, 321)[:, None]
    rows = dominance.rows({dominance.LOG_ODDS: log_odds, dominance.FOUND: torch.zeros(321, 7)})
    counts = rows.loc[rows["metric"] == dominance.METRICS[0], "n"].tolist()
    assert counts[-1] == sum(counts[:-1]) == 321
    assert len(counts) == len(dominance.EDGES)  # one bin less than edges, and all together


def test_images_without_a_correlation_do_not_count():
    found = torch.ones(3, 7)
    found[0, 0], found[1, 0], found[:, 3] = math.nan, 0.5, math.nan
    found[2, 4] = math.inf
    rows = dominance.rows({dominance.LOG_ODDS: torch.full((3, 1), 2.5), dominance.FOUND: found})
    row = find(rows, metric="correlation original weighted", **{"from": "2"})
    assert numbers(row, "value", "n") == [0.75, 2]
    assert find(rows, metric="norm of the others over the target", **{"from": "2"})["n"] == 2
    assert "correlation normalised original" not in set(rows["metric"])
    assert find(rows, metric="positive share weighted", **{"from": "2"})["n"] == 3
