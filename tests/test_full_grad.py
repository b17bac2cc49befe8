"""Signed FullGrad: its terms against formulas written out, and against the score that they must add up to."""

import contextlib
import gc
import weakref

import pytest
import timm
import torch
import torchvision
from networks import Tiny, images, seeded, tiny, torchvision_network
from torch import nn

from contrastlib import contrast, data, models, relevance
from contrastlib.attribution import FullGradTerms, IncompleteError, IncompleteWarning, full_grad
from contrastlib.models import Classifier

CONTRASTS = ["original", "mean", "max", "weighted", "probability", "foil", "tempered", "finer"]
TARGET = torch.tensor([5, 1, 2])


def by_name(how: str) -> contrast.Contrast:
    return contrast.by_name(how, foils=[0, 4], temperature=3.0)


# --- the terms -------------------------------------------------------------------------------------------------------


def test_terms_are_the_formula():
    classifier, x = tiny(), images()
    network = classifier.model
    image = x.clone().requires_grad_()
    first = network.first(image)
    norm = network.norm(first)
    second = network.second(torch.relu(norm))
    logits = network.head(torch.relu(second).flatten(1))
    score = contrast.weighted(logits, TARGET)
    gx, g1, gn, g2, gy = torch.autograd.grad(score.sum(), (image, first, norm, second, logits))
    bn = network.norm
    shift = bn.bias - bn.weight * bn.running_mean / (bn.running_var + bn.eps).sqrt()

    terms = full_grad.terms(classifier, x, TARGET, contrast.weighted)
    torch.testing.assert_close(terms.score, score.detach())
    torch.testing.assert_close(terms.input, (gx * x).sum(1, keepdim=True))
    assert list(terms.placed) == ["first", "norm", "second"]
    for name, gradient, bias in (("first", g1, network.first.bias), ("norm", gn, shift),
                                 ("second", g2, network.second.bias)):
        expected = sum(gradient[:, k] * bias[k] for k in range(len(bias)))
        torch.testing.assert_close(terms.placed[name][:, 0], expected.detach())
    assert list(terms.unplaced) == ["head", "contrast"]
    torch.testing.assert_close(terms.unplaced["head"], (gy @ network.head.bias).detach())
    enlarged = relevance.upsample(terms.placed["second"], (8, 8)) / 4  # a cell becomes four pixels
    torch.testing.assert_close(terms.map(), terms.input + terms.placed["first"] + terms.placed["norm"] + enlarged)
    torch.testing.assert_close(full_grad(classifier, x, TARGET, contrast.weighted), terms.map())


@pytest.mark.parametrize("how", CONTRASTS)
def test_terms_add_up_to_the_score(how):
    terms = full_grad.terms(tiny(), images(), TARGET, by_name(how))
    terms.check(1e-12)
    torch.testing.assert_close(terms.score, by_name(how)(tiny()(images()), TARGET).detach())
    placeless = torch.stack(list(terms.unplaced.values())).sum(0)
    torch.testing.assert_close(terms.map().sum((1, 2, 3)) + placeless, terms.score)


def test_the_term_of_the_contrast_itself():
    logits = tiny()(images()).detach()
    alpha = logits.masked_fill(torch.arange(6) == TARGET[:, None], -torch.inf).softmax(-1)
    entropy = torch.special.entr(alpha).sum(-1)
    terms = full_grad.terms(tiny(), images(), TARGET, contrast.weighted)
    torch.testing.assert_close(terms.unplaced["contrast"], -entropy)
    for how in ("original", "mean", "max", "finer"):  # linear in the logits
        assert "contrast" not in full_grad.terms(tiny(), images(), TARGET, by_name(how)).unplaced


def lite0():
    return Classifier(seeded(timm.create_model, model_name="tf_efficientnet_lite0", num_classes=10), input_size=64)


def birds():
    return models.load("birds_vgg")


