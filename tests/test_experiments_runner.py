"""Runs of experiments: interrupted, continued, shared between processes, refused when something has changed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from dataset_files import cub, write
from PIL import Image
from torch import nn
from torch.distributed import HashStore

from contrastlib import __main__ as cli
from contrastlib import data, experiments, models, tables
from contrastlib.data import DataWarning, birds
from contrastlib.experiments import Setting, by_name, provenance, runner
from contrastlib.experiments.runner import ChangedRunError
from contrastlib.experiments.selection import ShardWarning
from contrastlib.names import UnknownNameError

DOMINANCE = by_name("dominance")
SMALL = Setting("birds_vgg", "drawn_birds", "hard", limit=12, layers=("features.27=grad_cam",), shard=5)


def run(folder: Path, setting: Setting = SMALL, experiment=DOMINANCE, report=None, **options):
    return runner.run(experiment, setting, folder, device="cpu", report=report, **options)


def table(folder: Path) -> bytes:
    return (folder / "rows.csv").read_bytes()


def written(folder: Path) -> list[Path]:
    return sorted(folder.glob("shards/*.safetensors"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(folder)
    return folder


def test_rows_say_what_they_are_about_and_what_made_them(finished):
    rows = tables.load(finished / "rows.csv")
    assert rows[["classifier", "data set", "split", "images", "precision"]].drop_duplicates().to_numpy().tolist() == [
        ["birds_vgg", "drawn_birds", "hard", "all", "float32"]]
    (about,) = json.loads((finished / "rows.json").read_text(encoding="utf8")).values()
    assert about["images"] == 12
    assert about["left_out"] == 0
    assert about["code"] == provenance.digest("contrastlib.experiments.dominance")
    assert about["accepted_changes"] == []
    assert about["seconds"] > 0
    assert about["setting"]["limit"] == 12


def test_shards_are_whole_parts_in_order(finished):
    assert [path.stem for path in written(finished)] == ["000000", "000001", "000002"]
    lengths = [len(next(iter(safetensors.torch.load_file(path).values()))) for path in written(finished)]
    assert lengths == [5, 5, 2]


def test_finished_work_is_not_done_again(finished):
    def never(*_arguments):
        raise AssertionError("measured again")

    before = table(finished)
    run(finished, experiment=replace(DOMINANCE, measure=_as(never)))
    assert table(finished) == before


def _as(function):
    """A function that says it is the experiment's own, so that its code counts as unchanged."""
    function.__module__ = DOMINANCE.module
    return function


def test_an_interrupted_run_goes_on_and_ends_the_same(finished, tmp_path):
    calls = []

    def breaks(classifier, batch, setting):
        calls.append(len(batch.labels))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return DOMINANCE.measure(classifier, batch, setting)

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(folder, experiment=replace(DOMINANCE, measure=_as(breaks)))
    assert len(written(folder)) == 1
    assert not (folder / "rows.csv").exists()
    run(folder, experiment=replace(DOMINANCE, measure=_as(breaks)))
    assert calls == [5, 5, 5, 2]  # the second shard twice, no other
    assert table(folder) == table(finished)


def test_progress_counts_images_of_all_shards(tmp_path):
    seen = []
    run(tmp_path / "run", report=lambda *step: seen.append(step))
    assert seen[0] == ("loading birds_vgg and drawn_birds", 0, 0)  # before anything is read
    assert seen[-4:] == [("dominance", done, 12) for done in (0, 5, 10, 12)]


@pytest.fixture
def few_birds(monkeypatch):
    """Rules need predictions of the whole data set."""
    monkeypatch.setattr(data, "load", lambda *_: birds.DrawnBirds("hard", 48))


@pytest.mark.usefixtures("few_birds")
def test_a_rule_predicts_once_however_often_the_run_goes_on(tmp_path):
    setting = replace(SMALL, rule="p2>0.1", limit=3)
    run(tmp_path / "run", setting)
    before = table(tmp_path / "run")
    (kept,) = (tmp_path / "run/predictions").rglob("*.safetensors")
    written = kept.stat().st_mtime_ns
    run(tmp_path / "run", setting)
    run(tmp_path / "run", setting, restart=True)
    assert table(tmp_path / "run") == before
    assert kept.stat().st_mtime_ns == written  # they say of which network, data and code they are


def test_a_damaged_shard_is_computed_again(finished, tmp_path):
    folder = tmp_path / "run"
    run(folder)
    content = written(folder)[1].read_bytes()
    for damaged in (content[:-40], content[:-1] + bytes([content[-1] ^ 1])):
        written(folder)[1].write_bytes(damaged)
        with pytest.warns(ShardWarning, match="000001"):
            run(folder)
        assert table(folder) == table(finished)
        assert written(folder)[1].read_bytes()[-100:] == content[-100:]


