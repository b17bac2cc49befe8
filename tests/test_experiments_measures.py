"""What the experiments measure on a tiny network, computed a second time, plainly, for a few keys of each."""

import itertools
import math

import numpy as np
import pytest
import torch
from networks import Tiny, images, pooled, seeded, tiny
from torch import Tensor, nn

from contrastlib import attribution, contrast, perturbation, relevance
from contrastlib.experiments import dominance, gradient_sign, logit_norm, masking, masking_curves
from contrastlib.experiments.experiment import Batch, Setting
from contrastlib.models import Classifier

BATCH = Batch(images(), torch.tensor([5, 1, 2]))
SETTING = Setting("tiny", "none")
METHODS = ("linear_approximation", "grad_cam", "xgrad_cam")


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in row)
    return [math.exp(v) / total for v in row]


def logits(classifier: Classifier, x: Tensor) -> list[list[float]]:
    with torch.no_grad():
        return classifier(x).tolist()


def top_two(row: list[float]) -> tuple[int, int]:
    first, second, *_ = sorted(range(len(row)), key=lambda c: -row[c])
    return first, second


def relative(row: list[float], one: int, other: int) -> float:
    return math.exp(row[one]) / (math.exp(row[one]) + math.exp(row[other]))


# --- gradient-sign ---------------------------------------------------------------------------------------------------


def outcomes(rows: list[list[float]]) -> Tensor:
    labels = BATCH.labels.tolist()
    return torch.tensor([[float(row.index(max(row)) == t), softmax(row)[t], row[t]]
                         for row, t in zip(rows, labels, strict=True)], dtype=torch.float64)


def test_gradient_sign_has_every_combination():
    found = gradient_sign.measure(tiny(), BATCH, SETTING)
    assert set(found) == {gradient_sign.BEFORE, *itertools.product(
        gradient_sign.CONTRASTS, ("0.003", "0.001"), ("1", "2", "10"))}
    assert all(table.shape == (3, 3) for table in found.values())


def test_gradient_sign_reads_the_true_label_before_and_after():
    classifier = tiny()
    found = gradient_sign.measure(classifier, BATCH, SETTING)
    torch.testing.assert_close(found[gradient_sign.BEFORE], outcomes(logits(classifier, BATCH.images)))
    for name, score in {"original": contrast.original, "probability": contrast.probability,
                        "tempered 0.5": contrast.tempered(0.5), "finer": contrast.finer()}.items():
        moved = perturbation.gradient_sign(classifier, BATCH.images, BATCH.labels, score, epsilon=3e-3, steps=10)
        torch.testing.assert_close(found[name, "0.003", "10"], outcomes(logits(classifier, moved)))


# --- masking: the published computation, from the layer to the mask -------------------------------------------------


def layer_and_gradient(network: nn.Module, x: Tensor, t: int, scalar) -> tuple[np.ndarray, np.ndarray]:
    """The last layer's output of the tiny network and the gradient of a scalar with respect to it, (k, h, w) each."""
    with torch.no_grad():
        a = network.last(network.second(network.act(network.norm(network.first(x[None])))))
    a.requires_grad_()
    scalar(network.head(a.flatten(1)))[0, t].backward()
    network.zero_grad()
    return a.detach()[0].numpy(), a.grad[0].numpy()


def combined(method: str, a: np.ndarray, g: np.ndarray) -> np.ndarray:
    if method == "linear_approximation":
        return (a * g).sum(0)
    if method == "grad_cam":
        return (g.mean((1, 2))[:, None, None] * a).sum(0)
    norms = np.abs(a).sum((1, 2))
    return sum((a[k] * g[k]).sum() / norms[k] * a[k] for k in range(len(a)) if norms[k])


def with_aligned_corners(coarse: np.ndarray, size: int) -> np.ndarray:
    at = np.linspace(0, len(coarse) - 1, size)
    rows = np.stack([np.interp(at, np.arange(len(row)), row) for row in coarse])
    return np.stack([np.interp(at, np.arange(len(column)), column) for column in rows.T]).T


