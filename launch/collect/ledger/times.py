"""When things happened in one attempt, out of its own files: the measurements on which the ledger rests.

All times are seconds since the epoch by the clock of the attempt's node, which is Slurm's too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.collect.startup_figures import startup_of
from launch.rundir.attempt_files import read_about, read_ended, read_engine, read_events
from launch.rundir.attempts import EngineStart, last_beat
from launch.rundir.journal import NUMBER, has_fields, read_journal
from launch.rundir.layout import RunPaths
from launch.rundir.one_look import read_once
from launch.rundir.results import COMMIT_FIELDS
from launch.rundir.tails import last_record, last_timed

COMPILE_PARTS = ("compile", "graphs", "jit")
"""Of launch.worker.startup.vllm_lines: torch.compile, CUDA graphs, kernels made just in time."""
LAST_WORDS = ("empty", "drained")
"""An engine process that ends with one of these has made durable what it generated."""


@dataclass(frozen=True, slots=True)
class StartTimes:
    """One start of one slot; a time is None where it never happened, or nobody wrote it down."""

    start: int
    opened: float
    generating: float | None = None
    drained: float | None = None
    """When nothing was left to generate."""
    ended: float | None = None
    has_finished: bool = False
    """Whether it ended by itself, with everything durable."""
    last_commit: float | None = None
    resumes: float | None = None
    """Until when the ladder let the slot wait before its next start."""
    compile_s: float = 0.0
    warm_up_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SlotTimes:
    """A slot, the ids of its GPUs, and its starts in order."""

    slot: int
    gpus: tuple[str, ...]
    starts: tuple[StartTimes, ...]


@dataclass(frozen=True, slots=True)
class AttemptTimes:
    """One attempt.

    `began`: when its batch shell began, where there is one, else its supervisor. `ended` and `shell_ended`:
    when supervisor and batch shell did, by their own word. `seen`: the last heartbeat, commit or event before
    its end; `last_sign`: the last that is known of it at all. `stop_asked`: when it was told to drain.
    """

    began: float
    started: float
    ended: float | None
    shell_ended: float | None
    seen: float
    last_sign: float
    stop_asked: float | None
    queue_wait_s: float | None
    host: str | None
    gpus: tuple[str, ...]
    slots: tuple[SlotTimes, ...]
    slurm: Mapping[str, str]
    clock_ahead_s: float
    is_copy: bool
    """Whether its directory was copied from another place: its seconds would count twice."""

    @property
    def left(self) -> float | None:
        """When it was over by its own word; None for an attempt that was killed, or lives."""
        return self.ended if self.shell_ended is None else self.shell_ended


def read_times(run: RunPaths, submission: int, task: int, attempt: int) -> AttemptTimes:
    """The times of an attempt; one that left nothing but its directory begins and ends with that."""
    return _times(run, (submission, task, attempt), list(read_events(run.attempt(submission, task, attempt))))


def read_bounds(run: RunPaths, submission: int, task: int, attempt: int) -> AttemptTimes:
    """The same without slots and events: a day's events of 1,000 tasks take longer than a person waits."""
    return _times(run, (submission, task, attempt), None)


def _times(
    run: RunPaths, numbers: tuple[int, int, int], told_events: Sequence[Mapping[str, Any]] | None
) -> AttemptTimes:
    submission, task, attempt = numbers
    paths, events = run.attempt(submission, task, attempt), told_events or ()
    about = read_about(paths)
    at = EngineStart(submission, task, attempt, 0, 0)
    slots = () if told_events is None else _slots(run, at, about, events)
    beat = last_beat(paths) + about["clock_ahead_s"]
    started, shell = _number(about.get("started")), _number(about.get("shell_began"))
    told = [float(event["time"]) for event in events if event["event"] != "ended"]
    supervisor = _first(_number(about.get("supervisor_began")), started, min(told, default=None), beat)
    began = supervisor if shell is None else min(shell, supervisor)
    ended = _first(
        _number((read_ended(paths) or {}).get("ended")),
        next((float(event["time"]) for event in events if event["event"] == "ended"), None),
    )
    shell_ended = _shell_end(run, submission, task, shell)
    sampled = read_once(last_timed, paths.gpu)
    commits = [start.last_commit for slot in slots for start in slot.starts]
    seen = _last(beat, began, *told, *commits)
    place = {"submission": submission, "task": task, "attempt": attempt}
    return AttemptTimes(
        began=began,
        started=_first(started, began),
        ended=ended,
        shell_ended=shell_ended,
        seen=seen,
        last_sign=_last(seen, ended, shell_ended, None if sampled is None else sampled["time"]),
        stop_asked=min((event["time"] for event in events if event.get("asked") == "drain"), default=None),
        queue_wait_s=_number(about.get("queue_wait_s")),
        host=about["host"],
        gpus=_texts(about.get("gpus")),
        slots=slots,
        slurm=about["slurm"],
        clock_ahead_s=about["clock_ahead_s"],
        is_copy=any(about.get(name, number) != number for name, number in place.items()),
    )


