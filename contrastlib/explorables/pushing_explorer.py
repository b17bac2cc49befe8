"""What becomes of pictures that are pushed, step by step, along the gradient of a score."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from contrastlib import contrast, evaluation
from contrastlib.contrast import Contrast
from contrastlib.explorables import base
from contrastlib.models import Classifier
from contrastlib.perturbation import gradient_sign, logits_of
from contrastlib.plotting import WIDTH, BookFigure, colour_of, style

PUSHES: Mapping[str, Contrast] = {"original": contrast.original, "weighted": contrast.weighted, "max": contrast.max}

METRICS = evaluation.OUTCOMES  # what is averaged: accuracy, p_t, and of y_t the change
CLASSES = 4  # of the shown picture, whose probabilities are followed
CHUNK = 16  # images that are pushed at a time
FRAME, BUDGET = 160, 130_000  # pixels of a frame's longer side, and characters that all frames may take together


def pushing(classifier: Classifier, images: Tensor, targets: contrast.Target,
            contrasts: Mapping[str, Contrast] = PUSHES, *, size: float = 0.0003, count: int = 10, shown: int = 0,
            louder: float = 20, **choices: Any) -> "PushingExplorer":
    r"""An explorer of accuracy, :math:`p_t` and :math:`y_t` as images are pushed further and further.

    One step is ``gradient_sign(..., epsilon=size, steps=1)``, from where the last one ended. After i of them the images
    are those of ``gradient_sign(..., epsilon=i * size, steps=i)``, the update of the papers: its bound is i steps wide,
    and i steps do not leave it. With the default values the last is the papers' strength of 0.003 in 10 steps.

    Args:
        classifier: in evaluation mode, of two classes at least.
        images: (N, 3, H, W) in [0, 1], as ``classifier.prepare`` makes them.
        targets: the class that is pushed up, one for all or one for each, (N,) integers; in the papers the true label.
        contrasts: scores by name.
        size: largest change of a pixel in one step, in (0, 1].
        count: number of steps, at least 1.
        shown: index of the image that is shown.
        louder: what its change is amplified by, for the eye.
        choices: initial ones: ``step``, how many steps were taken, and ``contrast``.

    Returns:
        the explorer; it goes on working in a page without a kernel.

    Raises:
        ValueError: images, targets or a number do not fit, there is no contrast, or what the classifier refuses.
    """
    base.needed(contrast=contrasts)
    if count < 1 or not 0 < size <= 1:
        raise ValueError(f"pushing() takes at least one step of a size in (0, 1], got count={count}, size={size}")
    before = torch.cat([logits_of(classifier, chunk) for chunk in images.split(CHUNK)])
    truth = contrast.as_targets(targets, images)
    target = int(truth[base.choose("shown", shown, range(len(images)))])
    rivals = [c for c in before[shown].argsort(descending=True).tolist() if c != target]
    classes = [target, *rivals[:CLASSES - 1]]
    averages, errors, frames, chances = {}, {}, [], []
    for name, score in contrasts.items():
        logits, moved = _pushed(classifier, images, truth, score, size, count, shown)
        averages[name], errors[name] = _summary([before, *logits], truth)
        frames.append([(images[shown] + louder * (one - images[shown])).clamp(0, 1) for one in moved])
        chances.append(torch.stack([y[shown].softmax(-1)[classes] for y in (before, *logits)]))
    names = [classifier.class_name(c) for c in classes]
    picture = pushed_picture(images[shown], frames, names, torch.stack(chances).float().cpu(), louder=louder)
    return PushingExplorer(averages, errors, picture, size=size, images=len(images), **choices)


def _pushed(classifier: Classifier, images: Tensor, truth: Tensor, score: Contrast, size: float, count: int, shown: int,
            ) -> tuple[list[Tensor], list[Tensor]]:
    """After each step the logits (N, C) of all images, and the shown one itself (3, H, W)."""
    moved, logits, frames = list(images.split(CHUNK)), [], []
    for _ in range(count):
        moved = [gradient_sign(classifier, chunk, t, score, epsilon=size, steps=1)
                 for chunk, t in zip(moved, truth.split(CHUNK))]
        logits.append(torch.cat([logits_of(classifier, chunk) for chunk in moved]))
        frames.append(moved[shown // CHUNK][shown % CHUNK])
    return logits, frames


def _summary(logits: Sequence[Tensor], truth: Tensor) -> tuple[Tensor, Tensor]:
    """Averages of accuracy, p_t and the change of y_t after 0 to S steps, standard errors of changes; (S + 1, 3)."""
    outcomes = torch.stack([evaluation.outcome(y, truth).double() for y in logits])  # (S + 1, N, 3)
    changes = outcomes - outcomes[:1]
    averages = torch.cat([outcomes[..., :2], changes[..., 2:]], dim=-1).mean(1)
    return averages.cpu(), torch.stack([evaluation.standard_error(row) for row in changes]).cpu()


def pushed_picture(photo: Image.Image | ArrayLike, frames: Sequence[Sequence[Image.Image | ArrayLike]],
                   names: Sequence[str], probabilities: ArrayLike, *, louder: float = 20) -> dict[str, Any]:
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
    steps = len(frames[0]) if frames else 0
    if not steps or any(len(row) != steps for row in frames):
        raise ValueError("a pushed picture needs as many frames for each contrast, at least one, "
                         f"got {[len(row) for row in frames]}")
    table = base.numbers("probabilities", probabilities, len(frames), steps + 1, len(names), shares=True)
    for quality in range(85, 14, -10):  # amplified noise is nearly incompressible
        encoded = [[base.photograph(frame, quality=quality, side=FRAME) for frame in row] for row in frames]
        if sum(len(address) for row in encoded for address in row) <= BUDGET:
            break
    return {"photo": base.photograph(photo), "frames": encoded, "names": list(names), "louder": float(louder),
            "probabilities": table.tobytes()}


class PushingExplorer(base.Compared):
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

    _esm = base.script("pushing_explorer.js")

    values = traitlets.Bytes(help="(K, count + 1, 3) float32, see METRICS").tag(sync=True)
    errors = traitlets.Bytes(help="standard errors of their changes, like them").tag(sync=True)
    picture = traitlets.Dict(help="of pushed_picture()").tag(sync=True)
    images = traitlets.Int(1, min=1).tag(sync=True)
    count = traitlets.Int(1, min=1).tag(sync=True)
    size = traitlets.Float(min=0, max=1).tag(sync=True)
    step = base.Choice(lambda self: range(self.count + 1), 0).tag(sync=True)
    contrast = base.Choice(lambda self: self.contrasts, "").tag(sync=True)

    def __init__(self, averages: Mapping[str, ArrayLike], errors: Mapping[str, ArrayLike], picture: dict[str, Any], *,
                 size: float, images: int, **choices: Any) -> None:
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
        base.needed(contrast=averages)
        if set(averages) != set(errors):
            raise ValueError(f"averages and errors must be of the same contrasts, got {[*averages]} and {[*errors]}")
        names, count = list(averages), len(picture["frames"][0])
        if len(picture["frames"]) != len(names):
            raise ValueError(f"the picture has frames for {len(picture['frames'])} contrasts, there are {len(names)}")
        values, spreads = (
            np.array([base.numbers(f"{what} of {name!r}", table[name], count + 1, len(METRICS), finite=False)
                      for name in names]).tobytes() for what, table in {"averages": averages, "errors": errors}.items())
        start = {"step": (count + 1) // 2, "contrast": "weighted" if "weighted" in names else names[0], **choices}
        super().__init__(contrasts=names, values=values, errors=spreads, picture=picture, images=images, count=count,
                         size=size, **start)

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
            for m, ax in enumerate(figure.subplots(1, len(METRICS))):
                for name in self.contrasts:
                    ax.plot(at, self.averages(name)[:, m], color=colour_of(name), label=name,
                            linewidth=2 if name == self.contrast else 1.3)
                value, error = self.averages(self.contrast)[:, m], 1.96 * self.standard_errors(self.contrast)[:, m]
                ax.fill_between(at, value - error, value + error, color=colour_of(self.contrast), alpha=0.13, lw=0)
                ax.set(title=("accuracy", "probability pₜ", "change of logit yₜ")[m], xlim=(0, at[-1]))
                ax.grid()
                if m < 2:  # shares do not pass 0 and 1, intervals may
                    ax.set_ylim(*np.clip(ax.get_ylim(), 0, 1.005))
            figure.axes[-1].legend(fontsize=8, loc="upper left")
            figure.supxlabel(f"largest change of a pixel, in thousandths of the range; {self.images} pictures; "
                             f"shaded: 95 % interval of the change, {self.contrast}", fontsize=8.5)
        return figure

    def _read(self, table: bytes, contrast: str) -> NDArray[np.float32]:
        return np.frombuffer(table, "<f4").reshape(len(self.contrasts), -1, len(METRICS))[self._number(contrast)]
