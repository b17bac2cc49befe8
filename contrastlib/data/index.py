"""Index files of data sets, read so that a complaint can name the line."""

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from contrastlib.data.dataset import DataError, DataNotFoundError


class Row(NamedTuple):
    """A line that is not blank.

    Attributes:
        line: its number in the file, from 1.
        text: without the white space around it.
    """

    line: int
    text: str


def fault(path: Path, line: int, what: str) -> DataError:
    """An error about one line.

    Args:
        path: the index file.
        line: its line, from 1.
        what: what is wrong.

    Returns:
        the error, to be raised.
    """
    return DataError(f"{path}, line {line}: {what}")


def rows(path: Path) -> list[Row]:
    """The lines of an index file.

    Args:
        path: the file, UTF-8.

    Returns:
        all lines that are not blank, at least one.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: it is empty or no text.
    """
    try:
        text = path.read_text(encoding="utf8")
    except FileNotFoundError:
        raise DataNotFoundError(f"the data set is not whole: there is no {path}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text file: {error}") from error
    found = [Row(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not found:
        raise DataError(f"{path} is empty")
    return found


def numbered(path: Path) -> dict[int, Row]:
    """The lines of an index file that begin with a number, as ``17 001.Black_footed_Albatross/0017.jpg`` does.

    Args:
        path: the file.

    Returns:
        by their number, in the order of the file, what stands after it.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: a line has another form, or a number stands there twice.
    """
    found: dict[int, Row] = {}
    for line, text in rows(path):
        number, _, rest = text.partition(" ")
        if not (number.isdecimal() and rest.strip()):
            raise fault(path, line, f"expected a number, a space and a value, got {text!r}")
        if int(number) in found:
            raise fault(path, line, f"the number {int(number)} stands already in line {found[int(number)].line}")
        found[int(number)] = Row(line, rest.strip())
    return found


def check_unique(path: Path, entries: list[Row], what: str) -> None:
    """Hold that no line says the same as another.

    Args:
        path: the index file.
        entries: its lines.
        what: what a line stands for.

    Raises:
        DataError: one does; names both lines.
    """
    seen: dict[str, int] = {}
    for line, text in entries:
        if text in seen:
            raise fault(path, line, f"the {what} {text} stands already in line {seen[text]}")
        seen[text] = line


def check_inside(path: Path, entries: list[Row]) -> None:
    """Hold that every line is a relative path, ``folder/file``, that stays inside its folder.

    Args:
        path: the index file.
        entries: its lines.

    Raises:
        DataError: one is not.
    """
    for line, text in entries:
        parts = PurePosixPath(text).parts
        if len(parts) < 2 or text.startswith("/") or ".." in parts:
            raise fault(path, line, f"expected a path such as class/image, got {text!r}")
