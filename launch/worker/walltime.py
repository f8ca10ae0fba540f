"""When Slurm will end this task: told by a variable, else asked for once, through the answer all tasks share.

Slurm's warning signal may be lost (a batch shell busy in a setup line, a site's wrapper, an option that was
overridden), so the task keeps the time itself. Not to know it is no error: the signal is then all there is.

Slurm tells the end by its controller's clock, and a node's clock may be minutes off. The shared answer has by
how much the controller's is ahead of the file system's, which every node can read; the end is then kept by
this host's monotonic clock, which nobody sets.
"""

import contextlib
import os
import time
from collections.abc import Mapping

from launch.errors import StorageError
from launch.rundir.attempts import filesystem_now
from launch.rundir.layout import RunPaths
from launch.rundir.signs import SlurmJob, job_of
from launch.slurm.shared_queue import SHARED_FOR_S, QueueAnswer, share_answer
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
        self._cluster = variables.get("SLURM_CLUSTER_NAME")
        self._is_over = not on_slurm or (self._told is None and self._job is None)
        self._pause_s = SHARED_FOR_S
        self._next_look = 0.0
        self._has_looked = False

    def look(self) -> None:
        """Asks Slurm if that is still needed and due; takes 10 s at most. Call it often."""
        if self._is_over or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        answer = self._share_answer()
        if self._told is None and answer is not None:
            self._told = self._end_in(answer)
        if self._told is not None and (answer is not None or self._has_looked):  # another may be asking
            self._convert(self._told, None if answer is None else answer.ahead_s)
        self._has_looked = True

    def _share_answer(self) -> QueueAnswer | None:
        """None where another cluster's controller was asked, by somebody who looks from there."""
        jobs = [] if self._job is None else [self._job.array]
        answer = share_answer(self._paths, jobs, timeout_s=ASK_TIMEOUT_S)
        if answer is None or None in (self._cluster, answer.cluster):
            return answer
        return answer if answer.cluster == self._cluster else None

    def _end_in(self, answer: QueueAnswer) -> float | None:
        row = None if self._job is None else answer.row(self._job.array, self._job.index)
        if row is None or job_phase(row.state) is not JobPhase.RUNNING:
            return None
        self._is_over = row.end_time is None  # without an end
        return row.end_time

    def _convert(self, told: float, ahead_s: float | None) -> None:
        """Out of the controller's clock; out of this node's, and again later, while nobody tells that."""
        now = time.time()
        with contextlib.suppress(StorageError, OSError):  # a disk in trouble has no time to tell
            if ahead_s is not None:
                now = filesystem_now(self._paths.root) + ahead_s
                self._is_over = True
        self.end = time.monotonic() + told - now
