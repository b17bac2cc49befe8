"""What each slip of the published attention rollout does to its maps, and to where they lie."""

from collections.abc import Iterator

import torch
from torch import Tensor

from contrastlib import contrast, evaluation, published, relevance
from contrastlib.attribution import AttentionRollout, attentions
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values
from contrastlib.models import Classifier

CORRECTED, AS_PUBLISHED = "corrected", "as published"
NORMALISED, PROBABILITY = "normalised with 0.5", "probability"
# Which slips act together; those of one call that the notebook's figures have are the first three.
VARIANTS: dict[str, tuple[str, ...]] = {
    CORRECTED: (), **{slip: (slip,) for slip in published.SLIPS},
    AS_PUBLISHED: ("reversed gradients", "gradient of scores", "columns normalised")}
CONTRASTS: dict[str, contrast.Contrast] = {"original": contrast.original, "weighted": contrast.weighted}
COLUMNS = ("rectified", "contrast", "slip")
METRICS = ("correlation with the corrected map", "positive share on the bird")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:  # noqa: ARG001 - all take a setting
    """For each contrast, rectified or not, and slip: correlation and share on the bird, (n, 2), for the first class."""
    target = classifier(batch.images).argmax(-1)
    found: Values = {}
    for name, score in CONTRASTS.items():
        for rectified, slip, maps in _maps(classifier, batch.images, target, score):
            if slip == CORRECTED:
                reference = maps
            if (name, slip) != ("original", PROBABILITY):  # there it is another question, not another scale
                large = relevance.upsample(maps, (batch.images.shape[-2], batch.images.shape[-1]))
                numbers = relevance.correlation(maps, reference)[:, 0], evaluation.share_inside(large, batch.bird)
                found[rectified, name, slip] = torch.stack(numbers, dim=1).float()
    return found


def _maps(classifier: Classifier, images: Tensor, target: Tensor, score: contrast.Contrast,
          ) -> Iterator[tuple[str, str, Tensor]]:
    """Whether it is rectified, which slip, and the map (n, 1, h, w); the corrected map first."""
    own = attentions(classifier, images, target, score)
    # The same network behind another normalisation than the one it was trained with; erratum 44.
    other = Classifier(classifier.model, input_size=classifier.input_size, mean=0.5, std=0.5, name=classifier.name)
    others = {PROBABILITY: attentions(classifier, images, target, contrast.probability),
              NORMALISED: attentions(other.to(classifier.mean), images, target, score)}
    for relu in (True, False):
        rectified = "yes" if relu else "no"
        for name, slips in VARIANTS.items():
            yield rectified, name, published.with_slips(others.get(name, own), slips, relu=relu)
        yield rectified, NORMALISED, published.with_slips(others[NORMALISED], (), relu=relu)
        yield rectified, "scaled", AttentionRollout(relu=relu).rollout(own)


def rows(values: Values) -> Rows:
    """Averages; every slip is compared with the corrected map, image by image."""
    columns = {(*cells, metric): numbers[:, m] for m, metric in enumerate(METRICS) for cells, numbers in values.items()}
    return evaluation.summarise(columns, (*COLUMNS, "metric"), compare="slip", to=CORRECTED)


EXPERIMENT = Experiment(
    "rollout-slips", "Figures 5(b) and 8(b): what each slip does to attention rollout", measure, rows, wants_parts=True)
