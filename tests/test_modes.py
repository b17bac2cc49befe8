"""Whatever mode a caller's loop is in: the same numbers, bit for bit, of all that takes a classifier or logits."""

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from networks import images, seeded
from PIL import Image
from torch import Tensor, nn
from training_data import Blobs
from transformer_networks import transformer

from contrastlib import attribution, contrast, evaluation, experiments, explorables, models, perturbation, published
from contrastlib import relevance as arithmetic
from contrastlib.experiments import selection, training

SIZE = 16


@contextmanager
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode, "float64 by default": float64_by_default}


def network(classes: int = 3) -> nn.Module:
    return seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes)))


def classifier_of(net: nn.Module) -> models.Classifier:
    return models.Classifier(net, class_names=["red", "green", "blue"], input_size=SIZE, mean=0.4, std=0.3, crop=False,
                             name="small")


def vit() -> models.Classifier:
    return transformer(torch.float32)


@dataclasses.dataclass
class Given:
    """What a caller has: images, and a class for each of them."""

    x: Tensor
    t: Tensor
    s: Tensor


def given() -> Given:
    return Given(images(3, SIZE, torch.float32), torch.tensor([2, 1, 0]), torch.tensor([1, 2, 1]))


def trained(g: Given) -> Any:
    with torch.inference_mode(False):
        learner = models.Classifier(network(5), input_size=SIZE, crop=False)
    learner = training.new_head(learner, ["red", "green", "blue"])
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape))
    recipe = training.Recipe(epochs=1, batch_size=4, augmentation="light_tensor", in_memory=True, ema=0.5)
    with tempfile.TemporaryDirectory() as folder:
        record = training.train(learner, Blobs(9), Blobs(6, "test"), recipe, folder, workers=0)
    return [*learner.state_dict().values(), record["history"][0]["held_out_loss"], learner(g.x)]


def followed(found: attribution.Attentions) -> Any:
    ways = (attribution.AttentionRollout(discard=0.3), attribution.AttentionRelevance(relu=False))
    return [found, *(way.from_attentions(found, 1) for way in ways), *(way.matrices(found) for way in ways)]


def attributions() -> dict[str, Any]:
    found = {}
    for name, method in attribution.METHODS.items():
        found[name] = lambda c, g, m=method: m(c, g.x, g.t, contrast.weighted)
        found[f"{name}.class_maps"] = lambda c, g, m=method: (
            lambda every: [every, every.combine(contrast.weighted, g.t),
                           every.combine(contrast.foil(g.s[:, None]), g.t, normalised=True)])(
            m.class_maps(c, g.x))
    return found


