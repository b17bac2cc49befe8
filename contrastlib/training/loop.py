"""Training: epochs that can be interrupted, and what they leave in a folder."""

import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from contrastlib.data import ImageDataset
from contrastlib.models import Classifier
from contrastlib.models import weights as stored_weights
from contrastlib.training import checkpoint
from contrastlib.training.augmentation import light_tensor, prepared
from contrastlib.training.evaluation import Evaluation, measure
from contrastlib.training.feeding import Feed, default_workers, shuffled
from contrastlib.training.optimisation import Average, factor, optimiser, set_rates
from contrastlib.training.recipe import RECIPES, Recipe
from contrastlib.training.record import Epoch, Record, StoredWeights, begin
from contrastlib.training.seeds import seed_of
from contrastlib.training.splits import Splits, split

_EVERY = 20  # steps between looks at the loss: each look makes the GPU wait
_NOISE, _LIGHT = 2, 3  # tell the draws of dropout and of the augmentation of batches from others with the same seed


class DivergedError(RuntimeError):
    """The loss is no number any more; the last epoch before that is kept."""


class Watcher:
    """Is told how a training gets on; this one does nothing with it."""

    def resumed(self, epoch: int) -> None:
        """The training goes on after an epoch that was done before."""

    def started(self, epoch: int, steps: int) -> None:
        """An epoch begins, which has so many steps."""

    def stepped(self, loss: float | None) -> None:
        """A step is done; now and then with the mean loss of the epoch so far."""

    def finished(self, row: Epoch) -> None:
        """An epoch is done, measured and kept."""


def train(
    classifier: Classifier,
    train_set: ImageDataset,
    test_set: ImageDataset,
    recipe: Recipe = RECIPES["paper"],
    output: str | Path = "runs",
    *,
    validation: float = 0.0,
    workers: int | None = None,
    half: bool = False,
    restart: bool = False,
    watcher: Watcher | None = None,
) -> Record:
    r"""Train a classifier, all its layers, with the cross entropy of its logits.

    .. math:: \mathcal{L} = -\frac{1}{N} \sum_{n=1}^{N} \log p_{t_n}(x_n)

    The folder gets ``checkpoint.pt`` after every epoch, ``best.safetensors`` and ``last.safetensors``, and
    ``record.json``. A call with the same arguments goes on after the last whole epoch; on the CPU the outcome is the
    same, number by number, as without the interruption. The recipe of the papers is ``RECIPES["paper"]``
    (wang2022why, eriksson2025reproducibility), which keeps the last epoch.

    Args:
        classifier: trained in place; ends with the weights of the best epoch as they are stored, in evaluation mode.
        train_set: images to train on.
        test_set: images to measure on; they also choose the best epoch, unless `validation` is given.
        recipe: how to train.
        output: folder, made if need be.
        validation: share of every class of the training images that is held out to choose the best epoch on.
        workers: processes that read pictures; None for up to four, one processor less than there are. Their number
            changes no result.
        half: whether the weights are stored in float16; they are measured as they are stored.
        restart: whether what an earlier training left in the folder is removed first.
        watcher: is told about every step.

    Returns:
        what happened, as in ``record.json``.

    Raises:
        ValueError: a split is empty, has labels that are no class, or other classes than the classifier; the share
            for validation is out of range or too small.
        CheckpointError: the folder holds another training, or a damaged one.
        DivergedError: the loss is no number any more.
        UnreadableImageError: an image cannot be read.
    """
    watcher = watcher or Watcher()
    splits = split(train_set, test_set, validation, recipe.seed)
    splits.check(classifier)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    if restart:
        checkpoint.clear(folder)
    record = begin(classifier, splits, recipe)
    state = checkpoint.read(folder, record.identity)
    run = _Run(classifier, splits, recipe, default_workers() if workers is None else workers, record)
    if state is not None:
        run.load(state)
        watcher.resumed(run.done)
        run.keep_best(folder, half)  # the interruption may have come between the checkpoint and the weights
    while run.done < recipe.epochs:
        row = run.epoch(watcher)
        checkpoint.write(folder, run.state())
        run.keep_best(folder, half)
        record.write(folder)
        watcher.finished(row)
    run.finish(folder, half)
    return record


