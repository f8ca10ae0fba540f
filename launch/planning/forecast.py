"""What a submission is expected to take, for the plan table; from assumed or measured rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import fsum

from launch.planning.rates import EarlierStarts, TaskRate
from launch.planning.shards import Shard


@dataclass(frozen=True, slots=True)
class Warmth:
    """Whether the first engines find what they need compiled: those that compile, and those that do not.

    And what warm starts of either kind took before, None where none was measured.
    """

    compiled: bool = False
    uncompiled: bool = False
    compiled_starts: EarlierStarts | None = None
    uncompiled_starts: EarlierStarts | None = None

    def of(self, compiles: bool | None) -> bool:
        """For one kind; None: left to the engine, which compiles."""
        return self.uncompiled if compiles is False else self.compiled

    def starts_of(self, compiles: bool | None) -> EarlierStarts | None:
        """What warm starts of one kind took; None for the kind as in `of`."""
        return self.uncompiled_starts if compiles is False else self.compiled_starts


COLD = Warmth()


@dataclass(frozen=True, slots=True)
class Forecast:
    """Times in seconds; costs in token equivalents.

    `makespan_s` runs from the start of the first task to the end of the last, start-ups included, waiting in
    the queue not. `balance` is the costliest shard over the mean one: 1.0 is even. `starts_s` are the
    seconds of all engine starts together, `num_cold_starts` of them with cold caches.
    """

    num_tasks: int
    num_items: int
    total_cost: float
    balance: float
    makespan_s: float
    gpu_hours: float
    starts_s: float
    num_cold_starts: int
    startup_share: float
    """The part of all tasks' time in which engines start."""

    @property
    def is_warm(self) -> bool:
        """Whether every engine is expected to find warm caches."""
        return self.num_tasks > 0 and self.num_cold_starts == 0


def forecast(
    shards: Sequence[Shard],
    rate: TaskRate,
    *,
    gpus_per_task: int,
    max_concurrent: int | None = None,
    is_warm: bool = False,
) -> Forecast:
    """The forecast of `shards` run in order of task, at most `max_concurrent` at a time.

    Tasks that start first find cold caches unless earlier work left warm ones (`is_warm`); who takes the
    place of one that has ended finds what that one compiled, on its node or in the shared cache.
    """
    costs = [shard.cost for shard in shards]
    num_cold = 0 if is_warm else min(len(costs), max_concurrent or len(costs))
    warm_s = rate.startup_s if rate.warm_startup_s is None else rate.warm_startup_s
    starts = [rate.startup_s if number < num_cold else warm_s for number in range(len(costs))]
    task_s = [start + cost / rate.tokens_per_s for start, cost in zip(starts, costs, strict=True)]
    total, largest = fsum(costs), max(costs, default=0.0)
    return Forecast(
        num_tasks=len(shards),
        num_items=sum(len(user.items) for shard in shards for user in shard.users),
        total_cost=total,
        balance=largest * len(costs) / total if total > 0 else 1.0,
        makespan_s=_makespan(task_s, max_concurrent),
        gpu_hours=fsum(task_s) * gpus_per_task / 3600,
        starts_s=fsum(starts),
        num_cold_starts=num_cold,
        startup_share=fsum(starts) / fsum(task_s) if costs else 0.0,
    )


def _makespan(task_s: Sequence[float], max_concurrent: int | None) -> float:
    """When the last task ends if each starts as soon as one of `max_concurrent` places is free."""
    if not task_s:
        return 0.0
    ends = [0.0] * min(len(task_s), max_concurrent or len(task_s))
    heapify(ends)
    for seconds in task_s:
        heapreplace(ends, ends[0] + seconds)
    return max(ends)
