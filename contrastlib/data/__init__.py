"""Pictures to explain: single photographs, and data sets by name."""

from typing import TYPE_CHECKING

from contrastlib.data import photographs
from contrastlib.data.loading import load, names
from contrastlib.names import UnknownNameError

if TYPE_CHECKING:
    from contrastlib.data.dataset import (
        DataError,
        DataNotFoundError,
        DataWarning,
        ImageDataset,
        Problem,
        Sample,
        UnreadableImageError,
    )

__all__ = ["DataError", "DataNotFoundError", "DataWarning", "ImageDataset", "Problem", "Sample", "UnknownNameError",
           "UnreadableImageError", "load", "names", "photographs"]


def __getattr__(name: str) -> object:
    """The rest of what is public, which needs torch: who wants a photograph does not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from contrastlib.data import dataset

    return getattr(dataset, name)
