"""Lives of jobs in which no attempt began: setup lines that failed, follow-ups with nothing to do.

Only Slurm's accounting knows of them, and how many GPUs they held. An attempt whose attempt.json is damaged
names no job: the life during which it was has an attempt all the same.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from launch.collect.ledger.allocations import MATCH_S, LivesByJob, life_of
from launch.collect.ledger.lanes import JOIN_S
from launch.collect.ledger.spans import Place
from launch.collect.ledger.times import AttemptTimes
from launch.rundir.journal import NUMBER, read_journal
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions
from launch.slurm.accounting import JobLife
from launch.worker.startup.queue_wait import SENT_FIELDS


class Unattended(NamedTuple):
    """Seconds in which a task had GPUs and no attempt; in `setup_s` of them its batch shell ran."""

    submission: int
    task: int
    seconds: float
    num_gpus: int
    setup_s: float


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
    run: RunPaths, lives: LivesByJob, attempts: Mapping[Place, AttemptTimes]
) -> Iterator[Unattended]:
    """Those of lives that have ended, held GPUs and are no attempt's."""
    attended: set[JobLife] = set()
    nameless: defaultdict[tuple[int, int], list[AttemptTimes]] = defaultdict(list)
    for (submission, task, _), times in attempts.items():
        own = life_of(times, lives)
        if own is None:
            nameless[submission, task].append(times)
        else:
            attended.add(own)
    arrays = sent_arrays(run)
    for life in chain.from_iterable(lives.values()):
        sent = arrays.get(life.job)
        if life in attended or sent is None or life.end is None or not life.num_gpus:
            continue
        task = sent.offset + life.index
        has_attempt = any(
            _overlap(life, times.began, times.last_sign)
            for times in nameless.get((sent.submission, task), ())
        )
        setup_s = 0.0 if has_attempt else _setup_s(run, sent.submission, task, life)
        yield Unattended(sent.submission, task, life.end - life.begin, life.num_gpus, setup_s)


def _setup_s(run: RunPaths, submission: int, task: int, life: JobLife) -> float:
    """From the begin of a life to where its batch shell ended, as that wrote it down."""
    assert life.end is not None
    shells = read_journal(run.shells(submission, task), began=NUMBER, ended=NUMBER)
    ends = [float(row["ended"]) for row in shells if _overlap(life, row["began"], row["began"])]
    ended = max([life.begin, *ends])
    return (life.end if life.end - ended <= JOIN_S and ends else ended) - life.begin


def _overlap(life: JobLife, begin: float, end: float) -> bool:
    return life.end is not None and life.begin - MATCH_S <= end and begin <= life.end + MATCH_S
