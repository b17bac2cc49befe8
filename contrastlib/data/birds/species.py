"""Sixteen species of drawn birds, and the parts that tell any two of them apart."""

from dataclasses import dataclass, replace

PARTS = ("body", "head", "wing", "tail", "belly", "throat", "wing bar", "crest", "beak", "eye ring", "eye", "legs")
"""The parts that have a mask, in the order in which they are drawn. `body`, `head` and `wing` are what the other parts
leave to be seen of them."""

CODES = {part: code for code, part in enumerate(PARTS, start=1)}
"""The number of each part in a picture of parts, where 0 is none."""

SECOND = 32
"""Added to the codes of the second bird."""

TRAITS = ("crest", "beak", "eye_ring", "throat", "belly", "wing_bar", "tail", "legs")
"""The parts whose look may differ between species of one genus; attributes of :class:`Species`."""


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


_TUFTLING = Species("Plain tuftling", "tuftling")
_RINGEYE = Species("Common ringeye", "ringeye", belly="gold")
_CHATTERER = Species("Cream chatterer", "chatterer", beak="yellow")
_BIBBET = Species("Grey bibbet", "bibbet", belly="ash")

# In each genus the first three differ in one part only, each from each; the fourth differs from the first in another.
SPECIES = (
    _TUFTLING,
    replace(_TUFTLING, name="Crowned tuftling", crest="tall"),
    replace(_TUFTLING, name="Flame-crested tuftling", crest="flame"),
    replace(_TUFTLING, name="Bar-winged tuftling", wing_bar="white"),
    _RINGEYE,
    replace(_RINGEYE, name="White-ringed ringeye", eye_ring="white"),
    replace(_RINGEYE, name="Amber-ringed ringeye", eye_ring="amber"),
    replace(_RINGEYE, name="Coral-billed ringeye", beak="coral"),
    _CHATTERER,
    replace(_CHATTERER, name="Rusty chatterer", belly="rust"),
    replace(_CHATTERER, name="Golden chatterer", belly="gold"),
    replace(_CHATTERER, name="White-tailed chatterer", tail="white-tipped"),
    _BIBBET,
    replace(_BIBBET, name="Ruby-throated bibbet", throat="ruby"),
    replace(_BIBBET, name="Sooty-throated bibbet", throat="sooty"),
    replace(_BIBBET, name="Yellow-legged bibbet", legs="yellow"),
)
"""The species; the index of one is its label."""

NAMES = tuple(species.name for species in SPECIES)
"""The names of the species, by label."""


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
