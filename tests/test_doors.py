"""The same question gets the same answer, or the same error, at every door; each is worked out a second way."""

import copy

import numpy as np
import pytest
import torch
from networks import images, seeded, tiny
from PIL import Image
from torch import nn
from transformer_networks import transformer

from contrastlib import contrast, explorables, models
from contrastlib.__main__ import main
from contrastlib.attribution import attention_relevance, attention_rollout, full_grad, grad_cam, gradient, xgrad_cam
from contrastlib.data import ImageDataset
from contrastlib.experiments.selection import predict
from contrastlib.models import Classifier
from contrastlib.perturbation import gradient_sign, gradient_sign_sweep

TARGET = torch.tensor([5, 1, 2])
CLASSES = 6
MASKED, LEFT = [0, 3], [1, 2, 4, 5]


def called(method):
    return lambda c, x, t, score: method(c, x, t, score, upsample=False)


def summed(method):
    return lambda c, x, t, score: method.class_maps(c, x).combine(score, t)


# From classifier, images, target and contrast to numbers.
CNN = {
    "score": lambda c, x, t, score: score(c(x).detach(), t),
    "grad_cam": called(grad_cam), "grad_cam.class_maps": summed(grad_cam), "xgrad_cam.class_maps": summed(xgrad_cam),
    "gradient": called(gradient), "full_grad": called(full_grad), "full_grad.class_maps": summed(full_grad),
    "full_grad.terms": lambda c, x, t, score: full_grad.terms(c, x, t, score).total,
    "gradient_sign": lambda c, x, t, score: gradient_sign(c, x, t, score, epsilon=0.1, steps=2),
    "gradient_sign_sweep": lambda c, x, t, score: torch.stack(list(gradient_sign_sweep(
        c, x, t, {"": score}, epsilons=[0.1], steps=[1]).after.values()))[..., -2:],
    "pushing": lambda c, x, t, score: torch.from_numpy(explorables.pushing(
        c, x, t, {"": score}, count=1, size=0.1).averages("").copy()),
}
VIT = {"attention_rollout": called(attention_rollout), "attention_relevance": called(attention_relevance)}
DOORS = {**CNN, **VIT}
BRIEF = ("weighted", "mean")  # of the contrasts, at most doors
SCORES = {name: contrast.by_name(name, foils=[4], temperature=2.5, n=2) for name in contrast.NAMES} | {
    "dial to max": contrast.tempered(0), "dial to mean": contrast.tempered(float("inf")),
    "dial below what can be divided by": contrast.tempered(1e-320), "dial beyond": contrast.tempered(1e308)}

ASKED = [(door, name) for door in DOORS for name in SCORES if name in BRIEF or door in ("score", "grad_cam")]


def network(door: str, **options) -> tuple[Classifier, torch.Tensor]:
    if door in VIT:
        return transformer(**options), images(3, 16)
    return tiny(**{"classes" if name == "num_classes" else name: value for name, value in options.items()}), images()


def head(classifier: Classifier, change) -> Classifier:
    """The same classifier with another linear layer at the end."""
    changed = copy.deepcopy(classifier)
    with torch.no_grad():
        change(changed.model.head)
    return changed


def keep(rows):
    def change(last: nn.Linear) -> None:
        last.weight, last.bias = nn.Parameter(last.weight[rows]), nn.Parameter(last.bias[rows])
    return change


# --- which class -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_whole_numbers_of_any_kind_are_one_target(door):
    ask, (classifier, x) = DOORS[door], network(door)
    expected = {one: ask(classifier, x, t, contrast.weighted)
                for one, t in (("one", torch.tensor([2, 2, 2])), ("each", TARGET))}
    for one, given in (("one", 2), ("one", np.int64(2)), ("one", torch.tensor(2, dtype=torch.int32)),
                       ("each", TARGET.int()), ("each", TARGET.to(torch.uint8)), ("each", TARGET.tolist()),
                       ("each", TARGET.numpy().astype(np.int16)), ("each", tuple(TARGET.tolist()))):
        assert torch.equal(ask(classifier, x, given, contrast.weighted), expected[one]), given


@pytest.mark.parametrize(("target", "error", "says"), [
    (6, ValueError, r"target must lie in \[0, 6\)"), (-1, ValueError, r"target must lie in \[0, 6\)"),
    ([1, 2], ValueError, r"one class or one per image, shape \(3,\)"), (True, TypeError, "integers.*bool"),
    (torch.tensor([True, False, True]), TypeError, "integers.*bool"), (1.0, TypeError, "integers.*float"),
    (None, TypeError, "integers.*None"),
])
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_target_gets_one_error(door, target, error, says):
    with pytest.raises(error, match=says):
        DOORS[door](*network(door), target, contrast.weighted)


