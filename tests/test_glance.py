"""The page "The papers at a glance": its numbers in bold are those of the rows, and its verdicts are five words."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from contrastlib import evaluation, tables
from contrastlib.tables import pick

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "glance.md").read_text(encoding="utf8")
LINES = [line for line in PAGE.splitlines() if line.startswith("| ")]
VERDICTS = {"holds", "holds with a correction", "undecided", "does not hold", "not run"}
REVIEWS = ("blur", "mean colour", "channel mean")  # the papers' baselines


def table(name: str) -> pd.DataFrame:
    return tables.load(ROOT / "book" / "results" / f"{name}.csv")


def ours(beginning: str) -> list[float]:
    """The bold numbers in the third cell of the row that begins so."""
    (line,) = [line for line in LINES if line.startswith(f"| {beginning}")]
    return [float(n.replace("−", "-")) for n in re.findall(r"\*\*([−-]?[\d.]+)\*\*", line.split(" | ")[2])]


def agree(beginning: str, *found: float) -> None:
    """Each number is the found one, to its last digit."""
    stated = ours(beginning)
    assert len(stated) == len(found), stated
    for number, value in zip(stated, found):
        digits = len(f"{number:g}".partition(".")[2])
        assert number == pytest.approx(value, abs=0.5 * 10**-digits + 1e-9)


def value(rows: pd.DataFrame, **where: object) -> float:
    return pick(rows, **where)["value"].item()


def printed(chapter: str, line: str) -> list[float]:
    """The numbers in the lines that begin so, in the stored outputs of a chapter."""
    (path,) = (ROOT / "chapters").glob(f"{chapter}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    text = "".join("".join(out.get("text", [])) for cell in cells for out in cell.get("outputs", []))
    (found,) = {one for one in text.splitlines() if one.startswith(line)}
    return [float(n) for n in re.findall(r"-?\d+\.\d+", found.removeprefix(line))]


def test_every_number_in_bold_is_held():
    tested = re.findall(r'^ +agree\("([^"]+)"', Path(__file__).read_text(encoding="utf8"), flags=re.MULTILINE)
    for line in LINES:
        if re.search(r"\*\*[−-]?[\d.]+\*\*", line):
            assert any(line.startswith(f"| {one}") for one in tested), line


def test_every_verdict_is_one_of_five_words():
    given = [re.fullmatch(r"\*\*([a-z ]+)\*\* \|", line.rsplit(" | ", 1)[1]) for line in LINES
             if line.split(" | ")[0] not in ("| statement", "| figure", "| table") and line.count(" | ") == 3]
    assert len(given) >= 20
    assert all(one and one[1] in VERDICTS for one in given)
    explained = re.findall(r"^\*([a-z ]+)\*$", PAGE, flags=re.MULTILINE)
    assert set(explained) == VERDICTS


def wins(rows: pd.DataFrame) -> pd.DataFrame:
    return evaluation.decided(rows).mul(rows["keep"].map({"positive": 1, "negative": -1}), axis=0).dropna()


def test_claim_2():
    rows = table("masking")
    won = wins(rows)
    alone, holm = won["alone"], won["Holm"]
    counts = [len(won), sum(alone > 0), sum(alone == 0), sum(alone < 0), sum(holm > 0)]
    for page in (PAGE, (ROOT / "README.md").read_text(encoding="utf8")):
        found = re.findall(r"of all (\d+) comparisons\D* (\d+) are decided for \D+, (\d+) undecided(?:,| and) (\d+) "
                           r"against\D+ (\d+) are left", " ".join(page.split()))
        assert [[int(n) for n in one] for one in found] == [counts]
    assert not sum(holm < 0)
    assert not holm[rows.loc[holm.index, "classifier"] == "birds_vit"].any()


def test_xgradcam():
    """Of the three methods' weighted maps, by target and sign, on average over the papers' baselines."""
    rows = table("masking")
    found = []
    for name, layer in (("birds_vgg", "features.27"), ("tf_efficientnet_lite0", "blocks.4")):
        own = pick(rows, classifier=name, layer=layer, images="p2>0.1", budget="published", contrast="probability")
        means = own[own["baseline"].isin(REVIEWS)].groupby(["target", "keep", "method"])["value"].mean().unstack()
        signed = means.mul([1 if keep == "positive" else -1 for _, keep in means.index], axis=0)
        found += [sum(signed.idxmax(axis=1) == "xgrad_cam"), sum(signed.idxmin(axis=1) == "xgrad_cam")]
    agree("XGradCAM is slightly better", found[0], found[2], found[3])


def test_normalising():
    rows = pick(table("masking_curves"), images="p2>0.1", target="t1", method="grad_cam", removed="highest",
                share="area")
    places = (("tf_efficientnet_lite0", "bn2"), ("birds_vgg", "features.27"))
    agree("Explanations should be normalised", *(
        pick(rows, classifier=name, layer=layer, contrast=contrast)["difference"].item()
        for name, layer in places for contrast in ("normalised", "weighted")))


def test_figures_2_and_4():
    original, weighted = (printed("03", f"Grad-CAM, {name}") for name in ("original", "weighted"))
    agree("2: maps", min(original), max(original), min(weighted), max(weighted))
    means = [number for t in ("t1", "t2", "t3") for number in printed("04", f"{t}: ")]
    opposite = [number for name in ("chelsea", "grace_hopper", "rocket")
                for number in printed("04", f"{name}: correlation")]
    assert len(means) == 9
    assert min(means) >= ours("4: mean")[0] > 0.999
    agree("4: mean", ours("4: mean")[0], max(opposite))


def test_full_grad():
    rows = pick(table("full_grad"), metric="negative everywhere")
    agree("3: FullGrad", rows[~rows["map"].isin(("terms", "grad_cam"))]["value"].max())


def test_transformers():
    rows = pick(table("coherence"), classifier="birds_vit", target="t1")
    bird, parts = "positive share on the bird", "positive share on the telling parts"
    at_2 = [value(rows, metric=bird, contrast="original", block=2, method=method)
            for method in ("grad_cam", "grad_cam attention", "grad_cam norm1")]
    agree("5(a)", min(at_2), max(at_2), value(rows, metric=bird, method="chance"))
    agree("5(b)", *(value(rows, metric=bird, contrast="original", block=2, method=method)
                    for method in ("rollout relu", "relevance")),
          *(value(rows, metric=parts, contrast=name, block=2, method="rollout relu")
            for name in ("original", "weighted")))


def test_figure_6():
    rows = pick(table("logit_norm"), classifier="tf_efficientnet_lite0")
    found = rows.loc[rows["name"] != "", "value"].tolist()
    agree("6: the norm", *found[:4], found[5])


def test_tables_1_and_2():
    rows = pick(table("masking"), budget="published", contrast="probability").dropna(subset="difference")
    rows = rows[rows["baseline"].isin(REVIEWS)]
    rows = rows.assign(ahead=rows["difference"] * rows["keep"].map({"positive": 1, "negative": -1}))
    agree("1: masking", *(pick(rows, classifier=name, layer=layer, images="p2>0.1")["ahead"].mean() for name, layer in (
        ("birds_vgg", "features.25"), ("birds_vgg", "features.27"), ("tf_efficientnet_lite0", "blocks.4"),
        ("tf_efficientnet_lite0", "bn2"))))
    sure = pick(rows, classifier="tf_efficientnet_lite0", images="p2<0.1")
    agree("2: masking", *(pick(sure, layer=layer, keep=keep)["ahead"].mean()
                          for layer in ("bn2", "blocks.4") for keep in ("positive", "negative")))