# --- changes are noticed ---------------------------------------------------------------------------------------------


def refused(folder: Path, match: str, setting: Setting = SMALL, **options):
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ChangedRunError, match=match):
        run(folder, setting, **options)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept


@pytest.mark.parametrize(("change", "match"), [
    ({"precision": "bfloat16"}, "precision was float32 and is bfloat16"), ({"limit": 11}, "limit was 12 and is 11"),
    ({"shard": 4}, "shard was 5 and is 4"), ({"split": "test"}, "split was hard and is test"),
    ({"model": "birds_vit", "layers": ("patch_embed.backbone",)}, "model was birds_vgg and is birds_vit"),
])
def test_a_changed_setting_is_refused(finished, change, match):
    refused(finished, match, replace(SMALL, **change))


def test_another_experiment_is_refused(finished):
    refused(finished, "experiment was dominance and is logit-norm", experiment=by_name("logit-norm"))


def test_changed_code_is_refused(finished, monkeypatch):
    monkeypatch.setattr(provenance, "digest", lambda _module: "another")
    refused(finished, "code was .* and is another")


def test_changed_pictures_are_refused(finished, monkeypatch):
    monkeypatch.setattr("contrastlib.data.birds.dataset.fingerprint", lambda: "drawn otherwise")
    refused(finished, "data set was")


def test_changed_weights_of_the_same_name_are_refused(tmp_path):
    state = models.load("birds_vgg").model.state_dict()
    file = tmp_path / "own.safetensors"
    safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, file)
    setting = replace(SMALL, weights=str(file))
    run(tmp_path / "run", setting)
    state["classifier.5.bias"] += 1e-3
    safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, file)
    refused(tmp_path / "run", "network was", setting)


def test_a_change_can_be_accepted_and_then_the_rows_say_so(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    run(folder)
    written(folder)[0].unlink()
    monkeypatch.setattr(provenance, "digest", lambda _module: "another")
    run(folder, accept=True)
    (about,) = json.loads((folder / "rows.json").read_text(encoding="utf8")).values()
    assert len(about["accepted_changes"]) == 1
    assert "code was" in about["accepted_changes"][0]
    run(folder)  # accepted once, not asked again
    assert len(json.loads((folder / "run.json").read_text(encoding="utf8"))["accepted"]) == 1


def test_a_run_can_be_begun_anew(tmp_path):
    folder = tmp_path / "run"
    run(folder)
    write(folder / "notes.txt", "mine")
    run(folder, replace(SMALL, limit=6), restart=True)
    assert [path.name for path in written(folder)] == ["000000.safetensors", "000001.safetensors"]
    rows = tables.pick(tables.load(folder / "rows.csv"), **{"from": "-inf", "to": "inf"})
    assert set(rows["n"]) == {6}
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_folder_of_other_things_is_refused(tmp_path):
    write(tmp_path / "photo.txt", "mine")
    refused(tmp_path, "holds no run")


def test_a_damaged_record_is_refused(tmp_path):
    write(tmp_path / "run.json", "{")
    refused(tmp_path, "is damaged")


def test_accepted_changes_never_cost_images(tmp_path):
    """Shards of another size hold other images, and are computed again."""
    folder = tmp_path / "run"
    whole = run(folder)
    with pytest.warns(ShardWarning, match="is of something else: its images"):
        rows = run(folder, replace(SMALL, shard=4), accept=True)
    assert rows["n"].tolist() == whole["n"].tolist()
    (about,) = json.loads((folder / "rows.json").read_text(encoding="utf8")).values()
    assert about["accepted_changes"] == ["the setting shard was 5 and is 4"]
    assert about["left_out"] == 0


def test_restarting_deletes_nothing_that_no_run_wrote(tmp_path):
    other, own = tmp_path / "models", tmp_path / "run"
    run(own)
    strangers = [other / "shards" / "model-00001-of-00002.safetensors", other / "rows.csv", own / "rows.md",
                 own / "shards" / "model.safetensors"]
    for path in strangers:
        write(path, "precious")
    run(own, restart=True)
    refused(other, "holds no run .* but rows.csv: give another --output", restart=True)
    assert all(path.read_text() == "precious" for path in strangers)


@pytest.mark.usefixtures("few_birds")
def test_nothing_is_deleted_before_all_has_been_checked(tmp_path):
    run(tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="selects none"):
        run(tmp_path, replace(SMALL, rule="p2>0.9"), restart=True)
    assert {path: content for path, content in kept.items() if path.read_bytes() == content} == kept


@pytest.mark.parametrize("rule", ["", "p2>0.1"])
@pytest.mark.usefixtures("few_birds")
def test_a_run_that_ended_while_it_was_set_up_goes_on(tmp_path, monkeypatch, rule):
    def full(*_, **_kinds):
        raise OSError(28, "No space left on device")

    folder, setting = tmp_path / "run", replace(SMALL, rule=rule, limit=3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*run\.json'"):
            run(folder, setting)
    write(folder / ".run.json.123.writing", "{")  # what is left when it is killed in the middle
    assert len(run(folder, setting))


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_birds")
def test_a_rule_that_selects_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"p2>0\.9 selects none of the 48 images"):
        run(tmp_path / "run", replace(SMALL, rule="p2>0.9"))


def test_classes_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="has 1000 classes and drawn_birds has 16"):
        run(tmp_path / "run", replace(SMALL, model="tf_efficientnet_lite0"))


