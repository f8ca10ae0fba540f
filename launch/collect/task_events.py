"""What the end of an attempt's events.jsonl tells: phases of its slots, the ladder's last step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.rundir.journal import NUMBER, has_fields
from launch.rundir.layout import AttemptPaths
from launch.rundir.tails import tail_records

TAIL_BYTES = 128 << 10
"""About a thousand lines; a task that counts every 30 s writes those in eight hours."""
STEP_WORDS = {"restart": "started again", "elsewhere": "to another node"}
GENERATING = "generating"


@dataclass(frozen=True, slots=True)
class TaskEvents:
    """`phase` is the newest that a slot told; `generating_since` when the first that still does began.

    Times are seconds since the epoch by the node's clock. `step` is the ladder's newest step in words, `rows`
    are the events themselves.
    """

    phase: str | None = None
    generating_since: float | None = None
    step: str | None = None
    rows: Sequence[Mapping[str, Any]] = ()


def read_task_events(paths: AttemptPaths) -> TaskEvents:
    """From the last 128 KiB. Where they hold counts and no phase, it has generated since before them."""
    rows = [
        row
        for row in tail_records(paths.events, TAIL_BYTES)
        if has_fields(row, {"event": str, "time": NUMBER})
    ]
    phases = [row for row in rows if row["event"] == "phase"]
    if not phases and any(row["event"] == "counts" for row in rows):
        return TaskEvents(GENERATING, float(rows[0]["time"]), last_step(rows), rows)
    phase = str(phases[-1].get("phase")) if phases else None
    return TaskEvents(phase, _generating_since(rows), last_step(rows), rows)


def _generating_since(rows: Sequence[dict[str, Any]]) -> float | None:
    by_slot: dict[Any, float | None] = {}
    for row in rows:
        if not isinstance(row.get("slot"), int | None):
            continue
        if row["event"] == "phase":
            by_slot[row.get("slot")] = float(row["time"]) if row.get("phase") == GENERATING else None
        elif row["event"] == "engine_end":
            by_slot[row.get("slot")] = None
    return min((since for since in by_slot.values() if since is not None), default=None)


def last_step(rows: Sequence[dict[str, Any]]) -> str | None:
    """The newest step of the ladder, in words."""
    steps = [
        row for row in rows if row["event"] == "ladder" and has_fields(row, {"class": str, "action": str})
    ]
    if not steps:
        return None
    return step_words(steps[-1])


def step_words(step: Mapping[str, Any]) -> str:
    """What a ladder event says that a task did, in words; it has texts for `class` and `action`."""
    if step["action"] == "fail_item":
        return f"after {step['class']}: item {step.get('to')} was given up"
    if step.get("setting") is not None:
        return f"after {step['class']}: {step['setting']} {step.get('from')} -> {step.get('to')}"
    return f"after {step['class']}: {STEP_WORDS.get(step['action'], step['action'])}"
