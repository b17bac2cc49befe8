"""The command line. ``contrastlib.experiments`` and ``contrastlib.training`` are doors to parts of it.

A command is a function: its signature has the options and its docstring is the help, with these examples:

  python -m contrastlib explain chelsea
  python -m contrastlib explain cat.jpg --target "Egyptian cat" --foil tabby "tiger cat"
  python -m contrastlib explain cat.jpg --model resnet18 --method xgrad_cam --layer layer3 --output why.png
  python -m contrastlib explain bird.jpg --model resnet50 --weights birds.safetensors --classes birds.txt
  python -m contrastlib layers vit_b_16 --weights none
  python -m contrastlib select --dataset drawn_birds --split hard --model birds_vgg
  python -m contrastlib.experiments list
  python -m contrastlib.experiments run gradient-sign --profile embedded
  python -m contrastlib.experiments run masking --profile cub100 --root ~/data --limit 100
  python -m contrastlib.experiments run gradient-sign --profile figure1 --model resnet18 --root ~/imagenet
  torchrun --nproc-per-node 8 -m contrastlib.experiments run gradient-sign --profile figure1
  python -m contrastlib.experiments status
  python -m contrastlib.training --dataset cub200 --model vgg16_bn --root ~/data
  python -m contrastlib.training --dataset cub200 --model resnet50 --recipe short --validation 0.1
  python -m contrastlib.training --dataset drawn_birds --model birds_vgg --recipe birds_vgg --epochs 30

What needs torch imports it when it runs: that takes seconds, which ``--help``, ``list`` and ``status`` do not wait for.
"""

import argparse
import inspect
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from tqdm import tqdm

import contrastlib
from contrastlib import experiments
from contrastlib.experiments import PROFILES, Setting, provenance
from contrastlib.names import find

if TYPE_CHECKING:
    from contrastlib.models import Classifier

Method = Literal["gradient", "gradient_x_input", "linear_approximation", "hirescam", "grad_cam", "xgrad_cam",
                 "full_grad", "attention_rollout", "attention_relevance"]
LAYERED = get_args(Method)[2:6]
Contrast = Literal["mean", "max", "weighted", "probability", "foil", "tempered", "finer"]
RIVALS = {"mean": "the average class", "max": "its strongest rival", "finer": "the similar classes"}

FLAGS = {"layers": "--layer", "compiled": "--compile", "model_args": "--model-arg"}  # not called like the field
IN_WORDS = {  # what the library says to Python, and what the command line says
    r"pass num_classes=(\d+)": r"\1 must be named, with --classes FILE or by the data set",
    "(num_classes|class_names)=": "--classes FILE", r"\b(weights|layer)=": r"--\1 ",
    r"see its with_imagenet_labels\(\)": "give weights for them (--weights FILE)",
    r"print\(classifier\.layers\(\)(\.table\(parts=True\))?\)": "python -m contrastlib layers MODEL --parts"}


