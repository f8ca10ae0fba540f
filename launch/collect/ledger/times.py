"""When things happened in one attempt, out of its own files: the measurements on which the ledger rests.

All times are seconds since the epoch by the clock of the attempt's node, which is Slurm's too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.collect.startup_figures import startup_of
from launch.rundir.attempt_files import read_about, read_ended, read_engine, read_events
from launch.rundir.attempts import EngineStart
from launch.rundir.journal import NUMBER, read_journal
from launch.rundir.layout import AttemptPaths, RunPaths
from launch.rundir.results import COMMIT_FIELDS
from launch.rundir.tails import last_record

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

    `began`: when its batch shell began, where there is one, else its supervisor. `left`: when the batch shell
    ended, else the supervisor; None for an attempt that was killed, or lives. `last_sign`: the last that is
    known of it. `stop_asked`: when it was told to drain.
    """

    began: float
    started: float
    left: float | None
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


def read_times(run: RunPaths, submission: int, task: int, attempt: int) -> AttemptTimes:
    """The times of an attempt; one that left nothing but its directory begins and ends with that."""
    paths = run.attempt(submission, task, attempt)
    about, events = read_about(paths), list(read_events(paths))
    slots = _slots(run, EngineStart(submission, task, attempt, 0, 0), about, events)
    beat = _last_beat(paths) + about["clock_ahead_s"]
    started, shell = _number(about.get("started")), _number(about.get("shell_began"))
    supervisor = _first(_number(about.get("supervisor_began")), started, beat)
    began = supervisor if shell is None else min(shell, supervisor)
    ended = _number((read_ended(paths) or {}).get("ended"))
    shell_ended = _shell_end(run, submission, task, shell)
    sampled = last_record(paths.gpu, time=NUMBER)
    signs = [beat, began, ended, shell_ended, sampled and sampled["time"]]
    signs += [event["time"] for event in events]
    signs += [start.last_commit for slot in slots for start in slot.starts]
    place = {"submission": submission, "task": task, "attempt": attempt}
    return AttemptTimes(
        began=began,
        started=_first(started, began),
        left=shell_ended if shell_ended is not None else ended,
        last_sign=max(float(sign) for sign in signs if sign is not None),
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
    """The slots that attempt.json names, each with the starts that it names."""
    found: dict[int, list[StartTimes]] = {}
    gpus: dict[int, tuple[str, ...]] = {}
    rows = about.get("slots")
    for row in rows if isinstance(rows, list) else []:
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
        compile_s=sum(part["seconds"] for part in parts if part["part"] in COMPILE_PARTS),
        warm_up_s=sum(part["seconds"] for part in parts if part["part"] == "warm_up"),
    )


def _shell_end(run: RunPaths, submission: int, task: int, began: float | None) -> float | None:
    """When the batch shell that began then ended, by its own word; None where it left none."""
    for row in read_journal(run.shells(submission, task), began=NUMBER, ended=NUMBER):
        if began is not None and math.isclose(row["began"], began, abs_tol=1e-3):
            return float(row["ended"])
    return None


def _last_beat(paths: AttemptPaths) -> float:
    """By the file system's clock."""
    try:
        return paths.heartbeat.stat().st_mtime
    except FileNotFoundError:
        return paths.root.stat().st_mtime


def _first(*values: float | None) -> Any:
    return next((value for value in values if value is not None), None)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, NUMBER) and not isinstance(value, bool) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
