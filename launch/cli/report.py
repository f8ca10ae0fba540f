"""`vllm-launch report`: the leaderboard of published directories, from the directories alone."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from launch.cli.options import GivenPath
from launch.cli.pages import said_of
from launch.collect.leaderboard.folder import directories_in
from launch.collect.leaderboard.record import INDEX, LEADERBOARD
from launch.collect.leaderboard.write import write_leaderboard
from launch.collect.manifest import GENERATIONS_FILE, MANIFEST, RUN_PAGE_FILE
from launch.collect.run_page.write import write_run_page
from launch.config.wording import printable
from launch.errors import ExitCode, LaunchError, RunError

FOLDER = Path("outputs/leaderboards")


@click.command("report", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directories", metavar="[DIR]...", nargs=-1, type=GivenPath())
@click.option("--out", metavar="FOLDER", type=GivenPath(), help="One leaderboard of all of them, in FOLDER.")
def command(directories: Sequence[Path], out: Path | None) -> int:
    """Make the leaderboard (index.html, leaderboard.csv, leaderboard.json) and run pages (run.html) again.

    DIR is a folder of published directories (outputs/leaderboards unless given), or one of them, which stands
    for its folder. It may have been copied from elsewhere: nothing else is read. The same directories give
    the same bytes. A directory that was copied without its results keeps the page that it has.
    """
    given = [each.absolute() for each in directories or (FOLDER,)]
    for each in given:
        if not each.is_dir():
            raise RunError(
                f"{each}: no directory here. Give a folder of published directories, or one of them."
            )
    _refuse_without(given)
    if out is None:
        for folder in dict.fromkeys(each.parent if is_published(each) else each for each in given):
            _write_run_pages(directories_in(folder))
            write_and_tell(folder, None)
    else:
        if os.path.lexists(out) and not out.is_dir():
            raise RunError(f"{out}: is no folder, nor a link to one. Choose another --out.")
        write_and_tell(out.absolute(), list(dict.fromkeys(_published_in(given))))
    return ExitCode.OK


def _refuse_without(given: Iterable[Path]) -> None:
    """RunError for a folder of which there is nothing to tell: pages there would be beside other things.

    One that has a leaderboard may have lost its last published directory.
    """
    for each in given:
        if is_published(each) or (each / LEADERBOARD).is_file():
            continue
        if not any(_may_be_published(directory) for directory in directories_in(each)):
            raise RunError(
                f"{each}: no published directory here; nothing was written. Give a folder of published"
                " directories, or one of them."
            )


def _may_be_published(directory: Path) -> bool:
    try:
        return is_published(directory)
    except OSError:  # it may not be looked into: it is left out, and named
        return True


def is_published(directory: Path) -> bool:
    """Whether it is a published directory, and no folder of them."""
    return (directory / MANIFEST).is_file()


def _published_in(given: Iterable[Path]) -> Iterable[Path]:
    for each in given:
        yield from [each] if is_published(each) else directories_in(each)


def _write_run_pages(directories: Iterable[Path]) -> None:
    """The page of each published directory that has its results; what cannot be made is a note."""
    num_written = 0
    for directory in directories:
        try:
            if is_published(directory) and (directory / GENERATIONS_FILE).is_file():
                write_run_page(directory, None)
                num_written += 1
        except (LaunchError, OSError) as error:
            click.echo(f"note: no run page: {error}", err=True)
    if num_written:
        click.echo(f"{'pages':<12}{num_written:,} {RUN_PAGE_FILE}")


def write_and_tell(folder: Path, directories: Sequence[Path] | None) -> None:
    """Writes the leaderboard of a folder, and names what it left out."""
    leaderboard = write_leaderboard(folder, directories)
    for each in leaderboard.left_out:
        click.echo(f"note: {printable(each.directory)}: {each.why}", err=True)
    for entry in leaderboard.entries:
        for note in entry.notes:
            click.echo(f"note: {printable(entry.directory)}: {note}", err=True)
    click.echo(f"{'leaderboard':<12}{folder / INDEX}: {said_of(leaderboard)}")
