"""Training: steps that learn, epochs that can be interrupted, and files that say what they are."""

import hashlib
import json
import math
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn
from training_data import Blobs, small

from contrastlib.experiments import training
from contrastlib.experiments.training import Callback, DivergedError, Recipe, evaluate, seeded, train
from contrastlib.store import ChangedError, DamagedError, digest, lock, read_json

RECIPE = Recipe(lr=0.05, batch_size=8, epochs=4, augmentation="light_tensor", in_memory=True, seed=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a whole training."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)


def run(folder, recipe=RECIPE, train_set=None, test_set=None, classifier=None, **options) -> dict:
    options = {"workers": 0} | options
    train_set, test_set = (own if given is None else given
                           for given, own in ((train_set, Blobs(42)), (test_set, Blobs(16, "test"))))
    return train(classifier or small(), train_set, test_set, recipe, folder, **options)


def weights(folder, name="last"):
    with safe_open(folder / f"{name}.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping, whatever it looks like


def rows(record):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in record["history"]]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_it_learns(finished):
    _, record = finished
    assert record["history"][-1]["loss"] < 0.8 * record["history"][0]["loss"]
    assert record["files"]["best"]["test_accuracy"] > 0.8  # a third by chance


def test_the_record_is_complete(finished):
    folder, record = finished
    assert read_json(folder / "record.json") == record
    assert record["finished"]
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3, 4]
    assert all(row["seconds"] > 0 and 0 <= row["train_accuracy"] <= 1 for row in record["history"])
    assert Recipe(**record["recipe"]) == RECIPE
    assert (record["model"], record["data_set"], record["device"]) == ("small", "blobs", "cpu")
    assert record["class_names"] == list(Blobs(1).class_names)
    assert {"python", "torch", "torchvision", "timm", "contrastlib"} <= set(record["versions"])
    assert record["data"] == {"training": {"split": "train", "images": 42, "digest": Blobs(42).digest()},
                           "test": {"split": "test", "images": 16, "digest": Blobs(16, "test").digest()}}
    assert record["held_out"] == "test"
    assert "test split itself" in record["note"]
    assert record["starting_weights"] == {"source": "the user's own model", "digest": None, "licence": None}
    for name, stored in record["files"].items():
        assert stored["digest"] == hashlib.sha256((folder / stored["file"]).read_bytes()).hexdigest()
        assert stored["file"] == f"{name}.safetensors"
        row = record["history"][stored["epoch"] - 1]
        assert stored["test_accuracy"] == row["held_out_accuracy"]
        assert stored["test_loss"] == pytest.approx(row["held_out_loss"])


def test_best_and_last_are_told_apart(tmp_path):
    """A learning rate that falls off a cliff makes the last epoch worse than an earlier one."""
    class Spoil(Callback):
        def finished(self, row):
            if row["epoch"] == 2:  # what the third epoch starts from is worse than what the second ended with
                nn.init.zeros_(classifier.model[-1].weight)

    classifier = small()
    recipe = replace(RECIPE, epochs=3, lr=0.05)
    record = run(tmp_path, replace(recipe, schedule="cosine"), classifier=classifier, callback=Spoil())
    best, last = record["files"]["best"], record["files"]["last"]
    assert (best["epoch"], last["epoch"]) == (record["best_epoch"], 3)
    assert best["epoch"] == 2
    assert best["test_accuracy"] > last["test_accuracy"]
    for name, stored in (("best", best), ("last", last)):
        with safe_open(tmp_path / stored["file"], "pt") as file:
            about = json.loads(file.metadata()["contrastlib"])
        assert (about["epoch"], about["model"], about["data_set"]) == (stored["epoch"], "small", "blobs")
        assert about["test_accuracy"] == stored["test_accuracy"], name
        assert about["recipe"]["epochs"] == 3
        assert about["class_names"] == digest(record["class_names"])
    assert_same(classifier.model.state_dict(), weights(tmp_path, "best"))
    assert not classifier.model.training


# One step, written a second time


def test_a_step_is_the_papers_sgd(tmp_path):
    """v <- 0.9 v + (g + 5e-4 w); w <- w - 1e-3 v, on all layers, from the mean cross entropy of the batch."""
    data, classifier = Blobs(12), small()
    recipe = Recipe(batch_size=12, epochs=2, augmentation="none")
    model = small().model.train()
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    images = torch.stack([data[i].image for i in range(12)])
    for _ in range(2):
        labels = torch.tensor(data.labels)
        loss = F.cross_entropy(model((images - classifier.mean) / classifier.std), labels)
        for p, v, g in zip(model.parameters(), velocity, torch.autograd.grad(loss, list(model.parameters()))):
            v.mul_(0.9).add_(g + 5e-4 * p.detach())
            p.data.sub_(1e-3 * v)
    run(tmp_path, recipe, train_set=data, classifier=classifier)
    for name, tensor in weights(tmp_path).items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_all_layers_are_trained_also_frozen_ones(tmp_path):
    classifier = small()
    classifier.model.requires_grad_(False)
    before = {name: p.clone() for name, p in classifier.model.named_parameters()}
    run(tmp_path, replace(RECIPE, epochs=1), classifier=classifier)
    assert not [name for name, p in classifier.model.named_parameters() if torch.equal(p, before[name])]


