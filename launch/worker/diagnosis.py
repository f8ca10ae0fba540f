"""Turns how a slot ended into what went wrong and what to do: its log, the table, the advice."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.config.schema import RunConfig
from launch.errors import CheckpointError, ExitCode
from launch.model.shape import ModelShape, read_shape
from launch.model.weights import read_json_object
from launch.worker.advice import Case, advise, numbered
from launch.worker.failures import FailureClass, classify
from launch.worker.outcome import Outcome

MAX_LOG_BYTES = 4 << 20
"""Of the log's end. A start leaves tens of kilobytes; only warnings in a long life make it longer."""
STUCK = "stuck"


def explain(outcome: Outcome, config: RunConfig, checkpoint: Path, *, on_cpu: bool) -> Outcome:
    """The outcome with the failure's class out of the table, one line, and `advice`, where a slot failed.

    What the engine process refused in words of ours, and what the log does not explain, keeps its message.
    """
    end, failure = outcome.end, outcome.failure
    if end is None or failure is None or outcome.code not in (ExitCode.BUG, ExitCode.USER):
        return outcome
    if failure["class"] == STUCK or (outcome.code is ExitCode.USER and failure["class"] != "EngineError"):
        return outcome
    text = f"{_tail(Path(end.log))}\n{failure['message']}"
    found = classify(text, None if end.was_killed else end.returncode)
    is_known = found.failure_class is not FailureClass.UNKNOWN
    if not is_known and outcome.code is ExitCode.USER:
        return outcome
    advice = advise(Case(found, config, _shape(checkpoint), end.log, on_cpu))
    explained = {**failure, "advice": list(advice)}
    if is_known:
        message = f"slot {end.slot}: {found.meaning}: {found.evidence}"
        explained |= {"class": found.failure_class.value, "message": message}
    return replace(outcome, failure=explained)


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


def _shape(checkpoint: Path) -> ModelShape | None:
    try:
        config = read_json_object(checkpoint / "config.json")
    except (CheckpointError, OSError):
        return None
    names = config.get("architectures")
    architecture = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
    return read_shape(config, architecture)
