"""What the makers of networks hand to :func:`contrastlib.models.load`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

from torch import nn

from contrastlib.models.weights import Weights, WeightsError


class Preprocessing(TypedDict, total=False):
    """How images are prepared; keywords of :class:`contrastlib.models.Classifier`."""

    input_size: int | tuple[int, int]
    mean: float | Sequence[float]
    std: float | Sequence[float]
    resize: int | tuple[int, int] | None
    interpolation: str
    crop: bool


@dataclass(frozen=True)
class Request:
    """What network is wanted.

    Attributes:
        name: of the architecture, as its library calls it.
        weights: ``"default"``, the library's own name for weights, a file, or None for random ones.
        num_classes: number of logits; None for that of the library's own weights.
        digest: SHA-256 that the file of weights must have, or its beginning.
        model_args: further arguments of the library's function that builds the network.
    """

    name: str
    weights: str | Path | None
    num_classes: int | None
    digest: str | None
    model_args: Mapping[str, Any]

    def check_num_classes(self, of_weights: int) -> None:
        """Hold that weights with so many classes are what is wanted.

        Args:
            of_weights: the number of classes of the library's weights.

        Raises:
            WeightsError: another number of classes is asked for.
        """
        if self.num_classes not in (None, of_weights):
            raise WeightsError(
                f"the default weights of {self.name} have {of_weights} classes, not {self.num_classes}: "
                f"pass weights=PATH to a file with {self.num_classes}, or weights=None for random weights")


@dataclass(frozen=True)
class Built:
    """A network and what its library knows about it."""

    model: nn.Module
    weights: Weights
    class_names: tuple[str, ...] | None
    preprocessing: Preprocessing


@cache
def imagenet_names() -> tuple[str, ...]:
    """The names of the 1000 classes of ILSVRC 2012, in the order of the logits."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])
