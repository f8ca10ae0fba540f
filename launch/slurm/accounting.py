"""What Slurm's accounting remembers of jobs that the controller has forgotten (after MinJobAge, 300 s)."""

from collections.abc import Sequence

from launch.errors import SchedulerError
from launch.slurm.commands import QueueRow, call, list_queue, parse_tasks

FIELDS = ("JobID", "JobName", "State", "NodeList")


def list_jobs(job_ids: Sequence[str]) -> list[QueueRow]:
    """The rows of squeue, and those of sacct for tasks that it does not list, where accounting is on.

    SchedulerError when the controller does not answer. Without slurmdbd sacct fails, which is no error here.
    """
    rows = list_queue(job_ids=job_ids)
    listed = {(row.job_id, row.array_task) for row in rows}
    return rows + [row for row in list_accounted(job_ids) if (row.job_id, row.array_task) not in listed]


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
