"""Pairs of contrasts in the masking rows: which setting, which values, who is better."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contrastlib.rows import Row, chosen, distinct, matching, number

METHODS = {"linear_approximation": "Linear\napproximation", "grad_cam": "Grad-CAM", "xgrad_cam": "XGradCAM"}
"""Methods in the order of the review's tables, as figures call them."""

_BASELINES = ("blur", "mean colour", "channel mean", "black")
_THEIRS = {"LA": "linear_approximation", "GC": "grad_cam", "XC": "xgrad_cam", "zeros": "mean colour",
           "mean": "channel mean"}
_PAPERS = ("table", "method", "target", "baseline", "kept_features", "contrast", "relative_probability")

Place = tuple[str, str, str]  # method, target, baseline


@dataclass(frozen=True)
class Pair:
    """The rows of two contrasts at one place."""

    place: Place
    original: Row
    other: Row

    @property
    def winner(self) -> str | None:
        """The contrast that serves the intent better; None where the paired interval holds zero."""
        low, high = number(self.other["low"]), number(self.other["high"])
        if not (low > 0 or high < 0):
            return None
        return self.other["contrast"] if (low > 0) == (self.other["keep"] == "positive") else "original"


@dataclass(frozen=True)
class Panel:
    """What one panel shows."""

    budget: str
    keep: str
    pairs: list[Pair]

    @property
    def other(self) -> str:
        """The contrast that is compared with the original."""
        return self.pairs[0].other["contrast"]

    @property
    def kept(self) -> str:
        """The shares of pixels that are kept, as text."""
        shares = [number(row["kept"]) for pair in self.pairs for row in (pair.original, pair.other)]
        low, high = f"{100 * min(shares):.0f}", f"{100 * max(shares):.0f}"
        return f"{low} % of pixels kept" if low == high else f"{low}–{high} % of pixels kept"


def panel_of(table: Sequence[Row], budget: str, keep: str) -> Panel:
    """The pairs of one budget and sign.

    Args:
        table: rows of one run.
        budget: how many pixels are kept.
        keep: the sign of the pixels that are kept.

    Returns:
        the panel.

    Raises:
        ValueError: there is no such budget or sign, or not exactly one contrast stands beside the original.
    """
    rows = matching(matching(table, "budget", budget), "keep", keep)
    others = [name for name in distinct(rows, "contrast") if name != "original"]
    if len(others) != 1:
        raise ValueError(f"budget {budget!r} must have one contrast beside 'original', it has "
                         f"{', '.join(others) or 'none'}")
    found: dict[Place, dict[str, Row]] = {}
    for row in rows:
        found.setdefault((row["method"], row["target"], row["baseline"]), {})[row["contrast"]] = row
    for place, pair in found.items():
        if len(pair) < 2:
            raise ValueError(f"budget {budget!r}, keep {keep!r} has only {next(iter(pair))!r} at {', '.join(place)}; "
                             f"a pair needs 'original' and {others[0]!r}")
    return Panel(budget, keep, [Pair(place, pair["original"], pair[others[0]]) for place, pair in found.items()])


def lines_of(places: Iterable[Place]) -> dict[Place, float]:
    """Where each place stands on a page.

    Args:
        places: each once.

    Returns:
        by place its distance from the first, in lines, with gaps between methods and between targets.
    """
    methods, found, at = list(METHODS), {}, 0.0
    ordered = sorted(places, key=lambda p: (methods.index(p[0]) if p[0] in methods else 9, p[0], p[1],
                                            _BASELINES.index(p[2]) if p[2] in _BASELINES else 9, p[2]))
    for before, place in zip([None, *ordered], ordered):
        if before is not None:
            at += 1.0 + (0.9 if place[0] != before[0] else 0.45 if place[1] != before[1] else 0.0)
        found[place] = at
    return found


def papers_pairs(reference: Iterable[Mapping[str, object]], table: str) -> dict[tuple[Place, str], dict[str, float]]:
    """The review's values in the words of our rows.

    Args:
        reference: rows of ``review_masking_tables.csv``.
        table: which of its tables.

    Returns:
        for each place and sign the relative probabilities by contrast.

    Raises:
        ValueError: a column is missing, or there is no such table.
    """
    found: dict[tuple[Place, str], dict[str, float]] = {}
    for row in chosen(reference, _PAPERS, {"table": table}):
        method, baseline = (_THEIRS.get(row[name], row[name]) for name in ("method", "baseline"))
        cells = found.setdefault(((method, row["target"], baseline), row["kept_features"]), {})
        cells[row["contrast"]] = number(row["relative_probability"])
    return found
