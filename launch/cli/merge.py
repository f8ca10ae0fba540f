"""`vllm-launch merge`: checks a run's results and publishes them; the merge job does this by itself."""

import click

from launch.cli.follow_up import follow_up
from launch.cli.publishing import merge_and_tell, merge_when_free
from launch.cli.runs import find_run
from launch.errors import ExitCode


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
def command(run_name: str, after: int | None, round_: int, assume_dead: bool) -> int:
    """Check a run's results and publish them.

    Exit code 3 when items are missing or failed beyond what the run allows: they are named and nothing is
    published; 75 when missing items were sent again.
    """
    run = find_run(run_name)
    if after is None:
        return merge_and_tell(run, assume_dead=assume_dead)
    return ExitCode.CONTINUE if follow_up(run, after, round_) else merge_when_free(run)
