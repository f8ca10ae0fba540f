"""Failures and retries of a run's tasks, in order of time: what failed, where, and what was done about it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launch.collect.attempt_files import AttemptFiles
from launch.collect.run_page.timeline_record import Trouble
from launch.collect.task_events import step_words
from launch.errors import ExitCode
from launch.rundir.attempt_files import read_events
from launch.rundir.journal import has_fields
from launch.rundir.layout import AttemptPaths

MAX_TROUBLES = 500
MAX_MESSAGE_CHARS = 1_000
KILLED = "killed"
ENGINE_KILLED = "engine killed"


@dataclass(frozen=True, slots=True)
class Troubles:
    """The first MAX_TROUBLES in order of time, and how many there are of each class."""

    first: tuple[Trouble, ...]
    by_class: dict[str, int]


def end_of(attempt: AttemptFiles) -> str:
    """How an attempt ended: ended, continued, failed, or killed (it wrote no ended.json)."""
    if not attempt.ended:
        return KILLED
    code = attempt.ended["code"]
    if code == ExitCode.OK:
        return "ended"
    return "continued" if code == ExitCode.CONTINUE else "failed"


@dataclass(frozen=True, slots=True)
class Place:
    """An attempt, its files, and when it ended, in seconds since the epoch by the file system's clock."""

    attempt: AttemptFiles
    paths: AttemptPaths
    end: float | None


def find_troubles(places: Sequence[Place], begin: float | None) -> Troubles:
    """Those of all attempts; `begin` is the time from which theirs are counted."""
    found = [trouble for place in places for trouble in _of_attempt(place, begin or 0.0)]
    found.sort(key=lambda each: (each.at_s is None, each.at_s, each.submission, each.task, each.attempt))
    counts = Counter(each.failure_class for each in found)
    return Troubles(tuple(found[:MAX_TROUBLES]), dict(counts.most_common()))


def _of_attempt(place: Place, begin: float) -> Iterator[Trouble]:
    attempt = place.attempt
    ahead = begin + attempt.about["clock_ahead_s"]
    for event in read_events(place.paths):
        at_s, slot = round(event["time"] - ahead, 1), event.get("slot")
        slot = slot if isinstance(slot, int) else None
        if event["event"] == "ladder" and has_fields(event, {"class": str, "action": str}):
            yield _trouble(attempt, at_s, event["class"], None, step_words(event), slot)
        elif event["event"] == "kill" and isinstance(event.get("why"), str):
            yield _trouble(attempt, at_s, ENGINE_KILLED, event["why"], None, slot)
    end_s = None if place.end is None else round(place.end - begin, 1)
    failure = attempt.ended.get("failure")
    if failure is not None:
        yield _trouble(attempt, end_s, failure["class"], failure["message"], None, None)
    elif end_of(attempt) == KILLED:
        yield _trouble(attempt, end_s, KILLED, "the attempt ended without a word", None, None)


def _trouble(
    attempt: AttemptFiles,
    at_s: float | None,
    failure_class: str,
    message: str | None,
    action: str | None,
    slot: int | None,
) -> Trouble:
    return Trouble(
        at_s=at_s,
        submission=attempt.submission,
        task=attempt.task,
        attempt=attempt.attempt,
        slot=slot,
        host=attempt.host,
        failure_class=failure_class,
        message=None if message is None else message[:MAX_MESSAGE_CHARS],
        action=action,
    )
