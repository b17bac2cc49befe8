"""The maps of a transformer at every block, as published and corrected."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contrastlib import contrast
from contrastlib.attribution import (
    AttentionRollout,
    Attentions,
    attention_relevance,
    attentions,
    grad_cam,
    through_layers,
)
from contrastlib.contrast import Contrast
from contrastlib.experiments.coherence import transformer
from contrastlib.explore._contrasts import Photograph, by_title, prepared
from contrastlib.models import Classifier
from contrastlib.published import columns_normalised, gradient_of_scores, reversed_gradients
from contrastlib.widgets import ASKED, BlockExplorer, BlockMethod, Reading, block_picture

SCORES: Mapping[str, Contrast] = {"original": contrast.original, "weighted": contrast.weighted,
                                  "probability": contrast.probability}
PUBLISHED_SCORE = {"original": "original", "weighted": "probability"}
"""The review's "standard" maps explain the logit and have a ReLU, its "contrastive" ones the probability without."""

BEHIND = ("Behind the last block only the class token is read. The patches get no gradient, and there is no map "
          "(erratum 46).")


def _published(name: str, what: str, *, scale: str = "", absent: str = "", besides: str = "") -> Reading:
    how = {"original": "with ReLU, of the logit", "weighted": f"without ReLU, of the probability{scale}"}
    return Reading(name, {asked: f"{what}; {how[asked]}.{besides}" for asked in ASKED}, absent)


def _corrected(what: str, *, absent: str = "") -> Reading:
    return Reading("corrected", dict.fromkeys(ASKED, what), absent)


ROLLOUT = BlockMethod(
    "attention rollout", "attention rollout from block {} on",
    (_published("with its slips", "Gradients of other blocks (erratum 40), taken before the softmax (41), columns "
                "normalised in place of rows (42)", scale=" (43)", besides=" The review shows it from block 0 on."),),
    _corrected("Each block with the gradient of its own attention, rows normalised; signed."))
CAM = BlockMethod(
    "Grad-CAM", "Grad-CAM at block {}",
    (_published("behind the attention", "Read behind the block's attention, as the review's text has it; its code "
                "could not be read (erratum 46)", absent=BEHIND),
     _published("before the attention", "Read before the block's attention, as the code does that the review refers "
                "to; its own could not be read (erratum 46)", absent=BEHIND)),
    _corrected("Read at the block's output; signed.", absent=BEHIND))
RELEVANCE = BlockMethod(
    "attention relevance", "attention relevance from block {} on", (),
    _corrected("Each block's attention times its gradient, rectified, as the method is defined."))
METHODS = (ROLLOUT, CAM, RELEVANCE)