def equal_blur(one: np.ndarray, two: np.ndarray, mode: str) -> list[np.ndarray]:
    """Which pixels stay, as the code of both papers has it."""
    n = min((one > 0).sum(), (two > 0).sum()) if mode == "positive" else max((one < 0).sum(), (two < 0).sum())
    stay = []
    for m in (one, two):
        rank = m.flatten().argsort(kind="stable").argsort(kind="stable").reshape(m.shape)
        stay.append(~(rank < n) if mode == "positive" else ~(rank > m.size - n))
    return stay


def confident(factor: float) -> Classifier:
    """The tiny network in float32, its last layer multiplied."""
    classifier = tiny(torch.float32)
    classifier.model.head.weight.data *= factor
    classifier.model.head.bias.data *= factor
    return classifier


def masks_of(classifier: Classifier, target: Tensor, method: str) -> dict[tuple[str, str, str], Tensor]:
    x = BATCH.images.to(classifier.mean.dtype)
    found = list(masking.masks(classifier, x, target, "last", method))
    names = {"published": ("original", "probability"), "swapped": ("original", "weighted"),
             "caption": ("original", "weighted")}
    assert sorted(place for *place, _ in found) == sorted(
        [budget, sign, name] for budget in names for sign in ("positive", "negative") for name in names[budget])
    return {(budget, sign, name): mask for budget, sign, name, mask in found}


def published_pair(classifier: Classifier, x: Tensor, t: int, method: str) -> list[np.ndarray]:
    return [with_aligned_corners(combined(method, *layer_and_gradient(classifier.model, x, t, scalar)), 8)
            for scalar in (lambda y: y, lambda y: y.softmax(-1))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1, 40, 250])
def test_the_published_masks_are_those_of_the_published_computation(method, factor):
    classifier = confident(factor)
    target = classifier(BATCH.images.float()).argmax(-1)
    found = masks_of(classifier, target, method)
    for i, (x, t) in enumerate(zip(BATCH.images.float(), target.tolist(), strict=True)):
        pair = published_pair(classifier, x, t, method)
        for sign in ("positive", "negative"):
            for name, stay in zip(("original", "probability"), equal_blur(*pair, sign), strict=True):
                assert found["published", sign, name][i, 0].tolist() == stay.tolist()


def test_the_published_masks_suffer_from_the_probability_in_float32():
    # The first image is predicted with log-odds of 23: in float32 the probability is 1, and its gradient has no target.
    classifier, exact = confident(250), confident(250).double()
    x = BATCH.images.float()
    y = classifier(x[:1])
    assert y.softmax(-1).max() == 1
    target = classifier(x).argmax(-1)
    found = masks_of(classifier, target, "linear_approximation")["published", "positive", "probability"]
    pair = published_pair(exact, x[0].double(), target[0].item(), "linear_approximation")
    assert found[0, 0].tolist() != equal_blur(*pair, "positive")[1].tolist()


def strongest(values: np.ndarray, count: int) -> np.ndarray:
    """The so many highest; of equal ones the later."""
    order = sorted(range(values.size), key=lambda i: (values.flat[i], i))[values.size - count:]
    stay = np.zeros(values.size, dtype=bool)
    stay[order] = True
    return stay.reshape(values.shape)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("sign", "factor"), [("positive", 1), ("negative", -1)])
def test_the_other_masks_are_those_of_the_corrected_maps(method, sign, factor):
    classifier, target = tiny(), torch.tensor([0, 4, 3])
    found = masks_of(classifier, target, method)
    attribute = attribution.METHODS[method]
    pair = [factor * attribute(classifier, BATCH.images, target, score, layer="last")
            for score in (contrast.original, contrast.weighted)]
    for i in range(3):
        one, two = (m[i, 0].numpy() for m in pair)
        counts = [(one > 0).sum(), (two > 0).sum()]
        for name, values in (("original", one), ("weighted", two)):
            assert found["caption", sign, name][i, 0].tolist() == strongest(values, min(counts)).tolist()
            assert found["swapped", sign, name][i, 0].tolist() == strongest(values, max(counts)).tolist()


