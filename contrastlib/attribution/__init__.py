"""Attributions: how the gradient of a score becomes a relevance map.

Every attribution takes ``(classifier, images, target, contrast)`` and gives signed relevance maps (N, 1, H, W). It
never knows a contrast by name. All methods here are linear in the gradient of the score, so that
``method.class_maps(classifier, images)`` gives the maps of all classes at once, and any contrast afterwards is a
weighted sum of them.
"""

from contrastlib.attribution._base import Attribution, at_input, at_layer
from contrastlib.attribution._class_maps import ClassMaps
from contrastlib.attribution._grad_cam import grad_cam
from contrastlib.attribution._gradient import gradient
from contrastlib.attribution._gradient_x_input import gradient_x_input
from contrastlib.attribution._linear_approximation import hirescam, linear_approximation
from contrastlib.attribution._xgrad_cam import xgrad_cam

METHODS: dict[str, Attribution] = {
    method.name: method for method in (gradient, gradient_x_input, linear_approximation, grad_cam, xgrad_cam)
}
"""The attributions by name, for command lines and widgets."""

__all__ = [
    "METHODS",
    "Attribution",
    "ClassMaps",
    "at_input",
    "at_layer",
    "grad_cam",
    "gradient",
    "gradient_x_input",
    "hirescam",
    "linear_approximation",
    "xgrad_cam",
]