NETWORKS = {name: lambda name=name: Classifier(torchvision_network(name), input_size=64)
            for name in ("vgg16_bn", "resnet18", "densenet121", "mobilenet_v2")} | {"lite0": lite0, "birds": birds}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)], ids=["32", "64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_real_architectures_are_complete(name, dtype, tolerance):
    classifier = NETWORKS[name]().to(dtype)
    x = images(2, 64, dtype)
    if name == "birds":
        drawn = data.load("drawn_birds", count=4)
        x = classifier.prepare([drawn.picture(i) for i in range(4)]).to(dtype)
    target = classifier(x).argmax(-1)
    for score in (contrast.original, contrast.weighted):
        terms = full_grad.terms(classifier, x, target, score)
        assert terms.relative_residual.max() <= tolerance
        assert terms.leaves == ()
        full_grad(classifier, x, target, score)  # and no warning


def test_an_input_that_the_network_shifts_itself():
    options = {"weights": None, "num_classes": 10, "init_weights": False, "aux_logits": False, "transform_input": True}
    classifier = Classifier(seeded(torchvision.models.googlenet, **options).double(), input_size=64)
    terms = full_grad.terms(classifier, images(2, 64), 3)
    assert "add" in terms.placed
    terms.check(1e-12)


# --- networks that are not piecewise linear --------------------------------------------------------------------------


def vit():
    return timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=6)


def test_patch_tokens_are_placed_and_prefix_tokens_are_not():
    classifier = Classifier(seeded(vit).double(), input_size=32)
    terms = full_grad.terms(classifier, images(2, 32), 1)
    assert terms.placed["blocks.0.mlp.fc1"].shape == (2, 1, 4, 4)
    assert {"cls_token", "pos_embed", "blocks.0.mlp.fc1", "head"} <= terms.unplaced.keys()
    assert not terms.placed["cls_token"].any()
    assert "head" not in terms.placed
    many = full_grad.terms(classifier, images(17, 32), 1)  # as many images as tokens
    torch.testing.assert_close(many.map()[:2], full_grad.terms(classifier, images(17, 32)[:2], 1).map())
    assert {name: one.shape[2:] for name, one in many.placed.items()} == {
        name: one.shape[2:] for name, one in terms.placed.items()}


def test_what_leaves_a_residual_is_named():
    classifier = Classifier(seeded(vit), input_size=32)
    x = images(2, 32, torch.float32)
    terms = full_grad.terms(classifier, x, 1)
    assert {"layer_norm in blocks.0.norm1", "scaled_dot_product_attention in blocks.1.attn",
            "gelu in blocks.0.mlp.act"} <= set(terms.leaves)
    torch.testing.assert_close(terms.total + terms.residual, terms.score)
    assert {number.dtype for number in (*terms.unplaced.values(), *terms.by_kind().values())} == {torch.float64}
    with pytest.raises(IncompleteError, match=r"image \d add up to .* residual of .*gelu \(2 x, first in blocks.0.mlp"):
        terms.check()
    with pytest.warns(IncompleteWarning, match="layer_norm"):
        full_grad(classifier, x, 1)
    with pytest.warns(IncompleteWarning, match="layer_norm") as caught:
        full_grad.class_maps(classifier, x)
    assert len(caught) == 1


def test_a_score_next_to_nothing_is_no_reason_to_warn():
    classifier = tiny(torch.float32)
    x = images(dtype=torch.float32)
    logits = classifier(x).detach()

    def nearly_nothing(y, target):
        return contrast.original(y, target) - contrast.original(logits, target) + 1e-9

    terms = full_grad.terms(classifier, x, TARGET, nearly_nothing)
    assert terms.relative_residual.max() > 1e-3
    terms.check()
    full_grad(classifier, x, TARGET, nearly_nothing)
    torch.testing.assert_close(terms.by_kind()["input"], terms.input.double().sum((1, 2, 3)), rtol=1e-12, atol=0)


class Unseen(torch.autograd.Function):
    """Adds a number where no torch function is called."""

    @staticmethod
    def forward(_ctx, x, number):
        return x + number

    @staticmethod
    def backward(_ctx, gradient):
        return gradient, None


@pytest.mark.parametrize(("share", "warns"), [(0.9e-3, False), (1.1e-3, True)])
def test_a_call_warns_from_a_thousandth_of_the_score_on(share, warns):
    classifier, x = tiny(), images(1)
    with torch.no_grad():
        classifier.model.head.bias[5] = 10
    score = classifier(x)[0, 5].item()
    added = score * share / (1 - share)  # of the score it is then this share
    classifier.model.head.register_forward_hook(lambda _m, _i, logits: Unseen.apply(logits, added))
    assert full_grad.terms(classifier, x, 5).relative_residual.item() == pytest.approx(share)
    with pytest.warns(IncompleteWarning) if warns else contextlib.nullcontext():
        full_grad(classifier, x, 5)
    with pytest.warns(IncompleteWarning) if warns else contextlib.nullcontext():
        full_grad.class_maps(classifier, x, [5])


