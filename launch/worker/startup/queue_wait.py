"""How long a task waited in Slurm's queue before this attempt of it began, from files alone."""

from launch.rundir.attempt_files import read_ended
from launch.rundir.journal import NUMBER, FieldTypes, read_journal
from launch.rundir.layout import RunPaths

SENT_FIELDS: FieldTypes = {"offset": int, "size": int, "time": NUMBER, "job_id": str}
"""Of a line of jobs.jsonl that says that sbatch took an array; launch/slurm/submission.py writes it."""


def queue_wait_s(run: RunPaths, submission: int, task: int, attempt: int, started: float) -> float | None:
    """Seconds from sbatch's answer, or from the end of the attempt before, to `started`; None: nobody knows.

    By the clocks of the hosts that wrote the two times. Of a task that no queue held, or whose attempt before
    was killed without a word, nobody knows; nor of follow-ups, which wait for others on purpose.
    """
    if attempt:
        before = (read_ended(run.attempt(submission, task, attempt - 1)) or {}).get("ended")
        since = before if isinstance(before, NUMBER) and _jobs_of(run, submission, task) else None
    else:
        since = max(_jobs_of(run, submission, task), default=None)
    return None if since is None else round(max(0.0, started - since), 3)


def _jobs_of(run: RunPaths, submission: int, task: int) -> list[float]:
    """When sbatch took the arrays of a task that were no follow-ups."""
    return [
        float(row["time"])
        for row in read_journal(run.submission(submission).jobs, **SENT_FIELDS)
        if not row.get("round") and row["offset"] <= task < row["offset"] + row["size"]
    ]
