"""The colours and the order of contrasts, the same in every figure drawn from rows."""

from collections.abc import Iterable

from matplotlib.colors import to_hex, to_rgb

CONTRAST_COLOURS = {
    "original": "#1f6f8b", "mean": "#56b4e9", "tempered 2": "#eda93b", "weighted": "#d55e00", "probability": "#cc79a7",
    "tempered 0.5": "#98400c", "max": "#5a2a6e", "finer": "#009e73", "normalised": "#4d4d4d",
}
"""Colours of contrasts, told apart also by colour-blind readers; along the dial from mean to max they grow darker."""


def colour_of(contrast: str) -> str:
    """The colour of a contrast.

    Args:
        contrast: its name; one that the palette does not know is drawn like ``normalised``.

    Returns:
        a hexadecimal colour.
    """
    return CONTRAST_COLOURS.get(contrast, CONTRAST_COLOURS["normalised"])


def paler(colour: str, strength: float) -> str:
    """A colour mixed with white.

    Args:
        colour: any that matplotlib knows.
        strength: share of the colour, in [0, 1].

    Returns:
        a hexadecimal colour, opaque.
    """
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def in_order(contrasts: Iterable[str]) -> list[str]:
    """Contrasts in the order in which figures show them.

    Args:
        contrasts: names, each perhaps several times.

    Returns:
        each once, those that the palette does not know at the end.
    """
    there = list(dict.fromkeys(contrasts))
    known = [name for name in CONTRAST_COLOURS if name in there]
    return known + [name for name in there if name not in known]
