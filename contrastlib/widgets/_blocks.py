"""The transformer explorer: block by block, what was published beside what is right."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from contrastlib import plotting
from contrastlib.widgets._bundle import script
from contrastlib.widgets._explorable import Explorable, from_address, photograph

ASKED = ("original", "weighted")
"""The contrasts that frames are made for, in the order of the frames."""

ALL, SOME = 8, 6
"""Up to how many blocks a still shows them all, and how many it shows of more."""

Variant = Literal["published", "corrected"]
Frame = NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """One way to read what was published, or what is right.

    Attributes:
        name: short, for a choice between several.
        notes: what was computed, in words, by contrast.
        absent: why a block has no map, where it has none.
    """

    name: str
    notes: Mapping[str, str]
    absent: str

    def state(self) -> dict[str, Any]:
        """What the browser gets."""
        return {"name": self.name, "notes": {contrast: self.notes[contrast] for contrast in ASKED},
                "absent": self.absent}


@dataclass(frozen=True)
class BlockMethod:
    """A method whose maps are shown block by block.

    Attributes:
        name: as it is chosen, such as ``attention rollout``.
        phrase: ends the question, with the number of the block for ``{}``, such as ``attention rollout from block {}
            on``.
        published: the readings of what was published; none if nothing was.
        corrected: what is right.
    """

    name: str
    phrase: str
    published: tuple[Reading, ...]
    corrected: Reading

    def state(self) -> dict[str, Any]:
        """What the browser gets."""
        return {"name": self.name, "phrase": self.phrase, "published": [one.state() for one in self.published],
                "corrected": self.corrected.state()}


Question = tuple[int, int, int, int]
"""Target, contrast, block and variant of a frame."""


def packed(frames: ArrayLike) -> dict[str, Any]:
    """Frames in eight bits, each with a scale of its own.

    Args:
        frames: (2, 2, B, V, h, w): the two classes, ``original`` and ``weighted``, B blocks, V variants, of which the
            corrected one is the last; NaN all over where there is no map.

    Returns:
        state for the browser: one byte for each value of the maps that there are, and (2, 2, B, V) float32 scales, NaN
        where there is none.

    Raises:
        ValueError: the frames have another shape, or a value is not finite in a map that is there.
    """
    values = np.asarray(frames, np.float32)
    if values.ndim != 6 or values.shape[:2] != (2, 2):
        raise ValueError("frames must be (2, 2, B, V, h, w), for two classes, two contrasts, B blocks and V variants; "
                         f"got shape {values.shape}")
    absent = np.isnan(values).all((-2, -1))
    there = values[~absent]
    if not np.isfinite(there).all():
        raise ValueError("a map must be finite, or NaN all over where there is none")
    scales = np.full(values.shape[:4], np.nan, np.float32)
    scales[~absent] = np.abs(there).max((-2, -1)) / 127
    steps = np.where(scales > 0, scales, 1)[~absent][:, None, None]
    return {"shape": list(values.shape), "bytes": np.round(there / steps).astype(np.int8).tobytes(),
            "scales": scales.astype("<f4").tobytes()}


def unpacked(state: Mapping[str, Any]) -> Frame:
    """The inverse of :func:`packed`, (2, 2, B, V, h, w)."""
    shape = tuple(state["shape"])
    scales = np.frombuffer(state["scales"], "<f4").reshape(shape[:4])
    values = np.full(shape, np.nan, np.float32)
    there = ~np.isnan(scales)
    values[there] = (np.frombuffer(state["bytes"], np.int8).reshape(-1, *shape[4:]).astype(np.float32)
                     * scales[there][:, None, None])
    return values


def block_picture(
    photo: Image.Image | ArrayLike,
    frames: Mapping[str, ArrayLike],
    classes: Sequence[tuple[int, str, float]],
    *,
    title: str = "",
    label: int | None = None,
) -> dict[str, Any]:
    """One picture of a :class:`BlockExplorer`.

    Args:
        photo: what the network saw: a PIL image, or (3, H, W) or (H, W, 3), floats in [0, 1] or uint8.
        frames: by the name of a method its maps, (2, 2, B, V, h, w); see :func:`packed`.
        classes: index, name and probability of the two classes that are explained, the more probable first.
        title: what it is called where there are several.
        label: the true class, if it is known.

    Returns:
        what the browser gets, in a page about 40 kB for 4 blocks of 8 x 8 patches and four variants, 200 kB for 12
        of 16 x 16.

    Raises:
        ValueError: the classes are not two, or what :func:`packed` refuses.
    """
    if len(classes) != 2:
        raise ValueError(f"two classes are explained, the two likeliest, got {len(classes)}")
    return {"photo": photograph(photo), "frames": {name: packed(values) for name, values in frames.items()},
            "classes": [{"index": int(c), "name": name, "probability": float(p)} for c, name, p in classes],
            "title": title, "label": -1 if label is None else int(label)}


class BlockExplorer(Explorable):
    """Step through the blocks of a transformer and compare what was published with what is right.

    Holds every map as a frame in eight bits: a map over attention is no weighted sum of class maps, so a browser could
    not make it from less. In a notebook every choice below can be read, set and linked to other widgets.

    Attributes:
        picture: index of the picture.
        target: 0 for the most probable class of the picture, 1 for the second.
        contrast: ``original`` or ``weighted``.
        method: name of the method.
        reading: which reading of what was published, where it can be read in several ways; for a method with fewer the
            last it has.
        block: number of the block, from 0.
        strength: opacity of the maps over the photograph, in [0, 1].
        colours: ``RdBu``, or ``bwr`` as in the papers.
    """

    _esm = script("blocks.js")

    pictures = traitlets.List(traitlets.Dict(), help="of block_picture()").tag(sync=True)
    methods = traitlets.List(traitlets.Dict(), help="of BlockMethod.state()").tag(sync=True)
    blocks = traitlets.List(traitlets.Unicode(), help="names of the B blocks in the network").tag(sync=True)
    picture = traitlets.Int(0).tag(sync=True)
    target = traitlets.Int(0, min=0, max=1).tag(sync=True)
    contrast = traitlets.Enum(ASKED, "weighted").tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)
    reading = traitlets.Int(0, min=0).tag(sync=True)
    block = traitlets.Int(0).tag(sync=True)
    strength = traitlets.Float(0.6, min=0, max=1).tag(sync=True)
    colours = traitlets.Enum(("RdBu", "bwr"), "RdBu").tag(sync=True)

    def __init__(self, pictures: Sequence[dict[str, Any]], methods: Iterable[BlockMethod], blocks: Sequence[str],
                 **choices: Any) -> None:
        """Make an explorer.

        Args:
            pictures: of :func:`block_picture`, at least one.
            methods: those whose frames the pictures hold.
            blocks: what the network calls its B blocks, in their order.
            choices: initial values of the attributes; the first method unless given.

        Raises:
            ValueError: there is no picture or no method, a picture has not the frames of each method and block, or a
                choice does not exist.
        """
        listed = list(methods)
        if not pictures or not listed:
            raise ValueError("a block explorer needs at least one picture and one method")
        for one in pictures:
            _check(one, listed, len(blocks))
        try:
            super().__init__(pictures=list(pictures), methods=[one.state() for one in listed], blocks=list(blocks),
                             **{"method": listed[0].name, **choices})
        except traitlets.TraitError as error:
            raise ValueError(str(error)) from error

    @traitlets.validate("picture", "block", "method")
    def _exists(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "method":
            there = [one["name"] for one in self.methods]
            if value not in there:
                raise traitlets.TraitError(f"method must be one of {', '.join(there)}, got {value!r}")
            return value
        count = len(self.pictures if name == "picture" else self.blocks)
        if not 0 <= value < count:
            raise traitlets.TraitError(f"{name} must lie in [0, {count}), got {value}")
        return value

    def relevance(self, variant: Variant = "corrected") -> Frame | None:
        """One of the two maps that are shown.

        Args:
            variant: ``published`` or ``corrected``.

        Returns:
            (h, w) float32, signed; None where there is none. Grad-CAM in units of what is explained, rollout
            dimensionless.

        Raises:
            ValueError: there is no such variant.
        """
        return self._frames(variant)[self.block]

    def correlation(self) -> float:
        """Pearson's correlation of the two maps over the patches, in [-1, 1]; NaN if one is constant or not there."""
        published, corrected = self.relevance("published"), self.relevance("corrected")
        if published is None or corrected is None or not np.ptp(published) or not np.ptp(corrected):
            return float("nan")
        return float(np.corrcoef(published.ravel().astype(float), corrected.ravel().astype(float))[0, 1])

    def still(self) -> Figure:
        """The question at every block, or at six of many: a row as published, if anything was, and one corrected."""
        count = len(self.blocks)
        shown = range(count) if count <= ALL else np.linspace(0, count - 1, SOME).round().astype(int).tolist()
        rows: list[Variant] = ["published", "corrected"] if self._method()["published"] else ["corrected"]
        found = [[self._frames(variant)[b] for b in shown] for variant in rows]
        zero = np.zeros(self.pictures[self.picture]["frames"][self.method]["shape"][4:])
        said = [["" if one is not None else "no map" for one in row] for row in found]
        return plotting.map_grid(
            np.asarray(from_address(self.pictures[self.picture]["photo"])),
            [[zero if one is None else one for one in row] for row in found],
            row_labels=[{"published": "as published", "corrected": "corrected"}[variant] for variant in rows],
            column_titles=[f"block {b}" for b in shown],
            panel_titles=said if any(map(any, said)) else (), photo_title=self.sentence(block=False))

    def sentence(self, *, block: bool = True) -> str:
        """What is asked, in words.

        Args:
            block: whether the block is named.

        Returns:
            such as ``Why A rather than the others, by Grad-CAM at block 2?``
        """
        name = self.pictures[self.picture]["classes"][self.target]["name"]
        rather = " rather than the others" if self.contrast == "weighted" else ""
        return f"Why {name}{rather}, by {self._method()['phrase'].format(self.block) if block else self.method}?"

    def _method(self) -> dict[str, Any]:
        return next(one for one in self.methods if one["name"] == self.method)

    def _frames(self, variant: Variant) -> list[Frame | None]:
        """The map of each block."""
        if variant not in ("published", "corrected"):
            raise ValueError(f"variant must be 'published' or 'corrected', got {variant!r}")
        readings = len(self._method()["published"])
        if variant == "published" and not readings:
            return [None] * len(self.blocks)
        number = readings if variant == "corrected" else min(self.reading, readings - 1)
        frames = unpacked(self.pictures[self.picture]["frames"][self.method])
        own = frames[self.target, ASKED.index(self.contrast), :, number]
        return [None if np.isnan(one).all() else one for one in own]


def _check(picture: Mapping[str, Any], methods: Sequence[BlockMethod], blocks: int) -> None:
    for method in methods:
        if method.name not in picture["frames"]:
            raise ValueError(f"a picture has no frames of {method.name}, only of {', '.join(picture['frames'])}")
        shape, variants = picture["frames"][method.name]["shape"], len(method.published) + 1
        if shape[2:4] != [blocks, variants]:
            raise ValueError(f"{method.name} needs frames of {blocks} blocks and {variants} variants, got {shape[2]} "
                             f"and {shape[3]}")
