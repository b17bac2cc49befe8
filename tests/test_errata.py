"""The page of errata: what it says was measured is measured here, and compared with the page.

Numbers in bold on the page are results of these tests. Where a network is needed it is EfficientNet-Lite0 with its
ImageNet weights on the embedded photographs; its most probable class is explained.
"""

import ast
import copy
import dataclasses
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import torchvision
from networks import torchvision_network
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from contrastlib import contrast, models, published, relevance
from contrastlib.attribution import grad_cam
from contrastlib.data import photographs
from contrastlib.perturbation import gradient_sign

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "errata.md").read_text(encoding="utf-8")
APPROX = pytest.approx


@cache
def sections() -> dict[int, str]:
    """Text of each confirmed erratum by its number."""
    parts = re.split(r"^### (\d+)\. ", PAGE.split("## Found by reading")[0], flags=re.MULTILINE)[1:]
    return {int(number): text for number, text in zip(parts[::2], parts[1::2], strict=True)}


def row(number: int) -> str:
    """The row of an erratum that was found by reading."""
    return re.search(rf"^\| {number} \|.*$", PAGE, flags=re.MULTILINE).group()


def stated(number: int) -> list[float]:
    """The measured (bold) numbers that the page gives for an erratum, in their order."""
    return [float(n.replace("−", "-")) for n in re.findall(r"\*\*([−-]?[\d.]+)\*\*", sections()[number])]


def test_numbers_run_on_from_confirmed_to_read():
    read = [int(n) for n in re.findall(r"^\| (\d+) \|", PAGE.split("## Found by reading")[1], flags=re.MULTILINE)]
    numbers = [*sections(), *read]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("number", sections())
def test_a_confirmed_erratum_says_what_is_right_and_names_a_test_that_exists(number):
    text = sections()[number]
    for part in ("*Published.*", "*Right.*", "*Effect.*", "*Shown by*"):
        assert part in text, f"erratum {number} lacks {part}"
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", text)
    assert named, f"erratum {number} names no test"
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{file}::{test}"


@pytest.mark.parametrize("number", sections())
def test_a_measured_number_is_compared_by_a_test(number):
    """A section with bold numbers names a test of this file, which reads them with stated()."""
    if not stated(number):
        return
    functions = {n.name: ast.unparse(n) for n in ast.parse(Path(__file__).read_text(encoding="utf-8")).body
                 if isinstance(n, ast.FunctionDef)}
    named = re.findall(r"`tests/test_errata\.py::(\w+)`", sections()[number])
    assert any(f"stated({number})" in functions[name] for name in named)


def functions_of_published() -> dict[str, object]:
    return {name: value for name, value in vars(published).items()
            if inspect.isfunction(value) and value.__module__ == published.__name__ and not name.startswith("_")}


@pytest.mark.parametrize("name", functions_of_published())
def test_a_published_function_and_its_erratum_name_each_other(name):
    number = int(re.search(r"^ *Erratum (\d+)[;:]", inspect.getdoc(functions_of_published()[name]) + "\n",
                           flags=re.MULTILINE).group(1))
    assert f"`published.{name}`" in (sections().get(number) or row(number))


# --- the network -----------------------------------------------------------------------------------------------------


