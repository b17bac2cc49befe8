r"""Does a change where the map points move the score as the map claims?

Numbers of one image each; :mod:`contrastlib.uncertainty` averages them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from contrastlib.contrast import original

OUTCOMES = ("accuracy", "p_t", "y_t")
"""The columns of :func:`outcome`."""


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


def area(values: Tensor, shares: Sequence[float]) -> Tensor:
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
