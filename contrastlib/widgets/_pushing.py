"""Slide how far pictures are pushed along a score's gradient, and see what the network makes of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from contrastlib.plotting import WIDTH, BookFigure, colour_of, style
from contrastlib.widgets._bundle import script
from contrastlib.widgets._explorable import Explorable, as_image, photograph

METRICS = ("accuracy", "p_t", "y_t")
"""What is averaged: whether the target is the most probable class, its probability, the change of its logit."""

FRAME, BUDGET = 160, 130_000
"""Pixels of the longer side of a frame, and characters that all frames may take together."""

_QUALITIES = (85, 75, 65, 55, 45, 35, 25, 15)


def pushed_picture(
    photo: Image.Image | ArrayLike,
    frames: Sequence[Sequence[Image.Image | ArrayLike]],
    names: Sequence[str],
    probabilities: ArrayLike,
    *,
    louder: float = 20,
) -> dict[str, Any]:
    """The picture that a pushing explorer shows.

    Args:
        photo: the picture before: a PIL image, or (3, H, W) or (H, W, 3), floats in [0, 1] or uint8.
        frames: for each of K contrasts the pictures after each of S steps, like the photograph, their change amplified.
        names: of the classes whose probabilities are shown, the target first.
        probabilities: of these classes after 0 to S steps, (K, S + 1, classes), in [0, 1].
        louder: what the change is amplified by.

    Returns:
        the state of the picture; its frames take 130 kB at most, of a quality that allows it.

    Raises:
        ValueError: shapes do not fit, or probabilities leave [0, 1].
    """
    table = np.asarray(probabilities, np.float32)
    steps = len(frames[0]) if frames else 0
    if not steps or any(len(row) != steps for row in frames):
        raise ValueError("a pushed picture needs as many frames for each contrast, at least one, "
                         f"got {[len(row) for row in frames]}")
    if table.shape != (len(frames), steps + 1, len(names)):
        raise ValueError(f"probabilities must be {(len(frames), steps + 1, len(names))}: contrasts, steps from 0, "
                         f"classes; got {table.shape}")
    if not (table.min() >= 0 and table.max() <= 1):
        raise ValueError(f"probabilities must lie in [0, 1], got {table.min():.3g} to {table.max():.3g}")
    return {"photo": photograph(photo), "frames": _encoded(frames), "names": list(names), "louder": float(louder),
            "probabilities": table.astype("<f4").tobytes()}


class PushingExplorer(Explorable):
    """Push pictures step by step along the gradient of a score: does their class become likelier?

    Holds averages over many pictures after each number of steps, and frames of one of them.

    Attributes:
        step: how many steps were taken, 0 to `count`.
        contrast: which score's gradient the chosen line and picture follow, one of `contrasts`.
        contrasts: K names.
        count: the largest number of steps.
        size: largest change of a pixel in one step, in [0, 1].
        images: how many pictures the averages are of.
    """

    _esm = script("pushing.js")

    contrasts = traitlets.List(traitlets.Unicode(), help="K names").tag(sync=True)
    colours = traitlets.List(traitlets.Unicode(), help="of the contrasts").tag(sync=True)
    values = traitlets.Bytes(help="(K, count + 1, 3) float32, see METRICS").tag(sync=True)
    errors = traitlets.Bytes(help="standard errors of their changes, like them").tag(sync=True)
    picture = traitlets.Dict(help="of pushed_picture()").tag(sync=True)
    images = traitlets.Int(1, min=1).tag(sync=True)
    count = traitlets.Int(1, min=1).tag(sync=True)
    size = traitlets.Float(min=0, max=1).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    contrast = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        averages: Mapping[str, ArrayLike],
        errors: Mapping[str, ArrayLike],
        picture: dict[str, Any],
        *,
        size: float,
        images: int,
        **choices: Any,
    ) -> None:
        """Make an explorer.

        Args:
            averages: by the name of a contrast the averages after 0 to S steps, (S + 1, 3), columns of `METRICS`.
            errors: standard errors of the changes since step 0, like the averages; NaN where there are none.
            picture: of :func:`pushed_picture`, with the same contrasts and steps.
            size: largest change of a pixel in one step, in [0, 1].
            images: how many pictures the averages are of.
            choices: initial values of the attributes; half of the steps, along ``weighted`` where it is there.

        Raises:
            ValueError: there is no contrast, shapes do not fit, or a choice does not exist.
        """
        if not averages or set(averages) != set(errors):
            raise ValueError("averages and errors must be of the same contrasts, at least one, got "
                             f"{sorted(averages)} and {sorted(errors)}")
        names, count = list(averages), len(picture["frames"][0])
        tables = [_table(found, names, count) for found in (averages, errors)]
        if len(picture["frames"]) != len(names):
            raise ValueError(f"the picture has frames for {len(picture['frames'])} contrasts, there are {len(names)}")
        start = {"step": (count + 1) // 2, "contrast": "weighted" if "weighted" in names else names[0], **choices}
        try:
            super().__init__(contrasts=names, colours=[colour_of(name) for name in names], values=tables[0],
                             errors=tables[1], picture=picture, images=images, count=count, size=size, **start)
        except traitlets.TraitError as error:
            raise ValueError(str(error)) from error

    @traitlets.validate("step", "contrast")
    def _exists(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "step" and not 0 <= value <= self.count:
            raise traitlets.TraitError(f"step must lie in [0, {self.count}], got {value}")
        if name == "contrast" and value not in self.contrasts:
            raise traitlets.TraitError(f"contrast must be one of {', '.join(self.contrasts)}, got {value!r}")
        return value

    def averages(self, contrast: str) -> NDArray[np.float32]:
        """Averages after 0 to S steps along a contrast, (S + 1, 3), columns of `METRICS`."""
        return self._read(self.values, contrast)

    def standard_errors(self, contrast: str) -> NDArray[np.float32]:
        """The standard errors of the changes of :meth:`averages` since step 0, alike."""
        return self._read(self.errors, contrast)

    def still(self) -> Figure:
        """Accuracy, probability and logit over the size of the change, a line for each contrast."""
        at = 1000 * self.size * np.arange(self.count + 1)
        with style():
            figure = BookFigure(figsize=(WIDTH, 2.5), layout="constrained")
            panels = figure.subplots(1, len(METRICS))
            for m, (ax, title) in enumerate(zip(panels, ("accuracy", "probability pₜ", "change of logit yₜ"))):
                ax.grid(color="#ececec", linewidth=0.6)
                for name in self.contrasts:
                    value, error = self.averages(name)[:, m], 1.96 * self.standard_errors(name)[:, m]
                    line, = ax.plot(at, value, color=colour_of(name), label=name,
                                    linewidth=2 if name == self.contrast else 1.3)
                    if name == self.contrast:
                        ax.fill_between(at, value - error, value + error, color=line.get_color(), alpha=0.13, lw=0)
                ax.set(title=title, xlim=(0, at[-1]))
                if m < 2:  # shares do not pass 0 and 1, intervals may
                    ax.set_ylim(max(ax.get_ylim()[0], 0), min(ax.get_ylim()[1], 1.005))
            panels[-1].legend(fontsize=8, loc="upper left")
            figure.supxlabel(f"largest change of a pixel, in thousandths of the range; {self.images} pictures; "
                             f"shaded: 95 % interval of the change, {self.contrast}", fontsize=8.5)
        return figure

    def _read(self, table: bytes, contrast: str) -> NDArray[np.float32]:
        if contrast not in self.contrasts:
            raise ValueError(f"contrast must be one of {', '.join(self.contrasts)}, got {contrast!r}")
        return np.frombuffer(table, "<f4").reshape(len(self.contrasts), -1, 3)[self.contrasts.index(contrast)]


def _table(found: Mapping[str, ArrayLike], names: Sequence[str], count: int) -> bytes:
    rows = [np.asarray(found[name], np.float32) for name in names]
    for name, row in zip(names, rows):
        if row.shape != (count + 1, len(METRICS)):
            raise ValueError(f"{name!r} must have {(count + 1, len(METRICS))} values, for 0 to {count} steps and "
                             f"{', '.join(METRICS)}; got {row.shape}")
    return np.stack(rows).astype("<f4").tobytes()


def _encoded(frames: Sequence[Sequence[Image.Image | ArrayLike]]) -> list[list[str]]:
    """Frames as addresses: amplified noise is nearly incompressible, so the quality is what the budget allows."""
    small = [[as_image(frame).convert("RGB") for frame in row] for row in frames]
    for row in small:
        for frame in row:
            frame.thumbnail((FRAME, FRAME), Image.Resampling.LANCZOS)
    found: list[list[str]] = []
    for quality in _QUALITIES:
        found = [[photograph(frame, quality=quality) for frame in row] for row in small]
        if sum(len(address) for row in found for address in row) <= BUDGET:
            break
    return found
