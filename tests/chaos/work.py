"""What the runs of a campaign are made of: engine, items, cluster, and the rhythm of kills."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from launch.rundir.layout import RunPaths
from tests.chaos.kinds import Kind
from tests.slurm.cluster_conf import ClusterSpec

URGENT = "urgent"
"""Partition, and name of its jobs, that preempts: no part of a run."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What the engines of a run took into work, counted from outside; `again`: more than once.

    `facts` go into the record as they are, `problems` are violations.
    """

    num_generated: int
    num_again: int
    num_allowed_again: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When kills come. A part begins no new run and kills nothing in its last `reserve_s`."""

    pause_s: tuple[float, float]
    finish_s: float
    """How long a run may take to be published after the last kill."""
    reserve_s: float
    max_strikes: int = 1
    """Kills of one attempt; never two of one engine start."""
    ripe_s: tuple[float, float] | None = None
    """Before most kills the victim's engine has generated for a random time of this range."""
    ripe_share: float = 0.0

    def draw(self, random: Random) -> float | None:
        """How long the next victim has to have generated; None: its phase does not matter."""
        if self.ripe_s is None or random.random() >= self.ripe_share:
            return None
        return random.uniform(*self.ripe_s)


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of run. `kinds` is the share of each kind of kill, `words` are submit's."""

    engine: str
    kinds: Mapping[Kind, float]
    words: tuple[str, ...]
    partitions: str
    num_tasks: int
    num_users: int
    items_each: int
    window: int
    spec: ClusterSpec
    rhythm: Rhythm
    same_bytes: bool
    """Whether a run under fire has to publish the bytes of an undisturbed one."""
    variables: Callable[[Path, Path], dict[str, str]]
    """What engines find in their environment, of the home and of a run's trace."""
    weigh: Callable[["Work", RunPaths, Path, int], Generated]
    """Reads a run's trace; the number is that of kills that hit a task."""

    @property
    def num_items(self) -> int:
        """Of a run."""
        return self.num_users * self.items_each
