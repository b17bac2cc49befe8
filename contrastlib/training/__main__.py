"""The command line: ``python -m contrastlib.training --dataset cub200 --model vgg16_bn``."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from contrastlib import data
from contrastlib.models import Classifier
from contrastlib.training import RECIPES, Epoch, Recipe, Record, Watcher, named_recipe, start, train
from contrastlib.training.checkpoint import BEST, CHECKPOINT, LAST, RECORD

EXAMPLES = """\
examples:
  python -m contrastlib.training --dataset cub200 --model vgg16_bn --root ~/data
  python -m contrastlib.training --dataset cub200 --model resnet50 --recipe short --validation 0.1
  python -m contrastlib.training --dataset drawn_birds --model birds_vgg --recipe birds_vgg --epochs 30
"""

WITH_CROP = "imagenet"
"""How the names of the data sets begin on which everybody crops the centre: also ``imagenette``, and samples. The
papers resize all others to the input's size, which does not keep the aspect."""

STOPPED = 130  # what a shell reports for a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a network.

    Args:
        arguments: words of the command line; None for those that the process was given.

    Returns:
        the exit code: 0; 2 where the input was wrong (one line on standard error says what); 130 after Ctrl-C.
    """
    args = parser().parse_args(arguments)
    folder = Path(args.output or f"runs/{args.dataset}-{args.model.replace('/', '-')}")
    try:
        with closing(Lines()) as lines:
            record = _trained(args, folder, lines)
    except KeyboardInterrupt:
        kept = (f"the epochs that are done are kept in {folder / CHECKPOINT}; the same command goes on from there"
                if (folder / CHECKPOINT).exists() else "no epoch was done")
        _say(f"stopped: {kept}", sys.stderr)
        return STOPPED
    except (ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError) as error:
        _say(f"contrastlib.training: {_one_line(error)}", sys.stderr)
        return 2
    _report(record, folder)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options: those of the run, and one for every field of a recipe."""
    top = argparse.ArgumentParser(
        prog="python -m contrastlib.training", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train all layers of a network on a data set, by default as the papers do. What is kept after "
                    f"every epoch lies in one folder: {CHECKPOINT}, {BEST}, {LAST}, {RECORD}. The same command goes on "
                    "where it was interrupted.")
    add = top.add_argument
    add("--dataset", required=True, metavar="NAME", help="cub200, food101, imagenet, imagenette, drawn_birds")
    add("--model", required=True, metavar="NAME", help="a network of torchvision or timm, birds_vgg or birds_vit")
    add("--weights", default="default", metavar="FILE",
        help="to begin with: a file; 'none' for random ones; by default the library's own, with a new head")
    add("--recipe", default="paper", metavar="NAME", help=f"{', '.join(RECIPES)} (default: %(default)s)")
    add("--output", metavar="FOLDER", help="where everything is kept (default: runs/DATASET-MODEL)")
    add("--restart", action="store_true", help="remove what an earlier training left in the folder")
    add("--validation", type=float, default=0.0, metavar="SHARE",
        help="share of the training images held out to choose the best epoch on (default: the test split chooses)")
    add("--half", action="store_true", help="store the weights in float16")
    add("--root", metavar="FOLDER", help="where the data set lies")
    add("--download", action="store_true", help="fetch the data set if it is not there and can be fetched")
    add("--workers", type=int, metavar="N", help="processes that read pictures (default: up to four)")
    add("--device", help="where the network runs (default: cuda if there is one, else cpu)")
    add("--input-size", type=int, metavar="PIXELS", help="side of the input (default: that of the weights)")
    add("--crop", action=argparse.BooleanOptionalAction,
        help="whether test pictures keep their aspect and lose their edges (default: on imagenet and imagenette only)")
    _add_fields(top.add_argument_group("the recipe", "each overrides a value of --recipe"))
    return top


def _add_fields(group: Any) -> None:
    hints = get_type_hints(Recipe)
    for field in fields(Recipe):
        hint, option = hints[field.name], f"--{field.name.replace('_', '-')}"
        shown = f"paper: {field.default}"
        if hint is bool:
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=shown)
        elif get_origin(hint) is Literal:
            group.add_argument(option, choices=get_args(hint), default=argparse.SUPPRESS, help=shown)
        else:
            group.add_argument(option, type=_number(hint), default=argparse.SUPPRESS, help=shown, metavar="X")


