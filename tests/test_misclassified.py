"""The experiment on wrong predictions: every number is worked out a second time, plainly, on a tiny network."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from networks import images, tiny
from torch import Tensor

from contrastlib import contrast, models, perturbation, relevance, tables
from contrastlib.__main__ import main
from contrastlib.attribution import METHODS, grad_cam, linear_approximation
from contrastlib.experiments import misclassified
from contrastlib.experiments.experiment import Batch, Setting
from contrastlib.experiments.misclassified import IMAGE, MAPS, SHARES
from contrastlib.experiments.profiles import PROFILES
from contrastlib.models import Classifier

SETTING = Setting("tiny", "none", layers=("last=grad_cam", "second=linear_approximation"))
RULES = {("last", "grad_cam"): grad_cam, ("second", "linear_approximation"): linear_approximation}
N = 8


def confident() -> Classifier:
    """The tiny network, its last layer multiplied, so that some predictions are sure and others are not."""
    classifier = tiny()
    classifier.model.head.weight.data *= 120
    return classifier


def logits_of(classifier: Classifier, x: Tensor) -> list[list[float]]:
    with torch.no_grad():
        return classifier(x).tolist()


def ranked(row: list[float]) -> list[int]:
    return sorted(range(len(row)), key=lambda c: -row[c])


def second_probability(row: list[float]) -> float:
    return math.exp(row[ranked(row)[1]] - max(row)) / sum(math.exp(y - max(row)) for y in row)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return confident()


@pytest.fixture(scope="module")
def batch(classifier) -> Batch:
    """Three images are predicted wrongly: their labels are the second class, or the third."""
    x = images(N, seed=3)
    labels = [ranked(row)[{0: 1, 3: 2, 6: 1}.get(i, 0)] for i, row in enumerate(logits_of(classifier, x))]
    codes = torch.zeros(N, 8, 8, dtype=torch.uint8)
    codes[:, :3, :3] = 5
    for i in range(1, N):
        codes[i, 4:4 + i % 4 + 1, 2:7] = 37
    return Batch(x, torch.tensor(labels), codes)


@pytest.fixture(scope="module")
def expected(classifier, batch) -> list[tuple[float, int, int]]:
    """Of every image the kind, the target and the foil."""
    found = []
    for row, label in zip(logits_of(classifier, batch.images), batch.labels.tolist()):
        t, second, *_ = ranked(row)
        kind = 1.0 if t != label else 0.0 if second_probability(row) > 0.1 else math.nan
        found.append((kind, t, label if t != label else second))
    kinds = [kind for kind, _, _ in found]
    assert {str(kind) for kind in kinds} == {"1.0", "0.0", "nan"}  # there is something to tell apart
    return found


@pytest.fixture(scope="module")
def values(classifier, batch):
    return misclassified.measure(classifier, batch, SETTING)


def test_a_wrong_prediction_is_asked_about_the_label_and_a_doubtful_one_about_the_second_class():
    logits = torch.tensor([[3.0, 2.5, 0.0], [3.0, 2.5, 0.0], [0.0, 9.0, 1.0], [0.0, 1.0, 9.0]])
    target, foil, kind = misclassified.questions(logits, torch.tensor([2, 0, 1, 0]))
    assert target.tolist() == [0, 0, 1, 2]
    assert foil.tolist() == [2, 1, 2, 0]
    assert kind[[0, 1, 3]].tolist() == [1, 0, 1]
    assert kind[2].isnan()


@pytest.mark.parametrize(("odds", "kind"), [(0.1001, 0.0), (0.0999, math.nan)])
def test_doubt_begins_at_a_tenth(odds, kind):
    _, _, found = misclassified.questions(torch.tensor([[math.log(1 - odds), math.log(odds)]]), torch.tensor([0]))
    assert found.tolist() == pytest.approx([kind], nan_ok=True)


def test_every_image_has_a_row_and_says_what_it_is(values, classifier, batch, expected):
    assert set(values) == {IMAGE, *((*place, name) for place in RULES for name in MAPS)}
    assert all(table.dtype == torch.float32 for table in values.values())
    assert {tuple(table.shape) for name, table in values.items() if name != IMAGE} == {(N, 16)}
    logits, areas = logits_of(classifier, batch.images), (batch.parts > 32).double().mean((1, 2)).tolist()
    for found, row, area, (kind, t, s) in zip(values[IMAGE].tolist(), logits, areas, expected):
        known = [kind, row[t] - row[s], area or math.nan] if kind == kind else [math.nan] * 3
        assert found == pytest.approx(known, rel=1e-5, nan_ok=True)
    unused = torch.tensor([kind != kind for kind, _, _ in expected])
    assert all(table[unused].isnan().all() for table in values.values())
    assert all(table[~unused, :15].isfinite().all() for name, table in values.items() if name != IMAGE)


def scores_of(s: int) -> dict[str, contrast.Contrast]:
    return {"foil": lambda y, t: y.gather(1, t[:, None])[:, 0] - y[:, s], "weighted": contrast.weighted,
            "original": contrast.original}


def effects(classifier: Classifier, x: Tensor, coarse: Tensor, t: int, s: int) -> list[float]:
    """Pixel after pixel disappears from one image, the highest relevance first."""
    high = relevance.upsample(coarse, (8, 8)).flatten().tolist()
    falling = sorted(range(64), key=lambda place: high[place])[::-1]
    blurred, found = perturbation.blur(x[None])[0], []
    for share in SHARES:
        left = x.clone()
        for place in falling[:int(share * 64 + 0.5)]:
            left[:, place // 8, place % 8] = blurred[:, place // 8, place % 8]
        (row,) = logits_of(classifier, left[None])
        found += [float(row.index(max(row)) == s), float(row.index(max(row)) != t), row[t] - row[s]]
    return found


def on_the_second_bird(coarse: Tensor, codes: Tensor) -> float:
    positive = relevance.upsample(coarse, (8, 8))[0, 0].clamp(min=0).numpy()
    inside = codes.numpy() > 32
    return (positive * inside).sum() / positive.sum() if inside.any() and positive.any() else math.nan


def plainly_shuffled(coarse: Tensor, x: Tensor) -> list[Tensor]:
    """Four orders from a generator whose seed is read off the pixels."""
    pixels = bytes(round(value * 255) for value in x.flatten().tolist())
    generator = torch.Generator().manual_seed(int(hashlib.sha256(pixels).hexdigest()[:14], 16))
    flat = coarse.flatten()
    orders = [torch.randperm(len(flat), generator=generator).tolist() for _ in range(4)]
    return [torch.stack([flat[i] for i in order]).view(coarse.shape) for order in orders]


@pytest.mark.parametrize("place", RULES)
@pytest.mark.parametrize("name", MAPS)
def test_what_a_map_marks_is_masked_and_the_prediction_read_again(values, classifier, batch, expected, place, name):
    flipped, shares = 0.0, []
    for i, (kind, t, s) in enumerate(expected):
        if kind != kind:
            continue
        score = scores_of(s)["foil" if name == "random" else name]
        x, codes = batch.images[i], batch.parts[i]
        coarse = RULES[place](classifier, x[None], t, score, layer=place[0], upsample=False)
        drawn = plainly_shuffled(coarse, x) if name == "random" else [coarse]
        every = [[*effects(classifier, x, one, t, s), on_the_second_bird(one, codes)] for one in drawn]
        numbers = np.mean(every, axis=0)
        assert values[*place, name][i].tolist() == pytest.approx(numbers, rel=1e-4, abs=1e-5, nan_ok=True)
        flipped += numbers[0:15:3].sum()
        shares.append(numbers[15])
    assert flipped > 0 or name in ("original", "random")  # else nothing but zeros would have been compared
    assert place[0] == "last" or 0 < np.nanmin(shares) < 1


class Counting:
    """How many images go through a network, call by call."""

    def __init__(self, classifier: Classifier) -> None:
        self.calls: list[int] = []
        self.handle = classifier.model.register_forward_hook(lambda _m, args, _o: self.calls.append(len(args[0])))


def test_images_that_nobody_measures_cost_one_forward_pass(batch, expected):
    classifier = confident()
    misclassified.measure(classifier, batch, SETTING)  # the first time it learns how its layers are read
    count = Counting(classifier)
    misclassified.measure(classifier, batch, SETTING)
    used = sum(kind == kind for kind, _, _ in expected)
    # Three maps, seven of which are masked at five shares, at each of two places.
    assert count.calls == [N, *[used] * 2 * (3 + 7 * 5)]


def test_a_shard_without_any_such_image_has_the_same_keys(values, batch, expected):
    classifier = confident()
    sure = torch.tensor([kind != kind for kind, _, _ in expected])
    count = Counting(classifier)
    found = misclassified.measure(classifier, Batch(batch.images[sure], batch.labels[sure]), SETTING)
    assert count.calls == [int(sure.sum())]
    assert {name: table.shape[1] for name, table in found.items()} == {
        name: table.shape[1] for name, table in values.items()}
    assert all(table.isnan().all() for table in found.values())
    assert misclassified.rows(found).empty


def test_an_image_has_the_same_numbers_in_any_batch(values, classifier, batch):
    backwards = Batch(batch.images.flip(0), batch.labels.flip(0), batch.parts.flip(0))
    last = Batch(batch.images[-3:], batch.labels[-3:], batch.parts[-3:])
    for other, place in ((backwards, slice(None)), (last, slice(N - 3, N))):
        found = misclassified.measure(classifier, other, SETTING)
        for name, table in values.items():
            again = found[name].flip(0) if other is backwards else found[name]
            torch.testing.assert_close(again, table[place], equal_nan=True)


def test_random_maps_have_the_cells_of_the_map_in_another_order():
    coarse = torch.arange(3 * 42.0).reshape(3, 1, 6, 7)
    x = images(3, 16)
    draws = misclassified.shuffled(coarse, x)
    assert len(draws) == misclassified.DRAWS
    assert all(draw.shape == coarse.shape for draw in draws)
    for draw in draws:
        assert torch.equal(draw.flatten(1).sort().values, coarse.flatten(1))
    orders = {tuple((draw[i] - coarse[i].min()).flatten().tolist()) for draw in draws for i in range(3)}
    assert len(orders) == len(draws) * 3  # each draw and each image has its own


def test_the_orders_depend_on_the_pixels_alone():
    coarse, x = torch.rand(4, 1, 5, 5), images(4, 16)
    together = misclassified.shuffled(coarse, x)
    torch.manual_seed(7)
    x_elsewhere = x[2:3].to(torch.float32).contiguous(memory_format=torch.channels_last)
    alone = misclassified.shuffled(coarse[2:3], x_elsewhere)
    assert all(torch.equal(one[2:3], other) for one, other in zip(together, alone))
    moved = misclassified.shuffled(coarse[2:3], (x_elsewhere + 0.1).clamp(max=1))
    assert not torch.equal(moved[0], alone[0])


def test_without_parts_nothing_is_said_about_another_bird(values, classifier, batch):
    found = misclassified.measure(classifier, replace(batch, parts=None), SETTING)
    assert found[IMAGE][:, 2].isnan().all()
    for name, table in found.items():
        torch.testing.assert_close(table[:, :2 if name == IMAGE else 15], values[name][:, :2 if name == IMAGE else 15],
                                   equal_nan=True)
        assert name == IMAGE or table[:, 15].isnan().all()
    assert set(misclassified.rows(found)["metric"]) == set(misclassified.EFFECTS)


# --- rows ------------------------------------------------------------------------------------------------------------


def made_up(wrong: int = 6, right: int = 9, unused: int = 4):
    """Numbers of so many images of each kind at one place, in a mixed order."""
    generator = torch.Generator().manual_seed(0)
    n = wrong + right + unused
    kind = torch.tensor([1.0] * wrong + [0.0] * right + [math.nan] * unused)[torch.randperm(n, generator=generator)]
    found = {IMAGE: torch.stack([kind, *torch.rand(2, n, generator=generator)], 1)}
    found |= {("a", "grad_cam", name): torch.rand(n, 16, generator=generator) for name in MAPS}
    for table in found.values():
        table[kind.isnan()] = torch.nan
    return found


def cells(table: pd.DataFrame) -> dict[tuple[str, ...], dict[str, object]]:
    found = {tuple(row[name] for name in misclassified.COLUMNS[2:]): row for row in table.to_dict("records")}
    assert len(found) == len(table)
    return found


def test_rows_are_of_one_kind_and_compared_image_by_image():
    values = made_up()
    found = cells(misclassified.rows(values))
    for kind, code, n in (("wrong", 1, 6), ("right", 0, 9)):
        here = values[IMAGE][:, 0] == code
        table = {name: values["a", "grad_cam", name][here].double() for name in MAPS}
        for k, share in enumerate(SHARES):
            for m, metric in enumerate(misclassified.EFFECTS):
                for name, against in [("foil", "random"), ("foil", "original"), ("weighted", "random"),
                                      ("weighted", "original"), ("original", "random"), ("random", "")]:
                    row, own = found[kind, name, str(share), metric, against], table[name][:, 3 * k + m]
                    assert row["value"] == pytest.approx(own.mean().item(), rel=1e-5)
                    assert row["se"] == pytest.approx(own.std().item() / n**0.5, rel=1e-5)
                    assert row["n"] == n
                    if not against:
                        assert math.isnan(row["difference"] + row["low"] + row["high"])
                        continue
                    differences = own - table[against][:, 3 * k + m]
                    assert row["difference"] == pytest.approx(differences.mean().item(), rel=1e-4)
                    assert row["low"] < row["difference"] < row["high"]
        before = found[kind, "before", "0", "margin", ""]
        assert before["value"] == pytest.approx(values[IMAGE][here, 1].mean().item(), rel=1e-5)
        assert found[kind, "before", "0", "becomes the foil", ""]["value"] == 0
    comparisons = 3 * (5 * 6 + 1) + 6 + 1
    assert len(found) == 2 * comparisons


def test_shares_on_the_other_bird_are_of_the_images_that_have_one():
    values = made_up()
    wrong = (values[IMAGE][:, 0] == 1).nonzero().flatten()
    for name, table in values.items():
        table[wrong[:2], -1] = torch.nan
        if name[-1] == "weighted":
            table[wrong[2], -1] = torch.nan  # a map without positive relevance
    found = cells(misclassified.rows(values))
    row = found["wrong", "foil", "", misclassified.OTHER_BIRD, "original"]
    foil, original = (values["a", "grad_cam", name][wrong[3:], -1].double() for name in ("foil", "original"))
    assert row["n"] == 3
    assert row["difference"] == pytest.approx((foil - original).mean().item(), rel=1e-4)
    chance = found["wrong", "chance", "", misclassified.OTHER_BIRD, ""]
    assert chance["value"] == pytest.approx(values[IMAGE][wrong[3:], 2].mean().item(), rel=1e-5)
    assert found["wrong", "foil", "0.1", "margin", "original"]["n"] == 6


def test_a_kind_without_images_has_no_rows_and_one_image_no_standard_error():
    assert set(misclassified.rows(made_up(wrong=0))["prediction"]) == {"right"}
    assert misclassified.rows(made_up(0, 0)).empty
    found = cells(misclassified.rows(made_up(wrong=1)))
    row = found["wrong", "foil", "0.1", "margin", "random"]
    assert row["n"] == 1
    assert math.isnan(row["se"])
    assert row["low"] == row["difference"] == row["high"]


# --- real runs -------------------------------------------------------------------------------------------------------


def test_the_command_line_measures_drawn_birds(tmp_path):
    table = tmp_path / "misclassified.csv"
    words = ["run", "misclassified", "--limit", "16", "--shard", "6", "--device", "cpu", "--layer",
             "features.27=grad_cam", "--output", str(tmp_path / "run"), "--table", str(table)]
    assert main(words, "experiments") == 0
    rows = tables.load(table)
    assert rows[["classifier", "layer", "method"]].drop_duplicates().to_numpy().tolist() == [
        ["birds_vgg", "features.27", "grad_cam"]]
    assert set(rows["metric"]) == {*misclassified.EFFECTS, misclassified.OTHER_BIRD}
    assert set(rows["prediction"]) == {"wrong", "right"}
    assert (tables.pick(rows, map="before", metric="margin")["value"] > 0).all()


def test_profiles_of_embedded_networks_name_layers_that_have_a_map():
    for name in ("embedded", "embedded-vit"):
        setting = PROFILES["misclassified"][name]
        classifier = models.load(setting.model)
        for layer, _, method in (place.partition("=") for place in setting.layers):
            assert METHODS[method](classifier, torch.rand(1, 3, 128, 128), 0, layer=layer).any()
