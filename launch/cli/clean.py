"""`vllm-launch clean`: removes a run's directory once what is published of it is proven to be all of it."""

import errno
import secrets
import shutil
import tempfile
from glob import escape
from pathlib import Path

import click

from launch.cli.closing import Closing, close_submission
from launch.cli.runs import find_run
from launch.collect.foreign import foreign_in
from launch.collect.manifest import read_published
from launch.collect.merge import output_dir_of
from launch.collect.roomless_claim import RoomlessClaim
from launch.collect.verify_run import RunReport, verify_run
from launch.config.wording import printable
from launch.errors import ExitCode, IncompleteError, RunError, StorageError
from launch.model.weights import format_bytes
from launch.rundir.durable import fsync_directory
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_run, load_submission
from launch.rundir.storage_errors import storage_errors
from launch.rundir.submissions import never_submitted


@click.command("clean", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run_name", metavar="RUN")
@click.option("--dry-run", is_flag=True, help="Check, and say what would be removed.")
@click.option(
    "--assume-dead", is_flag=True, help="Take for dead what nobody here can tell (another cluster's jobs)."
)
def command(run_name: str, dry_run: bool, assume_dead: bool) -> int:
    """Remove a run's directory, its results included; the published directory and the logs stay.

    Only when every item is published: the published files are checked against their manifest, and every
    result line of the run against them. Exit code 3 when something is missing or differs: nothing is removed.
    Nor is it while the directory holds anything that is not of the run.
    """
    run = find_run(run_name)
    published = prove(run, assume_dead=assume_dead)
    size = format_bytes(sum(path.lstat().st_size for path in run.root.rglob("*") if path.is_file()))
    if dry_run:
        click.echo(f"would remove {run.root} ({size}); published and checked: {published}")
        return ExitCode.OK
    remove(run)
    click.echo(f"removed {run.root} ({size}); published and checked: {published}")
    return ExitCode.OK


def prove(run: RunPaths, *, assume_dead: bool = False) -> Path:
    """The published directory, when it is whole and holds all of the run; else an error says why not."""
    submissions = list_submissions(run)
    if not submissions:
        raise never_submitted(run)
    close_submission(run, submissions[-1], Closing(assume_dead=assume_dead, to_replace=""))
    output_dir = output_dir_of(run, load_submission(run, submissions[-1]).publish)
    if output_dir.is_relative_to(run.root):
        raise RunError(
            f"{output_dir}: lies in the run's own directory; nothing was removed. Move it away first."
        )
    manifest = read_published(output_dir)
    if manifest is None:
        raise IncompleteError(
            f"{run.root}: is not published in {output_dir}; nothing was removed. Publish it with"
            " `vllm-launch merge`."
        )
    if manifest.run_id != load_run(run).run_id:
        raise RunError(f"{output_dir}: holds run {manifest.run_id}'s results. Nothing was removed.")
    _refuse_foreign(run)
    report = _verify(run)
    problems = [*(report.published.problems if report.published else ()), *report.problems]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise IncompleteError(
            f"{run.root}: {printable(problems[0])}{more}; nothing was removed. Look at `vllm-launch verify`."
        )
    return output_dir


def _verify(run: RunPaths) -> RunReport:
    """The check of every result line; where the disk is full, with scratch files in a temporary directory."""
    try:
        return verify_run(run)
    except StorageError as error:
        if not _is_full(error):
            raise
    try:
        folder = Path(tempfile.mkdtemp(prefix="vllm-launch-"))
    except OSError as error:  # where no temporary directory has room it is "no usable one"
        raise _no_room(run) from error
    try:
        return verify_run(run, RoomlessClaim(run, folder / "scratch"))
    except StorageError as error:
        if not _is_full(error):
            raise
        raise _no_room(run) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _no_room(run: RunPaths) -> StorageError:
    return StorageError(
        f"{run.root}: its disk is full, and there is no room to check its results elsewhere; nothing was"
        " removed. Set TMPDIR to a directory with as much room as they take."
    )


def _is_full(error: StorageError) -> bool:
    """Whether it is room that lacks."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)


def _refuse_foreign(run: RunPaths) -> None:
    """RunError while the run's directory holds what is not of the run: nobody has checked that."""
    foreign = foreign_in(run)
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise RunError(
            f"{run.root}: holds {printable(foreign[0])}{more}, which is not of the run; nothing was removed."
            " Move it away first."
        )


def remove(run: RunPaths) -> None:
    """Takes the run's name away first, so that a kill leaves no half of a run under it.

    What an earlier one of that name left goes as well, where it can. StorageError names what this one leaves.
    """
    stem = f".{run.root.name}.removed"
    for leftover in run.root.parent.glob(f"{escape(stem)}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    going = run.root.with_name(f"{stem}-{secrets.token_hex(4)}")
    with storage_errors(run.root):
        run.root.rename(going)
        fsync_directory(going.parent)
    try:
        shutil.rmtree(going)
    except OSError as error:
        raise StorageError(
            f"{going}: what is left of {run.root.name}, which is removed, cannot be:"
            f" {str(error.strerror).lower()}. Remove it when no process has a file of it open."
        ) from error
