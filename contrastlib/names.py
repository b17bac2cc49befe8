"""Finding what a person means by a name: classes, models, layers, photographs."""

import operator
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


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
    looser = ([s.replace(" ", "") == wanted.replace(" ", "") for s in spelled],
              [f" {wanted} " in f" {s} " for s in spelled], [wanted in s for s in spelled])
    for fits in ([c == name for c in candidates], *(looser if wanted else ())):
        if sum(fits) == 1:
            return fits.index(True)
        if any(fits):
            listed = [f"{candidates[i]} ({i})" for i, fit in enumerate(fits) if fit]
            more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
            raise ValueError(f"{what} {name!r} is ambiguous: {', '.join(listed[:10])}{more}")
    raise UnknownNameError(f"no {what} is called {name!r}{did_you_mean(name, candidates)}")


def nearest(name: str, candidates: Iterable[str]) -> list[str]:
    """The candidates that look most like a misspelt name, as a whole or in one of their words.

    Args:
        name: what was asked for.
        candidates: the names there are.

    Returns:
        up to five names, the nearest first; empty if none looks alike.
    """
    spelled = {c: [words(c), *words(c).split()] for c in candidates}
    close = get_close_matches(words(name), {spelling for parts in spelled.values() for spelling in parts}, 10)
    near = [c for match in close for c in sorted(spelled, key=lambda c: spelled[c][0] != match) if match in spelled[c]]
    return list(dict.fromkeys(near))[:5]


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


def as_index(value: Any) -> int | None:
    """A whole number of Python, numpy or torch.

    Args:
        value: anything.

    Returns:
        the number; None for anything else, such as 1.0, True or a tensor of bool.
    """
    try:
        return None if "bool" in str(getattr(value, "dtype", type(value))) else operator.index(value)
    except TypeError:
        return None
