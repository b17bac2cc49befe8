r"""How well maps do: does the score move as a map claims, does the map lie where it should, and how sure is that?

The first two give a number for each image. Where one means nothing, because the map is empty or the region hidden, it
is NaN, so that one such image does not stop a run; leave these out of averages. :func:`summarise` does, and makes
averages over images with standard errors and bootstrap intervals of paired differences. A difference between two
methods is taken image by image first, because both look at the same image; its interval is much narrower than the two
averages' own would suggest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from contrastlib import tables
from contrastlib.contrast import original

OUTCOMES = ("accuracy", "p_t", "y_t")
"""The columns of :func:`outcome`."""

RESAMPLES, LEVEL = 2000, 0.95

Cells = tuple[str, ...]

# --- does a change where the map points move the score as the map claims? --------------------------------------------


def outcome(logits: Tensor, target: Tensor) -> Tensor:
    """What the perturbation experiment reads off a prediction :cite:p:`wang2022why,eriksson2025reproducibility`.

    Args:
        logits: (N, C).
        target: the class t, (N,) int64; in the papers the true label, also where the prediction is another.

    Returns:
        (N, 3), the columns of ``OUTCOMES``; the first is 1 where the target is the most probable class, else 0.
    """
    y = original(logits, target)
    correct = (logits.argmax(-1) == target).to(logits.dtype)
    return torch.stack([correct, original(logits.softmax(-1), target), y], dim=-1)


def relative_probability(logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
    r"""The probability of a class against one other :cite:p:`wang2022why`.

    .. math:: \frac{e^{y_1}}{e^{y_1} + e^{y_2}} = \sigma(y_1 - y_2)

    Written with the difference of the logits, which cannot overflow (erratum 10).

    Args:
        logits: (N, C).
        first: the class whose share is wanted, (N,) int64.
        second: the other class, (N,) int64.

    Returns:
        (N,) in [0, 1].
    """
    return (original(logits, first) - original(logits, second)).sigmoid()


def area_under(values: Tensor, shares: Sequence[float]) -> Tensor:
    """The area under a curve by the trapezoidal rule, divided by the width: the curve's mean height.

    Args:
        values: (N, K) at K places.
        shares: K rising places on the horizontal axis.

    Returns:
        (N,), in the unit of the values.

    Raises:
        ValueError: the places are not K rising numbers.
    """
    at = torch.tensor(shares, dtype=values.dtype, device=values.device)
    if values.shape[-1] != len(at) or len(at) < 2 or not (at.diff() > 0).all():
        raise ValueError(f"{values.shape[-1]} values need as many rising places, at least two, got {list(shares)}")
    return torch.trapezoid(values, at, dim=-1) / (at[-1] - at[0])


# --- does a map lie where it should? ---------------------------------------------------------------------------------


def share_inside(maps: Tensor, region: Tensor) -> Tensor:
    r"""The share of the positive relevance that lies inside a region.

    .. math:: \frac{\sum_{p \in R} \max(\varphi_p, 0)}{\sum_p \max(\varphi_p, 0)}

    Known as relevance mass accuracy, and as the energy-based pointing game. A map that knows nothing gets the region's
    :func:`area`.

    Args:
        maps: (N, 1, H, W), signed, in any unit; negative relevance counts neither inside nor outside.
        region: (N, 1, H, W) bool, true inside.

    Returns:
        a share for each map, (N,) float64 in [0, 1]; NaN where a map has no positive relevance, or the region no pixel.

    Raises:
        ValueError: the shapes differ or are not (N, 1, H, W).
        TypeError: the region is not bool.
    """
    values, inside = _flat(maps, region)
    positive = values.clamp(min=0)
    share = torch.where(inside, positive, 0).sum(-1) / positive.sum(-1)
    return _nan_where(share, ~inside.any(-1))


def hit(maps: Tensor, region: Tensor) -> Tensor:
    r"""The pointing game: whether the largest value of a map lies inside a region :cite:p:`zhang2018excitation`.

    .. math:: \frac{|M \cap R|}{|M|}, \qquad M = \{p : \varphi_p = \max_q \varphi_q\}

    Several places of the same largest value count by their share. There is no margin around the region; TorchRay
    :cite:p:`fong2019torchray` allows one of 15 pixels, within which a part of a small bird would be hit from anywhere
    nearby.

    Args:
        maps: (N, 1, H, W), signed, in any unit; the largest value may be negative.
        region: (N, 1, H, W) bool, true inside.

    Returns:
        1 for a hit and 0 for a miss, (N,) float64 in [0, 1] with ties between; NaN where a map is constant, or the
        region has no pixel.

    Raises:
        ValueError: the shapes differ or are not (N, 1, H, W).
        TypeError: the region is not bool.
    """
    values, inside = _flat(maps, region)
    largest = values == values.amax(-1, keepdim=True)
    share = (largest & inside).sum(-1).double() / largest.sum(-1).double()
    return _nan_where(share, largest.all(-1) | ~inside.any(-1))


def area(region: Tensor) -> Tensor:
    r"""The share of the picture that a region takes: what a map that knows nothing gets from the other two.

    .. math:: \frac{|R|}{HW}

    Args:
        region: (N, 1, H, W) bool, true inside.

    Returns:
        a share for each picture, (N,) float64 in [0, 1]; 0 for a region without pixels, for which :func:`share_inside`
        and :func:`hit` give NaN, so that averages to be compared must leave out the same images.

    Raises:
        ValueError: the shape is not (N, 1, H, W).
        TypeError: the region is not bool.
    """
    _check_region(region)
    return region.flatten(1).double().mean(-1)


def moran(maps: Tensor) -> Tensor:
    r"""Moran's I, the correlation of a map with its own neighbours: how coherent it is :cite:p:`moran1950notes`.

    .. math:: I = \frac{n}{m} \cdot \frac{\sum_{\{p, q\}} (\varphi_p - \bar\varphi)(\varphi_q - \bar\varphi)}
        {\sum_p (\varphi_p - \bar\varphi)^2}

    The upper sum goes over the m pairs of the n = hw places that share an edge. Values in random order have the
    expectation -1/(n - 1), a chessboard has -1. The most that a map can have depends on its size: 0.95 at 7 x 7 places,
    0.97 at 8 x 8, 1.02 at 16 x 16. Upsampling makes any map smooth, so maps are compared before it, and at one size.

    Args:
        maps: (N, 1, h, w), in any unit, which does not matter.

    Returns:
        one number for each map, (N,) float64, from about -1 to about 1; NaN where a map is constant.

    Raises:
        ValueError: the shape is not (N, 1, h, w).
    """
    _check_maps(maps)
    values = maps[:, 0].double()
    height, width = values.shape[1:]
    centred = values - values.mean((1, 2), keepdim=True)
    products = ((centred[:, 1:] * centred[:, :-1]).sum((1, 2))
                + (centred[:, :, 1:] * centred[:, :, :-1]).sum((1, 2)))
    pairs = (height - 1) * width + height * (width - 1)
    found = height * width * products / (pairs * centred.square().sum((1, 2)))
    return _nan_where(found, values.amax((1, 2)) == values.amin((1, 2)))


def _flat(maps: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (N, HW) in float64 and region (N, HW)."""
    _check_maps(maps)
    _check_region(region)
    if maps.shape != region.shape:
        raise ValueError(f"the region must have the maps' shape {tuple(maps.shape)}, got {tuple(region.shape)}; "
                         "relevance.upsample() brings maps to the resolution of the image")
    return maps.flatten(1).double(), region.flatten(1)


