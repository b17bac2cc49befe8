"""FullGrad: does it add up, which of its published forms is negative everywhere, and where does it lie?"""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from contrastlib import contrast, relevance
from contrastlib.attribution import FullGradTerms, full_grad, grad_cam
from contrastlib.contrast import Contrast
from contrastlib.evaluation import Cells, share_inside, summarise
from contrastlib.experiments.experiment import Batch, Experiment, Setting, Values, best_two
from contrastlib.models import Classifier
from contrastlib.published import full_grad as published
from contrastlib.published import white_at_mid_range

CONTRASTS: dict[str, Contrast] = {"original": contrast.original, "weighted": contrast.weighted}
COMPLETE = "complete"
VARIANTS: dict[str, dict[str, Any]] = {
    "as in the FullGrad repository": {},
    "without absolute values": {"absolute": False},
    "without absolute values, each channel rescaled": {"absolute": False, "rescaled": "channel"},
    "without absolute values and rescaling": {"absolute": False, "rescaled": None},
    "the same without the input's term": {"absolute": False, "rescaled": None, "input_term": False},
    "the same, of BatchNorm only its beta": {
        "absolute": False, "rescaled": None, "input_term": False, "batch_norm": "beta"},
}
"""The published post-processing, and what is left of it when steps are left out."""

TERMS, LARGEST = "terms", "largest residual over score"
OF_TERMS = ("score", "input", "biases with a place", "biases without a place", "contrast", LARGEST)
OF_MAPS = ("sum", "negative share", "negative everywhere", "non-negative everywhere", "positive share on the bird",
           "pixels of the wrong colour")
COLUMNS = ("target", "contrast", "map")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """For each target and contrast: the terms (n, 6); for each kind of map what :data:`OF_MAPS` names, (n, 6)."""
    with torch.no_grad():
        logits = classifier(batch.images)
    found: Values = {}
    for target, (one, _) in best_two(logits, setting).items():
        for name, score in CONTRASTS.items():
            terms = full_grad.terms(classifier, batch.images, one, score)
            found[target, name, TERMS] = _of_terms(terms)
            found[target, name, COMPLETE] = _of_map(terms.map(), batch.bird)
            for variant, options in VARIANTS.items():
                maps = published(classifier, batch.images, one, score, **options)
                found[target, name, variant] = _of_map(maps, batch.bird)
            cam = grad_cam(classifier, batch.images, one, score)
            found[target, name, "grad_cam"] = _of_map(cam, batch.bird)
    return found


def _of_terms(terms: FullGradTerms) -> Tensor:
    def total(maps: list[Tensor]) -> Tensor:
        return sum((one.double().flatten(1).sum(1) for one in maps), start=torch.zeros_like(terms.score))

    own = terms.unplaced.get("contrast", torch.zeros_like(terms.score))
    nowhere = sum(terms.unplaced.values(), start=torch.zeros_like(terms.score)) - own
    return torch.stack([terms.score, total([terms.input]), total(list(terms.placed.values())), nowhere, own,
                        terms.residual / terms.score], dim=1).float()


def _of_map(maps: Tensor, bird: Tensor) -> Tensor:
    pixels = maps.double().flatten(1)
    shown = white_at_mid_range(maps)
    wrong = ((shown > 0) != (maps > 0)).double().flatten(1).mean(1)
    return torch.stack([pixels.sum(1), 1 - relevance.positive_share(maps)[:, 0] - (pixels == 0).double().mean(1),
                        (pixels < 0).all(1).double(), (pixels >= 0).all(1).double(), share_inside(maps, bird), wrong],
                       dim=1).float()


def rows(values: Values) -> pd.DataFrame:
    """Averages; of the residual the largest. ``weighted`` is compared with ``original``, image by image."""
    columns: dict[Cells, Tensor] = {}
    for cells, table in values.items():
        columns |= {(*cells, metric): column
                    for metric, column in zip(OF_TERMS if cells[-1] == TERMS else OF_MAPS, table.unbind(1))}
    for cells, column in columns.items():
        if cells[-1] == LARGEST:  # the same for every image
            known = column.isfinite()
            columns[cells] = torch.where(known, column.abs().masked_fill(~known, 0).max(), torch.nan)
    table = summarise(columns, (*COLUMNS, "metric"), compare="contrast", to="original")
    table.loc[table["metric"] == LARGEST, ["se", "difference", "low", "high"]] = None
    return table


EXPERIMENT = Experiment(
    "full-grad", "Figure 3: FullGrad that adds up, and its published forms", measure, rows,
    wants_parts=True)
