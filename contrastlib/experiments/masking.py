"""Tables 1 and 2: only pixels of one sign are kept; which of the two most probable classes is left?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from contrastlib import contrast, perturbation, published
from contrastlib.attribution import grad_cam, linear_approximation, xgrad_cam
from contrastlib.evaluation import relative_probability, summarise
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values, best_two
from contrastlib.models import Classifier

METHODS = {"linear_approximation": linear_approximation, "grad_cam": grad_cam, "xgrad_cam": xgrad_cam}
SIGNS: tuple[perturbation.Sign, ...] = ("positive", "negative")
COLUMNS = ("layer", "method", "target", "budget", "baseline", "keep", "contrast")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """Relative probability of the target and share of pixels kept, (n, 2) for each setting of the table."""
    logits = perturbation.logits_of(classifier, batch.images)
    baselines = {name: make(batch.images, classifier) for name, make in perturbation.BASELINES.items()}
    found: Values = {}
    for layer, method in layers_and_methods(setting, classifier):
        for target, (one, other) in best_two(logits, setting).items():
            place, before = (layer, method, target), relative_probability(logits, one, other)
            found[*place, "none", "", "", ""] = torch.stack([before, torch.ones_like(before)], dim=1)
            for budget, sign, name, mask in masks(classifier, batch.images, one, layer, method):
                for baseline, instead in baselines.items():
                    kept = perturbation.logits_of(classifier, perturbation.keep(batch.images, instead, mask))
                    relative = relative_probability(kept, one, other)
                    found[*place, budget, baseline, sign, name] = torch.stack(
                        [relative, mask.float().mean((1, 2, 3)).to(relative)], dim=1)
    return found


def masks(classifier: Classifier, images: Tensor, target: Tensor, layer: str, method: str,
          ) -> Iterator[tuple[str, perturbation.Sign, str, Tensor]]:
    """Which pixels stay, by budget, sign and contrast.

    ``published`` is the published computation throughout: probability in float32, corners aligned, counts of the
    wrong sign, one pixel short. ``swapped`` is the same with its signs put right, ``caption`` what the caption says;
    both on the corrected maps.
    """
    size = (images.shape[-2], images.shape[-1])

    def mapped(score: contrast.Contrast, *, upsample: bool = True) -> Tensor:
        return METHODS[method](classifier, images, target, score, layer=layer, upsample=upsample)

    coarse = [published.upsample(mapped(score, upsample=False), size)  # with aligned corners
              for score in (contrast.original, contrast.probability)]
    exact = mapped(contrast.original), mapped(contrast.weighted)
    for sign in SIGNS:
        count = published.count_to_replace(coarse[0], coarse[1], sign)
        for name, maps in zip(("original", "probability"), coarse):
            yield "published", sign, name, ~published.replaced(maps, count, sign)
        for budget, chosen in (("swapped", perturbation.without_opposite), ("caption", perturbation.only)):
            for name, mask in zip(("original", "weighted"), chosen(*exact, sign)):
                yield budget, sign, name, mask


def layers_and_methods(setting: Setting, classifier: Classifier) -> Iterator[tuple[str, str]]:
    """The layers and methods of a setting, pair by pair."""
    for place in setting.layers or (classifier.layer_name,):
        layer, _, only = place.partition("=")
        for method in (only,) if only else METHODS:
            if method not in METHODS:
                raise ValueError(f"{method!r} is no method that reads a layer; choose from {', '.join(METHODS)}")
            yield layer, method


def rows(values: Values) -> Rows:
    """Averages; ``weighted`` and ``probability`` are compared with ``original`` image by image."""
    relative, kept = ({cells: both[:, i] for cells, both in values.items()} for i in range(2))
    table = summarise(relative, COLUMNS, compare="contrast", to="original")
    table.insert(len(COLUMNS), "kept", summarise(kept, COLUMNS)["value"])
    return table


EXPERIMENT = Experiment("masking", "Tables 1 and 2: keeping only the positive or the negative pixels", measure, rows)
