"""The tables that the experiments' numbers become, from numbers small enough to be added up by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from contrastlib.experiments import dominance, gradient_sign, logit_norm, masking, masking_curves
from contrastlib.experiments.experiment import Row, estimates, key, number, parts
from contrastlib.uncertainty import resampled_counts

ENDS = ("difference", "low", "high")


def f32(*rows: list[float]) -> Tensor:
    return torch.tensor(np.array(rows), dtype=torch.float32)


def find(rows: list[Row], **cells: str) -> Row:
    (row,) = [row for row in rows if all(row[name] == value for name, value in cells.items())]
    return row


def numbers(row: Row, *names: str) -> list[float]:
    return [float(row[name]) for name in names]


def bootstrapped(values: list[float]) -> list[float]:
    """The ends of the interval, from the same draws, one after the other."""
    counts = resampled_counts(len(values)).tolist()
    means = [sum(c * v for c, v in zip(row, values, strict=True)) / len(values) for row in counts]
    return np.percentile(means, [2.5, 97.5]).tolist()


# --- what all of them share ------------------------------------------------------------------------------------------


def test_cells_go_into_a_key_and_come_out_again():
    assert key("weighted", 0.003, 10) == "weighted|0.003|10"
    assert parts(key("before", "", "")) == ["before", "", ""]


def test_numbers_have_six_digits():
    assert [number(v) for v in (0.123456789, 1234567.0, 2.0, 0.0, -1e-9)] == [
        "0.123457", "1.23457e+06", "2", "0", "-1e-09"]


def test_estimates_by_hand():
    one, two = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 1.0, 1.0])
    alone, compared = estimates([one, one], [None, two])
    assert numbers(alone, "value", "se") == pytest.approx([3, math.sqrt(14 / 2 / 3)], rel=1e-5)
    assert [alone[name] for name in ENDS] == ["", "", ""]
    assert alone["n"] == compared["n"] == "3"
    # The difference is this one minus the reference: 0, 1, 5.
    assert numbers(compared, "value", "difference") == pytest.approx([3, 2], rel=1e-5)
    assert numbers(compared, "low", "high") == pytest.approx(bootstrapped([0, 1, 5]), rel=1e-5)


# --- gradient-sign ---------------------------------------------------------------------------------------------------

BEFORE = f32([1, 0.5, 2], [0, 0.25, 1])
PUSHED = {"before||": BEFORE, "original|0.003|1": f32([1, 0.75, 4], [0, 0.25, 2]),
          "weighted|0.003|1": f32([1, 0.875, 3], [1, 0.75, 1.5]), "original|0.001|2": BEFORE,
          "weighted|0.001|2": f32([1, 0.5, 2], [0, 0.5, 1])}


def test_pushes_become_rows():
    rows = gradient_sign.rows(PUSHED)
    assert len(rows) == 5 * 3
    assert all(list(row) == ["contrast", "epsilon", "steps", "metric", "value", "se", *ENDS, "n"] for row in rows)
    assert {key(row["contrast"], row["epsilon"], row["steps"]) for row in rows} == set(PUSHED)
    assert all(row["n"] == "2" for row in rows)


def test_pushes_are_changes_and_what_was_before_is_not():
    rows = gradient_sign.rows(PUSHED)
    before = find(rows, contrast="before", metric="p_t")
    assert numbers(before, "value", "se") == pytest.approx([0.375, 0.125], rel=1e-5)
    assert [before[name] for name in ENDS] == ["", "", ""]
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
    assert all(row[name] == "" for row in rows if row["contrast"] == "original" for name in ENDS)


# --- masking and its curves ------------------------------------------------------------------------------------------

MASKED = {
    "last|grad_cam|t1|none|||": f32([0.75, 1], [0.25, 1]),
    "last|grad_cam|t1|published|blur|positive|original": f32([0.5, 0.25], [0.25, 0.75]),
    "last|grad_cam|t1|published|blur|positive|probability": f32([1, 0.5], [0.25, 1]),
    "last|grad_cam|t1|caption|blur|positive|original": f32([0, 0.25], [0.25, 0.75]),
    "last|grad_cam|t1|caption|blur|positive|weighted": f32([0.25, 0.5], [1, 1]),
}


def test_masks_become_rows():
    rows = masking.rows(MASKED)
    columns = ["layer", "method", "target", "budget", "baseline", "keep", "contrast", "kept", "value", "se", *ENDS, "n"]
    assert all(list(row) == columns for row in rows)
    assert [key(*(row[name] for name in columns[:7])) for row in rows] == list(MASKED)
    assert all(row["n"] == "2" for row in rows)
    assert [float(row["kept"]) for row in rows] == [1, 0.5, 0.75, 0.5, 0.75]
    assert [float(row["value"]) for row in rows] == [0.5, 0.375, 0.625, 0.125, 0.625]
    assert [float(row["se"]) for row in rows] == [0.25, 0.125, 0.375, 0.125, 0.375]


def test_masks_are_compared_with_original_of_their_own_budget():
    rows = masking.rows(MASKED)
    assert [row["difference"] for row in rows] == ["", "", "0.25", "", "0.5"]
    assert numbers(find(rows, contrast="probability"), "low", "high") == [0, 0.5]   # 1 - 0.5, 0.25 - 0.25
    assert numbers(find(rows, contrast="weighted"), "low", "high") == [0.25, 0.75]  # 0.25 - 0, 1 - 0.25


def test_curves_become_rows_with_their_area():
    shares = np.array(masking_curves.SHARES)
    falling, level = [1 - shares, 0.5 - 0.5 * shares], [0 * shares + 0.5, 0 * shares + 0.75]
    names = ("last|grad_cam|t2|blur|lowest|original", "last|grad_cam|t2|blur|lowest|normalised")
    rows = masking_curves.rows({names[0]: f32(*falling), names[1]: f32(*level)})
    columns = ["layer", "method", "target", "baseline", "removed", "contrast", "share", "value", "se", *ENDS, "n"]
    assert all(list(row) == columns for row in rows)
    assert [row["share"] for row in rows] == 2 * [*map(str, shares.tolist()), "area"]
    assert {key(*(row[name] for name in columns[:6])) for row in rows} == set(names)
    # Areas of the falling lines: 1/2 and 1/4. Their average falls from 3/4 to 0, so that its area is 3/8.
    area = find(rows, contrast="original", share="area")
    assert numbers(area, "value", "se") == pytest.approx([0.375, 0.125], rel=1e-5)
    assert [area[name] for name in ENDS] == ["", "", ""]
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


def norm_rows() -> list[Row]:
    return logit_norm.rows({"logit and norm": torch.cat(cloud(), dim=1)})


def test_norms_become_rows():
    rows = norm_rows()
    assert all(list(row) == ["kind", "name", "at", "value", "low", "high", "n"] for row in rows)
    assert [row["kind"] for row in rows] == 4 * ["fit"] + 24 * ["bin"] + 2 * ["ratio"]
    assert [row["name"] for row in rows if row["kind"] != "bin"] == [
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
    assert (row["low"], row["high"], row["n"]) == ("", "", "60")


def test_bins_have_equally_many_points():
    rows, (logits, norms) = norm_rows(), cloud()
    bins = [row for row in rows if row["kind"] == "bin"]
    assert [int(row["n"]) for row in bins] == 12 * [3] + 12 * [2]
    points = sorted(zip(logits.flatten().tolist(), norms.flatten().tolist(), strict=True))
    for row in bins:
        here, points = points[:int(row["n"])], points[int(row["n"]):]
        at, values = np.mean([y for y, _ in here]), [v for _, v in here]
        assert numbers(row, "at", "value", "low", "high") == pytest.approx(
            [at, np.mean(values), *np.percentile(values, [10, 90])], rel=1e-5)
    assert points == []


def test_fewer_points_than_bins_are_a_bin_each():
    rows = logit_norm.rows({"logit and norm": f32([3, 1, 2, 4, 2, 5])})
    bins = [row for row in rows if row["kind"] == "bin"]
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
    rows = logit_norm.rows({"logit and norm": f32([3, 1, 2, 4, 2, 5])})
    assert [(row["name"], row["value"]) for row in rows if row["kind"] == "ratio"] == [("first over second", "2")]


# --- dominance -------------------------------------------------------------------------------------------------------


def test_dominance_goes_bin_by_bin_and_over_all():
    log_odds = f32([-1.0], [0.0], [0.5], [20.0])
    found = torch.arange(28, dtype=torch.float32).view(4, 7)
    rows = dominance.rows({"log-odds": log_odds, "metrics": found})
    assert all(list(row) == ["from", "to", "metric", "value", "low", "high", "n"] for row in rows)
    places = list(dict.fromkeys((row["from"], row["to"]) for row in rows))
    assert places == [("-inf", "0"), ("0", "1"), ("17", "inf"), ("-inf", "inf")]
    assert [row["metric"] for row in rows] == 4 * list(dominance.METRICS)
    for m, metric in enumerate(dominance.METRICS):
        column = [float(m), 7.0 + m, 14.0 + m, 21.0 + m]
        for place, drawn in zip(places, (column[:1], column[1:3], column[3:], column), strict=True):
            row = find(rows, metric=metric, **dict(zip(("from", "to"), place, strict=True)))
            assert numbers(row, "value", "low", "high", "n") == pytest.approx(
                [sum(drawn) / len(drawn), *bootstrapped(drawn), len(drawn)], rel=1e-5)


def test_every_log_odds_is_in_one_bin():
    log_odds = torch.linspace(-40, 40, 321)[:, None]
    rows = dominance.rows({"log-odds": log_odds, "metrics": torch.zeros(321, 7)})
    counts = [int(row["n"]) for row in rows if row["metric"] == dominance.METRICS[0]]
    assert counts[-1] == sum(counts[:-1]) == 321
    assert len(counts) == len(dominance.EDGES)  # one bin less than edges, and all together


def test_images_without_a_correlation_do_not_count():
    found = torch.ones(3, 7)
    found[0, 0], found[1, 0], found[:, 3] = math.nan, 0.5, math.nan
    found[2, 4] = math.inf
    rows = dominance.rows({"log-odds": torch.full((3, 1), 2.5), "metrics": found})
    row = find(rows, metric="correlation original weighted", **{"from": "2"})
    assert numbers(row, "value", "n") == [0.75, 2]
    assert find(rows, metric="norm of the others over the target", **{"from": "2"})["n"] == "2"
    assert not [row for row in rows if row["metric"] == "correlation normalised original"]
    assert find(rows, metric="positive share weighted", **{"from": "2"})["n"] == "3"
