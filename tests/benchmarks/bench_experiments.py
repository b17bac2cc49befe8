"""What the experiments cost, beside plain loops over their settings, in other precisions, and over a long run.

Run by ``make bench``; nothing here passes or fails by the clock. What is compared runs in turn, on the same images and
with the same settings of torch and of the C library, after a round in which both must have given the same numbers.
"""

import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks import plain_loops

from contrastlib import data, models, perturbation
from contrastlib.data import photographs
from contrastlib.experiments import gradient_sign, masking, runner
from contrastlib.experiments.experiment import Batch, Setting

BIRDS, EFFICIENTNET = "birds_vgg", "tf_efficientnet_lite0"
PUSHED, MASKED, PRECISION = 8, {BIRDS: 16, EFFICIENTNET: 8}, 32  # images in a batch
ROUNDS, MASKING_ROUNDS, PRECISION_ROUNDS = 3, 2, 5
LONG = 1000  # images of a long run
LAYERS = {BIRDS: "features.27", EFFICIENTNET: "blocks.4"}  # where the three methods differ
TARGETS = {BIRDS: ("t1", "t2"), EFFICIENTNET: ("t1",)}


def runner_classifier(name):
    """As the runner prepares it."""
    known = data.load("drawn_birds", "hard") if name == BIRDS else SimpleNamespace(name="photographs", num_classes=1000)
    return runner.load_classifier(Setting(name, "drawn_birds"), known, torch.device("cpu"))


def pictures(name, count):
    """Birds that are hard to tell, or the eight photographs that come with packages; prepared for the network."""
    if name == BIRDS:
        hard = data.load("drawn_birds", "hard").prepared(models.load(name).prepare)
        samples = [hard[i] for i in range(count)]
        return torch.stack([s.image for s in samples]), torch.tensor([s.label for s in samples])
    loaded = [photographs.load(title).image for title in photographs.names()[:count]]
    classifier = models.load(name)
    images = classifier.prepare(loaded)
    with torch.no_grad():
        return images, classifier(images).topk(2).indices[:, 1]  # there is something to push


def runner_batch(images, labels):
    return Batch(images.contiguous(memory_format=torch.channels_last), labels)


@pytest.fixture
def side_by_side(benchmark):
    """Time a function and, before each of its rounds, another; note images per second and the ratio pair by pair."""

    def measure(what, images, function, other=None, column="", rounds=ROUNDS):
        taken_by_other = []

        def before():
            start = time.perf_counter()
            other()
            taken_by_other.append(time.perf_counter() - start)

        benchmark.pedantic(function, setup=before if other else None, rounds=rounds)
        taken = benchmark.stats.stats.data
        benchmark.extra_info["what"] = what
        benchmark.extra_info["images per second"] = f"{images / statistics.median(taken):.3g}"
        if other:
            ratio = statistics.median(o / t for o, t in zip(taken_by_other, taken, strict=True))
            benchmark.extra_info[column] = f"{ratio:.3g}"

    return measure


def assert_same(ours, plain, *, rtol, atol, share):
    """Nearly all numbers are nearly the same: a gradient that rounding makes zero has another sign."""
    assert ours.keys() == plain.keys()
    near = [torch.isclose(ours[name].float(), plain[name].float(), rtol=rtol, atol=atol).flatten() for name in ours]
    found = torch.cat(near).float().mean().item()
    assert found >= share, f"only {found:.1%} of the numbers agree"


# --- beside plain loops ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [BIRDS, EFFICIENTNET])
def test_gradient_sign(side_by_side, name):
    images, labels = pictures(name, PUSHED)
    classifier, batch, setting = runner_classifier(name), runner_batch(images, labels), Setting(name, "drawn_birds")
    network = models.load(name)  # its parameters need gradients, its memory layout is the default one
    settings = tuple(gradient_sign.CONTRASTS), gradient_sign.EPSILONS, gradient_sign.STEPS

    def ours():
        return gradient_sign.measure(classifier, batch, setting)

    def plain():
        return plain_loops.gradient_sign(network, images, labels, *settings)

    assert_same(ours(), plain(), rtol=0.01, atol=0.01, share=0.95)
    side_by_side(
        f"gradient sign, {len(settings[0])} contrasts, epsilon {' and '.join(map(str, settings[1]))}, "
        f"n = {', '.join(map(str, settings[2]))}; {name}, {images.shape[-1]} px, batch of {len(images)}",
        len(images), ours, plain, "times the plain loop")


