"""Weights from files: found or fetched, read without running code from them, checked, and their origin kept."""

import hashlib
import pickle
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_TIMEOUT = 5  # seconds until a host counts as out of reach


class WeightsNotFoundError(FileNotFoundError):
    """A file of weights is not here and cannot be fetched; the message says what to do."""


class WeightsError(ValueError):
    """A file of weights is damaged, not the one expected, or does not fit the network."""


@dataclass(frozen=True)
class Weights:
    """Where the weights of a network came from.

    Attributes:
        source: in words: a file, an address, a package, or how they were initialised.
        digest: SHA-256 of the file in hexadecimal; None if there was no file.
        licence: the terms, as far as they are known.
    """

    source: str
    digest: str | None = None
    licence: str | None = None


RANDOM = Weights("random initialisation")


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


def read(path: str | Path, digest: str | None = None) -> Stored:
    """Read a file of weights; nothing but tensors is taken from it.

    Args:
        path: a ``.safetensors`` file, or one of ``torch.save`` (``.pth``, ``.pt``, ``.bin``).
        digest: the SHA-256 that the file must have, in hexadecimal, or the first 8 or more digits of it.

    Returns:
        the tensors and the file's digest.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: another digest, a damaged file, or one that holds other things than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f"there is no file of weights at {path}")
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path}: weights are read from {', '.join(SUFFIXES)} files")
    found = sha256(path)
    check_digest(path, found, digest)
    with _explained(path):
        content = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else torch.load(
            path, map_location="cpu", weights_only=True)
    return Stored(path, found, _state(content, path))


def sha256(path: Path) -> str:
    """The SHA-256 of a file.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, found: str, expected: str | None) -> None:
    """Hold that a file is the one expected.

    Args:
        path: the file, for the message.
        found: its SHA-256.
        expected: the SHA-256 it should have, or its first 8 or more digits; None accepts all.

    Raises:
        WeightsError: they differ.
        ValueError: the expected digest is not one.
    """
    if expected is None:
        return
    if not re.fullmatch(r"[0-9a-f]{8,64}", expected.lower()):
        raise ValueError(f"digest must be 8 to 64 hexadecimal digits of a SHA-256, got {expected!r}")
    if not found.startswith(expected.lower()):
        raise WeightsError(f"{path} is not the file expected, or it is damaged: its SHA-256 begins with "
                           f"{found[:len(expected)]}, expected was {expected}")


def fit(model: nn.Module, stored: Stored) -> None:
    """Put the tensors of a file into a network; every name and shape must agree.

    Args:
        model: the network, changed in place.
        stored: the file's content.

    Raises:
        WeightsError: names or shapes differ; says which, and how many classes the file has where that is the reason.
    """
    problems = differences(model, stored.state)
    if problems:
        raise WeightsError(f"{stored.path} does not fit {type(model).__name__}: " + "; ".join(problems))
    model.load_state_dict(stored.state)


def differences(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """What keeps the tensors from fitting the network.

    Args:
        model: the network.
        state: tensors by name.

    Returns:
        sentences; empty if they fit.
    """
    own = model.state_dict()
    # An old file may lack the count of batches that BatchNorm keeps; no output depends on it.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own]
    shapes = [f"{k} is {tuple(state[k].shape)} in the file and {tuple(v.shape)} in the network"
              for k, v in own.items() if k in state and state[k].shape != v.shape]
    told = [f"{len(names)} tensors {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for names, what in ((missing, "are missing in the file"), (extra, "are unknown to the network")) if names]
    if shapes and not told and _only_head(own, state):
        file, network = (s[_head_name(own)].shape[0] for s in (state, own))
        return [f"the file has {file} classes, the network {network}: pass num_classes={file}"]
    return told + shapes[:3] + ([f"and {len(shapes) - 3} more shapes differ"] if len(shapes) > 3 else [])


def fetch(url: str, path: Path) -> None:
    """Download a file of weights unless it is there; gives up within seconds where the host is out of reach.

    Args:
        url: its address. Digits in the file's name, as in ``resnet18-f37072fd.pth``, are the start of its SHA-256.
        path: where it belongs.

    Raises:
        WeightsNotFoundError: it is not there and cannot be fetched.
        WeightsError: what was fetched has another digest.
    """
    if path.is_file():
        return
    with _reachable(url, f"{path.name} are not at {path}", "put the file there, or pass weights=PATH to a copy"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), digest_in_name(path.name), progress=False)
        except RuntimeError as error:
            raise WeightsError(f"what {url} gave is not the file expected: {error}") from error


def fetch_from_hub(repository: str, filename: str) -> Path:
    """A file from the Hugging Face hub or from its cache; gives up within seconds where the hub is out of reach.

    Args:
        repository: such as ``timm/resnet18.a1_in1k``.
        filename: such as ``model.safetensors``.

    Returns:
        the file in the hub's cache.

    Raises:
        WeightsNotFoundError: it is not in the cache and cannot be fetched.
    """
    import huggingface_hub as hub

    cached = hub.try_to_load_from_cache(repository, filename)
    if isinstance(cached, str):
        return Path(cached)
    missing = f"{filename} of {repository} are not in the cache {hub.constants.HF_HUB_CACHE}"
    # The hub's own client tries five times over 23 seconds before it says that there is no network.
    with _reachable(hub.hf_hub_url(repository, filename), missing, "fetch it elsewhere and pass weights=PATH"):
        return Path(hub.hf_hub_download(repository, filename))


def digest_in_name(filename: str) -> str | None:
    """The start of the SHA-256 that torch's hub puts into a file's name.

    Args:
        filename: such as ``resnet18-f37072fd.pth``.

    Returns:
        such as ``f37072fd``; None if there is none.
    """
    match = re.search(r"-([0-9a-f]{8,64})\.", filename)
    return match.group(1) if match else None


@contextmanager
def _reachable(url: str, missing: str, advice: str) -> Iterator[None]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT):  # noqa: S310
            pass
        yield
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsNotFoundError(f"the weights {missing} and could not be fetched from {url} ({reason}); "
                                   f"{advice}, or weights=None for random weights") from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} is damaged, or holds other things than tensors, which are not read: "
                           f"{_first_line(error)}") from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is damaged or cut short: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _state(content: object, path: Path) -> dict[str, Tensor]:
    """The tensors themselves, out of the wrappings that training scripts put around them."""
    for wrapping in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapping), Mapping):
            content = content[wrapping]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()) or not content:
        raise WeightsError(f"{path} holds no table of tensors by name")
    state = {str(k): v.float() if v.is_floating_point() and v.itemsize < 4 else v for k, v in content.items()}
    parallel = all(k.startswith("module.") for k in state)
    return {k.removeprefix("module."): v for k, v in state.items()} if parallel else state


def _head_name(own: Mapping[str, Tensor]) -> str:
    """The weight of the last layer, which is the classifier's in every network of the two libraries."""
    return [k for k, v in own.items() if v.ndim > 1][-1]


def _only_head(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    head = _head_name(own).removesuffix("weight")
    return all(v.shape == state[k].shape or k.startswith(head) for k, v in own.items()
               if k in state) and state[head + "weight"].shape[1:] == own[head + "weight"].shape[1:]


def from_file(stored: Stored, licence: str | None = None) -> Weights:
    """The origin of weights that a file gave.

    Args:
        stored: the file's content.
        licence: the terms, if known.

    Returns:
        file name and digest.
    """
    return Weights(str(stored.path), stored.digest, licence)
