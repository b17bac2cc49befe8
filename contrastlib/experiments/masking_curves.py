"""Beyond Tables 1 and 2: pixels are removed from one end of the map, more and more, whatever their sign."""

from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor

from contrastlib import contrast, perturbation, relevance
from contrastlib.experiments.experiment import GROUP, Batch, Experiment, Row, Setting, Values, estimates, key, parts
from contrastlib.experiments.masking import METHODS, places
from contrastlib.faithfulness import area, relative_probability
from contrastlib.models import Classifier
from contrastlib.perturbation import Order, logits_of

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
CONTRASTS = {"original": contrast.original, "weighted": contrast.weighted}
ORDERS: tuple[Order, ...] = get_args(Order)
BASELINE = "blur"
COLUMNS = ("layer", "method", "target", "baseline", "removed", "contrast")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """Relative probability of the target along the curve, (n, K) for each map and each end."""
    logits = logits_of(classifier, batch.images)
    first, second = logits.topk(2).indices.unbind(1)
    pairs = {"t1": (first, second), "t2": (second, first)}
    instead = perturbation.BASELINES[BASELINE](batch.images, classifier)
    nothing = logits_of(classifier, instead)
    found = {}
    for layer, method in places(setting, classifier):
        for target in setting.targets:
            one, other = pairs[target]
            for name, maps in explained(classifier, batch.images, one, layer, method, layer in setting.normalised):
                rank = perturbation.ranks(maps)
                for removed in ORDERS:
                    between = [perturbation.keep(batch.images, instead, perturbation.remaining(rank, share, removed))
                               for share in SHARES[1:-1]]
                    along = [logits, *(logits_of(classifier, images) for images in between), nothing]
                    found[key(layer, method, target, BASELINE, removed, name)] = torch.stack(
                        [relative_probability(y, one, other) for y in along], dim=1)
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


def rows(values: Values) -> list[Row]:
    """Averages at each share and of the area; each contrast is compared with ``original`` image by image."""
    named, vectors, references = [], [], []
    for name, table in values.items():
        *place, which = parts(name)
        other = None if which == "original" else _with_area(values[key(*place, "original")])
        for k, share in enumerate((*map(str, SHARES), "area")):
            named.append({**dict(zip(COLUMNS, parts(name))), "share": share})
            vectors.append(_with_area(table)[:, k])
            references.append(None if other is None else other[:, k])
    return [{**left, **right} for left, right in zip(named, estimates(vectors, references))]


def _with_area(table: Tensor) -> Tensor:
    return torch.cat([table.double(), area(table.double(), SHARES)[:, None]], dim=1)


EXPERIMENT = Experiment(
    "masking-curves", "beyond Tables 1 and 2: removing 0 to 100 % from either end", "masking_curves.csv", measure, rows,
    (*GROUP, "layer"))
