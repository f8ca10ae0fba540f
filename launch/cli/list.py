"""`vllm-launch list`: the runs there are."""

from dataclasses import asdict
from pathlib import Path

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch.cli.options import GivenPath
from launch.cli.runs import RUNS_DIR
from launch.collect.run_list import RunLine, list_runs
from launch.config.wording import duration, json_text, printable
from launch.errors import ExitCode

DROPPED_FIRST = ("dataset", "preset", "age")
"""Columns that are left out, in this order, where a terminal is too narrow for a run's name beside them."""
FOLDED = {"preset": 10, "dataset": 10, "state": 10}
"""Columns that may be folded, and to what width."""
COUNTS = ("items", "age")
GAP = 2
"""Blanks between two columns, and as many at the edges of box.SIMPLE_HEAD."""


@click.command("list", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="[DIR]", default=RUNS_DIR, type=GivenPath())
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
    """A name of a run is always whole and in one line; where the output is no terminal, so is everything."""
    rows = [_cells(line) for line in lines]
    console = Console()
    names = list(rows[0])
    if console.is_terminal:
        for name in DROPPED_FIRST:
            if _width(names, rows, folded=True) > console.width:
                names.remove(name)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False)
    for name in names:
        if name in FOLDED:
            table.add_column(name, overflow="fold", min_width=_column(name, rows, folded=True))
        else:
            table.add_column(
                name,
                justify="right" if name in COUNTS else "left",
                no_wrap=True,
                min_width=_column(name, rows),
            )
    for row in rows:
        table.add_row(*(Text(row[name]) for name in names))
    least = _width(names, rows, folded=console.is_terminal)
    Console(width=max(console.width, least)).print(table)


def _cells(line: RunLine) -> dict[str, str]:
    """What stands in each column."""
    failed = f" -{line.num_failed:,}" if line.num_failed else ""
    return {
        "run": line.run_id,
        "preset": line.preset,
        "dataset": line.dataset,
        "state": ", ".join([line.state.value, *line.marks]),
        "items": f"{line.num_done:,}/{line.num_items:,}{failed}",
        "age": duration(line.age_s) if line.age_s is not None else "",
    }


def _width(names: list[str], rows: list[dict[str, str]], *, folded: bool) -> int:
    """Of a table with these columns, as narrow as they can be."""
    return sum(_column(name, rows, folded=folded) for name in names) + GAP * len(names)


def _column(name: str, rows: list[dict[str, str]], *, folded: bool = False) -> int:
    """The width of a column; `folded`, at most what its words fold to."""
    widest = max(cell_len(text) for text in (name, *(row[name] for row in rows)))
    return min(widest, FOLDED[name]) if folded and name in FOLDED else widest
