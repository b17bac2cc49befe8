"""Pictures to explain."""

from contrastlib.data import photographs

__all__ = ["photographs"]
