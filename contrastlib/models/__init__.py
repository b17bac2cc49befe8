"""Classifiers: a network, what it needs to know about its input and classes, and where its weights came from."""

from contrastlib.models import birds
from contrastlib.models.classifier import Classifier, NotFiniteError, Preparation, Preprocessing, Weights
from contrastlib.models.layers import Layer, LayerReport, Layout, NoMapError, layout_of, resolve, square_enough
from contrastlib.models.zoo import Stored, WeightsError, WeightsNotFoundError, fit_weights, load, read_weights
from contrastlib.names import UnknownNameError

__all__ = ["Classifier", "Layer", "LayerReport", "Layout", "NoMapError", "NotFiniteError", "Preparation",
           "Preprocessing", "Stored", "UnknownNameError", "Weights", "WeightsError", "WeightsNotFoundError", "birds",
           "fit_weights", "layout_of", "load", "read_weights", "resolve", "square_enough"]
