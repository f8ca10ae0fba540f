"""Turns how a slot ended into what went wrong and what to do: its log, the table, the advice."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.config.schema import RunConfig
from launch.errors import CheckpointError, ExitCode
from launch.model.length_bounds import length_bounds
from launch.model.shape import ModelShape, read_shape
from launch.model.weights import read_json_object
from launch.worker.advice.case import Case
from launch.worker.advice.table import advise, numbered
from launch.worker.failures import (
    SIGKILL_MEANING,
    Diagnosis,
    FailureClass,
    Retry,
    classify,
    device_fault,
    memory_kill,
)
from launch.worker.outcome import Outcome
from launch.worker.slot_record import SlotEnd

MAX_LOG_BYTES = 4 << 20
"""Of the log's end. A start leaves tens of kilobytes; only warnings in a long life make it longer."""
STUCK = "stuck"
CRASHED = "the engine's process crashed"
DIED = "the engine's processes died"
ONLY_GONE = (
    FailureClass.UNKNOWN,
    FailureClass.ENGINE_DEAD,
    FailureClass.START_TIMEOUT,
    FailureClass.PROGRESS_TIMEOUT,
)
"""Classes that only say that something is gone or stands still: a kill by the kernel, or an error that the
GPU told, explains it."""


def explain(
    outcome: Outcome, config: RunConfig, checkpoint: Path, *, on_cpu: bool, is_beside: bool = False
) -> Outcome:
    """The outcome with the failure's class out of the table, one line, and `advice`, where a slot failed.

    What the engine process refused in words of ours, and what the log does not explain, keeps its message.
    """
    end, failure = outcome.end, outcome.failure
    if end is None or failure is None:
        return outcome
    found = diagnose(end, failure)
    if found is None:
        return outcome
    is_known = found.failure_class is not FailureClass.UNKNOWN
    about = _config_json(checkpoint)
    shape, bounds = (None, ()) if about is None else (_shape(about), length_bounds(about))
    advice = advise(Case(found, config, shape, end.log, on_cpu, is_beside, bounds))
    explained = {**failure, "advice": list(advice)}
    if is_known:
        message = f"slot {end.slot}: {found.meaning}: {found.evidence}"
        explained |= {"class": found.failure_class.value, "message": message}
    return replace(outcome, failure=explained)


def diagnose(end: SlotEnd, failure: Mapping[str, Any]) -> Diagnosis | None:
    """What the log of a start that failed, and its last words, tell of the cause.

    None for what was refused in words of ours that no row of the table knows, and for a process that hangs in
    the kernel: no log has more about them.
    """
    is_refused = end.returncode == ExitCode.USER
    if failure["class"] == STUCK or (is_refused and failure["class"] != "EngineError"):
        return None
    text = f"{_tail(Path(end.log))}\n{failure['message']}"
    found = classify(text, None if end.was_killed else end.returncode)
    if end.memory_kills and found.failure_class in ONLY_GONE:
        return memory_kill(end.memory_kills)
    if end.gpu_errors and (found.failure_class in ONLY_GONE or found.meaning == SIGKILL_MEANING):
        return device_fault(end.gpu_errors)
    if found.failure_class is not FailureClass.UNKNOWN:
        return found
    if is_refused:
        return None
    has_crashed = end.returncode < 0 and not end.was_killed
    if has_crashed or failure["class"] == FailureClass.ENGINE_DEAD:
        meaning = CRASHED if has_crashed else DIED
        return Diagnosis(FailureClass.ENGINE_DEAD, meaning, Retry.AGAIN, _without_slot(end, failure))
    return found


def _without_slot(end: SlotEnd, failure: Mapping[str, Any]) -> str:
    return str(failure["message"]).removeprefix(f"slot {end.slot}: ")


def told(failure: Mapping[str, Any]) -> list[str]:
    """A failure for people: its message, then what to do, numbered."""
    return [failure.get("message", ""), *numbered(failure.get("advice", ()))]


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(0, size - MAX_LOG_BYTES))
            return handle.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _config_json(checkpoint: Path) -> dict[str, Any] | None:
    try:
        return read_json_object(checkpoint / "config.json")
    except (CheckpointError, OSError):
        return None


def _shape(config: dict[str, Any]) -> ModelShape | None:
    names = config.get("architectures")
    architecture = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
    return read_shape(config, architecture)
