"""`vllm-launch verify`: a published directory against its manifest, or every result line of a run."""

from pathlib import Path

import click

from launch.cli.publishing import said_of
from launch.cli.runs import find_run
from launch.collect.manifest import MANIFEST
from launch.collect.verify import verify_published
from launch.collect.verify_run import verify_run
from launch.errors import ExitCode


@click.command("verify", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="DIR|RUN")
def command(name: str) -> int:
    """Check a published directory, or a run.

    A directory: every file by size and sha256, none missing, none added. A run: every result line, and what
    is published of it. Exit code 3 when something differs.
    """
    if (Path(name) / MANIFEST).is_file():
        report = verify_published(Path(name))
        problems, sound = report.problems, f"{len(report.manifest.files)} files as published"
        sound += said_of(report.manifest)
    else:
        checked = verify_run(find_run(name))
        problems, sound = checked.problems, f"{checked.tally.num_done} items, every line sound"
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        return ExitCode.INCOMPLETE
    click.echo(f"{name}: {sound}")
    return ExitCode.OK