class Seen:
    """The embedded photographs as the network sees them."""

    def __init__(self) -> None:
        self.names = photographs.names()
        self.network = models.load("tf_efficientnet_lite0")
        self.images = self.network.prepare([photographs.load(name).image for name in self.names])
        with torch.no_grad():
            self.logits = self.network(self.images)
        self.target, self.second = self.logits.topk(2).indices.unbind(1)
        self.close = self.logits.softmax(-1).gather(-1, self.second[:, None])[:, 0] > 0.1

    def maps(self, score=contrast.original, **options) -> Tensor:
        return grad_cam(self.network, self.images, self.target, score, **options)

    def relative_probability(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.network(images)
        return contrast.foil(self.second[:, None])(logits, self.target).sigmoid()

    def one(self, name: str) -> int:
        return self.names.index(name)


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


def ends(values: Tensor) -> list[float]:
    return [values.min().item(), values.max().item()]


def near(values: list[float], within: float) -> list:
    return [APPROX(v, abs=within) for v in values]


# --- erratum 1: softmax in float32 -----------------------------------------------------------------------------------


def logits_with_log_odds(log_odds: float, n: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2.5 * torch.randn(n, 1000, generator=generator, dtype=torch.float64)
    target = torch.zeros(n, dtype=torch.int64)
    logits[:, 0] += log_odds - contrast.weighted(logits, target)
    return logits, target


def lost_share_of_the_target(log_odds: float) -> float:
    """Median relative error, in per cent, of the target's weight in float32, for log-odds within 1/2 of these."""
    logits, target = logits_with_log_odds(log_odds)
    logits[:, 0] += torch.linspace(-0.5, 0.5, len(logits), dtype=torch.float64)  # one value may round well by chance
    exact = contrast.weights(contrast.probability, logits, target)[:, 0]
    single = contrast.weights(contrast.probability, logits.float(), target)[:, 0].double()
    return 100 * ((single - exact).abs() / exact).median().item()


def test_float32_probability_loses_the_target():
    found = [lost_share_of_the_target(log_odds) for log_odds in (8, 10, 12, 14, 17)]
    assert all(1 / 3 < value / v < 3 for value, v in zip(stated(1)[:4], found))  # processors round differently
    assert stated(1)[4] == found[4] == 100
    logits, target = logits_with_log_odds(17)
    assert (contrast.weights(contrast.probability, logits.float(), target)[:, 1:] < 0).any(-1).all()  # the others stay
    right, single = (contrast.weights(contrast.weighted, y, target).double() for y in (logits, logits.float()))
    torch.testing.assert_close(single, right, rtol=1e-4, atol=1e-6)


def test_float32_probability_turns_a_map(seen):
    i = seen.one("astronaut")
    image, target = seen.images[i:i + 1], seen.target[i:i + 1]
    moved = gradient_sign(seen.network, image, target, contrast.weighted, epsilon=0.03, steps=10)
    reached = contrast.weighted(seen.network(moved).double(), target).item()
    single, right, against = (grad_cam(seen.network, moved, target, score, upsample=False)
                              for score in (contrast.probability, contrast.weighted, minus_the_others))
    positive = [100 * relevance.positive_share(maps).item() for maps in (right, single)]
    # The way there depends on the processor's rounding, so that the log-odds reached may differ; what happens does not.
    assert stated(1)[5:9] == [*near([reached], 3), *near(positive, 15),
                             *near([relevance.correlation(single, against).item()], 0.01)]
    assert relevance.correlation(single, right).item() < 0


def test_float32_is_enough_at_the_papers_strength(seen):
    moved = gradient_sign(seen.network, seen.images, seen.target, contrast.weighted, epsilon=0.003, steps=2)
    with torch.no_grad():
        reached = contrast.weighted(seen.network(moved).double(), seen.target).max().item()
    single, right = (grad_cam(seen.network, moved, seen.target, score, upsample=False)
                     for score in (contrast.probability, contrast.weighted))
    assert stated(1)[9:] == [*near([reached], 0.5), *near([relevance.correlation(single, right).min().item()], 1e-3)]


def minus_the_others(logits: Tensor, target: Tensor) -> Tensor:
    """The part of the weighted contrast that speaks against the target."""
    return contrast.weighted(logits, target) - contrast.original(logits, target)


# --- erratum 2: which tensor is hooked -------------------------------------------------------------------------------


def test_vgg_bn_layer_40_is_before_batchnorm():
    features = torchvision.models.vgg16_bn(weights=None, num_classes=2, init_weights=False).features
    assert published.LAYERS["vgg16_bn"] == "features.40"
    assert [type(features[i]) for i in (40, 41, 42, 43)] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert not [m for m in features[41:] if isinstance(m, nn.Conv2d)]


def test_alexnet_layer_10_is_overwritten():
    network = torchvision_network("alexnet")
    layer, behind = network.features[10], network.features[11]
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(behind, nn.ReLU)
    assert behind.inplace
    kept = {}
    handle = layer.register_forward_hook(lambda _m, _i, output: kept.update(tensor=output, before=output.clone()))
    network(torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)))
    handle.remove()
    assert (kept["before"] < 0).any()
    assert torch.equal(kept["tensor"], kept["before"].relu())
    assert "Relu" in type(kept["tensor"].grad_fn).__name__


def test_reading_before_batchnorm_changes_the_map(seen):
    outputs = {}
    for name in ("conv_head", "bn2"):
        handle = seen.network.layer(name).register_forward_hook(
            lambda _m, _i, output, name=name: outputs.update({name: output.clone()}))
        with torch.no_grad():
            seen.network(seen.images)
        handle.remove()
    negative = [100 * (outputs[name] < 0).double().mean().item() for name in ("conv_head", "bn2")]
    agreement = []
    for score in (contrast.original, contrast.weighted):
        early, late = (seen.maps(score, layer=name, upsample=False) for name in ("conv_head", "bn2"))
        agreement += ends(relevance.correlation(early, late))
    assert stated(2)[:6] == near(negative, 1) + near(agreement, 0.02)


