"""Pictures to explain: single photographs, and data sets by name."""

from typing import TYPE_CHECKING

from contrastlib.data import photographs
from contrastlib.names import UnknownNameError

if TYPE_CHECKING:
    from contrastlib.data.dataset import *
    from contrastlib.data.sources import *

__all__ = ["VARIABLE", "DataError", "DataNotFoundError", "DataWarning", "ImageDataset", "Imagenette", "Problem",
           "Progress", "Sample", "UnknownNameError", "UnreadableImageError", "batches", "cache_home", "describe",
           "load", "names", "photographs", "to_tensor", "tracked"]


def __getattr__(name: str) -> object:
    """What needs torch, when it is asked for: who wants a photograph does not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from contrastlib.data import dataset, sources

    return getattr(sources if hasattr(sources, name) else dataset, name)
