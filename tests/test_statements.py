"""What the pages and chapters say in numbers that no cell prints: held against the rows, or measured anew."""

import json
import re
from pathlib import Path

import nbformat
import pytest
import torch

from contrastlib import data, models, perturbation, tables
from contrastlib.experiments import PROFILES, masking
from contrastlib.experiments.experiment import Batch, Setting

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "book" / "results"
STATUS, GLANCE, README = (
    (ROOT / name).read_text(encoding="utf8") for name in ("book/status.md", "book/glance.md", "README.md"))


def rows(name):
    return tables.load(RESULTS / f"{name}.csv")


def cells(number):
    (path,) = (ROOT / "chapters").glob(f"{number:02}_*.ipynb")
    return nbformat.read(path, as_version=4).cells


def chapter(number):
    return " ".join("\n".join(cell.source for cell in cells(number) if cell.cell_type == "markdown").split())


def printed(number, words):
    """The numbers in the lines that a chapter prints with these words in them."""
    lines = "".join(out.text for cell in cells(number) for out in cell.get("outputs", [])).splitlines()
    found = [line.replace(words, "") for line in lines if words in line]
    return [float(n) for line in found for n in re.findall(r"(?<!\w)-?\d\.\d+", line)]


def numbers(pattern, text):
    """The numbers in the one place of a text that a pattern finds."""
    (found,) = re.findall(pattern, " ".join(text.split()))
    return [float(n) for n in (found if isinstance(found, tuple) else [found])]


# --- how many images -------------------------------------------------------------------------------------------------

SAME = ("model", "dataset", "split", "weights", "rule")


def test_rows_are_of_as_many_images_as_their_profile_takes_or_the_page_says_so():
    differing = set()
    for name, profiles in PROFILES.items():
        table = name.replace("-", "_")
        for group, about in json.loads((RESULTS / f"{table}.json").read_text(encoding="utf8")).items():
            made = about["setting"]
            (limit,) = {setting.limit for setting in profiles.values()
                        if all(getattr(setting, field) == made[field] for field in SAME)}
            assert about["images"] == (made["limit"] or about["images"]), group
            if limit != made["limit"]:
                differing.add((table, made["model"], str(about["images"]), str(limit)))
    assert set(re.findall(r"^\| (\w+), (\w+) \| (\d+) \| (\d+) \|$", STATUS, re.MULTILINE)) == differing


# --- photographs -----------------------------------------------------------------------------------------------------


def test_five_photographs_say_how_complementary_maps_are():
    shared, weighted, usual = printed(3, "p1 + p2"), printed(3, ", weighted"), printed(3, ", original")
    assert (len(shared), len(weighted), len(usual)) == (5, 15, 15)
    ends = [min(shared), max(shared), min(weighted), max(weighted)]
    assert numbers(r"On five photographs where they hold ([\d.]+) to ([\d.]+) of it the maps correlate between "
                   r"(-[\d.]+) and ([\d.]+) ", GLANCE) == ends
    assert numbers(r"on five photographs where they share ([\d.]+) to ([\d.]+) of it, the maps correlate between "
                   r"(-[\d.]+) and ([\d.]+)\.", README) == ends
    assert numbers(r"Lite0, they correlate between ([\d.]+) and ([\d.]+)", GLANCE) == [min(usual), max(usual)]


def test_how_nearly_mean_is_the_original():
    nine = printed(4, "t1:") + printed(4, "t2:") + printed(4, "t3:")
    assert len(nine) == 9
    said = numbers(r"correlations of ([\d.]+) and more, on three photographs\. For sixteen it is ([\d.]+) in the "
                   r"median of 64 drawn birds, and ([\d.]+) for one", GLANCE)
    assert said == [min(nine), *printed(4, "sixteen classes")]


# --- FullGrad --------------------------------------------------------------------------------------------------------


def test_what_is_missing_of_a_score():
    worst = tables.pick(rows("full_grad"), metric="largest residual over score").groupby("contrast")["value"].max()
    log_odds, logit, images = numbers(
        r"In single precision (\S+) of the score is missing at most, of a logit (\S+), on (\d+) images", GLANCE)
    assert log_odds / 2 < worst["weighted"] <= log_odds
    assert logit / 2 < worst["original"] <= logit
    assert images == rows("full_grad").groupby("classifier")["n"].max().sum()


# --- transformers ----------------------------------------------------------------------------------------------------


def on_birds(**where):
    return tables.pick(rows("coherence"), classifier="birds_vit", target="t1", **where)