class _Run:
    """A training between two epochs: all that changes."""

    def __init__(self, classifier: Classifier, splits: Splits, recipe: Recipe, workers: int, record: Record) -> None:
        self.classifier, self.recipe, self.record = classifier, recipe, record
        self.device = classifier.mean.device
        options: dict[str, Any] = {"workers": workers, "in_memory": recipe.in_memory, "seed": recipe.seed}
        plain = prepared(classifier)
        self.training = Feed(splits.training, prepared(classifier, recipe.augmentation), self.device, **options)
        self.held_out = Feed(splits.held_out, plain, self.device, **options)
        self.test = self.held_out if splits.validation is None else Feed(splits.test, plain, self.device, **options)
        self.optimiser = optimiser(classifier, recipe)
        self.average = None if recipe.ema is None else Average(classifier, recipe.ema)
        self.amp = _amp(self.device, recipe)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.amp == torch.float16)
        self.layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        classifier.model.to(memory_format=self.layout)

    @property
    def done(self) -> int:
        """How many epochs are done."""
        return len(self.record.history)

    @property
    def measured(self) -> Classifier:
        """The network whose weights count."""
        return self.classifier if self.average is None else self.average.classifier

    def epoch(self, watcher: Watcher) -> Epoch:
        """Train for an epoch and measure."""
        began = time.perf_counter()
        number = self.done + 1
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed_of(self.recipe.seed, number, _NOISE))
            loss, accuracy = self._pass(number, watcher)
        held_out = measure(self.measured, self.held_out, self.recipe.batch_size)
        self._check(held_out.loss, number, "measuring")
        row = Epoch(number, loss, accuracy, held_out.loss, held_out.accuracy, round(time.perf_counter() - began, 3))
        self.record.history.append(row)
        best = max(self.record.history, key=lambda r: (r.held_out_accuracy, -r.held_out_loss))
        self.record.best_epoch = best.epoch
        return row

    def _pass(self, epoch: int, watcher: Watcher) -> tuple[float, float]:
        order = shuffled(len(self.training), self.recipe.batch_size, self.recipe.seed, epoch)
        watcher.started(epoch, len(order))
        self.classifier.train()
        loss, right = torch.zeros(2, device=self.device)
        seen = 0
        for number, (images, labels) in enumerate(self.training.batches(order, epoch)):
            step = (epoch - 1) * len(order) + number
            set_rates(self.optimiser, factor(self.recipe, step, self.recipe.epochs * len(order)))
            mean, logits = self._step(self._augmented(images, epoch, number), labels)
            seen += len(labels)
            loss += mean * len(labels)
            right += (logits.argmax(-1) == labels).sum()
            told = loss.item() / seen if number % _EVERY == 0 or number == len(order) - 1 else None
            if told is not None:
                self._check(told, epoch, f"step {number + 1} of {len(order)}")
            watcher.stepped(told)
        self.classifier.eval()
        return loss.item() / seen, right.item() / seen

    def _augmented(self, images: Tensor, epoch: int, number: int) -> Tensor:
        images = images.to(self.classifier.mean.dtype) / 255
        if self.recipe.augmentation == "light_tensor":
            seed = seed_of(self.recipe.seed, epoch, number, _LIGHT)
            images = light_tensor(images, torch.Generator().manual_seed(seed))
        return ((images - self.classifier.mean) / self.classifier.std).contiguous(memory_format=self.layout)

    def _step(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        # The network itself is called: the classifier refuses training mode, so that nobody explains in it.
        with torch.autocast(self.device.type, dtype=self.amp or torch.bfloat16, enabled=self.amp is not None):
            output = self.classifier.model(inputs)
            logits = getattr(output, "logits", output).to(inputs.dtype)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        if self.recipe.gradient_clip is not None:
            self.scaler.unscale_(self.optimiser)
            clip_grad_norm_(self.classifier.model.parameters(), self.recipe.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.classifier.model)
        return loss.detach(), logits.detach()

    def _check(self, loss: float, epoch: int, where: str) -> None:
        if math.isfinite(loss):
            return
        kept = f"epoch {self.done} is kept in {checkpoint.CHECKPOINT}" if self.done else "no epoch was done"
        raise DivergedError(f"the loss is {loss} in epoch {epoch}, {where}; {kept}. A lower learning rate, a warm-up "
                            "or gradient clipping may help")

    def state(self) -> dict[str, Any]:
        """All that is needed to go on; draws need nothing, they depend on the seed, the epoch and the step."""
        average = self.average
        return {
            "identity": self.record.identity, "epoch": self.done, "best": self.record.best_epoch,
            "model": self.classifier.model.state_dict(),
            "average": None if average is None else average.classifier.model.state_dict(),
            "average_steps": 0 if average is None else average.steps,
            "optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict(),
            "history": [vars(row) for row in self.record.history]}

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.classifier.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.classifier.model.load_state_dict(state["average"])
            self.average.steps = state["average_steps"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.record.history[:] = [Epoch(**row) for row in state["history"]]
        self.record.best_epoch = state["best"]

    def keep_best(self, folder: Path, half: bool) -> None:
        """Write the weights of this epoch as the best ones, if they are."""
        if self.record.best_epoch == self.done:
            self._export(folder / checkpoint.BEST, half)

    def finish(self, folder: Path, half: bool) -> None:
        """Write the last weights, measure both files as they are, and end with the best ones."""
        self._export(folder / checkpoint.LAST, half)
        record, result = self.record, self.measured
        assert record.best_epoch is not None  # there is at least one epoch
        for name, file, epoch in (("last", checkpoint.LAST, self.done), ("best", checkpoint.BEST, record.best_epoch)):
            stored = stored_weights.read(folder / file)
            stored_weights.fit(result.model, stored)
            found = self._measured_again(name, epoch, result)
            record.files[name] = StoredWeights(file, epoch, stored.digest, "float16" if half else "float32",
                                               found.accuracy, found.loss)
        self.classifier.model.load_state_dict(result.model.state_dict())
        self.classifier.eval()
        record.finished = True
        record.write(folder)

    def _measured_again(self, name: str, epoch: int, result: Classifier) -> Evaluation:
        last = self.record.files.get("last")
        if name == "best" and last is not None and last.epoch == epoch:  # the same numbers in both files
            return Evaluation(last.test_accuracy, last.test_loss, len(self.test))
        return measure(result, self.test, self.recipe.batch_size)

    def _export(self, path: Path, half: bool) -> None:
        row, record = self.record.history[-1], self.record
        about = {"model": record.model, "data_set": record.data_set, "epoch": row.epoch,
                 f"{record.held_out}_accuracy": row.held_out_accuracy, "class_names": record.class_names_digest,
                 "recipe": record.recipe, "preprocessing": record.preprocessing}
        checkpoint.export(path, self.measured.model, about, half=half)


def _amp(device: torch.device, recipe: Recipe) -> torch.dtype | None:
    if recipe.amp == "off" or device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
