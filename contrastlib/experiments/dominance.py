"""What is left of the contrast when one class dominates, and what float32 leaves of it."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from contrastlib import contrast, evaluation, relevance
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values
from contrastlib.experiments.masking import METHODS, layers_and_methods
from contrastlib.models import Classifier

# Of the log-odds of the most probable class; 2.2 is p = 0.9, 4.6 is 0.99, 6.9 is 0.999.
EDGES = (-math.inf, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 14.0, 17.0, math.inf)

METRICS = ("correlation original weighted", "correlation probability weighted", "correlation normalised weighted",
           "correlation normalised original", "norm of the others over the target", "positive share original",
           "positive share weighted")
LOG_ODDS, FOUND = ("log-odds",), ("metrics",)


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """Log-odds of the most probable class (n, 1), and how its maps relate to each other (n, 7)."""
    layer, method = next(layers_and_methods(setting, classifier))
    maps = METHODS[method].class_maps(classifier, batch.images, layer=layer)
    target = maps.logits.argmax(-1)
    original, weighted, probability = (
        maps.combine(score, target) for score in (contrast.original, contrast.weighted, contrast.probability))
    normalised = maps.combine(contrast.weighted, target, normalised=True)
    others, alone = (maps.double().flatten(1).norm(dim=1)[:, None] for maps in (weighted - original, original))
    found = [
        relevance.correlation(original, weighted), relevance.correlation(probability, weighted),
        relevance.correlation(normalised, weighted), relevance.correlation(normalised, original),
        others / alone,
        relevance.positive_share(original), relevance.positive_share(weighted)]
    log_odds = contrast.weighted(maps.logits, target)[:, None]
    return {LOG_ODDS: log_odds.float(), FOUND: torch.cat(found, dim=1).float()}


def rows(values: Values) -> Rows:
    """Averages with intervals, bin by bin and over all images; a map that is constant has no correlation."""
    log_odds, found = values[LOG_ODDS][:, 0], values[FOUND]
    columns: dict[evaluation.Cells, Tensor] = {}
    for low, high in [*pairwise(EDGES), (-math.inf, math.inf)]:
        inside = (log_odds >= low) & (log_odds < high)
        for metric, column in zip(METRICS, found.unbind(1)):
            columns[f"{low:g}", f"{high:g}", metric] = column.masked_fill(~inside, torch.nan)
    return evaluation.averages(columns, ("from", "to", "metric"))


EXPERIMENT = Experiment("dominance", "Table 2 and the discussion: maps when one class dominates", measure, rows)
