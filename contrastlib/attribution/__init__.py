"""Attributions: how the gradient of a score becomes a relevance map.

Every attribution takes ``(classifier, images, target, contrast)`` and gives signed relevance maps (N, 1, H, W). It
never knows a contrast by name. All methods but those over attention are linear in the gradient of the score, so that
``method.class_maps(classifier, images)`` gives the maps of many classes at once, and any contrast afterwards is a
weighted sum of them.
"""

from contrastlib.attribution.attention import (
    AttentionAttribution,
    AttentionRelevance,
    AttentionRollout,
    Attentions,
    attention_relevance,
    attention_rollout,
    attentions,
    through_layers,
)
from contrastlib.attribution.base import Attribution, BaseAttribution, at_input, at_layer
from contrastlib.attribution.cam import (
    METHODS,
    grad_cam,
    gradient,
    gradient_x_input,
    hirescam,
    linear_approximation,
    xgrad_cam,
)
from contrastlib.attribution.class_maps import ClassMaps
from contrastlib.attribution.full_grad import (
    Bias,
    FullGrad,
    FullGradTerms,
    IncompleteError,
    IncompleteWarning,
    Recording,
    full_grad,
)
from contrastlib.contrast import Target

__all__ = ["METHODS", "AttentionAttribution", "AttentionRelevance", "AttentionRollout", "Attentions", "Attribution",
           "BaseAttribution", "Bias", "ClassMaps", "FullGrad", "FullGradTerms", "IncompleteError", "IncompleteWarning",
           "Recording", "Target", "at_input", "at_layer", "attention_relevance", "attention_rollout", "attentions",
           "full_grad", "grad_cam", "gradient", "gradient_x_input", "hirescam", "linear_approximation",
           "through_layers", "xgrad_cam"]
