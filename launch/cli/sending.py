"""What submit and resume share: open a submission, show its plan, send it to Slurm or drive it here."""

import time
from dataclasses import dataclass

import click

from launch.cli.driving import run_tasks_here, tasks_here
from launch.cli.place import find_place
from launch.cli.plan_table import show_plan
from launch.cli.publish_settings import check_publishing
from launch.cli.publishing import merge_and_tell
from launch.cli.runs import logs_dir
from launch.config.schema import RunConfig, Scheduler
from launch.errors import ExitCode
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import mark_process
from launch.rundir.records import list_submissions, load_run, load_submission, save_record
from launch.rundir.submissions import Opened, Opening, end_sending, open_submission
from launch.slurm.commands import commands_missing
from launch.slurm.executors import NotSentError
from launch.slurm.shared_queue import has_squeue, share_answer
from launch.slurm.states import JobPhase, job_phase
from launch.slurm.submission import (
    SentJob,
    command_arguments,
    forget_refused,
    send_submission,
    write_jobs,
)

FOLLOW_PERIOD_S = 10


@dataclass(frozen=True, slots=True)
class Sending:
    """How to send: `dry_run` starts nothing, `foreground` waits for Slurm; merge jobs send rounds from 1.

    `after` is the submission before, which was closed, and `assumed_dead` what of it was only assumed to be
    dead.
    """

    dry_run: bool = False
    foreground: bool = False
    retry_failed: bool = False
    round: int = 0
    assumed_dead: tuple[str, ...] = ()
    after: int | None = None

    @property
    def opening(self) -> Opening:
        """Who opens the submission: this process, which sends it next."""
        return Opening(self.after, None if self.dry_run else mark_process())


def open_and_show(run: RunPaths, config: RunConfig, sending: Sending) -> Opened:
    """Opens a submission of what is missing and prints its plan."""
    record = load_run(run)
    publish = check_publishing(run, config.publish)
    place = find_place(run, record, config)
    opened = open_submission(
        run,
        config.model_copy(update={"publish": publish}),
        place,
        retry_failed=sending.retry_failed,
        number_of_round=sending.round,
        opening=sending.opening,
    )
    if sending.assumed_dead:
        sent = load_submission(run, opened.submission)
        kept = sent.model_copy(update={"assumed_dead": sending.assumed_dead})
        save_record(run.submission(opened.submission).submission_yaml, kept)
    show_plan(run, opened)
    return opened


def send(run: RunPaths, opened: Opened, sending: Sending) -> int:
    """Sends an opened submission; with Slurm it returns at once unless in the foreground."""
    sent = load_submission(run, opened.submission)
    if sent.resources.scheduler is Scheduler.SLURM:
        return _send_to_slurm(run, opened.submission, sending)
    if sending.dry_run:
        click.echo("dry run: nothing was started")
        return ExitCode.OK
    run_tasks_here(tasks_here(run, opened.submission))
    return merge_and_tell(run)


def _send_to_slurm(run: RunPaths, submission: int, sending: Sending) -> int:
    logs = logs_dir(run)
    if sending.dry_run:
        for job in write_jobs(run, submission):
            after = [f"<{name}>" for name in job.after]  # they have no ids yet
            words = " ".join(["sbatch", *command_arguments(job, logs, run, after)])
            click.echo(f"\n--- {job.name}.sbatch, sent by: {words}\n{job.text}")
        click.echo("dry run: nothing was sent")
        return ExitCode.OK
    for sent in send_marked(run, submission):
        what = (
            f"tasks {sent.offset} to {sent.offset + sent.size - 1}" if sent.size else "merge, after them all"
        )
        what += f", follow-up {sent.round}" if sent.round else ""
        click.echo(f"{'job':<12}{sent.job_id}: {what}")
    click.echo(f"{'logs':<12}{logs}")
    click.echo(f"next: vllm-launch status {run.root}")
    return _follow(run, submission) if sending.foreground else ExitCode.OK


def send_marked(run: RunPaths, submission: int) -> list[SentJob]:
    """Sends the jobs of a submission whose sender this process is, which it is no longer afterwards."""
    try:
        return send_submission(run, submission, logs_dir(run))
    except NotSentError:
        forget_refused(run.submission(submission))
        raise
    finally:
        end_sending(run.submission(submission))


def _follow(run: RunPaths, submission: int) -> int:
    """Waits until no job of the submission is left, nor of those that merge jobs sent after it.

    The exit code says whether the run was published.
    """
    while True:
        while _is_open(run, submission):
            time.sleep(FOLLOW_PERIOD_S)
        newest = list_submissions(run)[-1]
        if newest == submission:
            return merge_and_tell(run)
        click.echo(f"{'round':<12}submission {newest} generates what was missing")
        submission = newest


def _is_open(run: RunPaths, submission: int) -> bool:
    """Whether Slurm still has a job of a submission, by the answer that its tasks share.

    An error says nothing; SchedulerError where there is no squeue to ask.
    """
    answer = share_answer(run.submission(submission))
    if not has_squeue():
        raise commands_missing("squeue")
    if answer is None or answer.error is not None:
        return True
    return any(job_phase(row.state) is not JobPhase.ENDED for row in answer.rows)
