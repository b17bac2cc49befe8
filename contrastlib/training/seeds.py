"""Draws that depend on a seed and on what they are for, on nothing that happened before."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(*numbers: int) -> int:
    """A seed for one purpose, from the run's seed and what tells the purpose apart.

    Args:
        numbers: not negative; the same ones give the same seed, others an unrelated one.

    Returns:
        in [0, 2^63).
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Make torch's draws on the CPU depend on the numbers alone, and leave no trace on later ones.

    Args:
        numbers: as :func:`seed_of` takes them.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed_of(*numbers))  # torch.manual_seed would seed the GPU as well
    try:
        yield
    finally:
        torch.set_rng_state(state)
