"""The experiments on FullGrad and on the slips of attention rollout, worked out a second time."""

import numpy as np
import pytest
import torch

from contrastlib import contrast, data, models
from contrastlib.attribution import attention_rollout, full_grad
from contrastlib.experiments import full_grad as adding_up
from contrastlib.experiments import rollout_slips
from contrastlib.experiments.experiment import Batch, Setting
from contrastlib.published import gradient_rollout
from contrastlib.tables import pick

N = 5


def batch_of(classifier) -> Batch:
    dataset = data.load("drawn_birds", "hard").subset(range(N)).prepared(classifier.prepare)
    codes = torch.from_numpy(np.stack([dataset.parts(i) for i in range(N)]))
    return Batch(torch.stack([dataset[i].image for i in range(N)]), torch.zeros(N, dtype=torch.int64), codes)


@pytest.fixture(scope="module")
def vgg():
    classifier = models.load("birds_vgg")
    batch = batch_of(classifier)
    return classifier, batch, adding_up.measure(classifier, batch, Setting("birds_vgg", "drawn_birds", "hard"))


def test_the_terms_of_full_grad_are_the_score(vgg):
    classifier, batch, values = vgg
    with torch.no_grad():
        logits = classifier(batch.images).double()
    t2 = logits.topk(2).indices[:, 1]
    for name, score in adding_up.CONTRASTS.items():
        found = values["t2", name, adding_up.TERMS].double()
        torch.testing.assert_close(found[:, 0], score(logits, t2), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found[:, 1:5].sum(1), found[:, 0], rtol=1e-4, atol=1e-4)
        assert (found[:, 5].abs() < 1e-3).all()
        weights = contrast.weights(score, logits, t2)
        torch.testing.assert_close(found[:, 4], found[:, 0] - (weights * logits).sum(1), rtol=1e-4, atol=1e-4)


def test_the_numbers_of_a_map_are_those_of_its_pixels(vgg):
    classifier, batch, values = vgg
    with torch.no_grad():
        t1 = classifier(batch.images).argmax(-1)
    maps = full_grad(classifier, batch.images, t1, contrast.weighted).double()[:, 0].numpy()
    found = values["t1", "weighted", adding_up.COMPLETE].double().numpy()
    for i in range(N):
        bird = (batch.parts[i].numpy() > 0) & (batch.parts[i].numpy() <= 12)
        positive = np.clip(maps[i], 0, None)
        red = maps[i] > (maps[i].max() + maps[i].min()) / 2
        expected = [maps[i].sum(), (maps[i] < 0).mean(), (maps[i] < 0).all(), (maps[i] >= 0).all(),
                    (positive * bird).sum() / positive.sum(), (red != (maps[i] > 0)).mean()]
        np.testing.assert_allclose(found[i], expected, rtol=1e-3, atol=1e-4)


def test_no_form_of_full_grad_here_is_negative_everywhere(vgg):
    _, _, values = vgg
    table = adding_up.rows(values)
    everywhere = table[table["metric"] == "negative everywhere"]
    assert set(everywhere["map"]) == {adding_up.COMPLETE, *adding_up.VARIANTS, "grad_cam"}
    for name in ("as in the FullGrad repository", "without absolute values",
                 "without absolute values, each channel rescaled"):
        assert set(pick(table, metric="non-negative everywhere", map=name)["value"]) == {1}
    residual = pick(table, metric="largest residual over score", target="t1", contrast="original")
    assert 0 < residual["value"].item() < 1e-4
    assert residual[["se", "difference", "low", "high"]].isna().all(axis=None)


@pytest.fixture(scope="module")
def vit():
    classifier = models.load("birds_vit")
    batch = batch_of(classifier)
    return classifier, batch, rollout_slips.measure(classifier, batch, Setting("birds_vit", "drawn_birds", "hard"))


def test_slips_are_compared_with_the_corrected_map(vit):
    classifier, batch, values = vit
    with torch.no_grad():
        target = classifier(batch.images).argmax(-1)
    corrected = gradient_rollout(classifier, batch.images, target, contrast.weighted, slips=())
    wrong = gradient_rollout(classifier, batch.images, target, contrast.weighted,
                             slips=rollout_slips.VARIANTS[rollout_slips.AS_PUBLISHED])
    found = values["no", "weighted", rollout_slips.AS_PUBLISHED][:, 0].double().numpy()
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(wrong.numpy(), corrected.numpy())]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert torch.allclose(values["no", "weighted", rollout_slips.CORRECTED][:, 0], torch.ones(N))
    scaled = attention_rollout(classifier, batch.images, target, contrast.weighted, upsample=False)
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(scaled.numpy(), corrected.numpy())]
    np.testing.assert_allclose(values["no", "weighted", "scaled"][:, 0].double().numpy(), expected, atol=1e-5)


def test_another_normalisation_leaves_the_classifier_alone(vit):
    classifier, batch, values = vit
    assert classifier.std.unique().tolist() == [0.25]
    other = models.load("birds_vit", mean=0.5, std=0.5)
    with torch.no_grad():
        target = classifier(batch.images).argmax(-1)
    maps = gradient_rollout(other, batch.images, target, contrast.original, slips=(), relu=True)
    corrected = gradient_rollout(classifier, batch.images, target, contrast.original, slips=(), relu=True)
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(maps.numpy(), corrected.numpy())]
    found = values["yes", "original", rollout_slips.NORMALISED][:, 0].double().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_slip_has_a_row(vit):
    table = rollout_slips.rows(vit[2])
    slips = set(pick(table, contrast="weighted")["slip"])
    assert slips == {*rollout_slips.VARIANTS, rollout_slips.NORMALISED, "scaled"}
    assert {cells[2] for cells in vit[2] if cells[1] == "original"} == slips - {"probability"}
    assert pick(table, slip=rollout_slips.CORRECTED)["difference"].isna().all()
