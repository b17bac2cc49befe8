"""What is put in the place of pixels, and which pixels: against torchvision, and on maps worked by hand."""

import pytest
import torch
from networks import Tiny, images, seeded
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from contrastlib import published
from contrastlib.models import Classifier
from contrastlib.perturbation import (
    BASELINES,
    black,
    blur,
    channel_mean,
    keep,
    mean_colour,
    only,
    ranks,
    remaining,
    without_opposite,
)


def normalising() -> Classifier:
    """The tiny network behind ImageNet's normalisation."""
    return Classifier(seeded(Tiny).double(), input_size=8, layer="last")


def normalised(classifier: Classifier, x: Tensor) -> Tensor:
    return (x - classifier.mean) / classifier.std


def checkerboard(n: int = 3, size: int = 8) -> Tensor:
    return ((torch.arange(size)[:, None] + torch.arange(size)) % 2 == 0).expand(n, 1, size, size)


# --- blur ------------------------------------------------------------------------------------------------------------


def test_blur_is_that_of_the_papers():
    x = images(1, 224, torch.float32)
    x[..., :112] = 1 - x[..., :112] / 10  # two halves of different brightness, so that something is left to see
    expected = gaussian_blur(x, [101, 101], [15.0, 15.0])
    assert expected.std() > 0.1
    torch.testing.assert_close(blur(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "kernel", "sigma"), [
    (112, 112, 51, 7.5), (56, 56, 25, 3.75), (8, 8, 5, 15 / 28), (112, 150, 51, 7.5), (150, 112, 51, 7.5),
    (101, 120, 47, 15 * 101 / 224), (300, 256, 101, 15.0),
])
def test_blur_goes_with_the_size_of_small_images_and_no_further(height, width, kernel, sigma):
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.2, 1, width)
    torch.testing.assert_close(blur(x), gaussian_blur(x, [kernel, kernel], [sigma, sigma]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [8, 50, 224])
def test_blur_leaves_one_colour_as_it_is_and_nothing_leaves_the_range(size):
    assert blur(torch.ones(1, 3, size, size)).max() <= 1
    for value in (0.0, 0.3, 1.0):
        torch.testing.assert_close(blur(torch.full((1, 3, size, size), value)), torch.full((1, 3, size, size), value))


def test_the_published_width_is_the_middle_of_the_original_one():
    # The original's sigma lies between 10 and 20 pixels: more and less blurred than the review's 15 are possible.
    x = torch.zeros(1, 3, 224, 224)
    x[..., 112, 112] = 1
    generator = torch.Generator().manual_seed(0)
    peaks = [published.random_blur(x, generator).max() for _ in range(8)]
    assert min(peaks) < blur(x).max() < max(peaks)


# --- colours ---------------------------------------------------------------------------------------------------------


def test_mean_colour_is_zero_behind_the_normalisation():
    classifier, x, mask = normalising(), images(), checkerboard()
    kept = keep(x, mean_colour(x, classifier), mask)
    zeroed = normalised(classifier, x) * mask
    torch.testing.assert_close(normalised(classifier, kept), zeroed)
    torch.testing.assert_close(classifier(kept), classifier.model(zeroed))


def test_black_is_not_zero_behind_the_normalisation():
    classifier, x, mask = normalising(), images(), checkerboard()
    kept = keep(x, black(x, classifier), mask)
    assert torch.equal(kept, x * mask)
    lowest = (-classifier.mean / classifier.std).expand_as(x)
    torch.testing.assert_close(normalised(classifier, kept)[~mask.expand_as(x)], lowest[~mask.expand_as(x)])
    assert not torch.allclose(classifier(kept), classifier.model(normalised(classifier, x) * mask))


def test_channel_mean_is_the_mean_behind_the_normalisation_too():
    classifier, x = normalising(), images()
    behind = normalised(classifier, x).mean((-2, -1), keepdim=True).expand_as(x)
    torch.testing.assert_close(normalised(classifier, channel_mean(x, classifier)), behind)
    by_hand = sum(x[1, 2].flatten().tolist()) / 64
    assert channel_mean(x)[1, 2, 3, 4].item() == pytest.approx(by_hand)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_is_an_image_that_the_classifier_takes(name, dtype):
    classifier, x = normalising().to(dtype), images(dtype=torch.float32)
    before = x.clone()
    instead = BASELINES[name](x, classifier)
    assert instead.shape == x.shape
    assert instead.dtype == x.dtype
    assert torch.equal(x, before)
    assert classifier(keep(x, instead, checkerboard())).isfinite().all()


def test_a_name_is_that_of_what_is_put_in_the_place():
    classifier, x = normalising(), images()
    instead = {name: normalised(classifier, baseline(x, classifier)) for name, baseline in BASELINES.items()}
    assert list(instead) == ["blur", "mean colour", "black", "channel mean"]
    assert (instead["blur"].std((-2, -1)) > 0.01).all()  # what is blurred is left to see, the others are one colour
    torch.testing.assert_close(instead["mean colour"], 0 * x)
    torch.testing.assert_close(instead["black"], normalised(classifier, 0 * x))
    own = normalised(classifier, x).mean((-2, -1), keepdim=True).expand_as(x)
    torch.testing.assert_close(instead["channel mean"], own)


# --- masks -----------------------------------------------------------------------------------------------------------


def test_keep_takes_each_pixel_from_one_of_the_two():
    x, instead = images(), 1 - images(seed=2)
    mask = images(seed=3)[:, :1] > 0.5
    kept = keep(x, instead, mask)
    for n in range(3):
        for i in range(8):
            for j in range(8):
                assert torch.equal(kept[n, :, i, j], (x if mask[n, 0, i, j] else instead)[n, :, i, j])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("other", [torch.contiguous_format, torch.channels_last])
def test_keep_keeps_the_layout_of_the_images(layout, other):
    x = images().contiguous(memory_format=layout)
    for instead in (images(seed=2).contiguous(memory_format=other), channel_mean(x)):
        kept = keep(x, instead, checkerboard())
        assert kept.is_contiguous(memory_format=layout)
        assert torch.equal(kept, torch.where(checkerboard(), x, instead))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_masks_of_numbers_are_refused(dtype):
    with pytest.raises(TypeError, match=f"boolean.*{dtype}"):
        keep(images(), images(), checkerboard().to(dtype))


def maps(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def test_equal_values_keep_the_order_of_the_pixels():
    assert ranks(maps([2, 1], [2, 0])).tolist() == [[[[2, 1], [3, 0]]]]
    assert ranks(torch.zeros(1, 1, 32, 32)).flatten().tolist() == list(range(1024))


def test_a_rank_is_the_number_of_lower_values():
    values = torch.randperm(64, generator=torch.Generator().manual_seed(0)).double().view(2, 1, 4, 8)
    expected = [[sum(w < v for w in row) for v in row] for row in values.flatten(1).tolist()]
    assert ranks(values).flatten(1).tolist() == expected
    assert ranks(values).dtype == torch.int64


def test_ranks_lie_where_the_maps_lie():
    with torch.device("meta"):
        found = ranks(ONE)
    assert torch.equal(found, ranks(ONE))


def test_remaining_on_four_pixels():
    rank = ranks(maps([0.5, -1.0], [2.0, 0.0]))  # 2, 0, 3, 1
    assert remaining(rank, 0.25, "highest").tolist() == [[[[True, True], [False, True]]]]
    assert remaining(rank, 0.25, "lowest").tolist() == [[[[True, False], [True, True]]]]
    assert remaining(rank, 0.75, "highest").tolist() == [[[[False, True], [False, False]]]]
    assert remaining(rank, 0.75, "lowest").tolist() == [[[[False, False], [True, False]]]]


@pytest.mark.parametrize(("share", "gone"), [(0, 0), (0.05, 0), (0.1, 1), (0.3, 3), (0.5, 4), (0.7, 6), (1, 9)])
@pytest.mark.parametrize("removed", ["highest", "lowest"])
def test_a_share_is_rounded_to_whole_pixels(share, gone, removed):
    rank = ranks(images(4)[:, :1, :3, :3])
    left = remaining(rank, share, removed)
    assert left.dtype == torch.bool
    assert left.sum((1, 2, 3)).tolist() == [9 - gone] * 4
    assert (rank[~left] >= 9 - gone if removed == "highest" else rank[~left] < gone).all()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_that_are_none(share):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        remaining(ranks(torch.zeros(1, 1, 2, 2)), share, "highest")


def test_an_end_that_is_none():
    with pytest.raises(ValueError, match="'highest' or 'lowest', got 'best'"):
        remaining(ranks(torch.zeros(1, 1, 2, 2)), 0.5, "best")


# Three positive, one zero, five negative; and four positive, two zero, three negative.
ONE = maps([3, 2, 1], [0, -1, -2], [-3, -4, -5])
TWO = maps([-1, 5, -2], [4, 0, 0], [1, 2, -3])


def kept_values(values: Tensor, mask: Tensor) -> list[float]:
    return sorted(values[mask].tolist())


def test_only_on_nine_pixels():
    one, two = only(ONE, TWO, "positive")  # min(3, 4) = 3
    assert (kept_values(ONE, one), kept_values(TWO, two)) == ([1, 2, 3], [2, 4, 5])
    one, two = only(ONE, TWO, "negative")  # min(5, 3) = 3
    assert (kept_values(ONE, one), kept_values(TWO, two)) == ([-5, -4, -3], [-3, -2, -1])


def test_without_opposite_on_nine_pixels():
    one, two = without_opposite(ONE, TWO, "positive")  # removes min(6, 5) = 5
    assert (kept_values(ONE, one), kept_values(TWO, two)) == ([0, 1, 2, 3], [1, 2, 4, 5])
    one, two = without_opposite(ONE, TWO, "negative")  # removes min(4, 6) = 4
    assert (kept_values(ONE, one), kept_values(TWO, two)) == ([-5, -4, -3, -2, -1], [-3, -2, -1, 0, 0])


def test_masks_on_four_pixels_when_a_sign_is_missing():
    mixed, negative, zero = maps([1, -1], [2, 0]), maps([-1, -2], [-3, -4]), maps([0, 0], [0, 0])
    assert [m.sum().item() for m in only(mixed, negative, "positive")] == [0, 0]
    one, two = only(mixed, negative, "negative")
    assert (kept_values(mixed, one), kept_values(negative, two)) == ([-1], [-4])
    one, two = without_opposite(mixed, negative, "positive")  # removes min(2, 4) = 2
    assert (kept_values(mixed, one), kept_values(negative, two)) == ([1, 2], [-2, -1])
    assert [m.sum().item() for m in without_opposite(mixed, negative, "negative")] == [4, 4]
    assert [m.sum().item() for m in only(zero, zero, "positive")] == [0, 0]
    assert [m.sum().item() for m in without_opposite(zero, zero, "negative")] == [0, 0]


def many(zeros: bool = False) -> tuple[Tensor, Tensor]:
    """Pairs of maps with all mixtures of signs; whole numbers, so that some tie and some are zero, if wanted."""
    generator = torch.Generator().manual_seed(0)
    shift = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None, None, None]
    pair = [torch.randn(20, 1, 6, 6, generator=generator, dtype=torch.float64) + s for s in (shift, shift.roll(7, 0))]
    return tuple(m.round() if zeros else m for m in pair)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("sign", "factor"), [("positive", 1), ("negative", -1)])
