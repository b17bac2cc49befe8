"""The temperature dial: one photograph, every class, from max through weighted to mean."""

import base64
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray
from PIL import Image

_HERE = pathlib.Path(__file__).parent


class TemperatureDial(anywidget.AnyWidget):
    r"""Turn the temperature of the contrast and watch the map follow.

    Holds the maps of all classes of one photograph in eight bits, and its logits; the browser forms
    :math:`\phi^t - \sum_{s \ne t} \alpha_s(T)\, \phi^s` by itself, so that it works in a page without a kernel.

    Attributes:
        target: index of the class being explained; can be read and set.
        position: the dial, 0 (T = 0, max) to 100 (T infinite, mean); 50 is T = 1, weighted.
    """

    _esm = _HERE / "dial.js"
    _css = _HERE / "dial.css"

    photo = traitlets.Unicode(help="the photograph as a data address").tag(sync=True)
    maps = traitlets.Bytes(help="int8, C * h * w").tag(sync=True)
    logits = traitlets.Bytes(help="float32, C").tag(sync=True)
    shape = traitlets.List(traitlets.Int(), help="C, h, w").tag(sync=True)
    scale = traitlets.Float(help="relevance per unit of int8").tag(sync=True)
    names = traitlets.Dict(help="class names by index, as text").tag(sync=True)
    choices = traitlets.List(traitlets.Int(), help="classes that can be the target").tag(sync=True)
    target = traitlets.Int(help="class being explained").tag(sync=True)
    position = traitlets.Int(50, min=0, max=100).tag(sync=True)

    @classmethod
    def of(
        cls,
        photo: Image.Image | ArrayLike,
        maps: ArrayLike,
        logits: ArrayLike,
        names: Sequence[str],
        *,
        choices: int = 5,
        **options: Any,
    ) -> "TemperatureDial":
        """Make the dial of one photograph.

        Args:
            photo: what the network saw: a PIL image, or (3, H, W) in [0, 1].
            maps: the relevance maps of all classes (C, h, w), such as ``class_maps(...).maps[0]``.
            logits: (C,).
            names: C class names.
            choices: how many of the likeliest classes can be chosen as the target.
            options: initial ``target`` or ``position``.

        Returns:
            the widget.

        Raises:
            ValueError: the numbers of maps, logits and names differ, or a value is not finite.
        """
        relevance, scores = np.asarray(maps, np.float32), np.asarray(logits, np.float32)
        _check(relevance, scores, names)
        scale = float(np.abs(relevance).max()) / 127 or 1.0
        likeliest = np.argsort(-scores, kind="stable")
        named = {str(i): names[i] for i in likeliest[:60].tolist()}
        return cls(
            photo=_data_address(photo),
            maps=np.round(relevance / scale).astype(np.int8).tobytes(),
            logits=scores.astype("<f4").tobytes(),
            shape=list(relevance.shape),
            scale=scale,
            names=named,
            choices=likeliest[:choices].tolist(),
            **{"target": int(likeliest[0]), **options},
        )


def temperature(position: float) -> float:
    """The temperature at a position of the dial: 0 at 0, 1 at 50, infinite at 100, logarithmic between."""
    if position <= 0:
        return 0.0
    return float("inf") if position >= 100 else float(10 ** ((position - 50) / 50))


def _check(relevance: NDArray[np.float32], scores: NDArray[np.float32], names: Sequence[str]) -> None:
    if relevance.ndim != 3:
        raise ValueError(f"maps must be (C, h, w), got shape {relevance.shape}")
    if not len(relevance) == scores.size == len(names):
        raise ValueError(f"the dial needs one map, logit and name per class, got {len(relevance)} maps, "
                         f"{scores.size} logits and {len(names)} names")
    if not (np.isfinite(relevance).all() and np.isfinite(scores).all()):
        raise ValueError("maps and logits must be finite")


def _data_address(photo: Image.Image | ArrayLike) -> str:
    if not isinstance(photo, Image.Image):
        pixels = np.asarray(photo)
        photo = Image.fromarray(np.round(pixels.transpose(1, 2, 0) * 255).astype(np.uint8))
    buffer = io.BytesIO()
    photo.convert("RGB").save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
