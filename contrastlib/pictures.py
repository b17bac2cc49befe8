"""How pictures are read, whichever way they come in: 8-bit RGB, upright, what is transparent laid on white."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# What Pillow raises for files that are no pictures, or not whole ones.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, Image.DecompressionBombError)


def read(file: str | Path | bytes) -> Image.Image:
    """A picture from a file or its content, as :func:`rgb` gives it.

    Raises:
        ValueError: the file is no picture, or not a whole one; names it.
        FileNotFoundError: there is no such file.
    """
    path = "the picture" if isinstance(file, bytes) else file
    if not isinstance(file, bytes) and Path(file).is_dir():
        raise ValueError(f"{path} is a folder, not an image file")
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as picture:
            return rgb(picture)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image file that can be read") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def rgb(picture: Image.Image) -> Image.Image:
    """A picture in 8-bit RGB, turned as its file states, what is transparent laid on white.

    Of 16 bits a channel the upper eight are taken, as Pillow does for colours.

    Raises:
        ValueError: its file is damaged, or its values have no stated range, as those of 32-bit pictures.
    """
    try:
        picture.load()
    except UNREADABLE as error:
        raise ValueError(f"the picture is damaged: {error}") from error
    picture = _upright(picture)
    if picture.mode.startswith("I;16"):
        deep, hole = np.asarray(picture), picture.info.get("transparency")  # of grey: the value that is transparent
        picture = Image.fromarray(np.where(deep == hole, 255, deep >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"a picture needs 8 or 16 bits a channel, this image has the mode {picture.mode!r}")
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _upright(picture: Image.Image) -> Image.Image:
    """A phone stores how it was held; a record of it that is damaged says nothing."""
    try:
        return ImageOps.exif_transpose(picture)
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return picture
