"""Lives of jobs in which no attempt began: setup lines that failed, follow-ups with nothing to do.

Only Slurm's accounting knows of them, and how many GPUs they held.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from launch.collect.ledger.allocations import MATCH_S, life_of
from launch.collect.ledger.times import AttemptTimes
from launch.rundir.journal import NUMBER, read_journal
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions
from launch.slurm.accounting import JobLife
from launch.worker.startup.queue_wait import SENT_FIELDS


class Unattended(NamedTuple):
    """Seconds in which a task had GPUs and no attempt; `has_shell`: its batch shell told that it ran."""

    submission: int
    task: int
    seconds: float
    num_gpus: int
    has_shell: bool


class SentArray(NamedTuple):
    """An array of a submission: its tasks are offset + index."""

    submission: int
    offset: int


def sent_arrays(run: RunPaths) -> dict[str, SentArray]:
    """The arrays that sbatch took, by job id."""
    return {
        row["job_id"]: SentArray(submission, row["offset"])
        for submission in list_submissions(run)
        for row in read_journal(run.submission(submission).jobs, **SENT_FIELDS)
        if row["size"]
    }


def unattended(
    run: RunPaths, lives: Sequence[JobLife], attempts: Iterable[AttemptTimes]
) -> Iterator[Unattended]:
    """Those of lives that have ended, held GPUs and are no attempt's."""
    attended = {life_of(times, lives) for times in attempts}
    arrays = sent_arrays(run)
    for life in lives:
        sent = arrays.get(life.job)
        if life in attended or sent is None or life.end is None or not life.num_gpus:
            continue
        task = sent.offset + life.index
        shells = read_journal(run.shells(sent.submission, task), began=NUMBER)
        has_shell = any(life.begin - MATCH_S <= row["began"] <= life.end + MATCH_S for row in shells)
        yield Unattended(sent.submission, task, life.end - life.begin, life.num_gpus, has_shell)
