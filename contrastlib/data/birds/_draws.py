"""Random numbers that are the same on every machine and in every version of numpy."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Draws:
    """Uniform draws from PCG64, whose raw integers numpy promises never to change.

    Args:
        key: non-negative integers that name the stream.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def array(self, *shape: int) -> NDArray[np.float64]:
        """Numbers in [0, 1)."""
        count = 1
        for side in shape:
            count *= side
        raw: NDArray[np.uint64] = np.asarray(self._bits.random_raw(count))
        return np.asarray((raw >> np.uint64(11)) * 2.0**-53, np.float64).reshape(shape)

    def bytes(self, *shape: int) -> NDArray[np.uint8]:
        """Integers in [0, 256), eight for each draw."""
        count = 1
        for side in shape:
            count *= side
        raw = np.asarray(self._bits.random_raw((count + 7) // 8), dtype="<u8")
        return raw.view(np.uint8)[:count].reshape(shape)

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.uniform() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all equally probable."""
        return options[int(self.uniform() * len(options))]
