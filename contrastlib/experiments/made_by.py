"""Which rows were made by which code, and whether that code has changed since; no torch."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrastlib.experiments import code

ABOUT = "run.json"


@dataclass(frozen=True)
class Made:
    """What made the rows of one group of a table.

    Attributes:
        table: name of the file.
        group: what the rows are about: classifier, data set and the rest.
        images: how many.
        seconds: that measuring them took.
        device: where.
        date: when.
        commit: of the checkout; a plus behind it means that files differed from it.
        code: the digest of the code then.
        verdict: whether the code is still the same.
    """

    table: str
    group: str
    images: int
    seconds: float
    device: str
    date: str
    commit: str
    code: str
    verdict: str


def tables(folder: Path) -> Iterator[Made]:
    """What made the rows of each table in a folder, as far as experiments made them.

    Args:
        folder: of CSV files, each with a JSON file of the same name.

    Yields:
        one for each group of rows.
    """
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf8"))
        for group, about in content.items():
            if isinstance(about, dict) and "module" in about:
                yield Made(path.with_suffix(".csv").name, group, about["images"], about["seconds"], about["device"],
                           about["date"], about.get("commit", "unknown"), about["code"], _verdict(about))


def run_line(folder: Path) -> str:
    """How far a run is, in a line.

    Args:
        folder: of the run.

    Returns:
        such as ``runs/masking-embedded: 12 of 32 shards, code unchanged``.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run: there is no {ABOUT} in it")
    about = json.loads(path.read_text(encoding="utf8"))["about"]
    images = int(about["images"].split()[0])
    shards = -(-images // about["setting"]["shard"])
    done = len(list((folder / "shards").glob("*.safetensors")))
    rows = "rows written" if (folder / "rows.csv").is_file() else "no rows yet"
    verdict = _verdict({"module": f"contrastlib.experiments.{about['experiment'].replace('-', '_')}", **about})
    return f"{folder}: {done} of {shards} shards of {images} images, {rows}; {verdict}"


def _verdict(about: dict[str, Any]) -> str:
    try:
        now = code.digest(about["module"])
    except ValueError:
        return f"the code is gone ({about['module']})"
    if now != about["code"]:
        return f"code has changed since ({about['code']}, now {now})"
    return "code unchanged since" + (", but changed on the way" if about.get("accepted_changes") else "")
