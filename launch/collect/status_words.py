"""A run's state in a sentence: what it asks for, and what changed since one looked last."""

from collections.abc import Sequence
from pathlib import Path

from launch.collect.idle_gpus import IdleGpu
from launch.collect.pace import Pace
from launch.collect.status_record import RunStatus, SubmissionStatus
from launch.collect.task_status import TaskState, TaskStatus
from launch.config.wording import duration, printable
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_submission

WORKING = (TaskState.RUNNING, TaskState.WAITING)
MAX_IDLE_LINES = 3


def is_published(status: RunStatus) -> bool:
    """Whether all that is done is published, and nothing works on items that are missing in it."""
    published = status.published
    return published is not None and _holds_all(status) and (published.complete or not is_working(status))


def _holds_all(status: RunStatus) -> bool:
    return status.published is not None and status.published.num_done == status.num_done


def is_working(status: RunStatus) -> bool:
    """Whether something may still change by itself: tasks or a merge job that run or wait, a driver here.

    A task that waits for a driver that is gone waits for nothing.
    """
    if not status.submissions:
        return False
    newest = status.submissions[-1]
    return newest.merge_is_open or bool(newest.driver_lives) or _has_working_tasks(newest)


def _has_working_tasks(newest: SubmissionStatus) -> bool:
    working = (TaskState.RUNNING,) if newest.driver_lives is False else WORKING
    return any(task.state in working for task in newest.tasks)


def next_step(status: RunStatus) -> str:
    """One sentence: what the state asks for."""
    published, root = status.published, printable(str(status.root))
    if published is not None and _holds_all(status):
        whole = "complete" if published.complete else "incomplete, as allowed"
        whole += "" if is_published(status) else ", and being worked on"
        return f"Published, {whole}: {printable(str(published.output_dir))}"
    if status.trouble is not None:
        return printable(status.trouble)
    newest = status.submissions[-1] if status.submissions else None
    if newest is not None and _has_working_tasks(newest) and status.num_missing:
        return "Not published: tasks are running or waiting."
    if newest is not None and newest.merge_is_open and newest.stopped is None:  # else it has decided
        return "Not published: the merge job waits or runs."
    if status.num_missing and status.is_stopped:
        return (
            "Not published: stopped by its canary. Look at the texts; if they are as they should be,"
            f" `vllm-launch resume {root}` goes on and judges no more."
        )
    if status.tasks and all(task.state is TaskState.UNSENT for task in status.tasks):
        return f"Not published: nothing was sent yet; `vllm-launch resume {root}` sends it."
    if status.num_missing:
        return f"Not published: `vllm-launch resume {root}` generates what is missing."
    if newest is not None and status.num_failed > _max_failed(status.root, newest.submission):
        return f"Not published: {status.num_failed:,} failed. {_failed_advice(root, status.num_failed)}"
    return f"Not published: `vllm-launch merge {root}` checks and publishes."


def _max_failed(root: Path, submission: int) -> int:
    return load_submission(RunPaths(root), submission).publish.max_failed_items


def _failed_advice(root: str, num_failed: int) -> str:
    """What may be done about failed items: what helps is by their classes, which a merge reads."""
    return (
        f"`vllm-launch merge {root}` names them and what helps; with --max-failed-items {num_failed} it"
        " publishes without them."
    )


def state_line(status: RunStatus) -> str:
    """What a person waits for, in a line: `12 of 20 items done, 1 failed; tasks: 2 running, 1 ended`."""
    parts = [f"{status.num_done:,} of {status.num_items:,} items done"]
    if status.num_failed:
        parts[0] += f", {status.num_failed:,} failed"
    if status.submissions:
        newest = status.submissions[-1]
        states = ", ".join(f"{count} {state}" for state, count in newest.states.items())
        sent = f" of submission {newest.submission}" if newest.submission > 1 else ""
        parts.append(f"tasks{sent}: {states}")
        parts += [f"merge job {newest.merge_job}"] if newest.merge_job else []
    return "; ".join(map(printable, parts))


def idle_lines(tasks: Sequence[TaskStatus]) -> list[str]:
    """A line for each task whose GPUs idled while their engines had requests, those that do now first.

    At most MAX_IDLE_LINES, and how many more there are. Ids of GPUs are as a node wrote them.
    """
    idle = [task for task in tasks if task.idle_gpus]
    idle.sort(key=lambda task: -max(gpu.for_s or 0.0 for gpu in task.idle_gpus))
    lines = [f"task {task.task}: {'; '.join(map(_idle, task.idle_gpus))}" for task in idle[:MAX_IDLE_LINES]]
    return lines + ([f"and {len(idle) - len(lines):,} more"] if len(idle) > len(lines) else [])


def _idle(gpu: IdleGpu) -> str:
    times = "once" if gpu.num_spells == 1 else f"{gpu.num_spells:,} times"
    if gpu.for_s is None:
        return f"GPU {gpu.gpu} idled {times} while it had requests"
    so_far = "" if gpu.num_spells == 1 else f" ({times} so far)"
    return f"GPU {gpu.gpu} has idled for {duration(gpu.for_s)} while it has requests{so_far}"


def eta(pace: Pace) -> str:
    """`12 to 18 min`, or that there is none yet and why."""
    if pace.low_s is None or pace.high_s is None:
        return f"no ETA yet: {pace.why_none}"
    low, high = duration(pace.low_s), duration(pace.high_s)
    number, _, unit = low.partition(" ")
    if low == high:
        return low
    share_unit = " " not in unit and high.partition(" ")[2] == unit
    return f"{number} to {high}" if share_unit else f"{low} to {high}"
