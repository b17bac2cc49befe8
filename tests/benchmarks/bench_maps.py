"""What maps cost, in bare forward passes of the same batch timed in turn with them.

Run by ``make bench``; nothing here passes or fails by the clock.
"""

import statistics
import subprocess
import sys
import time

import pytest
import torch
from captum.attr import LayerGradCam

from contrastlib import contrast, models
from contrastlib.attribution import grad_cam

BATCH, CLASSES, ROUNDS = 8, 100, 7


@pytest.fixture(scope="module")
def classifier():
    return models.load("tf_efficientnet_lite0")


@pytest.fixture(scope="module")
def images():
    return torch.rand(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def against_forward(benchmark, classifier, images):
    """Time a function and, before each of its rounds, a bare forward pass; note the ratio pair by pair."""

    def forward():
        with torch.no_grad():
            classifier(images)

    def measure(what, function, rounds=ROUNDS):
        forwards = []

        def before():
            start = time.perf_counter()
            forward()
            forwards.append(time.perf_counter() - start)

        benchmark.pedantic(function, setup=before, rounds=rounds, warmup_rounds=int(rounds > 1))
        taken = benchmark.stats.stats.data
        ratios = [t / f for t, f in zip(taken, forwards[-len(taken):], strict=True)]
        benchmark.extra_info["in forward passes"] = round(statistics.median(ratios), 2)
        benchmark.extra_info["what"] = what

    return measure


def test_weighted_grad_cam(against_forward, classifier, images):
    against_forward("one weighted Grad-CAM", lambda: grad_cam(classifier, images, 281, contrast.weighted))


def test_weighted_grad_cam_captum(against_forward, classifier, images):
    def log_odds(x):
        return contrast.weighted(classifier(x), torch.full((len(x),), 281))[:, None]

    peer = LayerGradCam(log_odds, classifier.model.bn2)
    against_forward("the same by Captum's LayerGradCam", lambda: peer.attribute(images, target=0))


def test_maps_of_100_classes(against_forward, classifier, images):
    against_forward("maps of 100 classes", lambda: grad_cam.class_maps(classifier, images, range(CLASSES)))


def test_maps_of_1000_classes(against_forward, classifier, images):
    against_forward("maps of all 1000 classes", lambda: grad_cam.class_maps(classifier, images))


def test_maps_of_100_classes_captum(against_forward, classifier, images):
    peer = LayerGradCam(classifier, classifier.model.bn2)
    against_forward(
        "100 classes, looping Captum's LayerGradCam",
        lambda: [peer.attribute(images, target=c).detach() for c in range(CLASSES)],
        rounds=1,
    )


def test_maps_of_100_classes_pytorch_grad_cam(against_forward, classifier, images):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=classifier, target_layers=[classifier.model.bn2]) as peer:
        against_forward(
            "100 classes, looping pytorch-grad-cam's GradCAM",
            lambda: [peer(images, targets=[ClassifierOutputTarget(c)] * BATCH) for c in range(CLASSES)],
            rounds=1,
        )


MEMORY = """
import resource, sys, torch
from contrastlib import models
from contrastlib.attribution import grad_cam

classifier = models.load("tf_efficientnet_lite0")
images = torch.rand(16, 3, 224, 224)
with torch.no_grad():
    classifier(images)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
maps = grad_cam.class_maps(classifier, images)
assert maps.maps.shape == (16, 1000, 7, 7)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024))
"""


def test_peak_memory_of_1000_classes_of_16_images(benchmark):
    """Peak resident memory above that of a forward pass of the same batch, in a process of its own."""
    peaks = []

    def run():
        done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))

    benchmark.pedantic(run, rounds=3)
    benchmark.extra_info["what"] = "all 1000 classes of 16 images, as a process of its own"
    benchmark.extra_info["extra peak memory, MB"] = round(statistics.median(peaks) / 1e6)
