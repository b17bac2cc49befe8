"""Pictures to explain: single photographs, and data sets by name."""

from importlib import import_module
from typing import TYPE_CHECKING

from contrastlib.data import photographs
from contrastlib.names import UnknownNameError

if TYPE_CHECKING:
    from contrastlib.data.dataset import (
        DataError,
        DataNotFoundError,
        DataWarning,
        ImageDataset,
        Problem,
        Progress,
        Sample,
        UnreadableImageError,
        batches,
        describe,
        to_tensor,
        tracked,
    )
    from contrastlib.data.sources import VARIABLE, Imagenette, cache_home, load, names

__all__ = ["VARIABLE", "DataError", "DataNotFoundError", "DataWarning", "ImageDataset", "Imagenette", "Problem",
           "Progress", "Sample", "UnknownNameError", "UnreadableImageError", "batches", "cache_home", "describe",
           "load", "names", "photographs", "to_tensor", "tracked"]


def __getattr__(name: str) -> object:
    """What needs torch, when it is asked for: who wants a photograph does not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    module = "sources" if name in ("VARIABLE", "Imagenette", "cache_home", "load", "names") else "dataset"
    return getattr(import_module(f"contrastlib.data.{module}"), name)
