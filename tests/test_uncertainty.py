"""Standard errors by hand, and bootstrap intervals against every draw that there is."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control, norm

from contrastlib import evaluation
from contrastlib.evaluation import LEVEL, RESAMPLES, bootstrap, percentiles, resampled_counts, standard_error

VALUES = torch.tensor([[1.0, -2.0], [2.0, 0.0], [6.0, 5.0]], dtype=torch.float64)


def ends(means: list[float]) -> tuple[float, float]:
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def test_standard_error_by_hand():
    # The first column: mean 3, squares 4 + 1 + 9 = 14, over n - 1 = 2, over n = 3.
    # The second: mean 1, squares 9 + 1 + 16 = 26.
    assert standard_error(VALUES).tolist() == pytest.approx([math.sqrt(14 / 2 / 3), math.sqrt(26 / 2 / 3)])
    assert standard_error(VALUES.float()).dtype == torch.float64


def test_standard_error_is_taken_in_double_precision():
    # In float32 a million and a bit has six digits behind which nothing is left.
    values = torch.tensor([[2.0**24], [2.0**24 + 2]])
    assert standard_error(values).item() == pytest.approx(1)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_images_have_no_standard_error(n):
    found = standard_error(VALUES[:n].float())
    assert found.dtype == torch.float64
    assert found.shape == (2,)
    assert found.isnan().all()


def test_counts_say_how_often_an_image_is_drawn():
    counts = resampled_counts(7, 500)
    assert counts.shape == (500, 7)
    assert counts.dtype == torch.float64
    assert (counts.sum(1) == 7).all()
    assert torch.equal(counts, counts.round())
    assert counts.min() == 0
    # Each is drawn once on average, and not at all with probability (6/7)^7 = 0.34; three and a half thousand cells.
    assert (counts.mean(0) - 1).abs().max() < 0.2
    assert (counts == 0).double().mean().item() == pytest.approx((6 / 7) ** 7, abs=0.03)


def test_the_same_seed_draws_the_same_images():
    assert torch.equal(resampled_counts(5, 20), resampled_counts(5, 20, seed=0))
    assert torch.equal(resampled_counts(5, 20, seed=3), resampled_counts(5, 20, seed=3))
    assert not torch.equal(resampled_counts(5, 20, seed=3), resampled_counts(5, 20, seed=4))


def test_drawing_does_not_touch_the_global_generator():
    before = torch.random.get_rng_state()
    resampled_counts(5, 20)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_interval_over_all_draws_that_there_are():
    draws = list(itertools.product(range(3), repeat=3))
    counts = torch.tensor([[float(draw.count(i)) for i in range(3)] for draw in draws], dtype=torch.float64)
    found = bootstrap(VALUES, counts)
    assert found.value.tolist() == pytest.approx([3, 1])
    for column in range(2):
        low, high = ends([sum(VALUES[i, column].item() for i in draw) / 3 for draw in draws])
        assert (found.low[column].item(), found.high[column].item()) == pytest.approx((low, high))


def test_the_interval_over_the_draws_of_a_seed():
    values = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    found = bootstrap(values)
    counts = resampled_counts(9, RESAMPLES, 0)
    for column in range(2):
        numbers = values[:, column].tolist()
        means = [sum(c * v for c, v in zip(row, numbers, strict=True)) / 9 for row in counts.tolist()]
        low, high = ends(means)
        assert found.value[column].item() == pytest.approx(sum(numbers) / 9)
        assert (found.low[column].item(), found.high[column].item()) == pytest.approx((low, high))
    assert (found.low < found.value).all()
    assert (found.value < found.high).all()


def test_columns_do_not_know_of_each_other():
    values = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    together, alone = bootstrap(values), bootstrap(values[:, 1:2])
    for end in ("value", "low", "high"):
        torch.testing.assert_close(getattr(together, end)[1:2], getattr(alone, end))


def test_what_does_not_vary_has_no_width():
    found = bootstrap(torch.full((5, 1), 0.3, dtype=torch.float64))
    assert (found.low.item(), found.value.item(), found.high.item()) == pytest.approx((0.3, 0.3, 0.3))
    alone = bootstrap(torch.tensor([[2.0]]))
    assert (alone.low.item(), alone.value.item(), alone.high.item()) == (2, 2, 2)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    # A thousand experiments of 60 images whose true average is 0. A percentile interval of 60 is a little narrow: 94 %
    # are to be expected, give or take 0.75 %. One of 90 % or of 98 % would be found out.
    draws = torch.randn(60, 1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = bootstrap(draws)
    covered = ((found.low <= 0) & (found.high >= 0)).double().mean().item()
    assert 0.915 < covered < 0.965
    missed_below, missed_above = (found.high < 0).double().mean().item(), (found.low > 0).double().mean().item()
    assert missed_below == pytest.approx(missed_above, abs=0.03)
    # As wide as the normal distribution's, 2 x 1.96 standard errors.
    width = (found.high - found.low).mean().item()
    assert width == pytest.approx(2 * 1.96 * standard_error(draws).mean().item(), rel=0.03)


def test_a_difference_of_pairs_is_surer_than_the_two_averages():
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(50, generator=generator, dtype=torch.float64)
    one, two = (common + 0.1 * torch.randn(50, generator=generator, dtype=torch.float64) for _ in range(2))
    found = bootstrap(torch.stack([one, one - two], dim=1))
    single, paired = (found.high - found.low).tolist()
    assert paired < single / 4


def test_percentiles_are_those_of_the_level():
    numbers = torch.arange(1001, dtype=torch.float64)
    low, high = percentiles(torch.stack([numbers.flip(0), 2 * numbers], dim=1))
    assert low.tolist() == pytest.approx([25, 50])
    assert high.tolist() == pytest.approx([975, 1950])
    assert LEVEL == 0.95


def test_the_default_device_does_not_matter():
    expected = bootstrap(VALUES)
    with torch.device("meta"):
        found = bootstrap(VALUES)
    assert all(torch.equal(getattr(found, end), getattr(expected, end)) for end in ("value", "low", "high"))


def test_a_single_resample_is_a_draw():
    assert resampled_counts(4, 1).sum().item() == 4
    assert resampled_counts(1, 1).tolist() == [[1]]


def test_bad_input():
    with pytest.raises(ValueError, match="images and resamples, got 0 and 2000"):
        resampled_counts(0)
    with pytest.raises(ValueError, match="images and resamples, got 3 and 0"):
        resampled_counts(3, 0)
    with pytest.raises(ValueError, match=r"\(n, S\), one row for each image, got \(3,\)"):
        bootstrap(torch.zeros(3))
    with pytest.raises(ValueError, match="counts are for 4 images, there are 3"):
        bootstrap(VALUES, resampled_counts(4, 10))


# --- many comparisons ------------------------------------------------------------------------------------------------


def compared(p_values, signs=None) -> pd.DataFrame:
    """Rows whose intervals have these two-sided p-values."""
    z = norm.isf(np.asarray(p_values) / 2) * (1 if signs is None else np.asarray(signs))
    return pd.DataFrame({"difference": 0.1 * z, "low": 0.1 * (z - 1.96), "high": 0.1 * (z + 1.96)})


def test_holm_by_hand():
    """0.005 and 0.01 are below 0.05 / 4 and 0.05 / 3; 0.03 is above 0.05 / 2, so 0.04 below 0.05 counts no longer."""
    found = evaluation.decided(compared([0.03, 0.005, 0.04, 0.01], [1, -1, 1, 1]))
    assert found["alone"].tolist() == [1, -1, 1, 1]
    assert found["Holm"].tolist() == [0, -1, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_benjamini_and_yekutieli_as_scipy_has_it(seed):
    p = np.random.default_rng(seed).beta(0.2, 3, 60)
    found = evaluation.decided(compared(p))["Benjamini-Yekutieli"]
    expected = false_discovery_control(p, method="by") <= 0.05
    assert found.astype(bool).tolist() == expected.tolist()
    assert 5 < expected.sum() < 55


def test_each_count_is_stricter_than_the_one_before():
    found = evaluation.decided(compared(np.random.default_rng(0).beta(0.3, 3, 200))).ne(0).sum()
    assert found["alone"] > found["Benjamini-Yekutieli"] > found["Holm"] > 0


def test_what_is_no_comparison_is_not_counted():
    rows = pd.concat([compared([0.001, 0.04]), pd.DataFrame({"difference": [np.nan], "low": [np.nan]})],
                     ignore_index=True)
    found = evaluation.decided(rows)
    assert list(found.index) == [0, 1]
    assert found["Holm"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="no row has a difference"):
        evaluation.decided(rows.tail(1))


def test_images_that_all_agree():
    """Differences of nothing are undecided; the same difference on every image is as decided as can be."""
    found = evaluation.decided(pd.DataFrame({"difference": [0.0, 0.2], "low": [0.0, 0.2], "high": [0.0, 0.2]}))
    assert found.to_numpy().tolist() == [[0, 0, 0], [1, 1, 1]]