# --- errata 3 to 6: contrasts ----------------------------------------------------------------------------------------


def test_effect_of_the_missing_factor(seen):
    agreement = []
    for layer in ("bn2", "blocks.5"):
        wrong, right = (seen.maps(score, layer=layer, upsample=False)
                        for score in (published.mean_without_factor, contrast.mean))
        agreement += ends(relevance.correlation(wrong, right))
    assert stated(3) == near(agreement, 0.02)


def test_effect_of_dividing_by_all_classes(seen):
    wrong, right = (seen.maps(score, upsample=False) for score in (published.mean_over_all_classes, contrast.mean))
    assert relevance.relative_error(wrong, right).max().item() < 5e-5
    assert relevance.correlation(wrong, right).min().item() > 1 - 1e-9


def rise(seen: Seen, score) -> float:
    """How much one gradient-sign step of 0.003 raises the target's logit, on average."""
    moved = gradient_sign(seen.network, seen.images, seen.target, score, epsilon=0.003, steps=1)
    with torch.no_grad():
        gain = seen.network(moved) - seen.logits
    return gain.gather(-1, seen.target[:, None]).mean().item()


def test_effect_of_the_wrong_sign(seen):
    assert stated(5) == near([rise(seen, contrast.mean), rise(seen, published.mean_with_wrong_sign)], 0.1)


def test_effect_of_attached_weights(seen):
    wrong, right = (seen.maps(score, upsample=False)
                    for score in (published.weighted_with_attached_weights, contrast.weighted))
    gains = [rise(seen, score) for score in (contrast.weighted, published.weighted_with_attached_weights)]
    assert stated(6) == near(ends(relevance.correlation(wrong, right)), 0.03) + near(gains, 0.1)


# --- errata 7 to 9: blurring -----------------------------------------------------------------------------------------


def corrected(maps: list[Tensor]) -> list[Tensor]:
    """Keep the positive pixels by replacing negative ones, equally many for both methods."""
    count = torch.minimum(*((m < 0).flatten(1).sum(-1) for m in maps))
    ranks = [m.flatten(1).argsort(dim=-1, stable=True).argsort(dim=-1, stable=True) for m in maps]
    return [(r < count[:, None]).view(m.shape) for r, m in zip(ranks, maps, strict=True)]


def as_coded(maps: list[Tensor]) -> list[Tensor]:
    count = published.count_to_replace(*maps, "positive")
    return [published.replaced(m, count, "positive") for m in maps]


def blurred(images: Tensor, where: Tensor, sigma: float = 15.0) -> Tensor:
    return torch.where(where, gaussian_blur(images, [101, 101], [sigma, sigma]), images)


def test_effect_of_counting_the_wrong_sign(seen):
    maps = [seen.maps(contrast.original), seen.maps(contrast.weighted)]
    masks = [as_coded(maps), corrected(maps)]
    shares = [100 * v for pair in masks for v in ends(pair[0].double().mean((1, 2, 3)))]
    pictures = [seen.images, *(blurred(seen.images, mask) for pair in masks for mask in pair)]
    scores = [seen.relative_probability(images)[seen.close].mean().item() for images in pictures]
    assert stated(7)[:10] == [*near(shares, 1), seen.close.sum().item(), *near(scores, 0.02)]


def test_effect_of_the_random_blur(seen):
    where = as_coded([seen.maps(contrast.original), seen.maps(contrast.weighted)])[1]
    cat = [seen.relative_probability(blurred(seen.images, where, sigma))[seen.one("chelsea")].item()
           for sigma in (10.0, 15.0, 20.0)]
    assert stated(9) == near(cat, 0.02)


def test_effect_of_batch_means():
    """The spread over random orders of an accuracy of 71.6 %, as a standard deviation."""
    n, size, accuracy = 50_000, 64, 0.716
    batches = -(-n // size)
    weight = torch.tensor([1 / (batches * size)] * (n - n % size) + [1 / (batches * (n % size))] * (n % size),
                          dtype=torch.float64)
    assert weight.sum().item() == APPROX(1)
    spread = (accuracy * (1 - accuracy) * (weight - 1 / n).square().sum()).sqrt().item()
    assert stated(11) == [APPROX(spread, abs=5e-6)]
    # The same by trying it.
    generator = torch.Generator().manual_seed(0)
    correct = (torch.arange(n) < accuracy * n).double()
    tried = torch.stack([published.mean_of_batch_means(correct[torch.randperm(n, generator=generator)], size)
                         for _ in range(100)])
    assert tried.std().item() == APPROX(spread, rel=0.25)


def test_effect_of_aligned_corners(seen):
    agreement, turned = [], []
    for layer in ("bn2", "blocks.5"):
        maps = seen.maps(contrast.weighted, layer=layer, upsample=False)
        right, wrong = (up(maps, (224, 224)) for up in (relevance.upsample, published.upsample))
        agreement.append(relevance.correlation(wrong, right).median().item())
        turned.append(100 * ((right > 0) != (wrong > 0)).double().mean((-2, -1)).max().item())
    assert stated(12) == near(agreement, 0.01) + near(turned, 1)


def test_learning_rate_schedule_never_acts():
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=[200], gamma=0.5)
    rates = []
    for _ in range(200):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert stated(14) == [sum(rate != 1e-3 for rate in rates)]