NAMES = ("oak", "ash", "elm", "fir", "yew", "lime tree")


@pytest.mark.parametrize("door", DOORS)
def test_a_class_can_be_named_where_a_classifier_is_explained(door):
    ask, (classifier, x) = DOORS[door], network(door)
    if door not in {"grad_cam", "gradient", "full_grad", "full_grad.terms", *VIT}:  # logits have no names
        with pytest.raises(TypeError, match=r"integers.*'oak'"):
            ask(classifier, x, "oak", contrast.weighted)
        return
    with pytest.raises(ValueError, match="have no names: pass class_names=, or an index"):
        ask(classifier, x, "oak", contrast.weighted)
    classifier.class_names = NAMES
    for named, index in (("Lime_Tree", 5), (["oak", "lime tree", "elm"], [0, 5, 2]), ("4", 4)):
        assert torch.equal(ask(classifier, x, named, contrast.weighted), ask(classifier, x, index, contrast.weighted))
    with pytest.raises(models.UnknownNameError, match="no class is called 'limes'; near names: lime tree"):
        ask(classifier, x, "limes", contrast.weighted)


@pytest.mark.parametrize("method", [grad_cam, gradient, full_grad])
def test_classes_can_be_named_too(method):
    classifier, x = network("grad_cam")
    classifier.class_names = NAMES
    found = method.class_maps(classifier, x, ["yew", "ash"])
    assert found.classes.tolist() == [[4, 1]] * 3
    assert torch.equal(found.maps, method.class_maps(classifier, x, [4, 1]).maps)


@pytest.mark.parametrize(("index", "error"), [
    (6, ValueError), (-1, ValueError), (True, TypeError), (1.0, TypeError), (torch.tensor(True), TypeError),
    (torch.tensor(1.0), TypeError), (np.True_, TypeError), (None, TypeError),
])
def test_what_is_no_index_is_none_for_one_picture_either(index, error, capsys, monkeypatch, tmp_path):
    classifier, x = tiny(), images(1)
    with pytest.raises(error, match=r"must lie in|a name or an index"):
        classifier.index(index)
    explorer = explorables.contrasts(classifier, x)
    with pytest.raises(ValueError, match=r"target must lie in \[0, 6\)"):
        explorer.target = index
    with pytest.raises(ValueError, match=r"foils must lie in \[0, 6\)"):
        explorer.foils = [1, index]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "load", lambda *_, **__: classifier.float())
    assert main(["explain", "chelsea", "--target", str(index)]) == 2
    assert "must lie in [0, 6)" in (said := capsys.readouterr().err) or "have no names" in said


@pytest.mark.parametrize("foils", [[1, 1], [1, 2, 1]])
def test_a_foil_that_is_named_twice_is_refused(foils):
    explorer = explorables.contrasts(tiny(), images(1), target=5)
    for ask in (lambda: contrast.foil(foils), lambda: contrast.by_name("foil", foils=foils),
                lambda: setattr(explorer, "foils", foils)):
        with pytest.raises(ValueError, match="named twice"):
            ask()


# --- infinite logits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("door", "name"), ASKED)
def test_a_class_that_cannot_occur_is_as_good_as_absent(door, name):
    """Logits of minus infinity: numbers are those of the network that lacks these classes."""
    classifier, x = network(door)
    masked = head(classifier, lambda last: last.bias.index_fill_(0, torch.tensor(MASKED), -torch.inf))
    less = head(classifier, keep(LEFT))
    score = SCORES[name]
    without = contrast.foil(LEFT.index(4)) if name == "foil" else score
    target = torch.tensor([5, 1, 2])
    found = DOORS[door](masked, x, target, score)
    assert found.isfinite().all()
    torch.testing.assert_close(found, DOORS[door](less, x, torch.tensor([3, 0, 1]), without))


@pytest.mark.parametrize("name", SCORES)
def test_a_rival_that_cannot_occur_has_no_weight(name):
    logits = torch.tensor([[0.3, -torch.inf, 0.1, -0.2, 0.7]], dtype=torch.float64)
    row = contrast.weights(SCORES[name], logits, 0)
    p = logits[0, [0, 2, 3, 4]].softmax(0)[0].item()
    assert row[0, :2].tolist() == [pytest.approx(p * (1 - p) if name == "probability" else 1), 0]
    if name in ("mean", "dial to mean", "dial beyond"):
        assert row[0].tolist() == pytest.approx([1, 0, -1 / 3, -1 / 3, -1 / 3])
        assert contrast.effective_rivals(SCORES[name], logits, 0).item() == pytest.approx(3)
    if name in ("max", "dial to max", "dial below what can be divided by", "foil"):
        assert row[0].tolist() == [1, 0, 0, 0, -1]


