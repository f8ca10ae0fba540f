"""What Slurm's accounting says of the attempts of a run: asked once a merge, kept there, matched by time."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from launch.collect.ledger.times import AttemptTimes
from launch.errors import SchedulerError
from launch.rundir.attempt_files import CLOCKS_AGREE_S
from launch.rundir.journal import NUMBER, FieldTypes, has_fields, read_json, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.signs import SlurmJob, job_of
from launch.slurm.accounting import JobLife, list_lives

MATCH_S = 5.0
"""A batch shell begins when its job does, by a clock of another host, which is told in whole seconds."""
LATE_S = 3.0
"""slurmctld tells slurmdbd of ends in batches; the merge job may ask before."""
LivesByJob = Mapping[tuple[str, int], Sequence[JobLife]]
"""By id of the array and index, as `by_job` makes it: a look at all attempts is linear in them."""
_LIFE: FieldTypes = {"job": str, "index": int, "cluster": str, "begin": NUMBER}


class Allocation(NamedTuple):
    """From when to when Slurm held an attempt's GPUs, by Slurm's clock; `end` is None while the job runs."""

    begin: float
    end: float | None


def ask_slurm(run: RunPaths, attempts: Sequence[AttemptTimes], arrays: Collection[str] = ()) -> str | None:
    """Asks for these arrays and the attempts', and keeps the answer in the run; why there is none, or None.

    Asked again after 3 s when the end of an attempt that was killed is not known yet.
    """
    jobs = sorted({job.array for job in map(_job, attempts) if job is not None} | set(arrays))
    if not jobs:
        return "no attempt was a job of Slurm"
    try:
        lives = list_lives(jobs)
        told = by_job(lives)
        if any(times.left is None and _is_open(allocation_of(times, told)) for times in attempts):
            time.sleep(LATE_S)
            lives = list_lives(jobs)
    except SchedulerError as error:
        return str(error)
    write_json(run.lives, {"lives": [asdict(life) for life in lives]})
    return None


def read_lives(run: RunPaths) -> list[JobLife]:
    """The answer that the last merge kept; none where there is none that is whole."""
    rows = (read_json(run.lives) or {}).get("lives")
    whole = (
        [row for row in rows if isinstance(row, dict) and has_fields(row, _LIFE)]
        if isinstance(rows, list)
        else []
    )
    return [_life(row) for row in whole]


def by_job(lives: Iterable[JobLife]) -> LivesByJob:
    """The lives of each array task, in order."""
    found: dict[tuple[str, int], list[JobLife]] = {}
    for life in lives:
        found.setdefault((life.job, life.index), []).append(life)
    return found


def allocation_of(times: AttemptTimes, lives: LivesByJob) -> Allocation | None:
    """When Slurm held the attempt's GPUs, if it tells."""
    life = life_of(times, lives)
    return None if life is None else Allocation(life.begin, life.end)


def life_of(times: AttemptTimes, lives: LivesByJob) -> JobLife | None:
    """The life of the attempt's job during which its batch shell began, if Slurm tells one."""
    job = _job(times)
    if job is None or job.index is None:
        return None
    fitting = [
        life
        for life in lives.get((job.array, job.index), ())
        if job.cluster in (None, life.cluster)
        and life.begin - MATCH_S <= times.began <= (life.end or times.began) + CLOCKS_AGREE_S
    ]
    return max(fitting, key=lambda life: life.begin, default=None)


def _job(times: AttemptTimes) -> SlurmJob | None:
    return job_of(dict(times.slurm))


def _is_open(allocation: Allocation | None) -> bool:
    return allocation is not None and allocation.end is None


def _life(row: Mapping[str, object]) -> JobLife:
    end = row.get("end")
    return JobLife(
        job=str(row["job"]),
        index=int(str(row["index"])),
        cluster=str(row["cluster"]),
        begin=float(str(row["begin"])),
        end=float(end) if isinstance(end, NUMBER) else None,
        num_gpus=gpus if isinstance(gpus := row.get("num_gpus"), int) else 0,
    )
