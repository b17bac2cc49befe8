"""The contrast explorer: every class, every contrast, any method that is linear in the gradient."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from contrastlib import plotting
from contrastlib.widgets._bundle import script
from contrastlib.widgets._compact import Compact, ranked, temperature, weights
from contrastlib.widgets._explorable import Explorable, from_address, photograph

CONTRASTS = ("original", "max", "weighted", "mean", "tempered", "foil")
_POSITIONS = {"max": 0, "weighted": 50, "mean": 100}

Picture = dict[str, Any]
"""What the browser gets of one picture, made by :func:`picture`."""


def picture(
    photo: Image.Image | ArrayLike,
    maps: Mapping[str, ArrayLike],
    logits: ArrayLike,
    *,
    title: str = "",
    label: int | None = None,
) -> Picture:
    """One picture of an explorer.

    Args:
        photo: what the network saw: a PIL image, or (3, H, W) or (H, W, 3), floats in [0, 1] or uint8.
        maps: by the name of a method the relevance maps of all classes, (C, h, w), such as
            ``class_maps(...).maps[0]``.
        logits: (C,).
        title: what it is called where there are several.
        label: the true class, if it is known.

    Returns:
        what the browser gets, about 100 kB in a page for 1000 classes at 7 x 7 places and one method.

    Raises:
        ValueError: there is no method, shapes do not fit, a value is not finite, or the label is no class.
    """
    if not maps:
        raise ValueError("an explorer needs the maps of at least one method")
    scores = np.asarray(logits, np.float32)
    if label is not None and not 0 <= label < len(scores):
        raise ValueError(f"the label must lie in [0, {len(scores)}), got {label}")
    methods = [Compact.of(values, scores).state(name) for name, values in maps.items()]
    return {"photo": photograph(photo), "logits": scores.astype("<f4").tobytes(), "methods": methods, "title": title,
            "label": -1 if label is None else int(label)}


class ContrastExplorer(Explorable):
    r"""Choose a class, what it is held against, and see which pixels answer.

    Holds the maps of all classes of each picture in eight bits and the logits. The browser forms
    :math:`\phi^t - \sum_{s \ne t} \alpha_s\, \phi^s` by itself, so that it needs no kernel. In a notebook every choice
    below can be read, set and linked to other widgets.

    Attributes:
        picture: index of the picture.
        target: index of the class that is explained.
        contrast: ``original``, ``max``, ``weighted``, ``mean``, ``tempered`` (the dial) or ``foil``.
        position: the dial, 0 (T = 0, max) to 100 (T infinite, mean); 50 is T = 1, weighted.
        foils: classes it is held against when the contrast is ``foil``; none means the strongest rival.
        method: name of the attribution method.
        pinned: a question that is kept beside (target, contrast, position, foils, method); empty for none.
        strength: opacity of the map over the photograph, in [0, 1].
        colours: ``RdBu``, or ``bwr`` as in the papers.
        scale: ``map`` for the map's own largest value as the strongest colour, ``shared`` for that of all classes.
        sign: ``both``, ``for`` or ``against``.
        progress: of what is being computed, in [0, 1]; 1 when all is there.
        status: what is being done, in words.
        problem: why the last photograph could not be explained; empty if it could.
    """

    _esm = script("explorer.js")

    pictures = traitlets.List(traitlets.Dict(), help="of picture()").tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), help="C class names").tag(sync=True)
    picture = traitlets.Int(0).tag(sync=True)
    target = traitlets.Int(0).tag(sync=True)
    contrast = traitlets.Enum(CONTRASTS, "weighted").tag(sync=True)
    position = traitlets.Int(50, min=0, max=100).tag(sync=True)
    foils = traitlets.List(traitlets.Int()).tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)
    pinned = traitlets.Dict().tag(sync=True)
    strength = traitlets.Float(0.6, min=0, max=1).tag(sync=True)
    colours = traitlets.Enum(("RdBu", "bwr"), "RdBu").tag(sync=True)
    scale = traitlets.Enum(("map", "shared"), "map").tag(sync=True)
    sign = traitlets.Enum(("both", "for", "against"), "both").tag(sync=True)
    live = traitlets.Bool(help="whether a kernel explains photographs that are handed in").tag(sync=True)
    progress = traitlets.Float(1.0, min=0, max=1).tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)

    def __init__(self, pictures: Sequence[Picture] = (), names: Sequence[str] = (), **choices: Any) -> None:
        """Make an explorer.

        Args:
            pictures: of :func:`picture`, all with the same classes.
            names: C class names.
            choices: initial values of the attributes; the target is the most probable class unless given.

        Raises:
            ValueError: a picture has another number of classes than there are names, or a choice does not exist.
        """
        for one in pictures:
            if len(one["logits"]) != 4 * len(names):
                raise ValueError(f"{len(one['logits']) // 4} logits and {len(names)} names; the explorer needs one "
                                 "name for each class")
        at = choices.get("picture", 0)
        if pictures and not 0 <= at < len(pictures):
            raise ValueError(f"picture must lie in [0, {len(pictures)}), got {at}")
        start = {"target": _likeliest(pictures[at]), "method": pictures[0]["methods"][0]["name"]} if pictures else {}
        try:
            super().__init__(names=list(names), pictures=list(pictures), **{**start, **choices})
        except traitlets.TraitError as error:
            raise ValueError(str(error)) from error

    @traitlets.validate("picture", "target", "foils", "method")
    def _exists(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if not self.pictures:
            return value
        if name == "picture" and not 0 <= value < len(self.pictures):
            raise traitlets.TraitError(f"picture must lie in [0, {len(self.pictures)}), got {value}")
        if name in ("target", "foils"):
            wrong = [c for c in np.atleast_1d(value).tolist() if not 0 <= c < len(self.names)]
            if wrong:
                raise traitlets.TraitError(f"{name} must lie in [0, {len(self.names)}), got {value}")
        there = [method["name"] for method in self.pictures[0]["methods"]]
        if name == "method" and value not in there:
            raise traitlets.TraitError(f"method must be one of {', '.join(there)}, got {value!r}")
        return value

    def likeliest(self) -> int:
        """The most probable class of the picture."""
        return _likeliest(self._state())

    def weights(self) -> NDArray[np.float64]:
        """What is subtracted: the weight of each class, (C,), 0 for the target; all 0 for ``original``."""
        return self._weights(self.contrast)

    def relevance(self) -> NDArray[np.float32]:
        """The map that is shown, (h, w), signed, in logits, without the choice of sign and colours."""
        return self._map(self.contrast)

    def still(self) -> Figure | None:
        """The photograph with the original map and the contrasts from max to mean; with chosen foils, theirs too."""
        if not self.pictures:
            return None
        shown = ["original", *(["foil"] if self.contrast == "foil" else []), "max", "weighted", "mean"]
        titles = [f"{self.names[self.target]}\n{self._against(contrast)}" for contrast in shown]
        return plotting.compare(np.asarray(from_address(self._state()["photo"])),
                                [self._map(contrast) for contrast in shown], titles)

    def on_photograph(self, explain: Callable[[str, bytes], None]) -> None:
        """Have photographs that a reader hands in explained by this kernel.

        Args:
            explain: gets the file's name and its content.
        """
        def heard(_widget: object, content: Any, buffers: Sequence[Any]) -> None:
            if isinstance(content, dict) and content.get("kind") == "photograph" and buffers:
                explain(str(content.get("name", "")), bytes(buffers[0]))

        self.on_msg(heard)
        self.live = True

    def _weights(self, contrast: str) -> NDArray[np.float64]:
        logits = self._logits()
        if contrast == "original":
            return np.zeros(len(logits))
        if contrast == "foil":
            rivals = [c for c in self.foils if c != self.target]
            rivals = rivals or [int(c) for c in ranked(logits)[:2] if c != self.target][:1]
            return weights(logits, self.target, 1, rivals)
        return weights(logits, self.target, temperature(_POSITIONS.get(contrast, self.position)))

    def _map(self, contrast: str) -> NDArray[np.float32]:
        state = self._state()
        method = next((m for m in state["methods"] if m["name"] == self.method), state["methods"][0])
        maps = Compact.from_state(method).maps(self._logits())
        return maps[self.target] - np.einsum("c,cij->ij", self._weights(contrast), maps).astype(np.float32)

    def _against(self, contrast: str) -> str:
        if contrast != "foil":
            return contrast
        return "rather than " + " or ".join(self.names[c] for c in np.flatnonzero(self._weights(contrast)))

    def _state(self) -> Picture:
        if not self.pictures:
            raise ValueError("there is no picture yet")
        return self.pictures[self.picture]

    def _logits(self) -> NDArray[np.float32]:
        return np.frombuffer(self._state()["logits"], "<f4")


def _likeliest(one: Picture) -> int:
    return int(ranked(np.frombuffer(one["logits"], "<f4"))[0])
