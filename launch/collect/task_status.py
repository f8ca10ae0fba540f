"""The state of one task: its last attempt's files, and what the scheduler's queue says where it was asked."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from launch.errors import ExitCode
from launch.rundir.attempts import filesystem_now, list_attempts
from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.rundir.signs import read_signs
from launch.slurm.commands import QueueRow
from launch.slurm.liveness import Life, judge_life
from launch.slurm.states import JobPhase, job_phase

_RANK = {JobPhase.ENDED: 0, JobPhase.WAITING: 1, JobPhase.RUNNING: 2}
TaskName = tuple[int, int]
"""Submission and task."""


STEP_WORDS = {"restart": "started again", "elsewhere": "to another node"}


class TaskState(StrEnum):
    """What is known of a task."""

    WAITING = "waiting"
    RUNNING = "running"
    DRAINED = "drained"
    ENDED = "ended"
    FAILED = "failed"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """A task by its last attempt; `num_settled` counts the items that all its attempts settled."""

    task: int
    state: TaskState
    attempt: int | None
    num_settled: int
    host: str | None = None
    heartbeat_age_s: float | None = None
    message: str | None = None


def rows_by_task(
    run: RunPaths, submission: int, queue_rows: Iterable[QueueRow], last_round: int | None = None
) -> tuple[dict[int, QueueRow], QueueRow | None]:
    """The row of each task, and that of the merge job; jobs.jsonl says which job is which.

    With follow-ups queued a task has a row in each: the one that runs counts, else one that waits, else the
    last that ended. `last_round` leaves out the follow-ups after it.
    """
    jobs = {
        str(line["job_id"]): line
        for line in read_journal(run.submission(submission).jobs)
        if line.get("job_id") and (last_round is None or int(line.get("round", 0)) <= last_round)
    }
    best: dict[int | None, tuple[tuple[int, int], QueueRow]] = {}
    for row in queue_rows:
        job = jobs.get(row.job_id)
        if job is None:
            continue
        task = None if row.array_task is None else int(job["offset"]) + row.array_task
        rank = (_RANK[job_phase(row.state)], int(job.get("round", 0)))
        if task not in best or rank > best[task][0]:
            best[task] = (rank, row)
    merge_row = best.pop(None, (None, None))[1]
    return {task: row for task, (_, row) in best.items() if task is not None}, merge_row


def read_task(
    run: RunPaths, submission: int, task: int, num_settled: int, row: QueueRow | None, *, on_slurm: bool
) -> TaskStatus:
    """A task as its files and its row in the queue tell; `on_slurm` says that the queue was asked."""
    attempts = list_attempts(run, submission, task)
    phase = None if row is None else job_phase(row.state)
    if row is not None and phase is JobPhase.WAITING:
        last = attempts[-1] if attempts else None
        return TaskStatus(task, TaskState.WAITING, last, num_settled, message=f"{row.state} ({row.reason})")
    if not attempts:
        if phase is JobPhase.RUNNING or not on_slurm:
            return TaskStatus(task, TaskState.WAITING, None, num_settled)
        said = "not in the queue, and never started" if row is None else row.state
        return TaskStatus(task, TaskState.DEAD, None, num_settled, message=said)
    paths = run.attempt(submission, task, attempts[-1])
    alive = phase is not JobPhase.ENDED and _lives(run, submission, task, attempts[-1], phase)
    state, message = _state(paths, alive, row)
    step = last_step(paths)
    return TaskStatus(
        task=task,
        state=state,
        attempt=attempts[-1],
        num_settled=num_settled,
        host=(read_json(paths.attempt_json) or {}).get("host"),
        heartbeat_age_s=_heartbeat_age_s(run, paths) if state is TaskState.RUNNING else None,
        message=message if step is None else step if message is None else f"{message} ({step})",
    )


def _lives(run: RunPaths, submission: int, task: int, attempt: int, phase: JobPhase | None) -> bool:
    """By the queue where it lists the task, else by files and heartbeat."""
    signs = read_signs(run, submission, task, attempt)
    if phase is JobPhase.RUNNING:
        return not signs.is_over
    return judge_life(signs, None, can_ask=False) is not Life.DEAD


def last_step(paths: AttemptPaths) -> str | None:
    """The newest step of the ladder in an attempt, in words."""
    steps = [event for event in read_journal(paths.events) if event.get("event") == "ladder"]
    if not steps:
        return None
    step = steps[-1]
    if step["action"] == "fail_item":
        return f"after {step['class']}: item {step['to']} was given up"
    if step.get("setting") is not None:
        return f"after {step['class']}: {step['setting']} {step['from']} -> {step['to']}"
    return f"after {step['class']}: {STEP_WORDS.get(step['action'], step['action'])}"


def _state(paths: AttemptPaths, alive: bool, row: QueueRow | None) -> tuple[TaskState, str | None]:
    ended: dict[str, Any] | None = read_json(paths.ended)
    if ended is None:
        if alive:
            return TaskState.RUNNING, _phase(paths)
        said = "no sign of life" if row is None else row.state
        return TaskState.DEAD, f"ended without a word: {said}"
    failure = ended.get("failure") or {}
    message = failure.get("message")
    if ended["code"] == ExitCode.OK:
        return TaskState.ENDED, message
    drained = ended["code"] == ExitCode.CONTINUE
    return (TaskState.DRAINED if drained else TaskState.FAILED), message or ended["reason"]


def _phase(paths: AttemptPaths) -> str | None:
    """The newest phase that a slot told of."""
    phases = [event["phase"] for event in read_journal(paths.events) if event.get("event") == "phase"]
    return phases[-1] if phases else None


def _heartbeat_age_s(run: RunPaths, paths: AttemptPaths) -> float | None:
    try:
        return round(max(0.0, filesystem_now(run.root) - paths.heartbeat.stat().st_mtime), 1)
    except FileNotFoundError:
        return None
