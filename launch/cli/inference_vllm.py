"""`python inference_vllm.py`: from a checkpoint and a dataset to a published directory, on this machine."""

import sys
from typing import Any

import click

from launch.cli.app import run_command
from launch.cli.broken_pipe import outlive_readers
from launch.cli.driving import note_idle_gpus
from launch.cli.publishing import merge_and_tell
from launch.cli.run_beside import open_here
from launch.cli.sending import Sending, send
from launch.cli.single_node import resolve_here, single_node_options
from launch.config.present import present
from launch.errors import ExitCode

PROGRAM = "inference_vllm.py"


@click.command(PROGRAM, context_settings={"help_option_names": ["-h", "--help"]})
@single_node_options
def command(**flags: Any) -> int:
    """Generate a dataset on this machine and publish it in OUTPUT_DIR.

    --checkpoint_dir, --dataset, --ablation_config and --output_dir are required; --tensor_parallel_size N
    takes N GPUs. Underscores and hyphens both work. Interrupted and started again, it continues.
    """
    resolved = resolve_here(flags, {})
    if flags["print_config"]:
        click.echo(present(resolved), nl=False)
        return ExitCode.OK
    work = open_here(resolved, flags)
    if work.opened is None:
        return merge_and_tell(work.run)
    note_idle_gpus(work.run, work.opened.submission)
    return send(work.run, work.opened, Sending(dry_run=flags["dry_run"]))


def main() -> None:
    """Runs the command line of this process."""
    outlive_readers()
    run_command(command, sys.argv[1:], PROGRAM)
