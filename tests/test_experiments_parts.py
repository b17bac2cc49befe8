"""What an experiment learns about the parts that the pixels show."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from dataset_files import cub
from PIL import Image

from contrastlib.data import DataWarning, Problem, UnreadableImageError, birds, to_tensor
from contrastlib.experiments import Experiment, Setting, by_name, runner

SMALL = Setting("birds_vgg", "drawn_birds", "hard", limit=7, shard=3, layers=("features.27=grad_cam",))
# Seven of 1600 that go through sixteen species again and again: of seven species, and not all at the same place there.
POSITIONS = [[0, 233, 450], [683, 916, 1149], [1366]]


def looking(seen: list, wants_parts: bool = True) -> Experiment:
    """An experiment that keeps its batches."""
    def measure(_classifier, batch, _setting):
        seen.append(batch)
        return {("area",): batch.images.mean((1, 2, 3))[:, None]}

    measure.__module__ = by_name("dominance").module  # whose code counts as its own
    return Experiment("looking", "", measure, lambda _values: pd.DataFrame({"value": []}), wants_parts=wants_parts)


def run(experiment: Experiment, folder: Path, setting: Setting = SMALL, **options) -> None:
    runner.run(experiment, setting, folder, device="cpu", **options)


def forbidden(*_arguments):
    raise AssertionError("drawn again")


@pytest.mark.parametrize("workers", [0, 2])
def test_parts_come_with_the_images_that_they_belong_to(tmp_path, workers):
    seen, data = [], birds.DrawnBirds("hard")
    run(looking(seen), tmp_path / "run", workers=workers)
    assert [len(batch.labels) for batch in seen] == [3, 3, 1]
    for batch, positions in zip(seen, POSITIONS, strict=True):
        assert batch.parts.dtype == torch.uint8
        assert batch.parts.shape == (len(positions), 128, 128)
        for image, codes, label, i in zip(batch.images, batch.parts.numpy(), batch.labels.tolist(), positions):
            drawing = data.drawing(i)
            assert torch.equal(image, to_tensor(Image.fromarray(drawing.image)))
            assert label == drawing.scene.birds[0].label
            for part in birds.PARTS:
                assert np.array_equal(codes == birds.CODES[part], drawing.mask(part))
                assert np.array_equal(codes == birds.CODES[part] + birds.SECOND, drawing.mask(part, 1))
    assert any((batch.parts > birds.SECOND).any() for batch in seen)


@pytest.mark.parametrize("limit", [16, 32, 48, 400])
def test_a_limit_takes_as_many_images_of_every_class(tmp_path, limit):
    """Every fourth of birds that are drawn in the order of sixteen species would be of four species."""
    seen = []
    run(looking(seen, wants_parts=False), tmp_path / "run", replace(SMALL, limit=limit, shard=50))
    labels = torch.cat([batch.labels for batch in seen])
    assert labels.bincount(minlength=16).tolist() == [limit // 16] * 16


def test_only_an_experiment_that_wants_them_pays_for_them(tmp_path, monkeypatch):
    assert not any(by_name(name).wants_parts
                   for name in ("gradient-sign", "masking", "masking-curves", "logit-norm", "dominance"))
    monkeypatch.setattr(birds.DrawnBirds, "parts", forbidden)
    seen = []
    run(looking(seen, wants_parts=False), tmp_path / "run")
    assert [batch.parts for batch in seen] == [None, None, None]
    with pytest.raises(AssertionError, match="drawn again"):
        run(looking(seen), tmp_path / "other")


def test_asking_for_parts_changes_no_row(tmp_path):
    dominance = by_name("dominance")
    for name, wants in (("with", True), ("without", False)):
        run(replace(dominance, wants_parts=wants), tmp_path / name)
    assert (tmp_path / "with/rows.csv").read_bytes() == (tmp_path / "without/rows.csv").read_bytes()


def test_an_image_that_cannot_be_read_takes_its_parts_along(tmp_path, monkeypatch):
    drawn = birds.DrawnBirds.picture

    def picture(self, i):
        if i == POSITIONS[0][1]:
            raise UnreadableImageError(Problem(self.ids[i], "nowhere", "it is gone"))
        return drawn(self, i)

    monkeypatch.setattr(birds.DrawnBirds, "picture", picture)
    seen, data = [], birds.DrawnBirds("hard")
    with pytest.warns(DataWarning, match="1 of 7 images cannot be read"):
        run(looking(seen), tmp_path / "run")
    assert [len(batch.parts) for batch in seen] == [2, 3, 1]
    assert np.array_equal(seen[0].parts.numpy(), np.stack([data.parts(POSITIONS[0][0]), data.parts(POSITIONS[0][2])]))


def test_a_data_set_that_knows_no_parts_gives_none(tmp_path):
    folder = cub(tmp_path / "data")
    for path in (folder / "images").rglob("*.jpg"):
        Image.effect_noise((128, 128), 80).convert("RGB").save(path)
    seen = []
    setting = Setting("birds_vgg", "cub200", "train", weights="none", shard=4)
    run(looking(seen), tmp_path / "run", setting, root=str(tmp_path / "data"))
    assert [(len(batch.images), batch.parts) for batch in seen] == [(4, None)]


def test_parts_that_a_crop_would_move_are_refused(tmp_path):
    """Image and codes have the same size, and do not lie on each other."""
    seen = []
    says = (r"looking needs .* drawn_birds knows for its pictures of 128 x 128 pixels, and birds_vgg resizes or crops "
            r"them to 128 x 128: .* no --crop")
    with pytest.raises(ValueError, match=says):
        run(looking(seen), tmp_path / "run", replace(SMALL, crop=True))
    assert not seen


def test_parts_of_another_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("contrastlib.data.load", lambda *_: birds.DrawnBirds("hard", 32, size=96))
    seen = []
    with pytest.raises(ValueError, match=r"pictures of 96 x 96 pixels, .* to 128 x 128: take a classifier for 96 x 96"):
        run(looking(seen), tmp_path / "run")
    assert not seen
    run(looking(seen, wants_parts=False), tmp_path / "other")  # without parts it may be resized
    assert len(seen) == 3
