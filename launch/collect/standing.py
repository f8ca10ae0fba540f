"""Where a run stands when the tasks of a submission have ended: what is missing, why each task left some."""

from collections.abc import Sequence

from launch.collect.queue_look import rows_by_task
from launch.collect.rounds import Standing, TaskEnd, cause_of
from launch.config.wording import printable
from launch.rundir.attempt_files import read_ended
from launch.rundir.attempts import list_attempts
from launch.rundir.canary import read_canary
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.rundir.records import SubmissionRecord
from launch.rundir.rounds import num_missing_before
from launch.slurm.commands import QueueRow

MAX_SAID = 160


def read_standing(run: RunPaths, sent: SubmissionRecord, round_: int, rows: Sequence[QueueRow]) -> Standing:
    """The standing after `round_` of a submission (0: its first tasks); `rows`: Slurm's word on its jobs."""
    canary = read_canary(run)
    by_task = rows_by_task(run, sent.submission, rows, round_)[0]
    ends = [_end(run, sent.submission, task, by_task.get(task)) for task in range(sent.num_tasks)]
    return Standing(
        round=sent.round + round_,
        max_rounds=sent.resources.max_rounds,
        num_missing=survey_settled(run).num_missing,
        num_missing_before=num_missing_before(run, sent.submission, sent.num_items),
        ends=tuple(end for end in ends if end is not None),
        stopped=canary.sentence if canary is not None and canary.stops_submission(sent.submission) else None,
    )


def _end(run: RunPaths, submission: int, task: int, row: QueueRow | None) -> TaskEnd | None:
    attempts = list_attempts(run, submission, task)
    ended = read_ended(run.attempt(submission, task, attempts[-1])) if attempts else None
    state = None if row is None else row.state
    cause = cause_of(ended, state, started=bool(attempts))
    if cause is None:
        return None
    message = printable(str(((ended or {}).get("failure") or {}).get("message") or ""))
    return TaskEnd(task, cause, message if len(message) <= MAX_SAID else f"{message[: MAX_SAID - 3]}...")
