"""Map arithmetic on maps small enough to check by eye."""

import pytest
import torch

from contrastlib import relevance


def test_upsample_keeps_cell_centres():
    maps = torch.tensor([[[[0.0, 4.0]]]])
    # Centres of the two cells lie at pixels 0.5 and 2.5 of four: a quarter of the way is pixel 1.
    torch.testing.assert_close(relevance.upsample(maps, (1, 4)), torch.tensor([[[[0.0, 1.0, 3.0, 4.0]]]]))


def test_upsample_to_the_same_size_is_the_map_itself():
    maps = torch.randn(2, 3, 5, 7)
    assert relevance.upsample(maps, (5, 7)) is maps


def test_spread_by_hand():
    cells = torch.tensor([[[[4.0, 8.0]]]])
    # Centres at pixels 0.5 and 2.5 of four: shares 1, 3/4, 1/4, 0 of the first cell, of together 2.
    torch.testing.assert_close(relevance.spread(cells, (1, 4)), torch.tensor([[[[2.0, 2.5, 3.5, 4.0]]]]))
    # Back again: the outer pixels lie beyond the centres and go to one cell, the inner ones to both.
    pixels = torch.tensor([[[[1.0, 2.0, 4.0, 8.0]]]])
    torch.testing.assert_close(relevance.spread(pixels, (1, 2)), torch.tensor([[[[3.5, 11.5]]]]))


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (20, 31), (3, 17), (14, 4), (7, 6)])
def test_spread_keeps_the_sum(size):
    maps = torch.randn(2, 3, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spread = relevance.spread(maps, size)
    assert spread.shape == (2, 3, *size)
    torch.testing.assert_close(spread.sum((2, 3)), maps.sum((2, 3)))


def test_spread_is_upsampling_where_cells_become_whole_pixels():
    maps = torch.randn(2, 1, 7, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(relevance.spread(maps, (28, 10)), relevance.upsample(maps, (28, 10)) / 8)
    assert relevance.spread(maps, (7, 5)) is maps
    with pytest.raises(ValueError, match=r"\(N, K, h, w\)"):
        relevance.spread(maps[0], (7, 5))


def test_normalise_divides_by_the_largest_magnitude_and_keeps_zero():
    maps = torch.tensor([[[[-4.0, 0.0, 2.0]], [[0.0, 0.0, 0.0]]]])
    torch.testing.assert_close(relevance.normalise(maps), torch.tensor([[[[-1.0, 0.0, 0.5]], [[0.0, 0.0, 0.0]]]]))


@pytest.mark.parametrize("unit", [1e-30, 1e-3, 1.0, 1e6])
def test_the_unit_does_not_matter(unit):
    maps = torch.tensor([[[[0.25, -0.5]]]], dtype=torch.float64)
    torch.testing.assert_close(relevance.normalise(unit * maps), 2 * maps)
    assert relevance.positive_share(unit * maps).item() == 0.5


@pytest.mark.parametrize("function", [
    relevance.normalise, relevance.positive_share, lambda m: relevance.upsample(m, (9, 7)),
    lambda m: relevance.spread(m, (9, 7)), lambda m: relevance.correlation(m, m.flip(-1)),
    lambda m: relevance.relative_error(m, m.flip(-1))])
def test_each_map_is_treated_by_itself(function):
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps *= torch.tensor([1.0, 10.0, 100.0])[:, None, None]
    together = function(maps)
    for n in range(2):
        for k in range(3):
            torch.testing.assert_close(together[n, k], function(maps[n:n + 1, k:k + 1])[0, 0])


def test_positive_share_counts_zero_as_neither():
    maps = torch.tensor([[[[-1.0, 0.0], [2.0, 3.0]]]])
    assert relevance.positive_share(maps).item() == 0.5


def test_correlation_is_numpys():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 1, 6, 5, generator=generator), torch.randn(2, 1, 6, 5, generator=generator)
    expected = [torch.corrcoef(torch.stack([x.flatten(), y.flatten()]).double())[0, 1] for x, y in zip(a, b)]
    torch.testing.assert_close(relevance.correlation(a, b).squeeze(1), torch.stack(expected))
    torch.testing.assert_close(relevance.correlation(a, -3 * a + 1), torch.full((2, 1), -1.0, dtype=torch.float64))


def test_relative_error_is_a_share_of_the_reference():
    reference = torch.tensor([[[[1.0, -10.0]]]])
    assert relevance.relative_error(reference + 0.5, reference).item() == pytest.approx(0.05)


@pytest.mark.parametrize(
    "call",
    [
        lambda: relevance.upsample(torch.zeros(3, 3), (6, 6)),
        lambda: relevance.normalise(torch.zeros(1, 3, 3)),
        lambda: relevance.positive_share(torch.zeros(3)),
    ],
)
def test_maps_of_the_wrong_rank(call):
    with pytest.raises(ValueError, match=r"\(N, K, h, w\)"):
        call()


@pytest.mark.parametrize("function", [relevance.correlation, relevance.relative_error])
def test_maps_of_different_shapes(function):
    with pytest.raises(ValueError, match="same shape"):
        function(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))


def test_maps_without_a_place_are_refused():
    with pytest.raises(ValueError, match=r"at least one place, got shape \(1, 1, 0, 4\)"):
        relevance.upsample(torch.zeros(1, 1, 0, 4), (4, 4))
