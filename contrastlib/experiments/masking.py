"""Tables 1 and 2: only pixels of one sign are kept; which of the two most probable classes is left?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from contrastlib import contrast, perturbation
from contrastlib.attribution import grad_cam, linear_approximation, xgrad_cam
from contrastlib.contrast import Contrast
from contrastlib.experiments.experiment import (
    GROUP,
    Batch,
    Experiment,
    Row,
    Setting,
    Values,
    estimates,
    key,
    parts,
)
from contrastlib.faithfulness import relative_probability
from contrastlib.models import Classifier
from contrastlib.perturbation import BASELINES, Sign, logits_of
from contrastlib.published import count_to_replace, replaced
from contrastlib.published import upsample as upsample_with_aligned_corners

METHODS = {"linear_approximation": linear_approximation, "grad_cam": grad_cam, "xgrad_cam": xgrad_cam}
SIGNS: tuple[Sign, ...] = ("positive", "negative")
COLUMNS = ("layer", "method", "target", "budget", "baseline", "keep", "contrast")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """Relative probability of the target and share of pixels kept, (n, 2) for each setting of the table."""
    logits = logits_of(classifier, batch.images)
    first, second = logits.topk(2).indices.unbind(1)
    pairs = {"t1": (first, second), "t2": (second, first)}
    baselines = {name: make(batch.images, classifier) for name, make in BASELINES.items()}
    found = {}
    for layer, method in places(setting, classifier):
        for target in setting.targets:
            one, other = pairs[target]
            place = (layer, method, target)
            untouched = relative_probability(logits, one, other)
            found[key(*place, "none", "", "", "")] = _cells(untouched, 1.0)
            for budget, sign, name, mask in masks(classifier, batch.images, one, layer, method):
                for baseline, instead in baselines.items():
                    kept = logits_of(classifier, perturbation.keep(batch.images, instead, mask))
                    found[key(*place, budget, baseline, sign, name)] = _cells(
                        relative_probability(kept, one, other), mask.float().mean((1, 2, 3)))
    return found


def masks(classifier: Classifier, images: Tensor, target: Tensor, layer: str, method: str,
          ) -> Iterator[tuple[str, Sign, str, Tensor]]:
    """Which pixels stay, by budget, sign and contrast.

    ``published`` is the published computation throughout: probability in float32, corners aligned, counts of the
    wrong sign, one pixel short. ``swapped`` is the same with its signs put right, ``caption`` what the caption says;
    both on the corrected maps.
    """
    size = (images.shape[-2], images.shape[-1])

    def mapped(score: Contrast, *, upsample: bool = True) -> Tensor:
        return METHODS[method](classifier, images, target, score, layer=layer, upsample=upsample)

    coarse = [upsample_with_aligned_corners(mapped(score, upsample=False), size)
              for score in (contrast.original, contrast.probability)]
    exact = mapped(contrast.original), mapped(contrast.weighted)
    for sign in SIGNS:
        count = count_to_replace(coarse[0], coarse[1], sign)
        for name, maps in zip(("original", "probability"), coarse):
            yield "published", sign, name, ~replaced(maps, count, sign)
        for budget, chosen in (("swapped", perturbation.without_opposite), ("caption", perturbation.only)):
            for name, mask in zip(("original", "weighted"), chosen(*exact, sign)):
                yield budget, sign, name, mask


def places(setting: Setting, classifier: Classifier) -> Iterator[tuple[str, str]]:
    """The layers and methods of a setting, pair by pair."""
    for place in setting.layers or (classifier.layer_name,):
        layer, _, only = place.partition("=")
        for method in (only,) if only else METHODS:
            if method not in METHODS:
                raise ValueError(f"{method!r} is no method that reads a layer; choose from {', '.join(METHODS)}")
            yield layer, method


def rows(values: Values) -> list[Row]:
    """Averages; ``weighted`` and ``probability`` are compared with ``original`` image by image."""
    cells = estimates([table[:, 0] for table in values.values()], [_original(name, values) for name in values])
    return [{**dict(zip(COLUMNS, parts(name))), "kept": f"{table[:, 1].double().mean().item():.6g}", **cell}
            for (name, table), cell in zip(values.items(), cells)]


def _original(name: str, values: Values) -> Tensor | None:
    *place, which = parts(name)
    return None if which in ("", "original") else values[key(*place, "original")][:, 0]


def _cells(relative: Tensor, kept: Tensor | float) -> Tensor:
    return torch.stack([relative, torch.as_tensor(kept).to(relative).expand_as(relative)], dim=1)


EXPERIMENT = Experiment(
    "masking", "Tables 1 and 2: keeping only the positive or the negative pixels", "masking.csv", measure, rows,
    (*GROUP, "layer"))
