"""Data sets whose images are files, or lie in an archive that is read without unpacking it."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from contrastlib.data.dataset import DataNotFoundError, ImageDataset, Problem, UnreadableImageError

# What Pillow raises for files that are no pictures, or not whole ones.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Item:
    """Where the content of an image lies.

    Attributes:
        path: its file, or an archive that is not compressed.
        member: its name in the archive; empty without one.
        offset: where it begins in the archive, bytes.
        size: its length in the archive, bytes; -1 is a whole file.
    """

    path: Path
    member: str = ""
    offset: int = 0
    size: int = -1

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)

    def read(self) -> bytes:
        """Its content.

        Returns:
            the bytes; fewer than ``size`` if the archive is cut short.

        Raises:
            OSError: there is no such file.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def fault(self) -> str:
        """What is wrong, as far as a look at the folder tells.

        Returns:
            a reason; empty if nothing is.
        """
        if self.member:  # whoever read the archive's table has seen that the archive is whole
            return "" if self.size else "the file is empty"
        if not self.path.is_file():
            return "there is no such file"
        return "" if self.path.stat().st_size else "the file is empty"


class FileImages(ImageDataset):
    """A data set of image files; those that are missing or empty become ``problems``."""

    items: tuple[Item, ...]

    def __init__(self, name: str, split: str, class_names: Sequence[str], ids: Sequence[str], labels: Sequence[int],
                 items: Sequence[Item]) -> None:
        faults = [item.fault() for item in items]
        if ids and all(faults):
            raise DataNotFoundError(f"{name} {split}: none of the {len(ids)} images is there; the first should be "
                                    f"{items[0]}")
        here = [i for i, fault in enumerate(faults) if not fault]
        problems = [Problem(ids[i], str(items[i]), fault) for i, fault in enumerate(faults) if fault]
        super().__init__(name, split, class_names, [ids[i] for i in here], [labels[i] for i in here],
                         [items[i] for i in here], problems)

    def picture(self, i: int) -> Image.Image:
        """The picture at its own size, before any preparation.

        Args:
            i: position in ``ids``.

        Returns:
            an RGB picture.

        Raises:
            UnreadableImageError: it is missing, cut short or no picture; names the file.
        """
        content = self._content(i)
        try:
            with Image.open(io.BytesIO(content)) as image:
                return _rgb(image)
        except _UNREADABLE as error:
            raise self._unreadable(i, error) from error

    def _content(self, i: int) -> bytes:
        try:
            return self.items[i].read()
        except OSError as error:
            raise self._unreadable(i, error) from error

    def _unreadable(self, i: int, error: Exception) -> UnreadableImageError:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else "cannot be decoded"
        # Pillow names the buffer it read from, which helps nobody.
        detail = "" if isinstance(error, FileNotFoundError) or "BytesIO" in str(error) else f" ({error})"
        return UnreadableImageError(Problem(self.ids[i], str(self.items[i]), reason + detail))


def _rgb(image: Image.Image) -> Image.Image:
    """Decoded wholly; a palette with transparency goes through RGBA, because Pillow warns otherwise."""
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
