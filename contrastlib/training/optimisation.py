"""What a recipe means for the parameters: their groups, the learning rate of each step, their average."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from contrastlib.models import Classifier
from contrastlib.training.heads import head_parameters
from contrastlib.training.recipe import Recipe


def optimiser(classifier: Classifier, recipe: Recipe) -> Optimizer:
    """The optimiser of a recipe, for all parameters of a network.

    Args:
        classifier: all its parameters are trained, also those that were frozen.
        recipe: how.

    Returns:
        the optimiser; each of its groups has its own highest learning rate under ``highest``.
    """
    groups = list(_groups(classifier, recipe))
    if recipe.optimiser == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov)
    return AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))


def _groups(classifier: Classifier, recipe: Recipe) -> Iterator[dict[str, Any]]:
    head = {id(p) for p in head_parameters(classifier)} if recipe.head_lr is not None else set()
    sorted_out: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in classifier.model.parameters():
        parameter.requires_grad_(True)
        decayed = recipe.decay_all or parameter.ndim > 1
        sorted_out.setdefault((id(parameter) in head, decayed), []).append(parameter)
    for (of_head, decayed), parameters in sorted_out.items():
        lr = recipe.head_lr if of_head and recipe.head_lr is not None else recipe.lr
        yield {"params": parameters, "lr": lr, "highest": lr, "weight_decay": recipe.weight_decay if decayed else 0.0}


def factor(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step, as a share of the highest.

    Args:
        recipe: its schedule and warm-up.
        step: from 0, over all epochs.
        steps: of the whole training.

    Returns:
        in [0, 1].
    """
    if recipe.schedule == "constant":
        return 1.0
    rise = round(recipe.warmup * steps)
    if step < rise:
        done = (step + 1) / (rise + 1)
        return done if recipe.schedule == "cosine" else 0.04 + 0.96 * (1 - math.cos(math.pi * done)) / 2
    return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def set_rates(of: Optimizer, share: float) -> None:
    """Set the learning rates of a step.

    Args:
        of: the optimiser.
        share: of each group's highest learning rate.
    """
    for group in of.param_groups:
        group["lr"] = group["highest"] * share


class Average:
    """A network whose weights follow those of another, averaged over its steps.

    The decay rises to its value over the first steps, so that an average of few steps is not mostly the beginning.

    Args:
        classifier: to be followed.
        decay: per step, in (0, 1).

    Attributes:
        classifier: has the averaged weights; in evaluation mode.
        steps: how many steps the average has seen.
    """

    def __init__(self, classifier: Classifier, decay: float) -> None:
        self.classifier = copy.deepcopy(classifier).eval()
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights of now.

        Args:
            model: the network that is followed.
        """
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for own, now in zip(self.classifier.model.state_dict().values(), model.state_dict().values()):
            if own.is_floating_point():
                own.lerp_(now.to(own), 1 - decay)
            else:
                own.copy_(now)
        self.steps += 1
