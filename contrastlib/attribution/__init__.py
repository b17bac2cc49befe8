"""Attributions: how the gradient of a score becomes a relevance map.

Every attribution takes ``(classifier, images, target, contrast)`` and gives signed relevance maps (N, 1, H, W). It
never knows a contrast by name. All methods but those over attention are linear in the gradient of the score, so that
``method.class_maps(classifier, images)`` gives the maps of many classes at once, and any contrast afterwards is a
weighted sum of them.
"""

from contrastlib.attribution._attention import AttentionAttribution, Attentions, attentions
from contrastlib.attribution._attention_relevance import AttentionRelevance, attention_relevance
from contrastlib.attribution._base import Attribution, at_input, at_layer
from contrastlib.attribution._class_maps import ClassMaps
from contrastlib.attribution._full_grad import FullGrad, FullGradTerms, IncompleteError, IncompleteWarning, full_grad
from contrastlib.attribution._grad_cam import grad_cam
from contrastlib.attribution._gradient import gradient
from contrastlib.attribution._gradient_x_input import gradient_x_input
from contrastlib.attribution._linear_approximation import hirescam, linear_approximation
from contrastlib.attribution._rollout import AttentionRollout, attention_rollout
from contrastlib.attribution._xgrad_cam import xgrad_cam

METHODS: dict[str, Attribution] = {
    method.name: method for method in (gradient, gradient_x_input, linear_approximation, grad_cam, xgrad_cam)
}
"""Those that read one layer, or the image, by name."""

__all__ = [
    "METHODS",
    "AttentionAttribution",
    "AttentionRelevance",
    "AttentionRollout",
    "Attentions",
    "Attribution",
    "ClassMaps",
    "FullGrad",
    "FullGradTerms",
    "IncompleteError",
    "IncompleteWarning",
    "at_input",
    "at_layer",
    "attention_relevance",
    "attention_rollout",
    "attentions",
    "full_grad",
    "grad_cam",
    "gradient",
    "gradient_x_input",
    "hirescam",
    "linear_approximation",
    "xgrad_cam",
]
