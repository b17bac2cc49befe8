"""What each slip of the published attention rollout does to its maps, and to where they lie."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from contrastlib import contrast, localisation, relevance
from contrastlib.attribution import AttentionRollout, attentions
from contrastlib.contrast import Contrast
from contrastlib.experiments.experiment import Batch, Experiment, Row, Setting, Values, estimates, key, parts
from contrastlib.models import Classifier
from contrastlib.published import SLIPS, with_slips

CORRECTED = "corrected"
AS_PUBLISHED = "as published"
NORMALISED = "normalised with 0.5"
PROBABILITY = "probability"
VARIANTS: dict[str, tuple[str, ...]] = {
    CORRECTED: (), **{slip: (slip,) for slip in SLIPS},
    AS_PUBLISHED: ("reversed gradients", "gradient of scores", "columns normalised"),
}
"""Which slips act together; those of one call that the notebook's figures have are the first three."""

CONTRASTS: dict[str, Contrast] = {"original": contrast.original, "weighted": contrast.weighted}
COLUMNS = ("rectified", "contrast", "slip")
METRICS = ("correlation with the corrected map", "positive share on the bird")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """For each contrast, rectified or not, and slip: correlation and share on the bird, (n, 2), for the first class."""
    del setting
    with torch.no_grad():
        target = classifier(batch.images).argmax(-1)
    bird = None if batch.parts is None else ((batch.parts > 0) & (batch.parts < 32))[:, None]
    found: Values = {}
    for name, score in CONTRASTS.items():
        for rectified, slip, maps in _maps(classifier, batch.images, target, score):
            if slip == CORRECTED:
                reference = maps
            if (name, slip) != ("original", PROBABILITY):  # there it is another question, not another scale
                found[key(rectified, name, slip)] = _numbers(maps, reference, bird)
    return found


def _maps(classifier: Classifier, images: Tensor, target: Tensor, score: Contrast,
          ) -> Iterator[tuple[str, str, Tensor]]:
    """Whether it is rectified, which slip, and the map (n, 1, h, w); the corrected map first."""
    own = attentions(classifier, images, target, score)
    others = {PROBABILITY: attentions(classifier, images, target, contrast.probability),
              NORMALISED: attentions(_normalised_with_half(classifier), images, target, score)}
    for relu in (True, False):
        rectified = "yes" if relu else "no"
        for name, slips in VARIANTS.items():
            yield rectified, name, with_slips(others.get(name, own), slips, relu=relu)
        yield rectified, NORMALISED, with_slips(others[NORMALISED], (), relu=relu)
        yield rectified, "scaled", AttentionRollout(relu=relu).rollout(own)


def _normalised_with_half(classifier: Classifier) -> Classifier:
    """The same network behind another normalisation than the one it was trained with; erratum 44."""
    other = copy.copy(classifier)
    other._buffers = {name: torch.full_like(buffer, 0.5) for name, buffer in classifier.named_buffers(recurse=False)}
    return other


def _numbers(maps: Tensor, reference: Tensor, bird: Tensor | None) -> Tensor:
    agree = relevance.correlation(maps, reference)[:, 0]
    if bird is None:
        return torch.stack([agree, torch.full_like(agree, torch.nan)], dim=1).float()
    large = relevance.upsample(maps, (bird.shape[-2], bird.shape[-1]))
    return torch.stack([agree, localisation.share_inside(large, bird)], dim=1).float()


def rows(values: Values) -> list[Row]:
    """Averages; every slip is compared with the corrected map, image by image."""
    table = []
    for column, metric in enumerate(METRICS):
        for name, numbers in values.items():
            own = numbers[:, column]
            reference = values[key(*parts(name)[:2], CORRECTED)][:, column]
            known = own.isfinite() & reference.isfinite()
            if known.any():
                same = parts(name)[2] == CORRECTED
                (cell,) = estimates([own[known]], [None if same else reference[known]])
                table.append({**dict(zip(COLUMNS, parts(name))), "metric": metric, **cell})
    return table


EXPERIMENT = Experiment(
    "rollout-slips", "Figures 5(b) and 8(b): what each slip does to attention rollout", "rollout_slips.csv", measure,
    rows, wants_parts=True)
