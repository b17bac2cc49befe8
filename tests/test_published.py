"""What the papers' code computed, each slip against a case worked by hand."""

import math

import pytest
import torch
from torch import Tensor

from contrastlib import contrast, published, relevance

# Three classes, the middle one explained.
LOGITS = torch.tensor([[1.0, 5.0, 3.0]], dtype=torch.float64)
TARGET = torch.tensor([1])


def row(score) -> list[float]:
    return contrast.weights(score, LOGITS, TARGET)[0].tolist()


def test_mean_without_its_factor_is_the_sum_of_the_others():
    assert published.mean_without_factor(LOGITS, TARGET).item() == 5 - (1 + 3)
    assert row(published.mean_without_factor) == [-1, 1, -1]
    assert row(contrast.mean) == [-0.5, 1, -0.5]


def test_without_the_factor_the_others_outweigh():
    weights = contrast.weights(published.mean_without_factor, torch.zeros(1, 1000), torch.tensor([0]))
    assert weights.sum().item() == 1 - 999
    assert contrast.weights(contrast.mean, torch.zeros(1, 1000), torch.tensor([0])).sum().item() == pytest.approx(
        0, abs=1e-6)


def test_mean_over_all_classes_counts_the_target():
    assert published.mean_over_all_classes(LOGITS, TARGET).item() == pytest.approx(5 - (1 + 3) / 3)
    assert row(published.mean_over_all_classes) == pytest.approx([-1 / 3, 1, -1 / 3])


def test_mean_over_all_classes_leaves_one_part_in_c_of_what_all_classes_share():
    # A score that contrasts gives nothing to what is common to all logits; this one keeps 1/C of it.
    for c in (3, 200, 1000):
        weights = contrast.weights(published.mean_over_all_classes, torch.zeros(1, c, dtype=torch.float64), TARGET)
        assert weights.sum().item() == pytest.approx(1 / c)


def test_mean_with_the_wrong_sign_adds_the_other_classes():
    # One image: 5 (1 - 1/2) + (1 + 5 + 3)/2 = 2.5 + 4.5
    assert published.mean_with_wrong_sign(LOGITS, TARGET).item() == pytest.approx(7)
    assert row(published.mean_with_wrong_sign) == pytest.approx([0.5, 1, 0.5])


def test_mean_with_the_wrong_sign_sums_the_batch():
    logits, target = LOGITS.expand(4, -1), TARGET.expand(4)
    weights = contrast.weights(published.mean_with_wrong_sign, logits, target)
    # 1 - 1/2 for the target itself, and each logit is in all four scores with 1/2.
    torch.testing.assert_close(weights, torch.tensor([[2.0, 2.5, 2.0]], dtype=torch.float64).expand(4, -1))


def test_attached_weights_give_the_right_value_and_the_wrong_gradient():
    a1, a3 = (math.exp(v) / (math.exp(1) + math.exp(3)) for v in (1, 3))
    mean = a1 * 1 + a3 * 3
    score = published.weighted_with_attached_weights(LOGITS, TARGET)
    assert score.item() == pytest.approx(5 - mean)
    assert row(contrast.weighted) == pytest.approx([-a1, 1, -a3])
    assert row(published.weighted_with_attached_weights) == pytest.approx(
        [-a1 * (1 + 1 - mean), 1, -a3 * (1 + 3 - mean)])


def test_attached_weights_turn_most_signs():
    generator = torch.Generator().manual_seed(0)
    logits = 2.5 * torch.randn(20, 1000, generator=generator, dtype=torch.float64)
    target = logits.argmax(-1)
    wrong = contrast.weights(published.weighted_with_attached_weights, logits, target)
    right = contrast.weights(contrast.weighted, logits, target)
    turned = (wrong * right < 0).double().sum(-1) / 999
    others = logits.masked_fill(torch.arange(1000) == target[:, None], -torch.inf)
    centre = (others.softmax(-1) * logits).sum(-1, keepdim=True)
    torch.testing.assert_close(turned, (others < centre - 1).double().sum(-1) / 999 - 1 / 999)
    assert turned.mean().item() == pytest.approx(0.95, abs=0.02)


