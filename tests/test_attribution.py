"""Attributions against their formulas, written again with plain loops, and against how a model must be left."""

import concurrent.futures
import functools

import pytest
import torch
from networks import images, seeded, tiny, torchvision_network, without_inplace
from torch import nn
from transformer_networks import transformer

from contrastlib import contrast, relevance
from contrastlib.attribution import (
    METHODS,
    at_input,
    at_layer,
    attention_rollout,
    full_grad,
    grad_cam,
    gradient,
    gradient_x_input,
    hirescam,
    linear_approximation,
    xgrad_cam,
)
from contrastlib.models import Classifier

CONTRASTS = {
    "original": contrast.original,
    "mean": contrast.mean,
    "max": contrast.max,
    "weighted": contrast.weighted,
    "probability": contrast.probability,
    "foil": contrast.foil([0, 4]),
    "tempered": contrast.tempered(3.0),
    "finer": contrast.finer(),
}
TARGET = torch.tensor([5, 1, 2])


def by_hand(name, x, score_of, target):
    """The map of one image, pixel by pixel, from the network written out in steps."""
    network = tiny().model
    x = x.clone().requires_grad_()
    a = torch.relu(network.second(torch.relu(network.norm(network.first(x)))))
    logits = network.head(a.flatten(1))
    score = score_of(logits, target).sum()
    gx, ga = torch.autograd.grad(score, (x, a))
    if name == "gradient":
        return gx[0].sum(0)
    if name == "gradient_x_input":
        return (gx * x)[0].sum(0)
    return combined_by_hand(name, a[0], ga[0]).detach()


def combined_by_hand(name, a, g):
    """A layer's rule, channel by channel: activation and gradient (K, h, w)."""
    channels, h, w = a.shape
    result = torch.zeros(h, w, dtype=a.dtype)
    for k in range(channels):
        ak, gk = a[k], g[k]
        if name == "linear_approximation":
            result += ak * gk
        elif name == "grad_cam":
            result += sum(gk[i, j] for i in range(h) for j in range(w)) / (h * w) * ak
        elif ak.abs().sum() > 0:
            result += sum(gk[i, j] * ak[i, j] for i in range(h) for j in range(w)) / ak.abs().sum() * ak
    return result


@pytest.mark.parametrize("how", CONTRASTS)
@pytest.mark.parametrize("name", METHODS)
def test_map_is_the_formula(name, how):
    x = images()
    maps = METHODS[name](tiny(), x, TARGET, CONTRASTS[how], upsample=False)
    for i in range(3):
        expected = by_hand(name, x[i : i + 1], CONTRASTS[how], TARGET[i : i + 1])
        torch.testing.assert_close(maps[i, 0], expected)


