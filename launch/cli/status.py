"""`vllm-launch status`: where a run stands."""

import click
import orjson
from rich.console import Console

from launch.cli.runs import find_run
from launch.collect.status import status
from launch.collect.status_view import as_json, render
from launch.config.schema import Scheduler
from launch.errors import ExitCode, SchedulerError
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_submission
from launch.slurm.commands import QueueRow
from launch.slurm.submission import queue_of


@click.command("status", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
@click.option("--json", "as_text", is_flag=True, help="The same as JSON.")
def command(run_name: str, as_text: bool) -> int:
    """Where a run stands: items settled, tasks, what to do next."""
    run = find_run(run_name)
    found = status(run, _queue(run))
    if as_text:
        click.echo(orjson.dumps(as_json(found), option=orjson.OPT_INDENT_2).decode())
    else:
        Console().print(render(found))
    return ExitCode.OK


def _queue(run: RunPaths) -> list[QueueRow] | None:
    """What Slurm says of the newest submission; None where it was not sent to Slurm or does not answer."""
    submissions = list_submissions(run)
    if not submissions:
        return None
    newest = submissions[-1]
    if load_submission(run, newest).resources.scheduler is not Scheduler.SLURM:
        return None
    try:
        return queue_of(run, newest)[1]
    except SchedulerError as error:
        click.echo(f"note: {error} What follows is from files alone.", err=True)
        return None