def _number(hint: Any) -> Callable[[str], float | None]:
    """Reads what a field takes: a whole number, a number, or a number and ``none``."""
    def read(text: str) -> float | None:
        if text.lower() == "none" and type(None) in get_args(hint):
            return None
        return int(text) if hint is int else float(text)

    read.__name__ = "number"  # argparse names the function where the text is none
    return read


class Lines(Watcher):
    """One line per epoch; on a terminal, where tqdm is installed, also a bar with the time left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._tqdm: Any = None
        if sys.stderr.isatty():
            try:
                self._tqdm = importlib.import_module("tqdm").tqdm
            except ModuleNotFoundError:
                self._tqdm = None

    def resumed(self, epoch: int) -> None:
        """Say where it goes on."""
        _say(f"going on after epoch {epoch}")

    def started(self, epoch: int, steps: int) -> None:
        """Begin a bar."""
        if self._tqdm is not None:
            self._bar = self._tqdm(total=steps, desc=f"epoch {epoch}", leave=False)

    def stepped(self, loss: float | None) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()
            if loss is not None:
                self._bar.set_postfix(loss=f"{loss:.3f}")

    def finished(self, row: Epoch) -> None:
        """Print the epoch's line."""
        self.close()
        _say(f"epoch {row.epoch:3d}  loss {row.loss:.4f}  trained on {row.train_accuracy:.4f}  "
             f"held out {row.held_out_accuracy:.4f} (loss {row.held_out_loss:.4f})  {row.seconds:.1f} s")

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _trained(args: argparse.Namespace, folder: Path, lines: Lines) -> Record:
    changes = {field.name: getattr(args, field.name) for field in fields(Recipe) if hasattr(args, field.name)}
    recipe = named_recipe(args.recipe, **changes)
    device = _device(args.device)
    if args.workers is not None and args.workers < 0:
        raise ValueError(f"--workers must be 0 or more, got {args.workers}")
    training, test = (data.load(args.dataset, split=name, root=args.root, download=args.download)
                      for name in ("train", "test"))
    classifier = _classifier(args, training, recipe.seed, device)
    _say(f"{classifier.name} ({classifier.weights.source}) on {len(training)} images of {args.dataset}, "
         f"{len(test)} to test on; {recipe.epochs} epochs on {device}; kept in {folder}")
    torch.backends.cudnn.benchmark = True  # all batches but the last have one size
    return train(classifier, training, test, recipe, folder, validation=args.validation, workers=args.workers,
                 half=args.half, restart=args.restart, watcher=lines)


def _classifier(args: argparse.Namespace, dataset: data.ImageDataset, seed: int, device: str) -> Classifier:
    crop = dataset.name.startswith(WITH_CROP) if args.crop is None else args.crop
    options: dict[str, Any] = {} if crop else {"crop": False}
    if args.input_size is not None:
        options["input_size"] = args.input_size
    weights = None if args.weights.lower() == "none" else args.weights
    return start(args.model, dataset.class_names, weights=weights, device=device, seed=seed, **options)


def _device(name: str | None) -> str:
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if torch.device(name).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: no CUDA device can be used here")
    return name


def _report(record: Record, folder: Path) -> None:
    for name, stored in record.files.items():
        _say(f"{name}: epoch {stored.epoch}, test accuracy {stored.test_accuracy:.4f} as stored in "
             f"{folder / stored.file} ({stored.dtype})")
    _say(record.note)


def _one_line(error: BaseException) -> str:
    """The message; of an error in a worker only its end, without the worker's traceback."""
    text = str(error).strip()
    if "Original Traceback" in text or text.startswith("Caught "):
        text = text.splitlines()[-1].partition(": ")[2] or text.splitlines()[-1]
    return " ".join(text.split()) or type(error).__name__


def _say(line: str, stream: Any = None) -> None:
    (stream or sys.stdout).write(line + "\n")
    (stream or sys.stdout).flush()


if __name__ == "__main__":
    sys.exit(main())
