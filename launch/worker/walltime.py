"""When Slurm will end this task: told by a variable, else asked for once, through the answer all tasks share.

Slurm's warning signal may be lost (a batch shell busy in a setup line, a site's wrapper, an option that was
overridden), so the task keeps the time itself. Not to know it is no error: the signal is then all there is.

Slurm tells the end by its controller's clock, and a node's clock may be minutes off. So the controller is
asked for the time as well, and the end is kept by this host's monotonic clock, which nobody sets.
"""

import os
import time
from collections.abc import Mapping

from launch.errors import SchedulerError
from launch.rundir.layout import RunPaths
from launch.rundir.signs import SlurmJob, job_of
from launch.slurm.commands import controller_ahead_s
from launch.slurm.shared_queue import SHARED_FOR_S, share_answer
from launch.slurm.states import JobPhase, job_phase

ASK_TIMEOUT_S = 5.0
"""The supervisor hears no signal meanwhile."""
LONGEST_PAUSE_S = 1800.0


class Walltime:
    """The known end of this task's time. `end` is by time.monotonic(), None while nobody has told."""

    def __init__(
        self, run: RunPaths, submission: int, variables: Mapping[str, str] = os.environ, *, on_slurm: bool
    ) -> None:
        told = variables.get("SLURM_JOB_END_TIME", "")
        self.end: float | None = None
        self._told: float | None = float(told) if on_slurm and told.isdecimal() else None
        self._paths = run.submission(submission)
        self._job: SlurmJob | None = job_of(dict(variables)) if on_slurm else None
        self._is_over = not on_slurm or (self._told is None and self._job is None)
        self._pause_s = SHARED_FOR_S
        self._next_look = 0.0

    def look(self) -> None:
        """Asks Slurm if that is still needed and due; takes 10 s at most. Call it often."""
        if self._is_over or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        if self._told is None:
            self._ask()
        if self._told is not None:
            self._convert(self._told)

    def _ask(self) -> None:
        assert self._job is not None
        answer = share_answer(self._paths, [self._job.array], timeout_s=ASK_TIMEOUT_S)
        row = None if answer is None else answer.row(self._job.array, self._job.index)
        if row is not None and job_phase(row.state) is JobPhase.RUNNING:
            self._told = row.end_time
            self._is_over = self._told is None  # without an end

    def _convert(self, told: float) -> None:
        """Out of the controller's clock; as if it were this node's, and asked again, while it is not told."""
        try:
            ahead_s = controller_ahead_s(ASK_TIMEOUT_S)
            self._is_over = True
        except SchedulerError:
            ahead_s = 0.0
        self.end = time.monotonic() + told - (time.time() + ahead_s)
