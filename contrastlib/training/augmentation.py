"""Augmentations: of single pictures, as the papers do it, and of whole batches, for small pictures in memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision import transforms as T

from contrastlib.models import Classifier, Preparation
from contrastlib.training.recipe import Augmentation

Prepare = Callable[[Image.Image], Tensor]
"""From a picture to bytes (3, H, W), uint8."""


def paper(size: tuple[int, int]) -> T.Compose:
    """The original's augmentation (wang2022why, its ``dataset.py``), in its order.

    Args:
        size: (H, W) of the input; 224 x 224 in the papers.

    Returns:
        a transform from a PIL picture to (3, H, W) uint8.
    """
    return T.Compose([
        T.RandomHorizontalFlip(),
        T.RandomVerticalFlip(),
        T.RandomRotation(30),
        T.ColorJitter(0.2, 0.2, 0.2, 0.1),
        T.RandomAffine(degrees=0, translate=(0.1, 0.1)),
        T.RandomResizedCrop(size, scale=(0.7, 1.0), interpolation=T.InterpolationMode.BILINEAR),
        T.RandomPerspective(distortion_scale=0.2, p=0.5, interpolation=T.InterpolationMode.BICUBIC),
        T.RandomGrayscale(0.2),
        T.RandomApply([T.GaussianBlur(3, sigma=(0.1, 2.0))], p=0.2),
        T.PILToTensor(),
    ])


def crops_and_flips(size: tuple[int, int]) -> T.Compose:
    """Crops of 35 % of the picture and more, and horizontal flips.

    Args:
        size: (H, W) of the input.

    Returns:
        a transform from a PIL picture to (3, H, W) uint8.
    """
    return T.Compose([T.RandomResizedCrop(size, scale=(0.35, 1.0)), T.RandomHorizontalFlip(), T.PILToTensor()])


@dataclass(frozen=True)
class Plain:
    """A picture as the classifier prepares it, in bytes.

    Attributes:
        preparation: the classifier's.
    """

    preparation: Preparation

    def __call__(self, picture: Image.Image) -> Tensor:
        """The picture, (3, H, W) uint8; nothing is lost, for PIL resizes in bytes."""
        return (self.preparation.apply(picture)[0] * 255).round().to(torch.uint8)


def prepared(classifier: Classifier, augmentation: Augmentation = "none") -> Prepare:
    """How a single picture becomes input; what works on batches is no part of it.

    Args:
        classifier: whose size and preparation is wanted.
        augmentation: one of the recipe's words.

    Returns:
        a transform from a PIL picture to (3, H, W) uint8.
    """
    if augmentation == "paper":
        return paper(classifier.input_size)
    if augmentation == "crops_and_flips":
        return crops_and_flips(classifier.input_size)
    return Plain(classifier.recipe)


def light_tensor(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, shift, and change brightness and contrast, of every image by itself and all at once.

    Half of the images are flipped left to right; all are shifted by up to a sixteenth of their size, their edge
    repeated; brightness moves by up to 0.1, and contrast is scaled by 0.8 to 1.2 about the image's mean.

    Args:
        images: (N, 3, H, W) in [0, 1].
        generator: for all draws; on the CPU, so that they are the same on every device.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    flip, contrast, brightness = torch.rand(3, len(images), 1, 1, 1, generator=generator).to(images.device)
    images = torch.where(flip < 0.5, images.flip(3), images)
    images = shifted(images, max(1, min(images.shape[-2:]) // 16), generator)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * (0.8 + 0.4 * contrast) + mean + 0.2 * brightness - 0.1).clamp(0, 1)


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Every image moved by whole pixels, its edge repeated.

    Args:
        images: (N, 3, H, W).
        most: pixels in each direction, at most.
        generator: for the draws.

    Returns:
        (N, 3, H, W).
    """
    n, _, h, w = images.shape
    top, left = torch.randint(0, 2 * most + 1, (2, n, 1), generator=generator).to(images.device)
    rows = top + torch.arange(h, device=images.device)
    columns = left + torch.arange(w, device=images.device)
    padded = F.pad(images, (most, most, most, most), mode="replicate")
    which = torch.arange(n, device=images.device)[:, None, None]
    # The channels come last where an index is on both sides of a slice.
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
