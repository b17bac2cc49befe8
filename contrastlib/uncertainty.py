"""How sure an average over images is: standard errors, and bootstrap intervals of paired differences.

Images are the independent units. A difference between two methods is taken image by image first, because both look at
the same image; its interval is much narrower than the two averages' own would suggest.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class Interval:
    """An average and what it may be.

    Attributes:
        value: (S,), of S quantities.
        low: (S,), lower end.
        high: (S,), upper end.
    """

    value: Tensor
    low: Tensor
    high: Tensor


def standard_error(values: Tensor) -> Tensor:
    r"""The standard error of an average over images, :math:`s / \sqrt{n}`.

    Args:
        values: (n, S), one row for each image.

    Returns:
        (S,) float64; NaN for fewer than two images.
    """
    if len(values) < 2:
        return torch.full_like(values.double().sum(0), torch.nan)
    return values.double().std(0) / len(values) ** 0.5


def resampled_counts(n: int, resamples: int = RESAMPLES, seed: int = 0) -> Tensor:
    """How often each image is drawn when n images are drawn with replacement, again and again.

    Args:
        n: number of images, at least 1.
        resamples: how many times B.
        seed: of the draws; the same seed draws the same images.

    Returns:
        (B, n) float64, each row sums to n.

    Raises:
        ValueError: there are no images or no resamples.
    """
    if n < 1 or resamples < 1:
        raise ValueError(f"a bootstrap needs images and resamples, got {n} and {resamples}")
    draws = torch.randint(n, (resamples, n), generator=torch.Generator().manual_seed(seed))
    return torch.zeros(resamples, n, dtype=torch.float64).scatter_add_(1, draws, torch.ones_like(draws).double())


def bootstrap(values: Tensor, counts: Tensor | None = None) -> Interval:
    """The average over images with its 95 % percentile bootstrap interval.

    Args:
        values: (n, S), such as the differences between two methods, image by image.
        counts: of :func:`resampled_counts`, to spare drawing them again; None draws them.

    Returns:
        average and interval, (S,) float64 each.

    Raises:
        ValueError: the values are not (n, S), or the counts are for another number of images.
    """
    if values.ndim != 2:
        raise ValueError(f"values must be (n, S), one row for each image, got {tuple(values.shape)}")
    counts = resampled_counts(len(values)) if counts is None else counts
    if counts.shape[1] != len(values):
        raise ValueError(f"the counts are for {counts.shape[1]} images, there are {len(values)}")
    table = values.double().cpu()
    means = counts @ table / len(table)
    low, high = percentiles(means)
    return Interval(table.mean(0), low, high)


def percentiles(resampled: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of the central 95 % of resampled statistics.

    Args:
        resampled: (B, S).

    Returns:
        low and high, (S,) each.
    """
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=resampled.dtype)
    low, high = resampled.quantile(ends, dim=0)
    return low, high
