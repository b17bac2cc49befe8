r"""Does a map lie where it should? Measured against a region that is known, or, without one, against itself.

Numbers of one image each; :mod:`contrastlib.uncertainty` averages them. Where a number means nothing, because the map
is empty or the region hidden, it is NaN, so that one such image does not stop a run; leave these out of averages.
"""

import torch
from torch import Tensor


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
