"""The state of one task: its last attempt's files, and what the scheduler's queue says where it was asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from launch.collect.idle_gpus import IdleGpu, idle_gpus
from launch.collect.queue_look import QueueLook
from launch.collect.startup_figures import startup_of
from launch.collect.task_events import GENERATING, TaskEvents, read_task_events
from launch.errors import ExitCode
from launch.rundir.attempt_files import read_about, read_ended, read_engine
from launch.rundir.attempts import list_attempts, list_slot_starts
from launch.rundir.journal import NUMBER
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.rundir.signs import Signs, read_signs
from launch.slurm.commands import QueueRow
from launch.slurm.liveness import Life, judge_life
from launch.slurm.states import JobPhase, job_phase

MAX_TEXT = 2000
"""Characters of what a node wrote that are kept; as it wrote them: views make them fit for a terminal."""
TaskName = tuple[int, int]
"""Submission and task."""


class TaskState(StrEnum):
    """What is known of a task."""

    UNSENT = "not sent"
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
    queue_wait_s: float | None = None
    startup: dict[str, Any] | None = None
    """The ledger of its last attempt's newest engine start that became ready."""
    waits_for: str | None = None
    """Why Slurm lets it wait, in plain words."""
    generating_s: float = 0.0
    """For how long it has generated, where it does now."""
    clock_ahead_s: float = 0.0
    """By how much its node's clock, which commits have, is ahead of the file system's."""
    failure_class: str | None = None
    advice: tuple[str, ...] = ()
    """What to do about the failure, a step each."""
    earlier: str | None = None
    """How the attempt before this one ended."""
    idle_gpus: tuple[IdleGpu, ...] = ()
    """GPUs of its last attempt that idled while their engine had requests."""
    num_gpus: int | None = None
    """GPUs that its last attempt read, by its own word at its end; None where it has none."""
    no_gpu: str | None = None
    """Why it read none."""
    shard_items: int | None = None
    shard_settled: int = 0
    """Items of its shard, and those of them that are settled, by whichever task."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked once for all tasks: their rows in Slurm's queue, if it has them, and the time there is.

    `now` is the file system's: to ask for it makes a file. `queue` is None where the queue was not asked,
    `is_sent` says that the sending began: after a dry run it did not.
    """

    rows: Mapping[int, QueueRow]
    now: float
    queue: QueueLook | None
    is_sent: bool


def read_task(run: RunPaths, submission: int, task: int, num_settled: int, asked: Asked) -> TaskStatus:
    """A task as its files and its row in the queue tell."""
    attempts = list_attempts(run, submission, task)
    if not attempts:
        return _not_begun(task, num_settled, asked)
    signs = read_signs(run, submission, task, attempts[-1], asked.now)
    row = asked.rows.get(task)
    if row is not None and asked.queue is not None and signs.beat > asked.queue.asked:
        row = None  # what the queue was asked is older than its last sign of life
    phase = None if row is None else job_phase(row.state)
    if row is not None and phase is JobPhase.WAITING:
        return _waiting(task, attempts[-1], num_settled, row, asked)
    paths = run.attempt(submission, task, attempts[-1])
    is_over = phase is JobPhase.ENDED or signs.has_ended
    alive = not is_over and _lives(phase, signs)
    ended = read_ended(paths) if signs.has_ended else None
    events, about = read_task_events(paths), read_about(paths)
    state, message = _state(ended, alive, row, events.phase)
    failure = (ended or {}).get("failure") or {}
    num_gpus, no_gpu = _gpus_read(ended)
    wait, ahead = about.get("queue_wait_s"), float(about["clock_ahead_s"])
    return TaskStatus(
        task=task,
        state=state,
        attempt=attempts[-1],
        num_settled=num_settled,
        host=_short(about["host"]),
        heartbeat_age_s=round(signs.beat_age_s, 1) if state is TaskState.RUNNING else None,
        message=_short(_joined(message, events.step)),
        queue_wait_s=float(wait) if isinstance(wait, NUMBER) else None,
        startup=_startup(paths),
        generating_s=_generating_s(events, asked.now, ahead) if state is TaskState.RUNNING else 0.0,
        clock_ahead_s=ahead,
        failure_class=_short(failure.get("class")),
        advice=tuple(step[:MAX_TEXT] for step in failure.get("advice") or () if isinstance(step, str)),
        earlier=_earlier(run, submission, task, attempts),
        idle_gpus=idle_gpus(events.rows, asked.now + ahead if state is TaskState.RUNNING else None),
        num_gpus=num_gpus,
        no_gpu=no_gpu,
    )