def test_a_method_that_reads_no_layer(tmp_path):
    with pytest.raises(ValueError, match="'gradient' is no method that reads a layer; choose from linear"):
        run(tmp_path / "run", replace(SMALL, layers=("features.27=gradient",)))


@pytest.mark.parametrize("change", [{"precision": "float8"}, {"shard": 0}, {"limit": -1}])
def test_settings_that_are_none(change):
    with pytest.raises(ValueError, match=r"must be|needs"):
        replace(SMALL, **change)


def test_an_image_that_cannot_be_read_is_left_out_and_counted(tmp_path):
    folder = cub(tmp_path / "data")
    for path in sorted((folder / "images").rglob("*.jpg")):
        Image.effect_noise((40, 40), 80).convert("RGB").save(path)
    pictures = sorted((folder / "images").rglob("*0.jpg"))
    pictures[0].write_bytes(pictures[0].read_bytes()[:300])
    setting = Setting("birds_vgg", "cub200", "train", weights="none", layers=("features.27=grad_cam",), shard=4)
    with pytest.warns(DataWarning, match="1 of 4 images cannot be read"):
        run(tmp_path / "run", setting, root=str(tmp_path / "data"))
    (about,) = json.loads((tmp_path / "run/rows.json").read_text(encoding="utf8")).values()
    assert (about["images"], about["left_out"]) == (3, 1)


# --- mixed precision, compiled ---------------------------------------------------------------------------------------


def test_mixed_precision_changes_little_and_is_named(finished, tmp_path):
    run(tmp_path / "run", replace(SMALL, precision="bfloat16"))
    exact, mixed = tables.load(finished / "rows.csv"), tables.load(tmp_path / "run/rows.csv")
    assert set(mixed["precision"]) == {"bfloat16"}
    def of(rows):
        return tables.pick(rows, **{"from": "-inf", "to": "inf"}).set_index("metric")["value"].to_dict()
    assert of(mixed) != of(exact)
    assert of(mixed)["positive share original"] == pytest.approx(of(exact)["positive share original"], abs=0.1)


# --- the command line, in processes of its own -----------------------------------------------------------------------

WORDS = ["run", "dominance", "--profile", "embedded-hard", "--limit", "60", "--shard", "3", "--device", "cpu"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}  # torchrun sets it so; the last digits depend on it


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "contrastlib.experiments", *words]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("commands") / "alone"
    done = subprocess.run(command(*WORDS, "--output", str(folder)), env=environment(), capture_output=True, text=True,
                          check=True)
    assert "dominance: 60 of 60 images" in done.stderr
    assert "rows in" in done.stdout
    return folder