def main(arguments: Sequence[str] | None = None, door: str = "") -> int:
    """Run a command.

    Args:
        arguments: words of the command line; None for those that the process was given.
        door: ``experiments`` or ``training`` for that part of the commands alone.

    Returns:
        the exit code: 0, 2 where the input was wrong (one line on standard error says what), or 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not door and words and words[0] in DOORS:
        door, *words = words
    commands = parser(door)
    given = vars(commands.parse_args(words))
    run = given.pop("run")
    try:
        run(**given)
    except KeyboardInterrupt as stop:
        kept = "; ".join(getattr(stop, "__notes__", ["the same command goes on with what is kept"]))
        print(f"stopped: {kept}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        for said, meant in IN_WORDS.items():
            message = re.sub(said, meant, message)
        print("; ".join([f"{commands.prog.split()[-1]}: {message}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 2
    return 0


def parser(door: str = "") -> argparse.ArgumentParser:
    """The commands behind a door, with options that leave in the namespace only what was given."""
    place = f"-m contrastlib.{door}".rstrip(".")
    examples = [line for line in (__doc__ or "").splitlines() if f"{place} " in line]
    looks: dict[str, Any] = {"epilog": "\n".join(["examples:", *examples]),
                             "formatter_class": argparse.RawDescriptionHelpFormatter}
    about = _plain(DOORS[door]).partition("\n\nArgs:")[0]
    top = argparse.ArgumentParser(prog=f"python {place}", description=about, **looks)
    if door == "training":
        from contrastlib.experiments.training import Recipe

        top.set_defaults(run=train)
        _add_options(top, train)
        _add_options(top.add_argument_group("the recipe", "each overrides a value of --recipe"), Recipe, said="paper")
        return top
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, run in COMMANDS[door].items():
        about = _plain(run).partition("\n\nArgs:")[0]
        command = commands.add_parser(name, help=about.partition("\n")[0], description=about, **looks)
        command.set_defaults(run=run)
        _add_options(command, run)
        if run is run_experiment:
            _add_options(command, Setting, said="", but=("normalised", "targets"))
    if not door:
        top.add_argument("--version", action="version", version=f"contrastlib {contrastlib.__version__}")
        for name in filter(None, DOORS):
            commands.add_parser(name, help=_plain(DOORS[name]).partition("\n")[0])
    return top


def _plain(documented: object) -> str:
    """A docstring without markup."""
    return re.sub(r":\w+:(?=`)|[`~]", "", inspect.getdoc(documented) or "")


def _add_options(to: Any, of: Callable[..., object], said: str = "default", but: Sequence[str] = ()) -> None:
    """An option for each keyword of a function, or for each field of a dataclass, explained as its docstring does."""
    told = dict(re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", _plain(of).replace("%", "%%"), re.MULTILINE))
    hints = get_type_hints(of)
    for name, parameter in inspect.signature(of).parameters.items():
        if name in but or parameter.kind is parameter.VAR_KEYWORD:
            continue
        flag, how, default = name, _how(hints[name]), parameter.default
        about = " ".join(told.get(name, "").split())
        if said and default and isinstance(default, str | int | float):
            about += f" ({said}: {default})"
        if parameter.kind is parameter.KEYWORD_ONLY or isinstance(of, type):
            flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
            how |= {"dest": name, "required": default is parameter.empty and not isinstance(of, type)}
        elif default is not parameter.empty:
            how["nargs"] = "*"
        to.add_argument(flag, default=argparse.SUPPRESS, help=about, **how)


def _how(hint: Any) -> dict[str, Any]:
    """How an option takes what a parameter of this type wants."""
    optional = type(None) in get_args(hint)
    kind = get_args(hint)[0] if optional else hint
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is tuple:
        return {"nargs": "+", "action": "extend"}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind), "type": lambda text: text.replace("-", "_")}
    return {"type": _or_none(kind) if optional and kind is not str else kind}


def _or_none(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        return None if text.lower() == "none" else kind(text)

    read.__name__ = f"{kind.__name__} or none"  # as messages call it
    return read


class Progress:
    """How far a run or a training is: a bar on a terminal; through a pipe a line at the beginning and now and then.

    Args:
        name: of what goes on.
        unit: of what is done.
        epochs: of a training.
    """

    def __init__(self, name: str, unit: str = "images", epochs: int = 1) -> None:
        self.name, self.unit, self.epochs, self.what, self.bar = name, unit, epochs, "", tqdm(disable=True)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say it; a total of 0 is an unknown one."""
        now = time.monotonic()
        if what != self.what:
            self.bar.close()
            self.what, self.begun, self.since, self.said = what, done, now, float("-inf")
            self.bar = tqdm(desc=what, initial=done, total=total, unit=f" {self.unit}",
                            disable=not (sys.stderr.isatty() and total))
        self.bar.update(done - self.bar.n)
        if self.bar.disable and (done == total or now - self.said > 20):
            self.said, rest = now, (now - self.since) * (total - done) / max(done - self.begun, 1)
            left = f", {tqdm.format_interval(rest)} left" if done > self.begun else ""
            print(f"{what}: {done} of {total} {self.unit}{left}" if total else f"{self.name}: {what}",
                  file=sys.stderr, flush=True)

    # What a training calls; on a terminal it has a bar of its own.

    def resumed(self, epoch: int) -> None:
        """Say where it goes on."""
        print(f"going on after epoch {epoch}", flush=True)

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        """Say how far it is."""
        if not sys.stderr.isatty():
            self(self.name, (epoch - 1) * steps + step, self.epochs * steps)

    def finished(self, row: dict[str, Any]) -> None:
        """Print the epoch's line."""
        print(f"epoch {row['epoch']:3d}  loss {row['loss']:.4f}  trained on {row['train_accuracy']:.4f}  held out "
              f"{row['held_out_accuracy']:.4f} (loss {row['held_out_loss']:.4f})  {row['seconds']:.1f} s", flush=True)


# --- one picture -----------------------------------------------------------------------------------------------------


