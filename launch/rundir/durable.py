"""Names that last: a file is there no longer than its name, nor than those of the directories above it.

What is called durable has its directory fsynced, and those above it that are new.
"""

import contextlib
import os
import shutil
from pathlib import Path

from launch.rundir.storage_errors import NO_FILE, storage_errors


def fsync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, *, below: Path | None = None) -> None:
    """Makes a new directory and the parents that lack, durably: when that fails it is not there.

    The names of parents below `below` are made durable in any case: another process may have made one just
    now, and not have come to that. FileExistsError when the directory is there.
    """
    top = path.parent if below is None else below
    while not top.exists():
        top = top.parent
    path.mkdir(parents=True)
    try:
        fsync_names(path, top)
    except OSError:
        path.rmdir()
        raise


def fsync_names(path: Path, below: Path) -> None:
    """Makes the name of a file or directory durable, and those of the directories between it and `below`.

    A view of a shared file system may be too old for a parent that another node has made just now: there a
    name is the server's, and durable, when it is made.
    """
    for parent in path.parents:
        with contextlib.suppress(FileNotFoundError):
            fsync_directory(parent)
        if parent == below:
            return


def make_durable(path: Path, below: Path) -> None:
    """Makes durable what another process has written, and its name as `fsync_names` does; if it is there."""
    with storage_errors(path):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except NO_FILE:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fsync_names(path, below)


def put_in_place(partial: Path, final: Path) -> None:
    """Renames a whole directory into its place, durably: when that fails it is in neither place.

    OSError with EEXIST or ENOTEMPTY when something is there already.
    """
    partial.rename(final)
    try:
        fsync_directory(final.parent)
    except OSError:
        shutil.rmtree(final, ignore_errors=True)
        raise