def test_only_keeps_the_strongest_of_one_sign_and_equally_many(sign, factor, zeros):
    pair = many(zeros)
    counts = torch.stack([(factor * m > 0).flatten(1).sum(-1) for m in pair])
    for values, mask in zip(pair, only(*pair, sign), strict=True):
        assert (factor * values[mask] > 0).all()
        assert torch.equal(mask.flatten(1).sum(-1), counts.amin(0))
        for image, kept in zip(factor * values, mask, strict=True):
            if kept.any():
                assert image[kept].min() >= image[~kept].max()


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("sign", "factor"), [("positive", 1), ("negative", -1)])
def test_without_opposite_loses_no_pixel_of_the_sign_and_equally_many_others(sign, factor, zeros):
    pair = many(zeros)
    others = torch.stack([(factor * m <= 0).flatten(1).sum(-1) for m in pair])
    for values, mask in zip(pair, without_opposite(*pair, sign), strict=True):
        assert (factor * values[~mask] <= 0).all()
        assert torch.equal((~mask).flatten(1).sum(-1), others.amin(0))
        for image, kept in zip(factor * values, mask, strict=True):
            if not kept.all():
                assert image[~kept].max() <= image[kept].min()


@pytest.mark.parametrize("choose", [only, without_opposite])
def test_maps_that_cannot_be_compared(choose):
    with pytest.raises(ValueError, match=r"one shape are compared, got \(1, 1, 3, 3\) and \(1, 1, 2, 2\)"):
        choose(ONE, torch.zeros(1, 1, 2, 2), "positive")
    with pytest.raises(ValueError, match="one shape"):
        choose(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), "positive")
    with pytest.raises(ValueError, match=r"^two maps \(N, 1, H, W\) of one shape are compared"):
        choose(torch.zeros(3, 1, 3), torch.zeros(3, 1, 3), "positive")
    with pytest.raises(ValueError, match="'positive' or 'negative', got 'both'"):
        choose(ONE, TWO, "both")


