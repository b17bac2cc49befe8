"""What a run keeps in its folder: what it is about, and the numbers of each shard of images.

Every file is written whole or not at all. Killed at any moment, a run loses the shard in hand and nothing else.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from contrastlib.atomic import replace, replace_text
from contrastlib.experiments.experiment import Values

ABOUT, PREDICTIONS = "run.json", "predictions"
_ADVICE = ("give another folder (--output), begin anew in this one (--restart), or take over what it holds all the "
           "same (--accept-changes), which the rows' provenance will say")


class ChangedRunError(ValueError):
    """A folder holds another run, or one of a changed network, data set, setting or code; says what differs."""


class ShardWarning(UserWarning):
    """A shard on disk is damaged and is computed again."""


@dataclass(frozen=True)
class Folder:
    """The folder of a run.

    Attributes:
        path: where it lies.
        key: digest of what the run is about; a shard of another run is not taken.
    """

    path: Path
    key: str

    def shard(self, number: int) -> Path:
        """Where a shard's numbers lie."""
        return self.path / "shards" / f"{number:06d}.safetensors"

    def missing(self, shards: int) -> list[int]:
        """The shards that are not there yet, or are damaged; says so once for each of those."""
        return [number for number in range(shards) if not self._there(number)]

    def write(self, number: int, values: Values, seconds: float) -> None:
        """Keep the numbers of a shard."""
        tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in values.items()}
        about = {"key": self.key, "seconds": f"{seconds:.6g}", "digest": _digest(tensors)}
        content = safetensors.torch.save(tensors, {"contrastlib": json.dumps(about)})
        replace(self.shard(number), lambda beside: beside.write_bytes(content))

    def read(self, shards: int) -> tuple[Values, float]:
        """The numbers of all images in their order, and the seconds that they took."""
        parts, seconds = [], 0.0
        for number in range(shards):
            values, about = _load(self.shard(number))
            parts.append(values)
            seconds += float(about["seconds"])
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, seconds

    def _there(self, number: int) -> bool:
        path = self.shard(number)
        if not path.exists():
            return False
        try:
            values, about = _load(path)
            if about["key"] == self.key and about["digest"] == _digest(values):
                return True
            reason = "it is of another run" if about["key"] != self.key else "its content has another digest"
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            reason = str(error)
        warnings.warn(f"{path} is computed again: {reason}", ShardWarning, stacklevel=3)
        return False


def opened(path: Path, about: Mapping[str, Any], *, anew: bool = False, accept: bool = False) -> Folder:
    """The folder of a run, made if it is not there.

    Args:
        path: the folder.
        about: all that decides the numbers, as JSON holds it.
        anew: the folder has been cleared; what else lies in it stays.
        accept: go on although something has changed.

    Returns:
        the folder.

    Raises:
        ChangedRunError: it holds a run about something else, or things that no run has written.
    """
    here = path / ABOUT
    if here.exists():
        kept = _about(here)
        changed = differences(kept["about"], about)
        if changed and not accept:
            raise ChangedRunError(f"{path} holds a run that this one cannot go on with: {'; '.join(changed)}. "
                                  f"Either {_ADVICE}")
        accepted = sorted({*kept.get("accepted", ()), *changed})
        if changed:
            replace_text(here, _text({"about": dict(about), "key": kept["key"], "accepted": accepted}))
        return Folder(path, kept["key"])
    if not anew and path.exists() and any(file.name != PREDICTIONS for file in path.iterdir()):
        raise ChangedRunError(f"{path} is not empty and holds no run ({ABOUT} is missing): give another --output")
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    (path / "shards").mkdir(parents=True, exist_ok=True)
    replace_text(here, _text({"about": dict(about), "key": key, "accepted": []}))
    return Folder(path, key)


def clear(path: Path) -> None:
    """Remove what a run wrote; other files stay.

    Args:
        path: the folder of a run.
    """
    for file in [*path.glob("shards/*.safetensors"), *path.glob("shards/.*.writing"), path / ABOUT,
                 *path.glob("rows.*"), *path.glob(f"{PREDICTIONS}/*.safetensors")]:
        file.unlink(missing_ok=True)


def accepted(path: Path) -> list[str]:
    """The changes that a run went on in spite of.

    Args:
        path: the folder of a run.

    Returns:
        sentences, usually none.
    """
    return list(_about(path / ABOUT).get("accepted", ()))


def differences(there: Mapping[str, Any], here: Mapping[str, Any], name: str = "") -> list[str]:
    """Where two runs differ.

    Args:
        there: what the one in the folder is about.
        here: what the one at hand is about.
        name: of the part that is compared.

    Returns:
        sentences; empty if they are the same.
    """
    found = []
    for part in sorted({*there, *here}):
        old, new = there.get(part), here.get(part)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, part)
        elif old != new:
            found.append(f"the {f'{name} ' if name else ''}{part} was {_short(old)} and is {_short(new)}")
    return found


def _about(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
        content["about"], content["key"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ChangedRunError(f"{path} is damaged ({error}): either {_ADVICE}") from error
    return content


def _load(path: Path) -> tuple[Values, dict[str, str]]:
    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {})["contrastlib"])
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - no dictionary


def _digest(tensors: Values) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].numpy().tobytes())
    return total.hexdigest()


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return f"{text[:12]}..." if len(text) > 40 and " " not in text else text
