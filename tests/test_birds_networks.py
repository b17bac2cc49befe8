"""The two networks that come with the package: what they know, and that they can be trained again."""

import hashlib
import json

import pytest
import torch

from contrastlib import contrast, models
from contrastlib.attribution import grad_cam, linear_approximation, xgrad_cam
from contrastlib.data import birds
from contrastlib.experiments import selection
from contrastlib.experiments.training import Recipe, finetunable, train
from contrastlib.models import WeightsError
from contrastlib.models.birds import NETWORKS, TRAINED, record

NAMES = list(NETWORKS)


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    return models.load(request.param)


@pytest.fixture(scope="module")
def splits():
    """Half of each held-out split, drawn once for both networks."""
    return {name: held(birds.DrawnBirds(name, 800)) for name in ("test", "hard")}


def held(data):
    """The data set with its pictures drawn."""
    pictures = [data.picture(i) for i in range(len(data))]
    data.picture = pictures.__getitem__
    return data


def test_they_know_the_birds_and_hesitate_where_it_is_hard(network, splits):
    seen = {name: selection.predict(network, data, cache=None) for name, data in splits.items()}
    assert seen["test"].accuracy >= 0.95
    assert selection.select(seen["hard"], "p2>0.1").share >= 0.1
    assert 0.5 < seen["hard"].accuracy < seen["test"].accuracy


def test_the_names_are_those_of_the_species(network):
    assert network.class_names == birds.NAMES
    assert network.input_size == (128, 128)
    assert network.index("ruby throated bibbet") == 13


@pytest.mark.parametrize("name", NAMES)
def test_the_record_says_how_they_were_trained(name):
    about = record(name)
    best = about["files"]["best"]
    file = TRAINED / name / best["file"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == best["digest"]
    assert about["finished"]
    assert len(about["history"]) == about["recipe"]["epochs"]
    assert best["test_accuracy"] >= 0.95
    assert sum(row["seconds"] for row in about["history"]) < 30 * 60
    assert about["data"]["test"]["digest"] == birds.DrawnBirds("test").digest()


def test_both_files_together_are_small():
    assert sum((TRAINED / name / "best.safetensors").stat().st_size for name in NAMES) <= 8 * 2**20


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_of_training_lower_the_loss(name, tmp_path):
    torch.manual_seed(0)
    data = birds.DrawnBirds("train", 64)
    few = Recipe(optimiser="adamw", lr=1e-3, weight_decay=0.0, batch_size=16, epochs=3, augmentation="none",
                 in_memory=True)
    outcome = train(finetunable(name, birds.NAMES, weights=None), data, birds.DrawnBirds("test", 16), few, tmp_path,
                    workers=0)
    losses = [row["loss"] for row in outcome["history"]]
    assert losses[-1] < losses[0]


def test_on_the_vgg_the_three_class_maps_differ():
    """Behind global average pooling they are the same up to a factor; a fully connected head keeps them apart."""
    network = models.load("birds_vgg")
    image = network.prepare(birds.DrawnBirds("hard", 1).picture(0))
    maps = [method(network, image, 0, contrast.weighted, upsample=False).flatten()
            for method in (grad_cam, linear_approximation, xgrad_cam)]
    table = torch.corrcoef(torch.stack(maps))
    assert (table[~torch.eye(3, dtype=torch.bool)] < 0.98).all()


def test_the_vgg_can_be_read_before_and_after_batch_normalisation():
    network = models.load("birds_vgg")
    kinds = [type(layer).__name__ for layer in network.model.features[-4:]]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]


def test_another_number_of_classes_needs_other_weights():
    with pytest.raises(WeightsError, match="have 16 classes, not 5"):
        models.load("birds_vgg", num_classes=5)
    assert models.load("birds_vit", weights=None, num_classes=5).num_classes == 5
    file = TRAINED / "birds_vgg" / "best.safetensors"
    with pytest.raises(WeightsError, match="file has 16 classes, the network 5"):
        models.load("birds_vgg", weights=file, num_classes=5)
    with pytest.raises(FileNotFoundError, match="no weights called 'imagenet'"):
        models.load("birds_vgg", weights="imagenet")
    assert json.loads((TRAINED / "birds_vgg" / "record.json").read_text())["class_names"] == list(birds.NAMES)
