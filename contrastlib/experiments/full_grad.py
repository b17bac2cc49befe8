"""FullGrad: does it add up, which of its published forms is negative everywhere, and where does it lie?"""

from typing import Any

import torch
from torch import Tensor

from contrastlib import contrast, localisation, relevance
from contrastlib.attribution import FullGradTerms, full_grad, grad_cam
from contrastlib.contrast import Contrast
from contrastlib.experiments.experiment import Batch, Experiment, Row, Setting, Values, estimates, key, number, parts
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

TERMS = "terms"
OF_TERMS = ("score", "input", "biases with a place", "biases without a place", "contrast", "residual over score")
OF_MAPS = ("sum", "negative share", "negative everywhere", "non-negative everywhere", "positive share on the bird",
           "pixels of the wrong colour")
COLUMNS = ("target", "contrast", "map")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """For each target and contrast: the terms (n, 6); for each kind of map what :data:`OF_MAPS` names, (n, 6)."""
    with torch.no_grad():
        best = classifier(batch.images).topk(2).indices
    classes = dict(zip(("t1", "t2"), best.unbind(1)))
    bird = None if batch.parts is None else ((batch.parts > 0) & (batch.parts < 32))[:, None]
    found: Values = {}
    for target in setting.targets:
        for name, score in CONTRASTS.items():
            terms = full_grad.terms(classifier, batch.images, classes[target], score)
            found[key(target, name, TERMS)] = _of_terms(terms)
            found[key(target, name, COMPLETE)] = _of_map(terms.map(), bird)
            for variant, options in VARIANTS.items():
                maps = published(classifier, batch.images, classes[target], score, **options)
                found[key(target, name, variant)] = _of_map(maps, bird)
            cam = grad_cam(classifier, batch.images, classes[target], score)
            found[key(target, name, "grad_cam")] = _of_map(cam, bird)
    return found


def _of_terms(terms: FullGradTerms) -> Tensor:
    def total(maps: list[Tensor]) -> Tensor:
        return sum((one.double().flatten(1).sum(1) for one in maps), start=torch.zeros_like(terms.score))

    own = terms.unplaced.get("contrast", torch.zeros_like(terms.score))
    nowhere = sum(terms.unplaced.values(), start=torch.zeros_like(terms.score)) - own
    return torch.stack([terms.score, total([terms.input]), total(list(terms.placed.values())), nowhere, own,
                        terms.residual / terms.score], dim=1).float()


def _of_map(maps: Tensor, bird: Tensor | None) -> Tensor:
    pixels = maps.double().flatten(1)
    inside = torch.full_like(pixels[:, 0], torch.nan) if bird is None else localisation.share_inside(maps, bird)
    shown = white_at_mid_range(maps)
    wrong = ((shown > 0) != (maps > 0)).double().flatten(1).mean(1)
    return torch.stack([pixels.sum(1), 1 - relevance.positive_share(maps)[:, 0] - (pixels == 0).double().mean(1),
                        (pixels < 0).all(1).double(), (pixels >= 0).all(1).double(), inside, wrong], dim=1).float()


def rows(values: Values) -> list[Row]:
    """Averages; of the residual the largest. ``weighted`` is compared with ``original``, image by image."""
    return [row for name in values for column in range(values[name].shape[1]) for row in _rows_of(values, name, column)]


def _rows_of(values: Values, name: str, column: int) -> list[Row]:
    target, which, what = parts(name)
    metric = (OF_TERMS if what == TERMS else OF_MAPS)[column]
    own = values[name][:, column]
    other = None if which == "original" else values[key(target, "original", what)][:, column]
    known = own.isfinite() if other is None else own.isfinite() & other.isfinite()
    if not known.any():
        return []
    (cell,) = estimates([own[known]], [None if other is None else other[known]])
    if metric == "residual over score":
        metric = "largest residual over score"
        cell = {**dict.fromkeys(cell, ""), "value": number(own[known].abs().max().item()), "n": cell["n"]}
    return [{**dict(zip(COLUMNS, parts(name))), "metric": metric, **cell}]


EXPERIMENT = Experiment(
    "full-grad", "Figure 3: FullGrad that adds up, and its published forms", "full_grad.csv", measure, rows,
    wants_parts=True)
