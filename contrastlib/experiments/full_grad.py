"""FullGrad: does it add up, which of its published forms is negative everywhere, and where does it lie?"""

from typing import Any

import torch
from torch import Tensor

from contrastlib import contrast, evaluation, published, relevance
from contrastlib.attribution import FullGradTerms, full_grad, grad_cam
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values, best_two
from contrastlib.models import Classifier

CONTRASTS = {"original": contrast.original, "weighted": contrast.weighted}
# The published post-processing, and what is left of it when steps are left out.
VARIANTS: dict[str, dict[str, Any]] = {
    "as in the FullGrad repository": {},
    "without absolute values": {"absolute": False},
    "without absolute values, each channel rescaled": {"absolute": False, "rescaled": "channel"},
    "without absolute values and rescaling": {"absolute": False, "rescaled": None},
    "the same without the input's term": {"absolute": False, "rescaled": None, "input_term": False},
    "the same, of BatchNorm only its beta": {
        "absolute": False, "rescaled": None, "input_term": False, "batch_norm": "beta"}}
TERMS, COMPLETE, LARGEST = "terms", "complete", "largest residual over score"
OF_TERMS = ("score", "input", "biases with a place", "biases without a place", "contrast", LARGEST)
OF_MAPS = ("sum", "negative share", "negative everywhere", "non-negative everywhere", "positive share on the bird",
           "pixels of the wrong colour")
COLUMNS = ("target", "contrast", "map")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """For each target and contrast: the terms (n, 6); for each kind of map what :data:`OF_MAPS` names, (n, 6)."""
    logits = classifier(batch.images).detach()
    found: Values = {}
    for target, (one, _) in best_two(logits, setting).items():
        for name, score in CONTRASTS.items():
            asked = (classifier, batch.images, one, score)
            terms = full_grad.terms(*asked)
            found[target, name, TERMS] = _of_terms(terms)
            forms = {form: published.full_grad(*asked, **options) for form, options in VARIANTS.items()}
            for form, maps in {COMPLETE: terms.map(), **forms, "grad_cam": grad_cam(*asked)}.items():
                found[target, name, form] = _of_map(maps, batch.bird)
    return found


def _of_terms(terms: FullGradTerms) -> Tensor:
    nothing = torch.zeros_like(terms.score)
    own = terms.unplaced.get("contrast", nothing)
    placed = sum((maps.double().flatten(1).sum(1) for maps in terms.placed.values()), start=nothing)
    return torch.stack([terms.score, terms.input.double().flatten(1).sum(1), placed,
                        sum(terms.unplaced.values(), start=nothing) - own, own, terms.residual / terms.score],
                       dim=1).float()


def _of_map(maps: Tensor, bird: Tensor) -> Tensor:
    pixels = maps.double().flatten(1)
    wrong = ((published.white_at_mid_range(maps) > 0) != (maps > 0)).double().flatten(1).mean(1)
    negative = 1 - relevance.positive_share(maps)[:, 0] - (pixels == 0).double().mean(1)
    return torch.stack([pixels.sum(1), negative, (pixels < 0).all(1).double(), (pixels >= 0).all(1).double(),
                        evaluation.share_inside(maps, bird), wrong], dim=1).float()


def rows(values: Values) -> Rows:
    """Averages; of the residual the largest. ``weighted`` is compared with ``original``, image by image."""
    columns = {(*cells, metric): table[:, m] for cells, table in values.items()
               for m, metric in enumerate(OF_TERMS if cells[-1] == TERMS else OF_MAPS)}
    for cells in [cells for cells in columns if cells[-1] == LARGEST]:  # the same for every image
        known = columns[cells].isfinite()
        columns[cells] = torch.where(known, columns[cells].abs().masked_fill(~known, 0).max(), torch.nan)
    table = evaluation.summarise(columns, (*COLUMNS, "metric"), compare="contrast", to="original")
    table.loc[table["metric"] == LARGEST, ["se", "difference", "low", "high"]] = None
    return table


EXPERIMENT = Experiment(
    "full-grad", "Figure 3: FullGrad that adds up, and its published forms", measure, rows, wants_parts=True)
