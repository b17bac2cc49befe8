"""What all explorables share: the widget, its still, and photographs and maps as a page holds them."""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from contrastlib import pictures
from contrastlib.models import Classifier
from contrastlib.names import as_index
from contrastlib.plotting import as_picture, colour_of

try:
    import anywidget
    import traitlets
    from IPython.core.pylabtools import print_figure
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
        return {**bundle[0], "image/png": print_figure(figure, base64=True, dpi=100)}, bundle[1]


@cache
def script(name: str) -> str:
    """A script of ``js/`` behind the one that all share: what a browser is handed has no files to import from."""
    shared, own = ((HERE / "js" / file).read_text(encoding="utf8") for file in ("base.js", name))
    own = re.sub(r'^import \{[^}]*\} from "\./base\.js";\n', "", own, flags=re.MULTILINE)
    return re.sub(r"^export ", "", shared, flags=re.MULTILINE) + own


class ChoiceError(traitlets.TraitError, ValueError):
    """There is no such choice."""


def choose(name: str | None, value: Any, choices: Sequence[Any]) -> Any:
    """The value, if it is one of the choices; refuses others by the name of what is chosen."""
    what = "be one of " + ", ".join(choices) if not isinstance(choices, range) else (
        f"lie in [0, {choices.stop})" if choices.step == 1 else f"be a multiple of {choices.step} below {choices.stop}")
    found = as_index(value) if isinstance(choices, range) else value
    if found is None or found not in choices:
        raise ChoiceError(f"{name} must {what}, got {value!r}")
    return found


class Choice(traitlets.TraitType[Any, Any]):
    """An index into what an explorable holds, or a name in it; anything while it holds nothing yet."""

    def __init__(self, among: Callable[[Any], Sequence[Any]], default: int | str) -> None:
        """Of an explorable, `among` gives what there is to choose from."""
        super().__init__(default)
        self.among = among

    def validate(self, obj: Any, value: Any) -> Any:
        """The value, if there is such a choice."""
        choices = self.among(obj)
        return choose(self.name, value, choices) if choices else value


class Gallery(Explorable):
    """An explorable of several pictures, of which one is shown."""

    pictures = traitlets.List(traitlets.Dict(), help="what the browser gets of each").tag(sync=True)
    picture = Choice(lambda self: range(len(self.pictures)), 0).tag(sync=True)

    def _shown(self) -> dict[str, Any]:
        if not self.pictures:
            raise ValueError("there is no picture yet")
        return self.pictures[self.picture]

    def _photo(self, key: str = "photo") -> NDArray[np.uint8]:
        """The pixels (H, W, 3) of the picture, or of another that its state holds."""
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(self._shown()[key].split(",", 1)[1]))))


class Compared(Explorable):
    """An explorable that compares several contrasts, each in its colour."""

    contrasts = traitlets.List(traitlets.Unicode(), help="K names").tag(sync=True)
    colours = traitlets.List(traitlets.Unicode(), help="of the contrasts").tag(sync=True)
    _own_colours = traitlets.default("colours")(lambda self: [colour_of(name) for name in self.contrasts])

    def _number(self, contrast: str) -> int:
        """Which of the contrasts it is."""
        return self.contrasts.index(choose("contrast", contrast, self.contrasts))


def needed(**things: Sized) -> None:
    """Refuses an explorer without one of these things, called by their names."""
    for name, some in things.items():
        if not len(some):
            raise ValueError(f"an explorer needs at least one {name}")


def numbers(what: str, values: ArrayLike, *shape: int | str, finite: bool = True, shares: bool = False,
            ) -> NDArray[np.float32]:
    """Numbers of a shape, as a page holds them, where a letter stands for any length; refuses others, and no shares."""
    found = np.asarray(values, "<f4")
    if found.ndim != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, found.shape)):
        raise ValueError(f"{what} must be ({', '.join(map(str, shape))}), got shape {found.shape}")
    if finite and not np.isfinite(found).all():
        raise ValueError(f"{what} must be finite, these have NaN or infinite values")
    if shares and not (found.min() >= 0 and found.max() <= 1):
        raise ValueError(f"{what} must lie in [0, 1], these reach from {found.min():.3g} to {found.max():.3g}")
    return found


# --- photographs -----------------------------------------------------------------------------------------------------


def by_title(photos: Photographs, known: Sequence[Any] = (), what: str = "labels") -> list[tuple[str, Photograph, Any]]:
    """Title and photograph of each, and what is known of it: of none, or of all."""
    one = isinstance(photos, str | Path | bytes | Image.Image) or getattr(photos, "ndim", 4) == 3
    several: Any = [photos] if one else photos
    named = list(several.items()) if isinstance(several, Mapping) else [("", photo) for photo in several]
    if len(known) not in (0, len(named)):
        raise ValueError(f"{len(named)} photographs need as many {what}, got {len(known)}")
    return [(title, photo, its) for (title, photo), its in zip(named, known or [None] * len(named))]


def prepared(classifier: Classifier, photograph: Photograph) -> Tensor:
    """A photograph as the classifier takes it, (1, 3, H, W) in [0, 1]; a tensor is taken as it is."""
    if isinstance(photograph, Tensor):
        if photograph.ndim != 3 and photograph.shape[:-3] != (1,):
            raise ValueError(f"one photograph is (3, H, W) or (1, 3, H, W), got shape {tuple(photograph.shape)}")
        return photograph.reshape(1, *photograph.shape[-3:])
    if isinstance(photograph, bytes):
        photograph = pictures.read(photograph)
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