ASKED: dict[str, Any] = {
    **attributions(),
    "class_maps of some": lambda c, g: attribution.grad_cam.class_maps(c, g.x, torch.stack([g.t, g.s], 1), layer="1"),
    "full_grad": lambda c, g: attribution.full_grad(c, g.x, g.t, contrast.weighted),
    "full_grad.terms": lambda c, g: (lambda terms: [terms, terms.map(), terms.total, terms.by_kind(), terms.check()])(
        attribution.full_grad.terms(c, g.x, g.t, contrast.foil(g.s[:, None]))),
    "full_grad.class_maps": lambda c, g: attribution.full_grad.class_maps(c, g.x, g.t[:2]),
    "forward": lambda c, g: c(g.x),
    "layers": lambda c, g: [str(c.layers()), str(c.layers(g.x))],
    "layer_name": lambda c, _: c.layer_name,
    "num_classes": lambda c, _: models.Classifier(c.model, input_size=SIZE).num_classes,
    "top": lambda c, g: c.top(g.x, 3),
    "index": lambda c, g: [c.index("blue"), c.index(g.t[0]), c.class_name(1)],
    "read_as": lambda c, _: str(c.read_as((3, 8, 8, 8), (SIZE, SIZE))),
    "prepare": lambda c, g: [c.prepare(Image.linear_gradient("L").convert("RGB")), c.prepare(g.x[0]),
                             c.prepare((255 * g.x[0]).to(torch.uint8)),
                             c.prepare(np.linspace(0, 1, 300).reshape(10, 10, 3))],
    "gradient_sign": lambda c, g: perturbation.gradient_sign(c, g.x, g.t, contrast.weighted, epsilon=0.01, steps=2),
    "gradient_sign_sweep": lambda c, g: perturbation.gradient_sign_sweep(
        c, g.x, g.t, {"foil": contrast.foil(g.s[:, None]), "max": contrast.max}, steps=(1, 2)),
    "baselines": lambda c, g: [fill(g.x, c) for fill in perturbation.BASELINES.values()],
    "predict": lambda c, _: (lambda p: [p, p.p(2), p.accuracy, selection.select(p, "p2>0.1")])(
        selection.predict(c, Blobs(9), cache=None)),
    "fingerprint": lambda c, _: selection.fingerprint(c),
    "experiments.run": lambda c, _: experiments.run(
        "dominance", c, Blobs(6, "test"), limit=6, device="cpu", workers=0).to_numpy().tolist(),
    "experiments.run logit-norm": lambda c, _: experiments.run(
        "logit-norm", c, Blobs(6, "test"), limit=6, device="cpu", workers=0).to_numpy().tolist(),
    "evaluate": lambda c, _: list(training.evaluate(c, Blobs(9))),
    "train": lambda _, g: trained(g),
    "explorables.contrasts": lambda c, g: (lambda e: [e.pictures, e.weights(), e.relevance()])(
        explorables.contrasts(c, list(g.x))),
    "explorables.masking": lambda c, g: (lambda e: [e.pictures, e.masked("weighted")])(
        explorables.masking(c, g.x[0], step=50)),
    "explorables.pushing": lambda c, g: (lambda e: [e.values, e.errors, e.picture])(
        explorables.pushing(c, g.x, g.t, count=2)),
    "published.full_grad": lambda c, g: published.full_grad(c, g.x, g.t, contrast.weighted),
    "load": lambda *_: attribution.gradient(models.load("birds_vgg"), images(1, 128, torch.float32), 3),
}
ASKED_OF_TRANSFORMERS: dict[str, Any] = {
    "rollout": lambda c, g: attribution.attention_rollout(c, g.x, g.t, contrast.weighted),
    "relevance": lambda c, g: attribution.attention_relevance(c, g.x, g.t, contrast.foil(g.s[:, None])),
    "attentions": lambda c, g: followed(attribution.attentions(c, g.x, g.t, contrast.weighted)),
    "rollout as published": lambda c, g: published.gradient_rollout(c, g.x, g.t, contrast.weighted),
    "grad_cam of tokens": lambda c, g: attribution.grad_cam(c, g.x, g.t, contrast.weighted),
    "full_grad of tokens": lambda c, g: attribution.full_grad.terms(c, g.x, g.t, contrast.weighted),
    "layers of tokens": lambda c, g: str(c.layers(g.x)),
    "explorables.blocks": lambda c, g: explorables.blocks(c, g.x[0]).pictures,
}
ASKED_OF_NUMBERS: dict[str, Any] = {
    "weights": lambda y, t, s, _: [contrast.weights(score, y, t) for score in scores(s)],
    "scores": lambda y, t, s, _: [score(y, t) for score in scores(s)],
    "rivals": lambda y, t, *_: contrast.effective_rivals(contrast.weighted, y, t),
    "relevance": lambda _y, _t, _s, m: [
        arithmetic.upsample(m, (9, 9)), arithmetic.spread(m, (9, 9)), arithmetic.spread(m, (2, 2)),
        arithmetic.normalise(m), arithmetic.correlation(m, m ** 2), arithmetic.relative_error(m, m ** 2)],
    "evaluation": lambda y, t, s, m: [
        evaluation.outcome(y, t), evaluation.relative_probability(y, t, s), evaluation.moran(m),
        evaluation.share_inside(m, m > 0.5), evaluation.area(m > 0.5), evaluation.standard_error(y),
        evaluation.area_under(y, [0, 0.5, 1]), evaluation.bootstrap(y.double()),
        evaluation.resampled_counts(4, 3)],
    "combine": lambda y, t, _s, m: attribution.ClassMaps(
        m.expand(-1, 3, -1, -1) * y[..., None, None], torch.arange(3).expand(3, -1), y).combine(contrast.weighted, t),
    "masks": lambda _y, _t, _s, m: [perturbation.ranks(m), perturbation.only(m, 1 - m, "positive"),
                                    perturbation.blur(m.expand(-1, 3, -1, -1))],
    "published": lambda y, t, s, m: [
        published.weighted_with_attached_weights(y, t), published.relative_probability(y, t, s),
        published.upsample(m, (9, 9)), published.white_at_mid_range(m),
        published.random_blur(torch.ones(1, 3, 60, 60, dtype=torch.float32), torch.Generator().manual_seed(0))],
    "light_tensor": lambda _y, _t, _s, m: training.light_tensor(
        m.expand(-1, 3, -1, -1).contiguous(), torch.Generator().manual_seed(0)),
}