def explain(photo: str, *, model: str = "tf_efficientnet_lite0", weights: str = "default", classes: str | None = None,
            input_size: int | None = None, target: str | None = None, foil: tuple[str, ...] = (),
            contrast: Contrast | None = None, temperature: float | None = None, method: Method = "grad_cam",
            layer: str | None = None, device: str = "cpu", output: str | None = None) -> None:
    """Draw what speaks for a class of a photograph.

    Prints the five most probable classes, and draws beside the photograph what speaks for the target (red) and against
    it (blue): by itself, and in contrast with other classes.

    Args:
        photo: an image file, or the name of an embedded photograph
        model: a network of torchvision or timm, birds_vgg or birds_vit; the default needs no download
        weights: a .safetensors or torch.save file instead of the library's; none for random ones
        classes: file with the names of the classes, one a line, where the weights are your own
        input_size: side of the network's input in pixels (default: the weights' own)
        target: name or index of the class to explain (default: the most probable)
        foil: the classes to contrast it with; implies --contrast foil
        contrast: how the target is contrasted with the others (default: weighted)
        temperature: for --contrast tempered: 0 is max, 1 weighted, inf mean
        method: attribution
        layer: layer to explain at (default: the last whose output is a map)
        device: where the network runs, such as cuda
        output: picture to write (default: the photograph's name with -why.png, here)
    """
    kind = contrast or ("foil" if foil else "weighted")  # what is wrong with the words is said before a network loads
    if (kind == "foil") != bool(foil):
        raise ValueError("--contrast foil and --foil CLASS ... go together")
    if (kind == "tempered") != (temperature is not None):
        raise ValueError("--contrast tempered and --temperature T go together")
    if layer and method not in LAYERED:
        raise ValueError(f"--method {method} reads no single layer and takes no --layer")
    name, image = _photograph(photo)
    picture = _picture(output or f"{name}-why.png", photo)
    from contrastlib import attribution, plotting, store
    from contrastlib.contrast import by_name, original

    asked = None if foil else by_name(kind, temperature=temperature)
    classifier = _network(model, weights, device, input_size=input_size, class_names=_names(classes))
    pixels = classifier.prepare(image)
    ranked = classifier.top(pixels, k=classifier.num_classes)[0]
    explained = ranked[0][0] if target is None else classifier.index(target)
    foils = [classifier.index(name) for name in foil]
    options = {"layer": layer} if layer else {}
    maps = [getattr(attribution, method)(classifier, pixels, explained, score, **options)[0, 0].cpu()
            for score in (original, asked or by_name(kind, foils=foils))]
    why = f"why {plotting.shorten(classifier.class_name(explained), 32)}"
    rivals = plotting.shorten(", ".join(map(classifier.class_name, foils)), 32) or RIVALS.get(kind, "the others")
    dial = "" if temperature is None else f", T = {temperature:g}"
    titles = [f"{why}?\noriginal", f"{why}, not {rivals}?\n{kind}{dial}"]
    figure = plotting.compare(pixels[0].cpu(), maps, titles, photo_title=name)
    store.replace(picture, lambda beside: figure.savefig(beside, format=picture.suffix[1:].lower()))
    print(f"{name}, seen by {classifier.name} ({classifier.weights.source})")
    for index, label, probability in [*ranked[:5], *(row for row in ranked[5:] if row[0] == explained)]:
        print(f"  {probability:6.3f}  {label} ({index}){'  <- target' if index == explained else ''}")
    print(f"wrote {picture}")


def _photograph(name: str) -> tuple[str, Any]:
    """The picture in the file of that name, or else the embedded photograph."""
    from contrastlib import pictures
    from contrastlib.data import photographs

    path, known = Path(name), photographs.names()
    if path.exists():
        return path.stem, pictures.read(path)
    photograph = photographs.load(known[find(name, known, "file or embedded photograph")])
    return photograph.name, photograph.image


def _picture(name: str, photo: str) -> Path:
    """Where a picture can be written."""
    from matplotlib.figure import Figure

    output = Path(name) if Path(name).suffix else Path(f"{name}.png")
    formats = Figure().canvas.get_supported_filetypes()
    if output.suffix[1:].lower() not in formats:
        raise ValueError(f"--output {name}: a picture can be one of {', '.join(formats)}, but no {output.suffix}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.parent} to write {output.name} to")
    if output.exists() and Path(photo).exists() and output.samefile(photo):
        raise ValueError(f"--output {name} is the photograph itself, which would be lost")
    return output