@pytest.mark.parametrize("name", ["linear_approximation", "grad_cam", "xgrad_cam"])
def test_rules_on_a_map_that_is_not_square_with_both_signs(name):
    """2 x 5 places, and channels of which one is small and one zero everywhere."""
    a, g = torch.randn(2, 2, 4, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a = a * torch.tensor([1, 30, 1e-3, 0], dtype=torch.float64).view(4, 1, 1)
    maps = METHODS[name].combine(a, g)
    torch.testing.assert_close(maps, torch.stack([combined_by_hand(name, *one)[None] for one in zip(a, g)]))
    small = METHODS[name].combine(1e-3 * a, g)  # no norm of a channel reaches 1
    torch.testing.assert_close(small, 1e-3 * maps)


def test_maps_have_the_size_of_the_image_and_the_precision_of_the_network():
    for method in METHODS.values():
        assert method(tiny(), images(), TARGET).shape == (3, 1, 8, 8)
        assert method(tiny(), images(), TARGET).dtype == torch.float64
        assert not method(tiny(), images(), TARGET).requires_grad
    small = grad_cam(tiny(), images(), TARGET, upsample=False)
    torch.testing.assert_close(grad_cam(tiny(), images(), TARGET), relevance.upsample(small, (8, 8)))


def test_targets_as_number_list_and_tensor():
    expected = grad_cam(tiny(), images(), TARGET)
    torch.testing.assert_close(grad_cam(tiny(), images(), TARGET.tolist()), expected)
    torch.testing.assert_close(grad_cam(tiny(), images(), TARGET.int()), expected)
    torch.testing.assert_close(grad_cam(tiny(), images(), 5)[0], expected[0])


def test_each_image_is_explained_by_itself():
    together = hirescam(tiny(), images(), TARGET, contrast.weighted)
    alone = [hirescam(tiny(), images()[i : i + 1], TARGET[i : i + 1], contrast.weighted) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_layer_by_name_and_by_module():
    classifier = tiny()
    by_name = grad_cam(classifier, images(), TARGET, layer="norm")
    assert torch.equal(grad_cam(classifier, images(), TARGET, layer=classifier.model.norm), by_name)
    assert not torch.allclose(by_name, grad_cam(classifier, images(), TARGET))


def test_an_attribution_of_ones_own():
    @at_layer
    def positive_activation(activation, gradient):
        """Only where the layer is active."""
        return (gradient * (activation > 0)).sum(1, keepdim=True)

    x = images()
    direct = positive_activation(tiny(), x, TARGET, contrast.weighted, upsample=False)
    torch.testing.assert_close(positive_activation.class_maps(tiny(), x).combine(contrast.weighted, TARGET), direct)
    assert positive_activation.name == "positive_activation"
    assert positive_activation.__doc__ == "Only where the layer is active."
    own_gradient = at_input(METHODS["gradient"].combine)
    assert repr(own_gradient) == "<attribution gradient, reads the input>"
    assert torch.equal(own_gradient(tiny(), x, TARGET), gradient(tiny(), x, TARGET))
    assert at_layer(functools.partial(grad_cam.combine)).name == "attribution"


@pytest.mark.parametrize("method", [grad_cam, hirescam, xgrad_cam])
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("alexnet", "features.10"),
        ("vgg11", "features.18"),
        ("vgg11_bn", "features.26"),
        ("resnet18", "layer4.1.bn1"),
        ("densenet121", "features.denseblock4.denselayer16.norm2"),
    ],
)
def test_in_place_activations_do_not_corrupt_the_map(method, name, layer):
    network = torchvision_network(name)
    followers = [m for m in network.modules() if getattr(m, "inplace", False)]
    assert followers, "this network must have in-place activations for the test to mean anything"
    x = images(2, 64, torch.float32)
    target = torch.tensor([3, 7])
    maps = method(Classifier(network, input_size=64), x, target, contrast.weighted, layer=layer)
    clean = method(Classifier(without_inplace(network), input_size=64), x, target, contrast.weighted, layer=layer)
    torch.testing.assert_close(maps, clean)
    assert maps.abs().max() > 0


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_dominating_class_in_float32(method):
    """A gap of 40 between the logits: the map of the log-odds agrees with float64, that of the softmax does not."""
    def confident(dtype):
        classifier = tiny(dtype)
        with torch.no_grad():
            classifier.model.head.bias.copy_(torch.tensor([40.0, 0, 0, 0, 0, 0]))
        return classifier

    x, target = images(), torch.zeros(3, dtype=torch.int64)
    exact = method(confident(torch.float64), x, target, contrast.weighted)
    single = method(confident(torch.float32), x.float(), target, contrast.weighted)
    assert relevance.relative_error(single, exact).max() < 1e-5
    softmax = method(confident(torch.float32), x.float(), target, contrast.probability)
    assert relevance.correlation(softmax, exact).min() < 0.9


def state_of(network):
    return {
        "modes": [m.training for m in network.modules()],
        "gradients": [p.grad is None for p in network.parameters()],
        "frozen": [p.requires_grad for p in network.parameters()],
        "hooks": [(*m._forward_hooks, *m._forward_pre_hooks, *m._backward_hooks) for m in network.modules()],
        "values": [t.clone() for t in network.state_dict().values()],
    }


def assert_as_found(network, before):
    after = state_of(network)
    values = zip(before.pop("values"), after.pop("values"), strict=True)
    assert before == after
    assert all(torch.equal(a, b) for a, b in values)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_model_is_left_as_found(method):
    classifier = tiny()
    before = state_of(classifier.model)
    mode = torch.is_grad_enabled()
    method(classifier, images(), TARGET, contrast.weighted)
    method.class_maps(classifier, images())
    assert torch.is_grad_enabled() == mode
    assert_as_found(classifier.model, before)


