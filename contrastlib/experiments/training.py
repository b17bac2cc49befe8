"""Fine-tuning: the papers' recipe and shorter ones, from the command line with ``python -m contrastlib.training``.

Every draw is a function of the recipe's seed, the epoch, and the picture or the step. So no state of a random generator
is kept, an interrupted training goes on bit for bit, and the number of worker processes changes nothing.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints
from zipfile import BadZipFile, ZipFile

import filelock
import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from tqdm import tqdm

from contrastlib import models, store, tables
from contrastlib.data import ImageDataset
from contrastlib.models import Classifier, WeightsError
from contrastlib.names import find

# What a training leaves in its folder.
CHECKPOINT, BEST, LAST, RECORD = FILES = "checkpoint.pt", "best.safetensors", "last.safetensors", "record.json"

_HEAD, _NOISE, _LIGHT = 1, 2, 3  # tell the draws of a new head, of dropout, and of batches' augmentation apart
_PATIENCE = 10.0  # seconds, in which the workers of a killed training see that it is gone, and free its folder
_ADVICE = "choose another folder (--output), or begin anew in this one, which removes them (--restart)"

# Recipes


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
        augmentation: ``paper``; ``crops_and_flips``, crops of 35 % of the picture and more; ``light_tensor``, on whole
            batches, for small pictures; or ``none``.
        gradient_clip: longest gradient of all parameters together, in the Euclidean norm; None for no limit.
        ema: weights are averaged with this decay per step, in (0, 1), and the average is what counts; None for none.
        amp: ``auto`` computes in bfloat16 on CUDA devices only; ``off`` never.
        channels_last: whether tensors are laid out channels last, which is faster on new GPUs, and for depthwise
            convolutions on processors.
        in_memory: whether pictures are resized once and held as bytes, 3·H·W each; for many passes over small ones.
        seed: of the data's order, the augmentation, dropout and a new head.

    Raises:
        ValueError: a value is out of its range, or two contradict each other.
    """

    optimiser: Literal["sgd", "adamw"] = "sgd"
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
    schedule: Literal["constant", "one_cycle", "cosine"] = "constant"
    warmup: float = 0.0
    label_smoothing: float = 0.0
    augmentation: Literal["paper", "crops_and_flips", "light_tensor", "none"] = "paper"
    gradient_clip: float | None = None
    ema: float | None = None
    amp: Literal["off", "auto"] = "auto"
    channels_last: bool = False
    in_memory: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Recipe).items():
            if get_origin(hint) is Literal and getattr(self, name) not in get_args(hint):
                raise ValueError(f"{name} must be one of {', '.join(get_args(hint))}, got {getattr(self, name)!r}")
        for name, (low, high, low_too) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (low < value < high or (low_too and value == low)):
                raise ValueError(f"{name} must lie in {'[' if low_too else '('}{low:g}, {high:g}), got {value}")
        if self.nesterov and (self.optimiser != "sgd" or not self.momentum):
            raise ValueError("nesterov needs the optimiser sgd and a momentum above 0")
        if self.in_memory and self.augmentation not in ("light_tensor", "none"):
            raise ValueError("in_memory holds pictures at the size of the input, with nothing left to crop from: it "
                             f"goes with augmentation light_tensor or none, not with {self.augmentation}")


_RANGES: dict[str, tuple[float, float, bool]] = {  # from, to, and whether the first is allowed itself
    "lr": (0, math.inf, False), "head_lr": (0, math.inf, False), "gradient_clip": (0, math.inf, False),
    "weight_decay": (0, math.inf, True), "batch_size": (1, math.inf, True), "epochs": (1, math.inf, True),
    "momentum": (0, 1, True), "warmup": (0, 1, True), "label_smoothing": (0, 1, True), "ema": (0, 1, False),
    "seed": (0, 2**63, True)}

