"""What all explorables share: the widget, its still, and photographs and maps as a page holds them."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from contrastlib import pictures
from contrastlib.models import Classifier
from contrastlib.plotting import as_picture

try:
    import anywidget
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("the explorables need the package anywidget, which is not installed; install it with: "
                              "pip install anywidget") from missing

HERE = Path(__file__).parent

FINE = 254  # steps of the second byte in one step of the first

Photograph = str | Path | bytes | Image.Image | NDArray[Any] | Tensor
"""A path, the content of a file, a PIL image, an array (H, W, 3), or a tensor that is prepared already."""

Photographs = Photograph | Mapping[str, Photograph] | Sequence[Photograph]


class Explorable(anywidget.AnyWidget):
    """An anywidget that also shows itself as a figure where it cannot run.

    A subclass sets ``_esm`` and says what its :meth:`still` is.
    """

    _css = (HERE / "explorables.css").read_text(encoding="utf8")

    def __init__(self, **state: Any) -> None:
        """Set the state; a choice that does not exist is a ValueError."""
        try:
            super().__init__(**state)
        except traitlets.TraitError as error:
            raise ValueError(str(error)) from error

    def still(self) -> Figure | None:
        """The figure that stands for the explorable where no script runs; None if there is nothing to show yet."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The widget, and beside it its still: what shows depends on what the reader's page can do."""
        bundle = super()._repr_mimebundle_(**options)
        figure = self.still()
        if bundle is None or figure is None:
            return bundle
        data, metadata = bundle
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
        return {**data, "image/png": base64.b64encode(buffer.getvalue()).decode()}, metadata


@cache
def script(name: str) -> str:
    """A script of ``js/`` behind the one that all share: what a browser is handed has no files to import from."""
    shared, own = ((HERE / "js" / file).read_text(encoding="utf8") for file in ("base.js", name))
    own = re.sub(r'^import \{[^}]*\} from "\./base\.js";\n', "", own, flags=re.MULTILINE)
    return re.sub(r"^export ", "", shared, flags=re.MULTILINE) + own


class ChoiceError(traitlets.TraitError, ValueError):
    """There is no such choice."""


def choose(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """The value, if it is one of the choices; refuses others by the name of what is chosen."""
    if value not in choices:
        what = f"lie in [0, {len(choices)})" if isinstance(choices, range) else f"be one of {', '.join(choices)}"
        raise ChoiceError(f"{name} must {what}, got {value!r}")
    return value


def numbers(what: str, values: ArrayLike, *shape: int | str, finite: bool = True, shares: bool = False,
            ) -> NDArray[np.float32]:
    """Numbers of a shape, in which a letter stands for any length; refuses others, as it does what is no share."""
    found = np.asarray(values, np.float32)
    if found.ndim != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, found.shape)):
        raise ValueError(f"{what} must be ({', '.join(map(str, shape))}), got shape {found.shape}")
    if finite and not np.isfinite(found).all():
        raise ValueError(f"{what} must be finite, these have NaN or infinite values")
    if shares and not (found.min() >= 0 and found.max() <= 1):
        raise ValueError(f"{what} must lie in [0, 1], these reach from {found.min():.3g} to {found.max():.3g}")
    return found


# --- photographs -----------------------------------------------------------------------------------------------------


def by_title(photographs: Photographs, labels: Sequence[int] = ()) -> list[tuple[str, Photograph, int | None]]:
    """Title, photograph and true class of each; there are no labels or as many."""
    if isinstance(photographs, Mapping):
        named = list(photographs.items())
    elif isinstance(photographs, str | Path | bytes | Image.Image) or (
            isinstance(photographs, Tensor | np.ndarray) and photographs.ndim == 3):
        named = [("", photographs)]
    else:
        named = [("", photo) for photo in photographs]
    if labels and len(labels) != len(named):
        raise ValueError(f"{len(named)} photographs need as many labels, got {len(labels)}")
    known: Sequence[int | None] = labels or [None] * len(named)
    return [(title, photo, label) for (title, photo), label in zip(named, known)]


