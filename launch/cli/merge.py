"""`vllm-launch merge`: checks a run's results and publishes them; the merge job does this by itself."""

import click

from launch.cli.publishing import merge_and_tell
from launch.cli.runs import find_run


@click.command("merge", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
@click.option("--assume-dead", is_flag=True, help="Take an earlier merge for dead that nobody can ask about.")
def command(run_name: str, assume_dead: bool) -> int:
    """Check a run's results and publish them.

    Exit code 3 when items are missing or failed beyond what the run allows: they are named and nothing is
    published.
    """
    return merge_and_tell(find_run(run_name), assume_dead=assume_dead)
