"""Where maps of a transformer lie, block by block: on the bird, on the parts that tell species apart, or nowhere."""

import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from contrastlib import contrast, evaluation, relevance
from contrastlib.attribution import (
    AttentionRelevance,
    AttentionRollout,
    attentions,
    full_grad,
    grad_cam,
    gradient_x_input,
    linear_approximation,
)
from contrastlib.data.birds import CODES, SPECIES, telling_parts
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values, best_two
from contrastlib.models import Classifier

CONTRASTS: dict[str, contrast.Contrast] = {"original": contrast.original, "weighted": contrast.weighted}
METRICS = ("positive share on the bird", "positive share on the telling parts", "largest value on the bird",
           "Moran's I")
COLUMNS = ("target", "method", "block", "contrast")
CHANCE = "chance"
# Where in a block a method reads: its output, what goes into its attention, what comes out of that.
PLACES = {"grad_cam": ("output", grad_cam), "grad_cam norm1": ("norm", grad_cam),
          "grad_cam attention": ("attention", grad_cam), "linear_approximation": ("output", linear_approximation),
          "linear_approximation norm1": ("norm", linear_approximation)}

# How timm and torchvision name their vision transformers: blocks by number, and the places inside them.
Family = dict[str, str]
FAMILIES: tuple[Family, ...] = (
    {"blocks": r"blocks\.(\d+)", "embedding": "patch_embed", "output": "", "norm": ".norm1", "attention": ".attn"},
    {"blocks": r"encoder\.layers\.encoder_layer_(\d+)", "embedding": "conv_proj", "output": "", "norm": ".ln_1",
     "attention": ".self_attention"})

THROUGH_ATTENTION = {"rollout": AttentionRollout(), "rollout relu": AttentionRollout(relu=True),
                     "relevance": AttentionRelevance(), "relevance signed": AttentionRelevance(relu=False)}


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """For every target, method, block and contrast the four metrics of each image, (n, 4); NaN where there is none."""
    logits = classifier(batch.images).detach()
    found: Values = {}
    for target, (one, other) in best_two(logits, setting).items():
        regions = batch.bird, _telling(batch, one, other)
        found[target, CHANCE, "", ""] = _chance(*regions)
        for name, score in CONTRASTS.items():
            for method, block, maps in all_maps(classifier, batch.images, one, score):
                found[target, method, block, name] = _metrics(maps, *regions)
    return found


def all_maps(classifier: Classifier, images: Tensor, target: Tensor, score: contrast.Contrast,
             ) -> Iterator[tuple[str, str, Tensor]]:
    """Every method's map from every block, (N, 1, h, w) on the grid of the patch tokens.

    Args:
        classifier: a vision transformer with blocks.
        images: (N, 3, H, W).
        target: (N,).
        score: the contrast.

    Yields:
        (method, block, map). The block of rollout and relevance is the first that takes part; that of FullGrad the one
        whose bias terms are added up, or ``all``.
    """
    family, blocks = transformer(classifier)
    read = attentions(classifier, images, target, score)
    yield from _at_layers(classifier, images, target, score, {
        (method, block): name + family[part] for method, (part, _) in PLACES.items() for block, name in blocks.items()})
    for block in range(len(read.probabilities)):
        for method, attribute in THROUGH_ATTENTION.items():
            yield method, str(block), attribute.from_attentions(read, block)
    terms = full_grad.terms(classifier, images, target, score)
    for block, name in blocks.items():
        own = [term for owner, term in terms.placed.items() if owner.startswith(f"{name}.")]
        yield "full_grad", str(block), torch.stack([relevance.spread(term, read.grid) for term in own]).sum(0)
    yield "full_grad", "all", terms.map(read.grid)
    yield "gradient_x_input", "input", relevance.spread(gradient_x_input(classifier, images, target, score), read.grid)
    embedded = linear_approximation(classifier, images, target, score, layer=family["embedding"], upsample=False)
    yield "gradient_x_input", "embedding", embedded


