"""Beyond the papers: does a wrong prediction turn right when what the map blames for it is masked?"""

import hashlib
import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from contrastlib import contrast, evaluation, perturbation, relevance
from contrastlib.data.birds import SECOND
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values
from contrastlib.experiments.masking import METHODS, layers_and_methods
from contrastlib.models import Classifier

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
DRAWS, DOUBT, BASELINE = 4, 0.1, "blur"
MAPS = ("foil", "weighted", "original", "random")
EFFECTS = ("becomes the foil", "no longer the target", "margin")
OTHER_BIRD, BEFORE, CHANCE = "positive share on the other bird", "before", "chance"
KINDS = {"wrong": 1.0, "right": 0.0}
# What each map is compared with.
AGAINST = {"foil": ("random", "original"), "weighted": ("random", "original"), "original": ("random",)}
COLUMNS = ("layer", "method", "prediction", "map", "share", "metric", "against")
# The key of what is known of an image before anything is masked: kind, margin, area of the other bird.
IMAGE = ("image", "", "")


class Cases(NamedTuple):
    """The k images that are measured, with the question that each is asked: why t and not s?

    Attributes:
        images: (k, 3, H, W) in [0, 1].
        instead: what takes the place of masked pixels, (k, 3, H, W).
        target: the predicted class t, (k,) int64.
        foil: the class s, (k,) int64: the label where the prediction is wrong, else the second class.
        region: the second bird, (k, 1, H, W) bool; nowhere if nothing is known of the pictures.
    """

    images: Tensor
    instead: Tensor
    target: Tensor
    foil: Tensor
    region: Tensor


def measure(classifier: Classifier, batch: Batch, setting: Setting) -> Values:
    """Effects of masking what each map marks, share by share, and how much of the map lies on the other bird.

    Of each image ``IMAGE`` holds the kind (1 predicted wrongly; 0 rightly, but with a second class of more than 0.1;
    NaN measured by nobody), the margin :math:`y_t - y_s` in logits and the area of the second bird in [0, 1], (n, 3).
    Every map has for each share whether the prediction becomes s, whether it ceases to be t, and the margin, then the
    positive share on the second bird, (n, 16). Numbers of images that nobody measures are NaN.
    """
    logits = perturbation.logits_of(classifier, batch.images)
    target, foil, kind = questions(logits, batch.labels)
    used = kind.isfinite()
    places = list(layers_and_methods(setting, classifier))
    found: Values = {cells: torch.full((len(used), len(SHARES) * len(EFFECTS) + 1), torch.nan, device=logits.device)
                     for cells in ((*place, name) for place in places for name in MAPS)}
    found[IMAGE] = torch.full((len(used), 3), torch.nan, device=logits.device)
    if not used.any():
        return found
    # As the runner gives them: choosing some would change the layout, in which convolutions round otherwise.
    images = batch.images[used].contiguous(memory_format=torch.channels_last)
    region = images[:, :1] < 0 if batch.parts is None else batch.parts[used][:, None] > SECOND
    cases = Cases(images, perturbation.BASELINES[BASELINE](images, classifier), target[used], foil[used], region)
    area = evaluation.area(region)
    known = [kind[used], _margin(logits[used], cases), torch.where(area > 0, area, torch.nan)]
    found[IMAGE][used] = torch.stack([column.double() for column in known], dim=1).float()
    for layer, method in places:
        for name, drawn in maps(classifier, cases, layer, method).items():
            numbers = torch.stack([_outcomes(classifier, cases, coarse) for coarse in drawn])
            found[layer, method, name][used] = numbers.mean(0).float()
    return found


