"""What Slurm's accounting remembers of jobs that the controller has forgotten (after MinJobAge, 300 s)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launch.errors import SchedulerError
from launch.slurm.commands import QueueRow, call, list_queue, parse_tasks
from launch.slurm.states import JobPhase, job_phase

FIELDS = ("JobID", "JobName", "State", "NodeList")
LIFE_FIELDS = ("JobID", "Cluster", "Start", "End", "AllocTRES")
LIVES_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class JobLife:
    """From when to when Slurm held the nodes of one life of a task of an array; a requeue begins another.

    Whole seconds since the epoch by Slurm's clock; `end` is None while it runs. `num_gpus` is 0 as well where
    AccountingStorageTRES does not name gres/gpu.
    """

    job: str
    index: int
    cluster: str
    begin: float
    end: float | None
    num_gpus: int = 0


def list_jobs(job_ids: Sequence[str]) -> list[QueueRow]:
    """The rows of squeue, and those of sacct for tasks that it does not list, where accounting is on.

    Of those only what has ended: the controller knows all that waits or runs, and slurmdbd hears of an end
    late, or never (sacctmgr(1), runaway jobs). SchedulerError when the controller does not answer. Without
    slurmdbd sacct fails, which is no error here.
    """
    rows = list_queue(job_ids=job_ids)
    listed = {(row.job_id, row.array_task) for row in rows}
    forgotten = [row for row in list_accounted(job_ids) if (row.job_id, row.array_task) not in listed]
    return rows + [row for row in forgotten if job_phase(row.state) is JobPhase.ENDED]


def list_accounted(job_ids: Sequence[str]) -> list[QueueRow]:
    """Rows of sacct, a task of an array each, in the words of squeue; none where sacct has no answer."""
    if not job_ids:
        return []
    words = ["sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={','.join(job_ids)}"]
    try:
        text = call([*words, f"--format={','.join(FIELDS)}"])
    except SchedulerError:
        return []
    return [row for line in text.splitlines() for row in parse_accounting_line(line)]


def parse_accounting_line(line: str) -> list[QueueRow]:
    """The rows of one line of sacct: `12_3|name|CANCELLED by 1000|n1`; `12_[4-6]` for tasks never started."""
    if line.count("|") < len(FIELDS) - 1:
        raise SchedulerError(f"sacct: expected {'|'.join(FIELDS)}, got {line!r}. Call Slurm's own sacct.")
    job, rest = line.split("|", 1)
    name, state, node = rest.rsplit("|", 2)
    job_id, underscore, tasks = job.strip().partition("_")
    word = state.split(maxsplit=1)[0].rstrip("+") if state.strip() else ""
    if not underscore:
        return [QueueRow(job_id, None, name, word, "", node)]
    return [QueueRow(job_id, task, name, word, "", node) for task in parse_tasks(tasks)]


def list_lives(job_ids: Sequence[str]) -> list[JobLife]:
    """Every life of the tasks of these arrays that has begun, as accounted, in one call of sacct.

    SchedulerError where it has no answer, as without slurmdbd.
    """
    if not job_ids:
        return []
    words = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2"]
    words += [f"--jobs={','.join(job_ids)}", f"--format={','.join(LIFE_FIELDS)}"]
    text = call(words, LIVES_TIMEOUT_S, {"SLURM_TIME_FORMAT": "%s"})
    lives = (parse_life(line) for line in text.splitlines())
    return [life for life in lives if life is not None]


def parse_life(line: str) -> JobLife | None:
    """A line of sacct with LIFE_FIELDS, `12_3|main|1700000000|Unknown|cpu=1,gres/gpu=2`.

    None for what has not begun, and for what is no task of an array.
    """
    fields = line.split("|")
    if len(fields) != len(LIFE_FIELDS):
        raise SchedulerError(
            f"sacct: expected {'|'.join(LIFE_FIELDS)}, got {line!r}. Call Slurm's own sacct."
        )
    job, _, index = fields[0].partition("_")
    begin, end = (float(field) if field.isdecimal() else None for field in fields[2:4])
    gpus = re.search(r"\bgres/gpu=(\d+)", fields[4])
    if not index.isdecimal() or not begin:
        return None
    return JobLife(job, int(index), fields[1], begin, end or None, int(gpus[1]) if gpus else 0)
