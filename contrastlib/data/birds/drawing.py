"""What is in a picture; from there to pixels, and to a mask for each part of each bird."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contrastlib.data.birds.shapes import Colour, Cover, Draws, Outline, Placement, cover, darker, disc, smooth, stroke
from contrastlib.data.birds.species import ANCHORS, CODES, PARTS, SECOND, SPECIES, TRAITS, Posture, layers, species

BACKGROUNDS = ("sky", "leaves", "reeds", "dusk", "bark")  # what a bird may sit in

_TELLING = {genus: tuple(trait for trait in TRAITS if len({getattr(s, trait) for s in SPECIES if s.genus == genus}) > 1)
            for genus in {s.genus for s in SPECIES}}
_REACH = 0.87  # from the middle of a bird to the tip of beak or tail, in units of its frame
_MIDDLE = 0.12  # how far that middle lies behind the origin of the frame


@dataclass(frozen=True)
class Bird:
    """A bird and where it is.

    Attributes:
        label: its species, in [0, 16).
        x: of the middle between beak and tail, in [0, 1] of the picture's side.
        y: of the middle of its body, likewise, downwards.
        scale: length of the unit of its frame, in [0, 1] of the picture's side.
        lean: tangent of half the angle by which it is turned.
        mirrored: whether it looks to the left.
        posture: head, tail and legs.
        tint: factors on red, green and blue.
    """

    label: int
    x: float
    y: float
    scale: float
    lean: float
    mirrored: bool
    posture: Posture
    tint: tuple[float, float, float]

    def placement(self, size: int) -> Placement:
        """From the bird's frame to the pixels of a picture of that size."""
        x = self.x + (-_MIDDLE if self.mirrored else _MIDDLE) * self.scale
        return Placement(x * size, self.y * size, self.scale * size, self.lean, self.mirrored)


@dataclass(frozen=True)
class Leaf:
    """A leaf in front of the birds.

    Attributes:
        x: of its middle, in [0, 1] of the picture's side.
        y: likewise, downwards.
        length: from stalk to tip, in [0, 1] of the picture's side.
        lean: tangent of half the angle by which it is turned.
        shade: brightness of its green.
    """

    x: float
    y: float
    length: float
    lean: float
    shade: float


@dataclass(frozen=True)
class Scene:
    """All that decides a picture; drawing it involves no further chance.

    Attributes:
        key: integers that name the stream of draws behind the textures.
        birds: one or two; the picture's label is the species of the first, which is the larger and sits in front.
        leaves: what hides parts of them.
        background: one of ``BACKGROUNDS``.
        light: brightness, and how it changes to the right and downwards.
        warmth: factors on red, green and blue of the whole picture.
    """

    key: tuple[int, ...]
    birds: tuple[Bird, ...]
    leaves: tuple[Leaf, ...]
    background: str
    light: tuple[float, float, float]
    warmth: tuple[float, float, float]

    @property
    def label(self) -> int:
        """The species of the bird in front."""
        return self.birds[0].label

    def with_species(self, label: int, bird: int = 0) -> "Scene":
        """The same scene, pose, light and leaves, with a bird of another species in the place of one of them.

        Args:
            label: the species, in [0, 16).
            bird: 0 for the bird in front, 1 for the other.

        Returns:
            the counterfactual scene.

        Raises:
            ValueError: the label is out of range, or there is no such bird.
        """
        species(label)
        if not 0 <= bird < len(self.birds):
            raise ValueError(f"the scene has {len(self.birds)} birds, there is no bird {bird}")
        changed = replace(self.birds[bird], label=label)
        return replace(self, birds=(*self.birds[:bird], changed, *self.birds[bird + 1:]))


def compose(key: tuple[int, ...], label: int, *, hard: bool = False) -> Scene:
    """A scene made up by chance.

    Args:
        key: non-negative integers; the same ones give the same scene.
        label: species of the bird in front, in [0, 16).
        hard: whether something makes it difficult: a second bird of another species, nearly as large, or a leaf over
            one of the parts that tell the species of the genus apart, or both. Otherwise a third of the pictures has a
            leaf over some part.

    Returns:
        the scene.

    Raises:
        ValueError: the label is out of range.
    """
    draws = Draws(*key)
    genus = species(label).genus
    second, hidden = (draws.choice([(True, False), (False, True), (True, True)]) if hard
                      else (False, draws.chance(0.3)))
    birds = _pair(draws, label) if second else (_alone(draws, label),)
    leaves = [_clutter(draws) for _ in range(int(draws.uniform(0, 3)))]
    if hidden:
        part = draws.choice(_TELLING[genus] if hard else list(TRAITS))
        leaves.append(_over(draws, birds[0], part))
    light = draws.uniform(0.82, 1.14), draws.uniform(-0.2, 0.2), draws.uniform(-0.22, 0.1)
    warm = draws.uniform(-0.06, 0.06)
    return Scene((*key, 1), birds, tuple(leaves), draws.choice(BACKGROUNDS), light, (1 + warm, 1.0, 1 - warm))


