"""What the attempts of a run left beside their results: hosts, engines, phases, GPU figures. Read-only."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from launch.rundir.attempt_files import read_about, read_ended, read_engine, read_events
from launch.rundir.attempts import EngineStart, list_attempts, list_tasks, list_tried
from launch.rundir.journal import read_journal
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.rundir.results import COMMIT_FIELDS
from launch.worker.gpu_summary import summarise_gpu

Interval = tuple[float, float]
IdlePlace = tuple[int, int, str]
"""Submission, task, and the id of a GPU."""
LADDER_FIELDS = ("slot", "start", "class", "action", "setting", "from", "to")


@dataclass(frozen=True, slots=True)
class AttemptFiles:
    """One attempt: attempt.json, ended.json (empty when it was killed) and its GPU summary."""

    submission: int
    task: int
    attempt: int
    about: dict[str, Any]
    ended: dict[str, Any]
    gpu: dict[str, Any]

    @property
    def is_copy(self) -> bool:
        """Whether its directory was copied from another place: its figures would count twice."""
        names = ("submission", "task", "attempt")
        return any(self.about.get(name, getattr(self, name)) != getattr(self, name) for name in names)

    @property
    def host(self) -> str | None:
        """The node it ran on."""
        return self.about.get("host")


def read_attempts(run: RunPaths) -> Iterator[AttemptFiles]:
    """Every attempt of a run in order, without copies."""
    for submission in list_tried(run):
        for task in list_tasks(run, submission):
            for attempt in list_attempts(run, submission, task):
                found = read_attempt(run, submission, task, attempt)
                if not found.is_copy:
                    yield found


def read_attempt(run: RunPaths, submission: int, task: int, attempt: int) -> AttemptFiles:
    """One attempt; what it never wrote is empty. The GPU summary of one that was killed is made anew."""
    paths = run.attempt(submission, task, attempt)
    ended = read_ended(paths) or {}
    gpu = ended.get("gpu") or summarise_gpu(read_journal(paths.gpu))
    return AttemptFiles(submission, task, attempt, read_about(paths), ended, gpu)


def engine_facts(run: RunPaths, starts: Sequence[EngineStart]) -> list[dict[str, Any]]:
    """engine.json of each start; empty for one that settled items without ever loading its engine."""
    return [read_engine(start.paths(run)) for start in starts]


def abouts(run: RunPaths, starts: Sequence[EngineStart]) -> list[dict[str, Any]]:
    """attempt.json of each start."""
    found: list[dict[str, Any]] = []
    for _, group in groupby(starts, key=lambda start: (start.submission, start.task, start.attempt)):
        same = list(group)
        first = same[0]
        found += [read_about(run.attempt(first.submission, first.task, first.attempt))] * len(same)
    return found


def generating_intervals(run: RunPaths, starts: Sequence[EngineStart]) -> list[Interval]:
    """When each engine start generated, in seconds since the epoch by the file system's clock.

    From its event "generating" to the first of "draining" (nothing is left to generate), the engine's end
    and, for one that was killed, the last thing known of it: an event or a commit. A start whose events are
    lost counts from its first commit to its last.
    """
    intervals = []
    for start, about in zip(starts, abouts(run, starts), strict=True):
        paths = run.attempt(start.submission, start.task, start.attempt)
        interval = _generating(paths, start, _commit_times(run, start))
        if interval is not None:
            begin, end = interval
            intervals.append((begin - about["clock_ahead_s"], end - about["clock_ahead_s"]))
    return intervals


def _commit_times(run: RunPaths, start: EngineStart) -> list[float]:
    return [float(line["time"]) for line in read_journal(start.paths(run).commits, **COMMIT_FIELDS)]


def _generating(paths: AttemptPaths, start: EngineStart, commits: list[float]) -> Interval | None:
    began: float | None = None
    last = max(commits, default=0.0)
    for event in read_events(paths):
        time = float(event["time"])
        if (event.get("slot"), event.get("start")) == (start.slot, start.start):
            if event.get("phase") == "generating":
                began = time
            elif began is not None and (event.get("phase") == "draining" or event["event"] == "engine_end"):
                return began, max(began, time)
        if event["event"] == "counts":
            last = max(last, time)
    if began is not None:
        return began, max(began, last)
    return (min(commits), max(commits)) if commits else None


def ladder_steps(run: RunPaths) -> list[dict[str, Any]]:
    """What tasks did about engines that failed, in order: where, class, action, a setting from and to.

    `setting`, `from` and `to` are null for a step that changes none.
    """
    rows = []
    for each in read_attempts(run):
        place = {"submission": each.submission, "task": each.task, "attempt": each.attempt}
        for event in read_events(run.attempt(each.submission, each.task, each.attempt), "ladder"):
            rows.append(place | {field: event.get(field) for field in LADDER_FIELDS})
    return rows


def idle_spells(run: RunPaths, attempts: Sequence[AttemptFiles]) -> Counter[IdlePlace]:
    """How often a GPU of a task idled for 60 s and more while its engine had requests, over its attempts."""
    return Counter(
        (each.submission, each.task, str(event.get("gpu")))
        for each in attempts
        for event in read_events(run.attempt(each.submission, each.task, each.attempt), "gpu_idle")
    )


def covered_s(intervals: Sequence[Interval]) -> float:
    """Seconds in the union of the intervals: engines that work side by side count once."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
