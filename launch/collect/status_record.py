"""What is told of a run: the records that `status` fills and its views show."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from launch.collect.gpu_now import GpuNow
from launch.collect.ledger.so_far import GpuTime
from launch.collect.pace import Pace
from launch.collect.task_status import TaskState, TaskStatus
from launch.rundir.canary import CanaryRecord
from launch.rundir.records import Subset


@dataclass(frozen=True, slots=True)
class SubmissionStatus:
    """One sending: its tasks, and its merge job as the scheduler has it, if it was asked."""

    submission: int
    created: str
    num_items: int
    num_settled: int
    merge_job: str | None
    tasks: tuple[TaskStatus, ...]
    round: int = 0
    stopped: str | None = None
    """Why its merge job sent no further round, if items were missing and it did not."""
    merge_is_open: bool = False
    """Whether its merge job waits or runs."""
    driver_lives: bool | None = None
    """Whether the process that drives its tasks lives; None where none does, or not on this machine."""

    @property
    def states(self) -> dict[str, int]:
        """Tasks by state, in the order of the states."""
        counts = Counter(task.state for task in self.tasks)
        return {state.value: counts[state] for state in TaskState if counts[state]}


@dataclass(frozen=True, slots=True)
class PublishedStatus:
    """What is published of a run."""

    output_dir: Path
    published: str
    complete: bool
    num_done: int


@dataclass(frozen=True, slots=True)
class RunNames:
    """What a run is of, in the words of its configuration."""

    preset: str
    model: str
    dataset: str
    ablation: str


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run stands. `published` is None when nothing is; `trouble` says why that cannot be told."""

    run_id: str
    root: Path
    names: RunNames
    engine: str
    stub: bool
    subset: Subset | None
    num_users: int
    num_items: int
    num_done: int
    num_failed: int
    num_missing: int
    num_prompt_tokens: int
    num_output_tokens: int
    submissions: tuple[SubmissionStatus, ...]
    output_dir: Path | None
    published: PublishedStatus | None
    trouble: str | None = None
    canary: CanaryRecord | None = None
    """What the first items looked like, once they were judged."""
    pace: Pace | None = None
    """Of the newest submission, while tasks of it generate."""
    gpus: GpuNow | None = None
    gpu_time: GpuTime | None = None
    """What all attempts have cost so far; None without a GPU, and of a complete publication, whose summary
    has the ledger."""
    queue_age_s: float | None = None
    """How old the answer of Slurm's queue is; None where it was not asked."""

    @property
    def tasks(self) -> tuple[TaskStatus, ...]:
        """Those of the newest submission."""
        return self.submissions[-1].tasks if self.submissions else ()

    @property
    def is_stopped(self) -> bool:
        """Whether the canary stopped the newest submission."""
        newest = self.submissions[-1].submission if self.submissions else 0
        return self.canary is not None and self.canary.stops_submission(newest)
