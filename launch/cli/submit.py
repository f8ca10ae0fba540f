"""`vllm-launch submit`: its flags. The work is in new_run.py, imported on call, so that --help stays fast."""

import importlib
from pathlib import Path
from typing import Any

import click

from launch.cli.options import GivenPath, setting_options


@click.command("submit", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--preset", required=True, metavar="NAME", help="What to run: a name or a YAML file.")
@click.option(
    "--cluster", metavar="NAME", help="Where to run: a name or a YAML file; found out unless given."
)
@click.option("--name", metavar="NAME", help="Of the run and its directories; made up unless given.")
@click.option("--data-root", type=GivenPath(), help="Directory that holds the datasets.")
@click.option(
    "--runs-dir",
    type=GivenPath(),
    default=Path("outputs/runs"),
    show_default=True,
    help="Where run directories are made.",
)
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting, such as engine.dtype=auto."
)
@click.option("--print-config", is_flag=True, help="Show every setting and where it comes from; do nothing.")
@click.option("--dry-run", is_flag=True, help="Write the run, show plan and sbatch text; start nothing.")
@click.option("--foreground", is_flag=True, help="With Slurm: wait until the run is published.")
@setting_options
def command(**flags: Any) -> int:
    """Plan a run and generate it: on Slurm, or on this machine.

    Settings come from the preset, the cluster file, flags and --set; the last one wins.
    """
    return int(importlib.import_module("launch.cli.new_run").submit(flags))