def test_where_grad_cam_on_tokens_gains_by_the_contrast():
    found = on_birds(metric="positive share on the telling parts", contrast="weighted")
    found = found[found["method"].str.startswith("grad_cam")]
    assert len(found) == 10
    assert "at four of ten places" in GLANCE
    assert ((found["low"] > 0).sum(), (found["high"] < 0).sum()) == (4, 0)
    best = tables.pick(found, method="grad_cam norm1", block=2)
    before = on_birds(metric="positive share on the telling parts", contrast="original", method="grad_cam norm1",
                      block=2)["value"].item()
    assert best["value"].item() == found["value"].max()
    assert numbers(r"block 2, ([\d.]+) for ([\d.]+) \(\+([\d.]+) to \+([\d.]+)\)", GLANCE) == pytest.approx(
        [best["value"].item(), before, best["low"].item(), best["high"].item()], abs=6e-4)


def test_how_much_more_attention_has_on_the_bird():
    found = on_birds(metric="positive share on the bird", contrast="original")
    grad_cam = found[found["method"].str.startswith("grad_cam")]["value"]
    attention = [tables.pick(found, method=name, block=0)["value"].item()
                 for name in ("rollout", "rollout relu", "relevance")]
    assert numbers(r"([\d.]+), ([\d.]+) and ([\d.]+) times Grad-CAM at its best", chapter(10)) == pytest.approx(
        [share / grad_cam.max() for share in attention], abs=0.06)
    assert numbers(r"a half, ([\d.]+) to ([\d.]+) times as much", chapter(10)) == pytest.approx(
        [min(attention) / grad_cam.max(), max(attention) / grad_cam.max()], abs=0.06)
    assert 0.18 < grad_cam.min() < grad_cam.max() < 0.27  # a fifth to a quarter
    best = found[found["value"].isin(grad_cam.nlargest(3))]
    assert set(best["method"]) == {"grad_cam norm1"}
    assert set(best["block"].astype(str)) == {"0", "1", "2"}
    assert "At the best three of ten places a quarter" in chapter(10)
    none = tables.pick(found, method="grad_cam", block=2)["n"].item()
    assert "for one picture in nine" in chapter(10)
    assert round(800 / (800 - none)) == 9


def test_which_methods_the_contrast_leads_to_the_telling_parts():
    found = on_birds(metric="positive share on the telling parts")
    after = found[found["contrast"] == "weighted"]
    shown = [tables.pick(after, method=name, block=block).iloc[0] for name, block in (
        ("linear_approximation norm1", 3), ("rollout", 0), ("rollout relu", 0), ("relevance", 0), ("full_grad", "all"),
        ("gradient_x_input", "embedding"))]
    assert min(row["low"] for row in shown) > 0
    undecided = [tables.pick(after, method=name, block=block).iloc[0] for name, block in (
        ("grad_cam", 2), ("grad_cam norm1", 1))]
    assert all(row["low"] < 0 < row["high"] for row in undecided)
    gains = [row["value"] / (row["value"] - row["difference"]) - 1 for row in shown[1:4]]
    assert gains == pytest.approx([0.45, 0.33, 0.32], abs=0.02)  # nearly half as much again, rectified a third
    (images,) = numbers(r"rectified a third more \((\d+) pictures\)", GLANCE)
    assert numbers(r"on the (\d+) pictures that put it", chapter(10)) == [images]
    assert {row["n"] for row in shown[1:4]} == {images}


# --- mistakes --------------------------------------------------------------------------------------------------------

PLACE = ["data set", "layer"]


def foil(prediction, share=0.1):
    return tables.pick(rows("misclassified"), prediction=prediction, map="foil", against="original", share=share,
                       metric="becomes the foil").set_index(PLACE)


def test_right_predictions_turn_more_readily_at_five_places_of_eight():
    wrong, right = foil("wrong"), foil("right")
    more, error = right["value"] - wrong["value"], 1.96 * (right["se"] ** 2 + wrong["se"] ** 2) ** 0.5
    assert len(more) == 8
    assert ((more > error).sum(), (more < -error).sum()) == (5, 0)
    assert "more readily at five of these eight places, undecided at three" in " ".join(GLANCE.split())
    assert "decidedly more of them at five places of eight, undecided at the other three" in chapter(11)