def _network(name: str, weights: str, device: str, **options: Any) -> "Classifier":
    """The network that the options name; those that are None are its own."""
    from contrastlib import models

    stated = {option: value for option, value in options.items() if value is not None}
    return models.load(name, weights=_weights(weights), device=_device(device), **stated)


def _weights(word: str) -> str | None:
    return None if word.lower() == "none" else word


def _device(name: str | None) -> str:
    import torch

    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if torch.device(name).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: no CUDA device can be used here")
    return name


def _names(file: str | None) -> list[str] | None:
    if not file:
        return None
    text = Path(file).read_text(encoding="utf-8-sig", errors="replace")
    if not text.strip() or "\ufffd" in text:
        raise ValueError(f"--classes {file} is no text in UTF-8 with the name of a class in each line")
    return [line.strip() for line in text.splitlines() if line.strip()]


def list_photographs() -> None:
    """List the embedded photographs with their credit."""
    from contrastlib.data import photographs

    for name, entry in photographs.CATALOGUE.items():
        print(f"{name}\n  {entry.credit}\n  {entry.licence}\n  {entry.source}; package {entry.distribution}")


def list_layers(model: str, *, weights: str = "default", classes: str | None = None, input_size: int | None = None,
                device: str = "cpu", parts: bool = False) -> None:
    """List the layers of a network that can be explained at.

    Runs the network forward and backward once and prints, for each layer, how its output is read as a map, where its
    gradient is zero, what its signs are, what writes on it, and which one to take.

    Args:
        model: a network of torchvision or timm, birds_vgg or birds_vit
        weights: a file; none for random ones, which show as much
        classes: file with the names of the classes, one a line, where the weights are your own
        input_size: side of the network's input in pixels (default: the weights' own)
        device: where the network runs, such as cuda
        parts: list what lies inside blocks too
    """
    classifier = _network(model, weights, device, input_size=input_size, class_names=_names(classes))
    print(classifier.layers().table(parts=parts))


# --- data sets and experiments ---------------------------------------------------------------------------------------


def select(*, dataset: str, model: str, split: str = "test", root: str | None = None, weights: str = "default",
           crop: bool | None = None, input_size: int | None = None, limit: int | None = None,
           rule: tuple[str, ...] = ("p2>0.1", "p3>0.1", "p2<0.1"), device: str = "cpu", output: str | None = None
           ) -> None:
    """Report the accuracy on a data set and which images have a likely rival.

    Prints how accurate a classifier is on a data set and how many images each rule selects; p2 is the second largest
    probability of an image. Predictions are kept and used again.

    Args:
        dataset: cub200, food101, imagenet, imagenette or drawn_birds
        model: a network, as for 'explain'
        split: of the data set
        root: folder in which the data set lies (default: $CONTRASTLIB_DATA)
        weights: a file for the classes of this data set instead of the library's; none for random ones
        crop: whether images keep their aspect and lose their edges (default: only with the library's own weights)
        input_size: side of the network's input in pixels (default: the library's)
        limit: only the first so many images
        rule: which images (default: the papers' p2>0.1 p3>0.1 p2<0.1)
        device: where the network runs, such as cuda
        output: a CSV file to put the rows into, with their provenance beside it
    """
    if limit is not None and limit < 1:
        raise ValueError(f"--limit must be at least 1, got {limit}")
    _check(rule, [output] if output else [])
    from contrastlib import data, tables
    from contrastlib.experiments import selection

    images = data.load(dataset, split, root)
    if limit is not None:
        images = images.subset(range(min(limit, len(images))))
    own = _weights(weights) is None or Path(weights).suffix
    classifier = _network(model, weights, device, input_size=input_size, crop=bool(crop) if own else crop,
                          class_names=images.class_names if own else None)
    progress = Progress("select", "batches")
    predictions = selection.predict(classifier, images, progress=lambda *far: progress("predictions", *far))
    progress.bar.close()
    chosen = [selection.select(predictions, each) for each in rule]
    print(f"{classifier.name} ({classifier.weights.source}) on {images.name} {images.split}: "
          f"{len(predictions)} images, accuracy {predictions.accuracy:.1%}, {len(predictions.unreadable)} unreadable")
    print(*(f"  {found}" for found in chosen), sep="\n")
    if output:
        rows = [{"classifier": classifier.name, "data set": images.name, "split": images.split,
                 "images": found.total, "accuracy": f"{found.accuracy:.4f}", "rule": found.rule, "selected": found.n,
                 "share": f"{found.share:.4f}", "accuracy of these": f"{found.accuracy_selected:.4f}"}
                for found in chosen]
        about = tables.provenance(weights=classifier.weights.digest, classifier=predictions.weights_digest,
                                  data=predictions.data_digest, device=device, unreadable=len(predictions.unreadable))
        tables.save(output, rows, ("classifier", "data set", "split"), about)
        print(f"wrote {output}")