# By name: the papers' (wang2022why, eriksson2025reproducibility), five epochs, and those of the two small networks for
# drawn birds.
RECIPES = {
    "paper": Recipe(),
    "short": Recipe(lr=0.02, head_lr=0.1, nesterov=True, batch_size=64, epochs=5, schedule="one_cycle", warmup=0.25,
                    label_smoothing=0.05, augmentation="crops_and_flips", channels_last=True),
    "birds_vgg": Recipe(optimiser="adamw", lr=2e-3, weight_decay=0.05, decay_all=False, batch_size=64, epochs=8,
                        schedule="cosine", warmup=0.1, label_smoothing=0.05, augmentation="light_tensor",
                        gradient_clip=1.0, ema=0.998, channels_last=True, in_memory=True)}
RECIPES["birds_vit"] = replace(RECIPES["birds_vgg"], lr=1.2e-3, batch_size=32, epochs=12)


def named_recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by name.

    Args:
        name: a key of ``RECIPES``.
        changes: values that differ from it, by field.

    Raises:
        UnknownNameError: no recipe has the name; says which come near.
        ValueError: a value is out of its range.
        TypeError: there is no such field.
    """
    return replace([*RECIPES.values()][find(name, [*RECIPES], "recipe")], **changes)


# Networks to begin with


def finetunable(name: str, class_names: Sequence[str], *, weights: str | Path | None = "default",
                device: str | torch.device = "cpu", seed: int = 0, **preprocessing: Any) -> Classifier:
    """A classifier to train on other classes, in evaluation mode.

    Args:
        name: of the architecture, as :func:`contrastlib.models.load` takes it.
        class_names: of the data set, one per logit.
        weights: ``"default"`` or another name for the library's own, whose head is replaced unless it has these very
            classes; a file, with the library's number of classes (the head is replaced) or the data set's (it stays);
            None for a random initialisation.
        device: where the classifier goes.
        seed: of everything that is initialised at random.
        preprocessing: overrides what the weights state, as in :func:`contrastlib.models.load`. ``crop=False`` resizes
            to the input size without keeping the aspect, as the papers do.

    Raises:
        UnknownNameError: no network has the name; says which come near.
        WeightsNotFoundError: the weights are not here and cannot be fetched.
        WeightsError: they are damaged, or have neither number of classes.
        ValueError: the network's last layer cannot be found.
    """
    load = partial(models.load, name, weights=weights, device=device, **preprocessing)
    with seeded(seed, _HEAD):
        try:
            loaded = load(class_names=class_names) if weights is None or Path(weights).suffix else load()
        except WeightsError as mismatch:
            try:  # the file may be a copy of the library's own weights, with their classes
                loaded = load()
            except WeightsError:
                hint = "; a file must have the data set's number of classes, or that of the library's own weights"
                raise WeightsError(str(mismatch).partition(": pass num_classes")[0] + hint) from None
        return loaded if loaded.class_names == tuple(class_names) else new_head(loaded, class_names)


@torch.inference_mode(False)
def new_head(classifier: Classifier, classes: int | Sequence[str]) -> Classifier:
    """A network for other classes: all its layers but the last, which is initialised anew.

    Args:
        classifier: its network is changed in place.
        classes: their number, or their names.

    Returns:
        a classifier around the same network, with the same preparation of images.

    Raises:
        ValueError: there is no last linear layer (or 1 x 1 convolution) with the old number of classes.
    """
    number = classes if isinstance(classes, int) else len(classes)
    if number < 1:
        raise ValueError(f"a network needs at least one class, got {number}")
    model: Any = classifier.model
    if hasattr(model, "reset_classifier"):  # timm's networks know their own heads, of which some have two
        model.reset_classifier(number)
    else:
        path, last = _last(model, classifier.num_classes)
        bias = last.bias is not None
        model.set_submodule(path, nn.Linear(last.in_features, number, bias) if isinstance(last, nn.Linear)
                            else nn.Conv2d(last.in_channels, number, 1, bias=bias))
    model.to(classifier.mean).train(model.training)
    weights = replace(classifier.weights, source=f"{classifier.weights.source}, with a new head")
    return Classifier(model, class_names=None if isinstance(classes, int) else classes, name=classifier.name,
                      weights=weights, **_preprocessing(classifier))


def _preprocessing(classifier: Classifier) -> dict[str, Any]:
    """The keywords with which a classifier prepares pictures."""
    mean, std = ([float(str(v)) for v in values.flatten().float().cpu().numpy()]  # 0.485 and not 0.48500001430511475
                 for values in (classifier.mean, classifier.std))
    return {**asdict(classifier.recipe), "mean": mean, "std": std}


def head_parameters(classifier: Classifier) -> list[nn.Parameter]:
    """The parameters of the layer that gives the logits; of all heads where a network has several."""
    model: Any = classifier.model
    found = model.get_classifier() if hasattr(model, "get_classifier") else _last(model, classifier.num_classes)[1]
    return [p for head in (found if isinstance(found, list | tuple) else [found]) for p in head.parameters()]


def _last(model: nn.Module, num_classes: int) -> tuple[str, nn.Linear | nn.Conv2d]:
    for name, module in reversed(list(model.named_modules())):
        if (isinstance(module, nn.Linear) and module.out_features == num_classes) or (
                isinstance(module, nn.Conv2d) and (module.out_channels, module.kernel_size) == (num_classes, (1, 1))):
            return name, module
    raise ValueError(f"{type(model).__name__} has no last linear layer or 1 x 1 convolution with {num_classes} outputs")


# Draws, augmentation, and batches


def seed_of(*numbers: int) -> int:
    """A seed in [0, 2^63) for one purpose, from the run's seed and what tells the purpose apart."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Make torch's draws on the CPU depend on the numbers alone, and leave no trace on later ones."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(*numbers))  # torch.manual_seed would seed the GPU as well
        yield


