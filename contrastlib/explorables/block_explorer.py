"""The transformer explorer: block by block, what was published beside what is right."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from contrastlib import contrast, plotting
from contrastlib.attribution import AttentionRollout, attentions, through_layers
from contrastlib.contrast import Contrast
from contrastlib.experiments.coherence import all_maps, transformer
from contrastlib.explorables import base
from contrastlib.models import Classifier
from contrastlib.published import columns_normalised, gradient_of_scores, reversed_gradients

ASKED = ("original", "weighted")  # the contrasts that frames are made for, in their order
SCORES = {name: contrast.by_name(name) for name in ("original", "weighted", "probability")}
# The review's "standard" maps explain the logit and have a ReLU, its "contrastive" ones the probability without.
PUBLISHED_SCORE = {"original": "original", "weighted": "probability"}
# The maps of each method, those that were published before the corrected one.
VARIANTS = {"attention rollout": ("published", "rollout"), "attention relevance": ("relevance",),
            "Grad-CAM": ("grad_cam attention", "grad_cam norm1", "grad_cam")}
ALL, SOME = 8, 6  # up to how many blocks a still shows them all, and how many it shows of more

BEHIND = ("Behind the last block only the class token is read. The patches get no gradient, and there is no map "
          "(erratum 46).")

Variant = Literal["published", "corrected"]


def _published(name: str, what: str, *, scale: str = "", absent: str = "", besides: str = "") -> dict[str, Any]:
    notes = {"original": f"{what}; with ReLU, of the logit.{besides}",
             "weighted": f"{what}; without ReLU, of the probability{scale}.{besides}"}
    return {"name": name, "notes": notes, "absent": absent}


def _corrected(what: str, *, absent: str = "") -> dict[str, Any]:
    return {"name": "corrected", "notes": dict.fromkeys(ASKED, what), "absent": absent}


# A name; a phrase that ends the question, with the number of the block for {}; how what was published can be read, if
# anything was, and what is right: each with notes by contrast and why a block may have no map.
METHODS: list[dict[str, Any]] = [
    {"name": "attention rollout", "phrase": "attention rollout from block {} on",
     "published": [_published("with its slips", "Gradients of other blocks (erratum 40), taken before the softmax "
                              "(41), columns normalised in place of rows (42)", scale=" (43)",
                              besides=" The review shows it from block 0 on.")],
     "corrected": _corrected("Each block with the gradient of its own attention, rows normalised; signed.")},
    {"name": "Grad-CAM", "phrase": "Grad-CAM at block {}",
     "published": [_published("behind the attention", "Read behind the block's attention, as the review's text has it; "
                              "its code could not be read (erratum 46)", absent=BEHIND),
                   _published("before the attention", "Read before the block's attention, as the code does that the "
                              "review refers to; its own could not be read (erratum 46)", absent=BEHIND)],
     "corrected": _corrected("Read at the block's output; signed.", absent=BEHIND)},
    {"name": "attention relevance", "phrase": "attention relevance from block {} on", "published": [],
     "corrected": _corrected("Each block's attention times its gradient, rectified, as the method is defined.")},
]


def blocks(classifier: Classifier, photographs: base.Photographs, *, labels: Sequence[int] = (), **choices: Any,
           ) -> "BlockExplorer":
    r"""An explorer of a vision transformer's blocks; it works in a page without a kernel.

    Explained are the two likeliest classes of each photograph, by their logit (``original``) and their log-odds
    (``weighted``). *As published* means what the review computed, as far as its code and text tell: the map it calls
    standard for ``original``, with ReLU and from the logit, and the one it calls contrastive for ``weighted``, without
    ReLU and from the probability.

    - Attention rollout: errata 40, 41, 42 and, for ``weighted``, 43, as :func:`contrastlib.published.gradient_rollout`.
      The review shows the product of all blocks, which is the one from block 0 on; from a later one the slips are the
      same. Left out are a second call (45), which its figures do not have, and its normalisation with 0.5 (44).
    - Grad-CAM: at the output of each block's attention, or at what its attention reads (erratum 46).
    - Attention relevance: was not published, and is shown corrected only.

    Corrected are :class:`~contrastlib.attribution.AttentionRollout`, :func:`~contrastlib.attribution.grad_cam` at the
    block's output, and :class:`~contrastlib.attribution.AttentionRelevance`, from the logit or the log-odds.

    Args:
        classifier: a vision transformer of timm or torchvision, in evaluation mode.
        photographs: one, several, or several by title; see :func:`picture_of`.
        labels: the true class of each, if they are known.
        choices: initial ones, such as ``method`` or ``block``.

    Returns:
        the explorer.

    Raises:
        ValueError: the network has no blocks with attention between all tokens, there are less than two classes or no
            photograph, the labels are not as many as the photographs, or a choice does not exist.
        RuntimeError: the logits do not depend on the attention, as with a head that is all zeros.
    """
    _, names = transformer(classifier)
    pictures = []
    for title, photo, label in base.by_title(photographs, labels):
        image = base.prepared(classifier, photo)
        (best,) = classifier.top(image, 2)
        targets = torch.tensor([index for index, _, _ in best], device=image.device)
        with torch.inference_mode(False):
            frames = _frames(classifier, image.expand(2, -1, -1, -1).clone(), targets.clone(), len(names))
        pictures.append(block_picture(image[0], frames, best, title=title, label=label))
    return BlockExplorer(pictures, METHODS, list(names.values()), **choices)


def _frames(classifier: Classifier, images: Tensor, targets: Tensor, blocks: int) -> dict[str, Tensor]:
    """By method (2, 2, B, V, h, w); the images are the same twice, so that one pass serves both targets."""
    maps = {name: _maps(classifier, images, targets, score, blocks) for name, score in SCORES.items()}
    return {method: torch.stack([
        torch.stack([*(maps[PUBLISHED_SCORE[asked]][name] for name in published), maps[asked][corrected]], -3)
        for asked in ASKED]).permute(2, 0, 1, 3, 4, 5) for method, (*published, corrected) in VARIANTS.items()}


def _maps(classifier: Classifier, images: Tensor, targets: Tensor, score: Contrast, blocks: int) -> dict[str, Tensor]:
    """By name the maps of a method at each block and of each target, (B, 2, h, w); NaN where there is none."""
    read = attentions(classifier, images, targets, score)
    if len(read.probabilities) != blocks:
        raise ValueError(f"{classifier.name} has {blocks} blocks but {len(read.probabilities)} layers of attention; "
                         "one in each block is needed to number them")
    relu = score is contrast.original
    slipped = reversed_gradients(gradient_of_scores(read))
    matrices = [columns_normalised(one) for one in AttentionRollout(relu=relu, scaled=False).unnormalised(slipped)]
    found = {name: torch.full((blocks, 2, *read.grid), torch.nan) for names in VARIANTS.values() for name in names}
    for block in range(blocks):
        found["published"][block] = through_layers(slipped, matrices, block)[:, 0]
    for method, at, maps in all_maps(classifier, images, targets, score):
        if method == "full_grad":  # it takes long, and all that is wanted comes before it
            break
        if method in found:
            found[method][int(at)] = (maps.relu() if relu and method in VARIANTS["Grad-CAM"][:-1] else maps)[:, 0]
    return found


def block_picture(photo: Image.Image | ArrayLike, frames: Mapping[str, ArrayLike],
                  classes: Sequence[tuple[int, str, float]], *, title: str = "", label: int | None = None,
                  ) -> dict[str, Any]:
    """One picture of a :class:`BlockExplorer`.

    Args:
        photo: what the network saw: a PIL image, or (3, H, W) or (H, W, 3), floats in [0, 1] or uint8.
        frames: by the name of a method its maps, (2, 2, B, V, h, w): the two classes, ``original`` and ``weighted``, B
            blocks, V variants, of which the corrected one is the last; NaN all over where there is no map.
        classes: index, name and probability of the two classes that are explained, the more probable first.
        title: what it is called where there are several.
        label: the true class, if it is known.

    Returns:
        what the browser gets, in a page about 40 kB for 4 blocks of 8 x 8 patches and four variants, 200 kB for 12
        of 16 x 16.

    Raises:
        ValueError: the classes are not two, the frames have another shape, or a value is not finite in a map that is
            there.
    """
    if len(classes) != 2:
        raise ValueError(f"two classes are explained, the two likeliest, got {len(classes)}")
    packed = {name: base.encode(base.numbers(f"frames of {name}", values, 2, 2, "B", "V", "h", "w", finite=False))
              for name, values in frames.items()}
    return {"photo": base.photograph(photo), "frames": packed,
            "classes": [{"index": int(c), "name": name, "probability": float(p)} for c, name, p in classes],
            "title": title, "label": -1 if label is None else int(label)}


class BlockExplorer(base.Gallery):
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

    _esm = base.script("block_explorer.js")

    methods = traitlets.List(traitlets.Dict(), help="as METHODS").tag(sync=True)
    blocks = traitlets.List(traitlets.Unicode(), help="names of the B blocks in the network").tag(sync=True)
    target = traitlets.Int(0, min=0, max=1).tag(sync=True)
    contrast = traitlets.Enum(ASKED, "weighted").tag(sync=True)
    method = base.Choice(lambda self: [one["name"] for one in self.methods], "").tag(sync=True)
    reading = traitlets.Int(0, min=0).tag(sync=True)
    block = base.Choice(lambda self: range(len(self.blocks)), 0).tag(sync=True)
    strength = traitlets.Float(0.6, min=0, max=1).tag(sync=True)
    colours = traitlets.Enum(("RdBu", "bwr"), "RdBu").tag(sync=True)

    def __init__(self, pictures: Sequence[dict[str, Any]], methods: Sequence[Mapping[str, Any]], blocks: Sequence[str],
                 **choices: Any) -> None:
        """Make an explorer.

        Args:
            pictures: of :func:`block_picture`, at least one.
            methods: those whose frames the pictures hold; see the attribute of an explorer of :func:`blocks`.
            blocks: what the network calls its B blocks, in their order.
            choices: initial values of the attributes; the first method unless given.

        Raises:
            ValueError: there is no picture or no method, a picture has not the frames of each method and block, or a
                choice does not exist.
        """
        base.needed(picture=pictures, method=methods)
        for frames in (one["frames"] for one in pictures):
            for name, wanted in ((one["name"], [len(blocks), len(one["published"]) + 1]) for one in methods):
                if name not in frames:
                    raise ValueError(f"a picture has no frames of {name}, only of {', '.join(frames)}")
                if (found := frames[name]["shape"][2:4]) != wanted:
                    raise ValueError(f"{name} needs frames of {wanted[0]} blocks and {wanted[1]} variants, got "
                                     f"{found[0]} and {found[1]}")
        super().__init__(pictures=list(pictures), methods=list(methods), blocks=list(blocks),
                         **{"method": methods[0]["name"], **choices})

    def relevance(self, variant: Variant = "corrected") -> NDArray[np.float32] | None:
        """One of the two maps that are shown.

        Args:
            variant: ``published`` or ``corrected``.

        Returns:
            (h, w) float32, signed; None where there is none. Grad-CAM in units of what is explained, rollout
            dimensionless.

        Raises:
            ValueError: there is no such variant.
        """
        frame = self._frames(variant)[self.block]
        return None if np.isnan(frame).all() else frame

    def correlation(self) -> float:
        """Pearson's correlation of the two maps over the patches, in [-1, 1]; NaN if one is constant or not there."""
        maps = [self._frames(variant)[self.block].ravel().astype(float) for variant in get_args(Variant)]
        return float(np.corrcoef(maps)[0, 1]) if all(np.ptp(one) > 0 for one in maps) else float("nan")

    def still(self) -> Figure:
        """The question at every block, or at six of many: a row as published, if anything was, and one corrected."""
        count = len(self.blocks)
        shown = np.linspace(0, count - 1, count if count <= ALL else SOME).round().astype(int)
        variants: Sequence[Variant] = ("published", "corrected") if self._method()["published"] else ("corrected",)
        rows = [self._frames(variant)[shown] for variant in variants]
        said = [["no map" if np.isnan(one).all() else "" for one in row] for row in rows]
        return plotting.map_grid(
            self._photo(), [list(np.nan_to_num(row)) for row in rows], photo_title=self.sentence(block=False),
            row_labels=["as published", "corrected"][-len(rows):], column_titles=[f"block {b}" for b in shown],
            panel_titles=said if any(map(any, said)) else ())

    def sentence(self, *, block: bool = True) -> str:
        """What is asked, in words.

        Args:
            block: whether the block is named.

        Returns:
            such as ``Why A rather than the others, by Grad-CAM at block 2?``
        """
        name = self._shown()["classes"][self.target]["name"]
        rather = " rather than the others" if self.contrast == "weighted" else ""
        return f"Why {name}{rather}, by {self._method()['phrase'].format(self.block) if block else self.method}?"

    def _method(self) -> dict[str, Any]:
        return next(one for one in self.methods if one["name"] == self.method)

    def _frames(self, variant: Variant) -> NDArray[np.float32]:
        """The map of each block, (B, h, w); NaN all over where there is none."""
        base.choose("variant", variant, get_args(Variant))
        frames = base.decode(self._shown()["frames"][self.method])[self.target, ASKED.index(self.contrast)]
        readings = len(self._method()["published"])
        if variant == "corrected":
            return frames[:, readings]
        return frames[:, min(self.reading, readings - 1)] if readings else np.full_like(frames[:, 0], np.nan)
