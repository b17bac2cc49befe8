"""From a scene to pixels, and to a mask for each part of each bird."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contrastlib.data.birds import _setting
from contrastlib.data.birds._anatomy import Colour, layers
from contrastlib.data.birds._draws import Draws
from contrastlib.data.birds._raster import Cover, Outline, cover
from contrastlib.data.birds.scene import Bird, Scene
from contrastlib.data.birds.species import CODES, PARTS, SECOND, species

SIZE = 128
"""Side of a picture in pixels, unless another is asked for."""

_ROUNDNESS = 0.34  # how much darker a bird is below than above


@dataclass(frozen=True)
class Drawing:
    """A picture of drawn birds, and what each pixel shows.

    Attributes:
        scene: what was drawn.
        image: (H, W, 3) uint8.
        parts: the part that each pixel shows, (H, W) uint8 with the numbers of ``CODES``; the second bird's are greater
            by ``SECOND``; 0 where there is no bird, or a leaf in front of it.
    """

    scene: Scene
    image: NDArray[np.uint8]
    parts: NDArray[np.uint8]

    def mask(self, part: str, bird: int = 0) -> NDArray[np.bool_]:
        """The pixels that show a part.

        Args:
            part: one of ``PARTS``.
            bird: 0 for the bird in front, 1 for the other.

        Returns:
            (H, W); nothing where the part is hidden, or the species has none.

        Raises:
            ValueError: there is no such part.
        """
        if part not in CODES:
            raise ValueError(f"a bird has no part {part!r}; its parts are {', '.join(PARTS)}")
        return self.parts == CODES[part] + SECOND * bird

    @property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """The masks of the bird in front, by part."""
        return {part: self.mask(part) for part in PARTS}

    def bird(self, bird: int = 0) -> NDArray[np.bool_]:
        """The pixels that show any part of a bird.

        Args:
            bird: 0 for the bird in front, 1 for the other.

        Returns:
            (H, W).
        """
        low = SECOND * bird
        return (self.parts > low) & (self.parts <= low + len(PARTS))


def draw(scene: Scene, size: int = SIZE) -> Drawing:
    """Draw a scene.

    Args:
        scene: what is to be seen.
        size: side of the picture in pixels, at least 32.

    Returns:
        the picture and its masks; the same bytes on every machine.

    Raises:
        ValueError: the size is too small.
    """
    if size < 32:
        raise ValueError(f"a bird cannot be drawn on fewer than 32 x 32 pixels, got {size}")
    draws = Draws(*scene.key)
    canvas = _Canvas(_setting.backdrop(draws, scene.background, size))
    for outlines, colour in _setting.things(draws, scene.background, size):
        canvas.paint(cover(outlines, size), colour)
    for number in reversed(range(len(scene.birds))):
        _draw_bird(canvas, draws, scene.birds[number], number, size)
    for leaf in scene.leaves:
        canvas.paint_all(_setting.leaf(leaf), size)
    return Drawing(scene, _exposed(canvas.pixels, scene, draws), canvas.owners)


class _Canvas:
    """Colours so far, and which part each pixel shows."""

    def __init__(self, pixels: NDArray[np.float32]) -> None:
        self.pixels = pixels
        self.owners = np.zeros(pixels.shape[1:], np.uint8)

    def paint(self, form: Cover, colour: Colour, owner: int = 0, shade: NDArray[np.float32] | None = None) -> None:
        """Put a colour where a form covers; what it covers by half or more belongs to the owner."""
        rows, columns = form.box
        ink = np.array(colour, np.float32)[:, None, None]
        if shade is not None:
            ink = ink * shade[rows, columns]
        under = self.pixels[:, rows, columns]
        under += (ink - under) * form.amount
        owners = self.owners[rows, columns]
        owners[form.amount >= 0.5] = owner

    def paint_all(self, groups: list[tuple[list[Outline], Colour]], size: int) -> None:
        """Groups of outlines in units of the picture's side, back to front."""
        for outlines, colour in groups:
            self.paint(cover([outline * size for outline in outlines], size), colour)


def _draw_bird(canvas: _Canvas, draws: Draws, bird: Bird, number: int, size: int) -> None:
    place = bird.placement(size)
    feet = bird.placement(1)(np.array([[0.0, 0.56]]))[0]
    canvas.paint_all(_setting.perch(draws, float(feet[0]), float(feet[1]), bird.scale), size)
    shade = _shade(bird, size)
    forms: dict[str, Cover] = {}
    for layer in layers(species(bird.label), bird.posture):
        form = cover([place(outline) for outline in layer.outlines], size)
        forms.setdefault(layer.part, form)
        if layer.inside is not None:
            form = form.within(forms[layer.inside])
        red, green, blue = (c * t for c, t in zip(layer.colour, bird.tint))
        canvas.paint(form, (red, green, blue), CODES[layer.part] + SECOND * number, shade)


def _shade(bird: Bird, size: int) -> NDArray[np.float32]:
    """Lighter above and darker below, along the bird's own upright."""
    place = bird.placement(size)
    x = (np.arange(size) - place.origin[0]) * (-place.sine / place.scale)
    y = (np.arange(size) - place.origin[1]) * (place.cosine / place.scale)
    down = y[:, None] + x[None, :]
    return (1.06 - _ROUNDNESS * np.minimum(np.maximum(down, -0.6), 0.6)).astype(np.float32)


def _exposed(pixels: NDArray[np.float32], scene: Scene, draws: Draws) -> NDArray[np.uint8]:
    """Light, warmth and grain, and then whole numbers."""
    size = pixels.shape[1]
    bright, across, down = scene.light
    ramp = np.arange(size, dtype=np.float32) * np.float32(1 / size) - np.float32(0.5)
    light = np.float32(bright) + np.float32(across) * ramp[None, :] + np.float32(down) * ramp[:, None]
    warmth = np.array(scene.warmth, np.float32)[:, None, None]
    grain = (draws.bytes(size, size) & np.uint8(7)).astype(np.float32) - np.float32(3.5)
    lit = pixels * light * warmth + grain
    whole = np.minimum(np.maximum(lit + np.float32(0.5), 0), 255).astype(np.uint8)
    return np.ascontiguousarray(whole.transpose(1, 2, 0))
