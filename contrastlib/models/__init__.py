"""Classifiers: a network, what it needs to know about its input and classes, and where its weights came from."""

from contrastlib.models.classifier import Classifier
from contrastlib.models.loading import load
from contrastlib.models.weights import Weights, WeightsError, WeightsNotFoundError
from contrastlib.names import UnknownNameError

__all__ = ["Classifier", "UnknownNameError", "Weights", "WeightsError", "WeightsNotFoundError", "load"]
