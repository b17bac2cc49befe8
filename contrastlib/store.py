"""Files that are whole or not there, of the same work or refused, written by one process at a time; no torch.

Runs of experiments, predictions of a data set and trainings keep what they have done with these few functions. Killed
at any moment, they lose the piece in hand and nothing else.
"""

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import safetensors.numpy
from filelock import FileLock
from safetensors import SafetensorError, safe_open

Arrays = dict[str, np.ndarray]

# What readers raise for bytes that are no file of theirs, or not a whole one.
DAMAGED = (BadZipFile, UnpicklingError, SafetensorError, OSError, EOFError, ValueError, RuntimeError, LookupError,
           TypeError, AttributeError, AssertionError, ArithmeticError, struct.error)


class ChangedError(ValueError):
    """What lies there is of other work, or of the same with something changed; says what differs and what to do."""


class DamagedError(ValueError):
    """A file is cut short, or is not what it says it is."""


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that nobody ever sees half of it.

    Args:
        path: where it belongs; its folder exists.
        write: writes to the path that it is given.

    Raises:
        OSError: the file cannot be written, and names it; what was there before stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        if error.filename is None:  # a full disk is reported without a name
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    finally:
        beside.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file, in UTF-8, whole or not at all."""
    replace(path, lambda beside: beside.write_text(text, encoding="utf8", newline="\n"))


def replace_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; numbers that JSON does not know, such as NaN, are refused."""
    replace_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, **needed: type) -> dict[str, Any]:
    """A JSON file that holds an object with the needed keys, whose values are of these types.

    Raises:
        DamagedError: it is something else; says what.
    """
    try:
        content = dict[str, Any](json.loads(path.read_text(encoding="utf8")))
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    missing = [name for name, kind in needed.items() if not isinstance(content.get(name), kind)]
    if missing:
        raise DamagedError(f"{path} is damaged: it lacks {', '.join(missing)}")
    return content


def lock(path: Path) -> FileLock:
    """A context in which no other process that asks for it writes a file; waits for its turn."""
    return FileLock(path.with_name(f".{path.name}.lock"))


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays whole or not at all, with what they are of, and a digest of both, in the file's head."""
    text = json.dumps(dict(about), allow_nan=False)
    content = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()},
                                     {"about": text, "digest": _digest_of_arrays(text, arrays)})
    replace(path, lambda beside: beside.write_bytes(content))


def load_arrays(path: Path, **wanted: object) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a file and what they are of.

    Args:
        path: of :func:`save_arrays`.
        wanted: values that what they are of must have, such as ``key``.

    Raises:
        DamagedError: the content does not have the digest that it states, or is of something else.
    """
    try:
        with safe_open(path, "np") as file:
            head = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        about = dict[str, Any](json.loads(head["about"]))
        stated = head["digest"]
    except DAMAGED as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    if stated != _digest_of_arrays(head["about"], arrays):
        raise DamagedError(f"{path} is damaged: its content does not have the digest that it states")
    for name, value in wanted.items():
        if about.get(name) != value:
            raise DamagedError(f"{path} is of something else: its {name} is {_short(about.get(name))} and not "
                               f"{_short(value)}")
    return arrays, about


def digest(content: object) -> str:
    """SHA-256 of what JSON can hold, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def differences(there: Mapping[str, Any], here: Mapping[str, Any], name: str = "") -> list[str]:
    """Where the work that lies there differs from the work at hand: sentences, empty if they are the same.

    Args:
        there: what decides the result of the one, as JSON holds it.
        here: of the other.
        name: of the part that is compared.
    """
    found = []
    for part in sorted({*there, *here}):
        old, new = there.get(part), here.get(part)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, part)
        elif old != new:
            found.append(f"the {f'{name} ' if name else ''}{part} was {_short(old)} and is {_short(new)}")
    return found


def _digest_of_arrays(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        total.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return total.hexdigest()


def _short(value: object) -> str:
    """Digests by their beginning, as people compare them."""
    text = "nothing" if value is None else str(value)
    return f"{text[:12]}..." if len(text) > 40 and " " not in text else text
