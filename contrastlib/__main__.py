"""The command line: ``python -m contrastlib explain PHOTO``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrastlib import __version__
from contrastlib.names import find

if TYPE_CHECKING:  # the network's libraries take seconds to import, which `--help` need not wait for
    from PIL.Image import Image
    from torch import Tensor

    from contrastlib.contrast import Contrast
    from contrastlib.data import ImageDataset
    from contrastlib.models import Classifier

EXAMPLES = """\
examples:
  python -m contrastlib explain chelsea
  python -m contrastlib explain cat.jpg --target "Egyptian cat" --foil tabby "tiger cat"
  python -m contrastlib explain cat.jpg --model resnet18 --method xgrad_cam --layer layer3 --output why.png
  python -m contrastlib explain bird.jpg --model resnet50 --weights birds.safetensors --classes birds.txt
  python -m contrastlib layers vit_b_16 --weights none
  python -m contrastlib select --dataset drawn_birds --split hard --model birds_vgg
"""

LAYERED = ("linear_approximation", "hirescam", "grad_cam", "xgrad_cam")
METHODS = ("gradient", "gradient_x_input", *LAYERED, "full_grad", "attention_rollout", "attention_relevance")
CONTRASTS = ("mean", "max", "weighted", "probability", "foil", "tempered", "finer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: words of the command line; None for those that the process was given.

    Returns:
        the exit code: 0, or 2 where the input was wrong (one line on standard error says what).
    """
    args = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = args.run
    try:
        command(args)
    except (ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError) as error:
        print(f"contrastlib: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="python -m contrastlib", description="Why this class and not another: explain an image classifier.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"contrastlib {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_explain(commands)
    _add_select(commands)
    _add_layers(commands)
    listing = commands.add_parser("photographs", help="list the embedded photographs with their credit")
    listing.set_defaults(run=list_photographs)
    return top


def _add_explain(commands: Any) -> None:
    explaining = commands.add_parser(
        "explain", help="draw what speaks for a class of a photograph", epilog=EXAMPLES,
        description="Print the five most probable classes of a photograph, and draw beside it what speaks for the "
                    "target (red) and against it (blue): by itself, and in contrast with other classes.",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    explaining.set_defaults(run=explain)
    add = explaining.add_argument
    add("photo", metavar="PHOTO", help="an image file, or the name of an embedded photograph")
    add("--model", default="tf_efficientnet_lite0", metavar="NAME",
        help="a network of torchvision or timm (default: %(default)s, whose weights need no download)")
    add("--weights", metavar="FILE", help="weights from a .safetensors or torch.save file instead of the library's")
    add("--classes", metavar="FILE", help="names of the classes, one a line, where the weights are your own")
    add("--target", metavar="CLASS", help="name or index of the class to explain (default: the most probable)")
    add("--foil", nargs="+", metavar="CLASS", help="the classes to contrast it with; implies --contrast foil")
    add("--contrast", choices=CONTRASTS, help="how the target is contrasted with the others (default: weighted)")
    add("--temperature", type=float, metavar="T", help="for --contrast tempered: 0 is max, 1 weighted, inf mean")
    add("--method", type=_underscored, choices=METHODS, default="grad_cam", help="attribution (default: %(default)s)")
    add("--layer", metavar="NAME", help="layer to explain at (default: the last whose output is a map)")
    add("--device", default="cpu", help="where the network runs, such as cuda (default: %(default)s)")
    add("--output", metavar="FILE", help="picture to write (default: the photograph's name with -why.png, here)")


def _add_select(commands: Any) -> None:
    selecting = commands.add_parser(
        "select", help="report the accuracy on a data set and which images have a likely rival",
        description="Print how accurate a classifier is on a data set and how many images each rule selects; p2 is "
                    "the second largest probability of an image. Predictions are kept and used again.")
    selecting.set_defaults(run=select)
    add = selecting.add_argument
    add("--dataset", required=True, metavar="NAME", help="cub200, food101, imagenet, imagenette or drawn_birds")
    add("--split", default="test", help="split of the data set (default: %(default)s)")
    add("--root", metavar="FOLDER", help="where the data set lies (default: $CONTRASTLIB_DATA)")
    add("--model", required=True, metavar="NAME", help="a network, as for 'explain'")
    add("--weights", metavar="FILE", help="weights for the classes of this data set instead of the library's")
    add("--crop", action=argparse.BooleanOptionalAction, default=None,
        help="whether images keep their aspect and lose their edges (default: only with the library's own weights)")
    add("--input-size", type=int, metavar="PIXELS", help="side of the network's input (default: the library's)")
    add("--limit", type=int, metavar="N", help="only the first N images")
    add("--rule", nargs="+", default=["p2>0.1", "p3>0.1", "p2<0.1"], metavar="RULE",
        help="such as 'p2>0.1' (default: the papers' three)")
    add("--device", default="cpu", help="where the network runs (default: %(default)s)")
    add("--output", metavar="FILE", help="a CSV file to put the rows into, with their provenance beside it")


def _add_layers(commands: Any) -> None:
    doctor = commands.add_parser(
        "layers", help="list the layers of a network that can be explained at",
        description="Run a network forward and backward once and print, for each layer, how its output is read as a "
                    "map, where its gradient is zero, what its signs are, what writes on it, and which one to take.")
    doctor.set_defaults(run=list_layers)
    add = doctor.add_argument
    add("model", metavar="NAME", help="a network of torchvision or timm, or birds_vgg or birds_vit")
    add("--weights", metavar="FILE", default="default", help="a file, or 'none' for random weights, which show as much")
    add("--input-size", type=int, metavar="PIXELS", help="side of the network's input (default: the weights' own)")
    add("--parts", action="store_true", help="list what lies inside blocks too")


def list_layers(args: argparse.Namespace) -> None:
    """Print what the layer doctor finds."""
    from contrastlib import models

    options = {} if args.input_size is None else {"input_size": args.input_size}
    classifier = models.load(args.model, weights=None if args.weights == "none" else args.weights, **options)
    print(classifier.layers().table(parts=args.parts))


def select(args: argparse.Namespace) -> None:
    """Print the accuracy and what each rule selects."""
    from contrastlib import data, tables
    from contrastlib.experiments import selection

    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {args.limit}")
    dataset = data.load(args.dataset, args.split, args.root)
    if args.limit is not None:
        dataset = dataset.subset(range(min(args.limit, len(dataset))))
    classifier = _classifier_for(dataset, args)
    predictions = selection.predict(classifier, dataset, progress=sys.stderr.isatty())
    chosen = [selection.select(predictions, rule) for rule in args.rule]
    print(f"{classifier.name} ({classifier.weights.source}) on {dataset.name} {dataset.split}: "
          f"{len(predictions)} images, accuracy {predictions.accuracy:.1%}, {len(predictions.unreadable)} unreadable")
    for found in chosen:
        print(f"  {found}")
    if args.output:
        rows = [{"classifier": classifier.name, "data set": dataset.name, "split": dataset.split,
                 "images": found.total, "accuracy": f"{found.accuracy:.4f}", "rule": found.rule, "selected": found.n,
                 "share": f"{found.share:.4f}", "accuracy of these": f"{found.accuracy_selected:.4f}"}
                for found in chosen]
        about = tables.provenance(weights=classifier.weights.digest, classifier=predictions.weights_digest,
                                   data=predictions.data_digest, device=args.device,
                                   unreadable=len(predictions.unreadable))
        tables.save(args.output, rows, ("classifier", "data set", "split"), about)
        print(f"wrote {args.output}")


def _classifier_for(dataset: "ImageDataset", args: argparse.Namespace) -> "Classifier":
    from contrastlib import models

    own = args.weights is None
    options: dict[str, Any] = {} if own else {"weights": args.weights, "class_names": dataset.class_names}
    if args.crop is not None or not own:
        options["crop"] = bool(args.crop)
    if args.input_size is not None:
        options["input_size"] = args.input_size
    return models.load(args.model, device=_device(args.device), **options)


def explain(args: argparse.Namespace) -> None:
    """Print the top five classes and write the picture."""
    question = Question.asked(args)  # what is wrong with the words costs no loading of networks
    name, image = _photograph(args.photo)
    output = _output(args.output or f"{name}-why.png", image)
    classifier = _classifier(args)
    pixels = classifier.prepare(image)
    ranked = classifier.top(pixels, k=classifier.num_classes)[0]
    target = ranked[0][0] if args.target is None else classifier.index(args.target)
    foils = [classifier.index(foil) for foil in question.foils]
    maps = question.maps(classifier, pixels, target, foils)
    _write(output, name, pixels, maps, question.titles(classifier, target, foils))
    print(f"{name}, seen by {classifier.name} ({classifier.weights.source})")
    for rank, (index, label, probability) in enumerate(ranked):
        if rank < 5 or index == target:
            print(f"  {probability:6.3f}  {label} ({index}){'  <- target' if index == target else ''}")
    print(f"wrote {output}")


def list_photographs(_args: argparse.Namespace) -> None:
    """Print the embedded photographs with credit, licence and source."""
    from contrastlib.data import photographs

    for name, entry in photographs.CATALOGUE.items():
        print(f"{name}\n  {entry.credit}\n  {entry.licence}\n  {entry.source}; package {entry.distribution}")


@dataclass(frozen=True)
class Question:
    """What is asked: the method, and the contrast beside the original."""

    method: str
    contrast: str
    foils: tuple[str, ...]
    temperature: float | None
    layer: str | None

    @classmethod
    def asked(cls, args: argparse.Namespace) -> "Question":
        """The question of a command line.

        Raises:
            ValueError: options contradict each other.
        """
        contrast = args.contrast or ("foil" if args.foil else "weighted")
        if args.foil and contrast != "foil":
            raise ValueError(f"--foil names the classes of the contrast 'foil', not of '{contrast}'")
        if contrast == "foil" and not args.foil:
            raise ValueError("--contrast foil needs --foil CLASS ...")
        if (contrast == "tempered") != (args.temperature is not None):
            raise ValueError("--contrast tempered and --temperature T go together")
        if args.layer and args.method not in LAYERED:
            raise ValueError(f"--method {args.method} reads no single layer and takes no --layer")
        return cls(args.method, contrast, tuple(args.foil or ()), args.temperature, args.layer)

    def maps(self, classifier: "Classifier", pixels: "Tensor", target: int, foils: list[int]) -> "list[Tensor]":
        """The original map and the contrastive one, (H, W) each."""
        from contrastlib import attribution, contrast

        method = getattr(attribution, self.method)
        named = contrast.by_name(self.contrast, foils=foils or None, temperature=self.temperature)
        options = {"layer": self.layer} if self.layer else {}

        def mapped(score: "Contrast") -> "Tensor":
            return method(classifier, pixels, target, score, **options)[0, 0].cpu()

        return [mapped(contrast.original), mapped(named)]

    def titles(self, classifier: "Classifier", target: int, foils: list[int]) -> list[str]:
        """The titles of the two maps."""
        from contrastlib.plotting import shorten

        name = shorten(classifier.class_name(target), 32)
        others = ", ".join(classifier.class_name(foil) for foil in foils)
        rivals = {"foil": shorten(others, 32), "mean": "the average class", "max": "its strongest rival",
                  "finer": "the similar classes"}.get(self.contrast, "the others")
        dial = "" if self.temperature is None else f", T = {self.temperature:g}"
        return [f"why {name}?\noriginal", f"why {name}, not {rivals}?\n{self.contrast}{dial}"]


def _classifier(args: argparse.Namespace) -> "Classifier":
    from contrastlib import models

    names = None if args.classes is None else _lines(args.classes)
    return models.load(args.model, weights=args.weights or "default", class_names=names, device=_device(args.device))


def _photograph(name: str) -> "tuple[str, Image | Path]":
    """The file of that name, or else the embedded photograph."""
    from contrastlib.data import photographs

    path = Path(name)
    if path.exists():
        return path.stem, path
    known = photographs.names()
    if path.suffix or len(path.parts) > 1:
        raise FileNotFoundError(f"there is no file {name}; the embedded photographs are {', '.join(known)}")
    photograph = photographs.load(known[find(name, known, "file or embedded photograph")])
    return photograph.name, photograph.image


def _output(name: str, image: "Image | Path") -> Path:
    output = Path(name)
    if not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.parent} to write {output.name} to")
    if isinstance(image, Path) and output.exists() and output.samefile(image):
        raise ValueError(f"--output {name} is the photograph itself, which would be lost")
    return output


def _write(output: Path, name: str, pixels: "Tensor", maps: "list[Tensor]", titles: list[str]) -> None:
    from contrastlib import plotting

    plotting.compare(pixels[0].cpu(), maps, titles, photo_title=name).savefig(output)


def _device(name: str) -> str:
    import torch

    if torch.device(name).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: no CUDA device can be used here")
    return name


def _lines(path: str) -> list[str]:
    lines = Path(path).read_text(encoding="utf8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _underscored(text: str) -> str:
    return text.replace("-", "_")


if __name__ == "__main__":
    sys.exit(main())
