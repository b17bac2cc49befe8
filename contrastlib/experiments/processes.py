"""One process or many: under ``torchrun`` each takes its part of the shards, one GPU each.

The processes talk through torch.distributed, by its backend for CPUs, and only about who does what: numbers pass
through the run's folder, which all of them must see.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

_T = TypeVar("_T")
_PATIENCE = timedelta(days=14)  # the fastest process waits for the slowest at the end


@dataclass(frozen=True)
class Processes:
    """This process among all of a run.

    Attributes:
        rank: from 0.
        count: how many there are.
        local_rank: on this computer, from 0.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks and writes what is written once."""
        return self.rank == 0

    def device(self, name: str | None) -> torch.device:
        """Where this process computes.

        Args:
            name: such as ``cpu``, ``cuda`` or ``cuda:1``; None for a GPU if there is one. ``cuda`` is the process's
                own GPU.

        Returns:
            the device.

        Raises:
            ValueError: the device is not here.
        """
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type != "cuda":
            return device
        index = self.local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise ValueError(f"there is no CUDA device {index} here: torch sees {torch.cuda.device_count()}; start as "
                             "many processes as there are GPUs, or give --device cpu")
        torch.cuda.set_device(index)
        return torch.device("cuda", index)

    def share(self, things: list[_T]) -> list[_T]:
        """Every count-th thing, beginning with this process's number."""
        return things[self.rank::self.count]

    def from_first(self, thing: _T) -> _T:
        """What the first process has, for all; everyone waits for it."""
        if self.count == 1:
            return thing
        box: list[Any] = [thing]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def processes() -> Iterator[Processes]:
    """The processes of this run: those that ``torchrun`` started, or this one alone.

    Yields:
        this process among them.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Processes(dist.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()
