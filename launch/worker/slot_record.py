"""What is known of an engine process: its phases while it lives, how it ended."""

from dataclasses import dataclass, field

from launch.worker.steps import Step


@dataclass(frozen=True, slots=True)
class SlotEnd:
    """How an engine process ended: what it said last (None: nothing), and what the kernel says."""

    slot: int
    start: int
    returncode: int
    said: str | None
    was_drained: bool
    was_killed: bool
    failure: dict[str, str] | None
    log: str
    memory_kills: int = 0
    """Processes of the job that the kernel killed for want of memory while it lived."""
    gpu_errors: tuple[str, ...] = ()
    """What its GPUs told shortly before it died: Xid and uncorrectable ECC errors."""
    step: Step | None = None
    """What the ladder decided about it; None: nothing, or nothing had failed."""


@dataclass(slots=True)
class Phases:
    """The phase a slot is in, since when, and how long it was in the earlier ones."""

    current: str | None = None
    since: float = 0.0
    spent_s: dict[str, float] = field(default_factory=dict)

    def enter(self, phase: str | None, time: float) -> None:
        """Ends the current phase at `time` (seconds since the epoch); None when the process has ended."""
        if self.current is not None:
            spent = self.spent_s.get(self.current, 0.0) + max(time - self.since, 0.0)
            self.spent_s[self.current] = round(spent, 3)
        self.current, self.since = phase, time
