"""Signed maps against Captum's, which are computed by other people's code on the same networks."""

import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from networks import images, torchvision_network

from contrastlib import contrast, models
from contrastlib.attribution import grad_cam, linear_approximation
from contrastlib.models import Classifier

NETWORKS = {
    "resnet18": (lambda: Classifier(torchvision_network("resnet18"), input_size=96), "layer4"),
    "vgg16_bn": (lambda: Classifier(torchvision_network("vgg16_bn"), input_size=96), "features.42"),
    "tf_efficientnet_lite0": (lambda: models.load("tf_efficientnet_lite0"), "blocks.5"),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    build, layer = NETWORKS[request.param]
    classifier = build()
    size = classifier.input_size[0]
    return classifier, layer, images(2, size, torch.float32)


def log_odds(classifier, target):
    """The wrapper a Captum user would write for the log-odds of the target."""
    def forward(x):
        p = classifier(x).double().softmax(-1).gather(-1, target[:, None])
        return torch.log(p / (1 - p)).float()

    return forward


PEERS = {
    "grad_cam": (grad_cam, lambda maps: maps, LayerGradCam),
    "linear_approximation": (linear_approximation, lambda maps: maps.sum(1, keepdim=True), LayerGradientXActivation),
}


@pytest.mark.parametrize("score", ["logit", "log-odds"])
@pytest.mark.parametrize("name", PEERS)
def test_signed_map_equals_captums(network, name, score):
    classifier, layer, x = network
    target = classifier(x).detach().topk(2).indices[:, 1]
    ours, reduce, peer = PEERS[name]
    module = classifier.model.get_submodule(layer)
    if score == "logit":
        theirs = peer(classifier, module).attribute(x, target=target)
        maps = ours(classifier, x, target, layer=layer, upsample=False)
    else:
        theirs = peer(log_odds(classifier, target), module).attribute(x, target=0)
        maps = ours(classifier, x, target, contrast.weighted, layer=layer, upsample=False)
    theirs = reduce(theirs).detach()
    assert theirs.min() < 0 < theirs.max() or name == "grad_cam"
    torch.testing.assert_close(maps, theirs, atol=1e-5 * theirs.abs().max().item(), rtol=1e-4)