def test_a_killed_run_loses_the_shard_in_hand_and_ends_the_same(alone, tmp_path):
    folder = tmp_path / "killed"
    with subprocess.Popen(command(*WORDS, "--output", str(folder)), env=environment(), stderr=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while len(written(folder)) < 4 and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    kept = {path.name: path.stat().st_mtime_ns for path in written(folder)}
    assert 4 <= len(kept) < 20
    assert not (folder / "rows.csv").exists()
    subprocess.run(command(*WORDS, "--output", str(folder)), env=environment(), capture_output=True, check=True)
    assert {path.name: path.stat().st_mtime_ns for path in written(folder) if path.name in kept} == kept
    assert table(folder) == table(alone)


def test_two_processes_give_the_rows_of_one(alone, tmp_path):
    folder = tmp_path / "two"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                "-m", "contrastlib.experiments"]
    done = subprocess.run([*torchrun, *WORDS, "--output", str(folder)], env=environment(), capture_output=True,
                          text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert table(folder) == table(alone)
    (about,) = json.loads((folder / "rows.json").read_text(encoding="utf8")).values()
    assert about["processes"] == 2
    assert done.stdout.count("rows in") == 1  # one speaks


def test_an_error_in_the_first_process_ends_them_all(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                "-m", "contrastlib.experiments"]
    write(tmp_path / "run" / "photo.txt", "mine")
    done = subprocess.run([*torchrun, *WORDS, "--output", str(tmp_path / "run")],
                          env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "holds no run" in done.stderr


def spoken(capsys, *words: str) -> tuple[int, str, str]:
    status = cli.main(words, "experiments")
    out, err = capsys.readouterr()
    return status, out, err


def test_arguments_of_the_constructor_reach_it(monkeypatch):
    asked = {}
    monkeypatch.setattr(models, "load", lambda name, **options: asked.update(options, name=name) or nn.Identity())
    setting, folder = cli.chosen("gradient-sign", "photographs", model="mobilenetv2_100", mean=0.5, std=0.25,
                                 model_args=["pad_type=same", "drop_rate=0.5", "in_chans=None"], contrasts=["max"])
    runner.load_classifier(setting, SimpleNamespace(class_names=None), torch.device("cpu"))
    assert asked["model_args"] == {"pad_type": "same", "drop_rate": 0.5, "in_chans": None}
    assert (asked["name"], asked["mean"], asked["std"]) == ("mobilenetv2_100", 0.5, 0.25)
    assert setting.contrasts == ("max",)
    assert folder.name == "gradient-sign-photographs-mobilenetv2_100"
    back, _ = cli.chosen("gradient-sign", "mobilenetv2", model="resnet18")
    assert (back.model_args, back.mean, back.weights) == ((), None, "default")


def test_only_the_contrasts_that_are_asked_for(tmp_path):
    pushing = by_name("gradient-sign")
    rows = run(tmp_path / "run", replace(SMALL, contrasts=("weighted", "original"), limit=2), pushing)
    assert set(rows.contrast) == {"before", "original", "weighted"}
    with pytest.raises(UnknownNameError, match="no contrast is called 'wieghted'; near names: weighted"):
        run(tmp_path / "none", replace(SMALL, contrasts=("wieghted",), limit=2), pushing)


def test_list_names_every_experiment_and_profile(capsys):
    status, out, _ = spoken(capsys, "list")
    assert status == 0
    for words in ("gradient-sign", "masking-curves", "cub100", "birds_vgg on drawn_birds hard (p2>0.1)"):
        assert words in out


def test_status_says_how_far_a_run_is_and_whether_the_code_has_changed(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = spoken(capsys, "status", str(finished), "--tables", str(finished))
    assert status == 0
    assert "3 of 3 shards of 12 images, rows written; code unchanged since" in out
    assert "rows.csv: birds_vgg, drawn_birds, hard, all, float32; 12 images" in out
    monkeypatch.setattr(provenance, "digest", lambda _module: "another")
    assert "code has changed since" in spoken(capsys, "status", str(finished))[1]
    assert "no runs in runs/" in spoken(capsys, "status")[1]


@pytest.mark.parametrize(("words", "said"), [
    (["run", "gradient_sing"], "near names: gradient-sign"),
    (["run", "masking", "--profile", "embeded"], "near names: embedded"),
    (["run", "dominance", "--limit", "-3"], "the limit must be at least 1"),
    (["run", "dominance", "--model", "resnet81", "--output", "x"], "resnet"),
    (["run", "dominance", "--dataset", "cub2000", "--output", "x"], "cub200"),
    (["run", "dominance", "--layer", "features.99", "--output", "x"], "no layer 'features.99'"),
    (["run", "dominance", "--weights", "gone.safetensors", "--output", "x"], "gone.safetensors"),
    (["run", "dominance", "--device", "cuda:9", "--output", "x"], "no CUDA device 9"),
    (["run", "dominance", "--precision", "int8"], "precision must be float32 or bfloat16, got 'int8'"),
    (["run", "dominance", "--rule", "p2~0.1", "--output", "x"], "a rule has a rank, a comparison and a threshold"),
    (["run", "dominance", "--table", "rows.json", "--output", "x"], "rows go into a .csv file"),
    (["status", "nowhere"], "holds no run"),
])
def test_bad_words_are_refused_in_one_line(words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, err = spoken(capsys, *words)
    assert status == 2
    *steps, last = err.splitlines()
    assert last.startswith("contrastlib.experiments: ")
    assert said in last
    assert all(step.startswith("dominance: ") for step in steps)


def test_progress_tells_the_time_left(capsys, monkeypatch):
    now = iter([99.0, 100.0, 110.0, 130.0, 131.0])
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(now))
    tell = cli.Progress("masking")
    tell("loading birds_vgg", 0, 0)
    for done in (400, 410, 430, 1000):
        tell("masking", done, 1000)
    # An earlier run had done 400 images; 30 since then in 30 s, and 570 are left: 570 s. Not a line each time.
    assert capsys.readouterr().err.splitlines() == [
        "masking: loading birds_vgg", "masking: 400 of 1000 images", "masking: 430 of 1000 images, 09:30 left",
        "masking: 1000 of 1000 images, 00:00 left"]


def test_on_a_terminal_progress_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(cli.sys.stderr, "isatty", lambda: True)
    tell = cli.Progress("masking")
    for done in (0, 5, 10):
        tell("masking", done, 10)
    tell.bar.close()
    said = capsys.readouterr().err
    assert "masking: 100%" in said
    assert "10/10" in said


def test_another_network_begins_with_layers_and_weights_of_its_own():
    words = ["run", "masking", "--profile", "cub100", "--model", "resnet18", "--limit", "0"]
    given = vars(cli.parser("experiments").parse_args(words))
    assert given.pop("run") is cli.run_experiment
    setting, folder = cli.chosen(**given)
    assert (setting.model, setting.weights, setting.layers, setting.limit, setting.rule) == (
        "resnet18", "default", (), None, "p2>0.1")
    assert folder == Path("runs/masking-cub100-resnet18-None")


def test_every_field_of_a_setting_has_an_option():
    given = vars(cli.parser("experiments").parse_args(
        ["run", "masking", "--weights", "none", "--crop", "--input-size", "64", "--rule", "all", "--limit", "none",
         "--layer", "a", "b=grad_cam", "--layer", "c", "--shard", "4", "--precision", "bfloat16", "--compile",
         "--dataset", "cub200", "--split", "train", "--model", "resnet18"]))
    del given["run"]
    setting, folder = cli.chosen(**given)
    assert setting == Setting("resnet18", "cub200", "train", weights="none", crop=True, input_size=64,
                              layers=("a", "b=grad_cam", "c"), shard=4, precision="bfloat16", compiled=True)
    assert folder == Path("runs/masking-embedded-resnet18-cub200-train--None-bfloat16-compiled")


def test_a_process_that_waits_says_for_whom(monkeypatch):
    """A process that hangs is named by those that wait for it, and the rest goes on when it comes."""
    monkeypatch.setattr(runner, "_PATIENCE", 0.2)
    board = HashStore()
    first, second = (runner.Processes(rank, 2, rank, board) for rank in (0, 1))
    late = threading.Timer(0.5, second.wait, ["to compute its share"])
    late.start()
    with pytest.warns(RuntimeWarning, match=r"process 0 has waited 0 s for process 1 to compute its share"):
        first.wait("to compute its share")
    assert first.from_first(lambda: ["key", [1, 2]], "to open the run") == ["key", [1, 2]]
    assert second.from_first(list, "to open the run") == ["key", [1, 2]]


# --- the face for readers --------------------------------------------------------------------------------------------


def test_an_experiment_is_one_call(finished):
    rows = experiments.run("dominance", "birds_vgg", "drawn_birds", split="hard", limit=12, shard=5,
                           layers=("features.27=grad_cam",), device="cpu")
    assert tables.as_csv(rows).encode() == table(finished)


def test_a_network_and_a_data_set_of_ones_own(finished, tmp_path):
    network, hard = models.load("birds_vgg"), data.load("drawn_birds", "hard")
    rows = experiments.run("dominance", network, hard, limit=12, shard=5, layers=("features.27=grad_cam",),
                           folder=tmp_path / "run")
    exact = tables.load(finished / "rows.csv")
    assert rows.drop(columns=["value", "low", "high"]).equals(exact.drop(columns=["value", "low", "high"]))
    assert rows["value"].to_numpy() == pytest.approx(exact["value"].to_numpy(), abs=1e-3)
    assert table(tmp_path / "run") == tables.as_csv(rows).encode()
    with pytest.raises(TypeError, match="limits"):
        experiments.run("dominance", network, hard, limits=12)


def test_no_warning_is_left_over(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path / "run", replace(SMALL, limit=4, compiled=False))
    assert not [p for p in models.load("birds_vgg").parameters() if p.grad is not None]
    assert torch.is_grad_enabled()
