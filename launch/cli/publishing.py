"""Merges a run and says what came of it."""

import time
from shlex import quote
from typing import Any

import click

from launch.collect.last_published import note_published
from launch.collect.ledger.so_far import ledger_so_far
from launch.collect.ledger.view import ledger_line
from launch.collect.manifest import SUMMARY_FILE, Manifest
from launch.collect.merge import merge
from launch.collect.merge_claim import MergeBusyError
from launch.collect.user_files import ARCHIVE
from launch.errors import ExitCode, IncompleteError, StorageError
from launch.rundir.canary import read_canary
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run, load_submissions

BUSY_POLL_S = 3.0


def merge_and_tell(run: RunPaths, *, assume_dead: bool = False) -> int:
    """Merges and publishes, then scores and makes pages; the key figures are the last line.

    IncompleteError when items are missing and nothing was published; what it has cost is said all the same.
    """
    try:
        return _merge_and_tell(run, assume_dead=assume_dead)
    except KeyboardInterrupt:
        again = f"`vllm-launch merge {quote(str(run.root))}` publishes and scores it"
        click.echo(f"note: all that was generated is kept; {again}", err=True)
        raise


def _merge_and_tell(run: RunPaths, *, assume_dead: bool) -> int:
    # numpy and jinja2 templates, which a login node's submit spares
    from launch.cli.pages import write_pages  # noqa: PLC0415
    from launch.cli.scoring import score_and_tell  # noqa: PLC0415

    try:
        published = merge(run, assume_dead=assume_dead)
    except IncompleteError:
        spent = ledger_line(ledger_so_far(run, load_submissions(run, load_run(run))))
        if spent is not None:
            click.echo(f"{'ledger':<12}{spent}, so far")
        raise
    note_published(run, published.output_dir)
    manifest = published.manifest
    if not published.is_new:
        click.echo(f"nothing new since {manifest.published}")
    what = f"{manifest.num_done:,} of {manifest.num_items:,} items done"
    if not manifest.complete:
        what += f", {manifest.num_failed} failed, {manifest.num_missing} missing: marked in every file"
    click.echo(f"{'published':<12}{published.output_dir}: {what}{said_of(manifest)}")
    if ARCHIVE in manifest.files:
        num_users = manifest.files[ARCHIVE].lines
        apart = f"`vllm-launch merge {quote(str(run.root))} --user-files files` has them apart"
        click.echo(f"{'users':<12}{ARCHIVE}: {num_users:,} files; {apart}")
    summary = read_json(published.output_dir / SUMMARY_FILE) or {}
    figures, gpu_hours = _figures(summary), ledger_line(summary["ledger"]) if "ledger" in summary else None
    _tell_of_canary(run)
    score_and_tell(run, published.report)
    if gpu_hours is not None:
        click.echo(f"{'ledger':<12}{gpu_hours}")
    write_pages(published.output_dir, run, published.report)
    click.echo(f"{'figures':<12}{figures}")
    return ExitCode.OK


def _tell_of_canary(run: RunPaths) -> None:
    try:
        canary = read_canary(run)
    except StorageError as error:
        click.echo(f"note: {error}", err=True)
        return
    if canary is not None and canary.found:
        click.echo(f"note: the canary found that {canary.sentence}", err=True)


def merge_when_free(run: RunPaths) -> int:
    """Merges and publishes as a job does, which nobody repeats: it waits for another merge to end.

    That one may have begun before the last results came, or have been lost with its node: its claim is then
    held to be alive until it is 15 minutes old. The job's time limit bounds the wait.
    """
    is_told = False
    while True:
        try:
            return merge_and_tell(run)
        except MergeBusyError as busy:
            if not is_told:
                click.echo(f"note: waits, because {busy}", err=True)
                is_told = True
        time.sleep(BUSY_POLL_S)


def said_of(manifest: Manifest) -> str:
    """What is said wherever a published run is shown: that it is limited, or from the stub."""
    said = ""
    if manifest.subset is not None:
        said += f"; limited to {manifest.subset.num_items:,} of {manifest.subset.of_items:,} items"
    return said + ("; texts of the stub engine, not of a model" if manifest.stub else "")


def partial_of(manifest: Manifest) -> str:
    """What is said of a publication that does not hold every item; nothing of one that does."""
    if manifest.complete:
        return ""
    failed = f", {manifest.num_failed:,} failed" if manifest.num_failed else ""
    return f"; partial: {manifest.num_missing:,} of {manifest.num_items:,} items missing{failed}"


def _figures(summary: dict[str, Any]) -> str:
    """The key figures of a summary in one line."""
    seconds = summary["inference_time_seconds"]
    rate = summary["throughput_samples_per_sec"]
    parts = [
        f"{summary['total_samples']:,} samples in {seconds:.1f} s of generation",
        f"{rate * 60:,.0f} samples/min" if rate else "no rate",
        f"engine {summary['engine']}",
    ]
    return ", ".join(parts)
