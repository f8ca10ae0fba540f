"""When nothing more comes to the logs of a task or of merge jobs: judged as `status` does."""

import time
from collections.abc import Callable, Iterable

from launch.collect.merge_claim import read_merger
from launch.collect.queue_look import QUIET_S, QueueLook, look_at_queue, rows_by_task
from launch.collect.task_status import Asked, TaskState, read_task
from launch.errors import ExitCode
from launch.rundir.attempt_files import read_ended
from launch.rundir.attempts import clock_of, list_attempts
from launch.rundir.journal import read_journal
from launch.rundir.layout import RunPaths
from launch.slurm.states import JobPhase, job_phase
from launch.slurm.submission import JOB_FIELDS

LOOK_PERIOD_S = 2.0
"""Between two looks at the queue's answer, which is at most 30 s old, and at the heartbeat."""


class LogsEnd:
    """Knows when the logs of a task are over, or those of a submission's merge jobs (`task` None).

    What may still come back is over when nothing has spoken for it for QUIET_S.
    """

    def __init__(
        self,
        run: RunPaths,
        submission: int,
        task: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._submission, self._task = run, submission, task
        self._clock = clock
        self._looked = clock()
        self._quiet_since: float | None = None

    def is_reached(self) -> bool:
        """Takes a look; ask before the last reading."""
        if self._task is not None and _has_ended(self._run, self._submission, self._task):
            return True
        now = self._clock()
        if now - self._looked < LOOK_PERIOD_S:
            return False
        self._looked = now
        queue, _ = look_at_queue(self._run, submission=self._submission)
        if self._task is None and queue is not None:
            return not _waits_or_runs(self._run, self._submission, queue)
        if not self._is_quiet(queue):
            self._quiet_since = None
            return False
        self._quiet_since = now if self._quiet_since is None else self._quiet_since
        return now - self._quiet_since >= QUIET_S

    def _is_quiet(self, queue: QueueLook | None) -> bool:
        if self._task is None:
            return _have_let_go(self._run, self._submission)
        return _is_dead(self._run, self._submission, self._task, queue)


def _has_ended(run: RunPaths, submission: int, task: int) -> bool:
    """Whether the task's newest attempt ended by its own word and asked for no other."""
    attempts = list_attempts(run, submission, task)
    ended = read_ended(run.attempt(submission, task, attempts[-1])) if attempts else None
    return ended is not None and ended["code"] != ExitCode.CONTINUE


def _is_dead(run: RunPaths, submission: int, task: int, queue: QueueLook | None) -> bool:
    """Whether it died without a word, or asked for another attempt and is not in the queue any more."""
    rows = {} if queue is None else rows_by_task(run, submission, queue.rows)[0]
    state = read_task(run, submission, task, 0, Asked(rows, clock_of(run.root), queue, is_sent=True)).state
    return state is TaskState.DEAD or (state is TaskState.DRAINED and queue is not None)


def _waits_or_runs(run: RunPaths, submission: int, queue: QueueLook) -> bool:
    """Whether the queue has a merge job of the submission."""
    row = rows_by_task(run, submission, queue.rows)[1]
    return row is not None and job_phase(row.state) is not JobPhase.ENDED


def _have_let_go(run: RunPaths, submission: int) -> bool:
    """Whether each merge job of the submission has held the run and let go of it."""
    rows = read_journal(run.submission(submission).jobs, **JOB_FIELDS)
    sent = {str(row["job_id"]) for row in rows if not row["size"] and row.get("job_id")}
    return bool(sent) and sent <= set(_merged(run))


def _merged(run: RunPaths) -> Iterable[str]:
    """Ids of the jobs that have held the run to merge it, and let go."""
    for done in run.merge.glob("*.done"):
        merger = read_merger(done.with_suffix(""))
        if merger is not None and merger.job is not None:
            yield merger.job
