"""Beyond Tables 1 and 2: pixels are removed from one end of the map, more and more, whatever their sign."""

from collections.abc import Iterator

import torch
from torch import Tensor

from contrastlib import contrast, evaluation, perturbation, relevance
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values, best_two
from contrastlib.experiments.masking import METHODS, layers_and_methods
from contrastlib.models import Classifier

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
CONTRASTS = {"original": contrast.original, "weighted": contrast.weighted}
ORDERS: tuple[perturbation.Order, ...] = ("highest", "lowest")
BASELINE = "blur"
COLUMNS = ("layer", "method", "target", "baseline", "removed", "contrast")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """Relative probability of the target along the curve, (n, K) for each map and each end."""
    logits = perturbation.logits_of(classifier, batch.images)
    instead = perturbation.BASELINES[BASELINE](batch.images, classifier)
    nothing = perturbation.logits_of(classifier, instead)
    found: Values = {}
    for layer, method in layers_and_methods(setting, classifier):
        for target, (one, other) in best_two(logits, setting).items():
            for name, maps in explained(classifier, batch.images, one, layer, method, layer in setting.normalised):
                rank = perturbation.ranks(maps)
                for removed in ORDERS:
                    between = [perturbation.keep(batch.images, instead, perturbation.remaining(rank, share, removed))
                               for share in SHARES[1:-1]]
                    along = [logits, *(perturbation.logits_of(classifier, images) for images in between), nothing]
                    found[layer, method, target, BASELINE, removed, name] = torch.stack(
                        [evaluation.relative_probability(y, one, other) for y in along], dim=1)
    return found


def explained(classifier: Classifier, images: Tensor, target: Tensor, layer: str, method: str, normalised: bool,
              ) -> Iterator[tuple[str, Tensor]]:
    """The maps that are compared, (n, 1, H, W) each, by name."""
    attribute = METHODS[method]
    for name, score in CONTRASTS.items():
        yield name, attribute(classifier, images, target, score, layer=layer)
    if normalised:
        everything = attribute.class_maps(classifier, images, layer=layer)
        coarse = everything.combine(contrast.weighted, target, normalised=True)
        yield "normalised", relevance.upsample(coarse, (images.shape[-2], images.shape[-1]))


def rows(values: Values) -> Rows:
    """Averages at each share and of the area; each contrast is compared with ``original`` image by image."""
    columns: dict[evaluation.Cells, Tensor] = {}
    for cells, curve in ((cells, table.double()) for cells, table in values.items()):
        columns |= {(*cells, str(share)): heights for share, heights in zip(SHARES, curve.unbind(1))}
        columns[*cells, "area"] = evaluation.area_under(curve, SHARES)
    return evaluation.summarise(columns, (*COLUMNS, "share"), compare="contrast", to="original")


EXPERIMENT = Experiment("masking-curves", "beyond Tables 1 and 2: removing 0 to 100 % from either end", measure, rows)