def prepared(classifier: Classifier, photograph: Photograph) -> Tensor:
    """A photograph as the classifier takes it, (1, 3, H, W) in [0, 1]; a tensor is taken as it is."""
    if isinstance(photograph, Tensor):
        image = photograph if photograph.ndim == 4 else photograph[None]
        if image.ndim != 4 or len(image) != 1:
            raise ValueError(f"one photograph is (3, H, W) or (1, 3, H, W), got shape {tuple(photograph.shape)}")
        return image
    if isinstance(photograph, bytes):
        photograph = pictures.rgb(Image.open(io.BytesIO(photograph)))
    return classifier.prepare(photograph).to(classifier.mean.dtype)


def photograph(photo: Image.Image | ArrayLike, *, quality: int = 80, side: int = 224) -> str:
    """A photograph as a data address, small enough for a page.

    Args:
        photo: a PIL image, or an array or a tensor (H, W, 3) or (3, H, W), floats in [0, 1] or uint8.
        quality: of the JPEG, 1 to 95.
        side: pixels of its longer side, at most.

    Returns:
        the address of a JPEG.

    Raises:
        ValueError: the array is no picture, or its floats leave [0, 1].
    """
    if not isinstance(photo, Image.Image):
        pixels = as_picture(photo.detach().float().cpu() if isinstance(photo, Tensor) else photo)
        if pixels.dtype != np.uint8:
            shares = numbers("the floats of a photograph", pixels, "H", "W", 3, shares=True)
            pixels = np.round(shares * 255).astype(np.uint8)
        photo = Image.fromarray(pixels)
    image = pictures.rgb(photo)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def from_address(address: str) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) in a data address of :func:`photograph`."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1]))))


# --- numbers, as js/base.js reads them -------------------------------------------------------------------------------


def encode(maps: ArrayLike, fine: Sequence[int] = ()) -> dict[str, Any]:
    """Maps for a page: one byte for each value, a scale for each map, and a second byte in some of them.

    One byte leaves errors of up to 0.4 % of a map's largest value. A contrast between two classes whose maps are nearly
    the same is a small difference of large numbers, in which that becomes several per cent; such maps get a second byte
    for what the first one rounds away.

    Args:
        maps: (..., h, w), finite; or NaN all over where there is no map, which then takes no place.
        fine: which maps get a second byte, counted through.

    Returns:
        what :func:`decode` and the browser read.

    Raises:
        ValueError: a value is not finite in a map that is there.
    """
    values = np.asarray(maps, np.float32)
    flat = values.reshape(-1, *values.shape[-2:])
    there = ~np.isnan(flat).all((1, 2))
    if not np.isfinite(flat[there]).all():
        raise ValueError("a map must be finite, or NaN all over where there is none")
    scales = np.abs(flat).max((1, 2)) / np.float32(127)
    steps = flat / np.where(scales > 0, scales, 1)[:, None, None]
    rest = FINE * (steps - steps.round())[list(fine)]
    return {"shape": list(values.shape), "scales": scales.astype("<f4").tobytes(), "fine_of": list(map(int, fine)),
            "coarse": steps[there].round().astype(np.int8).tobytes(), "fine": rest.round().astype(np.int8).tobytes()}


def decode(state: Mapping[str, Any]) -> NDArray[np.float32]:
    """The inverse of :func:`encode`, (..., h, w) float32."""
    scales = np.frombuffer(state["scales"], "<f4")
    cells = (-1, *state["shape"][-2:])
    values = np.full((len(scales), *cells[1:]), np.nan, np.float32)
    values[~np.isnan(scales)] = np.frombuffer(state["coarse"], np.int8).reshape(cells)
    values[state["fine_of"]] += np.frombuffer(state["fine"], np.int8).reshape(cells) / np.float32(FINE)
    return (values * scales[:, None, None]).reshape(state["shape"])


def floats(values: ArrayLike) -> bytes:
    """Numbers for a page, in four bytes each."""
    return np.asarray(values).astype("<f4").tobytes()


def from_floats(content: bytes, *shape: int) -> NDArray[np.float32]:
    """The inverse of :func:`floats`."""
    return np.frombuffer(content, "<f4").reshape(shape)


def as_written(figure: Figure) -> Figure:
    """A figure whose texts are names: a dollar sign in them is no mathematics."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    return figure