def checkered(positives: int, n: int = 224 * 224, seed: int = 0) -> Tensor:
    """A map with exactly so many positive pixels, all others negative, no two alike."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.arange(n) - (n - positives) + 0.5
    side = math.isqrt(n)
    return values[torch.randperm(n, generator=generator)].view(1, 1, side, side)


def test_equal_blur_on_four_pixels():
    one = torch.tensor([[[[4.0, 3.0], [2.0, -1.0]]]])   # three positive, one negative
    two = torch.tensor([[[[-1.0, -2.0], [-3.0, 4.0]]]])  # one positive, three negative
    # Keeping the positive should replace the one negative of `one` and the three of `two`: at equal numbers, one each.
    # Published: min(3, 1) = 1 here, by luck the same.
    assert published.count_to_replace(one, two, "positive").tolist() == [1]
    # Keeping the negative should replace the positive: min(3, 1) = 1. Published: max(1, 3) = 3, and then one less.
    n = published.count_to_replace(one, two, "negative")
    assert n.tolist() == [3]
    assert published.replaced(one, n, "negative").tolist() == [[[[True, True], [False, False]]]]
    assert published.replaced(two, n, "negative").tolist() == [[[[True, False], [False, True]]]]


def test_equal_blur_counts_what_it_should_keep():
    one, two = checkered(42061), checkered(15663, seed=1)
    n = published.count_to_replace(one, two, "positive")
    assert n.tolist() == [15663]
    for maps in (one, two):
        kept = ~published.replaced(maps, n, "positive")
        assert kept.sum().item() == 224 * 224 - 15663 == 34513
    # Of what is kept "because it is positive", more than half of the second map's pixels are negative.
    assert (kept & (two < 0)).sum().item() == 18850
    # To keep only the positive pixels, all negative ones have to go: at equal numbers, at least 8115 of them.
    assert min((one < 0).sum().item(), (two < 0).sum().item()) == 8115


def test_the_two_published_modes_are_complements():
    one, two = checkered(42061), checkered(15663, seed=1)
    positive = published.count_to_replace(one, two, "positive").item()
    negative = published.count_to_replace(one, two, "negative").item()
    assert positive + negative == 224 * 224


@pytest.mark.parametrize("count", [2, 10, 200])
def test_keeping_the_negative_is_one_pixel_short(count):
    maps = checkered(100, n=256)
    n = torch.tensor([count])
    assert published.replaced(maps, n, "positive").sum().item() == count
    assert published.replaced(maps, n, "negative").sum().item() == count - 1


def test_blur_draws_its_width_anew():
    picture = torch.zeros(1, 3, 128, 128)
    picture[..., 64, 64] = 1
    generator = torch.Generator().manual_seed(0)
    peaks = [published.random_blur(picture, generator).max().item() for _ in range(4)]
    # The peak of a two-dimensional bell is 1/(2 pi sigma^2): the widths lie between 10 and 20 and differ.
    widths = [1 / math.sqrt(2 * math.pi * peak) for peak in peaks]
    assert all(9.9 < width < 20.1 for width in widths)
    assert max(widths) - min(widths) > 1


def test_relative_probability_overflows():
    first, second = torch.tensor([0]), torch.tensor([1])
    fine = torch.tensor([[2.0, 1.0]])
    assert published.relative_probability(fine, first, second).item() == pytest.approx(1 / (1 + math.exp(-1)))
    assert published.relative_probability(torch.tensor([[89.0, 88.0]]), first, second).isnan().item()
    assert torch.isfinite(published.relative_probability(torch.tensor([[88.7, 87.7]]), first, second)).item()
    assert (torch.tensor(89.0) - 88.0).sigmoid().item() == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_last_short_batch_counts_as_a_full_one():
    # Two batches of two and one of one: (0 + 0 + 1)/3 and not 1/5.
    values = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0])
    assert published.mean_of_batch_means(values, 2).item() == pytest.approx(1 / 3)
    assert values.mean().item() == pytest.approx(1 / 5)


def test_images_of_a_short_batch_count_more():
    last = torch.zeros(50_000, dtype=torch.float64)
    last[-1] = 1
    first = last.flip(0)
    ratio = published.mean_of_batch_means(last, 64) / published.mean_of_batch_means(first, 64)
    assert ratio.item() == pytest.approx(4)


def test_aligned_corners_put_the_outer_cells_on_the_edge():
    maps = torch.tensor([[[[0.0, 1.0]]]])
    # Two cells, four pixels. Centres of the cells at 1/4 and 3/4 of the width: pixels at 1/8, 3/8, 5/8, 7/8.
    assert relevance.upsample(maps, (1, 4)).flatten().tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert published.upsample(maps, (1, 4)).flatten().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("cell", range(1, 6))
def test_aligned_corners_move_a_spot_outwards(cell):
    # A cell of a 7 x 7 map is 32 pixels wide: the centre of cell i belongs at pixel 32 i + 15.5 and is put at 37.2 i.
    maps = torch.zeros(1, 1, 7, 7)
    maps[..., 3, cell] = 1
    right, wrong = (up(maps, (224, 224))[0, 0, 112] for up in (relevance.upsample, published.upsample))
    assert right.argmax().item() == pytest.approx(32 * cell + 15.5, abs=1)
    assert wrong.argmax().item() == pytest.approx(cell * 223 / 6, abs=1)


def test_aligned_corners_move_the_outermost_centre_to_the_edge():
    maps = torch.tensor([1.0, 0, 0, 0, 0, 0, 0]).expand(1, 1, 7, 7)
    assert relevance.upsample(maps, (224, 224))[0, 0, 112, 15].item() == 1
    assert published.upsample(maps, (224, 224))[0, 0, 112, 15].item() == pytest.approx(1 - 15 * 6 / 223)


@pytest.mark.parametrize(("value", "byte"), [(0.0, 0), (0.5, 127), (1.0, 255), (-0.1, 231), (-0.5, 129), (-1.0, 1)])
def test_negative_values_wrap_around(value, byte):
    assert published.as_bytes(torch.tensor(value)).item() == byte
