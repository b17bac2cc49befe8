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


def test_normalise_divides_by_the_largest_magnitude_and_keeps_zero():
    maps = torch.tensor([[[[-4.0, 0.0, 2.0]], [[0.0, 0.0, 0.0]]]])
    torch.testing.assert_close(relevance.normalise(maps), torch.tensor([[[[-1.0, 0.0, 0.5]], [[0.0, 0.0, 0.0]]]]))


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
