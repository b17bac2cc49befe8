"""Drawn birds: sixteen fine-grained species whose telling parts are known to the pixel.

Photographs do not say which of their pixels tell two classes apart. These pictures do: every species differs from
another in exactly one named part, each picture comes with a mask of every part, and any scene can be drawn again with a
bird of another species in the same place, so that *the pixels that change are the evidence*.

>>> from contrastlib.data import birds
>>> test = birds.DrawnBirds("test")
>>> birds.telling_parts(0, 1)
('crest',)
>>> evidence = birds.telling_pixels(test.scene(0), 1)

The pictures are drawn from a seed with exact arithmetic only: the same seed gives the same bytes on every machine.
"""

import numpy as np
from numpy.typing import NDArray

from contrastlib.data.birds._anatomy import Posture
from contrastlib.data.birds.dataset import DrawnBirds, fingerprint
from contrastlib.data.birds.drawing import SIZE, Drawing, draw
from contrastlib.data.birds.scene import BACKGROUNDS, Bird, Leaf, Scene, compose
from contrastlib.data.birds.species import CODES, NAMES, PARTS, SECOND, SPECIES, Species, species, telling_parts

__all__ = [
    "BACKGROUNDS", "CODES", "NAMES", "PARTS", "SECOND", "SIZE", "SPECIES", "Bird", "Drawing", "DrawnBirds", "Leaf",
    "Posture", "Scene", "Species", "compose", "draw", "fingerprint", "species", "telling_parts", "telling_pixels",
]


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
