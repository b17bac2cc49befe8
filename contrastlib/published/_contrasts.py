"""Contrasts as the papers printed or coded them."""

import torch
from torch import Tensor

from contrastlib.contrast import original


def mean_without_factor(logits: Tensor, target: Tensor) -> Tensor:
    r"""Mean contrast as the review's text prints it: the sum over the other classes, not their average.

    .. math:: y_t - \sum_{s \ne t} y_s

    Erratum 3; the section on the input space in :cite:t:`eriksson2025reproducibility`. Its code divides. Right is
    :func:`contrastlib.contrast.mean`.

    Args:
        logits: (N, C).
        target: (N,) int64.

    Returns:
        score (N,), in logits.
    """
    logit = original(logits, target)
    return logit - (logits.sum(-1) - logit)


def mean_over_all_classes(logits: Tensor, target: Tensor) -> Tensor:
    r"""Mean contrast as the review's code for maps computes it: the divisor counts the target too.

    .. math:: y_t - \frac{1}{C} \sum_{s \ne t} y_s

    Erratum 4; ``utils.py``, line 95, of the review's repository, with C = 200. Args and result as
    :func:`mean_without_factor`.
    """
    logit = original(logits, target)
    return logit - (logits.sum(-1) - logit) / logits.shape[-1]


def mean_with_wrong_sign(logits: Tensor, target: Tensor) -> Tensor:
    r"""Mean contrast as an early, later deleted run of the review computed it.

    .. math:: y_{nt} \Big( 1 + \frac{1}{1-C} \Big) - \frac{1}{1-C} \sum_{m=1}^{N} \sum_{s} y_{ms}

    Erratum 5; the runs headed "OLD" in ``grad_sign_pertubation_results.ipynb``, in the history of the review's
    repository. Since 1 - C is negative, the other classes are *added*; and the sum runs over the whole batch, so that
    each of the N scores adds all of them: together they weigh N times their mean. Args and result as
    :func:`mean_without_factor`.
    """
    factor = 1 / (1 - logits.shape[-1])
    return original(logits, target) * (1 + factor) - factor * logits.sum()


def weighted_with_attached_weights(logits: Tensor, target: Tensor) -> Tensor:
    r"""Weighted contrast as a score whose weights are differentiated too.

    .. math:: y_t - \sum_{s \ne t} \alpha_s y_s, \qquad
        \frac{\partial}{\partial y_s} = -\alpha_s \Big( 1 + y_s - \sum_{k \ne t} \alpha_k y_k \Big)

    Erratum 6: what comes out if the printed formula of the weighted contrast is handed to automatic differentiation as
    it stands, which an independent implementation does :cite:p:`yang2023recalibrating`. The value is right, its
    gradient is not. Right is :func:`contrastlib.contrast.weighted`. Args and result as :func:`mean_without_factor`.
    """
    is_target = torch.arange(logits.shape[-1], device=logits.device) == target[:, None]
    alpha = logits.masked_fill(is_target, -torch.inf).softmax(-1)
    return original(logits, target) - (alpha * logits).sum(-1)
