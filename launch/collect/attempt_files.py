"""What the attempts of a run left beside their results: hosts, engines, phases, GPU figures. Read-only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from launch.rundir.attempts import EngineStart, list_attempts
from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.worker.gpu_summary import summarise_gpu

Interval = tuple[float, float]
LADDER_FIELDS = ("slot", "start", "class", "action", "setting", "from", "to")
CANARY_FIELDS = ("slot", "start", "found")


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
    def host(self) -> str | None:
        """The node it ran on."""
        return self.about.get("host")


def read_attempts(run: RunPaths) -> Iterator[AttemptFiles]:
    """Every attempt of a run in order."""
    for submission in _numbers(run.tasks):
        for task in _numbers(run.tasks / str(submission)):
            for attempt in list_attempts(run, submission, task):
                yield read_attempt(run, submission, task, attempt)


def read_attempt(run: RunPaths, submission: int, task: int, attempt: int) -> AttemptFiles:
    """One attempt; what it never wrote is empty. The GPU summary of one that was killed is made anew."""
    paths = run.attempt(submission, task, attempt)
    ended = read_json(paths.ended) or {}
    gpu = ended.get("gpu") or summarise_gpu(read_journal(paths.gpu))
    return AttemptFiles(submission, task, attempt, read_json(paths.attempt_json) or {}, ended, gpu)


def _numbers(directory: Any) -> list[int]:
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal())


def engine_facts(run: RunPaths, starts: Sequence[EngineStart]) -> list[dict[str, Any]]:
    """engine.json of each start; empty for one that settled items without ever loading its engine."""
    return [read_json(start.paths(run).engine_json) or {} for start in starts]


def hosts(run: RunPaths, starts: Sequence[EngineStart]) -> list[str | None]:
    """The node of each start."""
    names: list[str | None] = []
    for _, group in groupby(starts, key=lambda start: (start.submission, start.task, start.attempt)):
        same = list(group)
        first = same[0]
        about = read_json(run.attempt(first.submission, first.task, first.attempt).attempt_json) or {}
        names += [about.get("host")] * len(same)
    return names


def generating_intervals(run: RunPaths, starts: Sequence[EngineStart]) -> list[Interval]:
    """When each engine start generated, in seconds since the epoch.

    From its event "generating" to the first of "draining" (nothing is left to generate), the engine's end
    and, for one that was killed, the last thing known of it: an event or a commit. A start whose events are
    lost counts from its first commit to its last.
    """
    intervals = []
    for start in starts:
        paths = run.attempt(start.submission, start.task, start.attempt)
        interval = _generating(paths, start, _commit_times(run, start))
        if interval is not None:
            intervals.append(interval)
    return intervals


def _commit_times(run: RunPaths, start: EngineStart) -> list[float]:
    return [float(line["time"]) for line in read_journal(start.paths(run).commits)]


def _generating(paths: AttemptPaths, start: EngineStart, commits: list[float]) -> Interval | None:
    began: float | None = None
    last = max(commits, default=0.0)
    for event in read_journal(paths.events):
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
    return _told(run, "ladder", LADDER_FIELDS)


def canary_findings(run: RunPaths) -> list[dict[str, Any]]:
    """What was not right with the first items of an engine, in words: where, and `found`."""
    return _told(run, "canary", CANARY_FIELDS)


def _told(run: RunPaths, name: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The events of a name over all attempts, each with its submission, task and attempt."""
    rows = []
    for each in read_attempts(run):
        place = {"submission": each.submission, "task": each.task, "attempt": each.attempt}
        for event in read_journal(run.attempt(each.submission, each.task, each.attempt).events):
            if event.get("event") == name:
                rows.append(place | {field: event.get(field) for field in fields})
    return rows


def covered_s(intervals: Sequence[Interval]) -> float:
    """Seconds in the union of the intervals: engines that work side by side count once."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