@pytest.mark.parametrize(("door", "name"), ASKED)
def test_a_class_that_cannot_occur_is_not_explained(door, name):
    classifier, x = network(door)
    masked = head(classifier, lambda last: last.bias.index_fill_(0, torch.tensor(MASKED), -torch.inf))
    with pytest.raises(ValueError, match=r"image 1, target 3: its logit is minus infinity"):
        DOORS[door](masked, x, [5, 3, 2], SCORES[name])


@pytest.mark.parametrize("name", SCORES)
def test_a_contrast_needs_a_rival_that_can_occur(name):
    logits = torch.tensor([[0.0, 1, 2, 3, 4, 5], [0.0, *[-torch.inf] * 5]])
    if name == "original":
        assert contrast.weights(SCORES[name], logits, 0).tolist() == [[1, 0, 0, 0, 0, 0]] * 2
    else:
        needed = 3 if name == "finer" else 2
        with pytest.raises(ValueError, match=rf"image 1, target 0: .* at least {needed} classes that can occur"):
            SCORES[name](logits, torch.tensor([0, 0]))
    if name == "foil":
        with pytest.raises(ValueError, match=r"none of the foils \[\[3, 4\]\] can occur"):
            contrast.foil([3, 4])(torch.tensor([[0.0, 1, 2, -torch.inf, -torch.inf]]), 0)


def test_the_class_map_of_a_class_that_cannot_occur_is_zero():
    masked = head(tiny(), lambda last: last.bias.index_fill_(0, torch.tensor(MASKED), -torch.inf))
    for method in (grad_cam, full_grad):
        found = method.class_maps(masked, images())
        assert not found.maps[:, MASKED].any()
        torch.testing.assert_close(found.maps[:, LEFT], method.class_maps(tiny(), images(), LEFT).maps)
        assert found.logits[:, MASKED].eq(-torch.inf).all()


class Spoilt(nn.Module):
    """A network whose logits go wrong in bright images."""

    def __init__(self, inner: nn.Module, value: float) -> None:
        super().__init__()
        self.inner, self.value = inner, value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)
        return torch.cat([y[:, :1].where(x.amin((1, 2, 3))[:, None] < 0.9, self.value), y[:, 1:]], 1)


class Coloured(ImageDataset):
    """Pictures of one colour each."""

    def picture(self, i):
        return Image.new("RGB", (8, 8), self.items[i])

    def _content(self, i):
        return self.items[i].encode()


OTHERS = {
    "call": lambda c, x: c(x), "top": lambda c, x: c.top(x), "layers": lambda c, x: c.layers(x),
    "contrasts": lambda c, x: explorables.contrasts(c, x[1]), "masking": lambda c, x: explorables.masking(c, x[1]),
    "predict": lambda c, _: predict(c, Coloured("x", "test", list("abcdef"), ["first", "second", "third"], [0] * 3,
                                                ["red", "white", "red"]), cache=None, batch_size=2),
}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("door", [*DOORS, *OTHERS])
def test_logits_that_are_no_prediction_are_refused_by_the_image(door, value):
    inner, x = network(door)
    layer = None if door in VIT else "inner.last"
    classifier = Classifier(Spoilt(inner.model, value).eval(), input_size=inner.input_size, mean=0, std=1, layer=layer)
    x[1] = 1
    says = {"layers": "Spoilt gives a logit that is not finite", "predict": "not finite for second"}
    with pytest.raises(ValueError, match=says.get(door, r"Spoilt gives a logit that is not finite for image [01]")):
        OTHERS[door](classifier, x) if door in OTHERS else DOORS[door](classifier, x, TARGET, contrast.weighted)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_contrasts_refuse_logits_that_are_no_prediction(name, value):
    logits = torch.zeros(2, 6).index_fill(1, torch.tensor(3), value)
    logits[0] = 0
    for ask in (lambda: SCORES[name](logits, 0), lambda: contrast.weights(SCORES[name], logits, 0),
                lambda: contrast.weights(lambda y, _: y[:, 0], logits, 0)):
        with pytest.raises(ValueError, match="image 1, target 0: there is NaN or infinity among the logits"):
            ask()


def test_an_image_in_which_no_class_can_occur_is_refused():
    nothing = head(tiny(), lambda last: last.bias.fill_(-torch.inf))
    with pytest.raises(ValueError, match="not finite for image 0"):
        nothing.top(images())