def questions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which class is explained against which other one.

    Args:
        logits: (N, C).
        labels: true classes (N,) int64.

    Returns:
        target (N,), the predicted class; foil (N,), the label where that is another, else the second class; kind (N,)
        float64, 1 for a wrong prediction, 0 for a right one whose second class has a probability above 0.1, NaN for
        all others.
    """
    target, second = logits.topk(2).indices.unbind(1)
    wrong = target != labels
    doubtful = contrast.original(logits.double().softmax(-1), second) > DOUBT
    kind = torch.where(wrong, 1.0, torch.where(doubtful, 0.0, torch.nan)).double()
    return target, torch.where(wrong, labels, second), kind


def maps(classifier: Classifier, cases: Cases, layer: str, method: str) -> dict[str, list[Tensor]]:
    """The maps that are compared, at the layer's own resolution, (k, 1, h, w) each; several random ones.

    A random map has the cells of the foil map in another order: the same values, and upsampled as smooth.
    """
    scores = zip(MAPS, (contrast.foil(cases.foil[:, None]), contrast.weighted, contrast.original))
    found = {name: [METHODS[method](classifier, cases.images, cases.target, score, layer=layer, upsample=False)]
             for name, score in scores}
    return {**found, "random": shuffled(found["foil"][0], cases.images)}


def shuffled(coarse: Tensor, images: Tensor) -> list[Tensor]:
    """The cells of each map in random orders, which depend on the image alone and not on its batch.

    They are drawn from a seed that is the SHA-256 of the image's pixels, rounded to whole 255ths.

    Args:
        coarse: (k, 1, h, w).
        images: (k, 3, H, W) in [0, 1].

    Returns:
        ``DRAWS`` maps (k, 1, h, w).
    """
    draws = []
    for image, own in zip(images, coarse.flatten(2)):
        pixels = (image * 255).round().to(torch.uint8).cpu().contiguous().numpy().tobytes()
        seed = int.from_bytes(hashlib.sha256(pixels).digest()[:7], "big")
        generator = torch.Generator().manual_seed(seed)
        orders = [torch.randperm(own.shape[-1], generator=generator) for _ in range(DRAWS)]
        draws.append(torch.stack([own[:, order.to(own.device)] for order in orders]))
    return [draw.reshape(coarse.shape) for draw in torch.stack(draws, dim=1)]


def _outcomes(classifier: Classifier, cases: Cases, coarse: Tensor) -> Tensor:
    """The effects of masking the highest relevance, share by share, and the share on the other bird, (k, 16)."""
    large = relevance.upsample(coarse, (cases.images.shape[-2], cases.images.shape[-1]))
    rank, columns = perturbation.ranks(large), []
    for share in SHARES:
        mask = perturbation.remaining(rank, share, "highest")
        logits = perturbation.logits_of(classifier, perturbation.keep(cases.images, cases.instead, mask))
        predicted = logits.argmax(-1)
        columns += [predicted == cases.foil, predicted != cases.target, _margin(logits, cases)]
    columns.append(evaluation.share_inside(large, cases.region))
    return torch.stack([column.double().to(large.device) for column in columns], dim=1)


def _margin(logits: Tensor, cases: Cases) -> Tensor:
    return contrast.original(logits, cases.target) - contrast.original(logits, cases.foil)


def rows(values: Values) -> Rows:
    """Averages over the images of each kind; maps are compared with ``random`` and ``original``, image by image.

    The rows of ``before`` say what holds while nothing is masked, that of ``chance`` what a map gets by chance.
    """
    image, columns, references = values[IMAGE].double(), {}, {}
    for place in dict.fromkeys(cells[:2] for cells in values if cells != IMAGE):
        metrics = _metrics({name: values[*place, name].double() for name in MAPS}, image)
        for kind, (metric, own) in itertools.product(KINDS, metrics.items()):
            known = (image[:, 0] == KINDS[kind]) & torch.stack(list(own.values())).isfinite().all(0)
            for (name, share), column in own.items():
                for against in AGAINST.get(name, ("",)):
                    cells = (*place, kind, name, share, metric, against)
                    columns[cells] = torch.where(known, column, torch.nan)
                    if against:
                        references[cells] = own[against, share]
    return evaluation.summarise(columns, COLUMNS, references=references)


def _metrics(own: dict[str, Tensor], image: Tensor) -> dict[str, dict[tuple[str, str], Tensor]]:
    """The numbers of each image, (n,), by metric, and within it by map and share."""
    found = {}
    for i, effect in enumerate(EFFECTS):
        before = image[:, 1] if effect == "margin" else torch.zeros_like(image[:, 1])
        masked = {(name, str(share)): table[:, len(EFFECTS) * k + i]
                  for name, table in own.items() for k, share in enumerate(SHARES)}
        found[effect] = {(BEFORE, "0"): before, **masked}
    found[OTHER_BIRD] = {(CHANCE, ""): image[:, 2], **{(name, ""): table[:, -1] for name, table in own.items()}}
    return found


EXPERIMENT = Experiment(
    "misclassified", "beyond the papers: does a wrong prediction turn right when what is blamed for it is masked?",
    measure, rows, wants_parts=True)
