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

from contrastlib.data.birds.dataset import DrawnBirds, fingerprint
from contrastlib.data.birds.drawing import BACKGROUNDS, SIZE, Bird, Drawing, Leaf, Scene, compose, draw, telling_pixels
from contrastlib.data.birds.species import CODES, NAMES, PARTS, SECOND, SPECIES, Species, species, telling_parts

__all__ = ["BACKGROUNDS", "CODES", "NAMES", "PARTS", "SECOND", "SIZE", "SPECIES", "Bird", "Drawing", "DrawnBirds",
           "Leaf", "Scene", "Species", "compose", "draw", "fingerprint", "species", "telling_parts", "telling_pixels"]
