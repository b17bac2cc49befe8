"""How a checked cell of a chapter is compared: words as words, numbers as numbers.

Processors add up in different orders, so that a value on the edge between two printed ones is rounded either way. A
number may therefore differ by one in its last printed digit; a whole number only if it is a percentage.
"""

import re
from decimal import Decimal

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]*\w)%?")


class Printed(str):
    """What a cell printed; equal to another if the words are the same and the numbers nearly so."""

    __slots__ = ()
    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and same(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other


def same(there: str, here: str) -> bool:
    """Whether two prints say the same; how many blanks stand beside a number does not count."""
    words = [[" ".join(part.split()) for part in NUMBER.split(text)] for text in (there, here)]
    numbers = [NUMBER.findall(text) for text in (there, here)]
    return words[0] == words[1] and all(map(near, *numbers))


def near(one: str, other: str) -> bool:
    """Whether two printed numbers differ by at most one in the last digit that both print."""
    if one == other:
        return True
    step = max(_step(one), _step(other))
    return abs(_value(one) - _value(other)) <= step


def _value(text: str) -> Decimal:
    return Decimal(text.removesuffix("%"))


def _step(text: str) -> Decimal:
    """The value of a one in the last printed digit; 0 for a count, which is not rounded."""
    exponent = _value(text).as_tuple().exponent
    rounded = text.endswith("%") or "." in text or "e" in text.lower()
    return Decimal(1).scaleb(int(exponent)) if rounded else Decimal(0)
