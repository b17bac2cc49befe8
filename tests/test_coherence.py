"""The experiment on transformers: every map is the library's own, and every number is worked out a second time."""

import numpy as np
import pytest
import torch
import torchvision

from contrastlib import contrast, data, evaluation, models, relevance
from contrastlib.attribution import grad_cam, linear_approximation
from contrastlib.data import birds
from contrastlib.experiments import coherence
from contrastlib.experiments.experiment import Batch, Setting

SETTING = Setting("birds_vit", "drawn_birds", "hard")
N = 6


@pytest.fixture(scope="module")
def classifier():
    return models.load("birds_vit")


@pytest.fixture(scope="module")
def batch(classifier) -> Batch:
    dataset = data.load("drawn_birds", "hard").subset(range(N)).prepared(classifier.prepare)
    codes = torch.from_numpy(np.stack([dataset.parts(i) for i in range(N)]))
    samples = [dataset[i] for i in range(N)]
    return Batch(torch.stack([s.image for s in samples]), torch.tensor([s.label for s in samples]), codes)


@pytest.fixture(scope="module")
def values(classifier, batch):
    return coherence.measure(classifier, batch, SETTING)


@pytest.fixture(scope="module")
def of_one_pass(classifier, batch):
    """All maps of the targets 0 to N - 1, by contrast, method and block."""
    return {(score, method, block): found for score, how in coherence.CONTRASTS.items()
            for method, block, found in coherence.all_maps(classifier, batch.images, torch.arange(N), how)}


def test_every_method_has_every_block_and_contrast(values):
    found = set(values)
    methods = [*coherence.PLACES, *coherence.THROUGH_ATTENTION, "full_grad"]
    expected = {(target, method, str(block), score) for target in ("t1", "t2") for method in methods
                for block in range(4) for score in coherence.CONTRASTS}
    # Nothing reads the patches behind the last block, and the length of those before it.
    unread = {cell for cell in expected
              if cell[2] == "3" and cell[1] in ("grad_cam", "grad_cam attention", "linear_approximation")}
    unseen = {cell for cell in expected if cell[1:3] == ("linear_approximation", "2")}
    assert {cell for cell in found if cell[2].isdecimal()} == expected - unread - unseen
    assert {cell[2] for cell in found if not cell[2].isdecimal()} == {"", "all", "input", "embedding"}
    assert all(numbers.shape == (N, 4) for numbers in values.values())


@pytest.mark.parametrize(("method", "layer", "rule"), [
    ("grad_cam", "blocks.1", grad_cam), ("grad_cam norm1", "blocks.1.norm1", grad_cam),
    ("grad_cam attention", "blocks.1.attn", grad_cam), ("linear_approximation", "blocks.1", linear_approximation),
    ("linear_approximation norm1", "blocks.1.norm1", linear_approximation)])
@pytest.mark.parametrize("score", coherence.CONTRASTS)
def test_maps_of_one_pass_are_those_of_the_library(classifier, batch, of_one_pass, method, layer, rule, score):
    how = coherence.CONTRASTS[score]
    direct = rule(classifier, batch.images, torch.arange(N), how, layer=layer, upsample=False)
    atol = 1e-5 * direct.abs().max().item()
    torch.testing.assert_close(of_one_pass[score, method, "1"], direct, rtol=1e-4, atol=atol)


def test_the_numbers_are_those_of_the_maps(classifier, batch, values):
    with torch.no_grad():
        t1, t2 = classifier(batch.images).topk(2).indices.unbind(1)
    maps = linear_approximation(classifier, batch.images, t2, contrast.weighted, layer="blocks.0", upsample=False)
    large = relevance.upsample(maps, (128, 128)).double()[:, 0].numpy()
    found = values["t2", "linear_approximation", "0", "weighted"].double().numpy()
    for i in range(N):
        positive = np.clip(large[i], 0, None)
        drawing = data.load("drawn_birds", "hard").drawing(i)
        assert found[i, 0] == pytest.approx((positive * drawing.bird()).sum() / positive.sum(), abs=1e-5)
        telling = np.zeros((128, 128), dtype=bool)
        if birds.species(int(t1[i])).genus == birds.species(int(t2[i])).genus:
            for part in birds.telling_parts(int(t2[i]), int(t1[i])):
                telling |= drawing.mask(part)
        if telling.any():
            assert found[i, 1] == pytest.approx((positive * telling).sum() / positive.sum(), abs=1e-5)
        else:
            assert np.isnan(found[i, 1])
        assert found[i, 2] == drawing.bird()[np.unravel_index(large[i].argmax(), large[i].shape)]
    np.testing.assert_allclose(found[:, 3], evaluation.moran(maps).numpy(), atol=1e-5)
    chance = values["t1", coherence.CHANCE, "", ""]
    np.testing.assert_allclose(chance[:, 0].numpy(), ((batch.parts > 0) & (batch.parts <= 12)).float().mean((1, 2)))


def test_rows_compare_with_chance_and_with_the_original():
    generator = torch.Generator().manual_seed(0)
    values = {("t1", coherence.CHANCE, "", ""): torch.full((20, 4), 0.25),
              **{("t1", "rollout", "0", score): torch.rand(20, 4, generator=generator)
                 for score in coherence.CONTRASTS}}
    values["t1", coherence.CHANCE, "", ""][:, 3] = torch.nan
    values["t1", "rollout", "0", "weighted"][:5, 1] = torch.nan
    table = {(row["method"], row["contrast"], row["metric"]): row for row in coherence.rows(values).to_dict("records")}
    own, weighted = (values["t1", "rollout", "0", score].double() for score in coherence.CONTRASTS)
    row = table["rollout", "original", coherence.METRICS[0]]
    assert row["against"] == "chance"
    assert row["difference"] == pytest.approx(own[:, 0].mean().item() - 0.25, rel=1e-4)
    row = table["rollout", "weighted", coherence.METRICS[1]]
    assert (row["against"], row["n"]) == ("original", 15)
    assert row["difference"] == pytest.approx((weighted - own)[5:, 1].mean().item(), rel=1e-4)
    assert table["rollout", "original", "Moran's I"]["against"] == ""
    assert ("chance", "", "Moran's I") not in table


def test_without_masks_only_what_needs_none_is_measured(classifier, batch):
    values = coherence.measure(classifier, Batch(batch.images[:2], batch.labels[:2]), SETTING)
    assert set(coherence.rows(values)["metric"]) == {"Moran's I"}


def test_a_network_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"birds_vgg has no blocks, which .* blocks\.0"):
        coherence.transformer(models.load("birds_vgg"))


def test_torchvisions_transformer_is_measured_too():
    network = torchvision.models.VisionTransformer(
        image_size=48, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    torch.nn.init.normal_(network.heads.head.weight)
    classifier = models.Classifier(network.eval(), input_size=48)
    images, target = torch.rand(2, 3, 48, 48), torch.tensor([1, 4])
    found = {(name, block): maps for name, block, maps in coherence.all_maps(
        classifier, images, target, contrast.weighted)}
    assert {maps.shape for maps in found.values()} == {(2, 1, 6, 6)}
    for method, layer in (("grad_cam attention", "self_attention"), ("grad_cam norm1", "ln_1")):
        direct = grad_cam(classifier, images, target, contrast.weighted, upsample=False,
                      layer=f"encoder.layers.encoder_layer_1.{layer}")
        torch.testing.assert_close(found[method, "1"], direct, rtol=1e-4, atol=1e-6)
    assert ("rollout", "2") in found
    assert ("full_grad", "0") in found