NETWORKS = {  # the nine of the review, in the order of its figure
    "vgg16": "VGG16", "alexnet": "AlexNet", "resnet18": "ResNet18", "densenet161": "DenseNet161",
    "googlenet": "GoogLeNet", "mobilenet_v3_large": "MobileNet_V3_Large", "mobilenet_v3_small": "MobileNet_V3_Small",
    "mnasnet1_0": "MNASNet1_0", "efficientnet_b1": "EfficientNet_B1",
}


def test_preprocessing_that_the_default_weights_want():
    wanted, versions = {}, {}
    for name, prefix in NETWORKS.items():
        weights = getattr(torchvision.models, f"{prefix}_Weights").DEFAULT
        preset = weights.transforms()
        wanted[name], versions[name] = (preset.resize_size[0], preset.crop_size[0]), weights.name
    other = {name: sizes for name, sizes in wanted.items() if sizes != (256, 224)}
    assert other == {"mobilenet_v3_large": (232, 224), "efficientnet_b1": (255, 240)}
    assert {name for name, version in versions.items() if version.endswith("V2")} == set(other)
    assert stated(15) == [APPROX(100 * crop / resize, abs=0.05) for resize, crop in ((256, 224), *other.values())]


def without_row(head: nn.Linear, row: int) -> nn.Linear:
    """The same layer with one class's row subtracted from all: other logits, the same probabilities."""
    other = nn.Linear(head.in_features, head.out_features)
    other.load_state_dict({name: value - value[row] for name, value in head.state_dict().items()})
    return other.eval()


def test_class_maps_cancel_in_the_mean(seen):
    original, mean = (seen.maps(score, upsample=False) for score in (contrast.original, contrast.mean))
    away = relevance.relative_error(mean, original).max().item()
    i, egyptian = seen.one("chelsea"), seen.network.index("Egyptian cat")
    image, target = seen.images[i:i + 1], seen.target[i:i + 1]
    shifted = models.Classifier(copy.deepcopy(seen.network.model), mean=0.5, std=0.5, layer="bn2")
    shifted.model.classifier = without_row(shifted.model.classifier, egyptian)
    with torch.no_grad():
        torch.testing.assert_close(shifted(image).softmax(-1), seen.logits[i:i + 1].softmax(-1), rtol=1e-4, atol=1e-6)
    before, after = ({score: grad_cam(network, image, target, score, layer="bn2", upsample=False)
                      for score in (contrast.original, contrast.mean, contrast.weighted)}
                     for network in (seen.network, shifted))
    for score in (contrast.mean, contrast.weighted):
        assert relevance.relative_error(after[score], before[score]).item() < 1e-3
    agreement = [relevance.correlation(after[contrast.original], other).item()
                 for other in (before[contrast.original], after[contrast.mean])]
    assert stated(16) == near([100 * away], 0.2) + near(agreement, 0.02)
    pair = grad_cam(seen.network, image, target, contrast.foil(egyptian), layer="bn2", upsample=False)
    assert relevance.relative_error(after[contrast.original], pair).item() < 1e-4


def test_rectified_maps_do_not_add_up(seen):
    i = seen.one("chelsea")
    top, at = seen.logits[i].topk(10).indices, {"layer": "blocks.5"}
    found = grad_cam.class_maps(seen.network, seen.images[i:i + 1], top, **at)
    score = contrast.foil(top[1:])
    direct = grad_cam(seen.network, seen.images[i:i + 1], top[:1], score, upsample=False, **at)
    assert relevance.relative_error(found.combine(score, top[:1]), direct).item() < 1e-4
    rectified = dataclasses.replace(found, maps=found.maps.relu()).combine(score, top[:1])
    assert stated(17) == near([relevance.correlation(rectified, direct).item()], 0.02)