def _check(rules: Iterable[str], files: Iterable[str]) -> None:
    """Try what is wanted only when all has been computed: rules on one image, and the names of tables."""
    import torch

    from contrastlib.experiments import selection

    for file in files:
        if Path(file).suffix.lower() != ".csv":
            raise ValueError(f"rows go into a .csv file, with their provenance in a .json file beside it; got {file}")
    image = selection.Predictions(("image",), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 100_000))
    for rule in rules:
        selection.select(image, rule)


def list_experiments() -> None:
    """List the experiments and their profiles."""
    for name, profiles in PROFILES.items():
        # Read and not imported, as that would import torch.
        source = Path(experiments.__path__[0], f"{name.replace('-', '_')}.py").read_text(encoding="utf8")
        about = re.search(r'\bExperiment\(\s*"[^"]*",\s*"([^"]*)"', source)
        print(f"{name}\n  {about and about[1]}")
        for profile, setting in profiles.items():
            which = f" ({setting.rule})" if setting.rule else ""
            limit = f", {setting.limit} images" if setting.limit else ""
            print(f"    {profile:15} {setting.model} on {setting.dataset} {setting.split}{which}{limit}")


def run_experiment(name: str, *, profile: str = "embedded", root: str | None = None, device: str | None = None,
                   workers: int = 2, output: str | None = None, table: tuple[str, ...] = (), restart: bool = False,
                   accept_changes: bool = False, **changes: Any) -> None:
    """Run an experiment, or go on with it.

    Args:
        name: one that 'list' names
        profile: the setting to begin with
        root: folder in which the data set lies (default: $CONTRASTLIB_DATA)
        device: such as cpu or cuda (default: a GPU if there is one)
        workers: threads that read pictures
        output: folder that keeps everything (default: runs/NAME-PROFILE, and what differs)
        table: a CSV file to put the rows into as well
        restart: compute everything anew that an earlier run left in the folder
        accept_changes: go on although network, data, setting or code have changed
        changes: of the profile's setting; another model has weights and layers of its own
    """
    experiment = experiments.by_name(name)
    setting, folder = chosen(name, profile, **changes)
    _check([setting.rule] if setting.rule else [], table)
    from contrastlib.experiments import runner

    folder, progress = Path(output) if output else folder, Progress(experiment.name)
    try:
        rows = runner.run(experiment, setting, folder, root=root, device=device, workers=workers, tables=table,
                          restart=restart, accept=accept_changes, report=progress)
    finally:
        progress.bar.close()
    if len(rows):
        print(f"{len(rows)} rows in {', '.join(map(str, (folder / runner.ROWS, *table)))}")


def chosen(name: str, profile: str = "embedded", **changes: Any) -> tuple[Setting, Path]:
    """The profile's setting with what the command line changes, and the folder of such a run.

    Raises:
        UnknownNameError: there is no such profile.
    """
    name = name.replace("_", "-")
    known = list(PROFILES[name])
    profile = known[find(profile, known, f"profile of {name}")]
    usual = setting = PROFILES[name][profile]
    if changes.get("model", usual.model) != usual.model:
        setting = replace(setting, weights="default", crop=None, input_size=None, mean=None, std=None,
                          model_args=(), layers=(), normalised=())
    wanted = vars(setting) | changes
    setting = Setting(**wanted | {name: tuple(words) for name, words in wanted.items() if isinstance(words, list)} |
                      {"limit": wanted["limit"] or None, "rule": wanted["rule"].removeprefix("all").replace(" ", "")})
    differing = [field if field == "compiled" else str(getattr(setting, field))
                 for field in ("model", "dataset", "split", "rule", "limit", "precision", "compiled")
                 if getattr(setting, field) != getattr(usual, field)]
    return setting, Path("runs", re.sub(r"[^\w.-]", "_", "-".join([name, profile, *differing])))


