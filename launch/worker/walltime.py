"""When Slurm will end this task: told by a variable, else asked for once, through the answer all tasks share.

Slurm's warning signal may be lost (a batch shell busy in a setup line, a site's wrapper, an option that was
overridden), so the task keeps the time itself. Not to know it is no error: the signal is then all there is.
"""

import os
import time
from collections.abc import Mapping

from launch.rundir.layout import RunPaths
from launch.rundir.signs import SlurmJob, job_of
from launch.slurm.shared_queue import SHARED_FOR_S, share_answer
from launch.slurm.states import JobPhase, job_phase

ASK_TIMEOUT_S = 5.0
"""The supervisor hears no signal meanwhile."""
LONGEST_PAUSE_S = 1800.0


class Walltime:
    """The known end of this task's time. `end` is in seconds since the epoch, None while nobody has told."""

    def __init__(
        self, run: RunPaths, submission: int, variables: Mapping[str, str] = os.environ, *, on_slurm: bool
    ) -> None:
        told = variables.get("SLURM_JOB_END_TIME", "")
        self.end: float | None = float(told) if on_slurm and told.isdecimal() else None
        self._paths = run.submission(submission)
        self._job: SlurmJob | None = None if self.end is not None or not on_slurm else job_of(dict(variables))
        self._pause_s = SHARED_FOR_S
        self._next_look = 0.0

    def look(self) -> None:
        """Asks Slurm if that is still needed and due; takes 5 s at most. Call it often."""
        if self._job is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        answer = share_answer(self._paths, [self._job.array], timeout_s=ASK_TIMEOUT_S)
        row = None if answer is None else answer.row(self._job.array, self._job.index)
        if row is not None and job_phase(row.state) is JobPhase.RUNNING:
            self.end = row.end_time
            self._job = None  # told, or without an end