def test_maps_that_are_not_finite_are_refused():
    """A logit may be a number where its gradient is none."""
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return (self.conv(x).mean((2, 3)) * 0).sqrt()

    with pytest.raises(ValueError, match="a map of grad_cam is not finite: the gradient has NaN or infinite values"):
        grad_cam(Classifier(seeded(Root), input_size=8, layer="conv"), images(dtype=torch.float32), 0)


# --- one logit -------------------------------------------------------------------------------------------------------


class Both(nn.Module):
    """The logits (y, 0) written out."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)
        return torch.cat([y, torch.zeros_like(y)], 1)


def yes_or_no(door: str = "", **options) -> tuple[Classifier, torch.Tensor]:
    plain, x = network(door, num_classes=1, **options)
    return Classifier(plain.model, class_names=["bird"], input_size=plain.input_size, mean=0, std=1,
                      layer=None if door in VIT else "last"), x


@pytest.mark.parametrize("target", [0, 1, [0, 1, 0]])
@pytest.mark.parametrize("door", DOORS)
def test_one_logit_is_that_against_nothing(door, target):
    classifier, x = yes_or_no(door)
    both = Classifier(Both(classifier.model).eval(), input_size=classifier.input_size, mean=0, std=1,
                      layer=None if door in VIT else "inner.last")
    for score in (contrast.original, contrast.weighted, contrast.mean, contrast.probability):
        if door in VIT and score is contrast.original and target == 1:
            continue
        torch.testing.assert_close(DOORS[door](classifier, x, target, score), DOORS[door](both, x, target, score))


@pytest.mark.parametrize("score", [contrast.weighted, contrast.max, contrast.mean, contrast.tempered(3)])
@pytest.mark.parametrize("door", ["grad_cam", "grad_cam.class_maps", "gradient", "full_grad", "full_grad.class_maps"])
def test_of_one_logit_no_speaks_against_yes(door, score):
    classifier, x = yes_or_no(door)
    logit = DOORS[door](classifier, x, 0, contrast.original)
    torch.testing.assert_close(DOORS[door](classifier, x, 0, score), logit)
    torch.testing.assert_close(DOORS[door](classifier, x, 1, score), -logit)
    assert logit.any()
    assert not DOORS[door](classifier, x, 1, contrast.original).any()
    p = contrast.probability(classifier(x), 0).detach()
    torch.testing.assert_close(DOORS[door](classifier, x, 0, contrast.probability),
                               (p * (1 - p))[:, None, None, None] * logit)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_logit_has_two_classes(sign):
    classifier, x = yes_or_no()
    with torch.no_grad():
        classifier.model.head.bias.fill_(sign * 3)
    y = classifier.model(x)[:, 0]
    torch.testing.assert_close(classifier(x), torch.stack([y, 0 * y], 1))
    assert (classifier.num_classes, classifier.class_names) == (2, ("bird", "not bird"))
    assert (classifier.index("bird"), classifier.index("not bird"), classifier.class_name(1)) == (0, 1, "not bird")
    for p, told in zip(y.sigmoid().tolist(), classifier.top(x, 2), strict=True):
        assert {i: (name, pytest.approx(q)) for i, name, q in told} == {0: ("bird", p), 1: ("not bird", 1 - p)}
    report = Classifier(classifier.model, class_names=["bird"], input_size=8).layers()
    assert report.recommended == "last"
    assert report["last"].zero_gradient < 1
    explorer = explorables.contrasts(classifier, x[0])
    assert explorer.names == ["bird", "not bird"]
    assert explorer.weights().sum() == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_one_logit_of_patch_tokens_has_class_maps_at_each_layer(sign):
    classifier, x = yes_or_no("attention_rollout")
    with torch.no_grad():
        classifier.model.head.bias.fill_(sign * 30)
    found = grad_cam.class_maps(classifier, x, layer="blocks.0")
    torch.testing.assert_close(found.combine(contrast.weighted, 0),
                               grad_cam(classifier, x, 0, layer="blocks.0", upsample=False))


@pytest.mark.parametrize("names", [None, ["bird", "no"], ["a", "b", "c"]])
def test_one_logit_needs_the_name_of_what_it_says_yes_to(names):
    classifier = Classifier(tiny(classes=1).model, class_names=names, input_size=8)
    with pytest.raises(ValueError, match=r"returned one logit, .* (no|2|3) class names are given: .* class_names=,"):
        classifier(images())
    with pytest.raises(ValueError, match="returned 6 logits for 1 class names"):
        Classifier(tiny().model, class_names=["bird"], input_size=8)(images())