def _alone(draws: Draws, label: int) -> Bird:
    scale = draws.uniform(0.40, 0.56)
    room = max(0.5 - _REACH * scale, 0.02)
    return _bird(draws, label, (0.5 + draws.uniform(-room, room), 0.5 + draws.uniform(-0.13, 0.12)), scale)


def _pair(draws: Draws, label: int) -> tuple[Bird, Bird]:
    """Two birds of different species, half of the time of one genus, looking anywhere."""
    genus = SPECIES[label].genus
    related = draws.chance(0.5)
    other = draws.choice([i for i, s in enumerate(SPECIES) if i != label and (s.genus == genus) == related])
    side = 1.0 if draws.chance(0.5) else -1.0
    scale = draws.uniform(0.33, 0.42)
    first = _bird(draws, label, (0.5 - side * draws.uniform(0.17, 0.24), draws.uniform(0.52, 0.66)), scale)
    second = _bird(draws, other, (0.5 + side * draws.uniform(0.19, 0.27), draws.uniform(0.34, 0.50)),
                   scale * draws.uniform(0.70, 0.95))
    return first, second


def _bird(draws: Draws, label: int, middle: tuple[float, float], scale: float) -> Bird:
    posture = Posture(draws.uniform(-0.12, 0.15), draws.uniform(-0.14, 0.14), draws.uniform(0.9, 1.12),
                      draws.uniform(0.10, 0.2))
    tint = draws.uniform(0.9, 1.1), draws.uniform(0.9, 1.1), draws.uniform(0.9, 1.1)
    return Bird(label, *middle, scale, draws.uniform(-0.14, 0.14), draws.chance(0.5), posture, tint)


def _clutter(draws: Draws) -> Leaf:
    """A leaf near the border."""
    edge, along = draws.uniform(-0.02, 0.1), draws.uniform()
    x, y = draws.choice([(edge, along), (1 - edge, along), (along, 1 - edge), (along, edge)])
    return Leaf(x, y, draws.uniform(0.16, 0.3), draws.uniform(-1, 1), draws.uniform(0.6, 1.1))


def _over(draws: Draws, bird: Bird, part: str) -> Leaf:
    """A leaf over a part of a bird, seldom so well placed that nothing of the part is left."""
    x, y = bird.placement(1)(np.array([ANCHORS[part]]))[0]
    off = 0.07 * bird.scale
    size = bird.scale * (1.3 if part in ("belly", "tail") else 0.85) * draws.uniform(0.6, 1.0)
    return Leaf(float(x) + draws.uniform(-off, off), float(y) + draws.uniform(-off, off), size,
                draws.uniform(-1, 1), draws.uniform(0.6, 1.1))


# From a scene to pixels


SIZE = 128  # side of a picture in pixels, unless another is asked for

Pixels = NDArray[np.float32]
Thing = tuple[list[Outline], Colour]  # a group of outlines, in units of the picture's side
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
        return (self.parts > SECOND * bird) & (self.parts <= SECOND * bird + len(PARTS))


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
    canvas = _Canvas(_backdrop(draws, scene.background, size))
    canvas.paint_all(_BEHIND[scene.background](draws))
    for number in reversed(range(len(scene.birds))):
        _draw_bird(canvas, draws, scene.birds[number], number)
    canvas.paint_all(thing for leaf in scene.leaves for thing in _leaf(leaf))
    return Drawing(scene, _exposed(canvas.pixels, scene, draws), canvas.owners)


def telling_pixels(scene: Scene, foil: int, *, bird: int = 0, size: int = SIZE) -> NDArray[np.bool_]:
    """The pixels that would change if a bird were of another species, and nothing else did.

    This is a ground truth for "why this species, not that one?": outside of these pixels both answers look the same.

    Args:
        scene: what is in the picture.
        foil: the other species, in [0, 16).
        bird: 0 for the bird in front, 1 for the other.
        size: side of the picture in pixels.

    Returns:
        (H, W); nothing where leaves hide all the parts that tell the two apart.

    Raises:
        ValueError: the foil is out of range, or there is no such bird.
    """
    other = draw(scene.with_species(foil, bird), size).image
    return np.asarray((draw(scene, size).image != other).any(axis=2))