@pytest.mark.parametrize("name", [BIRDS, EFFICIENTNET])
def test_masking(side_by_side, name):
    images, labels = pictures(name, MASKED[name])
    layer, targets = LAYERS[name], TARGETS[name]
    classifier, batch = runner_classifier(name), runner_batch(images, labels)
    setting = Setting(name, "drawn_birds", layers=(layer,), targets=targets)
    network = models.load(name)

    def ours():
        return masking.measure(classifier, batch, setting)

    def plain():
        return plain_loops.masking(network, images, layer, targets, tuple(masking.METHODS),
                                   tuple(perturbation.BASELINES))

    assert_same(ours(), plain(), rtol=0, atol=0.01, share=0.98)  # a pixel may change sides
    side_by_side(
        f"masking, layer {layer}, {len(masking.METHODS)} methods, target {' and '.join(targets)}, 3 budgets, 2 signs, "
        f"{len(perturbation.BASELINES)} baselines; {name}, {images.shape[-1]} px, batch of {len(images)}, "
        "the plain loop one by one", len(images), ours, plain, "times the plain loop", MASKING_ROUNDS)


# --- other precisions ------------------------------------------------------------------------------------------------


@pytest.fixture
def few_settings(monkeypatch):
    monkeypatch.setattr(gradient_sign, "CONTRASTS",
                        {name: gradient_sign.CONTRASTS[name] for name in ("original", "weighted")})
    monkeypatch.setattr(gradient_sign, "EPSILONS", (3e-3,))
    monkeypatch.setattr(gradient_sign, "STEPS", (1, 2))


@pytest.mark.parametrize("how", ["float32", "bfloat16 (autocast)", "float32 compiled"])
@pytest.mark.usefixtures("few_settings")
def test_precision(side_by_side, how):
    batch, setting = runner_batch(*pictures(BIRDS, PRECISION)), Setting(BIRDS, "drawn_birds")
    plain, other = runner_classifier(BIRDS), runner_classifier(BIRDS)
    if how == "float32 compiled":
        other.model = torch.compile(other.model, dynamic=False)

    def in_float32():
        return gradient_sign.measure(plain, batch, setting)

    def this():
        mixed = torch.autocast("cpu", torch.bfloat16) if how.startswith("bfloat16") else nullcontext()
        with mixed:
            return gradient_sign.measure(other, batch, setting)

    assert_same(this(), in_float32(), rtol=0.1, atol=0.1, share=0.8)  # compiles, too
    beside = None if how == "float32" else in_float32
    side_by_side(f"gradient sign, original and weighted, epsilon 0.003, n = 1, 2; {BIRDS}, batch of {PRECISION}, {how}",
                 PRECISION, this, beside, "times float32", PRECISION_ROUNDS)


# --- a long run ------------------------------------------------------------------------------------------------------

LONG_RUN = """
import json, os, sys
from pathlib import Path
from contrastlib import perturbation
from contrastlib.experiments import Setting, by_name, gradient_sign, runner

gradient_sign.CONTRASTS = {name: gradient_sign.CONTRASTS[name] for name in ("original", "weighted")}
gradient_sign.EPSILONS, gradient_sign.STEPS = (3e-3,), (1, 2)
perturbation.BASELINES = {"blur": perturbation.BASELINES["blur"]}

name, images, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
setting = Setting("birds_vgg", "drawn_birds", "hard", limit=images, layers=("features.27=grad_cam",), targets=("t1",),
                  shard=20)
resident = {}

def report(what, done, total):
    resident[done] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

runner.run(by_name(name), setting, folder, device="cpu", report=report)
print(json.dumps(resident))
"""
SETTINGS = {"gradient-sign": "original and weighted, epsilon 0.003, n = 1, 2",
            "masking": "grad_cam at features.27, target t1, 3 budgets, 2 signs, blur"}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
@pytest.mark.parametrize("name", list(SETTINGS))
def test_memory_of_a_long_run(benchmark, tmp_path, name):
    """Through the runner, as a process of its own: what is held once 100 images are done, and at the end."""
    resident = {}

    def run():
        done = subprocess.run([sys.executable, "-c", LONG_RUN, name, str(LONG), tmp_path / "run"],
                              capture_output=True, text=True, check=True)
        resident.update({int(images): held for images, held in json.loads(done.stdout).items()})

    benchmark.pedantic(run, rounds=1)
    early, late = resident[min(100, LONG)], resident[LONG]
    benchmark.extra_info["what"] = (f"{name} over {LONG} drawn birds, {SETTINGS[name]}; {BIRDS}, shards of 20, "
                                    "a process of its own")
    benchmark.extra_info["resident after 100 images, MB"] = round(early / 1e6)
    benchmark.extra_info["growth from there to the end, %"] = round(100 * (late / early - 1), 1)