def test_where_the_narrow_question_pays():
    wrong = foil("wrong")
    decided = wrong.index[wrong["low"] > 0]
    assert set(decided) == {("cub200", "blocks.4"), ("cub200", "bn2"), ("imagenet-1k-sample", "blocks.5")}
    assert numbers(r"photographs of birds \(([\d.]+) and ([\d.]+)\) and at one layer of two on photographs of "
                   r"everything \(([\d.]+) and ([\d.]+)\)", GLANCE) == pytest.approx(
        [wrong.loc[place, "difference"] for place in (("cub200", "bn2"), ("cub200", "blocks.4"),
         ("imagenet-1k-sample", "blocks.5"), ("imagenet-1k-sample", "bn2"))], abs=0.006)
    fifth = foil("wrong", 0.2)
    assert {place[1] for place in fifth.index[fifth["low"] <= 0]} == {"blocks.3.norm1", "patch_embed.backbone"}


def test_how_many_mistakes_turn():
    random = tables.pick(rows("misclassified"), prediction="wrong", map="random", share=0.1,
                         metric="becomes the foil")["value"]
    turned = foil("wrong")["value"]
    assert numbers(r"turns ([\d.]+) to ([\d.]+) of the mistakes into the true class, at random ([\d.]+) to ([\d.]+),",
                   GLANCE) == pytest.approx([turned.min(), turned.max(), random.min(), random.max()], abs=0.006)
    by_chance = tables.pick(rows("misclassified"), prediction="wrong", map="foil", against="random", share=0.1,
                            metric="becomes the foil")
    assert len(by_chance) == 8
    assert (by_chance["low"] > 0).all()


# --- gradients and maps when one class dominates ---------------------------------------------------------------------


def test_three_to_four_times():
    ratios = tables.pick(rows("logit_norm"), kind="ratio")
    found = [tables.pick(ratios, classifier=network, name=name)["value"].item()
             for name in ("first over tenth", "first over second")
             for network in ("tf_efficientnet_lite0", "birds_vit", "birds_vgg")]
    shown = r"([\d.]+), ([\d.]+) and ([\d.]+) times the tenth class(?:'s on three networks, and|,) "
    shown += r"([\d.]+), ([\d.]+) and ([\d.]+) times the second"
    assert numbers(shown, GLANCE) == numbers(shown, chapter(8)) == pytest.approx(found, abs=0.006)


def test_how_alike_the_maps_are_where_one_class_dominates():
    found = [tables.pick(rows("dominance"), metric="correlation original weighted", data_set=images, split=split,
                         **{"from": 3}).iloc[0] for images, split in (("cub200", "test"), ("imagenet-1k-sample", "val"),
                                                                     ("drawn_birds", "test"), ("drawn_birds", "hard"))]
    photographs, *rest = numbers(r"correlate at ([\d.]+) on photographs \((\d+) and (\d+)\), and at ([\d.]+) and "
                                 r"([\d.]+) on drawn birds \((\d+) and (\d+)\)", GLANCE)
    assert [photographs, photographs, *rest[2:4]] == pytest.approx([row["value"] for row in found], abs=0.006)
    assert [*rest[:2], *rest[4:]] == [row["n"] for row in found]


# --- masking, image by image -----------------------------------------------------------------------------------------


def test_on_how_many_birds_the_original_map_does_better(monkeypatch):
    """An average over birds says little of one of them: in the three budgets and for both signs, with the blur."""
    monkeypatch.setattr(perturbation, "BASELINES", {"blur": perturbation.BASELINES["blur"]})
    network, hard = models.load("birds_vgg"), data.load("drawn_birds", "hard", count=200)
    images = network.prepare([hard.picture(i) for i in range(200)])
    images = images[perturbation.logits_of(network, images).softmax(-1).topk(2).values[:, 1] > 0.1]
    setting = Setting("birds_vgg", "drawn_birds", "hard", layers=("features.27=grad_cam",))
    found = masking.measure(network, Batch(images, torch.zeros(len(images), dtype=torch.int64)), setting)
    worse = {"t1": [], "t2": []}
    for (*place, contrast), values in found.items():
        if contrast in ("weighted", "probability"):
            gain = (values - found[*place, "original"])[:, 0] * (1 if place[-1] == "positive" else -1)
            worse[place[2]].append((gain < 0).double().mean().item())
    assert [len(shares) for shares in worse.values()] == [6, 6]
    assert f"on half of {len(images)} birds for the likelier class, on a third for the other" in chapter(7)
    assert sum(worse["t1"]) / 6 == pytest.approx(1 / 2, abs=0.03)
    assert sum(worse["t2"]) / 6 == pytest.approx(1 / 3, abs=0.03)
