"""How a task ends, decided from how its slots ended and whether its attempts committed anything."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launch.errors import ExitCode
from launch.rundir.attempt_files import read_events
from launch.rundir.attempts import EngineStart, list_starts
from launch.rundir.layout import RunPaths
from launch.worker.slot_record import SlotEnd
from launch.worker.steps import Action

ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exit code of the task, the reason in a word, and what failed, if something did."""

    code: ExitCode
    reason: str
    failure: dict[str, Any] | None = None
    end: SlotEnd | None = None
    """Of the slot that failed."""


def judge(ends: Sequence[SlotEnd]) -> Outcome:
    """1 when a slot failed, 2 when one was refused, 75 when one has left work, else 0.

    `ends` are those of the last start of each slot. One that was to be started again has left work, and so
    has one whose node is to blame.
    """
    outcomes = sorted(map(_judge_one, ends), key=lambda outcome: outcome.failure is None)
    for code in (ExitCode.BUG, ExitCode.USER, ExitCode.CONTINUE):
        for outcome in outcomes:
            if outcome.code is code:
                return outcome
    return Outcome(ExitCode.OK, "empty")


def failure_of(end: SlotEnd) -> dict[str, Any] | None:
    """What failed, if the end is that of a failure."""
    outcome = _judge_one(end)
    return outcome.failure if outcome.code in (ExitCode.BUG, ExitCode.USER) else None


def _judge_one(end: SlotEnd) -> Outcome:
    if end.step is not None and end.step.action is Action.ELSEWHERE:
        return Outcome(ExitCode.CONTINUE, ELSEWHERE, end.failure or _unexplained(end), end)
    if end.step is not None:
        return Outcome(ExitCode.CONTINUE, "drained")
    if end.returncode == ExitCode.OK and end.said == "empty":
        return Outcome(ExitCode.OK, "empty")
    if end.returncode == ExitCode.CONTINUE and end.said == "drained":
        return Outcome(ExitCode.CONTINUE, "drained")
    if end.was_killed and end.was_drained and end.failure is None:
        return Outcome(ExitCode.CONTINUE, "killed")
    if end.returncode == ExitCode.USER and end.failure is not None:
        return Outcome(ExitCode.USER, "refused", end.failure, end)
    return Outcome(ExitCode.BUG, "failed", end.failure or _unexplained(end), end)


def _unexplained(end: SlotEnd) -> dict[str, str]:
    message = f"slot {end.slot}: the engine process {ended_how(end.returncode)} without a word: {end.log}"
    return {"class": "engine_lost", "message": message}


def ended_how(returncode: int) -> str:
    """How a process ended: `exited with 1`, `was killed by SIGKILL`."""
    if returncode >= 0:
        return f"exited with {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


def stop_without_progress(outcome: Outcome, run: RunPaths, at: EngineStart, num_slots: int) -> Outcome:
    """The outcome, or a stop when this attempt and the one before it ran an engine and committed nothing.

    A task that is told to continue and never gets anywhere would be requeued for ever. An attempt that was
    taken away before its time was up does not count: two preemptions say nothing about the time it has.
    """
    if outcome.code is not ExitCode.CONTINUE or at.attempt == 0:
        return outcome
    last_two = (replace(at, attempt=at.attempt - 1), at)
    if not all(_ran_in_vain(run, one, num_slots) for one in last_two):
        return outcome
    if any(_was_taken_away(run, one, is_over=one is not at) for one in last_two):
        return outcome
    message = (
        f"attempts {at.attempt - 1} and {at.attempt} ended without a committed item: a task has too little"
        " time for one. Give it more (resources.time), or look at the engine's log"
    )
    return Outcome(ExitCode.BUG, "no_progress", {"class": "no_progress", "message": message})


def _was_taken_away(run: RunPaths, at: EngineStart, *, is_over: bool) -> bool:
    """Whether it was told to stop, or died without a word, and had not heard that its time ends (USR2)."""
    paths = run.attempt(at.submission, at.task, at.attempt)
    heard = {event.get("name") for event in read_events(paths, "signal")}
    if not heard:
        return is_over and not paths.ended.exists()
    return signal.SIGUSR2.name not in heard


def _ran_in_vain(run: RunPaths, at: EngineStart, num_slots: int) -> bool:
    if not any(replace(at, slot=slot).paths(run).log.exists() for slot in range(num_slots)):
        return False
    return not any(
        has_lines(start.paths(run).commits)
        for slot in range(num_slots)
        for start in list_starts(run, at.submission, at.task, at.attempt, slot)
    )


def has_lines(path: Path) -> bool:
    """Whether a journal holds anything; it is not read."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False
