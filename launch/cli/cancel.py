"""`vllm-launch cancel`: ends what works on a run; nothing that is settled is lost."""

import click

from launch.cli.runs import find_driver, find_run
from launch.config.schema import Scheduler
from launch.config.wording import log_line
from launch.errors import ExitCode
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_submission
from launch.slurm.liveness import Life, last_lives
from launch.slurm.submission import cancel_submission


@click.command("cancel", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
def command(run_name: str) -> int:
    """Cancel a run's jobs, the merge job included."""
    run = find_run(run_name)
    cancelled = 0
    for submission in list_submissions(run):
        if load_submission(run, submission).resources.scheduler is Scheduler.SLURM:
            for job in cancel_submission(run, submission):
                click.echo(f"cancelled {job.job_id} {job.job_name}")
                cancelled += 1
        else:
            cancelled += _stop_here(run, submission)
    if not cancelled:
        click.echo("nothing of this run is queued or running")
    return ExitCode.OK


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
