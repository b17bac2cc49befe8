"""The lines of code on the pages of the book that are not notebooks: they run as they stand there."""

import re
from pathlib import Path

import torch
from captum.attr import IntegratedGradients
from networks import seeded
from torch import Tensor, nn

from contrastlib import contrast, models, relevance
from contrastlib.attribution import grad_cam

BOOK = Path(__file__).parents[1] / "book"


def lines_of(page: str) -> str:
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return lines


def test_the_example_of_the_api_page():
    names: dict = {}
    exec(lines_of("api"), names)
    shapes = {name: tuple(names[name].shape) for name in ("why", "not_that", "again")}
    assert shapes == {"why": (1, 1, 224, 224), "not_that": (1, 1, 224, 224), "again": (1, 1, 7, 7)}
    assert names["every"].maps.shape == (1, 1000, 7, 7)
    torch.testing.assert_close(relevance.upsample(names["again"], (224, 224)), names["not_that"], rtol=1e-4, atol=1e-5)


def test_our_contrasts_inside_captum():
    """The lines of the page `comparison` are run as they stand there."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(5 * 36, 6)))
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 5, 2, 2])
    names = {"model": model, "layer": model[1], "images": images, "target": target}
    exec(lines_of("comparison"), names)
    classifier = models.Classifier(model, input_size=8, mean=0, std=1)
    ours = grad_cam(classifier, images, target, contrast.weighted, layer="1", upsample=False)
    torch.testing.assert_close(names["maps"], ours)
    assert (ours < 0).any()


def test_a_contrast_makes_captums_integrated_gradients_contrastive():
    """The page says that the same wrapper serves other methods: the parts sum to the difference of the log-odds."""
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4))).double()
    images = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([3, 1])

    def score(images: Tensor, target: Tensor) -> Tensor:
        return contrast.weighted(model(images), target)

    parts = IntegratedGradients(score).attribute(images, additional_forward_args=target, n_steps=200)
    expected = score(images, target) - score(torch.zeros_like(images), target)
    torch.testing.assert_close(parts.flatten(1).sum(-1), expected, rtol=1e-4, atol=1e-6)
