"""What is in a picture, before it is drawn: birds, their poses, the light, what stands behind and what hides them."""

from dataclasses import dataclass, replace

import numpy as np

from contrastlib.data.birds.shapes import Draws, Placement
from contrastlib.data.birds.species import ANCHORS, SPECIES, TRAITS, Posture, species

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
        birds = list(self.birds)
        birds[bird] = replace(birds[bird], label=label)
        return replace(self, birds=tuple(birds))


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
    bright, across, down = draws.uniform(0.82, 1.14), draws.uniform(-0.2, 0.2), draws.uniform(-0.22, 0.1)
    warm = draws.uniform(-0.06, 0.06)
    return Scene((*key, 1), birds, tuple(leaves), draws.choice(BACKGROUNDS), (bright, across, down),
                 (1 + warm, 1.0, 1 - warm))


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