def _not_begun(task: int, num_settled: int, asked: Asked) -> TaskStatus:
    """A task without an attempt, or whose first directory is not to be seen here yet."""
    row = asked.rows.get(task)
    phase = None if row is None else job_phase(row.state)
    if row is not None and phase is JobPhase.WAITING:
        return _waiting(task, None, num_settled, row, asked)
    if row is None and not asked.is_sent:
        return TaskStatus(task, TaskState.UNSENT, None, num_settled)
    if phase is JobPhase.RUNNING or asked.queue is None:
        return TaskStatus(task, TaskState.WAITING, None, num_settled)
    said = "not in the queue, and never started" if row is None else row.state
    return TaskStatus(task, TaskState.DEAD, None, num_settled, message=said)


def _waiting(task: int, attempt: int | None, num_settled: int, row: QueueRow, asked: Asked) -> TaskStatus:
    why = None if asked.queue is None else asked.queue.why(row)
    said = f"{row.state} ({row.reason})"
    return TaskStatus(task, TaskState.WAITING, attempt, num_settled, message=said, waits_for=why)


def _generating_s(events: TaskEvents, now: float, clock_ahead_s: float) -> float:
    """For how long a task that runs has generated, by the file system's clock; 0 where it does not."""
    since = events.generating_since
    if since is None or events.phase != GENERATING:
        return 0.0
    return max(0.1, now - (since - clock_ahead_s))


def _gpus_read(ended: Mapping[str, Any] | None) -> tuple[int | None, str | None]:
    """How many GPUs an attempt read, by its word at its end, and why none; None where it says nothing."""
    gpu = (ended or {}).get("gpu")
    if not gpu:
        return None, None
    if gpu["total"]:
        return len(gpu["gpus"]), None
    return 0, _short(str(gpu["no_gpu"])) if gpu["no_gpu"] else None


def _earlier(run: RunPaths, submission: int, task: int, attempts: Sequence[int]) -> str | None:
    if len(attempts) < 2:
        return None
    ended = read_ended(run.attempt(submission, task, attempts[-2]))
    if ended is None:
        return "ended without a word"
    return _short(str((ended["failure"] or {}).get("message") or ended["reason"]))


def _joined(message: str | None, step: str | None) -> str | None:
    """What a task says, and the ladder's last step."""
    if message is None or step is None:
        return step if message is None else message
    return f"{message} ({step})"


def _short(text: str | None) -> str | None:
    return None if text is None else text[:MAX_TEXT]


def _startup(paths: AttemptPaths) -> dict[str, Any] | None:
    found = [startup_of(read_engine(paths.engine(slot, start))) for slot, start in list_slot_starts(paths)]
    return next((ledger for ledger in reversed(found) if ledger is not None), None)


def _lives(phase: JobPhase | None, signs: Signs) -> bool:
    """By the queue where it lists the task, else by files and heartbeat."""
    if phase is JobPhase.RUNNING:
        return not signs.is_over
    return judge_life(signs, None, can_ask=False) is not Life.DEAD


def _state(
    ended: Mapping[str, Any] | None, alive: bool, row: QueueRow | None, phase: str | None
) -> tuple[TaskState, str | None]:
    if ended is None:
        if alive:
            return TaskState.RUNNING, phase
        said = "no sign of life" if row is None else row.state
        return TaskState.DEAD, f"ended without a word: {said}"
    failure = ended.get("failure") or {}
    message = failure.get("message")
    if ended["code"] == ExitCode.OK:
        return TaskState.ENDED, message
    drained = ended["code"] == ExitCode.CONTINUE
    return (TaskState.DRAINED if drained else TaskState.FAILED), message or ended["reason"]