def test_a_warning_points_at_the_line_that_asked():
    classifier, x = Classifier(seeded(vit), input_size=32), images(2, 32, torch.float32)
    for call in (lambda: full_grad(classifier, x, 1), lambda: full_grad.class_maps(classifier, x, [1])):
        with pytest.warns(IncompleteWarning) as caught:
            call()
        here = call.__code__
        assert [(warning.filename, warning.lineno) for warning in caught] == [(here.co_filename, here.co_firstlineno)]


def terms_of(*images: tuple[float, float, float, float]) -> FullGradTerms:
    """For each image a score, and what the input, a bias at a place and one without add to it."""
    score, of_input, placed, unplaced = torch.tensor(images, dtype=torch.float64).unbind(1)
    at = of_input[:, None, None, None], placed[:, None, None, None]
    return FullGradTerms(score, at[0], {"conv": at[1]}, {"head": unplaced}, ("gelu in act",), {})


def test_the_residual_is_measured_by_the_score_or_by_a_hundredth_of_the_terms():
    assert terms_of((2, 3, -2, 1)).residual.tolist() == [0]
    assert terms_of((2, 1, 0.5, 0.25)).residual.tolist() == [0.25]
    assert terms_of((2, 1, 0.5, 0.25), (-2, 0, 0, 0), (0, 1, 0, 0), (0, 1, -1, 0)).relative_residual.tolist() == [
        0.125, 1, torch.inf, 0]
    exact = (1, 2, -2, 1)
    terms_of(exact, (-1, 2, -3, 0.9e-4)).check()  # a share of 0.9e-4 of the score
    says = r"image 1 add up to -0\.99989 and its score is -1: a residual of -0\.00011 is left by gelu in act"
    with pytest.raises(IncompleteError, match=says):
        terms_of(exact, (-1, 2, -3, 1.1e-4)).check()
    # The terms' absolute values add up to 4, and the score is less than 0.04: the residual may be 4e-6.
    terms_of((3e-6, 1, -2, 1), exact).check()
    with pytest.raises(IncompleteError, match="image 0 "):
        terms_of((5e-6, 1, -2, 1), exact).check()
    terms_of((0, 0, 0, 0)).check()


# --- as other attributions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", CONTRASTS)
def test_class_maps_add_up_to_any_contrast(how):
    maps = full_grad.class_maps(tiny(), images())
    torch.testing.assert_close(maps.combine(by_name(how), TARGET), full_grad(tiny(), images(), TARGET, by_name(how)))
    torch.testing.assert_close(maps.logits, tiny()(images()).detach())


def test_class_maps_of_some_classes_at_another_size():
    everything = full_grad.class_maps(tiny(), images()).maps
    own = torch.tensor([[0, 1], [2, 3], [4, 5]])
    some = full_grad.class_maps(tiny(), images(), own, size=(3, 5))
    assert some.maps.shape == (3, 2, 3, 5)
    expected = torch.stack([everything[i, own[i]] for i in range(3)]).sum((2, 3))
    torch.testing.assert_close(some.maps.sum((2, 3)), expected)


def test_probability_is_the_weighted_map_times_a_factor():
    p = tiny()(images()).softmax(-1).gather(-1, TARGET[:, None]).detach()
    weighted = full_grad(tiny(), images(), TARGET, contrast.weighted)
    torch.testing.assert_close(full_grad(tiny(), images(), TARGET, contrast.probability),
                               weighted * (p * (1 - p))[..., None, None])


def test_targets_images_and_options_as_everywhere():
    expected = full_grad(tiny(), images(), TARGET)
    torch.testing.assert_close(full_grad(tiny(), images(), TARGET.tolist(), upsample=False), expected)
    torch.testing.assert_close(full_grad(tiny(), images(), 5)[:1], expected[:1])
    torch.testing.assert_close(full_grad(tiny(), images()[1:2], 1), expected[1:2])
    assert not expected.requires_grad
    assert (full_grad.name, full_grad.reads) == ("full_grad", "input")


