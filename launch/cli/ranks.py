"""This process among those that torchrun started. A plain process is the only one."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from launch.errors import RunError
from launch.worker.processes import tie_to_parent

T = TypeVar("T")

LONGEST_WAIT = timedelta(days=30)
"""For a rank that has ended to wait for the others: as long as a run may take."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Its `rank` of `size`, its rank on this host and how many are here; `agent` is torchrun's process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    agent: int | None = None

    def from_first(self, make: Callable[[], T]) -> T | None:
        """What rank 0 makes, on every rank; where it cannot be made, None on the others."""
        if self.size == 1:
            return make()
        from torch import distributed

        values: list[T | None] = [None]
        try:
            if self.rank == 0:
                values = [make()]
        finally:
            distributed.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: T) -> list[T]:
        """What every rank passes, by rank, on every rank; RunError when a rank is gone."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.size
        try:
            distributed.all_gather_object(values, value)
        except RuntimeError as error:
            raise RunError(
                f"a process of this run is gone ({str(error).splitlines()[0]}). What was generated is kept:"
                " start the same command again."
            ) from error
        return values


def own_words(argv: Sequence[str]) -> Sequence[str] | None:
    """What this process reads of a command line: in rank 0 all of it, in others, which rank 0 tells, nothing.

    So a wrong flag is answered once. None for other ranks where help is asked for.
    """
    if os.environ.get("RANK", "0") == "0":
        return argv
    return None if {"-h", "--help"} & set(argv) else ()


def tell_torchrun(message: str, environment: Mapping[str, str] = os.environ) -> None:
    """Leaves why this process fails where torchrun looks, which then says it in its own report.

    The form is that of torch.distributed.elastic.multiprocessing.errors (2.11 and 2.13).
    """
    path = environment.get("TORCHELASTIC_ERROR_FILE")
    if path:
        Path(path).write_text(
            json.dumps({"message": message, "timestamp": int(time.time())}), encoding="utf-8"
        )


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The ranks of torchrun, joined over gloo; each ends with its agent."""
    if "WORLD_SIZE" not in os.environ:
        yield Ranks()
        return
    agent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
    ranks = Ranks(
        rank=int(os.environ["RANK"]),
        size=int(os.environ["WORLD_SIZE"]),
        local_rank=int(os.environ["LOCAL_RANK"]),
        local_size=int(os.environ["LOCAL_WORLD_SIZE"]),
        agent=agent,
    )
    if agent is not None:
        tie_to_parent(agent)
    if ranks.size == 1:
        yield ranks
        return
    from torch import distributed

    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
