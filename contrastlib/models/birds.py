"""The two networks that this project trained itself, on its drawn birds; their weights are part of the package."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from timm.layers.hybrid_embed import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from contrastlib.models.classifier import Preprocessing

TRAINED = Path(__file__).parent / "trained"
"""Where the weights lie: a folder for each network, as ``python -m contrastlib.training`` leaves it."""

SIZE = 128
"""Side of the pictures in pixels."""

PREPROCESSING = Preprocessing(input_size=SIZE, resize=None, mean=0.5, std=0.25, interpolation="bilinear", crop=False)
"""How pictures are prepared for both networks: squeezed to 128 x 128 pixels."""

_STAGES = ((16,), (32,), (48, 48), (64, 64), (96, 96))  # channels of the convolutions before each pooling
_HIDDEN = 192
_STEM = (16, 32, 48, 96)


class BirdsVGG(nn.Module):
    """A small VGG: convolutions with BatchNorm, poolings, and a fully connected head that sees every position.

    The head reads the last map position by position, as VGG-16-BN's does, so that the gradient at that map differs
    from place to place: Grad-CAM, linear approximation and XGradCAM give three different answers on it.

    Args:
        num_classes: number of logits C.
        stages: for each stage the channels of its convolutions; a pooling halves the map after each but the last.
        hidden: width of the head.
    """

    def __init__(self, num_classes: int, stages: Sequence[Sequence[int]] = _STAGES, hidden: int = _HIDDEN) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in stages:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        side = SIZE // 2 ** len(stages)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels * side * side, hidden), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(hidden, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of normalised images (N, 3, 128, 128)."""
        return self.classifier(self.features(images))


def birds_vgg(num_classes: int, **args: Any) -> nn.Module:
    """The VGG-style network, with random weights.

    Args:
        num_classes: number of logits C.
        args: further arguments of :class:`BirdsVGG`.

    Returns:
        the network.
    """
    return BirdsVGG(num_classes, **args)


class ConvStem(nn.Sequential):
    """Convolutions with BatchNorm, each followed by a pooling: what a small transformer cannot learn from few pictures.

    Args:
        widths: channels of the convolutions; each pooling halves the map.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        channels = 3
        for width in widths:
            self.extend([nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                         nn.MaxPool2d(2)])
            channels = width


def birds_vit(num_classes: int, **args: Any) -> nn.Module:
    """The vision transformer, with random weights: timm's ViT, small, on the 8 x 8 positions of a stem of convolutions.

    64 tokens and a class token, four blocks, four heads.

    Args:
        num_classes: number of logits C.
        args: other arguments of timm's ``VisionTransformer``.

    Returns:
        the network.
    """
    embed = partial(HybridEmbed, backbone=ConvStem(_STEM))
    sizes = {"img_size": SIZE, "patch_size": 1, "embed_dim": 128, "depth": 4, "num_heads": 4, **args}
    return VisionTransformer(num_classes=num_classes, embed_layer=embed, **sizes)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"birds_vgg": birds_vgg, "birds_vit": birds_vit}
"""The networks, by name."""


def record(name: str) -> dict[str, Any]:
    """How the weights of a network were trained.

    Args:
        name: a key of :data:`NETWORKS`.

    Returns:
        recipe, history, digests and the rest, as ``python -m contrastlib.training`` wrote it.
    """
    found: dict[str, Any] = json.loads((TRAINED / name / "record.json").read_text(encoding="utf8"))
    return found
