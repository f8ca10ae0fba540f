"""Puts a finished directory in its place: whole or not at all, and never over what is not this run's.

A directory is written beside its place as `<name>.partial-<run id>`. First publication is one rename.
Replacing is two: the old one becomes `<name>.old-<run id>`, the new one takes its place, the old one is
removed; a kill between them is completed by the next merge.
"""

import os
import shutil
from pathlib import Path

from launch.collect.manifest import MANIFEST, read_published
from launch.errors import RunError, StorageError
from launch.rundir.journal import fsync_directory, storage_errors


def check_output_dir(output_dir: Path, run_id: str) -> None:
    """Returns when a run may be published there; touches nothing.

    RunError when it is a file, another run's directory or one that holds anything else; StorageError when
    it cannot be written.
    """
    if output_dir.is_dir():
        manifest = read_published(output_dir)
        if manifest is None and any(output_dir.iterdir()):
            raise RunError(
                f"{output_dir}: holds files that vllm-launch did not publish; nothing was touched. Choose"
                " another --output_dir, or move them away."
            )
        if manifest is not None and manifest.run_id != run_id:
            raise RunError(
                f"{output_dir}: holds the results of run {manifest.run_id}; nothing was touched. Choose"
                " another --output_dir, or move it away."
            )
    elif os.path.lexists(output_dir):
        raise RunError(f"{output_dir}: is not a directory. Choose another --output_dir.")
    check_writable(output_dir.parent)


def check_writable(directory: Path, advice: str = "Choose another --output_dir.") -> None:
    """The nearest directory that is there must let us make another one in it; else RunError, StorageError."""
    while not os.path.lexists(directory):
        directory = directory.parent
    if not directory.is_dir():
        raise RunError(f"{directory}: is not a directory. {advice}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StorageError(f"{directory}: cannot write: writing is not allowed. {advice}")


def partial_dir(output_dir: Path, run_id: str) -> Path:
    """Where a run's directory is written before it is published."""
    return output_dir.with_name(f"{output_dir.name}.partial-{run_id}")


def old_dir(output_dir: Path, run_id: str) -> Path:
    """Where a run's earlier directory waits while a newer one takes its place."""
    return output_dir.with_name(f"{output_dir.name}.old-{run_id}")


def complete_cut_publication(output_dir: Path, run_id: str) -> None:
    """Ends what a kill left: one whole directory is in place afterwards, if any was, with no leftovers."""
    partial, old = partial_dir(output_dir, run_id), old_dir(output_dir, run_id)
    with storage_errors(output_dir):
        if old.exists() and not output_dir.exists():
            new = partial if (partial / MANIFEST).exists() else old
            _rename(new, output_dir)
        for leftover in (old, partial):
            if leftover.exists():
                shutil.rmtree(leftover)


def open_partial(output_dir: Path, run_id: str) -> Path:
    """An empty directory to write in, made; after `complete_cut_publication` there is none."""
    partial = partial_dir(output_dir, run_id)
    with storage_errors(partial):
        partial.mkdir(parents=True)
    return partial


def put_in_place(output_dir: Path, run_id: str) -> None:
    """Publishes the partial directory, whose files are durable and whose manifest is written."""
    check_output_dir(output_dir, run_id)
    partial, old = partial_dir(output_dir, run_id), old_dir(output_dir, run_id)
    with storage_errors(output_dir):
        for directory in sorted({path.parent for path in partial.rglob("*")} | {partial}):
            fsync_directory(directory)
        if output_dir.exists() and any(output_dir.iterdir()):
            _rename(output_dir, old)
        _rename(partial, output_dir)
        if old.exists():
            shutil.rmtree(old)


def _rename(source: Path, target: Path) -> None:
    source.rename(target)
    fsync_directory(target.parent)