def _nan_where(values: Tensor, unknown: Tensor) -> Tensor:
    return values.masked_fill(unknown, torch.nan)


def _check_maps(maps: Tensor) -> None:
    if maps.ndim != 4 or maps.shape[1] != 1 or 0 in maps.shape[2:]:
        raise ValueError(f"maps must be (N, 1, H, W), one channel with at least one place, got {tuple(maps.shape)}")


def _check_region(region: Tensor) -> None:
    if region.ndim != 4 or region.shape[1] != 1 or 0 in region.shape[2:]:
        raise ValueError("a region must be (N, 1, H, W), one channel with at least one place, "
                         f"got {tuple(region.shape)}")
    if region.dtype != torch.bool:
        raise TypeError(f"a region must be bool, true inside, got {region.dtype}; compare codes or shares first, "
                        "such as `share > 0.5`")


# --- how sure is an average over images? -----------------------------------------------------------------------------


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
    draws = torch.randint(n, (resamples, n), generator=torch.Generator().manual_seed(seed), device="cpu")
    return torch.zeros_like(draws).double().scatter_add_(1, draws, torch.ones_like(draws).double())


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
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=resampled.dtype, device=resampled.device)
    low, high = resampled.quantile(ends, dim=0)
    return low, high


def summarise(values: Mapping[Cells, Tensor], columns: Sequence[str], *, compare: str = "", to: str = "",
              references: Mapping[Cells, Tensor] | None = None) -> pd.DataFrame:
    """A row for each vector of numbers: their average over images, and how it differs from that of another vector.

    Args:
        values: for each row, by its cells, a number for each image, (n,); NaN and infinities are left out.
        columns: the names of the cells.
        compare: the column in which a row differs from the one that it is compared with.
        to: what stands there in the other one; a row without such a partner is compared with nothing.
        references: instead of both, what a row is compared with, (n,), by the row's cells.

    Returns:
        the columns; ``value``, ``se``, its standard error; ``difference`` with the ends ``low`` and ``high`` of its
        interval, over the images that both know, NaN without comparison; ``n``, the number of images. In the order of
        the values, without those that no image has.
    """
    references = _partners(values, list(columns), compare, to) if references is None else references
    of_images: dict[bytes, list[tuple[Cells, Tensor, Tensor]]] = {}  # rows over the same images share a bootstrap
    for cells, own in values.items():
        other = references.get(cells, own)
        known = own.isfinite() & other.isfinite()
        of_images.setdefault(known.numpy().tobytes(), []).append((cells, own[known], other[known]))
    found: dict[Cells, list[float]] = {}
    for rows in of_images.values():
        names, ours, others = zip(*rows)
        if len(ours[0]):
            found |= dict(zip(names, _estimates(torch.stack(ours, 1).double(), torch.stack(others, 1).double())))
    table = [[*cells, *found[cells]] for cells in values if cells in found]
    rows_of = pd.DataFrame(table, columns=[*columns, "value", "se", "difference", "low", "high", "n"])
    rows_of.loc[[cells not in references for cells in values if cells in found], ["difference", "low", "high"]] = None
    return tables.typed(rows_of)