def transform(classifier: Classifier, augmentation: str = "none") -> T.Compose:
    """From a PIL picture to the classifier's input in bytes (3, H, W); what works on batches is no part of it."""
    size = classifier.input_size
    if augmentation == "crops_and_flips":
        return T.Compose([T.RandomResizedCrop(size, scale=(0.35, 1.0)), T.RandomHorizontalFlip(), T.PILToTensor()])
    if augmentation != "paper":
        return T.Compose([classifier.recipe.apply, partial(torch.squeeze, dim=0), T.ConvertImageDtype(torch.uint8)])
    return T.Compose([  # the original's (wang2022why, its dataset.py), in its order
        T.RandomHorizontalFlip(), T.RandomVerticalFlip(), T.RandomRotation(30), T.ColorJitter(0.2, 0.2, 0.2, 0.1),
        T.RandomAffine(degrees=0, translate=(0.1, 0.1)), T.RandomResizedCrop(size, scale=(0.7, 1.0)),
        T.RandomPerspective(distortion_scale=0.2, p=0.5, interpolation=T.InterpolationMode.BICUBIC),
        T.RandomGrayscale(0.2), T.RandomApply([T.GaussianBlur(3, sigma=(0.1, 2.0))], p=0.2), T.PILToTensor()])


def light_tensor(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, shift, and change brightness and contrast, of every image by itself and all at once.

    Half of the images are flipped left to right; all are shifted by up to a sixteenth of their size, their edge
    repeated; brightness moves by up to 0.1, and contrast is scaled by 0.8 to 1.2 about the image's mean. Images are
    (N, 3, H, W) in [0, 1]; the generator is on the CPU, so that the draws are the same on every device.
    """
    n, _, h, w = images.shape
    flip, contrast, brightness = torch.rand(3, n, 1, 1, 1, generator=generator, dtype=torch.float32).to(images.device)
    most = max(1, min(h, w) // 16)
    shifts = torch.randint(0, 2 * most + 1, (2, n), generator=generator)
    padded = nn.functional.pad(torch.where(flip < 0.5, images.flip(3), images), (most,) * 4, mode="replicate")
    images = torch.stack([image[:, y:y + h, x:x + w] for image, y, x in zip(padded, *shifts.tolist())])
    # A mean depends on the layout in its last digit, and the committed weights were trained with this one.
    images = images.contiguous(memory_format=torch.channels_last)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * (0.8 + 0.4 * contrast) + mean + 0.2 * brightness - 0.1).clamp(0, 1)


def shuffled(n: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch; a single image left over stays out, because batch normalisation needs two."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed_of(seed, epoch)))
    found: list[list[int]] = [part.tolist() for part in order.split(batch_size)]
    return found[:-1] if len(found) > 1 and len(found[-1]) == 1 else found


class Loader(Dataset[tuple[Tensor, int]]):
    """The images of a data set in batches; what is drawn for a picture depends on the seed, the epoch and the picture.

    Args:
        data: the data set.
        transform: from a PIL picture to bytes (3, H, W).
        workers: processes that read; None for up to four, and one processor stays free.
        in_memory: whether every picture is transformed once, by this process, and held.
        seed: of the draws.
    """

    def __init__(self, data: ImageDataset, transform: T.Compose, *, workers: int | None = 0, in_memory: bool = False,
                 seed: int = 0) -> None:
        if not len(data):
            raise ValueError(f"the split {data.split} of {data.name} has no images to evaluate on or to train on")
        self.data, self.transform, self.in_memory, self.seed = data, transform, in_memory, seed
        self.workers = 0 if in_memory else min(4, (os.cpu_count() or 1) - 1) if workers is None else workers
        self._image = cache(self._read) if in_memory else self._read

    def _read(self, epoch: int, i: int) -> Tensor:
        with seeded(self.seed, epoch, i):
            return self.transform(self.data.picture(i))

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[tuple[Tensor, int]]:
        return [(self._image(0 if self.in_memory else epoch, i), self.data.labels[i]) for epoch, i in keys]

    def batches(self, order: list[list[int]], device: torch.device, epoch: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (n, 3, H, W) uint8 and labels (n,) int64 on a device, at the positions that the order lists."""
        keys = [[(epoch, i) for i in positions] for positions in order]
        loader = iter(DataLoader(self, batch_sampler=keys, num_workers=self.workers, pin_memory=device.type == "cuda",
                                 generator=torch.Generator()))  # its own, or it would draw from the one of dropout
        for part in keys:
            try:
                images, labels = next(loader)
            except Exception:
                self.__getitems__(part)  # a worker's error is text: read here, it is raised as it is
                raise
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def hold_out(data: ImageDataset, share: float, seed: int = 0) -> tuple[ImageDataset, ImageDataset | None]:
    """The images to train on and those held out of every class to choose the best epoch on, or None for a share of 0.

    Raises:
        ValueError: the share is not in [0, 1), or too small to hold any image out.
    """
    if not 0 <= share < 1:
        raise ValueError(f"validation is a share in [0, 1), got {share}")
    if not share:
        return data, None
    labels, draw = np.array(data.labels), np.random.default_rng(seed)
    members = [draw.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    held = {int(i) for positions in members for i in positions[:round(share * len(positions))]}
    if not held:
        raise ValueError(f"a share of {share:g} of each class of {data.name} holds no image out")
    return data.subset(i for i in range(len(data)) if i not in held), data.subset(sorted(held))


# Steps


def optimiser(classifier: Classifier, recipe: Recipe) -> optim.Optimizer:
    """The optimiser of a recipe, for all parameters of a network, also those that were frozen."""
    rates = {} if recipe.head_lr is None else {id(p): recipe.head_lr for p in head_parameters(classifier)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for p in classifier.model.requires_grad_(True).parameters():
        decay = recipe.weight_decay if recipe.decay_all or p.ndim > 1 else 0.0
        groups.setdefault((rates.get(id(p), recipe.lr), decay), []).append(p)
    settings = [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]
    if recipe.optimiser == "sgd":
        return optim.SGD(settings, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov)
    return optim.AdamW(settings, lr=recipe.lr, betas=(recipe.momentum, 0.999))


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step, from 0, as a share of the highest, in [0, 1]."""
    if recipe.schedule == "constant":
        return 1.0
    rise = round(recipe.warmup * steps)
    if step < rise:
        done = (step + 1) / (rise + 1)
        return done if recipe.schedule == "cosine" else 0.04 + 0.96 * (1 - math.cos(math.pi * done)) / 2
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


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


@torch.no_grad()
def evaluate(classifier: Classifier, dataset: ImageDataset | Loader, batch_size: int = 64, *,
             workers: int = 0) -> Evaluation:
    """Accuracy and loss on a data set, in full precision.

    Args:
        classifier: measured in evaluation mode; its own mode comes back afterwards.
        dataset: each picture is prepared as the classifier prepares it, unless a loader does that.
        batch_size: images per forward pass; changes no number but by rounding.
        workers: processes that read pictures.

    Raises:
        ValueError: there are no images, or the batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    loader = dataset if isinstance(dataset, Loader) else Loader(dataset, transform(classifier), workers=workers)
    n, modes, right, loss = len(loader.data), {m: m.training for m in classifier.modules()}, 0, 0.0
    order = [part.tolist() for part in torch.arange(n).split(batch_size)]
    classifier.eval()
    try:
        for images, labels in loader.batches(order, classifier.mean.device):
            logits = classifier(images.to(classifier.mean.dtype) / 255)
            right += int((logits.argmax(-1) == labels).sum())
            loss += float(nn.functional.cross_entropy(logits.double(), labels, reduction="sum"))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return Evaluation(right / n, loss / n, n)


# What a training leaves in its folder


def _new_record(classifier: Classifier, splits: Mapping[str, ImageDataset], recipe: Recipe) -> dict[str, Any]:
    device = classifier.mean.device
    held_out, where = "validation", "images held out of the training split."
    if "validation" not in splits:
        held_out, where = "test", ("the test split itself, because the data set has no validation split: its test "
                                   "accuracy is a little too good. The last epoch was not chosen.")
    return {
        "model": classifier.name, "starting_weights": asdict(classifier.weights),
        "preprocessing": _preprocessing(classifier), "data_set": splits["training"].name,
        "data": {name: {"split": data.split, "images": len(data), "digest": data.digest()}
                 for name, data in splits.items()},
        "class_names": list(splits["training"].class_names), "recipe": asdict(recipe), "held_out": held_out,
        "note": f"The best epoch is the one with the highest accuracy on {where}",
        "history": [], "best_epoch": None, "files": {}, "versions": tables.provenance(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device), "finished": False}


# Training


class DivergedError(RuntimeError):
    """The loss is no number any more; the last epoch before that is kept."""


class Callback:
    """Is called as a training gets on; this one does nothing."""

    def resumed(self, epoch: int) -> None:
        """The training goes on after an epoch that was done before."""

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        """A step of an epoch is done, both counted from 1."""

    def finished(self, row: dict[str, Any]) -> None:
        """An epoch is done, measured and kept; the row is that of the record's history."""


@torch.inference_mode(False)  # nor is there a loop without gradient around it
def train(classifier: Classifier, train_set: ImageDataset, test_set: ImageDataset, recipe: Recipe = RECIPES["paper"],
          output: str | Path = "runs", *, validation: float = 0.0, workers: int | None = None, half: bool = False,
          restart: bool = False, callback: Callback | None = None, progress: bool = False) -> dict[str, Any]:
    r"""Train a classifier, all its layers, with the cross entropy of its logits.

    .. math:: \mathcal{L} = -\frac{1}{N} \sum_{n=1}^{N} \log p_{t_n}(x_n)

    The folder gets ``checkpoint.pt`` after every epoch, ``best.safetensors`` and ``last.safetensors``, and
    ``record.json``. A call with the same arguments goes on after the last whole epoch; on the CPU the outcome is the
    same, number by number, as without the interruption. The recipe of the papers is ``RECIPES["paper"]``
    (wang2022why, eriksson2025reproducibility), which keeps the last epoch.

    Args:
        classifier: trained in place; ends with the weights of the best epoch as they are stored, in evaluation mode,
            also where it is interrupted.
        train_set: images to train on.
        test_set: images to measure on; they also choose the best epoch, unless `validation` is given.
        recipe: how to train.
        output: folder, made if need be.
        validation: share of every class of the training images that is held out to choose the best epoch on.
        workers: processes that read pictures; None for up to four, one processor less than there are. Their number
            changes no result.
        half: whether the weights are stored in float16; they are measured as they are stored.
        restart: whether what an earlier training left in the folder is removed first.
        callback: is called after every step and every epoch.
        progress: whether a bar is shown on a terminal.

    Returns:
        what ``record.json`` holds: ``model``; ``starting_weights`` (source, digest, licence); ``preprocessing``, the
        classifier's keywords that the weights are used with; ``data_set``; ``data``, for training, test and validation
        (if there is one) the split, the number of images and the data's digest; ``class_names``; ``recipe``;
        ``held_out``, ``test`` or ``validation``, where the best epoch was chosen, and a ``note`` on what that means;
        ``history``, for each ``epoch`` from 1 the mean training ``loss`` (nats, with label smoothing and augmentation,
        while the weights change), ``train_accuracy`` (share of augmented images recognised meanwhile),
        ``held_out_loss`` (mean cross entropy afterwards, nats), ``held_out_accuracy``, and ``seconds``; ``best_epoch``,
        the one with the highest accuracy on the held-out images, the lower loss deciding between equals; ``files``, for
        ``best`` and ``last`` the file, its epoch, SHA-256 and dtype, ``test_accuracy`` and ``test_loss`` (nats), as
        measured with the file's own weights; ``versions``; ``device``; ``finished``.

    Raises:
        ValueError: a split is empty, has labels that are no class, or other classes than the classifier; the share
            for validation is out of range or too small.
        ChangedError: the folder holds another training, or one that another process is at; says what to do.
        DamagedError: a file of the folder is damaged; names it and says what to do.
        DivergedError: the loss is no number any more.
        UnreadableImageError: an image cannot be read.
        OSError: a file cannot be written, such as on a full disk; names it. The epochs before are kept.
    """
    if test_set.class_names != train_set.class_names:
        raise ValueError(f"the classes of {test_set.name} {test_set.split} are not those of the training images")
    if classifier.num_classes != train_set.num_classes:
        raise ValueError(f"{classifier.name} has {classifier.num_classes} classes and {train_set.name} "
                         f"{train_set.num_classes}: give the network a new head")
    training, held_out = hold_out(train_set, validation, recipe.seed)
    splits = {"training": training, "test": test_set} | ({} if held_out is None else {"validation": held_out})
    loaders = {name: Loader(data, transform(classifier, recipe.augmentation if name == "training" else "none"),
                            workers=workers, in_memory=recipe.in_memory, seed=recipe.seed)
               for name, data in splits.items()}
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with store.lock(folder / CHECKPOINT).acquire(timeout=_PATIENCE):
            for name in FILES if restart else ():
                (folder / name).unlink(missing_ok=True)
            run = _Training(classifier, loaders, recipe, _new_record(classifier, splits, recipe), folder, half)
            try:
                run.resume(callback or Callback())
                run.go_on(callback or Callback(), progress)
            finally:
                classifier.eval()
    except filelock.Timeout:
        raise store.ChangedError(f"another process trains in {folder}: wait, or give another --output") from None
    return store.read_json(folder / RECORD)


class _Training:
    """A training between two epochs: all that changes."""

    def __init__(self, classifier: Classifier, loaders: Mapping[str, Loader], recipe: Recipe, record: dict[str, Any],
                 folder: Path, half: bool) -> None:
        self.classifier, self.loaders, self.recipe, self.record = classifier, loaders, recipe, record
        self.folder, self.half, self.history, self.device = folder, half, record["history"], classifier.mean.device
        steps = recipe.epochs * len(shuffled(len(loaders["training"].data), recipe.batch_size, recipe.seed, 1))
        self.optimiser = optimiser(classifier, recipe)
        self.schedule = optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: rate(recipe, step, steps))
        # The network whose weights count: the one that is trained, or its exponential moving average.
        self.measured = classifier if recipe.ema is None else deepcopy(classifier).eval()
        self.parts: dict[str, Any] = {"model": classifier.model, "measured": self.measured.model,
                                      "optimiser": self.optimiser, "schedule": self.schedule}
        self.layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        classifier.model.to(memory_format=self.layout)
        same = {name: record[name] for name in ("model", "preprocessing", "data_set", "data", "recipe", "held_out")}
        weights = classifier.weights.digest or classifier.weights.source
        # What must be the same for a training to be gone on with.
        self.identity = {**same, "class_names": store.digest(record["class_names"]), "starting_weights": weights}

    def resume(self, callback: Callback) -> None:
        """Take up the same training where it was interrupted, if the folder holds one."""
        folder, path = self.folder, self.folder / CHECKPOINT
        left = [name for name in FILES if (folder / name).exists()]
        if not left:
            return
        if CHECKPOINT not in left:
            raise store.ChangedError(f"{folder} holds {', '.join(left)} of a training, but no {CHECKPOINT}: {_ADVICE}")
        try:
            with ZipFile(path) as file:
                if file.testzip():  # torch does not look at the checksums
                    raise BadZipFile
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            found = store.differences(state["identity"], self.identity)
            kept = {name: state[name] for name in (*self.parts, "history")}
            for name, part in () if found else self.parts.items():
                part.load_state_dict(kept[name])
        except store.DAMAGED as error:
            raise store.DamagedError(f"{path} is damaged, or no checkpoint of a training: {_ADVICE}") from error
        if found:
            raise store.ChangedError(f"{path} is of another training: {'; '.join(found)}. To keep it, {_ADVICE}")
        self.history += kept["history"]
        callback.resumed(len(self.history))
        self._keep_best()  # the interruption may have come between the checkpoint and the weights

    def go_on(self, callback: Callback, progress: bool) -> None:
        """Train to the end."""
        for epoch in range(len(self.history) + 1, self.recipe.epochs + 1):
            self.history.append(self._epoch(epoch, callback, progress))
            store.replace(self.folder / CHECKPOINT, self._save)
            self._keep_best()
            store.replace_json(self.folder / RECORD, self.record)
            callback.finished(self.history[-1])
        self._finish()

    def _save(self, path: Path) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        with path.open("wb") as file:  # given the path instead, torch tells a full disk in words of its own
            torch.save({"identity": self.identity, "history": self.history, **state}, file)

    def _keep_best(self) -> None:
        best = max(self.history, key=lambda row: (row["held_out_accuracy"], -row["held_out_loss"]))
        self.record["best_epoch"] = best["epoch"]
        if best is self.history[-1]:
            self._export(BEST)

    def _epoch(self, epoch: int, callback: Callback, progress: bool) -> dict[str, Any]:
        began, loader, recipe = time.perf_counter(), self.loaders["training"], self.recipe
        order = shuffled(len(loader.data), recipe.batch_size, recipe.seed, epoch)
        (total, right), seen = torch.zeros(2, device=self.device), 0
        self.classifier.train()
        with (torch.random.fork_rng([self.device] if self.device.type == "cuda" else []),
              tqdm(loader.batches(order, self.device, epoch), f"epoch {epoch}", len(order), leave=False,
                   disable=None if progress else True) as bar):
            torch.manual_seed(seed_of(recipe.seed, epoch, _NOISE))
            for step, (images, labels) in enumerate(bar, 1):
                loss, hits = self._step(images, labels, seed_of(recipe.seed, epoch, step - 1, _LIGHT))
                total, right, seen = total + loss * len(labels), right + hits, seen + len(labels)
                self._check(total.item() / seen, epoch, f"step {step} of {len(order)}")
                bar.set_postfix(loss=f"{total.item() / seen:.3f}")
                callback.stepped(epoch, step, len(order))
        self.classifier.eval()
        held_out = evaluate(self.measured, self.loaders[self.record["held_out"]], recipe.batch_size)
        self._check(held_out.loss, epoch, "measuring")
        return {"epoch": epoch, "loss": total.item() / seen, "train_accuracy": right.item() / seen,
                "held_out_loss": held_out.loss, "held_out_accuracy": held_out.accuracy,
                "seconds": round(time.perf_counter() - began, 3)}

    def _step(self, images: Tensor, labels: Tensor, draw: int) -> tuple[Tensor, Tensor]:
        """One step on pictures in bytes: the loss before it, and how many were recognised."""
        images = images.to(self.classifier.mean.dtype) / 255
        if self.recipe.augmentation == "light_tensor":
            images = light_tensor(images, torch.Generator().manual_seed(draw))
        inputs = ((images - self.classifier.mean) / self.classifier.std).contiguous(memory_format=self.layout)
        # The network itself is called: the classifier refuses training mode, so that nobody explains in it.
        mixed = self.recipe.amp == "auto" and self.device.type == "cuda"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            output = self.classifier.model(inputs)
        logits = getattr(output, "logits", output).to(inputs.dtype)  # GoogLeNet and Inception give others beside them
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.optimiser.zero_grad()
        loss.backward()
        if self.recipe.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.classifier.model.parameters(), self.recipe.gradient_clip)
        self.optimiser.step()
        self.schedule.step()
        if self.recipe.ema is not None:
            n = self.schedule.last_epoch  # steps that are done; the decay rises, or the beginning would count too much
            weight = 1 - min(self.recipe.ema, n / (9 + n))
            for old, new in zip(*(network.model.state_dict().values() for network in (self.measured, self.classifier))):
                old.copy_(old.lerp(new, weight) if old.is_floating_point() else new)
        return loss.detach(), (logits.argmax(-1) == labels).sum()

    def _check(self, loss: float, epoch: int, where: str) -> None:
        if not math.isfinite(loss):
            kept = f"epoch {epoch - 1} is kept in {CHECKPOINT}" if epoch > 1 else "no epoch was done"
            raise DivergedError(f"the loss is {loss} in epoch {epoch}, {where}; {kept}. A lower learning rate, a "
                                "warm-up or gradient clipping may help")

    def _export(self, file: str) -> None:
        """Write the weights as :func:`contrastlib.models.load` reads them, and in the file's head what they are of."""
        record, row, tensors = self.record, self.history[-1], {}
        for name, tensor in self.measured.model.state_dict().items():
            dtype = torch.float16 if self.half and tensor.is_floating_point() else tensor.dtype
            tensors[name] = tensor.to("cpu", dtype, copy=True).contiguous()
            if not tensors[name].isfinite().all():
                raise ValueError(f"{name} holds numbers that {str(dtype).removeprefix('torch.')} cannot")
        about = {"model": record["model"], "data_set": record["data_set"], "epoch": row["epoch"],
                 f"{record['held_out']}_accuracy": row["held_out_accuracy"],
                 "class_names": store.digest(record["class_names"]), "recipe": record["recipe"],
                 "preprocessing": record["preprocessing"]}
        # One entry, for safetensors shuffles several, and with them the file's digest. `save_file` makes files that
        # only their owner may read.
        content = safetensors.torch.save(tensors, {"contrastlib": json.dumps(about)})
        store.replace(self.folder / file, lambda beside: beside.write_bytes(content))

    def _finish(self) -> None:
        """Write the last weights, measure both files as they are, and end with the best ones."""
        self._export(LAST)
        for name, file, epoch in (("last", LAST, len(self.history)), ("best", BEST, self.record["best_epoch"])):
            try:
                stored = models.read_weights(self.folder / file)
                models.fit_weights(self.measured.model, stored)
            except (WeightsError, OSError) as error:
                raise store.DamagedError(f"{self.folder / file} is missing, damaged or of another network: {_ADVICE}"
                                         ) from error
            found = evaluate(self.measured, self.loaders["test"], self.recipe.batch_size)
            self.record["files"][name] = {
                "file": file, "epoch": epoch, "digest": stored.digest, "dtype": "float16" if self.half else "float32",
                "test_accuracy": found.accuracy, "test_loss": found.loss}
        self.classifier.model.load_state_dict(self.measured.model.state_dict())
        self.record["finished"] = True
        store.replace_json(self.folder / RECORD, self.record)
