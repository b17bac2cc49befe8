"""Explorables of a classifier, at once and in the background."""

import functools
import io
import threading

import ipywidgets
import numpy as np
import pytest
import torch
from networks import images, pooled, tiny
from PIL import Image

from contrastlib import contrast, explorables
from contrastlib.attribution import full_grad, grad_cam
from contrastlib.explorables import contrast_explorer as making


def stored(explorer):
    return [m["name"] for m in explorer.pictures[explorer.picture]["methods"]]


def test_maps_are_the_attributions():
    classifier, image = tiny(), images()[0]
    methods = {"Grad-CAM": grad_cam, "FullGrad": functools.partial(full_grad.class_maps, size=(4, 4)),
               "first layer": functools.partial(grad_cam.class_maps, layer="first")}
    explorer = explorables.contrasts(classifier, image, methods, target=1, contrast="max", labels=[3])
    assert stored(explorer) == list(methods)
    assert explorer.pictures[0]["label"] == 3
    exact = grad_cam(classifier, image[None], 1, contrast.max, upsample=False)[0, 0].numpy()
    assert np.abs(explorer.relevance() - exact).max() < 0.005 * np.ptp(exact)
    explorer.method = "first layer"
    assert explorer.relevance().shape == (8, 8)


def test_many_classes_come_in_chunks(monkeypatch):
    monkeypatch.setattr(making, "CHUNK", 4)
    told = []
    classifier = pooled(10)
    state = explorables.picture_of(classifier, images(1, 16), {"a": grad_cam, "b": grad_cam},
                               progress=lambda done, what: told.append((done, what)))
    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], len(shares)) == (0, 1, 7)
    assert {what for _, what in told} == {"a", "b", ""}
    whole = grad_cam.class_maps(classifier, images(1, 16)).maps[0].numpy()
    explorer = explorables.contrasts(classifier, images(1, 16), contrast="original", target=9)
    assert np.abs(explorer.relevance() - whole[9]).max() < 0.005 * np.ptp(whole[9])
    assert len(state["logits"]) == 40


@pytest.mark.parametrize("given", ["path", "image", "array", "tensor", "several", "by title"])
def test_photographs_of_every_kind(given, tmp_path):
    pixels = (255 * images(1)[0].permute(1, 2, 0).numpy()).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    photos = {"path": tmp_path / "cat.png", "image": Image.fromarray(pixels), "array": pixels, "tensor": images(1),
              "several": images(2), "by title": {"one": images(1), "two": pixels}}
    explorer = explorables.contrasts(tiny(), photos[given])
    assert len(explorer.pictures) == (2 if given in ("several", "by title") else 1)
    assert explorer.names == [f"class {c}" for c in range(6)]


def test_bad_photographs():
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        explorables.picture_of(tiny(), images(2))
    with pytest.raises(ValueError, match="2 photographs need as many labels, got 1"):
        explorables.contrasts(tiny(), images(2), labels=[1])
    with pytest.raises(ValueError, match="at least one method"):
        explorables.LiveExplorer(tiny(), methods={})


def test_live_explains_in_the_background(tmp_path):
    Image.fromarray((255 * images(1)[0].permute(1, 2, 0).numpy()).astype(np.uint8)).save(tmp_path / "cat.png")
    explorer = explorables.LiveExplorer(tiny(), contrast="max")
    assert explorer.live
    assert not explorer.pictures
    explorer.open_photograph(tmp_path / "cat.png")
    explorer.wait(60)
    assert (explorer.progress, explorer.problem, explorer.status) == (1, "", "")
    assert explorer.pictures[0]["title"] == "cat.png"
    assert explorer.target == explorer.likeliest()
    explorer.target, explorer.foils, explorer.contrast = 4, [1], "foil"
    assert explorer.weights().tolist() == [0, 1, 0, 0, 0, 0]


