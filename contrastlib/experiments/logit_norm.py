"""Figure 6: the larger a logit, the larger its gradient?"""

import torch
from torch import Tensor

from contrastlib import uncertainty
from contrastlib.experiments.experiment import Batch, Experiment, Row, Setting, Values, key, number
from contrastlib.models import Classifier

BINS = 24
POINTS, SUMS = key("logit and norm"), ("constant", "linear", "quadratic")
RATIOS = {"first over second": 1, "first over tenth": 9}
"""Norms that are compared with that of the most probable class: their ranks, from 0."""


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:  # noqa: ARG001 - all take a setting
    """Logit and gradient norm of classes from the most to the least probable, (n, 2 R) side by side.

    The norm is Euclidean over all pixels and colours, of the gradient with respect to the normalised image, as in the
    review's notebook.
    """
    leaf = batch.images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.enable_grad():
        logits = classifier(leaf).float()
    order = logits.detach().argsort(dim=-1, descending=True, stable=True)[:, list(ranks(logits.shape[1]))]
    norms = torch.stack([_norm(logits, leaf, column, classifier) for column in order.unbind(1)], dim=1)
    return {POINTS: torch.cat([logits.detach().gather(1, order), norms], dim=1)}


def _norm(logits: Tensor, leaf: Tensor, classes: Tensor, classifier: Classifier) -> Tensor:
    score = logits.gather(1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, leaf, retain_graph=True)
    return (gradient.float() * classifier.std).flatten(1).norm(dim=1)


def ranks(classes: int) -> range | list[int]:
    """The ranks of the review: the first and last fifty of a thousand, and every twentieth between; else all.

    Args:
        classes: how many there are.

    Returns:
        ranks from 0, rising; 145 of a thousand classes.
    """
    return [*range(50), *range(50, 950, 20), *range(950, 1000)] if classes == 1000 else range(classes)


def rows(values: Values) -> list[Row]:
    """The second-degree fit with intervals over images, bins of equally many points, and ratios of norms."""
    logits, norms = values[POINTS].double().chunk(2, dim=1)
    counts = uncertainty.resampled_counts(len(logits))
    return [*_fit(logits, norms, counts), *_bins(logits.flatten(), norms.flatten()), *_ratios(norms, counts)]


def fit(logits: Tensor, norms: Tensor, counts: Tensor | None = None) -> Tensor:
    r"""The least-squares parabola :math:`\text{norm} = a + b y + c y^2`.

    Args:
        logits: (n, R), R classes of each image.
        norms: (n, R).
        counts: how often each image counts, (B, n); None for once.

    Returns:
        coefficients a, b, c: (B, 3) float64.
    """
    counts = torch.ones(1, len(logits), dtype=torch.float64) if counts is None else counts
    powers = logits.double()[..., None] ** torch.arange(3)
    normal = torch.einsum("nri,nrj->nij", powers, powers)
    right = torch.einsum("nri,nr->ni", powers, norms.double())
    return torch.linalg.solve(torch.einsum("bn,nij->bij", counts, normal), torch.einsum("bn,ni->bi", counts, right))


def _fit(logits: Tensor, norms: Tensor, counts: Tensor) -> list[Row]:
    low, high = uncertainty.percentiles(fit(logits, norms, counts))
    best = fit(logits, norms)[0]
    fitted = (logits[..., None] ** torch.arange(3)) @ best
    explained = 1 - ((norms - fitted) ** 2).sum() / ((norms - norms.mean()) ** 2).sum()
    found = [_row("fit", name, "", best[i], low[i], high[i], norms.numel()) for i, name in enumerate(SUMS)]
    return [*found, _row("fit", "share explained", "", explained, None, None, norms.numel())]


def _bins(logits: Tensor, norms: Tensor) -> list[Row]:
    order = logits.argsort(stable=True)
    ends = torch.tensor([0.1, 0.9], dtype=norms.dtype)
    found = []
    for part in order.tensor_split(min(BINS, len(order))):
        low, high = norms[part].quantile(ends)
        found.append(_row("bin", "", number(logits[part].mean().item()), norms[part].mean(), low, high, len(part)))
    return found


def _ratios(norms: Tensor, counts: Tensor) -> list[Row]:
    found = []
    for name, rank in RATIOS.items():
        if rank < norms.shape[1]:
            ratio = uncertainty.bootstrap((norms[:, :1] / norms[:, rank:rank + 1]), counts)
            found.append(_row("ratio", name, "", ratio.value[0], ratio.low[0], ratio.high[0], len(norms)))
    return found


def _row(kind: str, name: str, at: str, value: Tensor, low: Tensor | None, high: Tensor | None, n: int) -> Row:
    ends = ["" if end is None else number(end.item()) for end in (low, high)]
    return {"kind": kind, "name": name, "at": at, "value": number(value.item()), "low": ends[0], "high": ends[1],
            "n": str(n)}


EXPERIMENT = Experiment(
    "logit-norm", "Figure 6: logits and the norms of their gradients", "logit_norm.csv", measure, rows)
