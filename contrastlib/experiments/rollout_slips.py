"""What each slip of the published attention rollout does to its maps, and to where they lie."""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor

from contrastlib import contrast, relevance
from contrastlib.attribution import AttentionRollout, attentions
from contrastlib.contrast import Contrast
from contrastlib.evaluation import share_inside, summarise
from contrastlib.experiments.experiment import Batch, Experiment, Setting, Values
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
    found: Values = {}
    for name, score in CONTRASTS.items():
        for rectified, slip, maps in _maps(classifier, batch.images, target, score):
            if slip == CORRECTED:
                reference = maps
            if (name, slip) != ("original", PROBABILITY):  # there it is another question, not another scale
                found[rectified, name, slip] = _numbers(maps, reference, batch.bird)
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
    other = Classifier(classifier.model, input_size=classifier.input_size, mean=0.5, std=0.5, name=classifier.name)
    return other.to(classifier.mean)


def _numbers(maps: Tensor, reference: Tensor, bird: Tensor) -> Tensor:
    large = relevance.upsample(maps, (bird.shape[-2], bird.shape[-1]))
    return torch.stack([relevance.correlation(maps, reference)[:, 0], share_inside(large, bird)], dim=1).float()


def rows(values: Values) -> pd.DataFrame:
    """Averages; every slip is compared with the corrected map, image by image."""
    columns = {(*cells, metric): numbers[:, m] for m, metric in enumerate(METRICS) for cells, numbers in values.items()}
    return summarise(columns, (*COLUMNS, "metric"), compare="slip", to=CORRECTED)


EXPERIMENT = Experiment(
    "rollout-slips", "Figures 5(b) and 8(b): what each slip does to attention rollout", measure, rows, wants_parts=True)
