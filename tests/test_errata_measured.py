"""Errata whose effect is read off the rows in `book/results` or measured on the drawn birds: compared with the page."""

import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from torch import Tensor

from contrastlib import data, models, perturbation, relevance, tables
from contrastlib.attribution import grad_cam, linear_approximation, xgrad_cam
from contrastlib.tables import pick

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "errata.md").read_text(encoding="utf-8")


def bold(text: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in re.findall(r"\*\*([−-]?[\d.]+)\*\*", text)]


def section(number: int) -> str:
    return re.search(rf"^### {number}\. .*?(?=^\(erratum-|^\(errata-)", PAGE, re.MULTILINE | re.DOTALL).group()


def effect(number: int) -> list[float]:
    """The bold numbers in the last column of an erratum that was found by reading."""
    (line,) = re.findall(rf"^\| {number} \|.*$", PAGE, re.MULTILINE)
    return bold(line.rsplit("|", 2)[1])


@cache
def table(name: str) -> pd.DataFrame:
    return tables.load(ROOT / "book" / "results" / f"{name}.csv")


# --- erratum 2 and what follows from it, on the drawn birds ----------------------------------------------------------


@pytest.fixture(scope="module")
def rivals() -> tuple[models.Classifier, Tensor, Tensor]:
    """The network, and the hard birds of the first 400 that have a likely rival, with their most probable class."""
    network, hard = models.load("birds_vgg"), data.load("drawn_birds", "hard", count=400)
    images = network.prepare([hard.picture(i) for i in range(400)])
    best = perturbation.logits_of(network, images).softmax(-1).topk(2)
    chosen = best.values[:, 1] > 0.1
    return network, images[chosen], best.indices[chosen, 0]


def test_reading_before_batchnorm_makes_maps_negative(rivals):
    network, images, target = rivals
    shares = [100 * relevance.positive_share(method(network, images, target, layer=layer)).mean().item()
              for method in (grad_cam, linear_approximation, xgrad_cam) for layer in ("features.25", "features.27")]
    assert bold(section(2))[6:] == pytest.approx([len(images), *shares], abs=0.6)


def test_many_original_maps_have_hardly_a_positive_pixel(rivals):
    network, images, target = rivals
    shares = relevance.positive_share(grad_cam(network, images, target, layer="features.25"))
    assert effect(22) == [pytest.approx(100 * (shares < 0.01).double().mean().item(), abs=1.5)]


def test_rectified_maps_have_ties_that_the_sort_breaks(rivals):
    network, images, target = rivals
    signed = grad_cam(network, images, target, layer="features.27")
    maps = signed.clamp_min(0)
    published = maps.flatten(1).argsort(-1).argsort(-1).view(maps.shape)
    differ = (perturbation.ranks(maps) != published).double().mean().item()
    tied = (maps == 0).double().mean().item()
    assert effect(23)[0] == pytest.approx(100 * tied, abs=1)
    assert effect(23)[1] == pytest.approx(100 * differ, abs=10)  # what an unstable sort does depends on the machine
    assert (signed == 0).double().mean().item() < 1e-3


# --- rows ------------------------------------------------------------------------------------------------------------


def test_a_dominating_class_makes_weighted_maps_original():
    rows = pick(table("dominance"), classifier="tf_efficientnet_lite0", data_set="imagenet-1k-sample")
    found = [pick(rows, metric=metric, **{"from": low})["value"].item()
             for low in (3, 0) for metric in ("correlation original weighted", "norm of the others over the target")]
    assert effect(20) == pytest.approx(found, abs=0.006)


def birds_masking() -> pd.DataFrame:
    return pick(table("masking"), classifier="birds_vgg", images="p2>0.1")


PLACES = [("birds_vgg", "features.25"), ("birds_vgg", "features.27"), ("birds_vgg", "features.13"),
          ("tf_efficientnet_lite0", "bn2"), ("tf_efficientnet_lite0", "blocks.4")]
BUDGETS = ("published", "swapped", "caption")


def compared(budget: str) -> pd.DataFrame:
    """Rows of the contrastive map, on images with a rival."""
    return pd.concat([pick(table("masking"), classifier=name, layer=layer, images="p2>0.1", budget=budget)
                      for name, layer in PLACES]).dropna(subset="difference")


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Differences to the original and their ends, positive where the contrastive map does better."""
    sign = rows["keep"].map({"positive": 1, "negative": -1})
    return rows[["difference", "low", "high"]].mul(sign, axis=0)


def test_the_verdict_survives_the_right_count():
    found = {budget: compared(budget) for budget in BUDGETS}
    assert len({len(rows) for rows in found.values()}) == 1
    ends = [gains(rows)[["low", "high"]] for rows in found.values()]
    won, lost = [(e.min(axis=1) > 0).sum() for e in ends], [(e.max(axis=1) < 0).sum() for e in ends]
    last = {budget: pick(table("masking"), classifier="tf_efficientnet_lite0", layer="bn2", images="p2>0.1",
                         budget=budget, keep="negative") for budget in BUDGETS}
    ahead = {b: gains(last[b])["difference"].mean() for b in BUDGETS}
    kept = {b: sorted(100 * last[b]["kept"]) for b in BUDGETS}
    page = bold(section(7))[10:]
    assert page[:7] == [len(found["caption"]), *won, *lost]
    assert page[7:] == pytest.approx([ahead["published"], kept["published"][0], kept["published"][-1],
                                      ahead["caption"], kept["caption"][-1]], abs=0.6)
    assert [page[7], page[10]] == pytest.approx([ahead["published"], ahead["caption"]], abs=0.006)


def test_black_is_not_the_mean_colour():
    place = ["layer", "method", "target", "budget", "keep", "contrast"]
    black, mean = (pick(birds_masking(), baseline=name).set_index(place)["value"] for name in ("black", "mean colour"))
    moved = (black - mean).abs()
    assert len(moved) == len(mean) > 200
    assert effect(24) == pytest.approx([moved.mean(), moved.max()], abs=0.005)


def test_the_methods_of_one_column_keep_different_shares():
    kept = 100 * pick(birds_masking(), layer="features.27", budget="caption")["kept"]
    assert effect(26) == pytest.approx([kept.min(), kept.max()], abs=0.6)


def test_some_photographs_are_misclassified_from_the_start():
    rows = pick(table("gradient_sign"), classifier="tf_efficientnet_lite0", contrast="before", metric="accuracy")
    assert effect(32) == [pytest.approx(100 * (1 - rows["value"].iloc[0]), abs=0.06)]


def test_every_contrast_raises_all_three():
    rows = table("gradient_sign").query("contrast != 'before'")
    settings = rows[["classifier", "contrast", "epsilon", "steps"]].drop_duplicates()
    assert f"in **all** of {len(settings)} settings" in PAGE
    assert rows["classifier"].nunique() == 5
    assert (rows["value"] > 0).all()


def test_the_mean_contrast_cannot_be_told_from_the_original():
    rows = pick(table("gradient_sign"), classifier="tf_efficientnet_lite0", contrast="mean", metric="p_t")
    most = rows["difference"].abs().max()
    assert effect(34) == [pytest.approx(most, abs=5e-5)]
