"""Where a run stands, from files: names, commits, the small files of attempts. The scheduler only advises."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.collect.manifest import read_published
from launch.collect.merge import output_dir_of
from launch.collect.task_status import TaskName, TaskState, TaskStatus, read_task, rows_by_task
from launch.config.schema import Scheduler
from launch.errors import RunError
from launch.rundir.layout import RunPaths
from launch.rundir.plan import load_counts
from launch.rundir.progress import Settled, settled_items
from launch.rundir.records import (
    SubmissionRecord,
    Subset,
    list_submissions,
    load_run,
    load_submission,
)
from launch.rundir.rounds import why_stopped
from launch.slurm.commands import QueueRow


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
class RunStatus:
    """Where a run stands. `published` is None when nothing is; `trouble` says why that cannot be told."""

    run_id: str
    root: Path
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


def status(run: RunPaths, queue_rows: Sequence[QueueRow] | None = None) -> RunStatus:
    """Reads the state of a run; `queue_rows` are what squeue says of its jobs, None when it was not asked."""
    record, counts = load_run(run), load_counts(run)
    settled, by_task = _survey(run, counts.num_items)
    submissions = [load_submission(run, number) for number in list_submissions(run)]
    output_dir = output_dir_of(run, submissions[-1].publish) if submissions else None
    published, trouble = _published(output_dir, record.run_id)
    return RunStatus(
        run_id=record.run_id,
        root=run.root,
        engine=record.model.engine.value,
        stub=record.model.engine.value == "stub",
        subset=record.subset,
        num_users=counts.num_users,
        num_items=counts.num_items,
        num_done=settled.num_done,
        num_failed=settled.num_failed,
        num_missing=settled.num_missing,
        num_prompt_tokens=settled.num_prompt_tokens,
        num_output_tokens=settled.num_output_tokens,
        submissions=tuple(_submission(run, each, by_task, queue_rows) for each in submissions),
        output_dir=output_dir,
        published=published,
        trouble=trouble,
    )


def _survey(run: RunPaths, num_items: int) -> tuple[Settled, Mapping[TaskName, int]]:
    """What is settled, and how many items each (submission, task) settled; one reading of all commits."""
    settled = Settled(bytearray(num_items))
    by_task: Counter[TaskName] = Counter()
    for start, item in settled_items(run):
        settled.add(item)
        by_task[start.submission, start.task] += 1
    return settled, by_task


def _published(output_dir: Path | None, run_id: str) -> tuple[PublishedStatus | None, str | None]:
    if output_dir is None:
        return None, None
    try:
        manifest = read_published(output_dir)
    except RunError as error:
        return None, str(error)
    if manifest is None:
        return None, None
    if manifest.run_id != run_id:
        return None, f"{output_dir}: holds the results of run {manifest.run_id}."
    return PublishedStatus(output_dir, manifest.published, manifest.complete, manifest.num_done), None


def _submission(
    run: RunPaths,
    record: SubmissionRecord,
    by_task: Mapping[TaskName, int],
    queue_rows: Sequence[QueueRow] | None,
) -> SubmissionStatus:
    number = record.submission
    on_slurm = queue_rows is not None and record.resources.scheduler is Scheduler.SLURM
    rows, merge_row = rows_by_task(run, number, queue_rows or ()) if on_slurm else ({}, None)
    tasks = tuple(
        read_task(run, number, task, by_task[number, task], rows.get(task), on_slurm=on_slurm)
        for task in range(record.num_tasks)
    )
    return SubmissionStatus(
        submission=number,
        created=record.created,
        num_items=record.num_items,
        num_settled=sum(task.num_settled for task in tasks),
        merge_job=None if merge_row is None else f"{merge_row.state} ({merge_row.reason})",
        tasks=tasks,
        round=record.round,
        stopped=why_stopped(run, number),
    )
