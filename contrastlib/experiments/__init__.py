"""The papers' experiments over whole data sets: resumable, on one process or many, ending in tidy rows.

``python -m contrastlib.experiments list`` says which there are. Each experiment is a file with two functions:
``measure`` gives numbers for each image of a batch, ``rows`` turns those of all images into a table. What is common to
all, such as shards, resuming, several processes and provenance, is in ``contrastlib.experiments.runner``.
"""

import importlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrastlib.experiments.experiment import Experiment, Rows, Setting
from contrastlib.experiments.profiles import PROFILES
from contrastlib.names import UnknownNameError, did_you_mean

if TYPE_CHECKING:  # torch takes seconds to import, which `--help` and `status` need not wait for
    from contrastlib.data import ImageDataset
    from contrastlib.models import Classifier

__all__ = ["PROFILES", "Experiment", "Setting", "by_name", "run"]


def by_name(name: str) -> Experiment:
    """An experiment by its name.

    Args:
        name: such as ``gradient-sign``; an underscore does for a hyphen.

    Returns:
        the experiment.

    Raises:
        UnknownNameError: there is none; says which come near.
    """
    wanted = name.replace("_", "-")
    if wanted not in PROFILES:
        raise UnknownNameError(f"no experiment is called {name!r}{did_you_mean(wanted, list(PROFILES))}")
    experiment: Experiment = importlib.import_module(f"{__name__}.{wanted.replace('-', '_')}").EXPERIMENT
    return experiment


def run(name: str, network: "str | Classifier", images: "str | ImageDataset", *, folder: str | Path | None = None,
        **choices: Any) -> Rows:
    """Run an experiment, and give its rows.

    Args:
        name: such as ``masking``; see :func:`by_name`.
        network: a classifier, in evaluation mode, or a name that :func:`contrastlib.models.load` knows.
        images: a data set, or a name that :func:`contrastlib.data.load` knows, whose ``split`` is then a choice.
        folder: keeps what is done, so that the same call goes on where it was interrupted; None keeps nothing.
        choices: fields of :class:`~contrastlib.experiments.experiment.Setting`, such as ``limit=16``, and what
            :func:`contrastlib.experiments.runner.run` takes, such as ``device="cpu"``.

    Returns:
        a row for each number of the table, its columns as :func:`contrastlib.tables.load` gives them.

    Raises:
        UnknownNameError: there is no such experiment.
        TypeError: there is no such choice.
        ValueError: the choices do not fit the network or the images.
    """
    from contrastlib.experiments import runner

    own = {choice: choices.pop(choice) for choice in [*choices] if choice in Setting.__dataclass_fields__}
    if not isinstance(network, str):
        choices["classifier"], network = network, network.name
    if not isinstance(images, str):
        choices["dataset"], own["split"], images = images, images.split, images.name
    with tempfile.TemporaryDirectory() as spare:
        return runner.run(by_name(name), Setting(network, images, **own), folder or spare, **choices)
