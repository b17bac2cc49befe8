"""The colours of the book's figures."""

from matplotlib.colors import to_hex, to_rgb

FOR, AGAINST, INK, FAINT = "#c0392b", "#2c5fa8", "#222222", "#8a8a8a"
"""The house's colours: what speaks for, what speaks against, text, and what stays in the background."""

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
    """A colour mixed with white, opaque; `strength` is the share of the colour."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))
