"""Measured rows: small tables on disk, and beside each what made it.

A table is a CSV file; beside it lies a JSON file of the same name that says, for each group of rows, which versions,
weights and data they came from. Measuring again replaces a group's rows and leaves the others.
"""

import csv
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from contrastlib.atomic import replace_text

_PACKAGES = ("contrastlib", "torch", "torchvision", "timm", "numpy", "pillow")


def load(path: str | Path) -> list[dict[str, str]]:
    """The rows of a table.

    Args:
        path: a CSV file with a header.

    Returns:
        one dictionary per row, all values as text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row has more or fewer cells than the header; names the line.
    """
    with Path(path).open(encoding="utf8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = []
        for cells in reader:
            if len(cells) != len(header):
                raise ValueError(f"{path}, line {reader.line_num}: {len(cells)} cells for {len(header)} columns")
            rows.append(dict(zip(header, cells)))
    return rows


def save(path: str | Path, rows: Sequence[Mapping[str, object]], group: Sequence[str],
         provenance: Mapping[str, Any]) -> None:
    """Put rows into a table, in the place of those of the same group.

    Both files are written beside and then renamed: killed at any moment, it leaves the old rows or the new ones.

    Args:
        path: a CSV file, which need not exist; the provenance goes to the JSON file of the same name.
        rows: at least one, all with the same columns, of one group.
        group: the columns that tell groups apart.
        provenance: what made the rows; see :func:`provenance`.

    Raises:
        ValueError: there are no rows, they differ in columns or group, or the table has other columns.
    """
    path = Path(path)
    added = [{name: str(value) for name, value in row.items()} for row in rows]
    if not added or any(list(row) != list(added[0]) for row in added):
        raise ValueError("rows must be at least one, all with the same columns")
    keys = {tuple(row[name] for name in group) for row in added}
    if len(keys) > 1:
        raise ValueError(f"rows must be of one group, got {sorted(keys)}")
    (key,) = keys
    kept = load(path) if path.is_file() else []
    if kept and list(kept[0]) != list(added[0]):
        raise ValueError(f"{path} has the columns {', '.join(kept[0])}, the new rows have {', '.join(added[0])}")
    table = sorted([row for row in kept if tuple(row[name] for name in group) != key] + added,
                   key=lambda row: tuple(row[name] for name in group))
    beside = path.with_suffix(".json")
    about = json.loads(beside.read_text(encoding="utf8")) if beside.is_file() else {}
    about = dict(sorted({**about, ", ".join(key): dict(provenance)}.items()))
    lines = [list(added[0]), *(list(row.values()) for row in table)]
    replace_text(beside, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    replace_text(path, "".join(f"{_line(cells)}\n" for cells in lines))


def provenance(**more: object) -> dict[str, Any]:
    """What ran: versions, the commit where the code is a checkout, and what the caller adds.

    Args:
        more: such as digests of weights and data, a device, or seconds.

    Returns:
        values for :func:`save`.
    """
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    commit = _commit()
    return {**found, **({"commit": commit} if commit else {}), **more}


def _commit() -> str | None:
    """The commit of the checkout that this file lies in, with a plus where files differ from it."""
    folder = Path(__file__).parent
    try:
        ran = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12"], cwd=folder,
                             capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()


def _line(cells: Sequence[str]) -> str:
    quoted = [f'"{cell.replace(chr(34), chr(34) * 2)}"' if any(c in cell for c in ',"\n') else cell for cell in cells]
    return ",".join(quoted)
