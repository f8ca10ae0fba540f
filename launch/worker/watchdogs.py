"""When an engine process has taken too long: to start, to make a step, or to settle an item. Pure.

An engine that is alive reports counts after its steps, at most one a second. One whose core is dead or hangs
under a waiting parent reports nothing, and nothing else would ever end it (measured with a tensor parallel
start that failed: the parent waited until it was killed). One that steps and settles nothing, or whose
results do not become durable, reports counts that stay the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch.config.schema import EngineConfig, EngineKind
from launch.worker.failures import FailureClass

PROGRESS_TIMEOUT_S = 1800
SLOWEST_TOKENS_PER_S = 1.0
"""Of one sample: what an item may take beyond the limit of a step is its tokens at this speed."""
STOOD_STILL_S = 90.0
"""A supervisor looks every 30 s at least. If it did not, it was suspended, and so was the engine."""
RUNNING = ("generating", "draining")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds; None is no limit."""

    start_s: float
    progress_s: float | None
    settle_s: float | None = None


@dataclass(frozen=True, slots=True)
class Overdue:
    """What is overdue: the class, and a sentence that the table of failures knows."""

    failure_class: FailureClass
    message: str


def limits_of(engine: EngineConfig, kind: EngineKind, max_tokens: int) -> Limits:
    """The limits of one engine start whose samples have at most `max_tokens`."""
    progress = engine.progress_timeout_s
    if progress is None and kind is not EngineKind.TRANSFORMERS:
        progress = PROGRESS_TIMEOUT_S
    settle = None if progress is None else progress + max_tokens / SLOWEST_TOKENS_PER_S
    return Limits(engine.start_timeout_s, progress, settle)


class Watchdog:
    """The clocks of one engine start; times are those of a monotonic clock, in seconds."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._begin(now)
        self._looked = now
        self._is_running = False
        self._num_settled = 0

    def _begin(self, now: float) -> None:
        self._since = self._settled_at = now

    def hear(self, message: Mapping[str, Any], now: float) -> None:
        """A message came: a phase in which requests run, or counts, which are a step and may be progress."""
        if message.get("phase") in RUNNING:
            self._is_running = True
            self._begin(now)
        elif (counts := message.get("counts")) is not None and self._is_running:
            self._since = now
            num_settled = counts.get("done", 0) + counts.get("failed", 0)
            if num_settled != self._num_settled or not counts.get("in_flight", 0):
                self._num_settled, self._settled_at = num_settled, now

    def look(self, now: float) -> Overdue | None:
        """What is overdue. The clock begins anew when nobody has looked for long: the task was suspended."""
        if now - self._looked > STOOD_STILL_S:
            self._begin(now)
        self._looked = now
        due = self.due()
        if due is None or now < due:
            return None
        if not self._is_running:
            message = f"the engine did not start within {self._limits.start_s:g} s"
            return Overdue(FailureClass.START_TIMEOUT, f"{message} (engine.start_timeout_s)")
        if self._step_due() == due:
            message = f"the engine made no step for {self._limits.progress_s:g} s while requests ran"
        else:
            message = f"the engine settled no item for {self._limits.settle_s:.0f} s while requests ran"
        return Overdue(FailureClass.PROGRESS_TIMEOUT, f"{message} (engine.progress_timeout_s)")

    def due(self) -> float | None:
        """When something will be overdue unless a message comes; None: never."""
        if not self._is_running:
            return self._since + self._limits.start_s
        settle_s, step = self._limits.settle_s, self._step_due()
        settle = None if settle_s is None else self._settled_at + settle_s
        return min((each for each in (step, settle) if each is not None), default=None)

    def _step_due(self) -> float | None:
        return None if self._limits.progress_s is None else self._since + self._limits.progress_s
