"""What the status page says in numbers is what the rows say, and every table of rows says what made it."""

import json
import re
from pathlib import Path

import pytest

from contrastlib.experiments import provenance
from contrastlib.tables import load, pick

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "book" / "results"
PAGE = (ROOT / "book" / "status.md").read_text(encoding="utf8")
TABLES = ("gradient_sign", "masking", "masking_curves", "logit_norm", "dominance", "gradient_sign_precision",
          "full_grad", "coherence", "rollout_slips")


def cells(head: str) -> list[str]:
    (line,) = re.findall(rf"^\| {re.escape(head)} \|.*$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float32 compiled"])
def test_the_effect_of_precision_is_that_of_the_rows(precision):
    rows = load(RESULTS / "gradient_sign_precision.csv").query("contrast != 'before'")
    about = json.loads((RESULTS / "gradient_sign_precision.json").read_text(encoding="utf8"))
    (seconds,) = [made["seconds"] for group, made in about.items() if group.endswith(f", {precision}")]
    own, exact = pick(rows, precision=precision), pick(rows, precision="float32")
    shown = [pick(own, contrast=name, epsilon=0.003, steps=10, metric="p_t").iloc[0]
             for name in ("original", "weighted")]
    assert cells(precision)[:4] == [f"{seconds}", *(f"{row['value']:.4f}" for row in shown),
                                    f"{shown[1]['difference']:.4f}"]
    if precision == "float32":
        return
    for metric, cell in zip(("p_t", "accuracy"), cells(precision)[4:]):
        changes = pick(own, metric=metric)["value"].to_numpy() - pick(exact, metric=metric)["value"].to_numpy()
        assert cell == f"{abs(changes).max():.4f}"


def test_every_table_says_what_made_each_of_its_groups():
    made = {(line["table"], line["group"]) for line in provenance.of_tables(RESULTS)}
    for name in TABLES:
        columns = ["classifier", "data set", "split", "images", "precision"]
        columns += ["layer"] if name.startswith("masking") else []
        groups = set(load(RESULTS / f"{name}.csv")[columns].agg(", ".join, axis=1))
        assert groups == {group for table, group in made if table == f"{name}.csv"}


def test_the_page_lists_what_the_rows_were_made_by():
    assert "```{made-by} results" in PAGE
    for line in provenance.of_tables(RESULTS):
        assert re.fullmatch(r"[0-9a-f]{12}", line["commit"]), f"{line['group']}: made by files in no commit"
        assert line["verdict"].startswith("code ")
        assert len(line["code"]) == len(provenance.digest("contrastlib.experiments.masking")) == 16
