"""`vllm-launch merge`: checks a run's results and publishes them; the merge job does this by itself."""

from typing import Any

import click

from launch.cli.follow_up import follow_up
from launch.cli.publish_settings import gives_output_dir, publish_options, take_flags
from launch.cli.publishing import merge_and_tell, merge_when_free
from launch.cli.runs import find_run
from launch.collect.damage import read_damage
from launch.collect.moved import refuse_moved
from launch.collect.unseen import wait_until_seen
from launch.errors import ExitCode, IncompleteError
from launch.rundir.layout import RunPaths


@click.command("merge", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
@click.option(
    "--after",
    type=click.IntRange(1),
    metavar="SUBMISSION",
    help="Said by this submission's merge job: what is missing for a reason that may pass is sent again.",
)
@click.option("--round", "round_", type=click.IntRange(0), default=0, hidden=True)
@click.option("--assume-dead", is_flag=True, help="Take an earlier merge for dead that nobody can ask about.")
@publish_options
def command(run_name: str, after: int | None, round_: int, assume_dead: bool, **flags: Any) -> int:
    """Check a run's results and publish them.

    How they are published may change: what is asked for here is kept for every later merge of the run.
    Exit code 3 when items are missing or failed beyond what the run allows: they are named and nothing is
    published; 75 when missing items were sent again.
    """
    run = find_run(run_name)
    take_flags(run, flags)
    if after is None:
        if not gives_output_dir(flags):
            refuse_moved(run)
        wait_until_seen(run, lambda text: click.echo(f"note: {text}", err=True))
        return merge_and_tell(run, assume_dead=assume_dead)
    return _merge_job(run, after, round_)


def _merge_job(run: RunPaths, submission: int, round_: int) -> int:
    """What a merge job does; when its merge finds lines that are damaged, those are missing items as well."""
    if follow_up(run, submission, round_):
        return ExitCode.CONTINUE
    known = read_damage(run)
    try:
        return merge_when_free(run)
    except IncompleteError:
        if read_damage(run) == known or not follow_up(run, submission, round_):
            raise
    return ExitCode.CONTINUE
