"""Slide how much of a picture is removed, and see what is left of it and of the class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from contrastlib.plotting import WIDTH, BookFigure, colour_of, style
from contrastlib.widgets._bundle import script
from contrastlib.widgets._explorable import Explorable, from_address, photograph

ENDS = ("highest", "lowest")
STILL = (20, 50, 80)
"""Per cent removed in the still's pictures."""

_FINE = 2**15 - 1


def masked_picture(
    photo: Image.Image | ArrayLike,
    blurred: Image.Image | ArrayLike,
    names: Sequence[str],
    maps: ArrayLike,
    curves: ArrayLike,
    *,
    title: str = "",
) -> dict[str, Any]:
    """One picture of a masking explorer.

    Args:
        photo: what the network saw: a PIL image, or (3, H, W) or (H, W, 3), floats in [0, 1] or uint8.
        blurred: what takes the place of removed pixels, like the photograph.
        names: of the two classes that are held against each other, mostly the most probable one and the second.
        maps: relevance for each of the two classes and each of K contrasts, (2, K, h, w); kept in sixteen bits.
        curves: relative probability of each of the two classes against the other, with the highest and with the lowest
            relevance removed first, for each contrast, at S shares, (2, 2, K, S), in [0, 1].
        title: what the picture is called where there are several.

    Returns:
        what the browser gets, about 15 kB in a page for maps of 7 x 7 places.

    Raises:
        ValueError: shapes do not fit, a map is not finite, or a curve leaves [0, 1].
    """
    values, lines = np.asarray(maps, np.float32), np.asarray(curves, np.float32)
    if len(names) != 2:
        raise ValueError(f"two classes are held against each other, got {len(names)} names")
    if values.ndim != 4 or len(values) != 2:
        raise ValueError(f"maps must be (2, K, h, w), got shape {values.shape}")
    if lines.ndim != 4 or lines.shape[:3] != (2, 2, values.shape[1]):
        raise ValueError(f"curves must be (2, 2, {values.shape[1]}, S) for maps {values.shape}, got {lines.shape}")
    if not np.isfinite(values).all():
        raise ValueError("maps must be finite, these have NaN or infinite values")
    if not (lines.min() >= 0 and lines.max() <= 1):
        raise ValueError(f"relative probabilities must lie in [0, 1], got {lines.min():.3g} to {lines.max():.3g}")
    reach = np.abs(values).max((2, 3), keepdims=True)
    steps = np.round(values * (_FINE / np.where(reach > 0, reach, 1))).astype("<i2")
    return {"title": title, "photo": photograph(photo), "blurred": photograph(blurred), "names": list(names),
            "shape": list(values.shape[2:]), "maps": steps.tobytes(), "curves": lines.astype("<f4").tobytes()}


