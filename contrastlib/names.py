"""Finding what a person means by a name: classes, models, layers, photographs."""

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher


class UnknownNameError(KeyError):
    """Nothing bears that name; the message says which names come near."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # KeyError itself would print the message in quotes


def words(name: str) -> str:
    """A name in lower case, with one space for whatever stands between its words.

    Args:
        name: any name, such as ``Tiger_Cat`` or ``jack-o'-lantern``.

    Returns:
        its words, such as ``tiger cat`` or ``jack o lantern``.
    """
    return " ".join(re.findall(r"[^\W_]+", name.casefold()))


def find(name: str, candidates: Sequence[str], what: str = "name") -> int:
    """The one candidate that a person means, whatever the case, spaces, underscores and hyphens.

    The same name wins; else the only candidate that has these words in a row; else the only one that has these
    letters in a row.

    Args:
        name: what was asked for.
        candidates: the names there are; the same name may stand there twice.
        what: what the names stand for, in messages.

    Returns:
        the index of the candidate.

    Raises:
        UnknownNameError: no candidate fits; names the nearest.
        ValueError: several fit; lists them with their indices.
    """
    wanted, spelled = words(name), [words(c) for c in candidates]
    looser = (_same, _has_words, _has_letters) if wanted else ()
    for fits in ([i for i, c in enumerate(candidates) if c == name], *(fit(wanted, spelled) for fit in looser)):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ValueError(f"{what} {name!r} is ambiguous: {_listed(fits, candidates)}")
    raise UnknownNameError(f"no {what} is called {name!r}{did_you_mean(name, candidates)}")


def nearest(name: str, candidates: Iterable[str], n: int = 5) -> list[str]:
    """The candidates that look most like a misspelt name.

    Args:
        name: what was asked for.
        candidates: the names there are.
        n: how many to give at most.

    Returns:
        up to n names, the nearest first; empty if none looks alike.
    """
    wanted = words(name)
    scored = [(_likeness(wanted, words(c)), c) for c in dict.fromkeys(candidates)]
    scored = [pair for pair in scored if pair[0] >= 0.6]
    return [c for _, c in sorted(scored, key=lambda pair: -pair[0])[:n]]


def did_you_mean(name: str, candidates: Sequence[str]) -> str:
    """The end of an error message: the nearest names, or all of them if they are few.

    Args:
        name: what was asked for.
        candidates: the names there are.

    Returns:
        such as ``; near names: tiger cat, tiger``; empty if nothing helps.
    """
    near = nearest(name, candidates)
    if near:
        return "; near names: " + ", ".join(near)
    return "; there are: " + ", ".join(candidates) if 0 < len(candidates) <= 20 else ""


def _same(wanted: str, spelled: list[str]) -> list[int]:
    run_together = wanted.replace(" ", "")
    return [i for i, s in enumerate(spelled) if s.replace(" ", "") == run_together]


def _has_words(wanted: str, spelled: list[str]) -> list[int]:
    return [i for i, s in enumerate(spelled) if f" {wanted} " in f" {s} "]


def _has_letters(wanted: str, spelled: list[str]) -> list[int]:
    return [i for i, s in enumerate(spelled) if wanted in s]


def _listed(indices: list[int], candidates: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(f"{candidates[i]} ({i})" for i in indices[:most])
    more = len(indices) - most
    return f"{shown} and {more} more" if more > 0 else shown


def _likeness(wanted: str, spelled: str) -> float:
    """Likeness in [0, 1] to the whole name, or a little less to one of its words."""
    parts = [0.9 * _ratio(wanted, part) for part in spelled.split(" ")]
    return max(_ratio(wanted, spelled), *parts)


def _ratio(a: str, b: str) -> float:
    matcher = SequenceMatcher(None, a, b)
    return matcher.ratio() if matcher.real_quick_ratio() >= 0.6 and matcher.quick_ratio() >= 0.6 else 0.0
