"""Merges a run and says what came of it."""


import click

from launch.collect.merge import merge
from launch.errors import ExitCode
from launch.rundir.layout import RunPaths


def merge_and_tell(run: RunPaths) -> int:
    """Merges and publishes; IncompleteError when items are missing."""
    published = merge(run)
    click.echo(f"published {published.output_dir}")
    return ExitCode.OK
