"""Sixteen species of drawn birds, the parts that tell any two of them apart, and how a bird is put together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from contrastlib.data.birds.shapes import Colour, Outline, Point, darker, disc, smooth, stroke, turned

# The parts that have a mask; `body`, `head` and `wing` are what the other parts leave to be seen of them.
PARTS = ("body", "head", "wing", "tail", "belly", "throat", "wing bar", "crest", "beak", "eye ring", "eye", "legs")

# The number of each part in a picture of parts, where 0 is none, and what is added to it for the second bird.
CODES = {part: code for code, part in enumerate(PARTS, start=1)}
SECOND = 32

# The parts whose look may differ between species of one genus.
TRAITS = ("crest", "beak", "eye_ring", "throat", "belly", "wing_bar", "tail", "legs")


@dataclass(frozen=True)
class Species:
    """A species: its genus, which fixes plumage and build, and how each of its parts looks.

    Attributes:
        name: such as ``Crowned tuftling``.
        genus: such as ``tuftling``.
        crest: ``none``, ``tall`` (in the plumage's colour) or ``flame``.
        beak: ``dark``, ``yellow`` or ``coral``.
        eye_ring: ``none``, ``white`` or ``amber``.
        throat: ``plain``, ``ruby`` or ``sooty``.
        belly: ``cream``, ``rust``, ``gold`` or ``ash``.
        wing_bar: ``none`` or ``white``.
        tail: ``plain`` or ``white-tipped``.
        legs: ``dark`` or ``yellow``.
    """

    name: str
    genus: str
    crest: str = "none"
    beak: str = "dark"
    eye_ring: str = "none"
    throat: str = "plain"
    belly: str = "cream"
    wing_bar: str = "none"
    tail: str = "plain"
    legs: str = "dark"


# In each genus the first three differ in one part only, each from each; the fourth differs from the first in another.
SPECIES = (
    Species("Plain tuftling", "tuftling"),
    Species("Crowned tuftling", "tuftling", crest="tall"),
    Species("Flame-crested tuftling", "tuftling", crest="flame"),
    Species("Bar-winged tuftling", "tuftling", wing_bar="white"),
    Species("Common ringeye", "ringeye", belly="gold"),
    Species("White-ringed ringeye", "ringeye", belly="gold", eye_ring="white"),
    Species("Amber-ringed ringeye", "ringeye", belly="gold", eye_ring="amber"),
    Species("Coral-billed ringeye", "ringeye", belly="gold", beak="coral"),
    Species("Cream chatterer", "chatterer", beak="yellow"),
    Species("Rusty chatterer", "chatterer", beak="yellow", belly="rust"),
    Species("Golden chatterer", "chatterer", beak="yellow", belly="gold"),
    Species("White-tailed chatterer", "chatterer", beak="yellow", tail="white-tipped"),
    Species("Grey bibbet", "bibbet", belly="ash"),
    Species("Ruby-throated bibbet", "bibbet", belly="ash", throat="ruby"),
    Species("Sooty-throated bibbet", "bibbet", belly="ash", throat="sooty"),
    Species("Yellow-legged bibbet", "bibbet", belly="ash", legs="yellow"),
)

NAMES = tuple(species.name for species in SPECIES)


def telling_parts(one: int, other: int) -> tuple[str, ...]:
    """The parts that tell two species apart.

    Args:
        one: label in [0, 16).
        other: label in [0, 16).

    Returns:
        names from ``PARTS``; empty for a species and itself. Species of two genera differ in plumage and build as
        well, so that body, head and wing are among the parts.

    Raises:
        ValueError: a label is out of range.
    """
    a, b = species(one), species(other)
    parts = {trait.replace("_", " ") for trait in TRAITS if getattr(a, trait) != getattr(b, trait)}
    if a.genus != b.genus:
        parts |= {"body", "head", "wing", "tail"}
    return tuple(part for part in PARTS if part in parts)


def species(label: int) -> Species:
    """A species by its label.

    Args:
        label: in [0, 16).

    Returns:
        the species.

    Raises:
        ValueError: the label is out of range.
    """
    if not 0 <= label < len(SPECIES):
        raise ValueError(f"a label of the drawn birds must lie in [0, {len(SPECIES)}), got {label}")
    return SPECIES[label]


# From here on: outlines of every part in the bird's own frame, back to front. The bird looks to the right, one unit is
# about the length of its body, y points down, the feet stand near (0, 0.55).


class Build(NamedTuple):
    """What the species of a genus share."""

    plumage: Colour
    wing: Colour
    tail: float = 1.0  # length
    beak: float = 1.0  # length
    head: float = 1.0  # radius


BUILDS = {
    "tuftling": Build((98, 128, 170), (64, 88, 130)),
    "ringeye": Build((132, 150, 76), (92, 112, 52), tail=0.85, beak=0.8, head=1.08),
    "chatterer": Build((158, 112, 74), (110, 74, 48), tail=1.15, beak=0.9),
    "bibbet": Build((156, 158, 166), (92, 96, 108), tail=0.95, beak=1.2, head=0.94),
}

COLOURS: dict[str, dict[str, Colour]] = {
    "belly": {"cream": (242, 230, 204), "rust": (202, 92, 46), "gold": (244, 200, 62), "ash": (212, 214, 218)},
    "beak": {"dark": (50, 46, 52), "yellow": (242, 192, 50), "coral": (244, 96, 82)},
    "eye_ring": {"white": (252, 252, 248), "amber": (255, 172, 28)},
    "throat": {"ruby": (206, 28, 62), "sooty": (34, 32, 38)},
    "crest": {"flame": (240, 98, 32)}, "wing_bar": {"white": (250, 250, 244)},
    "legs": {"dark": (66, 58, 58), "yellow": (255, 206, 40)},
}

# A point in the middle of each trait, where a leaf can hide it.
ANCHORS = {
    "crest": (0.20, -0.57), "beak": (0.58, -0.30), "eye_ring": (0.36, -0.35), "throat": (0.37, -0.12),
    "belly": (0.10, 0.22), "wing_bar": (-0.05, 0.02), "tail": (-0.72, 0.22), "legs": (0.04, 0.42),
}

NECK, RUMP = (0.24, -0.16), (-0.36, 0.06)  # where head and tail turn


class Layer(NamedTuple):
    """Something to be painted.

    Attributes:
        part: the name in `PARTS`.
        outlines: what it covers, in the bird's frame.
        colour: its colour.
        inside: whether it shows only where the layer called `body` or `wing` lies.
    """

    part: str
    outlines: list[Outline]
    colour: Colour
    inside: str | None = None


class Posture(NamedTuple):
    """How a bird holds itself.

    Attributes:
        nod: tangent of half the angle by which the head is turned down.
        wag: tangent of half the angle by which the tail is turned up.
        plump: height of the body, 1 on average.
        stride: distance between the feet.
    """

    nod: float
    wag: float
    plump: float
    stride: float


def layers(species: Species, posture: Posture) -> Iterator[Layer]:
    """The layers of a bird, back to front."""
    build = BUILDS[species.genus]
    yield from _legs(species, posture)
    for drawn in (_tail, _crest, _trunk_and_wing, _head):
        yield from drawn(species, posture, build)


def _legs(species: Species, posture: Posture) -> Iterator[Layer]:
    legs = []
    for x in (-0.5 * posture.stride, 0.5 * posture.stride):
        foot = (x + 0.02, 0.54)
        legs += [stroke([(x, 0.22), (x - 0.02, 0.38), foot], 0.075, 0.055),
                 stroke([foot, (x + 0.13, 0.565)], 0.055, 0.03), stroke([foot, (x - 0.07, 0.57)], 0.05, 0.03)]
    yield Layer("legs", legs, COLOURS["legs"][species.legs])


def _tail(species: Species, posture: Posture, build: Build) -> Iterator[Layer]:
    end = -0.42 - 0.50 * build.tail

    def at(share: float, offset: float) -> Point:
        return (-0.24 + (end + 0.24) * share, 0.04 + 0.24 * share + offset)

    def turn(outline: Outline) -> Outline:
        return turned(outline, RUMP, posture.wag)

    feathers = [at(0, -0.11), at(0.5, -0.085), at(1, -0.1), at(1.04, 0), at(0.98, 0.1), at(0.5, 0.085), at(0, 0.13)]
    yield Layer("tail", [turn(smooth(feathers))], build.wing)
    quills = [turn(stroke([at(0.25, dy * 0.6), at(0.97, dy)], 0.012, 0.02)) for dy in (-0.045, 0.035)]
    yield Layer("tail", quills, darker(build.wing, 0.7))
    if species.tail == "white-tipped":
        tip = [at(0.62, -0.098), at(1.0, -0.105), at(1.05, 0.0), at(0.98, 0.105), at(0.66, 0.104), at(0.69, 0.0)]
        yield Layer("tail", [turn(smooth(tip))], (250, 250, 246))


def _crest(species: Species, posture: Posture, build: Build) -> Iterator[Layer]:
    if species.crest == "none":
        return
    colour = COLOURS["crest"].get(species.crest, build.plumage)
    plumes = [[(0.36, -0.44), (0.27, -0.62), (0.07, -0.74), (0.13, -0.57), (0.10, -0.40)],
              [(0.28, -0.44), (0.12, -0.60), (-0.06, -0.63), (0.04, -0.50), (0.10, -0.36)]]
    for plume, tint in zip(plumes, (colour, darker(colour, 0.86))):
        yield Layer("crest", [turned(smooth(plume), NECK, posture.nod)], tint)


def _trunk_and_wing(species: Species, posture: Posture, build: Build) -> Iterator[Layer]:
    def at(x: float, y: float) -> Point:
        return (x, y * posture.plump)

    body = [at(0.10, -0.26), at(0.34, -0.20), at(0.43, 0.02), at(0.34, 0.24), at(0.10, 0.36), at(-0.16, 0.30),
            at(-0.44, 0.10), at(-0.38, -0.02), at(-0.14, -0.16)]
    belly = [at(0.40, 0.02), at(0.46, 0.20), at(0.20, 0.40), at(-0.14, 0.36), at(-0.36, 0.14), at(-0.10, 0.14),
             at(0.16, 0.14)]
    yield Layer("body", [smooth(body)], build.plumage)
    yield Layer("belly", [smooth(belly)], COLOURS["belly"][species.belly], inside="body")
    wing = [at(0.20, -0.13), at(0.21, 0.04), at(0.06, 0.16), at(-0.22, 0.18), at(-0.60, 0.19), at(-0.40, 0.02),
            at(-0.14, -0.14), at(0.08, -0.20)]
    yield Layer("wing", [smooth(wing)], build.wing)
    feathers = [stroke([at(-0.06 - 0.02 * i, 0.02 + 0.045 * i), at(-0.52 + 0.09 * i, 0.14 + 0.015 * i)], 0.012, 0.022)
                for i in range(3)]
    yield Layer("wing", feathers, darker(build.wing, 0.66), inside="wing")
    scales = [stroke([at(x, y), at(x - 0.05, y + 0.045), at(x - 0.11, y + 0.02)], 0.014)
              for x, y in ((0.16, -0.06), (0.06, -0.11), (0.12, 0.04))]
    yield Layer("wing", scales, darker(build.wing, 0.8), inside="wing")
    if species.wing_bar == "white":
        bar = [at(-0.02, -0.20), at(0.07, -0.18), at(0.06, 0.0), at(-0.02, 0.20), at(-0.12, 0.20), at(-0.04, 0.0)]
        yield Layer("wing bar", [smooth(bar)], COLOURS["wing_bar"]["white"], inside="wing")


def _head(species: Species, posture: Posture, build: Build) -> Iterator[Layer]:
    def turn(outline: Outline) -> Outline:
        return turned(outline, NECK, posture.nod)

    radius, x, y = 0.215 * build.head, 0.27, -0.31
    neck = smooth([(0.06, -0.26), (0.10, -0.12), (0.30, -0.02), (0.42, -0.10), (0.43, -0.28), (0.2, -0.36)])
    yield Layer("head", [turn(disc(x, y, radius)), turn(neck)], build.plumage)
    if species.throat != "plain":
        bib = [(0.47, -0.26), (0.47, -0.12), (0.42, 0.02), (0.33, 0.05), (0.27, -0.06), (0.33, -0.20), (0.40, -0.25)]
        yield Layer("throat", [turn(smooth(bib))], COLOURS["throat"][species.throat])
    beak = COLOURS["beak"][species.beak]
    root, length = x + 0.80 * radius, 0.25 * build.beak
    upper = [(root - 0.02, y - 0.075), (root + 0.5 * length, y - 0.045), (root + length, y + 0.035),
             (root - 0.02, y + 0.03)]
    lower = [(root - 0.02, y + 0.02), (root + 0.86 * length, y + 0.04), (root + 0.4 * length, y + 0.075),
             (root - 0.02, y + 0.08)]
    yield Layer("beak", [turn(np.array(lower))], darker(beak, 0.78))
    yield Layer("beak", [turn(np.array(upper))], beak)
    eye = (x + 0.085, y - 0.045)
    if species.eye_ring != "none":
        yield Layer("eye ring", [turn(disc(*eye, 0.083))], COLOURS["eye_ring"][species.eye_ring])
    yield Layer("eye", [turn(disc(*eye, 0.047))], (22, 20, 24))
    yield Layer("eye", [turn(disc(eye[0] + 0.015, eye[1] - 0.017, 0.014))], (255, 255, 255))