@pytest.mark.parametrize("method", [grad_cam, gradient])
def test_the_model_is_left_as_found_after_an_exception(method):
    def broken(_logits, _target):
        raise ArithmeticError("a contrast that fails")

    classifier = tiny()
    before = state_of(classifier.model)
    with torch.no_grad():
        with pytest.raises(ArithmeticError):
            method(classifier, images(), TARGET, broken)
        with pytest.raises(ValueError, match=r"\[0, 6\)"):
            method(classifier, images(), 6)
        assert not torch.is_grad_enabled()
    assert_as_found(classifier.model, before)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_under_no_grad_and_inference_mode(method, around):
    classifier = tiny()
    expected = method(classifier, images(), TARGET, contrast.weighted, upsample=False)
    with around():  # the images are made inside, as a user's loader would
        assert torch.equal(method(classifier, images(), TARGET, contrast.weighted, upsample=False), expected)
        everything = method.class_maps(classifier, images()).combine(contrast.weighted, TARGET)
    torch.testing.assert_close(everything, expected)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_frozen_parameters(method):
    classifier = tiny()
    expected = method(classifier, images(), TARGET, contrast.weighted)
    classifier.model.requires_grad_(False)
    assert torch.equal(method(classifier, images(), TARGET, contrast.weighted), expected)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_under_bf16_autocast(method):
    x = images(dtype=torch.float32)
    expected = method(tiny(torch.float32), x, TARGET, contrast.weighted)
    with torch.autocast("cpu", torch.bfloat16):
        maps = method(tiny(torch.float32), x, TARGET, contrast.weighted)
        everything = method.class_maps(tiny(torch.float32), x)
    assert maps.dtype == everything.maps.dtype == torch.float32
    assert relevance.correlation(maps, expected).min() > 0.99
    combined = relevance.upsample(everything.combine(contrast.weighted, TARGET), (8, 8))
    assert relevance.correlation(combined, expected).min() > 0.99


class Reused(nn.Module):
    """Runs one convolution twice, has one it never runs, one whose output is detached, and a layer that is no map."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 1)
        self.never = nn.Conv2d(3, 3, 1)
        self.detached = nn.Conv2d(3, 3, 1)
        self.flat = nn.Linear(3, 4)

    def forward(self, x):
        x = self.twice(self.twice(x)) + 0 * self.detached(x).detach()
        return self.flat(x.flatten(2).mean(-1))


@pytest.mark.parametrize(
    ("layer", "error", "says"),
    [
        ("twice", ValueError, "more than once"),
        ("never", ValueError, "did not run"),
        ("detached", RuntimeError, "do not depend on layer 'detached' through anything differentiable"),
        ("flat", ValueError, r"layer 'flat': .* is no map"),
    ],
)
def test_layers_that_cannot_be_read(layer, error, says):
    classifier = Classifier(seeded(Reused), input_size=8)
    before = state_of(classifier.model)
    with pytest.raises(error, match=says):
        grad_cam(classifier, images(dtype=torch.float32), 0, layer=layer)
    assert_as_found(classifier.model, before)


@pytest.mark.parametrize(("giving", "says"), [
    (lambda x: (x, x), "gives a tuple, not a map"), (lambda x: {"map": x}, "gives a dict, not a map"),
    (lambda _: (), "gives a tuple"),
    (lambda x: x.long(), r"gives torch\.int64 values, a map needs floating point"),
    (lambda x: x.flatten(0, 1)[:, None], r"an output of shape \(9, 1, 8, 8\) has another batch than the 3 images"),
    (lambda x: x.sum(), r"shape \(\) is no map")])
def test_an_output_that_is_no_map_is_said_to_be_none(giving, says):
    class Giving(nn.Module):
        def forward(self, x):
            return giving(x)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.giving = nn.Conv2d(3, 3, 1), Giving()

        def forward(self, x):
            x = self.conv(x)
            self.giving(x)
            return x.mean((2, 3))

    classifier = Classifier(seeded(Network), input_size=8)
    with pytest.raises(ValueError, match=f"layer 'giving'.*{says}"):
        grad_cam(classifier, images(dtype=torch.float32), 0, layer="giving")


class WithoutGradient(nn.Module):
    """A network whose forward forbids gradients."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    @torch.no_grad()
    def forward(self, x):
        return self.conv(x).mean((2, 3)).detach()


@pytest.mark.parametrize(("method", "options", "read"), [
    (grad_cam, {"layer": "conv"}, "layer 'conv'"), (gradient, {}, "the images")])
