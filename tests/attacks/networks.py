"""The maps of many networks against plain autograd in float64: ``python tests/attacks/networks.py [NAME ...]``.

One small network of each family of timm, with random weights. How a layer lies in the picture is found here without a
look at the library: places of the picture are changed one after another, and a layer's output is read in that way in
which it changes at the same places. The maps are then written out from the gradient of that output. Not part of the
tests, since it takes a quarter of an hour.
"""

import sys
import zlib
from math import isqrt

import torch
from timm.models._registry import _model_to_module  # which file a network comes from
from torch import Tensor, nn

from contrastlib import contrast, models
from contrastlib.attribution import grad_cam, gradient, gradient_x_input, linear_approximation, xgrad_cam

CLASSES, TARGETS, FOIL = 50, torch.tensor([3, 41]), 7
NETWORKS = """beit_base_patch16_224@64 botnet26t_256@128 mobileone_s0@64 cait_xxs24_224@64 coat_lite_tiny@64
convit_tiny@64 convmixer_768_32@64 convnext_atto@64 cpubone_nano@64 crossvit_tiny_240@240 csatv2@64
cs3darknet_focus_s@64 cspnext_tiny@64 davit_tiny@64 deit_tiny_distilled_patch16_224@64 densenet121@64 dla46_c@64
dpn48b@64 edgenext_xx_small@64 efficientformer_l1@224 efficientformerv2_s0@64 efficientnet_b0@64 efficientvim_m1@64
efficientvit_b0@64 efficientvit_m0@128 eva02_tiny_patch14_224@56 fasternet_t0@64 fastvit_t8@64 focalnet_tiny_srf@64
gcvit_xxtiny@64 ghostnet_050@64 hardcorenas_a@64 hgnetv2_b0@64 hiera_tiny_224@64 sam2_hiera_tiny@128 hrnet_w18_small@64
inception_next_atto@64 inception_v3@96 levit_128s@224 lowformer_b0@64 mambaout_femto@64 coatnet_pico_rw_224@64
maxvit_pico_rw_256@64 caformer_s18@64 gmlp_ti16_224@64 resmlp_12_224@64 mobilenetv4_conv_small_050@64 mobilevit_xxs@64
mobilevitv2_050@64 mvitv2_tiny@64 naflexvit_base_patch16_gap@64 nest_tiny@64 nextvit_small@64 nf_regnet_b0@64
pit_ti_224@64 pvt_v2_b0@64 rdnet_tiny@64 regnetx_002@64 repghostnet_050@64 repvit_m1@64 res2net50_48w_2s@64
resnest14d@64 resnet10t@64 resnetv2_18@64 rexnet_100@64 selecsls42@64 legacy_seresnet18@64 sequencer2d_s@64 shvit_s1@64
skresnet18@64 starnet_s050@64 swiftformer_xs@224 swin_tiny_patch4_window7_224@64 swinv2_tiny_window8_256@64
swinv2_cr_tiny_224@64 tiny_vit_5m_224@64 tnt_s_patch16_224@64 twins_pcpvt_small@64 vgg11_bn@64 visformer_tiny@64
test_vit@64 vit_tiny_patch16_224@64 vit_tiny_r_s16_p8_224@64 vit_relpos_small_patch16_224@64 samvit_base_patch16_224@64
vitamin_small_224@64 volo_d1_224@224 ese_vovnet19b_slim@64 xcit_nano_12_p16_224@64 test_convnext@64""".split()  # noqa: SIM905 - a list of words


SMALLER = {name: {"depth": 3, "embed_dim": 96, "num_heads": 3}
           for name in ("beit_base_patch16_224", "samvit_base_patch16_224", "naflexvit_base_patch16_gap")}


def build(name: str, side: int) -> models.Classifier:
    """A network with random weights in float64; what starts as zeros, or next to them, gets weights too."""
    torch.manual_seed(zlib.crc32(name.encode()))
    classifier = models.load(name, weights=None, num_classes=CLASSES, input_size=side,
                             model_args=SMALLER.get(name)).double()
    for label, values in classifier.model.named_parameters():
        if values.detach().abs().max() < 1e-3 and values.numel() > 1:
            nn.init.normal_(values, 0.5 if label.endswith("gamma") else 0, 0.1)
    return classifier