def test_masking_has_every_combination():
    found = masking.measure(tiny(), BATCH, SETTING)
    names = {"published": "probability", "swapped": "weighted", "caption": "weighted"}
    places = [("last", method, target) for method in METHODS for target in ("t1", "t2")]
    settings = [(budget, baseline, sign, name) for budget in names for baseline in perturbation.BASELINES
                for sign in ("positive", "negative") for name in ("original", names[budget])
                if budget != "swapped" or baseline == "blur"]
    every = {(*place, *cells) for place in places for cells in [("none", "", "", ""), *settings]}
    # The blur is enough for the budget whose signs are put right; whether others are there is not held.
    assert {cells for cells in found if "swapped" not in cells or "blur" in cells} == every
    assert all(table.shape == (3, 2) for table in found.values())


@pytest.mark.parametrize(("target", "budget", "baseline", "sign", "name"), [
    ("t1", "published", "blur", "positive", "probability"), ("t2", "published", "black", "negative", "original"),
    ("t2", "caption", "mean colour", "negative", "weighted"), ("t1", "swapped", "blur", "negative", "weighted"),
    ("t1", "caption", "channel mean", "positive", "original"),
])
def test_masking_measures_what_is_left_of_the_two_best_classes(target, budget, baseline, sign, name):
    classifier = Classifier(seeded(Tiny).double(), input_size=8, layer="last")  # it normalises
    found = masking.measure(classifier, BATCH, SETTING)
    before = logits(classifier, BATCH.images)
    pairs = [top_two(row) if target == "t1" else top_two(row)[::-1] for row in before]
    untouched = found["last", "grad_cam", target, "none", "", "", ""]
    assert untouched[:, 0].tolist() == pytest.approx([relative(row, *pair) for row, pair in zip(before, pairs)])
    assert untouched[:, 1].tolist() == [1, 1, 1]
    mask = masks_of(classifier, torch.tensor([one for one, _ in pairs]), "grad_cam")[budget, sign, name]
    instead = {"blur": perturbation.blur(BATCH.images), "black": 0 * BATCH.images, "mean colour": classifier.mean,
               "channel mean": BATCH.images.mean((2, 3), keepdim=True)}[baseline]
    left = BATCH.images * mask + instead * ~mask
    table = found["last", "grad_cam", target, budget, baseline, sign, name]
    assert table[:, 0].tolist() == pytest.approx(
        [relative(row, *pair) for row, pair in zip(logits(classifier, left), pairs)])
    assert table[:, 1].tolist() == pytest.approx([m.sum().item() / 64 for m in mask])


def test_a_setting_names_layers_methods_and_targets():
    setting = Setting("tiny", "none", layers=("last=grad_cam", "second"), targets=("t1",))
    assert list(masking.layers_and_methods(setting, tiny())) == [
        ("last", "grad_cam"), *(("second", m) for m in METHODS)]
    assert list(masking.layers_and_methods(SETTING, tiny())) == [("last", m) for m in METHODS]
    found = masking.measure(tiny(), BATCH, setting)
    assert {cells[:3] for cells in found} == {
        ("last", "grad_cam", "t1"), *(("second", method, "t1") for method in METHODS)}
    with pytest.raises(ValueError, match="'gradient' is no method that reads a layer; choose from linear_approx"):
        list(masking.layers_and_methods(Setting("tiny", "none", layers=("last=gradient",)), tiny()))


# --- masking-curves --------------------------------------------------------------------------------------------------


def normalised_plainly(method: str, classifier: Classifier, i: int, t: int) -> Tensor:
    """Maps of one class after the other, each divided by its length, added up with the weights of the contrast."""
    x = BATCH.images[i:i + 1]
    row = logits(classifier, x)[0]
    rest = sum(math.exp(v) for s, v in enumerate(row) if s != t)
    total = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    for s, v in enumerate(row):
        part = attribution.METHODS[method](classifier, x, s, layer="last", upsample=False)
        length = math.sqrt(sum(v * v for v in part.flatten().tolist()))
        total += (1 if s == t else -math.exp(v) / rest) * part / length
    return total


