"""What a merge job does before it merges: items missing for a reason that may pass are tried again.

The merge job of a submission opens the next one and sends it, with a merge job of its own, so the chain goes
on unattended. Where nodes may not call sbatch the follow-ups were queued with the submission: the merge job
only says whether they are wanted, and tasks of one that is not end at once.
"""

import click

from launch.cli.sending import Sending, open_and_show, send, send_marked
from launch.collect.rounds import decide
from launch.collect.standing import read_standing
from launch.collect.unseen import wait_until_seen
from launch.errors import RunError, SchedulerError
from launch.rundir.identity import code_version
from launch.rundir.layout import RunPaths
from launch.rundir.records import SubmissionRecord, list_submissions, load_run, load_submission, run_config
from launch.rundir.rounds import add_round
from launch.rundir.submissions import begin_sending
from launch.slurm.accounting import list_jobs
from launch.slurm.commands import QueueRow
from launch.slurm.submission import (
    SentJob,
    cancel_submission,
    ids,
    open_rows,
    rows_of,
    sent_jobs,
)


def follow_up(run: RunPaths, submission: int, round_: int) -> bool:
    """Sees to it that missing items are tried again; True when they will be: nothing is published yet then.

    `round_` is that of the merge job among the follow-ups queued with the submission, 0 for its first one.
    False also when Slurm does not answer or refuses: what is missing is then named by the merge.
    """
    newest = max(list_submissions(run), default=submission)
    if newest != submission:
        return _finish_sending(run, submission, newest)
    sent = load_submission(run, submission)
    try:
        jobs, rows = _jobs_so_far(run, submission, round_)
    except SchedulerError as error:
        return _no_round(str(error))
    working = open_rows([row for row in rows if row.job_id in ids([job for job in jobs if job.size])])
    if working:
        return _no_round(f"{len(working)} tasks are in the queue again")
    wait_until_seen(run, _note, rows, round_)
    return _decide(run, sent, round_, rows)


def _jobs_so_far(run: RunPaths, submission: int, round_: int) -> tuple[list[SentJob], list[QueueRow]]:
    jobs = [job for job in sent_jobs(run.submission(submission)) if job.round <= round_]
    return jobs, rows_of(jobs, list_jobs(ids(jobs)))


def _decide(run: RunPaths, sent: SubmissionRecord, round_: int, rows: list[QueueRow]) -> bool:
    standing = read_standing(run, sent, round_, rows)
    if not standing.num_missing:
        return False
    decision = decide(standing)
    add_round(
        run,
        sent.submission,
        round_=standing.round,
        num_missing=standing.num_missing,
        sends=decision.sends,
        why=decision.why,
    )
    if not decision.sends:
        return _no_round(decision.why)
    click.echo(f"{'round':<12}{standing.round + 1} of {standing.max_rounds}: {decision.why}")
    if not sent.resources.sbatch_on_nodes:
        click.echo("the next follow-up is in the queue")
        return True
    return _send_round(run, sent)


def _send_round(run: RunPaths, sent: SubmissionRecord) -> bool:
    if sent.code != code_version():
        click.echo(
            "note: no further round: vllm-launch has changed since; `vllm-launch resume` goes on", err=True
        )
        return False
    newest = load_submission(run, sent.submission)  # a merge by hand may have kept another form meanwhile
    config = run_config(load_run(run), newest)
    sending = Sending(round=sent.round + 1, after=sent.submission)
    try:
        send(run, open_and_show(run, config, sending), sending)
    except (RunError, SchedulerError) as error:
        return _no_round(f"{error} Set resources.sbatch_on_nodes to false if nodes may not send jobs.")
    return True


def _finish_sending(run: RunPaths, submission: int, newest: int) -> bool:
    """A newer submission is at work, or was opened by this merge job before it was cut: it is sent now."""
    round_ = load_submission(run, newest).round
    mine = (submission + 1, load_submission(run, submission).round + 1) == (newest, round_)
    if mine and all(job.size for job in sent_jobs(run.submission(newest))):
        begin_sending(run.submission(newest))
        cancel_submission(run, newest)
        send_marked(run, newest)
    click.echo(f"note: submission {newest} generates what is missing; its merge job publishes", err=True)
    return True


def _no_round(why: str) -> bool:
    _note(f"no further round: {why}")
    return False


def _note(text: str) -> None:
    click.echo(f"note: {text}", err=True)
