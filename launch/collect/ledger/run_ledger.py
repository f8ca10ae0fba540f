"""The ledger of a run that is merged: reads attempts, asks Slurm's accounting once, adds up."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from launch.collect.ledger.account import Held, Moved, Output, Price, make_ledger
from launch.collect.ledger.allocations import ask_slurm, by_job, read_lives
from launch.collect.ledger.phases import Phase
from launch.collect.ledger.repeated import repeated_s
from launch.collect.ledger.spans import AttemptSpans, Place, match_spans, read_all_times
from launch.collect.ledger.unattended import sent_arrays, unattended
from launch.config.schema import ResourcesConfig
from launch.rundir.attempts import EngineStart
from launch.rundir.layout import RunPaths
from launch.rundir.records import SubmissionRecord


def run_ledger(
    run: RunPaths,
    starts: Sequence[EngineStart],
    not_counted: Mapping[int, Collection[int]],
    output: Output,
    submissions: Sequence[SubmissionRecord],
) -> dict[str, Any]:
    """The `ledger` part of the summary; `not_counted` are offsets of lines by the index of their start."""
    found = read_all_times(run)
    no_sacct = ask_slurm(run, list(found.values()), sent_arrays(run))
    lives = by_job(read_lives(run))
    attempts = match_spans(found, lives)
    others = list(unattended(run, lives, found))
    by_place = {each.place: each for each in attempts}
    repeated: dict[Place, dict[Phase, float]] = {}
    for index, offsets in not_counted.items():
        start = starts[index]
        attempt = by_place.get((start.submission, start.task, start.attempt))
        if attempt is not None:
            moved = repeated.setdefault(attempt.place, {})
            for phase, seconds in _moved(run, start, attempt, offsets).items():
                moved[phase] = moved.get(phase, 0.0) + seconds
    held = Held(attempts, repeated, others)
    return make_ledger(held, output, prices_of(submissions), no_sacct)


def prices_of(submissions: Sequence[SubmissionRecord]) -> dict[int, Price | None]:
    """What a GPU costs, by submission."""
    return {each.submission: _price(each.resources) for each in submissions}


def _moved(run: RunPaths, start: EngineStart, attempt: AttemptSpans, offsets: Collection[int]) -> Moved:
    """GPU-seconds of one engine start that are repeated."""
    spans = [span for span in attempt.spans if (span.slot, span.start) == (start.slot, start.start)]
    if not spans:
        return {}
    seconds = repeated_s(start.paths(run), offsets, spans, attempt.clock_ahead_s)
    return {phase: spent * spans[0].share for phase, spent in seconds.items()}


def _price(resources: ResourcesConfig) -> Price | None:
    """Of `2.50 EUR`."""
    if resources.price_per_gpu_hour is None:
        return None
    amount, _, currency = resources.price_per_gpu_hour.partition(" ")
    return Price(float(amount), currency)
