"""Which images are trained on, and which ones choose the best epoch."""

from dataclasses import dataclass

import numpy as np

from contrastlib.data import ImageDataset
from contrastlib.models import Classifier

ON_TEST = ("The best epoch is the one with the highest accuracy on the test split itself, because the data set has no "
           "validation split: its test accuracy is a little too good. The last epoch was not chosen.")
ON_VALIDATION = "The best epoch is the one with the highest accuracy on images held out of the training split."


@dataclass(frozen=True)
class Splits:
    """The images of one training.

    Attributes:
        training: those that the weights are fitted to.
        test: those that are measured on in the end.
        validation: held out of the training split, to choose the best epoch on; None where the test split does that.
    """

    training: ImageDataset
    test: ImageDataset
    validation: ImageDataset | None = None

    @property
    def held_out(self) -> ImageDataset:
        """The images that every epoch is measured on, and the best one chosen by."""
        return self.test if self.validation is None else self.validation

    @property
    def chosen_on(self) -> str:
        """``test`` or ``validation``."""
        return "test" if self.validation is None else "validation"

    @property
    def note(self) -> str:
        """What the choice of the best epoch means for its accuracy."""
        return ON_TEST if self.validation is None else ON_VALIDATION

    def check(self, classifier: Classifier) -> None:
        """Hold that there are images, and that the network has their classes.

        Args:
            classifier: to be trained.

        Raises:
            ValueError: a split is empty, a label is no class, or the classes differ.
        """
        for data in (self.training, self.test, *([] if self.validation is None else [self.validation])):
            if not len(data):
                raise ValueError(f"the split {data.split} of {data.name} has no images")
            wrong = [i for i, label in enumerate(data.labels) if not 0 <= label < data.num_classes]
            if wrong:
                raise ValueError(f"{data.name} {data.split}: the label of {data.ids[wrong[0]]} is "
                                 f"{data.labels[wrong[0]]}, and must lie in [0, {data.num_classes})")
            if tuple(data.class_names) != tuple(self.training.class_names):
                raise ValueError(f"the classes of {data.name} {data.split} are not those of the training images")
        if classifier.num_classes != self.training.num_classes:
            raise ValueError(f"{classifier.name} has {classifier.num_classes} classes and {self.training.name} "
                             f"{self.training.num_classes}: give the network a new head")


def split(training: ImageDataset, test: ImageDataset, validation: float = 0.0, seed: int = 0) -> Splits:
    """Hold a share of the training images out, the same share of every class, or none.

    Args:
        training: the training split.
        test: the test split.
        validation: share of every class that is held out, in [0, 1); 0 for none.
        seed: of the draw.

    Returns:
        the splits.

    Raises:
        ValueError: the share is out of its range, or too small to hold any image out.
    """
    if not 0 <= validation < 1:
        raise ValueError(f"validation is a share in [0, 1), got {validation}")
    if not validation:
        return Splits(training, test)
    held = _stratified(training, validation, seed)
    if not held:
        raise ValueError(f"a share of {validation:g} of each class of {training.name} holds no image out")
    kept = sorted(set(range(len(training))) - set(held))
    return Splits(training.subset(kept), test, training.subset(held))


def _stratified(data: ImageDataset, share: float, seed: int) -> list[int]:
    labels, draw = np.array(data.labels), np.random.default_rng(seed)
    members = [draw.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return sorted(int(i) for positions in members for i in positions[:round(share * len(positions))])