def scores(s: Tensor) -> list[contrast.Contrast]:
    return [contrast.original, contrast.mean, contrast.max, contrast.weighted, contrast.probability,
            contrast.foil(s[:, None]), contrast.tempered(0.5), contrast.finer(n=1)]


def numbers(value: Any) -> list[Any]:
    """All that a value holds, one after the other; tensors as bytes with their types."""
    if isinstance(value, Tensor | np.ndarray):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        return [(str(array.dtype), array.shape, np.ascontiguousarray(array).tobytes())]
    if isinstance(value, Mapping):
        return [part for key in value for part in (key, *numbers(value[key]))]
    if isinstance(value, list | tuple):
        return [part for one in value for part in numbers(one)]
    if dataclasses.is_dataclass(value):
        return [part for field in dataclasses.fields(value) for part in numbers(getattr(value, field.name))]
    return [repr(value)]


def answer(name: str, made: Any = None, inputs: Given | None = None) -> list[Any]:
    g = inputs or given()
    if name in ASKED_OF_NUMBERS:
        maps = g.x[:, :1, :4, :4].clone()
        y = g.x[:, 0, 0, :3] * 5
        return numbers(ASKED_OF_NUMBERS[name](y, g.t, g.s, maps))
    if name in ASKED_OF_TRANSFORMERS:
        return numbers(ASKED_OF_TRANSFORMERS[name](made or vit(), g))
    return numbers(ASKED[name](made or classifier_of(network()), g))


@cache
def usual(name: str) -> list[Any]:
    return answer(name)


EVERY = [*ASKED, *ASKED_OF_TRANSFORMERS, *ASKED_OF_NUMBERS]


def made_for(name: str) -> Any:
    """What is asked: a classifier, or nothing where numbers are."""
    if name in ASKED_OF_NUMBERS:
        return None
    return vit() if name in ASKED_OF_TRANSFORMERS else classifier_of(network())


@pytest.mark.parametrize(("name", "mode"), [
    (name, mode) for name in EVERY for mode in MODES if name not in ("load", "train") or mode != "float64 by default"])
def test_a_mode_around_a_call_changes_no_number(name, mode):
    expected, inputs, made = usual(name), given(), made_for(name)
    with MODES[mode]():
        assert answer(name, made, inputs) == expected
    assert answer(name, made, inputs) == expected


@pytest.mark.parametrize("name", EVERY)
def test_inputs_made_in_inference_mode(name):
    expected, made = usual(name), made_for(name)
    with torch.inference_mode():
        inputs = given()
        assert answer(name, made, inputs) == expected
    assert answer(name, made, inputs) == expected


@pytest.mark.parametrize("name", ASKED)
def test_classifiers_made_in_inference_mode(name):
    expected, net = usual(name), network()
    with torch.inference_mode():
        made = classifier_of(net)
        assert answer(name, made) == expected
    assert answer(name, made) == expected


def test_a_network_made_in_inference_mode_is_refused():
    with torch.inference_mode():
        net = nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"this Linear was made inside torch.inference_mode\(\).* make it outside"):
        classifier_of(net)


@pytest.mark.parametrize("name", [*sorted({*ASKED_OF_NUMBERS} - {"published"}), "baselines", "prepare"])
def test_autocast_rounds_no_arithmetic_behind_a_network(name):
    expected = usual(name)
    with torch.autocast("cpu", torch.bfloat16):
        assert answer(name) == expected
