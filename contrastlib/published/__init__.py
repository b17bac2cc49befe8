r"""What the two papers really computed, slips included.

The rest of the library holds the corrected formulas and carries no switches for old mistakes. Here each slip that can
be written down is derived again from its description, one function per erratum, so that its effect can be measured
rather than guessed. The numbers are those of the book's page of errata; only chapters, tests and the experiments that
compute a table as published call these functions.

Erratum 1 needs no function of its own: it is :func:`contrastlib.contrast.probability` in float32.
"""

from contrastlib.published._contrasts import (
    mean_over_all_classes,
    mean_with_wrong_sign,
    mean_without_factor,
    weighted_with_attached_weights,
)
from contrastlib.published._full_grad import full_grad, white_at_mid_range
from contrastlib.published._maps import LAYERS, as_bytes, mean_of_batch_means, upsample
from contrastlib.published._masking import Keep, count_to_replace, random_blur, relative_probability, replaced
from contrastlib.published._transformers import (
    SLIPS,
    attentions_of_two_calls,
    columns_normalised,
    gradient_of_scores,
    gradient_rollout,
    reversed_gradients,
    with_slips,
)

__all__ = [
    "LAYERS",
    "SLIPS",
    "Keep",
    "as_bytes",
    "attentions_of_two_calls",
    "columns_normalised",
    "count_to_replace",
    "full_grad",
    "gradient_of_scores",
    "gradient_rollout",
    "mean_of_batch_means",
    "mean_over_all_classes",
    "mean_with_wrong_sign",
    "mean_without_factor",
    "random_blur",
    "relative_probability",
    "replaced",
    "reversed_gradients",
    "upsample",
    "weighted_with_attached_weights",
    "white_at_mid_range",
    "with_slips",
]
