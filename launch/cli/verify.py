"""`vllm-launch verify`: a published directory against its manifest."""

from pathlib import Path

import click

from launch.collect.verify import verify_published
from launch.errors import ExitCode


@click.command("verify", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", type=click.Path(path_type=Path))
def command(directory: Path) -> int:
    """Check a published directory: every file by size and sha256, none missing, none added."""
    report = verify_published(directory)
    for problem in report.problems:
        click.echo(problem, err=True)
    if report.problems:
        return ExitCode.INCOMPLETE
    click.echo(f"{directory}: {len(report.manifest.files)} files as published")
    return ExitCode.OK