def curve(classifier: Classifier, i: int, pixels: list[int], pair: tuple[int, int]) -> list[float]:
    """Relative probability of one image while pixels disappear in this order."""
    image, blurred, along = BATCH.images[i], perturbation.blur(BATCH.images)[i], []
    for share in masking_curves.SHARES:
        left = image.clone()
        for place in pixels[:int(share * 64 + 0.5)]:
            left[:, place // 8, place % 8] = blurred[:, place // 8, place % 8]
        along.append(relative(logits(classifier, left[None])[0], *pair))
    return along


@pytest.mark.parametrize("target", ["t1", "t2"])
@pytest.mark.parametrize("name", ["original", "weighted", "normalised"])
def test_curves_remove_pixel_after_pixel_from_one_end(target, name):
    classifier = tiny()
    setting = Setting("tiny", "none", layers=("last=linear_approximation",), normalised=("last",))
    found = masking_curves.measure(classifier, BATCH, setting)
    for i, row in enumerate(logits(classifier, BATCH.images)):
        pair = top_two(row) if target == "t1" else top_two(row)[::-1]
        if name == "normalised":
            values = relevance.upsample(normalised_plainly("linear_approximation", classifier, i, pair[0]), (8, 8))
        else:
            values = attribution.linear_approximation(
                classifier, BATCH.images[i:i + 1], pair[0], getattr(contrast, name), layer="last")
        rising = sorted(range(64), key=lambda place: values.flatten()[place].item())
        for removed, pixels in (("lowest", rising), ("highest", rising[::-1])):
            along = found["last", "linear_approximation", target, "blur", removed, name][i]
            assert along.tolist() == pytest.approx(curve(classifier, i, pixels, pair))


def test_curves_have_every_combination():
    layers = ("last=grad_cam", "second=xgrad_cam")
    found = masking_curves.measure(tiny(), BATCH, Setting("tiny", "none", layers=layers, normalised=("second",)))
    assert set(found) == {(layer, method, target, "blur", removed, name)
                          for layer, method in (("last", "grad_cam"), ("second", "xgrad_cam"))
                          for target in ("t1", "t2") for removed in ("highest", "lowest")
                          for name in ("original", "weighted", "normalised") if (layer, name) != ("last", "normalised")}
    assert all(table.shape == (3, 11) for table in found.values())


# --- normalised class maps, logit-norm, dominance --------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_normalised_maps_are_a_sum_of_maps_of_length_one(method):
    classifier, target = tiny(), torch.tensor([5, 1, 2])
    maps = attribution.METHODS[method].class_maps(classifier, BATCH.images)
    found = maps.combine(contrast.weighted, target, normalised=True)
    plain = [normalised_plainly(method, classifier, i, t) for i, t in enumerate(target.tolist())]
    torch.testing.assert_close(found, torch.cat(plain))
    alone = maps.combine(contrast.original, target, normalised=True)
    torch.testing.assert_close(alone.flatten(1).norm(dim=1), torch.ones(3, dtype=torch.float64))


def test_a_map_of_zeros_stays_zero_when_it_is_normalised():
    maps = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    maps[0, 1] = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
    found = attribution.ClassMaps(maps, torch.arange(3)[None], torch.zeros(1, 3, dtype=torch.float64))
    assert found.combine(contrast.original, 0, normalised=True).tolist() == [[[[0, 0], [0, 0]]]]
    torch.testing.assert_close(found.combine(contrast.original, 1, normalised=True)[0, 0],
                               torch.tensor([[0.6, 0], [0, -0.8]], dtype=torch.float64))
    # Both others have logit 0 and half the weight; one of them has a map of zeros.
    torch.testing.assert_close(found.combine(contrast.weighted, 0, normalised=True)[0, 0],
                               torch.tensor([[-0.3, 0], [0, 0.4]], dtype=torch.float64))


def test_logit_norm_is_the_length_of_the_gradient_behind_the_normalisation():
    classifier = Classifier(seeded(Tiny).double(), input_size=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.5))
    found = logit_norm.measure(classifier, BATCH, SETTING)
    assert set(found) == {logit_norm.POINTS}
    for i, image in enumerate(BATCH.images):
        z = ((image - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.5])[:, None, None])
        points = []
        for c in range(6):
            leaf = z.clone().requires_grad_()
            y = classifier.model(leaf[None])[0, c]
            (gradient,) = torch.autograd.grad(y, leaf)
            points.append((y.item(), math.sqrt(sum(v * v for v in gradient.flatten().tolist()))))
        points.sort(reverse=True)
        side_by_side = [*(y for y, _ in points), *(norm for _, norm in points)]
        assert found[logit_norm.POINTS][i].tolist() == pytest.approx(side_by_side, rel=1e-5)


