"""What is left of the contrast when one class dominates, and what float32 leaves of it."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from contrastlib import contrast, relevance, uncertainty
from contrastlib.experiments.experiment import Batch, Experiment, Row, Setting, Values, key, number
from contrastlib.experiments.masking import METHODS, places
from contrastlib.models import Classifier

EDGES = (-math.inf, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 14.0, 17.0, math.inf)
"""Of the log-odds of the most probable class; 2.2 is p = 0.9, 4.6 is 0.99, 6.9 is 0.999."""

METRICS = ("correlation original weighted", "correlation probability weighted", "correlation normalised weighted",
           "correlation normalised original", "norm of the others over the target", "positive share original",
           "positive share weighted")
LOG_ODDS, FOUND = key("log-odds"), key("metrics")


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """Log-odds of the most probable class (n, 1), and how its maps relate to each other (n, 7)."""
    layer, method = next(places(setting, classifier))
    maps = METHODS[method].class_maps(classifier, batch.images, layer=layer)
    target = maps.logits.argmax(-1)
    original, weighted, probability = (
        maps.combine(score, target) for score in (contrast.original, contrast.weighted, contrast.probability))
    normalised = maps.combine(contrast.weighted, target, normalised=True)
    found = [
        relevance.correlation(original, weighted), relevance.correlation(probability, weighted),
        relevance.correlation(normalised, weighted), relevance.correlation(normalised, original),
        _norm(weighted - original) / _norm(original),
        relevance.positive_share(original), relevance.positive_share(weighted),
    ]
    log_odds = contrast.weighted(maps.logits, target)[:, None]
    return {LOG_ODDS: log_odds.float(), FOUND: torch.cat(found, dim=1).float()}


def _norm(maps: Tensor) -> Tensor:
    return maps.double().flatten(1).norm(dim=1)[:, None]


def rows(values: Values) -> list[Row]:
    """Averages with intervals, bin by bin and over all images; a map that is constant has no correlation."""
    log_odds, found = values[LOG_ODDS][:, 0], values[FOUND]
    bins = [*pairwise(EDGES), (-math.inf, math.inf)]
    return [row for low, high in bins for row in _bin(found[(log_odds >= low) & (log_odds < high)], low, high)]


def _bin(found: Tensor, low: float, high: float) -> list[Row]:
    rows = []
    for metric, column in zip(METRICS, found.unbind(1)):
        known = column[column.isfinite()]
        if len(known):
            interval = uncertainty.bootstrap(known[:, None])
            rows.append({"from": f"{low:g}", "to": f"{high:g}", "metric": metric,
                         "value": number(interval.value.item()), "low": number(interval.low.item()),
                         "high": number(interval.high.item()), "n": str(len(known))})
    return rows


EXPERIMENT = Experiment(
    "dominance", "Table 2 and the discussion: maps when one class dominates", "dominance.csv", measure, rows)
