"""`vllm-launch list`: the runs there are."""

from dataclasses import asdict
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch.cli.runs import RUNS_DIR
from launch.collect.run_list import RunLine, list_runs
from launch.collect.status_words import duration
from launch.config.wording import json_text, printable
from launch.errors import ExitCode


@click.command("list", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="[DIR]", default=RUNS_DIR, type=click.Path(path_type=Path))
@click.option("--json", "as_text", is_flag=True, help="The same as JSON.")
def command(directory: Path, as_text: bool) -> int:
    """The runs in a directory (outputs/runs unless given), newest first; nothing is asked of Slurm."""
    lines = list_runs(directory)
    if as_text:
        click.echo(json_text([asdict(line) for line in lines]))
        return ExitCode.OK
    sound = [line for line in lines if line.trouble is None]
    if sound:
        _print(sound)
    for line in lines:
        if line.trouble is not None:
            click.echo(f"damaged: {line.run_id}: {line.trouble}")
    if not lines:
        click.echo(f"no run in {printable(str(directory))}")
    return ExitCode.OK


def _print(lines: list[RunLine]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("preset", overflow="fold")
    table.add_column("dataset", overflow="fold")
    table.add_column("state", overflow="fold")
    table.add_column("items", justify="right", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    for line in lines:
        state = ", ".join([line.state.value, *line.marks])
        failed = f" -{line.num_failed:,}" if line.num_failed else ""
        items = f"{line.num_done:,}/{line.num_items:,}{failed}"
        age = duration(line.age_s) if line.age_s is not None else ""
        table.add_row(*map(Text, (line.run_id, line.preset, line.dataset, state, items, age)))
    Console().print(table)
