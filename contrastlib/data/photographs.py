"""Photographs that come along with well-known packages, so that nothing is downloaded.

The packages are found but not imported: a photograph costs the reading of one file.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from contrastlib import pictures
from contrastlib.names import find


@dataclass(frozen=True)
class Photograph:
    """A photograph and whom to thank for it.

    Attributes:
        name: how it is called here.
        image: the picture, RGB.
        credit: who took it and what it shows.
        licence: under which terms it was published.
        source: where those terms are stated, and the package that carries the file.
    """

    name: str
    image: Image.Image
    credit: str
    licence: str
    source: str


@dataclass(frozen=True)
class Entry:
    """Where a photograph lies and what is known about it, without its pixels."""

    distribution: str
    package: str
    path: str
    credit: str
    licence: str
    source: str


_SKIMAGE, _SKLEARN = ("scikit-image", "skimage"), ("scikit-learn", "sklearn")
_CC_BY = "CC BY 2.0, https://creativecommons.org/licenses/by/2.0/"

# What is known about each photograph, by name.
CATALOGUE = {
    "chelsea": Entry(*_SKIMAGE, "data/chelsea.png", "Chelsea the cat, by Stefan van der Walt", "CC0",
                     "skimage.data.chelsea, which states the terms"),
    "rocket": Entry(*_SKIMAGE, "data/rocket.jpg", "Launch of DSCOVR on a Falcon 9, by SpaceX", "public domain",
                    "https://www.flickr.com/photos/spacexphotos/16511594820/; skimage.data.rocket states the terms"),
    "motorcycle_left": Entry(
        *_SKIMAGE, "data/motorcycle_left.png",
        "Motorcycle, left view, from the Middlebury stereo benchmark 2014, by N. Nesic, P. Westling, X. Wang, "
        "Y. Kitajima, G. Krathwohl and D. Scharstein, Middlebury College",
        "no licence stated; a published research data set, cite D. Scharstein et al., GCPR 2014",
        "http://vision.middlebury.edu/stereo/data/scenes2014/; skimage.data.stereo_motorcycle, down-sampled by 4"),
    "coffee": Entry(*_SKIMAGE, "data/coffee.png", "Cup of coffee, by Rachel Michetti, courtesy of Pikolo Espresso Bar",
                    "CC0", "skimage.data.coffee, which states the terms"),
    "astronaut": Entry(*_SKIMAGE, "data/astronaut.png", "The astronaut Eileen Collins, by NASA",
                       "public domain, no known copyright restrictions",
                       "https://flic.kr/p/r9qvLn; skimage.data.astronaut states the terms"),
    "grace_hopper": Entry(
        "matplotlib", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg",
        "Grace Hopper, official portrait, U.S. Navy photograph", "public domain, a work of the U.S. Navy",
        "matplotlib's sample data; terms as known for the official portrait, matplotlib itself states none"),
    "china": Entry(*_SKLEARN, "datasets/images/china.jpg", "Chinese palace, by danielbuechele", _CC_BY,
                   "https://www.flickr.com/photos/danielbuechele/6061409035/; sklearn/datasets/images/README.txt"),
    "flower": Entry(
        *_SKLEARN, "datasets/images/flower.jpg", "Flower, by vultilion", _CC_BY,
        "https://www.flickr.com/photos/vultilion/6056698931/; sklearn/datasets/images/README.txt, which links to "
        "vultilion though its line of attribution repeats the other picture's author"),
}


def names() -> tuple[str, ...]:
    """The names of the embedded photographs.

    Returns:
        the names that :func:`load` knows.
    """
    return tuple(CATALOGUE)


def load(name: str) -> Photograph:
    """An embedded photograph by its name, matched loosely.

    Args:
        name: such as ``chelsea`` or ``Grace Hopper``.

    Returns:
        the photograph with its credit.

    Raises:
        UnknownNameError: there is no such photograph; names the nearest.
        ModuleNotFoundError: the package that carries it is not installed; says which to install.
        FileNotFoundError: the package is there and the file is not.
        ValueError: the file is no readable image.
    """
    name = names()[find(name, names(), "photograph")]
    entry = CATALOGUE[name]
    spec = importlib.util.find_spec(entry.package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the photograph '{name}' comes with the package {entry.distribution}, which is not "
                                  f"installed; install it with: pip install {entry.distribution}")
    try:
        image = pictures.read(Path(spec.origin).parent / entry.path)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"the photograph '{name}' cannot be had: {error}; reinstall {entry.distribution}") from error
    return Photograph(name, image, entry.credit, entry.licence, entry.source)