def test_a_network_that_forbids_gradients(method, options, read):
    classifier = Classifier(seeded(WithoutGradient), input_size=8)
    with pytest.raises(RuntimeError, match=f"do not depend on {read} through"):
        method(classifier, images(dtype=torch.float32), 0, **options)


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        ([0, 1], ValueError, r"one class or one per image, shape \(3,\)"),
        ([0], ValueError, r"one per image, shape \(3,\)"),
        (0.0, TypeError, "integers"),
        (None, TypeError, "got None"),
        (torch.tensor([True, False, True]), TypeError, "integers"),
        (torch.tensor([0.0, 1.0, 2.0]), TypeError, "integers"),
        (17, ValueError, r"\[0, 6\)"),
        (-1, ValueError, r"\[0, 6\)"),
    ],
)
def test_targets_that_do_not_fit(target, error, says):
    with pytest.raises(error, match=says):
        grad_cam(tiny(), images(), target)


@pytest.mark.parametrize(
    ("x", "error", "says"),
    [
        (torch.rand(3, 8, 8).double(), ValueError, r"images\[None\]"),
        (images().numpy(), TypeError, "prepare"),
        (images() + 1, ValueError, r"\[0, 1\]"),
        (images() * torch.nan, ValueError, "NaN"),
    ],
)
@pytest.mark.parametrize("method", [grad_cam, gradient_x_input])
def test_images_that_do_not_fit(method, x, error, says):
    with pytest.raises(error, match=says):
        method(tiny(), x, 0)


def unfused():
    """A transformer told to write its attention out, with parameters that are trained, as a user's may be."""
    classifier = transformer()
    for block in classifier.model.blocks:
        block.attn.fused_attn = False
    return classifier


@pytest.mark.parametrize(("method", "build", "size"), [
    (grad_cam, tiny, 8), (gradient_x_input, tiny, 8), (full_grad, tiny, 8), (full_grad, transformer, 16),
    (attention_rollout, unfused, 16)], ids=lambda value: getattr(value, "name", getattr(value, "__name__", value)))
@pytest.mark.filterwarnings("ignore::contrastlib.attribution.IncompleteWarning")
def test_threads_that_share_a_network_do_not_disturb_each_other(method, build, size):
    classifier = build()
    others = [classifier, Classifier(classifier.model, input_size=size, mean=0, std=1)]  # two around one network
    pictures = images(8, size).split(1)
    before = state_of(classifier.model)
    expected = [[method(one, x, 1, contrast.weighted) for x in pictures] for one in others]
    logits = [classifier(x).detach() for x in pictures]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            maps = [[pool.submit(method, one, x, 1, contrast.weighted) for x in pictures] for one in others]
            rows = [pool.submit(classifier, x) for x in pictures]
            for of_one, right in zip(maps, expected, strict=True):
                for found, wanted in zip(of_one, right, strict=True):
                    torch.testing.assert_close(found.result(), wanted)
            for found, wanted in zip(rows, logits, strict=True):
                torch.testing.assert_close(found.result().detach(), wanted)
    assert_as_found(classifier.model, before)


def test_an_input_method_takes_no_layer():
    with pytest.raises(ValueError, match=r"takes no layer, got layer='last'$"):
        gradient(tiny(), images(), 0, layer="last")
    with pytest.raises(ValueError, match=r"gradient reads the input and takes no layer, got layer='norm'$"):
        gradient.class_maps(tiny(), images(), [0], layer="norm")


def test_a_model_in_training_mode_is_refused():
    classifier = tiny()
    classifier.model.norm.train()
    with pytest.raises(ValueError, match="training mode"):
        linear_approximation(classifier, images(), 0)
    assert classifier.model.norm.training


def test_targets_made_in_inference_mode():
    classifier = tiny()
    with torch.inference_mode():
        maps = grad_cam(classifier, images(), torch.tensor([0, 1, 2]), contrast.weighted)
    assert torch.equal(maps, grad_cam(classifier, images(), [0, 1, 2], contrast.weighted))


@pytest.mark.parametrize("target", [1, torch.tensor([0, 1, 2])], ids=["one", "each"])
def test_all_of_it_in_inference_mode(target):
    """As in anybody's loop of evaluation: foils, class maps, their sums, and weights."""
    classifier = tiny()
    with torch.inference_mode():
        foil = contrast.foil(torch.tensor([4]))
        every = grad_cam.class_maps(classifier, images())
        found = [grad_cam(classifier, images(), target, foil, upsample=False), every.combine(foil, target),
                 every.combine(contrast.weighted, target if isinstance(target, int) else target + 0)]
    again = grad_cam.class_maps(classifier, images())
    expected = [again.combine(score, target) for score in (contrast.foil(4), contrast.foil(4), contrast.weighted)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
