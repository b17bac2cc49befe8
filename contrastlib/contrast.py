r"""Contrasts: which number is explained.

A contrast is a pure function ``(logits (N, C), target (N,)) -> score (N,)``. Differentiating the score asks a question
about the prediction. Its gradient with respect to the logits (:func:`weights`) is one row per image: ``+1`` on the
target and, mostly, ``-alpha_s`` on the classes it is contrasted with. The explanation of the score is then the same
weighted sum of the explanations of the classes, for every method that is linear in the gradient.

A logit of minus infinity marks a class that cannot occur, since it is masked out. As a rival it has no weight, which is
what its weight tends to as its logit falls. As the target it is refused, and so is a contrast in an image where no
rival can occur: such scores are infinite. Logits of NaN or plus infinity are no prediction, and are refused.

All functions work in the precision of the logits and can be differentiated again.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

Contrast = Callable[[Tensor, Tensor], Tensor]
Target = int | Sequence[int] | Tensor

NAMES = ("original", "mean", "max", "weighted", "probability", "foil", "tempered", "finer")
"""The names that :func:`by_name` knows."""


def original(logits: Tensor, target: Tensor) -> Tensor:
    r"""The logit of the target: no contrast, the usual practice.

    .. math:: y_t

    Which other classes can occur does not matter.

    Args:
        logits: class scores before softmax, (N, C), floating point; minus infinity for classes that cannot occur.
        target: the class to explain: one for all images or one for each, (N,), integers in [0, C).

    Returns:
        score (N,), in logits.

    Raises:
        ValueError: logits are not (N, C), or NaN or plus infinity; a target has the wrong length, lies outside [0, C)
            or cannot occur.
        TypeError: logits are not floating point or the target is not made of integers.
    """
    target = _check(logits, target, at_least=1)
    return _of_target(logits, target)


def mean(logits: Tensor, target: Tensor) -> Tensor:
    r"""The target against the plain average of all other classes :cite:p:`wang2022why`.

    .. math:: y_t - \frac{1}{C-1} \sum_{s \ne t} y_s

    The average is that of the rivals that can occur, of which C - 1 is the number unless some are masked out; so it is
    for :func:`tempered`, whatever the temperature.
    Args and errors as :func:`original`; needs two classes that can occur.

    Returns:
        score (N,), in logits.
    """
    target = _check(logits, target, at_least=2)
    left_out = _is_target(logits, target) | (logits == -math.inf)
    others, rivals = logits.masked_fill(left_out, 0), logits.shape[-1] - 1
    there = (~left_out).sum(-1).to(torch.promote_types(logits.dtype, torch.float32))
    share = (rivals / there).to(logits.dtype)  # 1 unless some are masked out
    return _of_target(logits, target) - others.sum(-1) / rivals * share


def max(logits: Tensor, target: Tensor) -> Tensor:
    r"""The target against its strongest rival :cite:p:`wang2022why`.

    .. math:: y_t - \max_{s \ne t} y_s

    Rivals that tie share the gradient equally, which is what :func:`tempered` tends to as the temperature falls.
    Args and errors as :func:`original`; needs two classes that can occur.

    Returns:
        score (N,), in logits.
    """
    target = _check(logits, target, at_least=2)
    return _of_target(logits, target) - _others(logits, target).amax(-1)


def weighted(logits: Tensor, target: Tensor) -> Tensor:
    r"""The log-odds of the target: each other class counts by its probability among the others.

    .. math:: \log\frac{p_t}{1-p_t} = y_t - \log \sum_{s \ne t} e^{y_s},
        \qquad \frac{\partial}{\partial y_s} = -\alpha_s = -\frac{e^{y_s}}{\sum_{k \ne t} e^{y_k}}

    This is the weighted contrast of :cite:t:`wang2022why`, written as a score whose gradient has the weights exactly.
    It never vanishes, while the gradient of :func:`probability` carries the factor :math:`p_t (1 - p_t)` and in
    float32 loses the target's own term once the log-odds pass about 16.
    Args and errors as :func:`original`; needs two classes that can occur, or the log-odds are infinite.

    Returns:
        score (N,), in logits (nats); positive where the target is more likely than all others together.
    """
    target = _check(logits, target, at_least=2)
    return _of_target(logits, target) - _others(logits, target).logsumexp(-1)


def probability(logits: Tensor, target: Tensor) -> Tensor:
    r"""The softmax probability of the target, as both papers back-propagate it.

    .. math:: p_t, \qquad \nabla p_t = p_t (1 - p_t) \, \nabla \log\frac{p_t}{1 - p_t}

    :cite:t:`wang2022why,eriksson2025reproducibility`. Proportional to :func:`weighted` in exact arithmetic; use
    :func:`weighted` for confident predictions.
    Args and errors as :func:`original`; needs two classes that can occur, or the probability is 1 whatever is seen.

    Returns:
        score (N,) in [0, 1].
    """
    target = _check(logits, target, at_least=2)
    return _of_target(logits.softmax(-1), target)


def foil(classes: int | Sequence[int] | Tensor) -> Contrast:
    r"""Why the target and not these classes?

    .. math:: y_t - \log \sum_{s \in S} e^{y_s}

    Args:
        classes: the set S: one class, several, or a tensor (N, S) with a set of its own for each image. None of them
            may be the target.

    Returns:
        a contrast. With one foil its score is the plain difference of the two logits.

    Raises:
        ValueError: the set is empty, has a class twice, or (when called) holds the target, a class that is not in
            [0, C), or none that can occur.
        TypeError: the classes are not integers.
    """
    chosen = as_integers(classes, "foil classes")
    if chosen.numel() == 0:
        raise ValueError("foil() needs at least one class to contrast with, got none")
    if chosen.ndim > 2:
        raise ValueError(f"foil classes must be one set (S,) or one per image (N, S), got shape {tuple(chosen.shape)}")
    chosen = chosen.reshape(1, -1) if chosen.ndim < 2 else chosen
    if (chosen.sort(-1).values.diff(dim=-1) == 0).any():
        raise ValueError(f"a foil class is named twice: {chosen.tolist()}")
    return partial(_foil_score, chosen)



def _foil_score(chosen: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    target = _check(logits, target, at_least=2)
    sets = _foils_of_batch(chosen.to(logits.device, copy=True), logits, target)  # no inference tensor
    foils = logits.gather(-1, sets)
    if (foils == -math.inf).all(-1).any():
        raise ValueError(f"none of the foils {chosen.tolist()} can occur: their logits are minus infinity")
    return _of_target(logits, target) - foils.logsumexp(-1)


def tempered(temperature: float) -> Contrast:
    r"""One dial from max to mean: the other classes weighted by a softmax at a temperature.

    .. math:: y_t - T \log \sum_{s \ne t} e^{y_s / T}, \qquad \alpha_s(T) = \frac{e^{y_s/T}}{\sum_{k \ne t} e^{y_k/T}}

    ``T = 1`` is :func:`weighted`; the gradient tends to that of :func:`max` as T falls to 0 and to that of
    :func:`mean` as it grows. The score itself shifts by :math:`-T \log(C-1)` on the way to the mean, so ``inf``
    returns the mean contrast's own score, and 0 the max contrast's; so do temperatures beyond what the precision of
    the logits can hold. Args and errors of the contrast as :func:`weighted`. (This project's own contrast.)

    Args:
        temperature: T in [0, inf], dimensionless.

    Returns:
        a contrast.

    Raises:
        ValueError: the temperature is negative or NaN.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature must lie in [0, inf], got {temperature}")
    if temperature == 0:
        return max
    if math.isinf(temperature):
        return mean
    return partial(_tempered_score, temperature)



def _tempered_score(temperature: float, logits: Tensor, target: Tensor) -> Tensor:
    target, limits = _check(logits, target, at_least=2), torch.finfo(logits.dtype)
    if not limits.tiny <= temperature <= limits.max / logits.shape[-1]:
        return (max if temperature < 1 else mean)(logits, target)
    others = _others(logits, target)
    # Differences to the strongest rival: T * logsumexp(y / T) would add and cancel y in low precision.
    strongest = others.detach().amax(-1, keepdim=True)
    spread = ((others - strongest) / temperature).logsumexp(-1)
    return _of_target(logits, target) - strongest.squeeze(-1) - temperature * spread


def finer(gamma: float = 0.6, n: int = 3) -> Contrast:
    r"""The target against the n classes with the nearest logits, as in Finer-CAM :cite:p:`zhang2025finer`.

    .. math:: y_t - \frac{\gamma}{n} \sum_{s \in \mathcal{N}_n(t)} y_s

    The choice of neighbours is not differentiated, and falls on classes that can occur. Published maps are rectified
    afterwards; here the sign stays.

    Args:
        gamma: strength of the comparison, 0 is :func:`original`; published default 0.6.
        n: number of neighbours, at least 1; published default 3.

    Returns:
        a contrast.

    Raises:
        ValueError: gamma is not finite, n is below 1, or (when called) fewer than n + 1 classes can occur.
    """
    if not math.isfinite(gamma):
        raise ValueError(f"gamma must be finite, got {gamma}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return partial(_finer_score, gamma, n)



def _finer_score(gamma: float, n: int, logits: Tensor, target: Tensor) -> Tensor:
    target = _check(logits, target, at_least=n + 1)
    distance = (logits - logits.gather(-1, target[:, None])).detach().abs()
    distance = distance.masked_fill(_is_target(logits, target), math.inf)
    nearest = distance.topk(n, dim=-1, largest=False).indices
    return _of_target(logits, target) - gamma * logits.gather(-1, nearest).mean(-1)


def weights(contrast: Contrast, logits: Tensor, target: Target) -> Tensor:
    r"""The row of weights over classes that a contrast puts on the class explanations.

    .. math:: w_c = \frac{\partial\, \text{score}}{\partial y_c}, \qquad
        \phi_{\text{contrast}} = \sum_c w_c \, \phi^c

    Args:
        contrast: any contrast.
        logits: (N, C).
        target: as :func:`original` takes it.

    Returns:
        weights (N, C), dimensionless (per logit), without gradient. ``+1`` on the target for all contrasts but
        :func:`probability`, whose row is :math:`p_t (1-p_t)` times that of :func:`weighted`; 0 on rivals that cannot
        occur.

    Raises:
        ValueError, TypeError: as the contrast, which must give one score for each image.
    """
    with torch.inference_mode(False), torch.enable_grad():
        chosen = _check(logits, target, at_least=0)
        leaf = logits.detach().clone().requires_grad_()  # no inference tensor
        score = contrast(leaf, chosen)
        if score.shape != chosen.shape:
            raise ValueError(f"a contrast must give one score per image, shape {tuple(chosen.shape)}; "
                             f"this one gave {tuple(score.shape)}")
        return torch.autograd.grad(score.sum(), leaf)[0]


def effective_rivals(contrast: Contrast, logits: Tensor, target: Target) -> Tensor:
    r"""How many classes a contrast subtracts, counting each by its share.

    .. math:: \exp\Big(-\sum_{s \ne t} \alpha_s \log \alpha_s\Big), \qquad \alpha_s = \frac{w_s}{\sum_{k \ne t} w_k}

    Args:
        contrast: any contrast that subtracts something.
        logits: (N, C).
        target: as :func:`original` takes it.

    Returns:
        (N,) in [1, C - 1], dimensionless; NaN for a contrast that subtracts nothing.
    """
    row = weights(contrast, logits, target).masked_fill(_is_target(logits, as_targets(target, logits)), 0)
    return torch.special.entr(row / row.sum(-1, keepdim=True)).sum(-1).exp()


def by_name(
    name: str,
    *,
    foils: Sequence[int] | None = None,
    temperature: float | None = None,
    gamma: float = 0.6,
    n: int = 3,
) -> Contrast:
    """A contrast from its name, for command lines and widgets.

    Args:
        name: one of :data:`NAMES`.
        foils: the classes of ``foil``, required by it.
        temperature: the T of ``tempered``, required by it.
        gamma: strength of ``finer``.
        n: number of neighbours of ``finer``.

    Returns:
        the contrast.

    Raises:
        ValueError: the name is unknown, or what the contrast needs is missing.
    """
    plain: dict[str, Contrast] = {one.__name__: one for one in (original, mean, max, weighted, probability)}
    if name in plain:
        return plain[name]
    if name == "foil":
        if not foils:
            raise ValueError("the contrast 'foil' needs the classes to contrast with (foils=...)")
        return foil(foils)
    if name == "tempered":
        if temperature is None:
            raise ValueError("the contrast 'tempered' needs a temperature")
        return tempered(temperature)
    if name == "finer":
        return finer(gamma, n)
    raise ValueError(f"unknown contrast {name!r}; choose from {', '.join(NAMES)}")


def as_integers(values: Target, what: str) -> Tensor:
    """Indices of classes as an int64 tensor, however they are given.

    Args:
        values: whole numbers of any kind: of Python, numpy or torch, one or several.
        what: they are, in messages.

    Returns:
        int64, of their shape.

    Raises:
        TypeError: they are no integers.
    """
    try:
        tensor = values if isinstance(values, Tensor) else torch.as_tensor(values, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{what} must be class indices (integers), got {values!r}") from None
    if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool):
        raise TypeError(f"{what} must be class indices (integers), got {tensor.dtype}")
    tensor = tensor.long()
    return tensor.clone() if tensor.is_inference() else tensor  # autograd keeps no inference tensors


def as_targets(target: Target, batch: Tensor) -> Tensor:
    """The target classes of a batch.

    Args:
        target: one class for all images or one for each, see :func:`as_integers`.
        batch: anything of N images, whose device is taken.

    Returns:
        (N,) int64.

    Raises:
        ValueError: they are neither one nor N.
        TypeError: they are no integers.
    """
    classes = as_integers(target, "target").to(batch.device)
    if classes.ndim and classes.shape != batch.shape[:1]:
        raise ValueError(f"target must be one class or one per image, shape ({len(batch)},), "
                         f"got shape {tuple(classes.shape)}")
    return classes.expand(len(batch)).contiguous()


def _of_target(values: Tensor, target: Tensor) -> Tensor:
    return values.gather(-1, target[:, None]).squeeze(-1)


def _is_target(logits: Tensor, target: Tensor) -> Tensor:
    return torch.arange(logits.shape[-1], device=logits.device) == target[:, None]


def _others(logits: Tensor, target: Tensor) -> Tensor:
    return logits.masked_fill(_is_target(logits, target), -math.inf)


def _check(logits: Tensor, target: Target, at_least: int) -> Tensor:
    """The targets (N,) int64; refuses what is no question to a contrast of so many classes that can occur."""
    if logits.ndim != 2:
        raise ValueError(f"logits must be (N, C), got shape {tuple(logits.shape)}")
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, got {logits.dtype}")
    if logits.shape[1] < at_least:
        raise ValueError(f"this contrast needs at least {at_least} classes, the logits have {logits.shape[1]}")
    chosen = as_targets(target, logits)
    _check_range(chosen, logits.shape[1], "target")
    if not logits.isfinite().all():
        _check_infinite(logits.detach(), chosen, at_least)
    return chosen


def _check_infinite(logits: Tensor, target: Tensor, at_least: int) -> None:
    masked = logits == -math.inf
    problems = {
        "there is NaN or infinity among the logits": ~(masked | logits.isfinite()).all(-1),
        "its logit is minus infinity, so that it cannot occur": _of_target(masked, target) & (at_least > 0),
        f"this contrast needs at least {at_least} classes that can occur, all other logits are minus infinity":
            (~masked).sum(-1) < at_least}
    for problem, found in problems.items():
        for image in found.nonzero().flatten().tolist():
            raise ValueError(f"image {image}, target {target[image].item()}: {problem}")


def _check_range(classes: Tensor, c: int, what: str) -> None:
    if classes.numel() and (classes.min() < 0 or classes.max() >= c):
        raise ValueError(f"{what} must lie in [0, {c}), got {classes.tolist()}")


def _foils_of_batch(chosen: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    n, c = logits.shape
    if chosen.shape[0] not in (1, n):
        raise ValueError(f"foil classes are given for {chosen.shape[0]} images, the batch has {n}")
    _check_range(chosen, c, "foil classes")
    sets = chosen.expand(n, -1)
    if (sets == target[:, None]).any():
        raise ValueError(f"a foil cannot be the target itself: target {target.tolist()}, foils {chosen.tolist()}")
    return sets
