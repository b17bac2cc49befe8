"""The experiments by name."""

from contrastlib.experiments import (
    coherence,
    dominance,
    full_grad,
    gradient_sign,
    logit_norm,
    masking,
    masking_curves,
    misclassified,
    rollout_slips,
)
from contrastlib.experiments.experiment import Experiment
from contrastlib.names import UnknownNameError, did_you_mean

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (gradient_sign, masking, masking_curves, logit_norm, dominance, full_grad, coherence,
                   rollout_slips, misclassified)
}
"""All of them, in the order of the chapters."""


def by_name(name: str) -> Experiment:
    """An experiment by its name.

    Args:
        name: such as ``gradient-sign``; an underscore does for a hyphen.

    Returns:
        the experiment.

    Raises:
        UnknownNameError: there is none; says which come near.
    """
    wanted = name.replace("_", "-")
    if wanted not in EXPERIMENTS:
        raise UnknownNameError(f"no experiment is called {name!r}{did_you_mean(wanted, list(EXPERIMENTS))}")
    return EXPERIMENTS[wanted]
