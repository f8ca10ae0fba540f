"""When an engine process has taken too long: to start, or to make a step while requests run. Pure.

An engine that is alive reports counts after its steps, at most one a second. One whose core is dead or hangs
under a waiting parent reports nothing, and nothing else would ever end it (measured with a tensor parallel
start that failed: the parent waited until it was killed).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch.config.schema import EngineConfig, EngineKind
from launch.worker.failures import FailureClass

PROGRESS_TIMEOUT_S = 1800
STOOD_STILL_S = 90.0
"""A supervisor looks every 30 s at least. If it did not, it was suspended, and so was the engine."""
RUNNING = ("generating", "draining")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds; None is no limit."""

    start_s: float
    progress_s: float | None


@dataclass(frozen=True, slots=True)
class Overdue:
    """What is overdue: the class, and a sentence that the table of failures knows."""

    failure_class: FailureClass
    message: str


def limits_of(engine: EngineConfig, kind: EngineKind) -> Limits:
    """The limits of one engine start."""
    progress = engine.progress_timeout_s
    if progress is None and kind is not EngineKind.TRANSFORMERS:
        progress = PROGRESS_TIMEOUT_S
    return Limits(engine.start_timeout_s, progress)


class Watchdog:
    """The clocks of one engine start; times are those of a monotonic clock, in seconds."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._since = now
        self._looked = now
        self._is_running = False

    def hear(self, message: Mapping[str, Any], now: float) -> None:
        """A message came: one with counts, or of a phase in which requests run, is progress."""
        if message.get("phase") in RUNNING:
            self._is_running = True
            self._since = now
        elif "counts" in message and self._is_running:
            self._since = now

    def look(self, now: float) -> Overdue | None:
        """What is overdue. The clock begins anew when nobody has looked for long: the task was suspended."""
        if now - self._looked > STOOD_STILL_S:
            self._since = now
        self._looked = now
        due = self.due()
        if due is None or now < due:
            return None
        if self._is_running:
            message = f"the engine made no step for {self._limits.progress_s:g} s while requests ran"
            return Overdue(FailureClass.PROGRESS_TIMEOUT, f"{message} (engine.progress_timeout_s)")
        message = f"the engine did not start within {self._limits.start_s:g} s"
        return Overdue(FailureClass.START_TIMEOUT, f"{message} (engine.start_timeout_s)")

    def due(self) -> float | None:
        """When something will be overdue unless a message comes; None: never."""
        limit = self._limits.progress_s if self._is_running else self._limits.start_s
        return None if limit is None else self._since + limit
