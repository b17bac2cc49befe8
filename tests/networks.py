"""Networks that tests explain: small enough to work out by hand, or real architectures with random weights."""

import copy

import torch
import torchvision
from torch import Tensor, nn

from contrastlib.models import Classifier


class Tiny(nn.Module):
    """Two convolutions, an in-place activation between, and a fully connected head: 3 x 8 x 8 to 6 logits."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.last = nn.ReLU(inplace=True)
        self.head = nn.Linear(5 * 4 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x)))
        return self.head(self.last(self.second(x)).flatten(1))


def seeded(build, seed: int = 0, **options) -> nn.Module:
    """A network with weights that depend on the seed alone, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(**options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that do something, unlike the initial 0 and 1
            generator = torch.Generator().manual_seed(seed)
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return network.eval()


def tiny(dtype=torch.float64, **options) -> Classifier:
    """The tiny network, without normalisation, as a classifier."""
    return Classifier(seeded(Tiny, **options).to(dtype), input_size=8, mean=(0, 0, 0), std=(1, 1, 1), layer="last")


def pooled(classes: int) -> Classifier:
    """Convolutions, an average over all places and a linear layer: 3 x 16 x 16 to so many logits, float64."""
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 9, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                             nn.Linear(9, classes))

    return Classifier(seeded(build).double(), input_size=16, mean=0, std=1, layer="1")


def torchvision_network(name: str) -> nn.Module:
    """A torchvision architecture with seeded random weights and ten classes."""
    options = {"weights": None, "num_classes": 10}
    if name == "googlenet":
        options |= {"init_weights": False, "aux_logits": False}
    return seeded(getattr(torchvision.models, name), **options)


def without_inplace(network: nn.Module) -> nn.Module:
    """A copy in which no activation works in place."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return network


def images(n: int = 3, size: int = 8, dtype=torch.float64, seed: int = 1) -> Tensor:
    """Random images in [0, 1]."""
    return torch.rand(n, 3, size, size, dtype=dtype, generator=torch.Generator().manual_seed(seed))