class MaskingExplorer(Explorable):
    r"""Remove what a map ranks highest, or lowest, and follow the probability of a class against its rival.

    Holds, for each picture, the maps at the resolution of their layer, from which pixels are ranked, and the relative
    probabilities :math:`\sigma(y_1 - y_2)`, which are looked up: nothing is computed by a network any more. What is
    drawn has at most 224 pixels along its longer side, while the numbers are of the picture that the network saw.

    Attributes:
        picture: index of the picture.
        target: 0 for the first class, mostly the most probable one, against the second; 1 for the second against it.
        removed: ``highest`` or ``lowest``: which relevance is removed first.
        share: of the pixels that is removed, in per cent, a multiple of `step`.
        contrasts: K names of the contrasts whose maps rank the pixels.
        step: per cent between two shares that were computed.
    """

    _esm = script("masking.js")

    pictures = traitlets.List(traitlets.Dict(), help="of masked_picture()").tag(sync=True)
    contrasts = traitlets.List(traitlets.Unicode(), help="K names").tag(sync=True)
    colours = traitlets.List(traitlets.Unicode(), help="of the contrasts").tag(sync=True)
    step = traitlets.Int(5, min=1, max=100).tag(sync=True)
    picture = traitlets.Int(0).tag(sync=True)
    target = traitlets.Int(0, min=0, max=1).tag(sync=True)
    removed = traitlets.Enum(ENDS, "highest").tag(sync=True)
    share = traitlets.Int(0, min=0, max=100).tag(sync=True)

    def __init__(
        self, pictures: Sequence[dict[str, Any]], contrasts: Sequence[str], *, step: int = 5, **choices: Any,
    ) -> None:
        """Make an explorer.

        Args:
            pictures: of :func:`masked_picture`, at least one, all with the same contrasts and shares.
            contrasts: K names, in the order of the maps.
            step: per cent between two shares; divides 100.
            choices: initial values of the attributes; the share is near 30 % unless given.

        Raises:
            ValueError: there is no picture, a picture has curves of another size, or a choice does not exist.
        """
        if not pictures:
            raise ValueError("a masking explorer needs at least one picture")
        check_step(step)
        shares = 100 // step + 1
        for one in pictures:
            if len(one["curves"]) != 4 * 4 * len(contrasts) * shares:
                raise ValueError(f"{len(one['curves']) // 4} values in the curves of a picture; {len(contrasts)} "
                                 f"contrasts at {shares} shares from 0 to 100 % need {4 * len(contrasts) * shares}")
        start = {"share": step * round(30 / step), "step": step, **choices}
        try:
            super().__init__(pictures=list(pictures), contrasts=list(contrasts),
                             colours=[colour_of(name) for name in contrasts], **start)
        except traitlets.TraitError as error:
            raise ValueError(str(error)) from error

    @traitlets.validate("picture", "share")
    def _exists(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, int(proposal["value"])
        if name == "picture" and not 0 <= value < len(self.pictures):
            raise traitlets.TraitError(f"picture must lie in [0, {len(self.pictures)}), got {value}")
        if name == "share" and value % self.step:
            raise traitlets.TraitError(f"share must be a multiple of {self.step} per cent, got {value}")
        return value

    def curve(self, contrast: str) -> NDArray[np.float32]:
        """Relative probability at each share, (S,), as it is shown; `contrast` is one of the names."""
        lines = np.frombuffer(self.pictures[self.picture]["curves"], "<f4").reshape(2, 2, len(self.contrasts), -1)
        return lines[self.target, ENDS.index(self.removed), self._index(contrast)]

    def value(self, contrast: str) -> float:
        """The relative probability that is shown for a contrast."""
        return float(self.curve(contrast)[self.share // self.step])

    def relevance(self, contrast: str) -> NDArray[np.float32]:
        """The map that ranks the pixels, (h, w), signed, as a share of its largest absolute value."""
        one = self.pictures[self.picture]
        steps = np.frombuffer(one["maps"], "<i2").reshape(2, len(self.contrasts), *one["shape"])
        return steps[self.target, self._index(contrast)].astype(np.float32) / _FINE

    def masked(self, contrast: str, share: int | None = None) -> NDArray[np.uint8]:
        """The picture that is shown for a contrast.

        Args:
            contrast: one of the names.
            share: removed, in per cent; None for the chosen one.

        Returns:
            (H, W, 3), at most 224 pixels along the longer side.
        """
        one = self.pictures[self.picture]
        photo, blurred = (np.asarray(from_address(one[key])) for key in ("photo", "blurred"))
        rows, columns = (_between(n, N) for n, N in zip(one["shape"], photo.shape))
        field = (rows @ self.relevance(contrast) @ columns.T).astype(np.float32)
        rank = field.ravel().argsort(kind="stable").argsort(kind="stable").reshape(field.shape)
        count = round((self.share if share is None else share) / 100 * rank.size)
        left = rank >= count if self.removed == "lowest" else rank < rank.size - count
        return np.where(left[..., None], photo, blurred)

    def still(self) -> Figure:
        """What is left at three shares for each contrast, and the curves."""
        shares = [self.step * round(share / self.step) for share in STILL]
        rows = len(self.contrasts)
        with style():
            figure = BookFigure(figsize=(WIDTH, 0.5 + 1.35 * max(rows, 2)), layout="constrained")
            grid = figure.add_gridspec(rows, len(shares) + 1, width_ratios=[1] * len(shares) + [2.4])
            for r, contrast in enumerate(self.contrasts):
                for c, share in enumerate(shares):
                    ax = figure.add_subplot(grid[r, c])
                    ax.imshow(self.masked(contrast, share))
                    ax.set(xticks=[], yticks=[])
                    ax.spines[:].set_visible(False)
                    ax.set_title(f"{share} %: {self.curve(contrast)[share // self.step]:.2f}")
                    if not c:
                        ax.set_ylabel(contrast, color=colour_of(contrast), fontweight="bold")
            self._draw_curves(figure.add_subplot(grid[:, -1]))
        return figure

    def _draw_curves(self, ax: Axes) -> None:
        names = self.pictures[self.picture]["names"]
        for contrast in self.contrasts:
            ax.plot(np.arange(0, 101, self.step), self.curve(contrast), color=colour_of(contrast), label=contrast)
        ax.set(xlim=(0, 100), ylim=(0, 1), xlabel=f"removed, %, {self.removed} relevance first",
               title=f"{names[self.target]}\nagainst {names[1 - self.target]}")
        ax.set_ylabel("relative probability")
        ax.grid(color="#ececec", linewidth=0.6)
        ax.legend(fontsize=8)

    def _index(self, contrast: str) -> int:
        if contrast not in self.contrasts:
            raise ValueError(f"contrast must be one of {', '.join(self.contrasts)}, got {contrast!r}")
        return self.contrasts.index(contrast)


def check_step(step: int) -> None:
    """Refuse a distance between shares, in per cent, that does not divide 100."""
    if not 1 <= step <= 100 or 100 % step:
        raise ValueError(f"step must be a whole number of per cent that divides 100, such as 5 or 10, got {step}")


def _between(n: int, N: int) -> NDArray[np.float64]:
    """Bilinear weights of n cells for N pixels, (N, n), cell centres kept in place."""
    at = np.clip((np.arange(N) + 0.5) * n / N - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n)))
