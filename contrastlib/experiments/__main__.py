"""The command line: ``python -m contrastlib.experiments run gradient-sign --profile embedded``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contrastlib import experiments
from contrastlib.experiments import PROFILES, Experiment, Setting, provenance
from contrastlib.names import UnknownNameError, did_you_mean

EXAMPLES = """\
examples:
  python -m contrastlib.experiments list
  python -m contrastlib.experiments run gradient-sign --profile embedded
  python -m contrastlib.experiments run masking --profile cub100 --root ~/data --limit 100
  python -m contrastlib.experiments run gradient-sign --profile figure1 --model resnet18 --root ~/imagenet
  torchrun --nproc-per-node 8 -m contrastlib.experiments run gradient-sign --profile figure1
  python -m contrastlib.experiments status
"""
FIELDS: dict[str, dict[str, Any]] = {
    "model": {"metavar": "NAME", "help": "another network; weights and layers are then its own, unless given"},
    "weights": {"metavar": "FILE", "help": "a file, 'default', 'none' (random), or one of torchvision's names"},
    "dataset": {"metavar": "NAME", "help": "cub200, food101, imagenet, imagenette or drawn_birds"},
    "split": {"help": "of the data set"},
    "crop": {"action": argparse.BooleanOptionalAction, "help": "whether images keep their aspect and lose their edges"},
    "input_size": {"type": int, "metavar": "PIXELS", "help": "side of the network's input (default: the weights' own)"},
    "rule": {"help": "which images, such as 'p2>0.1'; 'all' for all"},
    "limit": {"type": int, "metavar": "N", "help": "at most N images, spread evenly; 0 for all"},
    "layers": {"flag": "--layer", "nargs": "+", "metavar": "LAYER",
               "help": "where maps are read; LAYER=METHOD for one method only"},
    "shard": {"type": int, "metavar": "N", "help": "images that are computed and written together"},
    "precision": {"choices": ("float32", "bfloat16"), "help": "bfloat16 is mixed precision"},
    "compiled": {"flag": "--compile", "action": argparse.BooleanOptionalAction,
                 "help": "compile the network with torch.compile"},
}
"""The options that change a field of the profile's setting."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: words of the command line; None for those that the process was given.

    Returns:
        the exit code: 0, 2 where the input was wrong (one line on standard error says what), or 130 after Ctrl-C.
    """
    args = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = args.run
    try:
        command(args)
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on where it stopped", sys.stderr)
        return 130
    except (ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError) as error:
        _say(f"contrastlib.experiments: {' '.join(str(error).split())}", sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="python -m contrastlib.experiments", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="The experiments of both papers over whole data sets. A run keeps everything in one folder; the "
                    "same command goes on where it was interrupted. Under torchrun each process takes a part.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the experiments and their profiles")
    listing.set_defaults(run=list_experiments)
    _add_run(commands)
    status = commands.add_parser("status", help="how far runs are, and which tables were made by which code")
    status.set_defaults(run=show_status)
    status.add_argument("folders", nargs="*", metavar="FOLDER", help="folders of runs (default: all in runs/)")
    status.add_argument("--tables", metavar="FOLDER", default="book/results",
                        help="a folder of tables of rows (default: %(default)s)")
    return top


def _add_run(commands: Any) -> None:
    running = commands.add_parser("run", help="run an experiment, or go on with it", epilog=EXAMPLES,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    running.set_defaults(run=run_experiment)
    add = running.add_argument
    add("name", metavar="NAME", help="one that 'list' names")
    add("--profile", default="embedded", help="the setting to begin with (default: %(default)s)")
    for name, about in FIELDS.items():
        option = {"flag": f"--{name.replace('_', '-')}", "default": None, **about}
        add(option.pop("flag"), dest=name, **option)
    add("--root", metavar="FOLDER", help="where the data set lies (default: $CONTRASTLIB_DATA)")
    add("--device", help="such as cpu or cuda (default: a GPU if there is one)")
    add("--workers", type=int, default=2, metavar="N", help="threads that read pictures (default: %(default)s)")
    add("--output", metavar="FOLDER", help="where everything is kept (default: runs/NAME-PROFILE, and what differs)")
    add("--table", action="append", default=[], metavar="FILE", help="a CSV file to put the rows into as well")
    add("--restart", action="store_true", help="compute everything anew that an earlier run left in the folder")
    add("--accept-changes", action="store_true", help="go on although network, data, setting or code have changed")


def list_experiments(_args: argparse.Namespace) -> None:
    """Print the experiments with their profiles."""
    for name, profiles in PROFILES.items():
        _say(f"{name}\n  {experiments.by_name(name).about}")
        for profile, setting in profiles.items():
            which = f" ({setting.rule})" if setting.rule else ""
            limit = f", {setting.limit} images" if setting.limit else ""
            _say(f"    {profile:15} {setting.model} on {setting.dataset} {setting.split}{which}{limit}")


def run_experiment(args: argparse.Namespace) -> None:
    """Run an experiment and say where its rows are."""
    experiment = experiments.by_name(args.name)
    setting = chosen(experiment, args)
    folder = Path(args.output) if args.output else default_folder(experiment, setting, args.profile)
    progress = Progress(experiment.name)
    from contrastlib.experiments import runner

    try:
        rows = runner.run(experiment, setting, folder, root=args.root, device=args.device, workers=args.workers,
                          tables=args.table, restart=args.restart, accept=args.accept_changes, report=progress)
    finally:
        progress.close()
    if len(rows):
        _say(f"{len(rows)} rows in {', '.join(map(str, (folder / runner.ROWS, *args.table)))}")


def chosen(experiment: Experiment, args: argparse.Namespace) -> Setting:
    """The profile's setting with what the command line changes.

    Raises:
        UnknownNameError: there is no such profile.
    """
    profiles = PROFILES[experiment.name]
    if args.profile not in profiles:
        raise UnknownNameError(f"{experiment.name} has no profile {args.profile!r}"
                               f"{did_you_mean(args.profile, list(profiles))}")
    setting = profiles[args.profile]
    given = {name: getattr(args, name) for name in FIELDS if getattr(args, name) is not None}
    if given.get("model", setting.model) != setting.model:
        setting = replace(setting, weights="default", crop=None, input_size=None, layers=(), normalised=())
    if "rule" in given:
        given["rule"] = given["rule"].removeprefix("all").replace(" ", "")
    if "limit" in given:
        given["limit"] = given["limit"] or None
    if "layers" in given:
        given["layers"] = tuple(given["layers"])
    return replace(setting, **given)


def default_folder(experiment: Experiment, setting: Setting, profile: str) -> Path:
    """``runs/NAME-PROFILE``, with the network and whatever else differs from the profile behind it."""
    usual = PROFILES[experiment.name][profile]
    names = ("model", "dataset", "split", "rule", "limit", "precision", "compiled")
    changed = [f"{getattr(setting, name)}" if name != "compiled" else "compiled"
               for name in names if getattr(setting, name) != getattr(usual, name)]
    name = "-".join([experiment.name, profile, *changed])
    return Path("runs") / "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


class Progress:
    """How far a run is: a bar with the time left on a terminal, now and then a line elsewhere.

    Args:
        name: of the experiment.
    """

    def __init__(self, name: str) -> None:
        self.name, self._what = name, ""
        self._bar: tqdm[Any] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say it."""
        terminal = sys.stderr.isatty()
        if not total:
            _say(f"{self.name}: {what}", sys.stderr)
        elif self._bar is None or what != self._what:
            self.close()
            self._bar = tqdm(desc=what, initial=done, total=total, unit=" images", mininterval=0.1 if terminal else 20,
                             bar_format=None if terminal else "{desc}: {n} of {total} images, {remaining} left\n")
        else:
            self._bar.update(done - self._bar.n)
        self._what = what

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def show_status(args: argparse.Namespace) -> None:
    """Print how far runs are and what made the rows of tables."""
    folders = [Path(name) for name in args.folders] or sorted(path.parent for path in Path("runs").glob("*/run.json"))
    for folder in folders:
        _say(provenance.of_run(folder))
    for made in provenance.of_tables(Path(args.tables)):
        _say("{table}: {group}; {images} images, commit {commit}, {verdict}".format_map(made))
    if not folders and not Path(args.tables).is_dir():
        _say(f"no runs in runs/ and no tables in {args.tables}")


def _say(line: str, stream: Any = None) -> None:
    (stream or sys.stdout).write(line + "\n")
    (stream or sys.stdout).flush()


if __name__ == "__main__":
    sys.exit(main())
