"""What FullGrad and attention rollout cost, in passes forward and backward of the same network timed in turn with them.

Run by ``make bench``; nothing here passes or fails by the clock.
"""

import statistics
import time

import pytest
import torch
from benchmarks.plain_loops import rollout_image_by_image

from contrastlib import contrast, models
from contrastlib.attribution import attention_relevance, attention_rollout, full_grad

BATCH, ROUNDS = 8, 5


@pytest.fixture(scope="module")
def images():
    return torch.rand(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def vgg():
    return models.load("vgg16_bn", weights=None)


@pytest.fixture(scope="module")
def vit():
    return models.load("timm/vit_small_patch16_224", weights=None, num_classes=1000)


@pytest.fixture
def against_backward(benchmark, images):
    """Time a function and, before each of its rounds, one pass forward and backward to the image; note the ratio."""

    def measure(what, classifier, function, rounds=ROUNDS):
        def forward_and_backward():
            leaf = images.clone().requires_grad_()
            return torch.autograd.grad(classifier(leaf)[:, 1].sum(), leaf)

        passes = []

        def before():
            start = time.perf_counter()
            forward_and_backward()
            passes.append(time.perf_counter() - start)

        benchmark.pedantic(function, setup=before, rounds=rounds, warmup_rounds=1)
        taken = benchmark.stats.stats.data
        ratios = [t / p for t, p in zip(taken, passes[-len(taken):], strict=True)]
        benchmark.extra_info["in passes forward and backward"] = round(statistics.median(ratios), 2)
        benchmark.extra_info["what"] = what

    return measure


def test_full_grad(against_backward, vgg, images):
    against_backward("FullGrad, VGG-16-BN, 8 images", vgg,
                     lambda: full_grad(vgg, images, 1, contrast.weighted))


def test_full_grad_pytorch_grad_cam(against_backward, vgg, images):
    from pytorch_grad_cam import FullGrad
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with FullGrad(model=vgg, target_layers=[]) as peer:
        against_backward("the same images by pytorch-grad-cam's FullGrad", vgg,
                         lambda: peer(images, targets=[ClassifierOutputTarget(1)] * BATCH), rounds=3)


def test_rollout(against_backward, vit, images):
    against_backward("attention rollout, ViT-S/16, 8 images", vit,
                     lambda: attention_rollout(vit, images, 1, contrast.weighted))


def test_relevance(against_backward, vit, images):
    against_backward("attention relevance, ViT-S/16, 8 images", vit,
                     lambda: attention_relevance(vit, images, 1, contrast.weighted))


def test_rollout_image_by_image(against_backward, vit, images):
    against_backward("rollout of the same images one at a time, as published", vit,
                     lambda: rollout_image_by_image(vit, images, 1), rounds=3)
