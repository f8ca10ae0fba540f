"""Closing a submission before the next is opened: never two at once, and nobody taken for dead by guess."""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from launch.cli.runs import find_driver
from launch.config.schema import Scheduler
from launch.config.wording import log_line
from launch.errors import ExitCode, RunError, SchedulerError
from launch.rundir.attempt_files import read_ended
from launch.rundir.attempts import HEARTBEAT_FRESH_S, filesystem_now, list_attempts
from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import mark_process, read_mark
from launch.rundir.records import list_submissions, load_submission
from launch.slurm.commands import QueueRow, cluster_name
from launch.slurm.liveness import AttemptLife, Life, last_lives
from launch.slurm.shared_queue import JobRow, QueueAnswer
from launch.slurm.submission import JOB_FIELDS, cancel_submission, open_rows, queue_of

CANCEL_WAIT_S = 120
CANCEL_POLL_S = 3
NUM_NAMED = 5
SENDER_DEAD_S = 300.0
"""More than sbatch may take for a job (SBATCH_TIMEOUT_S)."""


@dataclass(frozen=True, slots=True)
class Closing:
    """How a command closes, and what it advises where it refuses.

    `replace` ends what works, `assume_dead` takes for dead what nobody here can tell. `to_replace` and
    `to_assume` are what to do to have that; "" where there is nothing.
    """

    replace: bool = False
    assume_dead: bool = False
    to_replace: str = "say --replace"
    to_assume: str = "say --assume-dead if you know that it is dead"

    @property
    def busy(self) -> str:
        """What to do while something works."""
        if not self.to_replace:
            return "Wait for it, or cancel it with `vllm-launch cancel`."
        return f"Wait for it, cancel it with `vllm-launch cancel`, or {self.to_replace}."


def close_newest(run: RunPaths, closing: Closing) -> tuple[int, tuple[str, ...]]:
    """Closes the newest submission, and one that a merge job was opening meanwhile; it, and who was assumed.

    Errors as of close_submission.
    """
    closed = 0
    dead: tuple[str, ...] = ()
    while (newest := list_submissions(run)[-1]) != closed:
        dead += close_submission(run, newest, closing)
        closed = newest
    return closed, dead


def close_submission(run: RunPaths, submission: int, closing: Closing) -> tuple[str, ...]:
    """Makes sure that nothing of the last submission works any more; who was only assumed to be dead.

    RunError while something is known to wait or work (unless `replace` ends it), and for what nobody here can
    tell, unless that is to be assumed dead; SchedulerError when Slurm does not answer.
    """
    _refuse_sender(run, submission, closing)
    if load_submission(run, submission).resources.scheduler is Scheduler.SLURM:
        _close_merge_before(run, submission, closing)
        return _close_on_slurm(run, submission, closing)
    if closing.replace:
        _stop_driver(run, submission)
    lives = last_lives(run, submission, None, can_ask=False)
    silent = [
        life
        for life in lives
        if closing.assume_dead and life.life is Life.ALIVE and _is_silent_elsewhere(life)
    ]
    _refuse_alive(run, submission, [life for life in lives if life not in silent], closing)
    _refuse_driver(run, submission, closing)
    return _assume([life.name for life in silent])


def _refuse_sender(run: RunPaths, submission: int, closing: Closing) -> None:
    """RunError while another process sends the submission: nothing of it may be in the queue yet.

    One of another host is taken to live for 5 minutes after its last word, unless it is to be assumed dead.
    """
    sender, jobs = run.submission(submission).sender, run.submission(submission).jobs
    mark = read_mark(read_json(sender))
    if mark is None or mark.is_gone or mark == mark_process():
        return
    what_to_do = "Wait for it, or end that process"
    if not mark.is_here:
        last_word = max(_modified(sender), _modified(jobs))
        if closing.assume_dead or filesystem_now(run.root) - last_word > SENDER_DEAD_S:
            return
        what_to_do = f"Wait for it, or {closing.to_assume}"
    raise RunError(
        f"{run.root}: submission {submission} is being sent by process {mark.pid} on"
        f" {log_line(mark.host, 100)}. {what_to_do}."
    )


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # not yet, or no more
        return 0.0


def _close_merge_before(run: RunPaths, submission: int, closing: Closing) -> None:
    """Makes sure that no merge job of the submission before works: it may be sending this one."""
    before = submission - 1
    if before not in list_submissions(run):
        return
    if load_submission(run, before).resources.scheduler is not Scheduler.SLURM:
        return
    _, rows = _ask(run, before, closing)
    if not open_rows(rows):
        return
    if not closing.replace:
        raise _still_queued(run, before, open_rows(rows), closing)
    cancel_submission(run, before)
    _wait_until_gone(run, before)


def _still_queued(run: RunPaths, submission: int, rows: Sequence[QueueRow], closing: Closing) -> RunError:
    states = ", ".join(f"{row.name} {row.state}" for row in rows[:3])
    return RunError(
        f"{run.root}: submission {submission} still has {len(rows)} jobs or tasks in the queue ({states})."
        f" {closing.busy}"
    )


