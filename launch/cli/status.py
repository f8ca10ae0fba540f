"""`vllm-launch status`: where a run stands."""

from dataclasses import dataclass

import click
from rich.console import Console

from launch.cli.runs import find_run, logs_dir
from launch.collect.failure_notes import FailureNote, failure_notes
from launch.collect.moved import moved_words
from launch.collect.queue_look import look_at_queue
from launch.collect.status import status
from launch.collect.status_record import RunStatus
from launch.collect.status_view import MAX_ROWS, as_json, failure_lines, render
from launch.collect.status_words import next_step
from launch.collect.survey import Survey
from launch.config.wording import json_text, log_line
from launch.errors import ExitCode
from launch.rundir.layout import RunPaths

SOURCE = "What follows is from files alone."


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a run; `note` says why Slurm's queue had no part in it, or an old one, where it should."""

    status: RunStatus
    failures: list[FailureNote]
    note: str | None


@click.command("status", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
@click.option("--all", "every", is_flag=True, help="A row for every task.")
@click.option("--json", "as_text", is_flag=True, help="The same as JSON.")
def command(run_name: str, every: bool, as_text: bool) -> int:
    """Where a run stands: items settled, pace, tasks (worst first), what failed and why, what to do next.

    Slurm is asked at most once in 30 s, however many look, and waited for 1.5 s; the exit code is 0 whatever
    the state.
    """
    run = find_run(run_name)
    seen = look(run)
    if seen.note is not None:
        click.echo(f"note: {seen.note}", err=True)
    moved = moved_words(run)
    if moved is not None:
        click.echo(f"note: {moved}", err=True)
    if as_text:
        click.echo(json_text(as_json(seen.status, seen.failures)))
        return ExitCode.OK
    console = Console()
    rows = None if every else MAX_ROWS
    console.print(render(seen.status, width=console.width, max_rows=rows))
    for line in failure_lines(seen.failures, console.width):
        click.echo(line)
    click.echo(next_step(seen.status))
    return ExitCode.OK


def look(run: RunPaths, survey: Survey | None = None) -> Seen:
    """Where a run stands now, by its files and by Slurm's queue as of at most 30 s ago.

    Who looks again keeps a `survey`.
    """
    queue, note = look_at_queue(run)
    found = status(run, queue, survey)
    if note is not None:
        note = log_line(note if queue is not None else f"{note} {SOURCE}")
    return Seen(found, failure_notes(run, found, logs_dir(run)), note)