def state_of(network: nn.Module) -> list:
    return [[(m.training, *m._forward_hooks, *m._forward_pre_hooks) for m in network.modules()],
            [(p.requires_grad, p.grad) for p in network.parameters()]]


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_the_model_is_left_as_found(around):
    classifier = tiny()
    classifier.model.second.weight.requires_grad_(False)
    before, values = state_of(classifier.model), [t.clone() for t in classifier.model.state_dict().values()]
    expected = full_grad(classifier, images(), TARGET, contrast.weighted)
    with around():
        assert torch.equal(full_grad(classifier, images(), TARGET.tolist(), contrast.weighted), expected)
        maps = full_grad.class_maps(classifier, images(), [0, 1, 2, 3, 4, 5])
        with pytest.raises(ValueError, match=r"\[0, 6\)"):
            full_grad(classifier, images(), 6)
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            full_grad(classifier, images() + 1, 5)
    torch.testing.assert_close(maps.combine(contrast.weighted, TARGET), expected)
    assert state_of(classifier.model) == before
    assert all(torch.equal(a, b) for a, b in zip(values, classifier.model.state_dict().values(), strict=True))


def test_no_graph_survives_a_call():
    graphs = []
    classifier = tiny()
    classifier.model.register_forward_hook(lambda _module, _args, logits: graphs.append(weakref.ref(logits)))
    gc.disable()  # what only a search for cycles would free stays for long
    try:
        full_grad(classifier, images(), TARGET)
        full_grad.class_maps(classifier, images(), [0, 1])
        assert [graph() for graph in graphs] == [None, None]
    finally:
        gc.enable()


def without_biases() -> Classifier:
    return Classifier(seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 6, bias=False))), input_size=8)


def mixed() -> Classifier:
    network = seeded(Tiny)
    network.head.double()
    return Classifier(network, input_size=8)


@pytest.mark.parametrize(
    ("classifier", "options", "says"),
    [
        (tiny, {"layer": "last"}, "takes no layer"),
        (without_biases, {}, "call gradient_x_input"),
        (mixed, {}, r"'first.weight' is torch.float32, 'head.weight' is torch.float64; call .float"),
        (lambda: tiny(torch.bfloat16), {}, r"'first.weight' is torch.bfloat16; call .float"),
    ],
)
def test_what_is_refused(classifier, options, says):
    for call in (lambda: full_grad(classifier(), images(), 0, **options),
                 lambda: full_grad.class_maps(classifier(), images(), [0], **options)):
        with pytest.raises(ValueError, match=says):
            call()


def test_refused_under_autocast():
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match="enabled=False"):
        full_grad(tiny(torch.float32), images(dtype=torch.float32), 0)


def test_classes_that_are_masked_out_leave_the_terms_complete():
    """Logits of minus infinity have no weight; what the score has beyond its gradient counts all the same."""
    classifier, x, target = tiny(), images(), torch.tensor([5, 1, 2])
    with torch.no_grad():
        classifier.model.head.bias[[0, 3]] = -torch.inf
    terms = full_grad.terms(classifier, x, target, contrast.weighted)
    logits = classifier(x).detach()
    alpha = logits.masked_fill(torch.arange(6) == target[:, None], -torch.inf).softmax(-1)
    torch.testing.assert_close(terms.unplaced["contrast"], -torch.special.entr(alpha).sum(-1))
    for name, number in terms.unplaced.items():
        assert number.isfinite().all(), name


def test_a_network_that_forbids_gradients():
    class Forbids(Tiny):
        forward = torch.no_grad()(Tiny.forward)

    with pytest.raises(RuntimeError, match="do not depend"):
        full_grad(Classifier(seeded(Forbids), input_size=8), images(dtype=torch.float32), 0)


def test_terms_by_kind_add_up():
    classifier = models.load("birds_vgg").double()
    x = torch.rand(2, 3, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    terms = full_grad.terms(classifier, x, 2, contrast.weighted)
    kinds = terms.by_kind()
    assert list(kinds) == ["input", "batch norm", "linear", "contrast"]
    torch.testing.assert_close(sum(kinds.values()), terms.total)
    norms = sum(terms.placed[name].flatten(1).sum(1) for name, kind in terms.kinds.items() if kind == "batch norm")
    torch.testing.assert_close(kinds["batch norm"], norms)