class _Canvas:
    """Colours so far, and which part each pixel shows."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels, self.size = pixels, pixels.shape[1]
        self.owners = np.zeros(pixels.shape[1:], np.uint8)

    def paint(self, form: Cover, colour: Colour, owner: int = 0, shade: Pixels | None = None) -> None:
        """Put a colour where a form covers; what it covers by half or more belongs to the owner."""
        rows, columns = form.box
        ink = np.array(colour, np.float32)[:, None, None]
        if shade is not None:
            ink = ink * shade[rows, columns]
        under = self.pixels[:, rows, columns]
        under += (ink - under) * form.amount
        owners = self.owners[rows, columns]
        owners[form.amount >= 0.5] = owner

    def paint_all(self, things: Iterable[Thing]) -> None:
        """Things back to front."""
        for outlines, colour in things:
            self.paint(cover([outline * self.size for outline in outlines], self.size), colour)


def _draw_bird(canvas: _Canvas, draws: Draws, bird: Bird, number: int) -> None:
    x, y = bird.placement(1)(np.array([[0.0, 0.56]]))[0]
    canvas.paint_all(_perch(draws, float(x), float(y), bird.scale))
    place, shade = bird.placement(canvas.size), _shade(bird, canvas.size)
    forms: dict[str, Cover] = {}
    for layer in layers(species(bird.label), bird.posture):
        form = cover([place(outline) for outline in layer.outlines], canvas.size)
        forms.setdefault(layer.part, form)
        if layer.inside is not None:
            form = form.within(forms[layer.inside])
        red, green, blue = (c * t for c, t in zip(layer.colour, bird.tint))
        canvas.paint(form, (red, green, blue), CODES[layer.part] + SECOND * number, shade)


def _shade(bird: Bird, size: int) -> Pixels:
    """Lighter above and darker below, along the bird's own upright."""
    place = bird.placement(size)
    x = (np.arange(size) - place.origin[0]) * (-place.sine / place.scale)
    y = (np.arange(size) - place.origin[1]) * (place.cosine / place.scale)
    down = y[:, None] + x[None, :]
    return (1.06 - _ROUNDNESS * np.minimum(np.maximum(down, -0.6), 0.6)).astype(np.float32)


def _exposed(pixels: Pixels, scene: Scene, draws: Draws) -> NDArray[np.uint8]:
    """Light, warmth and grain, and then whole numbers."""
    size = pixels.shape[1]
    bright, across, down = scene.light
    ramp = np.arange(size, dtype=np.float32) * np.float32(1 / size) - np.float32(0.5)
    light = np.float32(bright) + np.float32(across) * ramp[None, :] + np.float32(down) * ramp[:, None]
    warmth = np.array(scene.warmth, np.float32)[:, None, None]
    grain = (draws.bytes(size, size) & np.uint8(7)).astype(np.float32) - np.float32(3.5)
    whole = np.minimum(np.maximum(pixels * light * warmth + grain + np.float32(0.5), 0), 255).astype(np.uint8)
    return np.ascontiguousarray(whole.transpose(1, 2, 0))


_PALETTES: dict[str, tuple[Colour, Colour]] = {
    "sky": ((150, 190, 226), (222, 232, 238)), "leaves": ((70, 104, 62), (150, 176, 104)),
    "reeds": ((150, 146, 96), (206, 200, 158)), "dusk": ((118, 98, 128), (238, 178, 140)),
    "bark": ((104, 88, 76), (168, 150, 132))}
_STALK = smooth([(-0.5, 0.0), (-0.2, -0.2), (0.15, -0.19), (0.5, 0.0), (0.15, 0.19), (-0.2, 0.2)])
_VEIN = stroke([(-0.62, 0.0), (0.42, 0.0)], 0.05, 0.015)


def _field(draws: Draws, size: int, cells_x: int, cells_y: int) -> Pixels:
    """Smooth noise: random values on a grid, blended in between; (size, size) in [0, 1]."""
    grid = draws.array(cells_y + 1, cells_x + 1).astype(np.float32)
    (column, fx), (row, fy) = _cells(size, cells_x), _cells(size, cells_y)
    across = grid[:, column] + (grid[:, column + 1] - grid[:, column]) * fx
    return across[row] + (across[row + 1] - across[row]) * fy[:, None]


def _cells(size: int, cells: int) -> tuple[NDArray[np.int64], Pixels]:
    place = np.arange(size) * (cells / size)
    cell = place.astype(np.int64)
    share = place - cell
    return cell, (share * share * (3 - 2 * share)).astype(np.float32)


