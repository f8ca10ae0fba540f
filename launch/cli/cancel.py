"""`vllm-launch cancel`: ends what works on a run; nothing that is settled is lost."""

import time

import click

from launch.cli.runs import find_driver, find_run
from launch.config.schema import Scheduler
from launch.config.wording import log_line
from launch.errors import ExitCode, SchedulerError
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_submission
from launch.slurm.liveness import Life, last_lives
from launch.slurm.submission import SentJob, cancel_submission

LOOK_AGAIN_S = 1


@click.command("cancel", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
def command(run_name: str) -> int:
    """Cancel a run's jobs, the merge job included."""
    run = find_run(run_name)
    stopped = sum(_stop_here(run, submission) for submission in _newest_first(run, Scheduler.NONE))
    if not stopped + _cancel_jobs(run):
        click.echo("nothing of this run is queued or running")
    return ExitCode.OK


def _newest_first(run: RunPaths, scheduler: Scheduler) -> list[int]:
    """The submissions that were sent there; the newest is the one that may work."""
    submissions = reversed(list_submissions(run))
    return [each for each in submissions if load_submission(run, each).resources.scheduler is scheduler]


def _cancel_jobs(run: RunPaths) -> int:
    """Cancels what Slurm has of any submission and says so; how many jobs.

    It looks again until nothing new appears: a merge job may have been sending the next submission. Where
    Slurm did not answer about one the others are cancelled, then SchedulerError is raised.
    """
    cancelled: dict[str, SentJob] = {}
    while True:
        found, errors = _cancel_once(run)
        new = [job for job in found if job.job_id not in cancelled]
        for job in new:
            click.echo(f"cancelled {job.job_id} {job.job_name}")
            cancelled[job.job_id] = job
        if not new:
            break
        time.sleep(LOOK_AGAIN_S)
    if errors:
        raise errors[0]
    return len(cancelled)


def _cancel_once(run: RunPaths) -> tuple[list[SentJob], list[SchedulerError]]:
    found: list[SentJob] = []
    errors: list[SchedulerError] = []
    for submission in _newest_first(run, Scheduler.SLURM):
        try:
            found += cancel_submission(run, submission)
        except SchedulerError as error:
            errors.append(error)
    return found, errors


def _stop_here(run: RunPaths, submission: int) -> int:
    """Tells the submit that drives the tasks on this machine to stop; 1 when there was one."""
    driver = find_driver(run, submission)
    if driver is None:
        lives = last_lives(run, submission, None, can_ask=False)
        hosts = sorted({life.signs.host or "a host unknown" for life in lives if life.life is Life.ALIVE})
        if hosts:
            click.echo(f"tasks seem to run on {log_line(', '.join(hosts))}: cancel them there", err=True)
        return 0
    driver.terminate()
    click.echo(f"told the submit in process {driver.pid} to stop; its tasks finish what they can in 20 s")
    return 1