def outputs(classifier: models.Classifier, images: Tensor, names: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and what some layers give, as parts of one graph; copies of it go on, which may be written on."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        several = isinstance(output, tuple)
        kept[name] = output[0] if several else output
        return (output[0].clone(), *output[1:]) if several else output.clone()

    modules = [(name, classifier.model.get_submodule(name)) for name in names]
    handles = [module.register_forward_hook(lambda _module, _args, output, name=name: keep(name, output))
               for name, module in modules]
    logits = classifier.model((images - classifier.mean) / classifier.std)
    for handle in handles:
        handle.remove()
    return logits, kept


def readings(shape: torch.Size, side: int) -> list[tuple[str, int, int]]:
    """Every way to read an output as a square map: which axes, tokens in front of the largest one, and its side."""
    if len(shape) == 4:
        return [(how, 0, shape[at]) for how, at in (("first", 2), ("last", 1)) if shape[at] == shape[at + 1] <= side]
    return [("tokens", k, isqrt(shape[1])) for k in range(shape[1] - isqrt(shape[1]) ** 2 + 1)]


def read(output: Tensor, how: tuple[str, int, int]) -> Tensor:
    kind, prefix, side = how
    if kind != "tokens":
        return output if kind == "first" else output.permute(0, 3, 1, 2)
    return output[:, prefix:prefix + side * side].transpose(1, 2).reshape(len(output), -1, side, side)


def lying(layers: dict[str, Tensor], places: list[tuple[float, float]], side: int) -> dict[str, tuple[str, int, int]]:
    """For each layer the reading in which an image differs most from the first where it was changed.

    Layers of one shape vote together: what only attention gives differs elsewhere too.
    """
    off: dict[tuple[int, ...], dict[tuple[str, int, int], float]] = {}
    for output in layers.values():
        votes = off.setdefault(output.shape[1:output.ndim - (output.ndim == 3)], {})
        for how in readings(output.shape, side):
            change = (read(output[1:], how) - read(output[:1], how)).norm(dim=1)
            at = [divmod(int(one.argmax()), how[2]) for one in change]
            votes[how] = votes.get(how, 0.0) + sum(max(abs((r + 0.5) / how[2] - y), abs((c + 0.5) / how[2] - x))
                                                   for (r, c), (y, x) in zip(at, places))
    best = {shape: min(votes, key=votes.__getitem__) for shape, votes in off.items() if votes}
    return {n: best[output.shape[1:output.ndim - (output.ndim == 3)]] for n, output in layers.items()}


def by_hand(a: Tensor, g: Tensor, method: str) -> Tensor:
    """The published formulas, place by place."""
    if method == "linear_approximation":
        return torch.einsum("nkij,nkij->nij", a, g)[:, None]
    alpha = g.mean((2, 3)) if method == "grad_cam" else torch.nan_to_num((a * g).sum((2, 3)) / a.abs().sum((2, 3)))
    return torch.einsum("nk,nkij->nij", alpha, a)[:, None]


class Compared:
    """What came of a network: maps, their largest relative difference, how many cancel, and all that is wrong."""

    def __init__(self, name: str, side: int) -> None:
        self.maps, self.worst, self.cancelled, self.wrong = 0, 0.0, 0, []
        self.classifier = build(name, side)
        self.images = torch.rand(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        report = self.classifier.layers(self.images)
        self.works = [layer.name for layer in report if not layer.problem]
        self.lie = self.lying(side)
        for name in self.works:
            read_as, (kind, prefix, h) = report[name].layout, self.lie[name]
            if (read_as.kind.split()[-1], read_as.prefix, read_as.grid) != (kind, prefix, (h, h)):
                self.wrong.append(f"{name} lies as {kind}, {h} x {h} behind {prefix}, and is read as {read_as}")
        self.best = report.recommended
        chosen = list(dict.fromkeys([self.best, *self.works[:: len(self.works) // 3 + 1]]))
        self.logits, self.kept = outputs(self.classifier, self.images.requires_grad_(), chosen)

    def lying(self, side: int) -> dict[str, tuple[str, int, int]]:
        places = [(0.3, 0.2), (0.7, 0.3), (0.2, 0.8), (0.8, 0.7)]
        probes = self.images[:1].repeat(5, 1, 1, 1)
        for image, (y, x) in zip(probes[1:], places):
            rows, columns = (slice(int(side * (z - 1 / 16)), int(side * (z + 1 / 16))) for z in (y, x))
            image[:, rows, columns] = 1 - image[:, rows, columns]
        with torch.no_grad():
            return lying(outputs(self.classifier, probes, self.works)[1], places, side)

    def check(self, what: str, mine: Tensor, right: Tensor) -> None:
        off = 1.0
        if mine.shape == right.shape:
            size = right.abs().amax((1, 2, 3)).clamp_min(1e-300)
            off = ((mine - right).abs().amax((1, 2, 3)) / size).nan_to_num(1, 1).max().item()
        self.maps, self.worst = self.maps + len(right), max(self.worst, off)
        if off > 1e-9:
            self.wrong.append(f"{what}: off by {off:.1e}")

    def score(self, score: contrast.Contrast, value: Tensor, layers: list[str]) -> None:
        of_images, *found = torch.autograd.grad(value.sum(), [self.images, *map(self.kept.get, layers)],
                                                retain_graph=True, allow_unused=True)
        of_pixels = of_images * self.images.detach()
        asked = self.classifier, self.images, TARGETS, score
        self.check("gradient", gradient(*asked), of_images.sum(1, keepdim=True))
        self.check("gradient x input", gradient_x_input(*asked), of_pixels.sum(1, keepdim=True))
        for layer, (a, g) in zip(layers, ((self.kept[name], g) for name, g in zip(layers, found))):
            a, g = (read(t, self.lie[layer]).detach() for t in (a, g))
            for method in (grad_cam, linear_approximation, xgrad_cam):
                right, all_terms = by_hand(a, g, method.name), by_hand(a.abs(), g.abs(), method.name)
                try:
                    mine = method(*asked, layer=layer, upsample=False)
                    self.check(f"{layer}: {method.name}", mine, right)
                except ValueError as error:
                    self.cancelled += 1
                    if right.abs().max() > 1e-4 * all_terms.max():
                        self.wrong.append(f"{layer}: {method.name}: {error}")

    def all_classes(self) -> None:
        everything = grad_cam.class_maps(self.classifier, self.images, layer=self.best).maps
        for c in (0, 17, CLASSES - 1):
            g = torch.autograd.grad(self.logits[:, c].sum(), self.kept[self.best], retain_graph=True)[0]
            a, g = (read(t, self.lie[self.best]).detach() for t in (self.kept[self.best], g))
            self.check("class maps", everything[:, c:c + 1], by_hand(a, g, "grad_cam"))


def compare(name: str, side: int) -> Compared:
    of = Compared(name, side)
    layers, target = list(of.kept), of.logits[range(2), TARGETS]
    others = [[c for c in range(CLASSES) if c != t] for t in TARGETS]
    of.score(contrast.weighted, target - of.logits[[[0], [1]], others].logsumexp(-1), layers[1::2])
    of.score(contrast.foil(FOIL), target - of.logits[:, FOIL], layers[::2])
    of.all_classes()
    return of


if __name__ == "__main__":
    for asked in sys.argv[1:] or NETWORKS:
        network, _, pixels = asked.partition("@")
        try:
            of = compare(network, int(pixels or 64))
            print(f"{_model_to_module[network]:26s} {asked:36s} {len(of.works):5d} {of.maps:4d} {of.worst:8.1e} "
                  f"{of.cancelled:3d}", *of.wrong, sep="\n    ", flush=True)
        except Exception as error:  # noqa: BLE001 - goes on with the next
            print(f"{asked}: {type(error).__name__}: {error}", flush=True)
