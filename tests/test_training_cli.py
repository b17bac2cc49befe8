"""``python -m contrastlib.training``: what it trains, prints, and refuses in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from training_data import Blobs, small

from contrastlib import __main__ as cli
from contrastlib import data
from contrastlib.experiments import training
from contrastlib.experiments.training import Recipe

QUICK = ("--dataset", "blobs", "--model", "small", "--workers", "0", "--epochs", "2", "--batch-size", "8",
         "--augmentation", "none", "--lr", "0.05", "--device", "cpu")


@pytest.fixture(autouse=True)
def fakes(monkeypatch, tmp_path):
    """An empty folder, a data set that needs no files, and a network that takes no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # undone afterwards
    asked = {}

    def load(name, split, root, download):
        asked[split] = (name, root, download)
        return Blobs(24 if split == "train" else 9, split)

    def finetunable(name, class_names, **options):
        asked["finetunable"] = (name, tuple(class_names), options)
        return small()

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(training, "finetunable", finetunable)
    return asked


def run(capsys, *words):
    code = cli.main(words, "training")
    out, err = capsys.readouterr()
    return code, out, err


def last_line(err: str) -> str:
    """The one line that says how it ended, behind those that say how far it was."""
    *progress, last = err.splitlines()
    assert all(line.startswith("training: ") for line in progress)
    return last


def test_a_training_from_the_command_line(fakes, capsys):
    code, out, err = run(capsys, *QUICK, "--root", "pictures", "--nesterov", "--head-lr", "0.1")
    assert code == 0
    first, *_, last = err.splitlines()  # through a pipe
    assert first == "training: 1 of 6 steps"
    assert last == "training: 6 of 6 steps, 00:00 left"
    lines = out.splitlines()
    assert lines[0] == ("small (the user's own model) on 24 images of blobs, 9 to test on; 2 epochs on cpu; "
                        "kept in runs/blobs-small")
    assert [line.split()[:2] for line in lines[1:3]] == [["epoch", "1"], ["epoch", "2"]]
    assert [line.partition(":")[0] for line in lines[3:5]] == ["last", "best"]
    assert "test split itself" in lines[5]
    record = json.loads(Path("runs/blobs-small/record.json").read_text())
    assert Recipe(**record["recipe"]) == Recipe(lr=0.05, head_lr=0.1, nesterov=True, batch_size=8, epochs=2,
                                             augmentation="none")
    assert fakes["train"] == fakes["test"] == ("blobs", "pictures", False)
    assert fakes["finetunable"] == ("small", ("red", "green", "blue"),
                              {"weights": "default", "device": "cpu", "seed": 0, "crop": False})


def test_the_same_command_goes_on_and_another_is_refused(capsys):
    run(capsys, *QUICK)
    code, out, _ = run(capsys, *QUICK)
    assert code == 0
    assert "going on after epoch 2" in out
    code, _, err = run(capsys, *QUICK, "--weight-decay", "0")
    assert code == 2
    assert err.count("\n") == 1
    assert "the recipe weight_decay was 0.0005 and is 0.0" in err
    assert "--restart" in err
    assert run(capsys, *QUICK, "--weight-decay", "0", "--restart")[0] == 0
    assert run(capsys, *QUICK, "--weight-decay", "0.1", "--output", "elsewhere")[0] == 0


def test_options_reach_the_network(fakes, capsys):
    code, *_ = run(capsys, *QUICK, "--weights", "none", "--input-size", "16", "--crop", "--half", "--validation",
                   "0.25", "--ema", "none", "--channels-last", "--output", "out")
    assert code == 0
    assert fakes["finetunable"][2] == {"weights": None, "device": "cpu", "seed": 0, "input_size": 16}
    record = json.loads(Path("out/record.json").read_text())
    assert (record["held_out"], record["files"]["best"]["dtype"]) == ("validation", "float16")


@pytest.mark.parametrize(("words", "told"), [
    (["--recipe", "papre"], "no recipe is called 'papre'; near names: paper"),
    (["--batch-size", "0"], "batch_size must lie in"),
    (["--device", "cuda:0"], "no CUDA device can be used here"),
    (["--device", "warp"], "device"),
    (["--workers", "-1"], "--workers must be 0 or more"),
    (["--validation", "2"], "validation is a share"),
    (["--in-memory", "--augmentation", "paper"], "in_memory holds pictures"),
    (["--lr", "1e30"], "the loss is"),
])
def test_wrong_input_is_one_line(capsys, monkeypatch, words, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, err = run(capsys, *QUICK, *words)
    assert code == 2
    assert told in last_line(err)
    assert "Traceback" not in err + out


def test_unknown_names_are_answered_with_near_ones(capsys, monkeypatch):
    monkeypatch.undo()
    for words, near in ((["--dataset", "cbu200", "--model", "resnet18"], "cub200"),
                        (["--dataset", "drawn_birds", "--model", "resnet81"], "resnet18")):
        code, _, err = run(capsys, *words, "--device", "cpu", "--weights", "none")
        assert (code, err.count("\n")) == (2, 1)
        assert near in err


def test_a_picture_that_a_worker_cannot_read_is_one_line(capsys, monkeypatch):
    def unreadable(self, i):
        with Image.open(f"{self.ids[i]}.png") as image:
            return image

    monkeypatch.setattr(Blobs, "picture", unreadable)
    monkeypatch.setattr(Blobs, "_content", lambda self, i: self.ids[i].encode())
    code, _, err = run(capsys, *QUICK, "--workers", "1")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("contrastlib.training: ")
    assert ".png" in err
    assert "Traceback" not in err


def test_a_number_that_is_none_is_refused_before_anything_is_read(fakes, capsys):
    for words, told in ((("--lr", "fast"), "argument --lr: invalid float value: 'fast'"),
                        (("--epochs", "1.5"), "argument --epochs: invalid int value: '1.5'"),
                        (("--ema", "much"), "argument --ema: invalid float or none value: 'much'")):
        with pytest.raises(SystemExit):
            cli.main([*QUICK, *words], "training")
        assert told in capsys.readouterr().err
    assert not fakes


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Progress, "finished", interrupted)
    code, _, err = run(capsys, *QUICK)
    assert code == 130
    assert "kept in runs/blobs-small/checkpoint.pt; the same command goes on from there" in last_line(err)
    monkeypatch.setattr(cli.Progress, "stepped", interrupted)
    code, _, err = run(capsys, *QUICK, "--output", "other")
    assert (code, err) == (130, "stopped: no epoch was done\n")


def test_a_full_disk_is_told_with_what_is_kept(capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "runs/blobs-small/checkpoint.pt")

    monkeypatch.setattr(cli.Progress, "finished", full)
    code, _, err = run(capsys, *QUICK)
    assert code == 2
    assert ("No space left on device: 'runs/blobs-small/checkpoint.pt'; the epochs that are done are kept in"
            in last_line(err))


def test_a_terminal_sees_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = run(capsys, *QUICK)
    assert code == 0
    assert "epoch 2: " in err
    assert "loss=" in err
    assert "\nepoch   2  loss" in out


def test_it_is_a_command():
    shown = subprocess.run([sys.executable, "-m", "contrastlib.training", "--help"], capture_output=True, text=True,
                           check=True, cwd=Path(__file__).parents[1])
    for field in Recipe.__dataclass_fields__:
        assert f"--{field.replace('_', '-')}" in shown.stdout
    assert shown.stderr == ""
