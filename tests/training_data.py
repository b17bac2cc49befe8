"""A data set that a tiny network learns within seconds, and the network."""

import numpy as np
from networks import seeded
from PIL import Image
from torch import nn

from contrastlib.data import ImageDataset
from contrastlib.models import Classifier

SIZE = 16


class Blobs(ImageDataset):
    """Noise with a brighter channel: red, green or blue."""

    def __init__(self, count: int, split: str = "train") -> None:
        labels = [i % 3 for i in range(count)]
        super().__init__("blobs", split, ("red", "green", "blue"), [f"{split}/{i}" for i in range(count)], labels)

    def picture(self, i: int) -> Image.Image:
        split, _, number = self.ids[i].partition("/")
        draw = np.random.default_rng([len(split), int(number)])
        pixels = draw.integers(0, 200, (SIZE, SIZE, 3))
        pixels[..., self.labels[i]] += 55
        return Image.fromarray(pixels.astype(np.uint8))

    def _content(self, i: int) -> bytes:
        return self.picture(i).tobytes()


def small(classes: int = 3, dropout: float = 0.0, name: str = "small") -> Classifier:
    """A seeded network for 16 x 16 pixels."""
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                             nn.Flatten(), nn.Dropout(dropout), nn.Linear(24, classes))

    return Classifier(seeded(build), input_size=SIZE, crop=False, mean=0.4, std=0.3, name=name)