def decided(rows: pd.DataFrame) -> pd.DataFrame:
    r"""Which differences are decided, one by one and with the number of all these comparisons counted.

    Among 600 intervals of 95 % some thirty exclude zero by chance. Holm's step-down procedure
    :cite:p:`holm1979simple` keeps the probability of even one false decision below 5 %, Benjamini and Yekutieli's
    :cite:p:`benjamini2001control` the expected share of false ones among all decisions, for comparisons that depend on
    each other in any way. Both take p-values, here two-sided ones of :math:`z = d / \sigma`, with :math:`\sigma` the
    width of the bootstrap interval divided by 3.92.

    Args:
        rows: with ``difference``, ``low`` and ``high``; all that were compared, none left out. Rows without a
            difference are no comparisons.

    Returns:
        for each comparison, by the index of its row, the columns ``alone``, ``Holm`` and ``Benjamini-Yekutieli``: the
        sign of the difference where it is decided, else 0.

    Raises:
        ValueError: no row has a difference.
    """
    rows = rows.dropna(subset="difference")
    if rows.empty:
        raise ValueError("no row has a difference, so there is nothing to decide")
    sign, m = np.sign(rows["difference"]), len(rows)
    alone = (rows["low"] > 0) | (rows["high"] < 0)
    z = rows["difference"].abs() / ((rows["high"] - rows["low"]) / (2 * 1.96))
    p = z.fillna(0).map(lambda one: math.erfc(one / math.sqrt(2))).sort_values()
    rank = np.arange(1, m + 1)
    holm = (p <= (1 - LEVEL) / (m - rank + 1)).cummin()  # stops at the first that is not decided
    below = p <= (1 - LEVEL) * rank / (m * (1 / rank).sum())
    yekutieli = below[::-1].cummax()  # all up to the last that is
    return pd.DataFrame({name: sign.where(chosen.reindex(rows.index), 0).astype(int) for name, chosen in
                         (("alone", alone), ("Holm", holm), ("Benjamini-Yekutieli", yekutieli))})


def averages(values: Mapping[Cells, Tensor], columns: Sequence[str]) -> pd.DataFrame:
    """The same with ``value``, the ends ``low`` and ``high`` of its own interval, and ``n``."""
    nothing = {cells: torch.zeros_like(own) for cells, own in values.items()}  # the difference to it is the average
    return summarise(values, columns, references=nothing).drop(columns=["se", "difference"])


def _partners(values: Mapping[Cells, Tensor], columns: list[str], compare: str, to: str) -> dict[Cells, Tensor]:
    if not compare:
        return {}
    i = columns.index(compare)
    partners = {cells: (*cells[:i], to, *cells[i + 1:]) for cells in values if cells[i] != to}
    return {cells: values[other] for cells, other in partners.items() if other in values}


def _estimates(values: Tensor, others: Tensor) -> list[list[float]]:
    """Value, standard error, difference with its interval, and the number of images, for each column of (n, S)."""
    interval = bootstrap(values - others)
    numbers = (values.mean(0), standard_error(values), interval.value, interval.low, interval.high)
    return [[*row, len(values)] for row in torch.stack(numbers, dim=1).tolist()]
