"""How good a network is on a data set."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from contrastlib.data import ImageDataset
from contrastlib.models import Classifier
from contrastlib.training.augmentation import prepared
from contrastlib.training.feeding import Feed, batches


class Evaluation(NamedTuple):
    """What a network makes of a data set.

    Attributes:
        accuracy: share of the images whose most probable class is their label, in [0, 1].
        loss: mean cross entropy, in nats, without label smoothing.
        n: number of images.
    """

    accuracy: float
    loss: float
    n: int


def evaluate(classifier: Classifier, dataset: ImageDataset, batch_size: int = 64, *, workers: int = 0) -> Evaluation:
    """Accuracy and loss on a data set, in full precision.

    Args:
        classifier: measured in evaluation mode; its own mode comes back afterwards.
        dataset: each picture is prepared as the classifier prepares it.
        batch_size: images per forward pass; changes no number but by rounding.
        workers: processes that read pictures.

    Returns:
        accuracy, loss and number of images.

    Raises:
        ValueError: there are no images, or the batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    return measure(classifier, Feed(dataset, prepared(classifier), classifier.mean.device, workers=workers), batch_size)


@torch.no_grad()
def measure(classifier: Classifier, feed: Feed, batch_size: int) -> Evaluation:
    """Accuracy and loss on images that are fed.

    Args:
        classifier: as for :func:`evaluate`.
        feed: the images.
        batch_size: images per forward pass.

    Returns:
        accuracy, loss and number of images.

    Raises:
        ValueError: there are no images.
    """
    if not len(feed):
        raise ValueError(f"{feed.data.name} {feed.data.split} has no images to evaluate on")
    modes = {module: module.training for module in classifier.modules()}
    classifier.eval()
    right, loss = 0, 0.0
    try:
        for images, labels in feed.batches(batches(range(len(feed)), batch_size)):
            logits = classifier(images.to(classifier.mean.dtype) / 255)
            right += int((logits.argmax(-1) == labels).sum())
            loss += float(F.cross_entropy(logits.double(), labels, reduction="sum"))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return Evaluation(right / len(feed), loss / len(feed), len(feed))