def test_logit_norm_looks_at_the_ranks_of_the_review():
    ranks = list(logit_norm.ranks(1000))
    assert len(ranks) == len(set(ranks)) == 50 + 45 + 50
    assert ranks == sorted(ranks)
    assert ranks[:50] == list(range(50))
    assert ranks[50:53] == [50, 70, 90]
    assert ranks[94:96] == [930, 950]
    assert ranks[-50:] == list(range(950, 1000))
    assert list(logit_norm.ranks(6)) == [0, 1, 2, 3, 4, 5]
    x = images(1, 16)
    found = logit_norm.measure(pooled(1000), Batch(x, torch.tensor([0])), SETTING)[logit_norm.POINTS]
    falling = sorted(logits(pooled(1000), x)[0], reverse=True)
    assert found.shape == (1, 290)
    assert found[0, :145].tolist() == pytest.approx([falling[r] for r in ranks], rel=1e-5)


def test_dominance_compares_the_maps_of_the_most_probable_class():
    classifier = tiny()
    setting = Setting("tiny", "none", layers=("last=grad_cam", "second"))
    found = dominance.measure(classifier, BATCH, setting)
    for i, row in enumerate(logits(classifier, BATCH.images)):
        t, p = row.index(max(row)), max(softmax(row))
        assert found[dominance.LOG_ODDS][i].tolist() == pytest.approx([math.log(p / (1 - p))], rel=1e-5)
        x = BATCH.images[i:i + 1]
        original, weighted, probability = (
            attribution.grad_cam(classifier, x, t, score, layer="last", upsample=False).flatten().numpy()
            for score in (contrast.original, contrast.weighted, contrast.probability))
        normalised = normalised_plainly("grad_cam", classifier, i, t).flatten().numpy()
        pairs = ((original, weighted), (probability, weighted), (normalised, weighted), (normalised, original))
        others = np.linalg.norm(weighted - original) / np.linalg.norm(original)
        expected = [*(np.corrcoef(*pair)[0, 1] for pair in pairs), others, (original > 0).mean(), (weighted > 0).mean()]
        assert found[dominance.FOUND][i].tolist() == pytest.approx(expected, rel=1e-5)


def test_dominance_reads_the_first_place_of_a_setting():
    setting = Setting("tiny", "none", layers=("second=xgrad_cam", "last"))
    found = dominance.measure(tiny(), BATCH, setting)
    maps = attribution.xgrad_cam.class_maps(tiny(), BATCH.images, layer="second")
    original = maps.combine(contrast.original, maps.logits.argmax(-1))
    torch.testing.assert_close(found[dominance.FOUND][:, 5].double(), (original > 0).double().mean((1, 2, 3)))


class Flat(nn.Module):
    """A layer with a single place, so that the maps of all classes are constant."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).flatten(1))


def test_constant_maps_have_no_correlation():
    classifier = Classifier(seeded(Flat).double(), input_size=8, mean=0, std=1)
    setting = Setting("flat", "none", layers=("layer=grad_cam",))
    found = dominance.measure(classifier, BATCH, setting)[dominance.FOUND]
    assert found[:, :4].isnan().all()
    assert found[:, 4:].isfinite().all()