def test_labels_are_smoothed_in_training_only(tmp_path):
    recipe = replace(RECIPE, epochs=1, lr=1e-12, augmentation="none", batch_size=42, label_smoothing=0.5)
    classifier = small()
    row = run(tmp_path, recipe, train_set=Blobs(42), test_set=Blobs(42), classifier=classifier)["history"][0]
    found = evaluate(classifier, Blobs(42))
    assert row["held_out_loss"] == pytest.approx(found.loss)
    assert row["loss"] != pytest.approx(found.loss, rel=1e-3)


# Interruptions


SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_training import RECIPE, Callback, replace, run

class Die(Callback):
    def stepped(self, epoch, step, steps):
        if epoch == 3 and step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

run(sys.argv[2], replace(RECIPE, ema=0.9), callback=Die())
"""


def test_a_killed_training_goes_on_to_the_same_numbers(tmp_path):
    torch.rand(7)  # what was drawn before must not matter
    recipe = replace(RECIPE, ema=0.9)
    whole = run(tmp_path / "whole", recipe)
    words = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path / "killed"), "2"]
    killed = subprocess.run(words, check=False, capture_output=True, text=True,
                            cwd=Path(__file__).parents[1])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(read_json(tmp_path / "killed" / "record.json")["history"]) == 2
    told = []

    class Told(Callback):
        def resumed(self, epoch):
            told.append(epoch)

    resumed = run(tmp_path / "killed", recipe, callback=Told())
    assert told == [2]
    assert rows(resumed) == rows(whole)
    for name in ("best", "last"):
        assert_same(weights(tmp_path / "killed", name), weights(tmp_path / "whole", name))
    assert resumed["files"] == whole["files"]


def test_dropout_and_single_pictures_draw_the_same_after_an_interruption(tmp_path):
    class Stop(Callback):
        def stepped(self, epoch, _step, _steps):
            if epoch == 2:
                raise KeyboardInterrupt

    recipe = replace(RECIPE, in_memory=False, augmentation="crops_and_flips", epochs=2)
    whole = run(tmp_path / "whole", recipe, train_set=Blobs(10), classifier=small(dropout=0.5))
    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "two", recipe, train_set=Blobs(10), classifier=small(dropout=0.5), callback=Stop())
    assert torch.equal(torch.get_rng_state(), state)  # other people's draws are left alone
    resumed = run(tmp_path / "two", recipe, train_set=Blobs(10), classifier=small(dropout=0.5))
    assert rows(resumed) == rows(whole)
    assert_same(weights(tmp_path / "two"), weights(tmp_path / "whole"))


def test_the_number_of_workers_changes_nothing(tmp_path):
    recipe = replace(RECIPE, in_memory=False, augmentation="paper", epochs=2)
    none, one = (run(tmp_path / str(n), recipe, Blobs(10), Blobs(4, "test"), workers=n) for n in (0, 1))
    assert rows(none) == rows(one)
    assert_same(weights(tmp_path / "0"), weights(tmp_path / "1"))


def test_weights_that_an_interruption_kept_from_being_written_are_written(tmp_path):
    recipe = replace(RECIPE, epochs=1)
    record = run(tmp_path, recipe)
    (tmp_path / "best.safetensors").write_bytes(b"of an earlier epoch")
    (tmp_path / "last.safetensors").unlink()
    assert run(tmp_path, recipe)["files"] == record["files"]


@pytest.mark.parametrize(("changes", "told"), [
    ({"recipe": replace(RECIPE, lr=0.01)}, r"the recipe lr was 0.05 and is 0.01\. .*--output.*--restart"),
    ({"train_set": Blobs(41)}, r"training digest was \w{12}... and is \w{12}...; the training images was 42 and is 41"),
    ({"classifier": small(name="other")}, "the model was small and is other"),
    ({"validation": 0.2}, "the held_out was test and is validation"),
])
def test_another_training_in_the_folder_is_refused(finished, changes, told):
    folder, record = finished
    with pytest.raises(ChangedError, match=told):
        run(folder, **changes)
    assert read_json(folder / "record.json") == record


def test_restart_begins_anew(tmp_path):
    run(tmp_path, replace(RECIPE, epochs=2))
    (tmp_path / "notes.txt").write_text("mine")
    record = run(tmp_path, replace(RECIPE, epochs=1), restart=True)
    assert len(record["history"]) == 1
    assert (tmp_path / "notes.txt").exists()


def test_a_damaged_checkpoint_is_named(finished, tmp_path):
    folder, _ = finished
    content = (folder / "checkpoint.pt").read_bytes()
    flipped = bytearray(content)
    weight = torch.load(folder / "checkpoint.pt", weights_only=True)["model"]["0.weight"]
    flipped[content.index(weight.numpy().tobytes())] ^= 1  # torch reads it without a word
    for damaged in (b"", b"no checkpoint", content[:len(content) // 2], flipped):
        (tmp_path / "checkpoint.pt").write_bytes(damaged)
        with pytest.raises(DamagedError, match=r"checkpoint.pt is damaged, or no checkpoint .*--restart"):
            run(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(DamagedError, match="no checkpoint of a training"):
        run(tmp_path)
    kept = torch.load(folder / "checkpoint.pt", weights_only=True)
    del kept["schedule"]  # of the same training, written by other code
    torch.save(kept, tmp_path / "checkpoint.pt")
    with pytest.raises(DamagedError, match="no checkpoint of a training"):
        run(tmp_path)
    (tmp_path / "checkpoint.pt").rename(tmp_path / "best.safetensors")
    with pytest.raises(ChangedError, match=r"holds best.safetensors of a training, but no checkpoint.pt"):
        run(tmp_path)


def test_damaged_weights_are_named(tmp_path):
    class Damage(Callback):
        def finished(self, row):
            if row["epoch"] == 2:
                (tmp_path / "best.safetensors").write_bytes(b"")

    with pytest.raises(DamagedError, match=r"best.safetensors is missing, damaged or .*--restart"):
        run(tmp_path, replace(RECIPE, epochs=2), callback=Damage())


def test_a_full_disk_names_the_file_and_keeps_the_epoch_before(tmp_path):
    recipe, (soft, hard) = replace(RECIPE, epochs=2), resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = run(tmp_path / "whole", recipe)

    class Fill(Callback):
        def stepped(self, epoch, _step, _steps):
            if epoch == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))

    try:
        with pytest.raises(OSError, match=r"checkpoint\.pt"):
            run(tmp_path / "full", recipe, callback=Fill())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert rows(run(tmp_path / "full", recipe)) == rows(whole)


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_PATIENCE", 0.1)
    with lock(tmp_path / "checkpoint.pt"), pytest.raises(ChangedError, match=r"another process trains .*--output"):
        run(tmp_path)


def test_nothing_half_written_is_left(finished):
    folder, _ = finished
    found = sorted(path.name for path in folder.iterdir())
    assert found == [".checkpoint.pt.lock", "best.safetensors", "checkpoint.pt", "last.safetensors", "record.json"]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_epoch(tmp_path):
    class Poison(Callback):
        def finished(self, row):
            if row["epoch"] == 1:
                nn.init.constant_(classifier.model[-1].bias, math.inf)

    classifier = small()
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) in epoch 2, step 1 of 6; epoch 1 is kept"):
        run(tmp_path, classifier=classifier, callback=Poison())
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 1
    assert all(v.isfinite().all() for v in state["model"].values())
    with pytest.raises(DivergedError, match="no epoch was done"):
        run(tmp_path / "other", replace(RECIPE, lr=1e30, epochs=1))


# Options


def test_half_precision_is_measured_as_it_is_stored(tmp_path):
    classifier = small()
    record = run(tmp_path, replace(RECIPE, epochs=1), half=True, classifier=classifier)
    stored = weights(tmp_path, "best")
    assert {v.dtype for v in stored.values() if v.is_floating_point()} == {torch.float16}
    best = record["files"]["best"]
    assert best["dtype"] == "float16"
    assert torch.equal(classifier.model[-1].bias, stored["6.bias"].float())
    found = evaluate(classifier, Blobs(16, "test"))
    assert (best["test_accuracy"], best["test_loss"]) == pytest.approx((found.accuracy, found.loss))
    assert best["test_loss"] != record["history"][0]["held_out_loss"]


def test_weights_too_large_for_half_precision_are_named(tmp_path):
    classifier = small()
    nn.init.constant_(classifier.model[0].bias, 1e6)
    with pytest.raises(ValueError, match=r"0\.bias holds numbers that float16 cannot"):
        run(tmp_path, replace(RECIPE, epochs=1), half=True, classifier=classifier)


def test_averaged_weights_are_what_counts(tmp_path):
    class Keep(Callback):
        def finished(self, _row):
            running.append({k: v.clone() for k, v in classifier.model.state_dict().items()})

    running: list = []
    classifier = small()
    recipe = replace(RECIPE, batch_size=42, epochs=2, ema=0.5, augmentation="none")
    begun = {k: v.clone() for k, v in classifier.model.state_dict().items()}
    run(tmp_path, recipe, classifier=classifier, callback=Keep())
    decays = (1 / 10, 2 / 11)  # it rises: min(decay, (1 + n) / (10 + n))
    mean = begun["6.weight"]
    for now, decay in zip(running, decays):
        mean = decay * mean + (1 - decay) * now["6.weight"]
    torch.testing.assert_close(weights(tmp_path)["6.weight"], mean)


def test_a_share_held_out_chooses(tmp_path):
    record = run(tmp_path, replace(RECIPE, epochs=2), validation=0.25)
    assert (record["data"]["training"]["images"], record["data"]["validation"]["images"]) == (30, 12)
    assert record["held_out"] == "validation"
    assert "test split itself" not in record["note"]
    assert record["files"]["best"]["test_accuracy"] in [k / 16 for k in range(17)]


def test_workers_and_memory_layout_are_options_of_speed_only(tmp_path):
    plain = run(tmp_path / "plain", replace(RECIPE, epochs=1))
    last = run(tmp_path / "last", replace(RECIPE, epochs=1, channels_last=True))
    assert plain["history"][0]["loss"] == pytest.approx(last["history"][0]["loss"], rel=1e-3)


def test_mixed_precision_trains_the_weights_in_full_precision(tmp_path, monkeypatch):
    autocast, asked = torch.autocast, []

    def forced(device, **options):
        asked.append(options["enabled"])
        return autocast(device, dtype=torch.bfloat16)

    full = run(tmp_path / "full", replace(RECIPE, epochs=1))
    monkeypatch.setattr(torch, "autocast", forced)
    mixed = run(tmp_path / "mixed", replace(RECIPE, epochs=1))
    assert not any(asked)  # on CUDA devices only
    assert mixed["history"][0]["loss"] != full["history"][0]["loss"]
    assert mixed["history"][0]["loss"] == pytest.approx(full["history"][0]["loss"], rel=0.02)
    assert {v.dtype for v in weights(tmp_path / "mixed").values() if v.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize(("changes", "told"), [
    ({"train_set": Blobs(9).subset([])}, "the split train of blobs has no images"),
    ({"test_set": Blobs(9, "test").subset([])}, "the split test of blobs has no images"),
    ({"classifier": small(classes=4)}, "small has 4 classes and blobs 3: give the network a new head"),
    ({"validation": 1.0}, r"validation is a share in \[0, 1\)"),
    ({"validation": 0.01}, "holds no image out"),
])
def test_wrong_input_is_named(tmp_path, changes, told):
    with pytest.raises(ValueError, match=told):
        run(tmp_path, **changes)


def test_other_classes_in_the_test_split_are_named(tmp_path):
    other = Blobs(9, "test")
    other.class_names = ("red", "blue", "green")
    with pytest.raises(ValueError, match="the classes of blobs test are not those of the training images"):
        run(tmp_path, test_set=other)


def test_evaluation_is_the_mean_over_all_images():
    classifier, data = small(dropout=0.5), Blobs(11)
    classifier.train()
    found = evaluate(classifier, data, batch_size=4)
    assert classifier.model.training  # as it was
    logits = classifier.eval()(torch.stack([sample.image for sample in data]))
    labels = torch.tensor(data.labels)
    assert found.accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert found.loss == pytest.approx(-logits.log_softmax(1)[range(11), labels].mean().item(), rel=1e-5)
    assert found.n == 11
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        evaluate(classifier, data, batch_size=0)
    with pytest.raises(ValueError, match="no images to evaluate on"):
        evaluate(classifier, data.subset([]))


def test_evaluation_that_fails_leaves_the_mode_as_it_was():
    classifier = small(dropout=0.5)
    classifier.train()
    classifier.model.forward = Mock(side_effect=OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        evaluate(classifier, Blobs(3))
    assert classifier.model.training


def test_draws_depend_on_their_numbers_alone():
    with seeded(1, 2):
        one = torch.rand(3)
    torch.rand(5)
    with seeded(1, 2):
        assert torch.equal(torch.rand(3), one)
    with seeded(2, 1):
        assert not torch.equal(torch.rand(3), one)
