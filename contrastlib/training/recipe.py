"""How a network is trained, as one record: the papers' recipe, and shorter ones."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from contrastlib.names import find

Optimiser = Literal["sgd", "adamw"]
Schedule = Literal["constant", "one_cycle", "cosine"]
Augmentation = Literal["paper", "crops_and_flips", "light_tensor", "none"]
Amp = Literal["off", "auto"]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are those of the original paper's code (wang2022why).

    Attributes:
        optimiser: ``sgd`` or ``adamw``.
        lr: learning rate of all layers but the head, and of the head too unless `head_lr` says otherwise.
        head_lr: learning rate of the layer that gives the logits; None for `lr`.
        momentum: of SGD, in [0, 1); AdamW's first decay.
        nesterov: whether SGD looks ahead.
        weight_decay: as the optimiser understands it, per step.
        decay_all: whether biases, norms and other vectors are decayed like the rest.
        batch_size: images per step.
        epochs: passes over the training images.
        schedule: ``constant``; ``one_cycle``, a rise and a fall along half cosines; ``cosine``, a linear rise and a
            fall along half a cosine. Both fall to zero.
        warmup: share of all steps in which the learning rate rises, in [0, 1); ``constant`` has none.
        label_smoothing: share of the target's probability that is spread over all classes, in [0, 1).
        augmentation: ``paper``, ``crops_and_flips``, ``light_tensor`` (on whole batches, for small pictures) or
            ``none``; see ``contrastlib.training.augmentation``.
        gradient_clip: longest gradient of all parameters together, in the Euclidean norm; None for no limit.
        ema: weights are averaged with this decay per step, in (0, 1), and the average is what counts; None for none.
        amp: ``auto`` computes in bfloat16, or in float16 where that is missing, on CUDA devices only; ``off`` never.
        channels_last: whether tensors are laid out channels last, which is faster on new GPUs.
        in_memory: whether pictures are resized once and held as bytes, 3·H·W each; for many passes over small ones.
        seed: of the data's order, the augmentation, dropout and a new head.

    Raises:
        ValueError: a value is out of its range, or two contradict each other.
    """

    optimiser: Optimiser = "sgd"
    lr: float = 1e-3
    head_lr: float | None = None
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    decay_all: bool = True
    batch_size: int = 128
    epochs: int = 200
    # Paper: MultiStepLR halves the learning rate at epoch 200. Here: constant, which is the same, because the training
    # of 200 epochs ends there and the milestone never acts.
    schedule: Schedule = "constant"
    warmup: float = 0.0
    label_smoothing: float = 0.0
    augmentation: Augmentation = "paper"
    gradient_clip: float | None = None
    ema: float | None = None
    amp: Amp = "auto"
    channels_last: bool = False
    in_memory: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name, (low, high, low_too) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (low < value < high or (low_too and value == low)):
                raise ValueError(f"{name} must lie in {'[' if low_too else '('}{low:g}, {high:g}), got {value}")
        if self.nesterov and (self.optimiser != "sgd" or not self.momentum):
            raise ValueError("nesterov needs the optimiser sgd and a momentum above 0")
        if self.in_memory and self.augmentation not in ("light_tensor", "none"):
            raise ValueError("in_memory holds pictures at the size of the input, which leaves nothing to crop from: "
                             f"it goes with augmentation light_tensor or none, not with {self.augmentation}")

    def replaced(self, **changes: Any) -> "Recipe":
        """The recipe with other values.

        Args:
            changes: values by field.

        Returns:
            a new recipe.

        Raises:
            ValueError: a value is out of its range.
            TypeError: there is no such field.
        """
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """The values by field, in the order of the fields."""
        return dataclasses.asdict(self)

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Where another recipe differs.

        Args:
            other: its values by field.

        Returns:
            sentences such as ``lr is 0.01 there and 0.001 here``; empty if they agree.
        """
        return [f"{name} is {other.get(name)} there and {value} here"
                for name, value in self.as_dict().items() if other.get(name) != value]


CHOICES = {"optimiser": get_args(Optimiser), "schedule": get_args(Schedule),
           "augmentation": get_args(Augmentation), "amp": get_args(Amp)}
"""The words that a field may hold, by field."""

_RANGES: dict[str, tuple[float, float, bool]] = {  # from, to, and whether the first is allowed itself
    "lr": (0, math.inf, False), "head_lr": (0, math.inf, False), "momentum": (0, 1, True),
    "weight_decay": (0, math.inf, True), "batch_size": (1, math.inf, True), "epochs": (1, math.inf, True),
    "warmup": (0, 1, True), "label_smoothing": (0, 1, True), "gradient_clip": (0, math.inf, False),
    "ema": (0, 1, False), "seed": (0, 2**63, True),
}

RECIPES = {
    "paper": Recipe(),
    "short": Recipe(lr=0.02, head_lr=0.1, nesterov=True, batch_size=64, epochs=5, schedule="one_cycle", warmup=0.25,
                    label_smoothing=0.05, augmentation="crops_and_flips", channels_last=True),
    "birds_vgg": Recipe(optimiser="adamw", lr=2e-3, weight_decay=0.05, decay_all=False, batch_size=64, epochs=8,
                        schedule="cosine", warmup=0.1, label_smoothing=0.05, augmentation="light_tensor",
                        gradient_clip=1.0, ema=0.998, channels_last=True, in_memory=True),
    "birds_vit": Recipe(optimiser="adamw", lr=1.2e-3, weight_decay=0.05, decay_all=False, batch_size=32, epochs=12,
                        schedule="cosine", warmup=0.1, label_smoothing=0.05, augmentation="light_tensor",
                        gradient_clip=1.0, ema=0.998, channels_last=True, in_memory=True),
}
"""Recipes by name: ``paper``, the papers' (wang2022why, eriksson2025reproducibility); ``short``, five epochs; and those
of the two small networks for drawn birds."""


def named_recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by name.

    Args:
        name: a key of ``RECIPES``.
        changes: values that differ from it, by field.

    Returns:
        the recipe.

    Raises:
        UnknownNameError: no recipe has the name; says which come near.
        ValueError: a value is out of its range.
        TypeError: there is no such field.
    """
    known = list(RECIPES)
    return RECIPES[known[find(name, known, "recipe")]].replaced(**changes)