def blocks(
    classifier: Classifier,
    photographs: Photograph | Mapping[str, Photograph] | Sequence[Photograph],
    *,
    labels: Sequence[int] = (),
    **choices: Any,
) -> BlockExplorer:
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
        photographs: one, several, or several by title; see :func:`contrastlib.explore.picture_of`.
        labels: the true class of each, if they are known.
        choices: initial ones, such as ``method`` or ``block``.

    Returns:
        the explorer.

    Raises:
        ValueError: the network has no blocks with attention between all tokens, there are less than two classes or no
            photograph, the labels are not as many as the photographs, or a choice does not exist.
        RuntimeError: the logits do not depend on the attention, as with a head that is all zeros.
    """
    named = by_title(photographs)
    if labels and len(labels) != len(named):
        raise ValueError(f"{len(named)} photographs need as many labels, got {len(labels)}")
    if classifier.num_classes < 2:
        raise ValueError(f"{classifier.name} has one class; the two likeliest are explained, so two are needed")
    places = _places(classifier)
    truth = iter(labels)
    pictures = []
    for title, photo in named:
        image = prepared(classifier, photo)
        (best,) = classifier.top(image, 2)
        pictures.append(block_picture(image[0].float().cpu().numpy(), _frames(classifier, image, best, places), best,
                                      title=title, label=next(truth, None)))
    return BlockExplorer(pictures, METHODS, list(places), **choices)


def _places(classifier: Classifier) -> dict[str, tuple[str, str, str]]:
    """For each block, in order: where Grad-CAM is read, published behind and before the attention, and corrected."""
    family, blocks = transformer(classifier)
    places = {block: (family.inside(block, "attention"), family.inside(block, "norm"), block)
              for block in blocks.values()}
    there = {name for name, _ in classifier.model.named_modules()}
    missing = sorted({part for parts in places.values() for part in parts} - there)
    if missing:
        raise ValueError(f"{classifier.name} has blocks without attention, such as one without {missing[0]}; use "
                         "explore.contrasts for networks that are no transformers")
    return places


def _frames(classifier: Classifier, image: Tensor, best: Sequence[tuple[int, str, float]],
            places: Mapping[str, tuple[str, str, str]]) -> dict[str, NDArray[np.float32]]:
    """By method (2, 2, B, V, h, w)."""
    targets = [index for index, _, _ in best]
    twice = image.expand(2, -1, -1, -1)  # both classes in one pass
    read = {name: attentions(classifier, twice, targets, score) for name, score in SCORES.items()}
    layers = len(read["original"].probabilities)
    if layers != len(places):
        raise ValueError(f"{classifier.name} has {len(places)} blocks but {layers} layers of attention; one in each "
                         "block is needed to number them")
    rollout = [[rolled_as_published(read[PUBLISHED_SCORE[name]], relu=name == "original"),
                [AttentionRollout().rollout(read[name], b) for b in range(layers)]] for name in ASKED]
    relevance = [[[attention_relevance.relevance(read[name], b) for b in range(layers)]] for name in ASKED]
    return {ROLLOUT.name: _over_attention(rollout), RELEVANCE.name: _over_attention(relevance),
            CAM.name: _grad_cams(classifier, image, targets, places)}


def rolled_as_published(found: Attentions, *, relu: bool) -> list[Tensor]:
    """The published rollout from every block on.

    Errata 40, 41 and 42; :func:`contrastlib.published.gradient_rollout` has it for all blocks together.

    Args:
        found: of the score that was explained.
        relu: whether negative entries of each layer are set to zero.

    Returns:
        for each first block (N, 1, h, w).
    """
    slipped = reversed_gradients(gradient_of_scores(found))
    matrices = [columns_normalised(m) for m in AttentionRollout(relu=relu, scaled=False).unnormalised(slipped)]
    return [through_layers(slipped, matrices, b) for b in range(len(matrices))]


def _over_attention(maps: list[list[list[Tensor]]]) -> NDArray[np.float32]:
    """From contrast, variant and block, (2, 1, h, w) each, to target, contrast, block, variant."""
    stacked = torch.stack([torch.stack([torch.stack(of_block) for of_block in variants]) for variants in maps])
    return stacked[:, :, :, :, 0].permute(3, 0, 2, 1, 4, 5).float().cpu().numpy()


def _grad_cams(classifier: Classifier, image: Tensor, targets: Sequence[int],
               places: Mapping[str, tuple[str, str, str]]) -> NDArray[np.float32]:
    """(2, 2, B, 3, h, w), NaN where the gradient is zero: one pass forward, one back for each target and score."""
    with torch.inference_mode(False), torch.enable_grad():
        with _kept(classifier, [name for parts in places.values() for name in parts]) as outputs:
            logits = classifier(image.detach().clone().requires_grad_())
        found = {}
        for t in targets:
            for name, score in SCORES.items():
                scored = score(logits, torch.tensor([t], device=logits.device)).sum()
                gradients = torch.autograd.grad(scored, list(outputs.values()), retain_graph=True)
                found[t, name] = dict(zip(outputs, gradients))
    layout = classifier.read_as(next(iter(outputs.values())).shape, (image.shape[-2], image.shape[-1]))

    def cam(t: int, score: str, place: str) -> Tensor:
        gradient = layout.to_map(found[t, score][place]).float()
        maps = grad_cam.combine(layout.to_map(outputs[place].detach()).float(), gradient)[0, 0]
        return maps if gradient.any() else torch.full_like(maps, torch.nan)

    def variants(t: int, name: str, places: tuple[str, str, str]) -> Tensor:
        published = [cam(t, PUBLISHED_SCORE[name], place) for place in places[:2]]
        return torch.stack([*(one.relu() if name == "original" else one for one in published),
                            cam(t, name, places[2])])

    return np.array([[[variants(t, name, parts).cpu().numpy() for parts in places.values()] for name in ASKED]
                     for t in targets], np.float32)


@contextmanager
def _kept(classifier: Classifier, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What the named modules give in a pass, by name; of torchvision's attention, which gives two things, the first."""
    outputs: dict[str, Tensor] = {}

    def keeper(name: str) -> torch.utils.hooks.RemovableHandle:
        def keep(_module: object, _args: object, output: Tensor | tuple[Tensor, ...]) -> None:
            outputs[name] = output if isinstance(output, Tensor) else output[0]
        return classifier.model.get_submodule(name).register_forward_hook(keep)

    handles = [keeper(name) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