def test_live_takes_what_the_reader_hands_in():
    explorer = explorables.LiveExplorer(tiny(), images(1), keep=2)
    explorer.wait(60)
    explorer.foils, explorer.pinned = [1], {"target": 1}
    for name in ("dog.png", "owl.png"):
        file = io.BytesIO()
        Image.new("RGB", (9, 9), "green").save(file, "PNG")
        explorer._handle_custom_msg({"kind": "photograph", "name": name}, [memoryview(file.getvalue())])
        explorer.wait(60)
    assert [state["title"] for state in explorer.pictures] == ["dog.png", "owl.png"]
    assert (explorer.picture, explorer.foils, explorer.pinned) == (1, [], {})


def test_a_photograph_stands_upright_however_it_comes(tmp_path):
    """As its file states, by its path and handed in."""
    photo = Image.new("RGB", (60, 20), "red")
    photo.paste("blue", (0, 0, 30, 20))
    exif = photo.getexif()
    exif[0x112] = 6  # held on its side
    photo.save(tmp_path / "photo.jpg", exif=exif)
    explorer = explorables.LiveExplorer(tiny(), tmp_path / "photo.jpg")
    explorer.wait(60)
    content = (tmp_path / "photo.jpg").read_bytes()
    explorer._handle_custom_msg({"kind": "photograph", "name": "photo.jpg"}, [content])
    explorer.wait(60)
    opened, handed_in = explorer.pictures
    assert opened == handed_in == explorables.picture_of(tiny(), content, title="photo.jpg")


@pytest.mark.parametrize(("content", "says"), [
    (b"no picture", "notes.txt could not be explained: the picture is not an image file"),
    ("missing.png", "missing.png could not be explained")])
def test_live_says_what_cannot_be_explained(content, says):
    explorer = explorables.LiveExplorer(tiny(), images(1))
    explorer.wait(60)
    if isinstance(content, bytes):
        explorer._handle_custom_msg({"kind": "photograph", "name": "notes.txt"}, [content])
    else:
        explorer.open_photograph(content)
    with pytest.raises(ValueError, match=says):
        explorer.wait(60)
    assert len(explorer.pictures) == 1  # the one before stays
    explorer.open_photograph(images(1))
    explorer.wait(60)
    assert explorer.problem == ""


def test_a_later_photograph_takes_the_place_of_one_being_computed():
    began, go_on, running = threading.Event(), threading.Event(), []

    def slow(classifier, image, classes):
        running.append(threading.current_thread())
        if not began.is_set():
            began.set()
            assert go_on.wait(30)
        assert running == [threading.current_thread()]  # nobody else reads the network's layers meanwhile
        running.clear()
        return grad_cam.class_maps(classifier, image, classes)

    explorer = explorables.LiveExplorer(tiny(), images(1), {"slow": slow, "again": slow})
    assert began.wait(30)
    with pytest.raises(TimeoutError, match=r"not ready in 0\.01 seconds"):
        explorer.wait(0.01)
    first = explorer._thread
    explorer.open_photograph(images(1, seed=2), "second")
    go_on.set()
    explorer.wait(60)
    first.join(60)
    assert [state["title"] for state in explorer.pictures] == ["second"]
    assert explorer.progress == 1


def test_other_controls_can_be_linked():
    explorer = explorables.contrasts(tiny(), images(1))
    slider = ipywidgets.IntSlider(max=100)
    names = ipywidgets.Dropdown(options=[(name, c) for c, name in enumerate("abcdef")], value=explorer.target)
    ipywidgets.link((explorer, "position"), (slider, "value"))
    ipywidgets.link((names, "value"), (explorer, "target"))
    slider.value, names.value = 80, 3
    assert (explorer.position, explorer.target) == (80, 3)
    explorer.position = 20
    assert slider.value == 20


def test_it_computes_where_gradients_are_off():
    with torch.no_grad():
        assert explorables.contrasts(tiny(), images(1)).relevance().any()