def _slots(
    run: RunPaths, at: EngineStart, about: Mapping[str, Any], events: Sequence[Mapping[str, Any]]
) -> tuple[SlotTimes, ...]:
    """The slots that attempt.json names, each with the starts that it names; else those that told a phase."""
    found: dict[int, list[StartTimes]] = {}
    gpus: dict[int, tuple[str, ...]] = {}
    rows = about.get("slots")
    for row in rows if isinstance(rows, list) and rows else _told_starts(events):
        numbers = (row.get("slot"), row.get("start")) if isinstance(row, dict) else (None, None)
        slot, start = numbers
        if not isinstance(slot, int) or not isinstance(start, int):
            continue
        own = [event for event in events if (event.get("slot"), event.get("start")) == numbers]
        times = _start(run, EngineStart(at.submission, at.task, at.attempt, slot, start), row, own)
        if times is not None:
            found.setdefault(slot, []).append(times)
            gpus.setdefault(slot, _texts(row.get("gpus")))
    return tuple(SlotTimes(slot, gpus[slot], tuple(found[slot])) for slot in sorted(found))


def _told_starts(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of an attempt.json that is damaged: rows as it has them, in the order in which they began."""
    phases = [event for event in events if event["event"] == "phase"]
    whole = [event for event in phases if has_fields(event, {"slot": int, "start": int})]
    numbers = dict.fromkeys((event["slot"], event["start"]) for event in whole)
    return [{"slot": slot, "start": start} for slot, start in numbers]


def _start(
    run: RunPaths, at: EngineStart, row: Mapping[str, Any], events: Sequence[Mapping[str, Any]]
) -> StartTimes | None:
    """A start whose process is known to have been made; None without any time of it."""
    phases: dict[str, float] = {}
    for event in events:
        if event["event"] == "phase":
            phases.setdefault(str(event.get("phase")), float(event["time"]))
    end = next((event for event in events if event["event"] == "engine_end"), None)
    opened = _first(_number(row.get("opened")), phases.get("starting"), phases.get("loading"))
    if opened is None:
        return None
    paths = at.paths(run)
    commit = last_record(paths.commits, **COMMIT_FIELDS)
    parts = (startup_of(read_engine(paths)) or {"parts": []})["parts"]
    return StartTimes(
        start=at.start,
        opened=opened,
        generating=phases.get("generating"),
        drained=phases.get("draining"),
        ended=None if end is None else float(end["time"]),
        has_finished=end is not None and end.get("said") in LAST_WORDS,
        last_commit=None if commit is None else float(commit["time"]),
        resumes=next((_resumes(event) for event in events if event["event"] == "ladder"), None),
        compile_s=sum(part["seconds"] for part in parts if part["part"] in COMPILE_PARTS),
        warm_up_s=sum(part["seconds"] for part in parts if part["part"] == "warm_up"),
    )


def _resumes(step: Mapping[str, Any]) -> float | None:
    """When the wait that a step of the ladder told of is over: until it was decided, and then `wait_s`."""
    wait_s, decided_s = (_number(step.get(name)) for name in ("wait_s", "decided_s"))
    if wait_s is None and decided_s is None:
        return None
    return float(step["time"]) + (wait_s or 0.0)


def _shell_end(run: RunPaths, submission: int, task: int, began: float | None) -> float | None:
    """When the batch shell that began then ended, by its own word; None where it left none."""
    for row in read_journal(run.shells(submission, task), began=NUMBER, ended=NUMBER):
        if began is not None and math.isclose(row["began"], began, abs_tol=1e-3):
            return float(row["ended"])
    return None


def _first(*values: float | None) -> Any:
    return next((value for value in values if value is not None), None)


def _last(*signs: float | None) -> float:
    return max(float(sign) for sign in signs if sign is not None)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, NUMBER) and not isinstance(value, bool) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
