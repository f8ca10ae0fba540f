"""What signals ask of a task: finish by a deadline, or end at once."""

import signal
from dataclasses import dataclass
from enum import Enum

from launch.worker.signals import STOP_SIGNALS
from launch.worker.walltime import Walltime

USR2_RESERVE_S = 15.0
"""Of the lead that Slurm gives with USR2: for the last fsync, the kill, ended.json and the requeue."""
TERM_TIME_S = 20.0
"""After TERM Slurm kills in KillWait seconds, 30 unless the site says otherwise; a task cannot ask."""
INTERRUPT_TIME_S = 8.0
"""After INT: a person pressed Ctrl-C and waits. Nothing may be left 15 s later."""
PARENT_GONE_TIME_S = 5.0
"""After HUP: the driver or the batch shell died (tie_to_parent). Nothing of its may be left 10 s later."""
STOP_TIMES_S = {signal.SIGINT: INTERRUPT_TIME_S, signal.SIGHUP: PARENT_GONE_TIME_S}
SAME_ORDER_S = 3.0
"""scancel reaches a task twice: from Slurm, and forwarded by the batch shell."""


class Asked(Enum):
    """What a signal asks for, given those before it."""

    NOTHING = "nothing"
    DRAIN = "drain"
    KILL = "kill"


@dataclass(slots=True)
class StopOrder:
    """The orders so far. All times are those of time.monotonic(); `deadline` only ever comes nearer."""

    signal_lead_s: float
    walltime: Walltime | None = None
    deadline: float | None = None
    _stop_asked_at: float | None = None

    def hear(self, number: signal.Signals, now: float) -> Asked:
        """Takes a signal that arrived at `now`."""
        if number == signal.SIGUSR2:
            return self._drain_by(self._last_moment(now, now + self.signal_lead_s))
        if number not in STOP_SIGNALS:
            return Asked.NOTHING
        if self._stop_asked_at is None:
            self._stop_asked_at = now
            return self._drain_by(now + STOP_TIMES_S.get(number, TERM_TIME_S))
        return Asked.NOTHING if now - self._stop_asked_at < SAME_ORDER_S else Asked.KILL

    def stop_by(self, deadline: float) -> Asked:
        """Takes an order of the supervisor's own."""
        return self._drain_by(deadline)

    @property
    def warn_at(self) -> float | None:
        """When to finish without being told, since the time is over soon; None when unknown or done."""
        end = None if self.walltime is None else self.walltime.end
        return None if end is None or self.deadline is not None else end - self.signal_lead_s

    def keep_time(self, now: float) -> Asked:
        """DRAIN when the known end of the time is near and no signal has said so."""
        if self.warn_at is None or now < self.warn_at:
            return Asked.NOTHING
        return self._drain_by(self._last_moment(now, self.warn_at + self.signal_lead_s))

    def _last_moment(self, now: float, end: float) -> float:
        """The deadline for an end, the known one if that is nearer; never so near that nothing is saved."""
        if self.walltime is not None and self.walltime.end is not None:
            end = min(end, self.walltime.end)
        return max(end - min(USR2_RESERVE_S, self.signal_lead_s / 2), now + PARENT_GONE_TIME_S)

    def _drain_by(self, deadline: float) -> Asked:
        if self.deadline is not None and self.deadline <= deadline:
            return Asked.NOTHING
        self.deadline = deadline
        return Asked.DRAIN
