"""What is left of a class when the pixels that a map ranks highest, or lowest, are removed."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor, nn

from contrastlib import contrast, perturbation, relevance
from contrastlib.attribution import grad_cam
from contrastlib.contrast import Contrast
from contrastlib.evaluation import relative_probability
from contrastlib.explorables import base
from contrastlib.models import Classifier
from contrastlib.perturbation import Order, logits_of
from contrastlib.plotting import WIDTH, BookFigure, colour_of, style

CONTRASTS: Mapping[str, Contrast] = {"original": contrast.original, "weighted": contrast.weighted}
ENDS = get_args(Order)
STILL = (20, 50, 80)  # per cent removed in the still's pictures
BATCH = 8  # masked pictures that the network sees at a time


def masking(classifier: Classifier, photographs: base.Photographs, method: Callable[..., Tensor] = grad_cam, *,
            layer: str | nn.Module | None = None, contrasts: Mapping[str, Contrast] = CONTRASTS, step: int = 5,
            pairs: Sequence[Sequence[int]] = (), **choices: Any) -> "MaskingExplorer":
    """An explorer of what is left of a class when pixels are removed in the order of a map.

    For the most probable class t1 against the second one t2, and for t2 against t1, each contrast's map ranks the
    pixels; from either end more and more of them are replaced by the blurred picture, and the network says how likely
    the class is against the other. With two contrasts and steps of 5 % that is 154 forward passes for a picture.

    Args:
        classifier: in evaluation mode, of two classes at least.
        photographs: one, several, or several by title; see :func:`picture_of`.
        method: an attribution, also one over attention.
        layer: where the map is read; None for the classifier's default layer.
        contrasts: scores by name, whose maps rank the pixels, for t1 as for t2: none can have one of the two as foil.
        step: per cent of the pixels between two computed values; divides 100.
        pairs: for each photograph two classes t1 and t2, such as the true one and the predicted one, in the place of
            the two most probable; none for those.
        choices: initial ones, such as ``target``, ``removed`` or ``share``.

    Returns:
        the explorer; it goes on working in a page without a kernel. A method that reads the input has maps of full
        resolution, 100 kB each at 224 x 224 pixels.

    Raises:
        ValueError: there is no photograph or no contrast, the step does not divide 100, the pairs are not as many as
            the photographs or no pairs of classes, or what classifier and attribution refuse.
        UnknownNameError: the network has no such layer.
    """
    shares = _shares(step)
    base.needed(contrast=contrasts)
    named = base.by_title(photographs, pairs, "pairs of classes")
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= c < classifier.num_classes for c in pair):
            raise ValueError(f"a pair is two different classes in [0, {classifier.num_classes}), got {list(pair)}")
    explained = partial(method, classifier, layer=layer, upsample=False)
    pictures = [_masked(classifier, base.prepared(classifier, photo), explained, contrasts, shares, pair, title)
                for title, photo, pair in named]
    return MaskingExplorer(pictures, list(contrasts), step=step, **choices)


def _masked(classifier: Classifier, image: Tensor, explained: Callable[..., Tensor], contrasts: Mapping[str, Contrast],
            shares: Sequence[int], pair: Sequence[int] | None, title: str) -> dict[str, Any]:
    """The state of one picture, whose image is (1, 3, H, W)."""
    instead = perturbation.blur(image)
    ends = logits_of(classifier, torch.cat([image, instead]))
    classes = ends[0].topk(2).indices if pair is None else torch.tensor(list(pair), device=image.device)

    def curve(rank: Tensor, removed: Order, target: Tensor, other: Tensor) -> list[float]:
        """The relative probability at each share."""
        masks = [perturbation.remaining(rank, share / 100, removed) for share in shares[1:-1]]
        between = [logits_of(classifier, perturbation.keep(image, instead, torch.cat(masks[i:i + BATCH])))
                   for i in range(0, len(masks), BATCH)]
        logits = torch.cat([ends[:1], *between, ends[1:]])
        return relative_probability(logits, target.expand(len(logits)), other.expand(len(logits))).tolist()

    maps, curves = [], []
    for target, other in (classes.split(1), classes.flip(0).split(1)):
        found = torch.cat([explained(image, target, score) for score in contrasts.values()])
        ranks = perturbation.ranks(relevance.upsample(found, (image.shape[-2], image.shape[-1]))).split(1)
        maps.append(found[:, 0].float().cpu())
        curves.append([[curve(rank, removed, target, other) for rank in ranks] for removed in ENDS])
    names = [classifier.class_name(int(c)) for c in classes]
    return masked_picture(image[0], instead[0], names, torch.stack(maps), curves, title=title)


def masked_picture(photo: Image.Image | ArrayLike, blurred: Image.Image | ArrayLike, names: Sequence[str],
                   maps: ArrayLike, curves: ArrayLike, *, title: str = "") -> dict[str, Any]:
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
    if len(names) != 2:
        raise ValueError(f"two classes are held against each other, got {len(names)} names")
    values = base.numbers("maps", maps, 2, "K", "h", "w")
    lines = base.numbers("curves", curves, 2, 2, values.shape[1], "S", shares=True)
    return {"title": title, "photo": base.photograph(photo), "blurred": base.photograph(blurred), "names": list(names),
            "maps": base.encode(values, range(2 * values.shape[1])), "curves": lines.tobytes()}


class MaskingExplorer(base.Compared, base.Gallery):
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

    _esm = base.script("masking_explorer.js")

    step = traitlets.Int(5, min=1, max=100).tag(sync=True)
    target = traitlets.Int(0, min=0, max=1).tag(sync=True)
    removed = traitlets.Enum(ENDS, "highest").tag(sync=True)
    share = base.Choice(lambda self: _shares(self.step), 0).tag(sync=True)

    def __init__(self, pictures: Sequence[dict[str, Any]], contrasts: Sequence[str], *, step: int = 5, **choices: Any,
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
        base.needed(picture=pictures)
        wanted = 4 * len(contrasts) * len(_shares(step))
        for given in (len(one["curves"]) // 4 for one in pictures):
            if given != wanted:
                raise ValueError(f"{given} values in the curves of a picture; {len(contrasts)} contrasts at "
                                 f"{len(_shares(step))} shares from 0 to 100 % need {wanted}")
        super().__init__(pictures=list(pictures), contrasts=list(contrasts), step=step,
                         **{"share": step * round(30 / step), **choices})

    def curve(self, contrast: str) -> NDArray[np.float32]:
        """Relative probability at each share, (S,), as it is shown; `contrast` is one of the names."""
        curves = np.frombuffer(self._shown()["curves"], "<f4").reshape(2, 2, len(self.contrasts), -1)
        return curves[self.target, ENDS.index(self.removed), self._number(contrast)]

    def value(self, contrast: str) -> float:
        """The relative probability that is shown for a contrast."""
        return float(self.curve(contrast)[self.share // self.step])

    def relevance(self, contrast: str) -> NDArray[np.float32]:
        """The map that ranks the pixels, (h, w), signed."""
        return base.decode(self._shown()["maps"])[self.target, self._number(contrast)]

    def masked(self, contrast: str, share: int | None = None) -> NDArray[np.uint8]:
        """The picture that is shown for a contrast.

        Args:
            contrast: one of the names.
            share: removed, in per cent; None for the chosen one.

        Returns:
            (H, W, 3), at most 224 pixels along the longer side.
        """
        photo, blurred = self._photo(), self._photo("blurred")
        field = relevance.upsample(torch.from_numpy(self.relevance(contrast))[None, None], photo.shape[:2])
        left = perturbation.remaining(perturbation.ranks(field), (self.share if share is None else share) / 100,
                                      self.removed)
        return np.where(left[0, 0, :, :, None].numpy(), photo, blurred)

    def still(self) -> Figure:
        """What is left at three shares for each contrast, and the curves."""
        rows, names = len(self.contrasts), self._shown()["names"]
        with style():
            figure = BookFigure(figsize=(WIDTH, 0.5 + 1.35 * max(rows, 2)), layout="constrained")
            grid = figure.add_gridspec(rows, len(STILL) + 1, width_ratios=[1] * len(STILL) + [2.4])
            for r, c in np.ndindex(rows, len(STILL)):
                name, at = self.contrasts[r], round(STILL[c] / self.step)
                ax = figure.add_subplot(grid[r, c])
                ax.imshow(self.masked(name, at * self.step))
                ax.set(xticks=[], yticks=[], title=f"{at * self.step} %: {self.curve(name)[at]:.2f}")
                ax.spines[:].set_visible(False)
                ax.set_ylabel("" if c else name, color=colour_of(name), fontweight="bold")
            chart = figure.add_subplot(grid[:, -1])
            for name in self.contrasts:
                chart.plot(_shares(self.step), self.curve(name), color=colour_of(name), label=name)
            chart.set(xlim=(0, 100), ylim=(0, 1), xlabel=f"removed, %, {self.removed} relevance first",
                      title=f"{names[self.target]}\nagainst {names[1 - self.target]}", ylabel="relative probability")
            chart.grid()
            chart.legend(fontsize=8)
        return figure


def _shares(step: int) -> range:
    """The shares in per cent, 0 to 100; refuses a distance between them that does not divide 100."""
    if not 1 <= step <= 100 or 100 % step:
        raise ValueError(f"step must be a whole number of per cent that divides 100, such as 5 or 10, got {step}")
    return range(0, 101, step)
