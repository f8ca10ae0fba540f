"""What a run has cost until now, published or not: attempts that were killed or failed have cost as much."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from launch.collect.ledger.account import Held, Output, make_ledger
from launch.collect.ledger.allocations import by_job, read_lives
from launch.collect.ledger.run_ledger import prices_of
from launch.collect.ledger.spans import match_spans, read_all_times
from launch.collect.ledger.times import AttemptTimes, read_bounds, read_times
from launch.collect.ledger.unattended import unattended
from launch.rundir.layout import RunPaths
from launch.rundir.records import SubmissionRecord

NOT_ASKED = "accounting was not asked anew"
NO_OUTPUT = Output(num_samples=0, num_output_tokens=0, energy_j=None, sampled_gpu_s=0.0)


@dataclass(frozen=True, slots=True)
class GpuTime:
    """GPU-hours that attempts have held until their last signs, and their cost where all have a price."""

    gpu_hours: float
    num_attempts: int
    cost: float | None
    currency: str | None


def gpu_time_so_far(run: RunPaths, submissions: Sequence[SubmissionRecord]) -> GpuTime | None:
    """By when attempts began and ended alone, with what the last merge heard of Slurm; None without a GPU."""
    ledger = _ledger(run, submissions, read_bounds)
    if not ledger["gpu_hours"]:
        return None
    cost = ledger["cost"] or {"amount": None, "currency": None}
    return GpuTime(ledger["gpu_hours"], ledger["num_attempts"], cost["amount"], cost["currency"])


def ledger_so_far(run: RunPaths, submissions: Sequence[SubmissionRecord]) -> dict[str, Any]:
    """The `ledger` of a run of which nothing is published: what is repeated nobody has looked at."""
    return _ledger(run, submissions, read_times)


def _ledger(
    run: RunPaths,
    submissions: Sequence[SubmissionRecord],
    read: Callable[[RunPaths, int, int, int], AttemptTimes],
) -> dict[str, Any]:
    found, lives = read_all_times(run, read), by_job(read_lives(run))
    held = Held(match_spans(found, lives), {}, list(unattended(run, lives, found)))
    return make_ledger(held, NO_OUTPUT, prices_of(submissions), NOT_ASKED)
