"""What Slurm's queue says of a run's newest submission: the answer that all share, at most 30 s old.

Looking is one call of squeue in 30 s, however many look and however often (launch.slurm.shared_queue); the
number of a limit is asked of the accounting database once in ten minutes. Another process asks
(launch.collect.queue_asker): who looks waits for it a moment, and then does with what there is.
"""

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from launch.collect.queue_asker import start_asking, waiting_reasons
from launch.config.schema import Scheduler
from launch.rundir.attempts import clock_of
from launch.rundir.journal import read_journal
from launch.rundir.layout import RunPaths, SubmissionPaths
from launch.rundir.records import list_submissions, load_submission
from launch.slurm.commands import QueueRow
from launch.slurm.pending_reasons import in_words
from launch.slurm.reason_limits import known_limits
from launch.slurm.shared_queue import QueueAnswer, has_squeue, is_being_asked, is_fresh, load_answer
from launch.slurm.states import JobPhase, job_phase
from launch.slurm.submission import JOB_FIELDS, round_of

WAIT_S = 1.5
"""For how long a look waits for Slurm in all: squeue, scontrol and sacctmgr together."""
WAIT_VARIABLE = "VLLM_LAUNCH_QUEUE_WAIT_S"
"""Another number of seconds, for those who would rather wait."""
POLL_S = 0.1
QUIET_S = 45.0
"""What nothing has spoken for so long is over: Slurm's queue was asked anew meanwhile."""
OLD_S = 600.0
"""An answer that is older says nothing of now: files have to do."""
_RANK = {JobPhase.ENDED: 0, JobPhase.WAITING: 1, JobPhase.RUNNING: 2}


@dataclass(frozen=True, slots=True)
class QueueLook:
    """Rows of the submission's jobs as of `asked` (the file system's clock); `words` says reasons plainly."""

    rows: tuple[QueueRow, ...]
    asked: float
    words: Mapping[str, str] = field(default_factory=dict)

    def why(self, row: QueueRow) -> str:
        """Why a job waits, in plain words; its state where Slurm gives no reason."""
        return self.words.get(row.reason) or in_words(row.reason) or row.state


def look_at_queue(
    run: RunPaths, wait_s: float | None = None, submission: int | None = None
) -> tuple[QueueLook | None, str | None]:
    """The look, or None and a note why files have to do; no note either where Slurm has no part.

    Both where the look is an older one, for which the note says so. `submission` None: the newest.
    """
    if submission is None:
        submissions = list_submissions(run)
        if not submissions:
            return None, None
        submission = submissions[-1]
    record = load_submission(run, submission)
    paths = run.submission(submission)
    if record.resources.scheduler is not Scheduler.SLURM or not paths.jobs.exists():
        return None, None
    if not has_squeue():
        return None, "squeue: not found; this machine has no Slurm commands."
    wait_s = _usual_wait_s() if wait_s is None else wait_s
    late = f"Slurm has not answered within {wait_s:g} s"
    if os.access(paths.root, os.W_OK):
        _wait_for_answer(run, submission, wait_s)
    else:
        late = "Slurm is not asked, for its answer could not be kept: the run directory cannot be written"
    answer, now = load_answer(paths), clock_of(paths.root)
    is_new = is_fresh(answer, now)
    if answer is None or now - answer.asked > OLD_S or not (is_new or answer.error is None):
        return None, f"{late}."
    if answer.error is not None:
        return None, answer.error
    if not _job_ids(paths) <= set(answer.jobs):
        return None, "jobs were sent after Slurm's queue was asked last."
    return _look(paths, answer, now), None if is_new else f"{late}; its queue is shown as it was told last."


def _usual_wait_s() -> float:
    with suppress(ValueError):
        return float(os.environ.get(WAIT_VARIABLE, WAIT_S))
    return WAIT_S


def _wait_for_answer(run: RunPaths, submission: int, wait_s: float) -> None:
    """Until Slurm's answer is as new as it is to be, and the limits in it are known; or for `wait_s`."""
    paths, deadline = run.submission(submission), time.monotonic() + wait_s
    is_asked = False
    while time.monotonic() < deadline:
        answer, now = load_answer(paths), clock_of(paths.root)
        if answer is not None and is_fresh(answer, now) and not _lacks_limits(paths, answer, now):
            return
        if not is_asked and not is_being_asked(paths, now):
            start_asking(run, submission)
            is_asked = True
        time.sleep(POLL_S)


def _lacks_limits(paths: SubmissionPaths, answer: QueueAnswer, now: float) -> bool:
    return answer.error is None and bool(known_limits(paths, waiting_reasons(answer), now)[1])


def _job_ids(paths: SubmissionPaths) -> set[str]:
    """Ids of the jobs sent; one whose id was never written down leaves an id that no answer has."""
    named: dict[str, str] = {}
    for row in read_journal(paths.jobs, **JOB_FIELDS):
        if row.get("error"):
            named.pop(row["name"], None)
        else:
            named[row["name"]] = str(row.get("job_id") or named.get(row["name"], ""))
    return set(named.values())


def _look(paths: SubmissionPaths, answer: QueueAnswer, now: float) -> QueueLook:
    rows = tuple(
        QueueRow(row.job, row.index, "", row.state, row.reason, "", row.end_time) for row in answer.rows
    )
    reasons = waiting_reasons(answer)
    allowed, _ = known_limits(paths, reasons, now)
    words = {reason: in_words(reason, allowed.get(reason)) for reason in reasons}
    return QueueLook(rows, answer.asked, words)


def rows_by_task(
    run: RunPaths, submission: int, queue_rows: Iterable[QueueRow], last_round: int | None = None
) -> tuple[dict[int, QueueRow], QueueRow | None]:
    """The row of each task, and that of the merge job; jobs.jsonl says which job is which.

    With follow-ups queued a task has a row in each: the one that runs counts, else one that waits, else the
    last that ended. `last_round` leaves out the follow-ups after it.
    """
    jobs = {
        str(line["job_id"]): line
        for line in read_journal(run.submission(submission).jobs, **JOB_FIELDS)
        if line.get("job_id") and (last_round is None or round_of(line) <= last_round)
    }
    best: dict[int | None, tuple[tuple[int, int], QueueRow]] = {}
    for row in queue_rows:
        job = jobs.get(row.job_id)
        if job is None:
            continue
        task = None if row.array_task is None else int(job["offset"]) + row.array_task
        rank = (_RANK[job_phase(row.state)], round_of(job))
        if task not in best or rank > best[task][0]:
            best[task] = (rank, row)
    merge_row = best.pop(None, (None, None))[1]
    return {task: row for task, (_, row) in best.items() if task is not None}, merge_row