# --- what the caption says, and what was computed --------------------------------------------------------------------


def published_masks(pair: tuple[Tensor, Tensor], sign: str, count: Tensor) -> list[Tensor]:
    return [~published.replaced(m, count, sign) for m in pair]


def test_the_published_masks_keep_pixels_of_the_other_sign():
    # Nine pixels, two and one of them positive. The caption: one positive pixel is left of each.
    pair = maps([9, 8, -1], [-2, -3, -4], [-5, -6, -7]), maps([-1, -2, -3], [-4, 9, -5], [-6, -7, -8])
    assert [kept_values(*both) for both in zip(pair, only(*pair, "positive"), strict=True)] == [[9], [9]]
    count = published.count_to_replace(*pair, "positive")
    masks = published_masks(pair, "positive", count)
    assert kept_values(pair[0], masks[0]) == [-6, -5, -4, -3, -2, -1, 8, 9]
    assert kept_values(pair[1], masks[1]) == [-7, -6, -5, -4, -3, -2, -1, 9]
    # And "only the negative" leaves the two lowest of seven and of eight.
    masks = published_masks(pair, "negative", published.count_to_replace(*pair, "negative"))
    assert [kept_values(*both) for both in zip(pair, masks, strict=True)] == [[-7, -6], [-8, -7]]


def test_with_its_signs_put_right_the_published_count_removes_the_opposite_only():
    # The maps turned over have the other sign's counts; one more makes up for the pixel that "negative" is short of.
    first, second = many()
    count = published.count_to_replace(-first, -second, "positive")
    for mask, wanted in zip(published_masks((first, second), "positive", count),
                            without_opposite(first, second, "positive"), strict=True):
        assert torch.equal(mask, wanted)
    count = published.count_to_replace(first, second, "positive") + 1
    for mask, wanted in zip(published_masks((first, second), "negative", count),
                            without_opposite(first, second, "negative"), strict=True):
        assert torch.equal(mask, wanted)


def test_with_its_signs_put_right_the_published_negative_count_keeps_the_negative_only():
    first, second = many()
    count = published.count_to_replace(-first, -second, "negative") + 1
    for mask, wanted in zip(published_masks((first, second), "negative", count), only(first, second, "negative"),
                            strict=True):
        assert torch.equal(mask, wanted)
