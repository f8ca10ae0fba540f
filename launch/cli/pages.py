"""Pages after publishing or scoring, made by themselves; what is published stays so, whatever fails."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from launch.collect.leaderboard.folder import holds_only_ours
from launch.collect.leaderboard.record import INDEX, Leaderboard
from launch.collect.leaderboard.write import write_leaderboard
from launch.collect.run_page.write import write_run_page
from launch.collect.verify import PublishedReport
from launch.errors import LaunchError
from launch.rundir.layout import RunPaths


def write_pages(
    output_dir: Path,
    run: RunPaths | None = None,
    report: PublishedReport | None = None,
    *,
    tell: bool = True,
) -> None:
    """Makes the page of a published directory and the leaderboard of the folder that holds it; says so.

    `run` is the run, where it is at hand: what its directory alone knows is then kept in timeline.json.
    `report` is the merge's, which has written or proved every file.
    """
    with _noted("run page"):
        page = write_run_page(output_dir, run, report)
        if tell:
            click.echo(f"{'page':<12}{page}")
    with _noted("leaderboard"):
        _write_leaderboard(output_dir.parent, tell=tell)


def _write_leaderboard(folder: Path, *, tell: bool) -> None:
    """Only in a folder that is for published directories.

    One who publishes into a project or a home does not ask for pages beside everything else there.
    """
    if not holds_only_ours(folder):
        return
    leaderboard = write_leaderboard(folder)
    if tell:
        click.echo(f"{'leaderboard':<12}{folder / INDEX}: {said_of(leaderboard)}")


@contextmanager
def _noted(what: str) -> Iterator[None]:
    """A failure is a note."""
    try:
        yield
    except LaunchError as error:
        click.echo(f"note: no {what}: {error}", err=True)
    except Exception as error:  # noqa: BLE001  a bug here is shown whole, and must not fail a merge job
        traceback.print_exception(error)
        click.echo(f"note: no {what}, for the reason above; the results are published.", err=True)


def said_of(leaderboard: Leaderboard) -> str:
    """How many runs stand in a leaderboard, and how many of them are ranked."""
    num_runs, num_ranked = len(leaderboard.entries), sum(bool(each.ranks) for each in leaderboard.entries)
    said = f"{num_runs:,} {'run' if num_runs == 1 else 'runs'}, {num_ranked:,} ranked"
    return said + (f", {len(leaderboard.left_out):,} left out" if leaderboard.left_out else "")
