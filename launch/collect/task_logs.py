"""Where a task's logs are, and how each ends: its own (Slurm's, or the driver's) and those of its engines."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.config.wording import log_line
from launch.rundir.attempt_files import read_about
from launch.rundir.journal import read_journal
from launch.rundir.layout import AttemptPaths, RunPaths, SubmissionPaths, number_of
from launch.rundir.signs import job_of
from launch.rundir.tails import read_tail
from launch.slurm.submission import JOB_FIELDS

TAIL_BYTES = 256 << 10
FAR_BYTES = 64 << 20
"""How far from its end a log is read for a person who wants so many lines of it, however long some are."""


@dataclass(frozen=True, slots=True)
class TaskLog:
    """A log and what it is of: `task`, `merge`, or `engine <slot>.<start>`."""

    label: str
    path: Path


def own_log(run: RunPaths, submission: int, task: int, attempt: int | None, logs: Path) -> TaskLog:
    """The log of a task's batch shell and supervisor, for all its attempts; it may not be there yet.

    Slurm's has the ids of array and index, as the attempt noted them down or else jobs.jsonl; the driver of a
    machine without Slurm writes task-<T>.log. `logs` is the run's directory of logs.
    """
    if attempt is not None:
        job = job_of(read_about(run.attempt(submission, task, attempt))["slurm"])
        if job is not None and job.array.isdecimal():
            return TaskLog("task", logs / f"{job.array}_{job.index}.log")
    for job_id, offset, size in _arrays(run.submission(submission)):
        if offset <= task < offset + size:
            return TaskLog("task", logs / f"{job_id}_{task - offset}.log")
    return TaskLog("task", logs / f"task-{task}.log")


def engine_logs(paths: AttemptPaths) -> list[TaskLog]:
    """The logs of an attempt's engine starts, by slot and start."""
    found = []
    for path in paths.root.glob("*.log"):
        slot, _, start = path.stem.partition(".")
        numbers = number_of(slot), number_of(start)
        if numbers[0] is not None and numbers[1] is not None:
            found.append((numbers[0], numbers[1], path))
    return [TaskLog(f"engine {slot}.{start}", path) for slot, start, path in sorted(found)]


def merge_logs(run: RunPaths, submission: int, logs: Path) -> list[TaskLog]:
    """The logs of a submission's merge jobs."""
    rows = read_journal(run.submission(submission).jobs, **JOB_FIELDS)
    ids = [str(row["job_id"]) for row in rows if not row["size"] and str(row.get("job_id")).isdecimal()]
    return [TaskLog("merge", logs / f"merge-{job_id}.log") for job_id in dict.fromkeys(ids)]


def last_lines(path: Path, num_lines: int, *, reach: int = TAIL_BYTES) -> list[str]:
    """The last lines of a log that say something, as a terminal may have them (wording.log_line).

    Of a log whose last `reach` bytes hold fewer, those.
    """
    num_bytes = min(TAIL_BYTES, reach)
    lines = _lines_within(path, num_bytes)
    while len(lines) < num_lines and num_bytes < min(reach, _size(path)):
        num_bytes = min(4 * num_bytes, reach)
        lines = _lines_within(path, num_bytes)
    shown = lines[-num_lines:] if num_lines else []
    return [log_line(line.decode("utf-8", errors="replace")) for line in shown]


def _lines_within(path: Path, num_bytes: int) -> list[bytes]:
    return [line for line in read_tail(path, num_bytes).split(b"\n") if line.strip()]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _arrays(paths: SubmissionPaths) -> Iterator[tuple[str, int, int]]:
    """Job id, offset and size of each array that was sent; the first jobs before follow-ups."""
    for row in read_journal(paths.jobs, **JOB_FIELDS):
        if row["size"] and str(row.get("job_id")).isdecimal():
            yield str(row["job_id"]), row["offset"], row["size"]
