"""`vllm-launch watch`: where a run stands, again and again until it ends."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from launch.cli.keys import single_keys, wait_for_key
from launch.cli.runs import find_run
from launch.cli.status import Seen, look
from launch.collect.queue_look import QUIET_S
from launch.collect.status_view import MAX_ROWS, failure_lines, render
from launch.collect.status_words import is_published, is_working, next_step, state_line
from launch.collect.survey import Survey
from launch.errors import ExitCode
from launch.rundir.layout import RunPaths

COST_FACTOR = 4
"""Looking takes a fifth of the time at most: large runs and slow disks are looked at more rarely."""
AROUND_TASKS = 26
"""Lines of a view that are no rows of tasks."""


class End:
    """Knows when a run is over: published, its driver gone, or nothing has worked on it for QUIET_S."""

    def __init__(self) -> None:
        self._quiet_since: float | None = None

    def is_reached(self, seen: Seen) -> bool:
        """Takes a look; whether there is nothing more to wait for."""
        if is_published(seen.status):
            return True
        if is_working(seen.status):
            self._quiet_since = None
            return False
        if seen.status.submissions and seen.status.submissions[-1].driver_lives is False:
            return True
        self._quiet_since = time.monotonic() if self._quiet_since is None else self._quiet_since
        return time.monotonic() - self._quiet_since >= QUIET_S


@click.command("watch", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.5),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks; more where a look takes long.",
)
def command(run_name: str, interval: float) -> int:
    """Where a run stands, until it ends; q or Ctrl-C leaves, and the run goes on.

    Slurm is asked at most once in 30 s. Where the output is no terminal, a line is printed when something has
    changed. Exit code 0 when the run is published or was left, 3 when it ended otherwise.
    """
    run = find_run(run_name)
    console = Console()
    try:
        with _stopped_by_term():
            seen = _on_terminal(run, console, interval) if console.is_terminal else _in_lines(run, interval)
    except KeyboardInterrupt:
        return ExitCode.OK
    if seen is None:
        return ExitCode.OK
    click.echo(next_step(seen.status))
    return ExitCode.OK if is_published(seen.status) else ExitCode.INCOMPLETE


def _on_terminal(run: RunPaths, console: Console, interval: float) -> Seen | None:
    """The view, drawn over itself; None when it was left."""

    def view(seen: Seen, *, last: bool = False) -> RenderableType:
        rows = MAX_ROWS if last else max(3, console.height - AROUND_TASKS)
        shown = render(seen.status, width=console.width, max_rows=rows)
        failures = [Text(line) for line in failure_lines(seen.failures, console.width)]
        note = [] if seen.note is None else [Text(f"note: {seen.note}", style="yellow")]
        foot = [] if last else [Text(f"{next_step(seen.status)}\nq leaves; the run goes on", style="dim")]
        return Group(*note, shown, *failures, *foot)

    end, survey = End(), Survey(run)
    with single_keys() as has_keys, Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            began = time.monotonic()
            seen = look(run, survey)
            if end.is_reached(seen):
                break
            live.update(view(seen), refresh=True)
            pause = max(interval, COST_FACTOR * (time.monotonic() - began))
            if wait_for_key("qQ", pause, has_keys=has_keys):
                return None
    console.print(view(seen, last=True))
    return seen


def _in_lines(run: RunPaths, interval: float) -> Seen:
    """A line for each change."""
    end, survey, line, note = End(), Survey(run), "", None
    while True:
        began = time.monotonic()
        seen = look(run, survey)
        if seen.note != note and seen.note is not None:
            click.echo(f"note: {seen.note}", err=True)
        note = seen.note
        if state_line(seen.status) != line:
            line = state_line(seen.status)
            click.echo(f"{time.strftime('%H:%M:%S')} {line}")
        if end.is_reached(seen):
            return seen
        time.sleep(max(interval, COST_FACTOR * (time.monotonic() - began)))


@contextmanager
def _stopped_by_term() -> Iterator[None]:
    """A TERM leaves as Ctrl-C does, with the terminal as it was."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