def _close_on_slurm(run: RunPaths, submission: int, closing: Closing) -> tuple[str, ...]:
    answer, rows = _ask(run, submission, closing)
    waiting = open_rows(rows)
    if waiting and not closing.replace:
        raise _still_queued(run, submission, waiting, closing)
    if waiting:
        cancel_submission(run, submission)
        _wait_until_gone(run, submission)
        answer, _ = _ask(run, submission, closing)
    lives = last_lives(run, submission, answer, can_ask=True)
    _refuse_alive(run, submission, lives, closing)
    unknown = [life.name for life in lives if life.life is Life.UNKNOWN]
    unknown += _jobs_elsewhere(run, submission, answer)
    if unknown and not closing.assume_dead:
        where = f"cluster {answer.cluster}" if answer.cluster else "no cluster of a known name"
        raise RunError(
            f"{run.root}: nobody here ({where}) can tell whether submission {submission} still works:"
            f" {_named(unknown)}. Do it on the cluster that runs it, or {closing.to_assume}."
        )
    return _assume(unknown)


def _ask(run: RunPaths, submission: int, closing: Closing) -> tuple[QueueAnswer, list[QueueRow]]:
    """Asks Slurm now: a person who has just cancelled a job does not want an answer 30 s old."""
    asked = filesystem_now(run.root)
    jobs: Sequence[str] = ()
    rows: list[QueueRow] = []
    error = None
    try:
        sent, rows = queue_of(run, submission)
        jobs = [job.job_id for job in sent]
    except SchedulerError as refused:
        if not closing.assume_dead:
            raise SchedulerError(f"{refused} Or {closing.to_assume}.") from None
        error = str(refused)
    states = tuple(JobRow(row.job_id, row.array_task, row.state, row.end_time) for row in rows)
    cluster = None if error else cluster_name()
    answer = QueueAnswer(0, asked, socket.gethostname(), os.getuid(), cluster, tuple(jobs), error, states)
    return answer, rows


def _jobs_elsewhere(run: RunPaths, submission: int, answer: QueueAnswer) -> list[str]:
    """Jobs that another controller may still hold: sent to it, and some of their tasks may yet begin."""
    rows = read_journal(run.submission(submission).jobs, **JOB_FIELDS)
    sent = {row["name"]: row for row in rows if row["size"]}
    listed = {row.job for row in answer.rows}
    return [
        f"job {row['job_id']} sent to cluster {row['cluster']}"
        for row in sent.values()
        if row.get("job_id") not in {None, *listed}
        and row.get("cluster") not in {None, answer.cluster}
        and not all(
            _is_finished(run, submission, task) for task in range(row["offset"], row["offset"] + row["size"])
        )
    ]


def _is_finished(run: RunPaths, submission: int, task: int) -> bool:
    """Whether a task has ended and does not ask to be continued."""
    attempts = list_attempts(run, submission, task)
    ended = read_ended(run.attempt(submission, task, attempts[-1])) if attempts else None
    return ended is not None and ended["code"] != ExitCode.CONTINUE


def _is_silent_elsewhere(life: AttemptLife) -> bool:
    """On another host, and four beats late: not known to live."""
    return life.signs.host != socket.gethostname() and life.signs.beat_age_s >= HEARTBEAT_FRESH_S


def _refuse_alive(run: RunPaths, submission: int, lives: Sequence[AttemptLife], closing: Closing) -> None:
    alive = [life for life in lives if life.life is Life.ALIVE]
    if alive:
        tasks = ", ".join(str(life.task) for life in alive[:NUM_NAMED])
        raise RunError(f"{run.root}: submission {submission} still works on task {tasks}. {closing.busy}")


def _refuse_driver(run: RunPaths, submission: int, closing: Closing) -> None:
    """RunError while a process of this machine drives a submission: it may be between two tasks.

    Not for this process itself, nor for torchrun, which starts its workers again.
    """
    driver = find_driver(run, submission)
    if driver is not None and driver not in [psutil.Process(), *psutil.Process().parents()]:
        raise RunError(
            f"{run.root}: process {driver.pid} still works on submission {submission}. {closing.busy}"
        )


def _assume(dead: list[str]) -> tuple[str, ...]:
    if dead:
        click.echo(f"note: assumed dead, as you say: {_named(dead)}", err=True)
    return tuple(dead)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more


def _stop_driver(run: RunPaths, submission: int) -> None:
    """Tells the process on this machine that drives a submission to stop, and waits until it has."""
    driver = find_driver(run, submission)
    if driver is not None:
        driver.terminate()
        psutil.wait_procs([driver], timeout=CANCEL_WAIT_S)


def _wait_until_gone(run: RunPaths, submission: int) -> None:
    """Returns when the queue holds none of the submission's jobs any more."""
    for _ in range(CANCEL_WAIT_S // CANCEL_POLL_S):
        if not open_rows(queue_of(run, submission)[1]):
            return
        time.sleep(CANCEL_POLL_S)
    raise SchedulerError(
        f"{run.root}: submission {submission} was cancelled {CANCEL_WAIT_S} s ago and is still in the queue."
        " Look at it with squeue."
    )
