"""Files that are whole or not there, however the program ends."""

import os
from collections.abc import Callable
from pathlib import Path


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that nobody ever sees half of it.

    Args:
        path: where it belongs; its folder exists.
        write: writes to the path that it is given.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Args:
        path: where it belongs; its folder exists.
        text: what it holds, encoded in UTF-8.
    """
    replace(path, lambda beside: beside.write_text(text, encoding="utf8", newline="\n"))
