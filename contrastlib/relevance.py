"""Arithmetic on relevance maps; no model, no picture.

A relevance map is signed: positive where the pixel speaks for the score that was explained, negative where it speaks
against it. Its shape is (N, 1, H, W), its unit that of the score.
"""

import torch
from torch import Tensor
from torch.nn import functional


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision is raised to float32, anything finer is kept: maps are sums of many small terms.

    Args:
        tensor: of any shape.

    Returns:
        the same numbers.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps to the resolution of the image, bilinearly, cell centres kept in place.

    Paper: corners are aligned (``align_corners=True``). Here: cell centres, which is where a convolution's output
    sits; aligned corners stretch a 7 x 7 map outwards by up to half a cell.

    Args:
        maps: (N, K, h, w).
        size: (H, W) in pixels.

    Returns:
        (N, K, H, W), same sign and unit.
    """
    _check_maps(maps)
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def spread(maps: Tensor, size: tuple[int, int]) -> Tensor:
    r"""Bring maps to another resolution such that the sum over the pixels stays what it was.

    .. math:: m'_{pq} = \sum_{ij} \frac{u_{pq,ij}}{\sum_{p'q'} u_{p'q',ij}} \, m_{ij}

    Each cell hands its value out to the pixels in the proportions :math:`u` of bilinear interpolation, cell centres
    kept in place. An axis that gets shorter is treated the other way round: each old cell is handed to the new ones
    between whose centres it lies.

    Args:
        maps: (N, K, h, w).
        size: (H, W) in pixels.

    Returns:
        (N, K, H, W), same sign and same sum; a value is what falls on a pixel, not what :func:`upsample` shows there.
    """
    _check_maps(maps)
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    down, across = (_shares(old, new).to(maps) for old, new in zip(maps.shape[-2:], size))
    with torch.autocast(maps.device.type, enabled=False):
        return torch.einsum("hp,nkhw,wq->nkpq", down, maps, across)


def _shares(old: int, new: int) -> Tensor:
    """How much of each old cell falls on each new one along an axis, (old, new); every row adds up to one."""
    fine, coarse = max(old, new), min(old, new)
    unit = torch.eye(coarse, dtype=torch.float64).unsqueeze(0)
    weights = functional.interpolate(unit, size=fine, mode="linear", align_corners=False)[0]
    return weights.T if new < old else weights / weights.sum(1, keepdim=True)


def normalise(maps: Tensor) -> Tensor:
    """Divide each map by its largest absolute value, so that it lies in [-1, 1] and zero stays zero.

    Args:
        maps: (N, K, h, w).

    Returns:
        (N, K, h, w) in [-1, 1]; a map that is zero everywhere stays zero.
    """
    _check_maps(maps)
    largest = maps.abs().amax((-2, -1), keepdim=True)
    return maps / torch.where(largest > 0, largest, torch.ones_like(largest))


def positive_share(maps: Tensor) -> Tensor:
    """The share of pixels with positive relevance.

    Args:
        maps: (N, K, h, w).

    Returns:
        (N, K) in [0, 1].
    """
    _check_maps(maps)
    return (maps > 0).to(torch.float64).mean((-2, -1))


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation over the pixels of two maps: do they mark the same places?

    Args:
        a: (N, K, h, w).
        b: the same shape.

    Returns:
        (N, K) in [-1, 1], computed in float64; NaN where a map is constant.

    Raises:
        ValueError: the shapes differ.
    """
    _check_maps(a)
    if a.shape != b.shape:
        raise ValueError(f"maps must have the same shape to be compared, got {tuple(a.shape)} and {tuple(b.shape)}")
    centred = [m.double().flatten(-2) - m.double().flatten(-2).mean(-1, keepdim=True) for m in (a, b)]
    dot = (centred[0] * centred[1]).sum(-1)
    return dot / (centred[0].norm(dim=-1) * centred[1].norm(dim=-1))


def relative_error(a: Tensor, b: Tensor) -> Tensor:
    """How far a lies from b, as a share of b: ``max |a - b| / max |b|``, per map.

    Args:
        a: (N, K, h, w).
        b: the reference, the same shape.

    Returns:
        (N, K), computed in float64.
    """
    _check_maps(a)
    if a.shape != b.shape:
        raise ValueError(f"maps must have the same shape to be compared, got {tuple(a.shape)} and {tuple(b.shape)}")
    return (a.double() - b.double()).abs().amax((-2, -1)) / b.double().abs().amax((-2, -1))


def _check_maps(maps: Tensor) -> None:
    if maps.ndim != 4 or 0 in maps.shape[2:]:
        raise ValueError(f"maps must be (N, K, h, w) with at least one place, got shape {tuple(maps.shape)}")
