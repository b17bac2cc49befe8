"""What a training was and what came of it, to be kept beside the weights."""

import dataclasses
import hashlib
import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from contrastlib.data import ImageDataset
from contrastlib.models import Classifier
from contrastlib.training.checkpoint import RECORD, write_json
from contrastlib.training.recipe import Recipe
from contrastlib.training.splits import Splits


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images.

    Attributes:
        epoch: from 1.
        loss: mean training loss in nats, with label smoothing and augmentation, while the weights change.
        train_accuracy: share of augmented training images recognised in that pass, in [0, 1].
        held_out_loss: mean cross entropy afterwards, in nats, on the test or the validation images.
        held_out_accuracy: share recognised of them, in [0, 1].
        seconds: of training and of measuring.
    """

    epoch: int
    loss: float
    train_accuracy: float
    held_out_loss: float
    held_out_accuracy: float
    seconds: float


@dataclass(frozen=True)
class StoredWeights:
    """A file of weights, measured as it lies there.

    Attributes:
        file: its name in the folder.
        epoch: after which the weights were so.
        digest: SHA-256 of the file.
        dtype: how its numbers are stored.
        test_accuracy: of the file's weights on the test split, in [0, 1].
        test_loss: mean cross entropy, in nats.
    """

    file: str
    epoch: int
    digest: str
    dtype: str
    test_accuracy: float
    test_loss: float


@dataclass
class Record:
    """A training and its outcome.

    Attributes:
        model: name of the architecture.
        starting_weights: where they came from; source, digest, licence.
        preprocessing: the classifier's keywords that the weights are used with.
        data_set: its name.
        data: for each of training, test and validation (if there is one) the split, the number of images, and the
            data's digest.
        class_names: one per logit.
        recipe: its values by field.
        held_out: ``test`` or ``validation``: what the columns of the history mean, and where the best was chosen.
        note: what that choice means.
        history: one row per epoch.
        best_epoch: the one with the highest accuracy on the held-out images; the lower loss decides between equals.
        files: ``best`` and ``last``; empty until the training is finished.
        versions: of the libraries and of Python.
        device: where it was trained.
        finished: whether all epochs are done.
    """

    model: str
    starting_weights: dict[str, str | None]
    preprocessing: dict[str, Any]
    data_set: str
    data: dict[str, dict[str, Any]]
    class_names: list[str]
    recipe: dict[str, Any]
    held_out: str
    note: str
    history: list[Epoch] = field(default_factory=list)
    best_epoch: int | None = None
    files: dict[str, StoredWeights] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    finished: bool = False

    def write(self, folder: Path) -> None:
        """Write ``record.json``.

        Args:
            folder: of the training.
        """
        write_json(folder / RECORD, dataclasses.asdict(self))

    @classmethod
    def read(cls, folder: str | Path) -> "Record":
        """Read ``record.json``.

        Args:
            folder: of the training.

        Returns:
            the record.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the file is damaged.
        """
        content = json.loads((Path(folder) / RECORD).read_text(encoding="utf8"))
        history = [Epoch(**row) for row in content.pop("history")]
        files = {name: StoredWeights(**entry) for name, entry in content.pop("files").items()}
        return cls(history=history, files=files, **content)

    @property
    def class_names_digest(self) -> str:
        """SHA-256 of the class names as JSON, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.class_names).encode()).hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a training to be gone on with."""
        weights = self.starting_weights["digest"] or self.starting_weights["source"]
        digests = {f"digest of the {name} images": data["digest"] for name, data in self.data.items()}
        return {"model": self.model, "preprocessing": json.dumps(self.preprocessing), "data set": self.data_set,
                "choice of the best epoch": self.held_out, "digest of the class names": self.class_names_digest,
                "beginning": weights, "recipe": self.recipe, **digests}


def begin(classifier: Classifier, splits: Splits, recipe: Recipe) -> Record:
    """The record of a training that has not begun.

    Args:
        classifier: with its starting weights.
        splits: the images.
        recipe: how it is trained.

    Returns:
        a record without history.
    """
    names = {"training": splits.training, "test": splits.test, "validation": splits.validation}
    return Record(
        model=classifier.name, starting_weights=dataclasses.asdict(classifier.weights),
        preprocessing=_preprocessing(classifier), data_set=splits.training.name,
        data={name: _described(data) for name, data in names.items() if data is not None},
        class_names=list(splits.training.class_names),
        recipe=recipe.as_dict(), held_out=splits.chosen_on, note=splits.note, versions=_versions(),
        device=device_name(classifier.mean.device))


def device_name(device: torch.device) -> str:
    """What a device is called.

    Args:
        device: where a network is.

    Returns:
        a GPU's product name, or ``cpu``.
    """
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _described(data: ImageDataset) -> dict[str, Any]:
    return {"split": data.split, "images": len(data), "digest": data.digest()}


def _preprocessing(classifier: Classifier) -> dict[str, Any]:
    how = classifier.recipe
    resize = list(how.resize) if isinstance(how.resize, tuple) else how.resize
    return {"input_size": list(how.input_size), "resize": resize, "crop": how.crop,
            "interpolation": how.interpolation, "mean": [round(v, 6) for v in classifier.mean.flatten().tolist()],
            "std": [round(v, 6) for v in classifier.std.flatten().tolist()]}


def _versions() -> dict[str, str]:
    found = {name: _version(name) for name in ("contrastlib", "torch", "torchvision", "timm", "numpy", "pillow")}
    return {"python": platform.python_version(), **found}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # a checkout on the path, which nobody installed
        return "not installed"