def _backdrop(draws: Draws, kind: str, size: int) -> Pixels:
    """The background's tone before anything stands in it; (3, size, size) in [0, 255]."""
    low, high = (np.array(colour, np.float32)[:, None, None] for colour in _PALETTES[kind])
    grain = {"reeds": (26, 3), "bark": (14, 4)}.get(kind, (5, 5))
    coarse, fine = _field(draws, size, *grain), _field(draws, size, grain[0] * 3, grain[1] * 3)
    height = np.arange(size, dtype=np.float32)[:, None] * np.float32(1 / size)
    slope = {"sky": 0.55, "dusk": 0.7}.get(kind, 0.1)
    tone = (1 - slope) * (0.68 * coarse + 0.32 * fine) + slope * height
    return low + (high - low) * tone


def _clouds(draws: Draws) -> Iterator[Thing]:
    for _ in range(2):
        x, y, r = draws.uniform(0, 1), draws.uniform(0.05, 0.9), draws.uniform(0.07, 0.14)
        puffs = [disc(x + dx * r, y + dy * r, s * r * 1.3, s * r) for dx, dy, s in
                 ((-1.2, 0.2, 0.7), (0, 0, 1.0), (1.2, 0.25, 0.75))]
        yield puffs, (236, 242, 248)


def _foliage(draws: Draws) -> Iterator[Thing]:
    for tone in (0.75, 1.0, 1.25):
        blobs = [Placement(draws.uniform(), draws.uniform(), draws.uniform(0.1, 0.3), draws.uniform(-1, 1))(_STALK)
                 for _ in range(4)]
        yield blobs, (86 * tone, 132 * tone, 66 * tone)


def _reeds(draws: Draws) -> Iterator[Thing]:
    for tone in (0.8, 1.05):
        stems = []
        for _ in range(5):
            x, lean = draws.uniform(), draws.uniform(-0.15, 0.15)
            stems.append(stroke([(x, 1.05), (x + 0.4 * lean, 0.5), (x + lean, draws.uniform(-0.1, 0.3))], 0.035, 0.008))
        yield stems, (128 * tone, 134 * tone, 66 * tone)


def _hills(draws: Draws) -> Iterator[Thing]:
    yield [disc(draws.uniform(0.1, 0.9), draws.uniform(0.15, 0.6), draws.uniform(0.07, 0.12))], (252, 224, 178)
    for base, colour in ((0.66, (124, 96, 128)), (0.82, (84, 72, 104))):
        tops = [(x / 4, base + draws.uniform(-0.08, 0.08)) for x in range(5)]
        yield [np.array([(-0.1, 1.1), (-0.1, base), *tops, (1.1, base), (1.1, 1.1)])], colour


def _cracks(draws: Draws) -> Iterator[Thing]:
    cracks = []
    for _ in range(6):
        x, y = draws.uniform(), draws.uniform(-0.1, 0.8)
        cracks.append(stroke([(x, y), (x + draws.uniform(-0.03, 0.03), y + 0.15), (x, y + draws.uniform(0.2, 0.4))],
                             0.022, 0.006))
    yield cracks, (74, 60, 52)


# What stands in the background.
_BEHIND = {"sky": _clouds, "leaves": _foliage, "reeds": _reeds, "dusk": _hills, "bark": _cracks}


def _perch(draws: Draws, x: float, y: float, scale: float) -> list[Thing]:
    """A branch under a bird's feet, which are at (x, y)."""
    thick = scale * draws.uniform(0.10, 0.17)
    tilt, bend = draws.uniform(-0.12, 0.12), draws.uniform(-0.04, 0.04)
    middle = y + 0.5 * thick
    line = [(-0.05, middle - tilt * (x + 0.05)), (0.5 * x, middle - tilt * 0.5 * x + bend), (x, middle),
            (1.05, middle + tilt * (1.05 - x) + bend)]
    colour: Colour = draws.choice([(112, 84, 60), (134, 112, 90), (92, 78, 70)])
    return [([stroke(line, thick, 0.7 * thick)], darker(colour, 0.8)),
            ([stroke([(px, py - 0.25 * thick) for px, py in line], 0.4 * thick, 0.25 * thick)], colour)]


def _leaf(what: Leaf) -> list[Thing]:
    """A leaf in front of everything."""
    place = Placement(what.x, what.y, what.length, what.lean)
    colour: Colour = (92 * what.shade, 148 * what.shade, 60 * what.shade)
    return [([place(_STALK)], colour), ([place(_VEIN)], darker(colour, 0.74))]
