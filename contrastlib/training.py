"""The command line: ``python -m contrastlib.training --dataset cub200 --model vgg16_bn``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from contrastlib import data
from contrastlib.experiments import training

EXAMPLES = """\
examples:
  python -m contrastlib.training --dataset cub200 --model vgg16_bn --root ~/data
  python -m contrastlib.training --dataset cub200 --model resnet50 --recipe short --validation 0.1
  python -m contrastlib.training --dataset drawn_birds --model birds_vgg --recipe birds_vgg --epochs 30
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a network; returns the exit code: 0, 2 where the input was wrong (one line says what), 130 after Ctrl-C."""
    args = parser().parse_args(arguments)
    folder = Path(args.output or f"runs/{args.dataset}-{args.model.replace('/', '-')}")
    try:
        record = _trained(args, folder)
    except KeyboardInterrupt:
        print(f"stopped: {_kept(folder)}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        full = isinstance(error, OSError) and error.errno is not None and (folder / training.CHECKPOINT).exists()
        print(f"contrastlib.training: {message}{f'; {_kept(folder)}' if full else ''}", file=sys.stderr)
        return 2
    for name, stored in record["files"].items():
        print(f"{name}: epoch {stored['epoch']}, test accuracy {stored['test_accuracy']:.4f} as stored in "
              f"{folder / stored['file']} ({stored['dtype']})")
    print(record["note"])
    return 0


def parser() -> argparse.ArgumentParser:
    """The options: those of the run, and one for every field of a recipe."""
    top = argparse.ArgumentParser(
        prog="python -m contrastlib.training", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train all layers of a network on a data set, by default as the papers do. What is kept after "
                    f"every epoch lies in one folder: {', '.join(training.FILES)}. The same command goes on where it "
                    "was interrupted.")
    add = top.add_argument
    add("--dataset", required=True, metavar="NAME", help="cub200, food101, imagenet, imagenette, drawn_birds")
    add("--model", required=True, metavar="NAME", help="a network of torchvision or timm, birds_vgg or birds_vit")
    add("--weights", default="default", metavar="FILE",
        help="to begin with: a file; 'none' for random ones; by default the library's own, with a new head")
    add("--recipe", default="paper", metavar="NAME", help=f"{', '.join(training.RECIPES)} (default: %(default)s)")
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
    group = top.add_argument_group("the recipe", "each overrides a value of --recipe")
    hints = get_type_hints(training.Recipe)
    for field in fields(training.Recipe):
        group.add_argument(f"--{field.name.replace('_', '-')}", default=argparse.SUPPRESS,
                           help=f"paper: {field.default}", **_reading(hints[field.name]))
    return top


def _reading(hint: Any) -> dict[str, Any]:
    """How an option takes what a field of this type holds."""
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    return {"metavar": "X", "type": number_or_none if type(None) in get_args(hint) else hint}


def number_or_none(text: str) -> float | None:
    """A number, or the word none."""
    return None if text.lower() == "none" else float(text)


class Lines(training.Callback):
    """A line for every epoch."""

    def resumed(self, epoch: int) -> None:
        """Say where it goes on."""
        print(f"going on after epoch {epoch}", flush=True)

    def finished(self, row: dict[str, Any]) -> None:
        """Print the epoch's line."""
        print(f"epoch {row['epoch']:3d}  loss {row['loss']:.4f}  trained on {row['train_accuracy']:.4f}  held out "
              f"{row['held_out_accuracy']:.4f} (loss {row['held_out_loss']:.4f})  {row['seconds']:.1f} s", flush=True)


def _trained(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    changes = {field.name: getattr(args, field.name) for field in fields(training.Recipe) if hasattr(args, field.name)}
    recipe = training.named_recipe(args.recipe, **changes)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: no CUDA device can be used here")
    if args.workers is not None and args.workers < 0:
        raise ValueError(f"--workers must be 0 or more, got {args.workers}")
    train_set, test_set = (data.load(args.dataset, split=name, root=args.root, download=args.download)
                      for name in ("train", "test"))
    # Everybody crops the centre on ImageNet, its samples and Imagenette; the papers resize all others to the input's
    # size, which does not keep the aspect.
    crop = train_set.name.startswith("imagenet") if args.crop is None else args.crop
    options = ({} if crop else {"crop": False}) | ({} if args.input_size is None else {"input_size": args.input_size})
    classifier = training.finetunable(
        args.model, train_set.class_names, device=device, seed=recipe.seed,
        weights=None if args.weights.lower() == "none" else args.weights, **options)
    print(f"{classifier.name} ({classifier.weights.source}) on {len(train_set)} images of {args.dataset}, "
          f"{len(test_set)} to test on; {recipe.epochs} epochs on {device}; kept in {folder}", flush=True)
    torch.backends.cudnn.benchmark = True  # all batches but the last have one size
    return training.train(classifier, train_set, test_set, recipe, folder, validation=args.validation,
                          workers=args.workers, half=args.half, restart=args.restart, callback=Lines(), progress=True)


def _kept(folder: Path) -> str:
    path = folder / training.CHECKPOINT
    return (f"the epochs that are done are kept in {path}; the same command goes on from there" if path.exists()
            else "no epoch was done")


if __name__ == "__main__":
    sys.exit(main())