def transformer(classifier: Classifier) -> tuple[Family, dict[int, str]]:
    """How a transformer's parts are named, and its blocks: number, from 0, to dotted name.

    Raises:
        ValueError: the network has none.
    """
    names = [name for name, _ in classifier.model.named_modules()]
    for family in FAMILIES:
        numbered = {int(match[1]): name for name in names if (match := re.fullmatch(family["blocks"], name))}
        if numbered:
            return family, dict(sorted(numbered.items()))
    raise ValueError(f"{classifier.name} has no blocks, which timm's vision transformers have as blocks.0, blocks.1, "
                     "... and torchvision's as encoder.layers.encoder_layer_0, ...")


def _at_layers(classifier: Classifier, images: Tensor, target: Tensor, score: contrast.Contrast,
               places: dict[tuple[str, int], str]) -> Iterator[tuple[str, str, Tensor]]:
    """The maps at all layers from one pass; a layer has none that gets no gradient, or at which a rule cancels."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _module: object, _args: object, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs[name] = output if isinstance(output, Tensor) else output[0]  # torchvision's attention gives two things

    with ExitStack() as hooks, torch.enable_grad():
        for name in dict.fromkeys(places.values()):
            hooks.enter_context(classifier.model.get_submodule(name).register_forward_hook(partial(keep, name)))
        logits = classifier(images.detach().clone().requires_grad_())
        gradients = torch.autograd.grad(score(logits, target).sum(), list(outputs.values()))
    of_layer = dict(zip(outputs, gradients))
    for (method, block), name in places.items():
        layout = classifier.read_as(outputs[name].shape, (images.shape[-2], images.shape[-1]))
        activation, gradient = layout.to_map(outputs[name].detach()), layout.to_map(of_layer[name])
        _, rule = PLACES[method]
        if gradient.any() and not rule.cancels(activation, gradient):
            yield method, str(block), rule.combine(activation, gradient)


def _telling(batch: Batch, target: Tensor, other: Tensor) -> Tensor:
    """Those parts of the bird in front in which it differs from the other species, (n, 1, H, W) bool.

    Nowhere for species of two genera, and where the part that differs is hidden or missing on this bird, or not known.
    """
    if batch.parts is None:
        return batch.bird
    table = torch.zeros(len(batch.parts), 256, dtype=torch.bool, device=batch.parts.device)
    for row, t, s in zip(table, target.tolist(), other.tolist()):
        if SPECIES[t].genus == SPECIES[s].genus:  # between genera nearly the whole bird tells
            row[[CODES[part] for part in telling_parts(t, s)]] = True
    return torch.stack([row[codes] for row, codes in zip(table, batch.parts[:, None].long())])


def _metrics(maps: Tensor, bird: Tensor, telling: Tensor) -> Tensor:
    large = relevance.upsample(maps, (bird.shape[-2], bird.shape[-1]))
    return torch.stack([evaluation.share_inside(large, bird), evaluation.share_inside(large, telling),
                        evaluation.hit(large, bird), evaluation.moran(maps)], dim=1).float()


def _chance(bird: Tensor, telling: Tensor) -> Tensor:
    """What a map that knows nothing gets: the regions' shares of the picture."""
    area = evaluation.area(bird)
    areas = torch.stack([area, evaluation.area(telling), area, torch.zeros_like(area)], dim=1)
    return torch.where(areas > 0, areas, torch.nan).float()


def rows(values: Values) -> Rows:
    """Averages; ``original`` is compared with chance, ``weighted`` with ``original``, image by image."""
    columns: dict[evaluation.Cells, Tensor] = {}
    references: dict[evaluation.Cells, Tensor] = {}
    for (m, metric), (cells, numbers) in itertools.product(enumerate(METRICS), values.items()):
        target, method, block, which = cells
        against = {"original": CHANCE, "weighted": "original"}.get(which, "")
        rival = values[(target, CHANCE, "", "") if against in ("", CHANCE) else (target, method, block, against)][:, m]
        # Moran's I has no level of chance here, nor a picture without masks.
        if not rival.isfinite().any():
            against = ""
        columns[*cells, metric, against] = numbers[:, m]
        if against:
            references[*cells, metric, against] = rival
    return evaluation.summarise(columns, (*COLUMNS, "metric", "against"), references=references)


EXPERIMENT = Experiment(
    "coherence", "Figures 5 and 8: where maps of transformers lie, block by block", measure, rows, wants_parts=True)
