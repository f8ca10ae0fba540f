"""What failed tasks left: the cause as it was classified, what to do, the last lines of a log."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.collect.status_record import RunStatus
from launch.collect.task_groups import BAD, TaskGroup, group_tasks
from launch.collect.task_logs import engine_logs, last_lines, own_log
from launch.config.wording import log_line
from launch.rundir.layout import RunPaths

MAX_NOTES = 3
NUM_LINES = 5


@dataclass(frozen=True, slots=True)
class FailureNote:
    """Of the first of `num_tasks` tasks that failed alike. All texts are such as a terminal may have."""

    task: int
    num_tasks: int
    tasks: str
    cause: str
    advice: tuple[str, ...]
    log: str | None
    lines: tuple[str, ...]


def failure_notes(run: RunPaths, status: RunStatus, logs: Path) -> list[FailureNote]:
    """Of at most three groups of failed or lost tasks of the newest submission; `logs` is where they log."""
    if not status.submissions:
        return []
    groups = [group for group in group_tasks(status.tasks) if group.state in BAD]
    return [_note(run, status.submissions[-1].submission, group, logs) for group in groups[:MAX_NOTES]]


def _note(run: RunPaths, submission: int, group: TaskGroup, logs: Path) -> FailureNote:
    task = group.first
    log, lines = _log(run, submission, task.task, task.attempt, logs)
    return FailureNote(
        task=task.task,
        num_tasks=len(group.tasks),
        tasks=group.numbers,
        cause=log_line(task.message or task.state.value),
        advice=tuple(log_line(step) for step in task.advice),
        log=None if log is None else str(log),
        lines=tuple(lines),
    )


def _log(
    run: RunPaths, submission: int, task: int, attempt: int | None, logs: Path
) -> tuple[Path | None, Sequence[str]]:
    """The newest log that says something: an engine's, else the task's own."""
    found = [own_log(run, submission, task, attempt, logs)]
    if attempt is not None:
        found += engine_logs(run.attempt(submission, task, attempt))
    for log in reversed(found):
        lines = last_lines(log.path, NUM_LINES)
        if lines:
            return log.path, lines
    return None, ()