def show_status(folders: tuple[str, ...] = (), *, tables: str = "book/results") -> None:
    """Say how far runs are, and which tables were made by which code.

    Args:
        folders: of runs (default: all in runs/)
        tables: a folder of tables of rows
    """
    runs = [Path(name) for name in folders] or sorted(path.parent for path in Path("runs").glob("*/run.json"))
    for run in runs:
        print(provenance.of_run(run))
    for made in provenance.of_tables(Path(tables)):
        print("{table}: {group}; {images} images, commit {commit}, {verdict}".format_map(made))
    if not runs and not Path(tables).is_dir():
        print(f"no runs in runs/ and no tables in {tables}")


# --- training --------------------------------------------------------------------------------------------------------


def train(*, dataset: str, model: str, weights: str = "default", recipe: str = "paper", output: str | None = None,
          restart: bool = False, validation: float = 0.0, half: bool = False, root: str | None = None,
          download: bool = False, workers: int | None = None, device: str | None = None,
          input_size: int | None = None, crop: bool | None = None, **changes: Any) -> None:
    """Train all layers of a network on a data set, by default as the papers do.

    After every epoch its folder keeps what is done: checkpoint.pt, best.safetensors, last.safetensors and record.json.
    The same command goes on where it was interrupted.

    Args:
        dataset: cub200, food101, imagenet, imagenette or drawn_birds
        model: a network of torchvision or timm, birds_vgg or birds_vit
        weights: to begin with: a file; none for random ones; by default the library's own, with a new head
        recipe: paper, short, birds_vgg or birds_vit
        output: folder that keeps everything (default: runs/DATASET-MODEL)
        restart: remove what an earlier training left in the folder
        validation: share of the training images held out to choose the best epoch on; for 0 the test split chooses
        half: store the weights in float16
        root: folder in which the data set lies (default: $CONTRASTLIB_DATA)
        download: fetch the data set if it is not there and can be fetched
        workers: processes that read pictures (default: up to four)
        device: where the network runs (default: cuda if there is one, else cpu)
        input_size: side of the input in pixels (default: that of the weights)
        crop: whether test pictures keep their aspect and lose their edges (default: on imagenet and imagenette only)
        changes: of the recipe
    """
    import torch

    from contrastlib import data
    from contrastlib.experiments import training

    how, device = training.named_recipe(recipe, **changes), _device(device)
    if workers is not None and workers < 0:
        raise ValueError(f"--workers must be 0 or more, got {workers}")
    train_set, test_set = (data.load(dataset, split=name, root=root, download=download) for name in ("train", "test"))
    # Everybody crops the centre on ImageNet, its samples and Imagenette; the papers resize all others to the input's
    # size, which does not keep the aspect.
    crop = train_set.name.startswith("imagenet") if crop is None else crop
    stated = ({} if crop else {"crop": False}) | ({} if input_size is None else {"input_size": input_size})
    classifier = training.finetunable(model, train_set.class_names, device=device, seed=how.seed,
                                      weights=_weights(weights), **stated)
    folder = Path(output or f"runs/{dataset}-{model.replace('/', '-')}")
    print(f"{classifier.name} ({classifier.weights.source}) on {len(train_set)} images of {dataset}, "
          f"{len(test_set)} to test on; {how.epochs} epochs on {device}; kept in {folder}", flush=True)
    torch.backends.cudnn.benchmark = True  # all batches but the last have one size
    progress: Any = Progress("training", "steps", how.epochs)  # a training.Callback but for the name
    try:
        record = training.train(classifier, train_set, test_set, how, folder, validation=validation, workers=workers,
                                half=half, restart=restart, callback=progress, progress=True)
    except (KeyboardInterrupt, OSError) as stop:
        if isinstance(stop, KeyboardInterrupt) or stop.errno is not None:  # such as a full disk
            kept = folder / training.CHECKPOINT
            stop.add_note(f"the epochs that are done are kept in {kept}; the same command goes on from there"
                          if kept.exists() else "no epoch was done")
        raise
    for name, stored in record["files"].items():
        print(f"{name}: epoch {stored['epoch']}, test accuracy {stored['test_accuracy']:.4f} as stored in "
              f"{folder / stored['file']} ({stored['dtype']})")
    print(record["note"])


DOORS: dict[str, object] = {"": contrastlib, "experiments": experiments, "training": train}
COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "": {"explain": explain, "select": select, "layers": list_layers, "photographs": list_photographs},
    "experiments": {"list": list_experiments, "run": run_experiment, "status": show_status}}

if __name__ == "__main__":
    sys.exit(main())
