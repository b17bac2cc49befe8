"""Figure 6: the larger a logit, the larger its gradient?"""

import pandas as pd
import torch
from torch import Tensor

from contrastlib import evaluation, tables
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values
from contrastlib.models import Classifier

BINS = 24
POINTS, SUMS = ("logit and norm",), ("constant", "linear", "quadratic")
# Norms that are compared with that of the most probable class: their ranks, from 0.
RATIOS = {"first over second": 1, "first over tenth": 9}


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:  # noqa: ARG001 - all take a setting
    """Logit and gradient norm of classes from the most to the least probable, (n, 2 R) side by side.

    The norm is Euclidean over all pixels and colours, of the gradient with respect to the normalised image, as in the
    review's notebook.
    """
    leaf = batch.images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.enable_grad():
        logits = classifier(leaf).float()
    order = logits.detach().argsort(dim=-1, descending=True, stable=True)[:, list(ranks(logits.shape[1]))]
    chosen, norms = logits.gather(1, order), []
    for scores in chosen.unbind(1):
        (gradient,) = torch.autograd.grad(scores.sum(), leaf, retain_graph=True)
        norms.append((gradient.float() * classifier.std).flatten(1).norm(dim=1))
    return {POINTS: torch.cat([chosen.detach(), torch.stack(norms, dim=1)], dim=1)}


def ranks(classes: int) -> range | list[int]:
    """The ranks of the review: the first and last fifty of a thousand, and every twentieth between; else all.

    Args:
        classes: how many there are.

    Returns:
        ranks from 0, rising; 145 of a thousand classes.
    """
    return [*range(50), *range(50, 950, 20), *range(950, 1000)] if classes == 1000 else range(classes)


def rows(values: Values) -> Rows:
    """The second-degree fit with intervals over images, bins of equally many points, and ratios of norms."""
    logits, norms = values[POINTS].double().chunk(2, dim=1)
    found = pd.DataFrame([*_fit(logits, norms), *_bins(logits.flatten(), norms.flatten())],
                         columns=["kind", "name", "at", "value", "low", "high", "n"])
    ratios: Values = {("ratio", name, ""): norms[:, 0] / norms[:, rank]
                      for name, rank in RATIOS.items() if rank < norms.shape[1]}
    return pd.concat([tables.typed(found), evaluation.averages(ratios, ("kind", "name", "at"))], ignore_index=True)


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


def _fit(logits: Tensor, norms: Tensor) -> list[tuple[object, ...]]:
    low, high = evaluation.percentiles(fit(logits, norms, evaluation.resampled_counts(len(logits))))
    best = fit(logits, norms)[0]
    fitted = (logits[..., None] ** torch.arange(3)) @ best
    explained = 1 - ((norms - fitted) ** 2).sum() / ((norms - norms.mean()) ** 2).sum()
    return [*(("fit", name, "", best[i].item(), low[i].item(), high[i].item(), norms.numel())
              for i, name in enumerate(SUMS)),
            ("fit", "share explained", "", explained.item(), None, None, norms.numel())]


def _bins(logits: Tensor, norms: Tensor) -> list[tuple[object, ...]]:
    parts, ends = logits.argsort(stable=True).tensor_split(min(BINS, len(logits))), norms.new_tensor([0.1, 0.9])
    return [("bin", "", f"{logits[part].mean().item():.6g}", norms[part].mean().item(),
             *norms[part].quantile(ends).tolist(), len(part)) for part in parts]


EXPERIMENT = Experiment("logit-norm", "Figure 6: logits and the norms of their gradients", measure, rows)
